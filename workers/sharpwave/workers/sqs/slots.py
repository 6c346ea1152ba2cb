"""Room for more messages, handed out to pollers in worthwhile portions."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

from sharpwave.workers.sqs.held import Held, HeldSet
from sharpwave.workers.sqs.pace import Pace

_BATCH = 10
_FEWEST = 5
_PATIENCE_S = 0.1
# Deletes that lag this far behind hold the pollers back, so memory stays bounded.
_MOST_SETTLING = 1000


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

    @property
    def is_shared(self) -> bool:
        """Tell whether more than one queue is received from."""
        return len(self.queues) > 1

    def held(self) -> int:
        """Count what all queues hold, running and waiting."""
        return sum(slots.held for slots in self.queues)

    def room(self) -> int:
        """Count the messages that could be held besides those held now; below 0 if too many are."""
        for slots in self.queues:
            slots.learn()
        return self.threads + sum(slots.ahead() for slots in self.queues) - self.held()

    def promised(self) -> int:
        """Count the slots of receives under way that bring what they ask for."""
        return sum(slots.promised for slots in self.queues)


class Slots:
    """Counts free slots and makes pollers wait for enough of them.

    Asking SQS for one message whenever one thread falls idle costs a call per
    message, so a poller waits for at least five free slots (ten when the store
    covers the wait), but for 100 ms at most.

    Where queues share the threads, a queue that gave all that was asked for has more,
    and takes slots from the others while it asks. Another queue is polled for a few
    without that: it would keep slots empty for the length of a long poll.
    """

    def __init__(self, held: HeldSet, pace: Pace, crew: Crew | None = None) -> None:
        self._held = held
        self._pace = pace
        self._crew = crew or Crew(pace.threads)
        self._crew.queues.append(self)
        self._reserved = 0
        self.promised = 0
        self._received = 0
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
        self._pace.finished(self._received - self.held)

    def ahead(self) -> int:
        """Count the messages worth holding beyond the threads."""
        return self._pace.bound() - self._pace.threads

    def admit(self, messages: Sequence[Held]) -> None:
        """Hold received messages; at once with their count, or the rate would see neither."""
        with self._changed:
            self._received += len(messages)
            self._held.admit(messages)

    def take(self, stopping: threading.Event, *, most: int, patience_s: float | None) -> Reserved:
        """Reserve slots for one receive.

        Args:
            stopping: ends the wait.
            most: most slots to take.
            patience_s: how long to wait while every slot is taken; None for ever.

        Returns:
            How many messages to ask for; none if stopped or out of patience.
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
                    return self._reserve(min(most, free))
                else:
                    some_since = some_since or now
                self._wait()
        return Reserved(0)

    def give_back(self, reserved: Reserved, *, received: int) -> None:
        """End a reservation, which brought `received` messages."""
        with self._changed:
            self._reserved -= reserved.count
            if reserved.is_promised:
                self.promised -= reserved.count
            self._is_idle = received < reserved.count
            self._changed.notify()

    @contextmanager
    def returning(self, count: int) -> Iterator[None]:
        """Free slots of messages that no thread had, which are not to pass for finished ones."""
        with self._changed:
            self._received -= count
            yield

    def freed(self) -> None:
        """Wake a poller if enough slots are free; called once per finished message."""
        crew = self._crew
        if not crew.is_shared:
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
        self.learn()
        lag = max(0, len(self._held.settling) - _MOST_SETTLING)
        bound = self._pace.bound()
        fewest = min(_BATCH, max(_FEWEST, bound - self._pace.threads), bound)
        self._wake_at = bound - self._reserved - fewest
        free = bound - self.held - lag - self._reserved
        if not self._crew.is_shared:
            return free, fewest
        room, promised = self._crew.room(), self._crew.promised()
        self._crew.wake_at = self._crew.held() + room - promised - 1
        if self._is_idle:
            share = max(1, room // len(self._crew.queues))
            return min(free, share if room > 0 else 0), 1
        return min(free, room - promised), fewest

    def _reserve(self, count: int) -> Reserved:
        self._reserved += count
        # Not while it is the only queue: another may join during a long poll.
        is_promised = self._crew.is_shared and not self._is_idle
        if is_promised:
            self.promised += count
        return Reserved(count, is_promised)

    def _wait(self) -> None:
        self._waiting += 1
        self._changed.wait(_PATIENCE_S)
        self._waiting -= 1
