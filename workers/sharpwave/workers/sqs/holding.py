"""What this process holds: for how long it stays hidden from others, and how much it may be.

SQS hides a message from its receive for one visibility timeout. `Lease` renews that for as long
as the process lives, `Prefetch` says how much is worth holding, and `Slots` lets pollers wait for
the room.
"""

from __future__ import annotations

import logging
import math
import threading
import time
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

from sharpwave.schemas.queues import MAX_BATCH, batches
from sharpwave.workers.sqs.metrics import Metrics

log = logging.getLogger(__name__)

#: SQS hides a message for at most 12 h after a receive, however often it is asked to.
#: Source: AWS, "Amazon SQS visibility timeout".
MOST_HIDDEN_S = 12 * 3600

# Prefetch.
_WINDOW_S = 0.02
_RATE_MEMORY_S = 0.25
_AHEAD_S = 1.0
_MOST = 1000

# Slots.
_FEWEST = 5
_PATIENCE_S = 0.1
# Deletes that lag this far behind hold the pollers back, so memory stays bounded.
_MOST_SETTLING = 1000


@dataclass(slots=True, eq=False)
class Received:
    """One received message and what is to become of it.

    All times are on the monotonic clock: a step of the wall clock must not end a lease.

    Attributes:
        receives: how often SQS handed the message out, this time included.
        extend_at: when its visibility is due to be extended.
        leased_until: when it is extended no further.
        began_at: when a thread began to run it; None while it waits.
        visibility_s: the timeout that gives the message back, once that is decided;
            from then on the lease leaves it alone.
        reason: why the message goes to the dead letters, once that is decided.
        is_lost: the receipt handle is dead; somebody else may have the message.
        attempts: failed tries at the step under way.
    """

    handle: str
    body: str
    receives: int
    received_at: float
    extend_at: float
    leased_until: float
    attributes: Mapping[str, Any] = field(default_factory=dict)
    sqs_id: str = ""
    group_id: str | None = None
    began_at: float | None = None
    visibility_s: int | None = None
    reason: str = ""
    is_lost: bool = False
    attempts: int = 0

    @property
    def handle_until(self) -> float:
        """Return when SQS gives the message up, whatever is done."""
        return self.received_at + MOST_HIDDEN_S


@dataclass(frozen=True, slots=True)
class Refusal:
    """SQS did not do what was asked for one message; if final, asking again cannot help."""

    received: Received
    code: str
    is_final: bool


class HeldSet:
    """Active messages take up a slot; settling ones only wait for their last SQS call.

    Worker threads, pollers, lanes and the lease all use it without a lock: each
    method is built from single set operations, which CPython makes atomic, and a
    message is added to its new set before it leaves the old one.
    """

    def __init__(self) -> None:
        self.active: set[Received] = set()
        self.settling: set[Received] = set()

    def admit(self, messages: Iterable[Received]) -> None:
        """Take up a slot for each message."""
        self.active.update(messages)

    def settle(self, received: Received) -> None:
        """Free the slot of a message whose fate is decided."""
        self.settling.add(received)
        self.active.discard(received)

    def forget(self, messages: Iterable[Received]) -> None:
        """Drop messages that are no longer ours."""
        self.settling.difference_update(messages)

    def everything(self) -> Sequence[Received]:
        """Return all messages held now, in no order."""
        return [*list(self.active), *list(self.settling)]


