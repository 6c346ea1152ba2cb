"""How a message ends: deleted, given back, or buried; by ten, in the background.

A `Channel` is what this process has of one queue. It outlives consumers: Dramatiq replaces a
consumer after a pause or an error while its messages are still running, and those still need the
lease and an acknowledgement. Each of the three ends has a `Lane`, which gathers and tries again.
"""

from __future__ import annotations

import heapq
import itertools
import logging
import math
import random
import threading
import time
from collections import deque
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from typing import Any

from sharpwave.schemas.queues import MAX_BATCH, batches, is_final
from sharpwave.workers.sqs.holding import Crew, HeldSet, Lease, Prefetch, Received, Refusal, Slots
from sharpwave.workers.sqs.metrics import Metrics, Snapshot
from sharpwave.workers.sqs.queues import QueueAddress, Queues, SqsClient, code_of
from sharpwave.workers.sqs.retries import MAX_BACKOFF_S, backoff_s

log = logging.getLogger(__name__)

Recall = Callable[[Collection[Received]], Sequence[Received]]

# A lane waits so long for a batch to fill, and has so many calls under way.
_LINGER_S = 0.025
_MOST_CALLS = 16
_ATTEMPTS = 10
_FIRST_RETRY_S = 0.05
_LAST_RETRY_S = 5.0

_REASON_BYTES = 1024
_LABEL_BYTES = 2048
# SQS takes ten attributes; three are ours.
_KEPT_ATTRIBUTES = 7


class Lane:
    """Runs one batch call for whatever is put on it.

    One thread at a time gathers a batch and then lets the next gather while it
    waits for SQS, so batches stay full however many calls are under way.

    Args:
        name: names the threads and the log lines.
        call: sends one batch of at most ten and returns what was refused.
        done: gets the messages SQS accepted.
        gave_up: gets each message that was refused for good, with the code.
        lives: says whether another try can still help; ten tries are made otherwise.
    """

    def __init__(
        self,
        name: str,
        *,
        call: Callable[[Sequence[Received]], Sequence[Refusal]],
        done: Callable[[Sequence[Received]], None],
        gave_up: Callable[[Received, str], None],
        metrics: Metrics,
        lives: Callable[[Received], bool] = lambda received: received.attempts < _ATTEMPTS,
    ) -> None:
        self._name = name
        self._call, self._done, self._gave_up, self._lives = call, done, gave_up, lives
        self._metrics = metrics
        self._items: deque[Received] = deque()
        self._later: list[tuple[float, int, Received]] = []
        self._order = itertools.count()
        self._lock = threading.Lock()
        # Not a SimpleQueue: a wait of microseconds may never end in CPython's, if an earlier wait
        # left its lock open.
        self._changed = threading.Condition(self._lock)
        self._gathering = threading.Lock()
        self._threads = 0
        self._idle = 0
        self._is_closed = False

    def put(self, received: Received) -> None:
        """Add a message; never blocks and never fails."""
        with self._changed:
            self._items.append(received)
            self._changed.notify()
        if not self._threads:
            self._grow()

    def close(self) -> None:
        """End the threads as soon as they are idle; what is still queued is dropped."""
        with self._changed:
            self._is_closed = True
            self._changed.notify()

    def _grow(self) -> None:
        """Start a thread if none is idle, so that one gathers while others wait for SQS."""
        with self._lock:
            if self._idle or self._threads >= _MOST_CALLS:
                return
            self._threads += 1
            self._idle += 1
            name = f"{self._name}-{self._threads}"
        try:
            threading.Thread(target=self._run, name=name, daemon=True).start()
        except RuntimeError:
            # The machine has no thread left: those that run go on, and the next message asks again.
            log.exception("no thread", extra={"lane": self._name})
            with self._lock:
                self._threads -= 1
                self._idle -= 1

    def _run(self) -> None:
        while batch := self._gather():
            self._grow()
            try:
                refusals = self._call(batch)
            except Exception:
                log.exception("lane call failed", extra={"lane": self._name})
                refusals = [Refusal(each, "Unexpected", is_final=False) for each in batch]
            refused = {refusal.received for refusal in refusals}
            try:
                self._done([each for each in batch if each not in refused])
                if refusals:
                    self._refused(refusals)
            except Exception:
                # A lane that dies would leave every later message unsettled.
                log.exception("lane failed", extra={"lane": self._name})
            with self._lock:
                self._idle += 1

    def _gather(self) -> Sequence[Received]:
        """Return one to ten messages; none once the lane is closed."""
        batch: list[Received] = []
        leave_at: float | None = None
        # One gathers at a time, so one waits at a time and is woken.
        with self._gathering, self._changed:
            while not self._is_closed:
                now = time.monotonic()
                while self._later and len(batch) < MAX_BATCH and self._later[0][0] <= now:
                    batch.append(heapq.heappop(self._later)[2])
                while self._items and len(batch) < MAX_BATCH:
                    leave_at = leave_at or now + _LINGER_S
                    batch.append(self._items.popleft())
                if len(batch) == MAX_BATCH:
                    break
                if not batch:
                    self._changed.wait(self._later[0][0] - now if self._later else None)
                # What is tried again has lingered once; it takes along what lies ready.
                elif leave_at is None or leave_at <= now:
                    break
                else:
                    self._changed.wait(leave_at - now)
            self._idle -= 1
        return batch

    def _refused(self, refusals: Sequence[Refusal]) -> None:
        self._metrics.add(ack_retries=len(refusals))
        now = time.monotonic()
        for refusal in refusals:
            received = refusal.received
            received.attempts += 1
            if refusal.is_final or not self._lives(received):
                self._gave_up(received, refusal.code)
                continue
            most_s = min(_LAST_RETRY_S, _FIRST_RETRY_S * 2 ** min(received.attempts, 10))
            with self._changed:
                entry = (now + random.uniform(0, most_s), next(self._order), received)
                heapq.heappush(self._later, entry)
                # The thread that gathers may wait for a later time than this.
                self._changed.notify()


