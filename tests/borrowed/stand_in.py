"""Our broker behind the names that the borrowed tests use: what a user changes when moving over."""

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from dramatiq import Broker, MessageProxy, Middleware
from dramatiq.brokers.stub import _StubMessageProxy
from dramatiq.middleware import Retries

from sharpwave.workers.sqs import SQSBroker, VisibilityRetries, default_middlewares
from sharpwave.workers.sqs.retries import DeadLetter
from tests.world.sqs import MemorySqs

#: Far more than any of their tests receives, so that only the broker decides.
MANY_RECEIVES = 10_000


def ours(middleware: Middleware) -> Middleware:
    """Give our retries for Dramatiq's, with the same settings; any other middleware as it is."""
    if not isinstance(middleware, Retries):
        return middleware
    return VisibilityRetries(
        max_retries=middleware.max_retries,
        min_backoff=middleware.min_backoff,
        max_backoff=middleware.max_backoff,
        retry_when=middleware.retry_when,
    )


class DeadLetters(Middleware):
    """Keeps what was dead-lettered, by queue, with what its actor raised."""

    def __init__(self) -> None:
        self.by_queue: dict[str, list[MessageProxy]] = defaultdict(list)

    def after_nack(self, broker: Broker, message: MessageProxy) -> None:
        """Keep the message; Dramatiq drops the exception from its own object after this."""
        verdict = getattr(message, "verdict", None)
        if verdict is None or isinstance(verdict, DeadLetter):
            kept = _StubMessageProxy(message._message)
            if message._exception is not None:
                kept.stuff_exception(message._exception)
            kept.clear_exception()  # which it does only where a test says so
            self.by_queue[message.queue_name].append(kept)


@dataclass(frozen=True)
class Contents:
    """What their tests look for, and put, in a queue by hand."""

    sqs: MemorySqs
    name: str
    url: str

    def qsize(self) -> int:
        """Count the messages."""
        return len(self.sqs.messages(self.name))

    def get(self, **_: Any) -> bytes:
        """Take the body of one message."""
        [message] = self.sqs.receive_message(QueueUrl=self.url, WaitTimeSeconds=1)["Messages"]
        self.sqs.delete_message(QueueUrl=self.url, ReceiptHandle=message["ReceiptHandle"])
        return str(message["Body"]).encode()

    def put(self, body: bytes) -> None:
        """Add a message with a body."""
        self.sqs.send_message(QueueUrl=self.url, MessageBody=body.decode())


class StandIn(SQSBroker):
    """Our broker on SQS in memory, for Dramatiq's StubBroker."""

    def __init__(
        self, middleware: Sequence[Middleware] | None = None, *, fail_fast_default: bool = True
    ) -> None:
        self.sqs = MemorySqs()
        self.fail_fast_default = fail_fast_default
        self._dead = DeadLetters()
        chosen = default_middlewares() if middleware is None else middleware
        super().__init__(client=self.sqs, middleware=[ours(each) for each in chosen])
        self.add_middleware(self._dead)

    def add_middleware(self, middleware: Middleware, **place: Any) -> None:
        """Add a middleware, ours for Dramatiq's retries."""
        place = {k: VisibilityRetries if v is Retries else v for k, v in place.items()}
        super().add_middleware(ours(middleware), **place)

    @property
    def dead_letters_by_queue(self) -> dict[str, list[MessageProxy]]:
        """Give what was dead-lettered."""
        return self._dead.by_queue

    @property
    def dead_letters(self) -> list[MessageProxy]:
        """Give what was dead-lettered in any queue."""
        return [message for each in self._dead.by_queue.values() for message in each]

    def declare_queue(self, queue_name: str) -> None:
        """Provision a queue, which the broker itself never does, and declare it."""
        url = self.sqs.add_queue(queue_name, max_receives=MANY_RECEIVES)
        super().declare_queue(queue_name)
        self.queues[queue_name] = Contents(self.sqs, queue_name, url)

    def join(
        self, queue_name: str, *, timeout: int | None = None, fail_fast: bool | None = None
    ) -> None:
        """Wait for a queue, and raise what its first dead letter failed with."""
        super().join(queue_name, timeout=timeout)
        if self.fail_fast_default if fail_fast is None else fail_fast:
            for message in self._dead.by_queue[queue_name]:
                raise message._exception or Exception("Message failed with unknown error") from None