class Lease:
    """Extends the visibility of running, waiting and settling messages while the process lives.

    A short visibility that is renewed gives a dead worker's messages back soon
    and still allows long tasks.

    Args:
        extend: hides up to ten messages for another `visibility_s`.
        given_back: repeats the return of a message.
        recall: takes back messages that have waited for a thread for a whole visibility timeout:
            another process may have one free.
        visibility_s: the visibility timeout, in seconds.
    """

    def __init__(
        self,
        held: HeldSet,
        *,
        extend: Callable[[Sequence[Received]], Sequence[Refusal]],
        given_back: Callable[[Received], None],
        visibility_s: float,
        metrics: Metrics,
        recall: Callable[[Collection[Received]], None] = lambda _: None,
    ) -> None:
        self._held = held
        self._recall = recall
        self._extend = extend
        self._given_back = given_back
        self._visibility_s = visibility_s
        self._metrics = metrics
        self._stopping = threading.Event()
        self._thread: threading.Thread | None = None

    def start(self, name: str) -> None:
        """Start to renew, once."""
        if self._thread is None:
            thread = threading.Thread(target=self._run, name=name, daemon=True)
            thread.start()
            # Only now: where no thread can be started, the next receive tries again.
            self._thread = thread

    def stop(self) -> None:
        """Renew no more; does not wait for a call under way."""
        self._stopping.set()

    def _run(self) -> None:
        # Eight looks a timeout: a message that is due at half of it has three eighths in hand.
        tick_s = min(5.0, max(0.02, self._visibility_s / 8))
        while not self._stopping.wait(tick_s):
            try:
                self.renew()
            except Exception:
                log.exception("heartbeat failed")

    def renew(self) -> None:
        """Extend every message that is due, and take back what waits too long."""
        now = time.monotonic()
        waiting = {
            each
            for each in list(self._held.active)
            if each.began_at is None
            and each.visibility_s is None
            and now - each.received_at >= self._visibility_s
        }
        if waiting:
            self._recall(waiting)
        due = [
            each
            for each in self._held.everything()
            if each.visibility_s is None
            and not each.is_lost
            and each.extend_at <= now < each.leased_until
        ]
        for batch in batches(due):
            refused = {refusal.received: refusal for refusal in self._extend(batch)}
            self._metrics.add(heartbeats=1, kept_hidden=len(batch) - len(refused))
            now = time.monotonic()
            for each in batch:
                if (refusal := refused.get(each)) is None:
                    # At half time: one call may fail or be late before the message shows.
                    each.extend_at = now + self._visibility_s / 2
                elif refusal.is_final:
                    # The handle died: the message was deleted, or handed out again after this
                    # process slept through its visibility. Its run goes on, and may be the second.
                    each.is_lost = True
                    self._metrics.add(handles_lost=1)
                    log.warning("handle lost", extra={"sqs_id": each.sqs_id, "code": refusal.code})
                if each.visibility_s is not None:
                    # Given back while the extension was under way, which may have come second
                    # and hidden it again.
                    self._given_back(each)


