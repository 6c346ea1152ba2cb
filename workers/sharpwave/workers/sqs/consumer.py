"""What Dramatiq pulls messages from and hands them back to."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from queue import Empty, SimpleQueue
from typing import Any

from dramatiq import Actor, Consumer, MessageProxy

from sharpwave.workers.sqs.body import Bodies
from sharpwave.workers.sqs.channel import Channel
from sharpwave.workers.sqs.errors import Poison, UnknownActor
from sharpwave.workers.sqs.held import MOST_HIDDEN_S, Held
from sharpwave.workers.sqs.message import DeadLetter, RetryIn, SqsMessage
from sharpwave.workers.sqs.receive import ReceiveOptions, Receiver
from sharpwave.workers.sqs.retries import backoff_s

log = logging.getLogger(__name__)

Judge = Callable[[SqsMessage, BaseException], RetryIn | DeadLetter]

_FLUSH_S = 5.0


class SqsConsumer(Consumer):
    """Buffers one queue's messages for Dramatiq's consumer thread.

    `ack` and `nack` come from worker threads and `close` from the main thread,
    so every method is thread-safe.

    Args:
        channel: holds and settles the messages.
        bodies: decodes them.
        actors: the actors of this process by name.
        judge: says what becomes of a message that failed, here of one for an unknown actor.
        timeout_s: longest wait of `next()` for a message.
    """

    def __init__(
        self,
        channel: Channel,
        *,
        bodies: Bodies,
        actors: Mapping[str, Actor[Any, Any]],
        judge: Judge,
        timeout_s: float,
        options: ReceiveOptions,
    ) -> None:
        self._channel = channel
        self._bodies = bodies
        self._actors = actors
        self._judge = judge
        self._timeout_s = timeout_s
        self._ready: SimpleQueue[SqsMessage | None] = SimpleQueue()
        self._lock = threading.Lock()
        self._is_draining = False
        self._receiver = Receiver(channel, arrived=self._arrived, options=options)
        self._receiver.start()

    @property
    def pollers(self) -> int:
        """Return how many pollers there are now."""
        return self._receiver.pollers

    def __next__(self) -> SqsMessage | None:
        """Return a message at once if there is one, else wait; None when none came."""
        try:
            return self._ready.get(timeout=self._timeout_s)
        except Empty:
            return None

    def ack(self, message: MessageProxy) -> None:
        """Delete a message, or give one back that is to be retried, in the background."""
        assert isinstance(message, SqsMessage)
        if isinstance(message.verdict, RetryIn):
            self._channel.retry(message.held, message.verdict.delay_s)
        else:
            self._channel.ack(message.held)

    def nack(self, message: MessageProxy) -> None:
        """Bury a failed message, or retry it, by its verdict."""
        assert isinstance(message, SqsMessage)
        verdict = message.verdict or DeadLetter(_rejection(message))
        if isinstance(verdict, RetryIn):
            self._channel.retry(message.held, verdict.delay_s)
        else:
            self._channel.bury(message.held, verdict.reason, is_expected=verdict.is_expected)

    def requeue(self, messages: Iterable[MessageProxy]) -> None:
        """Give messages that were not processed back to the queue, at once."""
        self._channel.release(m.held for m in messages if isinstance(m, SqsMessage))

    def drain(self) -> None:
        """Stop receiving and give back what no thread has begun; returns at once."""
        self._receiver.stop()
        with self._lock:
            self._is_draining = True
        self.requeue(self._take_buffered())
        self._ready.put(None)

    def close(self) -> None:
        """Stop receiving, and settle what is finished before returning."""
        self.drain()
        self._channel.flush(_FLUSH_S)

    def _take_buffered(self) -> list[SqsMessage]:
        taken: list[SqsMessage] = []
        while True:
            try:
                message = self._ready.get_nowait()
            except Empty:
                return taken
            if message is not None:
                taken.append(message)

    def _arrived(self, received: Sequence[Mapping[str, Any]]) -> None:
        now = time.monotonic()
        messages = [m for m in (self._admit(raw, now) for raw in received) if m is not None]
        with self._lock:
            if not self._is_draining:
                self._channel.slots.admit([message.held for message in messages])
                for message in messages:
                    self._ready.put(message)
                return
        self._channel.release_now([message.held for message in messages])

    def _admit(self, raw: Mapping[str, Any], now: float) -> SqsMessage | None:
        held = self._hold(raw, now)
        try:
            message = self._bodies.decode(held.body, queue_name=self._channel.queue.name)
        except Poison as poison:
            self._channel.metrics.add(poison=1)
            self._channel.bury(held, str(poison))
            return None
        except Exception as error:
            log.warning("not admitted", extra={"sqs_id": held.sqs_id, "error": str(error)})
            self._channel.retry(held, backoff_s(held.receives, min_s=1))
            return None
        # Dramatiq would hold it in memory until then, and enqueue a copy.
        eta_ms = message.options.pop("eta", None)
        if not isinstance(eta_ms, int | float | None):
            log.warning("Invalid eta value for message", extra={"eta": eta_ms})
        elif eta_ms is not None and eta_ms > time.time() * 1000:
            self._channel.retry(held, eta_ms / 1000 - time.time())
            return None
        admitted = SqsMessage(message, held)
        if message.actor_name not in self._actors:
            log.warning("unknown actor", extra={"actor": message.actor_name})
            verdict = self._judge(admitted, UnknownActor(message.actor_name))
            if isinstance(verdict, RetryIn):
                # While versions run side by side a newer worker may have it, so it stays.
                self._channel.retry(held, verdict.delay_s)
                return None
            # Dramatiq finds that there is no actor, and rejects it through the middleware.
            admitted.verdict = verdict
        return admitted

    def _hold(self, raw: Mapping[str, Any], now: float) -> Held:
        system = raw.get("Attributes", {})
        options = self._channel.options
        return Held(
            handle=raw["ReceiptHandle"],
            body=raw.get("Body", ""),
            receives=int(system.get("ApproximateReceiveCount", 1)),
            received_at=now,
            extend_at=now + options.visibility_s / 2,
            heartbeat_until=now + MOST_HIDDEN_S,
            attributes=raw.get("MessageAttributes", {}),
            sqs_id=raw.get("MessageId", ""),
            group_id=system.get("MessageGroupId"),
        )


def _rejection(message: SqsMessage) -> str:
    if message.exception is None:
        return "rejected by a middleware"
    return f"rejected: {type(message.exception).__name__}: {message.exception}"
