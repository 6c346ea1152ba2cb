"""Which endpoints are stand-ins for AWS on this machine: asked by agents, workers and operators."""

from ipaddress import ip_address
from urllib.parse import urlsplit

#: Names that only mean something on this machine: itself, and the emulators' containers beside it.
_NAMES = frozenset({"localhost", "localstack", "ministack", "host.docker.internal"})
#: LocalStack's own domain answers with the address 127.0.0.1.
_DOMAINS = (".localhost", ".localstack.cloud")


def is_local(url: str | None) -> bool:
    """Say whether an endpoint is an emulator on this machine or in a container beside it.

    Such a one gets test credentials where none are set, and nothing of IAM holds there. An
    address of a private network is not local: whoever answers there may be AWS behind a VPC's
    endpoint, which test credentials must not reach.
    """
    host = urlsplit(url).hostname if url else None
    if host is None:
        return False
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return host in _NAMES or host.endswith(_DOMAINS)
