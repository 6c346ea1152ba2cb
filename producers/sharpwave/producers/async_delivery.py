"""A delivery in the hands of an asynchronous agent."""

from types import TracebackType
from typing import Self

from sharpwave.producers.async_driver import AsyncDriver, AsyncSurface, method
from sharpwave.producers.handed import Handed
from sharpwave.producers.operations import settling
from sharpwave.producers.operations.receiving import Handling


class AsyncDelivery(Handed, AsyncSurface[Handling]):
    """One signal to work. `async with delivery:` acknowledges it at the end of the block.

    An exception leaves the message: it is handed out again after its visibility timeout, up to 5
    times, and then goes to the dead-letter queue.
    """

    ack = method(settling.ack)
    fail = method(settling.fail)
    release = method(settling.release)
    decide = method(settling.decide)

    def __init__(self, handling: Handling, driver: AsyncDriver) -> None:
        """Hand out a delivery of a driver that is open."""
        super().__init__(handling)
        self._driver = driver

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, _: TracebackType | None
    ) -> None:
        if kind is not None:
            self._subject.received.held = False
        elif not self.is_settled:
            await self.ack()
