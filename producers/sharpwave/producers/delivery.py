"""A delivery in the hands of a synchronous agent."""

from types import TracebackType
from typing import Self

from sharpwave.producers.handed import Handed
from sharpwave.producers.operations import settling
from sharpwave.producers.operations.receiving import Handling
from sharpwave.producers.sync_driver import Surface, method


class Delivery(Handed, Surface[Handling]):
    """One signal to work. `with delivery:` acknowledges it at the end of the block.

    An exception leaves the message: it is handed out again after its visibility timeout, up to 5
    times, and then goes to the dead-letter queue.
    """

    ack = method(settling.ack)
    fail = method(settling.fail)
    release = method(settling.release)
    decide = method(settling.decide)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, _: TracebackType | None
    ) -> None:
        if kind is not None:
            self._subject.received.held = False
        elif not self.is_settled:
            self.ack()