class Prefetch:
    """How many messages to hold: enough to keep every thread busy, and no more.

    By Little's law `rate x latency` messages are on their way while one receive
    is under way; twice that and one batch are held beyond the threads. The store
    never exceeds one second of work, nor what half a visibility timeout drains,
    so slow tasks are left to other workers and nothing waits into a redelivery.
    """

    def __init__(
        self, *, threads: int, visibility_s: float, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self.threads = threads
        self._ahead_s = min(_AHEAD_S, visibility_s / 2)
        self._rate = 0.0
        self._latency_s = 0.02
        self._finished = 0
        self._clock = clock
        self._since = clock()

    def received(self, latency_s: float) -> None:
        """Learn from a receive that did not wait for messages to arrive."""
        self._latency_s += 0.2 * (latency_s - self._latency_s)

    def finished(self, total: int) -> None:
        """Learn how many messages have been finished since the start."""
        now = self._clock()
        elapsed_s = now - self._since
        if elapsed_s < _WINDOW_S:
            return
        rate = (total - self._finished) / elapsed_s
        weight = 1 - math.exp(-elapsed_s / _RATE_MEMORY_S)
        # A rise counts half at once, or threads would idle while the average catches up.
        self._rate += max(weight, 0.5 if rate > self._rate else 0.0) * (rate - self._rate)
        self._since, self._finished = now, total

    def bound(self) -> int:
        """Return the most messages to hold now, running and waiting."""
        wanted = MAX_BATCH + 2 * self._rate * self._latency_s
        return min(_MOST, self.threads + int(min(wanted, self._rate * self._ahead_s)))


@dataclass(frozen=True, slots=True)
class Reserved:
    """Slots for one receive.

    Attributes:
        count: how many messages to ask for; 0 if there is no room.
        is_promised: no other queue may count on them meanwhile.
    """

    count: int
    is_promised: bool = False


class Crew:
    """The threads of a process, and the slots of all its queues, which share them.

    Each queue may hold what the threads can run and a second's work beyond. Of several queues that
    would be the threads several times over, so all together hold no more than one would.
    """

    def __init__(self, threads: int) -> None:
        self.threads = threads
        self.queues: list[Slots] = []
        #: Most messages held, over all queues, at which a waiting poller would find room.
        self.wake_at = -1
        self.changed = threading.Condition()

    def held(self) -> int:
        """Count what all queues hold, running and waiting."""
        return sum(slots.held for slots in self.queues)


class Slots:
    """Counts free slots and makes pollers wait for enough of them.

    Asking SQS for one message whenever one thread falls idle costs a call per
    message, so a poller waits for at least five free slots (ten when the store
    covers the wait), but for 100 ms at most.

    Where queues share the threads, a queue that gave all that was asked for has more,
    and takes slots from the others while it asks. Another queue is polled for a few
    without that: it would keep slots empty for the length of a long poll.
    """

    def __init__(self, held: HeldSet, prefetch: Prefetch, crew: Crew | None = None) -> None:
        self._held = held
        self.prefetch = prefetch
        self._crew = crew or Crew(prefetch.threads)
        self._crew.queues.append(self)
        self._reserved = 0
        self._promised = 0
        self._admitted = 0
        self._is_idle = True
        self._waiting = 0
        self._wake_at = -1
        self._changed = self._crew.changed

    @property
    def held(self) -> int:
        """Count what this queue holds, running and waiting."""
        return len(self._held.active)

    def learn(self) -> None:
        """Follow the rate of finished messages."""
        self.prefetch.finished(self._admitted - self.held)

    def admit(self, messages: Sequence[Received]) -> None:
        """Hold received messages; at once with their count, or the rate would see neither."""
        with self._changed:
            self._admitted += len(messages)
            self._held.admit(messages)

    def take(self, stopping: threading.Event, *, patience_s: float | None) -> Reserved:
        """Reserve slots for one receive.

        Args:
            stopping: ends the wait.
            patience_s: how long to wait while every slot is taken; None for ever.

        Returns:
            How many messages to ask for, ten at most; none if stopped or out of patience.
        """
        began = time.monotonic()
        some_since: float | None = None
        with self._changed:
            while not stopping.is_set():
                now = time.monotonic()
                free, fewest = self._free()
                if free <= 0:
                    some_since = None
                    if patience_s is not None and now - began > patience_s:
                        return Reserved(0)
                elif free >= fewest or (some_since and now - some_since >= _PATIENCE_S):
                    asked = min(MAX_BATCH, free)
                    self._reserved += asked
                    # Not while it is the only queue: another may join during a long poll.
                    is_promised = len(self._crew.queues) > 1 and not self._is_idle
                    self._promised += asked * is_promised
                    return Reserved(asked, is_promised)
                else:
                    some_since = some_since or now
                self._waiting += 1
                # Not longer: the rate, and with it the room, may change without a wake-up.
                self._changed.wait(_PATIENCE_S)
                self._waiting -= 1
        return Reserved(0)

    def give_back(self, reserved: Reserved, *, received: int) -> None:
        """End a reservation, which brought `received` messages."""
        with self._changed:
            self._reserved -= reserved.count
            self._promised -= reserved.count * reserved.is_promised
            self._is_idle = received < reserved.count
            self._changed.notify()

    @contextmanager
    def returning(self, count: int) -> Iterator[None]:
        """Free slots of messages that no thread had, which are not to pass for finished ones."""
        with self._changed:
            self._admitted -= count
            yield

    def freed(self) -> None:
        """Wake a poller if enough slots are free; called once per finished message."""
        # Read without the lock, as each message comes by; a poller looks every 100 ms anyway.
        crew = self._crew
        if len(crew.queues) < 2:
            if self._waiting and self.held <= self._wake_at:
                with self._changed:
                    self._changed.notify()
        elif any(slots._waiting for slots in crew.queues) and crew.held() <= crew.wake_at:
            # Any of the pollers may be the one that has room, so each looks.
            self.wake()

    def wake(self) -> None:
        """Wake every waiting poller, to see that it is to stop."""
        with self._changed:
            self._changed.notify_all()

    def has_room(self) -> bool:
        """Tell whether another poller would find a full batch of free slots."""
        with self._changed:
            free, fewest = self._free()
            return free >= fewest

    def leave(self) -> None:
        """Share the threads no longer."""
        with self._changed:
            if self in self._crew.queues:
                self._crew.queues.remove(self)
            self._changed.notify_all()

    def _free(self) -> tuple[int, int]:
        """Count the slots free now, below 0 if too many are taken, and the fewest worth a call."""
        self.learn()
        lag = max(0, len(self._held.settling) - _MOST_SETTLING)
        bound, crew = self.prefetch.bound(), self._crew
        fewest = min(MAX_BATCH, max(_FEWEST, bound - self.prefetch.threads), bound)
        self._wake_at = bound - self._reserved - fewest
        free = bound - self.held - lag - self._reserved
        if len(crew.queues) < 2:
            return free, fewest
        # The threads count once, what each queue may hold beyond them is added up.
        for slots in crew.queues:
            slots.learn()
        ahead = sum(slots.prefetch.bound() - slots.prefetch.threads for slots in crew.queues)
        held = crew.held()
        room = crew.threads + ahead - held
        promised = sum(slots._promised for slots in crew.queues)
        crew.wake_at = held + room - promised - 1
        if self._is_idle:
            share = max(1, room // len(crew.queues))
            return min(free, share if room > 0 else 0), 1
        return min(free, room - promised), fewest