class Channel:
    """Holds one queue's messages and settles them; every method is thread-safe.

    Args:
        crew: the threads, which all queues of the process share.
        recall: takes those of some messages that no thread has begun out of the worker's hands.
        visibility_s: how long a dead worker hides its messages, in whole seconds.
        hold_limit_s: how long the lease keeps a running message at least; a longer time
            limit extends it, and without one it is kept for as long as it runs.
    """

    def __init__(
        self,
        client: SqsClient,
        queues: Queues,
        *,
        queue: QueueAddress,
        metrics: Metrics,
        crew: Crew,
        recall: Recall,
        visibility_s: int = 60,
        hold_limit_s: float = 900.0,
    ) -> None:
        self.client, self.queue, self.metrics = client, queue, metrics
        self.visibility_s = visibility_s
        self._queues, self._recall, self._hold_limit_s = queues, recall, hold_limit_s
        self.held = HeldSet()
        prefetch = Prefetch(threads=crew.threads, visibility_s=visibility_s)
        self.slots = Slots(self.held, prefetch, crew)
        # A delete that fails makes finished work run again, so it is tried while the handle lives,
        # for hours: a key that is disabled or a token that ran out comes right only then.
        self._deletes = Lane(
            f"delete-{queue.name}",
            call=self._delete,
            done=self.held.forget,
            gave_up=self._delete_lost,
            metrics=metrics,
            lives=lambda received: time.monotonic() < received.handle_until,
        )
        # What is not given back in time comes back by itself, and a return that came after that
        # would hide what another worker has.
        self._returns = Lane(
            f"return-{queue.name}",
            call=self._return,
            done=self.held.forget,
            gave_up=self._return_lost,
            metrics=metrics,
            lives=lambda received: time.monotonic() < received.extend_at + visibility_s / 2,
        )
        # Deleted only once its copy is accepted: a crash in between makes two copies, not none.
        self._burials = Lane(
            f"bury-{queue.name}",
            call=self._bury,
            done=self._buried,
            gave_up=self._burial_failed,
            metrics=metrics,
        )
        self.lease = Lease(
            self.held,
            extend=self._extend,
            given_back=self._returns.put,
            visibility_s=visibility_s,
            metrics=metrics,
            recall=self._give_back_waiting,
        )

    def began(self, received: Received, limit_s: float) -> None:
        """Note that a thread runs a message, for `limit_s` at most.

        The lease goes on past that for a thread that does not stop at once, and then gives the
        message up: a thread that hangs in a system call never stops.
        """
        received.began_at = time.monotonic()
        kept_s = max(self._hold_limit_s, limit_s + self.visibility_s)
        received.leased_until = min(received.handle_until, received.began_at + kept_s)

    def ack(self, received: Received) -> None:
        """Delete a message in the background; its slot is free at once."""
        self._settle(received, self._deletes)

    def retry(self, received: Received, delay_s: float) -> None:
        """Give a message back after `delay_s`, at most 12 h after it was received."""
        # SQS counts the 12 h from the receive, and refuses a timeout that would pass them.
        left_s = MAX_BACKOFF_S - (time.monotonic() - received.received_at)
        received.visibility_s = max(0, math.ceil(min(delay_s, left_s)))
        self._settle(received, self._returns)

    def bury(self, received: Received, reason: str, *, is_expected: bool = False) -> None:
        """Copy a message to the dead letters and delete it, in the background."""
        received.reason = reason
        log.log(
            logging.INFO if is_expected else logging.ERROR,
            "dead letter",
            extra={"queue": self.queue.name, "sqs_id": received.sqs_id, "reason": reason},
        )
        self._settle(received, self._burials)

    def _settle(self, received: Received, lane: Lane) -> None:
        received.attempts = 0
        # No limit of the run counts any more: what waits for its last call must stay hidden.
        received.leased_until = received.handle_until
        self.held.settle(received)
        lane.put(received)
        self.slots.freed()

    def release(self, messages: Iterable[Received]) -> None:
        """Give messages back at once, in the background."""
        for received in messages:
            self.retry(received, 0)

    def release_now(self, messages: Iterable[Received]) -> None:
        """Give messages back before returning, for pollers that outlive the channel."""
        for batch in batches(messages):
            for received in batch:
                received.visibility_s = 0
            self._return(batch)

    def flush(self, timeout_s: float) -> bool:
        """Wait until every finished message is settled; tell whether that happened."""
        until = time.monotonic() + timeout_s
        while self.held.settling and time.monotonic() < until:
            time.sleep(0.002)
        return not self.held.settling

    def close(self, timeout_s: float) -> None:
        """Settle what is finished, give back what still runs, and stop."""
        # In this order: a lease that went on would hide again what is given back, and lanes
        # that were closed first would drop it.
        self.lease.stop()
        self.release(list(self.held.active))
        if not self.flush(timeout_s):
            log.warning(
                "unsettled at close",
                extra={"queue": self.queue.name, "messages": len(self.held.settling)},
            )
        for lane in (self._burials, self._deletes, self._returns):
            lane.close()
        self.slots.leave()

    def snapshot(self, *, pollers: int) -> Snapshot:
        """Return the counters and the state now."""
        now, everything = time.monotonic(), self.held.everything()
        return Snapshot(
            counts=self.metrics.copy(),
            in_flight=len(self.held.active),
            settling=len(self.held.settling),
            oldest_held_s=max((now - each.received_at for each in everything), default=0.0),
            pollers=pollers,
            prefetch=self.slots.prefetch.bound(),
        )

    def _give_back_waiting(self, waiting: Collection[Received]) -> None:
        recalled = self._recall(waiting)
        if recalled:
            log.info("waited too long", extra={"queue": self.queue.name, "messages": len(recalled)})
        with self.slots.returning(len(recalled)):
            self.release(recalled)

    def _delete(self, batch: Sequence[Received]) -> Sequence[Refusal]:
        entries = [{"ReceiptHandle": each.handle} for each in batch]
        refusals = _attempt(self.client.delete_message_batch, self.queue, batch, entries)
        self.metrics.add(delete_calls=1, deleted=len(batch) - len(refusals))
        return refusals

    def _delete_lost(self, received: Received, code: str) -> None:
        # It comes again although it is done: here actors must be idempotent.
        self.held.forget([received])
        self.metrics.add(deletes_lost=1)
        log.warning("delete lost", extra={"sqs_id": received.sqs_id, "code": code})

    def _return(self, batch: Sequence[Received]) -> Sequence[Refusal]:
        refusals = self._hide(batch, [each.visibility_s or 0 for each in batch])
        self.metrics.add(visibility_calls=1, given_back=len(batch) - len(refusals))
        return refusals

    def _return_lost(self, received: Received, code: str) -> None:
        # Its visibility runs out by itself.
        self.held.forget([received])
        log.warning("return lost", extra={"sqs_id": received.sqs_id, "code": code})

    def _extend(self, batch: Sequence[Received]) -> Sequence[Refusal]:
        now = time.monotonic()
        # Towards the end of the 12 h only what is left of them, or SQS refuses the entry.
        left_s = [int(each.handle_until - now) for each in batch]
        return self._hide(batch, [max(0, min(self.visibility_s, each)) for each in left_s])

    def _hide(self, batch: Sequence[Received], timeouts: Sequence[int]) -> Sequence[Refusal]:
        entries = [
            {"ReceiptHandle": each.handle, "VisibilityTimeout": timeout_s}
            for each, timeout_s in zip(batch, timeouts, strict=True)
        ]
        return _attempt(self.client.change_message_visibility_batch, self.queue, batch, entries)

    def _bury(self, batch: Sequence[Received]) -> Sequence[Refusal]:
        try:
            dead_letters = self._queues.dead_letters_of(self.queue.name)
        except Exception as error:
            log.error("no dead-letter queue", extra={"error": str(error)})
            return [Refusal(each, "NoDeadLetterQueue", is_final=True) for each in batch]
        refusals: list[Refusal] = []
        for part in batches(batch, size=lambda each: len(each.body.encode()) + _LABEL_BYTES):
            copies = [_copy_of(each, self.queue, dead_letters) for each in part]
            refusals += _attempt(self.client.send_message_batch, dead_letters, part, copies)
        self.metrics.add(burial_calls=1, buried=len(batch) - len(refusals))
        return refusals

    def _buried(self, batch: Sequence[Received]) -> None:
        for received in batch:
            self.ack(received)

    def _burial_failed(self, received: Received, code: str) -> None:
        log.error("burial failed", extra={"sqs_id": received.sqs_id, "code": code})
        self.retry(received, backoff_s(received.receives, min_s=self.visibility_s))


