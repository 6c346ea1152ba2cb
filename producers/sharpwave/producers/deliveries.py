"""A delivery in the hands of an agent, synchronous or not."""

from collections.abc import Mapping
from types import TracebackType
from typing import Any, Self

from sharpwave.producers.drivers import AsyncDriver, AsyncSurface, Surface, async_method, method
from sharpwave.producers.operations import settling
from sharpwave.producers.operations.receiving import Received
from sharpwave.schemas.messages import SignalMessage


class _Shown:
    """What both show of their signal. `data` and `context` come from others: untrusted input."""

    _subject: Received

    def __repr__(self) -> str:
        state = self._subject.settled or "open"
        return f"<{self.signal_type} {self.delivery_id} from {self.source_agent}, {state}>"

    @property
    def message(self) -> SignalMessage:
        """Give the whole message."""
        return self._subject.message

    @property
    def delivery_id(self) -> str:
        """Give what is the same at every redelivery: make other effects idempotent by it."""
        return self.message.delivery_id

    @property
    def signal_id(self) -> str:
        """Give the sender's id of the signal."""
        return self.message.signal_id

    @property
    def signal_type(self) -> str:
        """Give the signal's type."""
        return self.message.signal_type

    @property
    def source_agent(self) -> str:
        """Name the sender; see `provenance` for how sure that is."""
        return self.message.source_agent

    @property
    def provenance(self) -> str:
        """Say "bound" if IAM enforced the sender's identity, else "unverified"."""
        return self.message.provenance

    @property
    def data(self) -> Mapping[str, Any]:
        """Give what the signal says; numbers with a fraction are Decimal."""
        return self.message.data

    @property
    def context(self) -> Mapping[str, Any]:
        """Give the circumstances of the signal."""
        return self.message.context

    @property
    def in_reply_to(self) -> str | None:
        """Give the `signal_id` that this answers, if it is an answer nobody waited for."""
        return self.message.in_reply_to

    @property
    def receive_count(self) -> int:
        """Say how often the queue has handed this message out; 1 is the first time."""
        return self._subject.lease.receive_count

    @property
    def is_expired(self) -> bool:
        """Say whether the deadline has passed; a late acknowledgement still counts."""
        return self._subject.me.now() >= self.message.expires_at

    @property
    def is_settled(self) -> bool:
        """Say whether it was acknowledged, failed or given back."""
        return self._subject.settled is not None


class Delivery(_Shown, Surface[Received]):
    """One signal to work. `with delivery:` acknowledges it at the end of the block.

    An exception leaves the message: it is handed out again after its visibility timeout, up to 5
    times, and then goes to the dead-letter queue.
    """

    ack = method(settling.ack)
    fail = method(settling.fail)
    release = method(settling.release)
    decide = method(settling.decide)
    reply = method(settling.reply)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, _: TracebackType | None
    ) -> None:
        if kind is not None:
            self._subject.lease.held = False
        elif not self.is_settled:
            self.ack()


class AsyncDelivery(_Shown, AsyncSurface[Received]):
    """One signal to work. `async with delivery:` acknowledges it at the end of the block.

    An exception leaves the message: it is handed out again after its visibility timeout, up to 5
    times, and then goes to the dead-letter queue.
    """

    ack = async_method(settling.ack)
    fail = async_method(settling.fail)
    release = async_method(settling.release)
    decide = async_method(settling.decide)
    reply = async_method(settling.reply)

    def __init__(self, received: Received, driver: AsyncDriver) -> None:
        """Hand out a delivery of a driver that is open."""
        super().__init__(received)
        self._driver = driver

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, _: TracebackType | None
    ) -> None:
        if kind is not None:
            self._subject.lease.held = False
        elif not self.is_settled:
            await self.ack()
