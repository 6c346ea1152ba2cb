"""Everything this process does with one queue, apart from polling it.

A channel outlives consumers: Dramatiq replaces a consumer after a pause or an
error while its messages are still running, and those still need the heartbeat
and an acknowledgement.
"""

from __future__ import annotations

import logging
import math
import time
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from sharpwave.workers.sqs import ack
from sharpwave.workers.sqs.client import SqsClient
from sharpwave.workers.sqs.heartbeat import Heartbeat
from sharpwave.workers.sqs.held import Held, HeldSet
from sharpwave.workers.sqs.lane import Lane, LaneOptions, Refusal
from sharpwave.workers.sqs.metrics import Metrics, Snapshot
from sharpwave.workers.sqs.pace import Pace
from sharpwave.workers.sqs.portions import portions
from sharpwave.workers.sqs.queues import Queue, Queues
from sharpwave.workers.sqs.retries import MAX_BACKOFF_S, backoff_s
from sharpwave.workers.sqs.slots import Crew, Slots

log = logging.getLogger(__name__)

Recall = Callable[[Collection[Held]], Sequence[Held]]


@dataclass(frozen=True, slots=True, kw_only=True)
class ChannelOptions:
    """How a channel holds messages.

    Attributes:
        visibility_s: how long a dead worker hides its messages, in whole seconds.
        hold_limit_s: how long the heartbeat keeps a running message at least; a longer time
            limit extends it, and without one it is kept for as long as it runs.
    """

    visibility_s: int = 60
    hold_limit_s: float = 900.0
    lane: LaneOptions = field(default_factory=LaneOptions)


