"""Receiving: what Dramatiq pulls messages from, and hands them back to.

A queue is polled by one thread while it is idle, and by more while it answers with full batches.
"""

from __future__ import annotations

import logging
import random
import threading
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from queue import Empty, SimpleQueue
from typing import Any

from dramatiq import Actor, Consumer, MessageProxy

from sharpwave.workers.sqs.acknowledging import Channel
from sharpwave.workers.sqs.bodies import Bodies
from sharpwave.workers.sqs.errors import Poison, UnknownActor
from sharpwave.workers.sqs.holding import MOST_HIDDEN_S, Received
from sharpwave.workers.sqs.retries import DeadLetter, RetryIn, SqsMessage, backoff_s

log = logging.getLogger(__name__)

# The one idle poller waits for as long as SQS lets it, which is cheapest; further ones leave when
# a short wait brings nothing.
_WAIT_S = 20
_SPARE_WAIT_S = 1
_SPARE_PATIENCE_S = 0.5
_WORTHWHILE = 5
_IMMEDIATE_S = 0.25
_EMPTY_REST_S = 0.05
_ERROR_REST_S = 0.1
_LONGEST_REST_S = 10.0
_FLUSH_S = 5.0


class SqsConsumer(Consumer):
    """Receives one queue's messages and buffers them for Dramatiq's consumer thread.

    `ack` and `nack` come from worker threads and `close` from the main thread,
    so every method is thread-safe. An error of SQS never leaves it.

    Args:
        channel: holds and settles the messages.
        actors: the actors of this process by name.
        judge: says what becomes of a message that failed, here of one for an unknown actor.
        timeout_s: longest wait of `next()` for a message.
        max_pollers: most receives under way at once.

    Raises:
        RuntimeError: the machine has no thread left; Dramatiq makes another consumer.
    """

    def __init__(
        self,
        channel: Channel,
        *,
        bodies: Bodies,
        actors: Mapping[str, Actor[Any, Any]],
        judge: Callable[[SqsMessage, BaseException], RetryIn | DeadLetter],
        timeout_s: float,
        max_pollers: int,
    ) -> None:
        self._channel = channel
        self._bodies = bodies
        self._actors = actors
        self._judge = judge
        self._timeout_s = timeout_s
        self._max_pollers = max_pollers
        self._ready: SimpleQueue[SqsMessage | None] = SimpleQueue()
        self._lock = threading.Lock()
        self._stopping = threading.Event()
        #: How many pollers there are now.
        self.pollers = 0
        self._add_poller(is_spare=False)

    def __next__(self) -> SqsMessage | None:
        """Return a message at once if there is one, else wait; None when none came."""
        try:
            return self._ready.get(timeout=self._timeout_s)
        except Empty:
            return None

    def ack(self, message: MessageProxy) -> None:
        """Delete a message, or give one back that is to be retried, in the background."""
        assert isinstance(message, SqsMessage)
        # Dramatiq acknowledges what is to be retried: to it a copy was enqueued.
        if isinstance(message.verdict, RetryIn):
            self._channel.retry(message.received, message.verdict.delay_s)
        else:
            self._channel.ack(message.received)

    def nack(self, message: MessageProxy) -> None:
        """Bury a failed message, or retry it, by its verdict."""
        assert isinstance(message, SqsMessage)
        if (verdict := message.verdict) is None:
            error = message.exception
            cause = " by a middleware" if error is None else f": {type(error).__name__}: {error}"
            verdict = DeadLetter(f"rejected{cause}")
        if isinstance(verdict, RetryIn):
            self._channel.retry(message.received, verdict.delay_s)
        else:
            self._channel.bury(message.received, verdict.reason, is_expected=verdict.is_expected)

    def requeue(self, messages: Iterable[MessageProxy]) -> None:
        """Give messages that were not processed back to the queue, at once."""
        self._channel.release(m.received for m in messages if isinstance(m, SqsMessage))

    def drain(self) -> None:
        """Stop receiving and give back what no thread has begun; returns at once.

        A long poll under way is abandoned, not awaited.
        """
        with self._lock:
            self._stopping.set()
        self._channel.slots.wake()
        buffered: list[SqsMessage] = []
        while True:
            try:
                message = self._ready.get_nowait()
            except Empty:
                break
            if message is not None:
                buffered.append(message)
        self.requeue(buffered)
        # Ends a wait of Dramatiq's consumer thread, which is to see that it was told to stop.
        self._ready.put(None)

    def close(self) -> None:
        """Stop receiving, and settle what is finished before returning."""
        self.drain()
        self._channel.flush(_FLUSH_S)

    def _add_poller(self, *, is_spare: bool) -> None:
        with self._lock:
            if self.pollers >= self._max_pollers or self._stopping.is_set():
                return
            self.pollers += 1
            name = f"poll-{self._channel.queue.name}-{self.pollers}"
        try:
            threading.Thread(target=self._poll, args=(is_spare,), name=name, daemon=True).start()
        except RuntimeError:
            with self._lock:
                self.pollers -= 1
            if not is_spare:
                raise
            # The poller that asked for help must go on: it may be the only one.
            log.exception("no thread", extra={"queue": self._channel.queue.name})

    def _poll(self, is_spare: bool) -> None:
        """Receive until stopped; a spare poller leaves when there is too little for it."""
        slots, metrics = self._channel.slots, self._channel.metrics
        patience_s = _SPARE_PATIENCE_S if is_spare else None
        lean = errors = 0
        while (reserved := slots.take(self._stopping, patience_s=patience_s)).count:
            wait_s = _SPARE_WAIT_S if is_spare else _WAIT_S
            if reserved.is_promised:
                # Slots that other queues could use are not kept for the length of a long poll.
                wait_s = 0
            asked, received = reserved.count, 0
            began = time.monotonic()
            try:
                messages = self._receive(asked, wait_s)
                took_s = time.monotonic() - began
                received = len(messages)
                metrics.add(receives=1, received=received, empty_receives=not received)
                if received and took_s < _IMMEDIATE_S:
                    slots.prefetch.received(took_s)
                if messages:
                    self._arrived(messages)
                elif took_s < wait_s / 2:
                    # An emulator that does not wait would be asked without end.
                    self._stopping.wait(_EMPTY_REST_S)
                errors = 0
            except Exception as error:
                errors += 1
                metrics.add(receive_errors=1)
                log.warning(
                    "receive failed", extra={"queue": self._channel.queue.name, "error": str(error)}
                )
            finally:
                slots.give_back(reserved, received=received)
            if errors:
                most_s = min(_LONGEST_REST_S, _ERROR_REST_S * 2 ** min(errors, 10))
                self._stopping.wait(random.uniform(0, most_s))
                continue
            lean = lean + 1 if received * 3 < asked else 0
            if is_spare and (not received or lean > 1):
                break
            if received == asked >= _WORTHWHILE and slots.has_room():
                self._add_poller(is_spare=True)
        with self._lock:
            self.pollers -= 1

    def _receive(self, most: int, wait_s: int) -> Sequence[Mapping[str, Any]]:
        """Ask SQS for messages, in its own form."""
        channel = self._channel
        # First of all: what is received without a lease comes again while it runs.
        channel.lease.start(f"heartbeat-{channel.queue.name}")
        answer = channel.client.receive_message(
            QueueUrl=channel.queue.url,
            # In a FIFO queue one at a time: SQS keeps the rest of a group back until the first is
            # deleted, so threads cannot overtake each other.
            MaxNumberOfMessages=1 if channel.queue.is_fifo else most,
            WaitTimeSeconds=wait_s,
            VisibilityTimeout=channel.visibility_s,
            MessageSystemAttributeNames=["ApproximateReceiveCount", "MessageGroupId"],
            MessageAttributeNames=["All"],
        )
        messages: Sequence[Mapping[str, Any]] = answer.get("Messages", ())
        return messages

    def _arrived(self, raw: Sequence[Mapping[str, Any]]) -> None:
        """Buffer what was received; on poller threads, and also after `drain`."""
        now = time.monotonic()
        messages = [m for m in (self._admit(each, now) for each in raw) if m is not None]
        with self._lock:
            if not self._stopping.is_set():
                # Held before it can be taken, or its acknowledgement would come first.
                self._channel.slots.admit([message.received for message in messages])
                for message in messages:
                    self._ready.put(message)
                return
        # Not in the background: an abandoned poll may end after the channel's lanes.
        self._channel.release_now([message.received for message in messages])

    def _admit(self, raw: Mapping[str, Any], now: float) -> SqsMessage | None:
        """Read one message; None where what becomes of it is decided without a worker."""
        channel, system = self._channel, raw.get("Attributes", {})
        received = Received(
            handle=raw["ReceiptHandle"],
            body=raw.get("Body", ""),
            receives=int(system.get("ApproximateReceiveCount", 1)),
            received_at=now,
            extend_at=now + channel.visibility_s / 2,
            leased_until=now + MOST_HIDDEN_S,
            attributes=raw.get("MessageAttributes", {}),
            sqs_id=raw.get("MessageId", ""),
            group_id=system.get("MessageGroupId"),
        )
        try:
            message = self._bodies.decode(received.body, queue_name=channel.queue.name)
        except Poison as poison:
            channel.metrics.add(poison=1)
            channel.bury(received, str(poison))
            return None
        except Exception as error:
            # The claim store's, which may answer later.
            log.warning("not admitted", extra={"sqs_id": received.sqs_id, "error": str(error)})
            channel.retry(received, backoff_s(received.receives, min_s=1))
            return None
        # Dramatiq would hold it in memory until then, and enqueue a copy.
        eta_ms = message.options.pop("eta", None)
        if not isinstance(eta_ms, int | float | None):
            log.warning("Invalid eta value for message", extra={"eta": eta_ms})
        elif eta_ms is not None and eta_ms > time.time() * 1000:
            channel.retry(received, eta_ms / 1000 - time.time())
            return None
        admitted = SqsMessage(message, received)
        if message.actor_name not in self._actors:
            log.warning("unknown actor", extra={"actor": message.actor_name})
            verdict = self._judge(admitted, UnknownActor(message.actor_name))
            if isinstance(verdict, RetryIn):
                # While versions run side by side a newer worker may have it, so it stays.
                channel.retry(received, verdict.delay_s)
                return None
            # Dramatiq finds that there is no actor, and rejects it through the middleware.
            admitted.verdict = verdict
        return admitted
