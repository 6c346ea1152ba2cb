"""A backend that somebody else runs: an emulator in compose, or any compatible endpoint."""

import socket
from types import TracebackType
from typing import Self
from urllib.parse import urlsplit

from sharpwave.infra.local.errors import BackendUnavailable
from sharpwave.infra.local.ports import local_environment
from sharpwave.schemas.endpoints import is_local

CONNECT_S = 3.0


class ExternalBackend:
    """Uses an endpoint that runs already; neither starts nor stops it.

    Args:
        endpoint_url: such as `http://127.0.0.1:4566`. On this machine and in containers beside it
            the usual test credentials are handed out; elsewhere the caller's own hold.
    """

    name = "external"

    def __init__(self, endpoint_url: str) -> None:
        self.endpoint_url = endpoint_url
        address = urlsplit(endpoint_url)
        if not address.hostname:
            raise BackendUnavailable(
                self.name, f"{endpoint_url!r} is no address; write it as http://HOST:PORT"
            )
        self._host = address.hostname
        self._port = address.port or (443 if address.scheme == "https" else 80)

    @property
    def environment(self) -> dict[str, str]:
        """AWS's own variables for a process that shall use it; see `Backend`."""
        if is_local(self.endpoint_url):
            return local_environment(self.endpoint_url)
        return {"AWS_ENDPOINT_URL": self.endpoint_url}

    def alive(self) -> bool:
        """Say whether somebody accepts connections there."""
        try:
            self._connect()
        except OSError:
            return False
        return True

    def start(self) -> Self:
        """Check that it answers.

        Raises:
            BackendUnavailable: nobody accepts connections there.
        """
        try:
            self._connect()
        except OSError as error:
            raise BackendUnavailable(
                self.name,
                f"nothing answers at {self.endpoint_url} ({error}); start it, or set "
                "AWS_ENDPOINT_URL to where it runs",
            ) from error
        return self

    def stop(self) -> None:
        """Leave it running: whoever started it stops it."""

    def restart(self) -> None:
        """Refuse.

        Raises:
            BackendUnavailable: always; only who runs it can restart it.
        """
        raise BackendUnavailable(self.name, "it cannot be restarted from here")

    def __enter__(self) -> Self:
        """Check that it answers."""
        return self.start()

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Leave it running."""

    def _connect(self) -> None:
        socket.create_connection((self._host, self._port), timeout=CONNECT_S).close()