class Channel:
    """Holds one queue's messages and settles them; every method is thread-safe.

    Args:
        crew: the threads, which all queues of the process share.
        recall: takes those of some messages that no thread has begun out of the worker's hands.
    """

    def __init__(
        self,
        client: SqsClient,
        queues: Queues,
        *,
        queue: Queue,
        metrics: Metrics,
        crew: Crew,
        recall: Recall,
        options: ChannelOptions,
    ) -> None:
        self._recall = recall
        self._client, self._queues, self.queue = client, queues, queue
        self.metrics, self.options = metrics, options
        self.held = HeldSet()
        self.pace = Pace(threads=crew.threads, visibility_s=options.visibility_s)
        self.slots = Slots(self.held, self.pace, crew)
        # A delete that fails makes finished work run again, so it is tried while the handle lives.
        self._deletes = self._lane("delete", self._delete, self._delete_lost, lives=_has_handle)
        self._returns = self._lane("return", self._return, self._return_lost, lives=self._is_hidden)
        self._burials = self._lane("bury", self._bury, self._burial_failed, then=self._buried)
        self._heartbeat = Heartbeat(
            self.held,
            extend=self._extend,
            given_back=self._returns.put,
            visibility_s=options.visibility_s,
            metrics=metrics,
            recall=self._give_back_waiting,
        )

    def receive(self, most: int, wait_s: int) -> Sequence[Mapping[str, Any]]:
        """Ask SQS for messages, in its own form.

        In a FIFO queue one at a time: SQS keeps the rest of a group back until the
        first is deleted, so threads cannot overtake each other.
        """
        self._heartbeat.start(f"heartbeat-{self.queue.name}")
        answer = self._client.receive_message(
            QueueUrl=self.queue.url,
            MaxNumberOfMessages=1 if self.queue.is_fifo else most,
            WaitTimeSeconds=wait_s,
            VisibilityTimeout=self.options.visibility_s,
            MessageSystemAttributeNames=["ApproximateReceiveCount", "MessageGroupId"],
            MessageAttributeNames=["All"],
        )
        messages: Sequence[Mapping[str, Any]] = answer.get("Messages", ())
        return messages

    def began(self, held: Held, limit_s: float) -> None:
        """Note that a thread runs a message, for `limit_s` at most.

        The heartbeat goes on past that for a thread that does not stop at once, and then gives the
        message up: a thread that hangs in a system call never stops.
        """
        held.began_at = time.monotonic()
        kept_s = max(self.options.hold_limit_s, limit_s + self.options.visibility_s)
        held.heartbeat_until = min(held.handle_until, held.began_at + kept_s)

    def ack(self, held: Held) -> None:
        """Delete a message in the background; its slot is free at once."""
        self._settle(held, self._deletes)

    def retry(self, held: Held, delay_s: float) -> None:
        """Give a message back after `delay_s`, at most 12 h after it was received."""
        spent_s = time.monotonic() - held.received_at
        held.visibility_s = max(0, math.ceil(min(delay_s, MAX_BACKOFF_S - spent_s)))
        self._settle(held, self._returns)

    def bury(self, held: Held, reason: str, *, is_expected: bool = False) -> None:
        """Copy a message to the dead letters and delete it, in the background."""
        held.reason = reason
        log.log(
            logging.INFO if is_expected else logging.ERROR,
            "dead letter",
            extra={"queue": self.queue.name, "sqs_id": held.sqs_id, "reason": reason},
        )
        self._settle(held, self._burials)

    def release(self, messages: Iterable[Held]) -> None:
        """Give messages back at once, in the background."""
        for held in messages:
            self.retry(held, 0)

    def release_now(self, messages: Iterable[Held]) -> None:
        """Give messages back before returning, for pollers that outlive the channel."""
        for batch in portions(messages, size=lambda _: 0):
            for held in batch:
                held.visibility_s = 0
            self._return(batch)

    def flush(self, timeout_s: float) -> bool:
        """Wait until every finished message is settled; tell whether that happened."""
        until = time.monotonic() + timeout_s
        while self.held.settling and time.monotonic() < until:
            time.sleep(0.002)
        return not self.held.settling

    def close(self, timeout_s: float) -> None:
        """Settle what is finished, give back what still runs, and stop."""
        self._heartbeat.stop()
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
        return Snapshot(
            counts=self.metrics.copy(),
            in_flight=len(self.held.active),
            settling=len(self.held.settling),
            oldest_held_s=self.held.oldest_s(),
            pollers=pollers,
            prefetch=self.pace.bound(),
        )

    def _settle(self, held: Held, lane: Lane) -> None:
        held.attempts = 0
        held.heartbeat_until = held.handle_until
        self.held.settle(held)
        lane.put(held)
        self.slots.freed()

    def _give_back_waiting(self, waiting: Collection[Held]) -> None:
        recalled = self._recall(waiting)
        if recalled:
            log.info(
                "waited too long",
                extra={"queue": self.queue.name, "messages": len(recalled)},
            )
        with self.slots.returning(len(recalled)):
            self.release(recalled)

    def _is_hidden(self, held: Held) -> bool:
        # What is not given back in time comes back by itself.
        return time.monotonic() < held.extend_at + self.options.visibility_s / 2

    def _lane(
        self, name: str, call: Any, gave_up: Any, then: Any = None, lives: Any = None
    ) -> Lane:
        return Lane(
            f"{name}-{self.queue.name}",
            call=call,
            done=then or self.held.forget,
            gave_up=gave_up,
            retried=lambda count: self.metrics.add(ack_retries=count),
            lives=lives,
            options=self.options.lane,
        )

    def _delete(self, batch: Sequence[Held]) -> Sequence[Refusal]:
        refusals = ack.delete(self._client, self.queue, batch)
        self.metrics.add(delete_calls=1, deleted=len(batch) - len(refusals))
        return refusals

    def _delete_lost(self, held: Held, code: str) -> None:
        self.held.forget([held])
        self.metrics.add(deletes_lost=1)
        log.warning("delete lost", extra={"sqs_id": held.sqs_id, "code": code})

    def _return(self, batch: Sequence[Held]) -> Sequence[Refusal]:
        refusals = ack.change_visibility(self._client, self.queue, batch)
        self.metrics.add(visibility_calls=1, given_back=len(batch) - len(refusals))
        return refusals

    def _return_lost(self, held: Held, code: str) -> None:
        # Its visibility runs out by itself.
        self.held.forget([held])
        log.warning("return lost", extra={"sqs_id": held.sqs_id, "code": code})

    def _extend(self, batch: Sequence[Held]) -> Sequence[Refusal]:
        return ack.extend(self._client, self.queue, batch, self.options.visibility_s)

    def _bury(self, batch: Sequence[Held]) -> Sequence[Refusal]:
        try:
            dead_letters = self._queues.dead_letters_of(self.queue.name)
        except Exception as error:
            log.error("no dead-letter queue", extra={"error": str(error)})
            return [Refusal(held, "NoDeadLetterQueue", is_final=True) for held in batch]
        refusals = ack.bury(self._client, self.queue, dead_letters, batch)
        self.metrics.add(burial_calls=1, buried=len(batch) - len(refusals))
        return refusals

    def _buried(self, batch: Sequence[Held]) -> None:
        for held in batch:
            self.ack(held)

    def _burial_failed(self, held: Held, code: str) -> None:
        log.error("burial failed", extra={"sqs_id": held.sqs_id, "code": code})
        self.retry(held, backoff_s(held.receives, min_s=self.options.visibility_s))


def _has_handle(held: Held) -> bool:
    return time.monotonic() < held.handle_until