def _attempt(
    call: Callable[..., Any],
    queue: QueueAddress,
    batch: Sequence[Received],
    entries: Sequence[Mapping[str, Any]],
) -> Sequence[Refusal]:
    """Make a batch call, and never raise: one that fails as a whole refuses every entry."""
    numbered = [{"Id": str(i), **entry} for i, entry in enumerate(entries)]
    try:
        answer = call(QueueUrl=queue.url, Entries=numbered)
    except Exception as error:
        log.warning("sqs call failed", extra={"url": queue.url, "error": str(error)})
        return [Refusal(each, code_of(error), is_final=False) for each in batch]
    return [
        Refusal(batch[int(failed["Id"])], failed.get("Code", "Unknown"), is_final(failed))
        for failed in answer.get("Failed", ())
    ]


def _copy_of(
    received: Received, queue: QueueAddress, dead_letters: QueueAddress
) -> Mapping[str, Any]:
    """Return the entry that sends a message to the dead letters as it came, with the reason."""

    def text(value: str) -> Mapping[str, str]:
        # SQS refuses a message for one control character.
        legal = "".join(c if c.isprintable() and c <= "\uffef" else " " for c in value)
        cut = legal.encode()[:_REASON_BYTES].decode(errors="ignore")
        return {"DataType": "String", "StringValue": cut or "unknown"}

    kept = {
        name: {k: v for k, v in value.items() if k in ("DataType", "StringValue", "BinaryValue")}
        for name, value in list(received.attributes.items())[:_KEPT_ATTRIBUTES]
    }
    labels = {
        "dead_letter_reason": text(received.reason),
        "dead_letter_queue": text(queue.name),
        "dead_letter_receives": {"DataType": "Number", "StringValue": str(received.receives)},
    }
    entry = {"MessageBody": received.body, "MessageAttributes": kept | labels}
    if dead_letters.is_fifo:
        # The message's id, so that a burial whose reply was lost makes no second copy.
        group_id, dedup_id = received.group_id or "dead", received.sqs_id
        return {**entry, "MessageGroupId": group_id, "MessageDeduplicationId": dedup_id}
    return {**entry, "MessageGroupId": received.group_id} if received.group_id else entry
