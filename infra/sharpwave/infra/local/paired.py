"""Two backends as one: everything in the first, queues in the second."""

from types import TracebackType
from typing import Self

from sharpwave.infra.local.ports import Backend


class PairedBackend:
    """Sends SQS to `queues` and the rest to `tables`, by AWS's own per-service variable.

    A client must take its address from `environment`; services inside `tables`, such as a
    scheduler, do not reach the queues.
    """

    def __init__(self, tables: Backend, queues: Backend) -> None:
        self.tables, self.queues = tables, queues

    @property
    def name(self) -> str:
        """Both names."""
        return f"{self.tables.name}+{self.queues.name}"

    @property
    def endpoint_url(self) -> str:
        """Where everything but SQS answers."""
        return self.tables.endpoint_url

    @property
    def environment(self) -> dict[str, str]:
        """AWS's own variables for a process that shall use it; see `Backend`."""
        return {**self.tables.environment, "AWS_ENDPOINT_URL_SQS": self.queues.endpoint_url}

    def alive(self) -> bool:
        """Say whether both run."""
        return self.tables.alive() and self.queues.alive()

    def start(self) -> Self:
        """Start both; if the second does not start, neither runs."""
        self.tables.start()
        try:
            self.queues.start()
        except BaseException:
            self.tables.stop()
            raise
        return self

    def stop(self) -> None:
        """Stop both."""
        try:
            self.queues.stop()
        finally:
            self.tables.stop()

    def restart(self) -> None:
        """Restart both at the same addresses."""
        self.tables.restart()
        self.queues.restart()

    def __enter__(self) -> Self:
        """Start both."""
        return self.start()

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Stop both."""
        self.stop()
