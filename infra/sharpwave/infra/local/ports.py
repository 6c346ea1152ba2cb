"""What every backend offers, wherever it runs."""

from collections.abc import Mapping
from types import TracebackType
from typing import Protocol, Self

REGION = "us-east-1"
LOCAL_CREDENTIALS: Mapping[str, str] = {
    "AWS_ACCESS_KEY_ID": "test",
    "AWS_SECRET_ACCESS_KEY": "test",
    "AWS_DEFAULT_REGION": REGION,
    "AWS_REGION": REGION,
}


class Backend(Protocol):
    """A stand-in for AWS; a context manager that starts and stops it."""

    @property
    def name(self) -> str:
        """The name it is chosen by."""

    @property
    def endpoint_url(self) -> str:
        """Where it answers.

        Raises:
            RuntimeError: it was not started.
        """

    @property
    def environment(self) -> dict[str, str]:
        """AWS's own variables for a process that shall use it.

        Raises:
            RuntimeError: it was not started.
        """

    def start(self) -> Self:
        """Start it and wait until it answers; a started one is left alone.

        Raises:
            BackendUnavailable: what it needs is missing on this machine.
            PortTaken: the port asked for belongs to another process.
            BackendDown: it did not answer in time, or died; the message holds its log's end.
        """

    def stop(self) -> None:
        """Stop it; a stopped one is left alone."""

    def restart(self) -> None:
        """Stop it and start it again at the same address."""

    def alive(self) -> bool:
        """Say whether it runs; a wedged one may say yes."""

    def __enter__(self) -> Self:
        """Start it."""

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Stop it."""


def local_environment(endpoint_url: str) -> dict[str, str]:
    """AWS's variables for an endpoint that takes the usual test credentials."""
    return {"AWS_ENDPOINT_URL": endpoint_url, **LOCAL_CREDENTIALS}
