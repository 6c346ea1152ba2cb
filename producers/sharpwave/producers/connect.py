"""How clients are made: AWS's own settings, and what a local backend does without."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import botocore.session
from botocore.config import Config
from botocore.configprovider import ConfiguredEndpointProvider
from botocore.exceptions import NoRegionError, ProfileNotFound

from sharpwave.producers.errors import NotConfigured
from sharpwave.schemas.endpoints import is_local

#: Said wherever AWS's settings name no place at all. AWS_REGION is not heeded by botocore.
NOWHERE = (
    "no endpoint and no region are set; for a system on this machine, as `sharpwave up` prints it:"
    " export AWS_ENDPOINT_URL=http://127.0.0.1:4566; for AWS: export AWS_DEFAULT_REGION=us-east-1"
)
#: Idle long polls of several threads each hold a connection.
_CONNECTIONS = 32
_ATTEMPTS = 4


@contextmanager
def configured() -> Iterator[None]:
    """Raise what AWS's settings lack, found while clients are made, as an error of this package.

    Raises:
        NotConfigured: they name no region, or a profile that does not exist.
    """
    try:
        yield
    except NoRegionError as error:
        raise NotConfigured(NOWHERE) from error
    except ProfileNotFound as error:
        raise NotConfigured(f"{error}; correct AWS_PROFILE, or unset it") from error


def config_values() -> dict[str, Any]:
    """Give the client settings both surfaces use."""
    return {
        "retries": {"mode": "standard", "total_max_attempts": _ATTEMPTS},
        "max_pool_connections": _CONNECTIONS,
        "connect_timeout": 5,
        # Longer than the longest long poll.
        "read_timeout": 30,
        # Botocore would put it together anew for every request, twice.
        "user_agent": "sharpwave",
    }


def config() -> Config:
    """Give the settings of a synchronous client."""
    return Config(**config_values())


def local_defaults(endpoint_url: str | None) -> dict[str, str]:
    """Give a region and credentials where the endpoint is local and none are configured.

    Args:
        endpoint_url: the endpoint given in code; AWS_ENDPOINT_URL and profiles count as well.
    """
    core = botocore.session.get_session()
    url = endpoint_url
    if not url:
        provider = ConfiguredEndpointProvider(
            full_config=core.full_config, scoped_config=core.get_scoped_config(), client_name="sqs"
        )
        url = provider.provide()
    if not is_local(url):
        return {}
    # An emulator has no instance role, and asking for one takes seconds to fail.
    core.get_component("credential_provider").remove("iam-role")
    found = {} if core.get_config_variable("region") else {"region_name": "us-east-1"}
    if core.get_credentials() is None:
        found |= {"aws_access_key_id": "test", "aws_secret_access_key": "test"}
    return found
