"""Room for more messages, handed out to pollers in worthwhile portions."""

from __future__ import annotations

import threading
import time

from sharpwave.workers.sqs.held import HeldSet
from sharpwave.workers.sqs.pace import Pace

_BATCH = 10
_FEWEST = 5
_PATIENCE_S = 0.1
# Deletes that lag this far behind hold the pollers back, so memory stays bounded.
_MOST_SETTLING = 1000


class Slots:
    """Counts free slots and makes pollers wait for enough of them.

    Asking SQS for one message whenever one thread falls idle costs a call per
    message, so a poller waits for at least five free slots (ten when the store
    covers the wait), but for 100 ms at most.
    """

    def __init__(self, held: HeldSet, pace: Pace) -> None:
        self._held = held
        self._pace = pace
        self._reserved = 0
        self._received = 0
        self._waiting = 0
        self._wake_at = -1
        self._changed = threading.Condition()

    def take(self, stopping: threading.Event, *, most: int, patience_s: float | None) -> int:
        """Reserve slots for one receive and return how many.

        Args:
            stopping: ends the wait.
            most: most slots to take.
            patience_s: how long to wait while every slot is taken; None for ever.

        Returns:
            The number of messages to ask for, 0 if stopped or out of patience.
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
                        return 0
                elif free >= fewest or (some_since and now - some_since >= _PATIENCE_S):
                    asked = min(most, free)
                    self._reserved += asked
                    return asked
                else:
                    some_since = some_since or now
                self._wait()
        return 0

    def give_back(self, reserved: int, *, received: int) -> None:
        """End a reservation; the `received` messages are in the held set by now."""
        with self._changed:
            self._reserved -= reserved
            self._received += received
            self._changed.notify()

    def freed(self) -> None:
        """Wake a poller if enough slots are free; called once per finished message."""
        if self._waiting and len(self._held.active) <= self._wake_at:
            with self._changed:
                self._changed.notify()

    def wake(self) -> None:
        """Wake every waiting poller, to see that it is to stop."""
        with self._changed:
            self._changed.notify_all()

    def has_room(self) -> bool:
        """Tell whether another poller would find a full batch of free slots."""
        with self._changed:
            free, fewest = self._free()
            return free >= fewest

    def _free(self) -> tuple[int, int]:
        active = len(self._held.active)
        self._pace.finished(self._received - active)
        active += max(0, len(self._held.settling) - _MOST_SETTLING)
        bound = self._pace.bound()
        fewest = min(_BATCH, max(_FEWEST, bound - self._pace.threads), bound)
        self._wake_at = bound - self._reserved - fewest
        return bound - active - self._reserved, fewest

    def _wait(self) -> None:
        self._waiting += 1
        self._changed.wait(_PATIENCE_S)
        self._waiting -= 1
