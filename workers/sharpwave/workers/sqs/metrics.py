"""Counters of one queue; how full the batches are says what a message costs."""

from __future__ import annotations

import threading
from dataclasses import dataclass, fields


@dataclass(slots=True)
class Counts:
    """Totals since the broker started."""

    #: ReceiveMessage calls that were answered, those of them that brought nothing, and failed ones.
    receives: int = 0
    empty_receives: int = 0
    receive_errors: int = 0
    received: int = 0
    delete_calls: int = 0
    deleted: int = 0
    #: Messages put back for another try at a delete, a return or a burial.
    ack_retries: int = 0
    #: Deletes given up; these messages come again.
    deletes_lost: int = 0
    #: Calls that gave messages back, to retry or at shutdown.
    visibility_calls: int = 0
    given_back: int = 0
    #: Calls that kept messages hidden.
    heartbeats: int = 0
    kept_hidden: int = 0
    #: Messages whose receipt handle died while held.
    handles_lost: int = 0
    #: Calls that copied messages to the dead letters.
    burial_calls: int = 0
    buried: int = 0
    #: Received bodies that no worker can run.
    poison: int = 0
    #: SendMessage and SendMessageBatch calls, messages accepted, and messages refused.
    send_calls: int = 0
    sent: int = 0
    send_failures: int = 0


@dataclass(frozen=True, slots=True)
class Snapshot:
    """One queue's counters and state at one moment.

    Attributes:
        in_flight: messages running or waiting for a thread.
        settling: finished messages whose last SQS call is not yet answered.
        oldest_held_s: age in seconds of the message held longest.
        pollers: receives under way or waiting for slots.
        prefetch: most messages this process would hold now.
    """

    counts: Counts
    in_flight: int = 0
    settling: int = 0
    oldest_held_s: float = 0.0
    pollers: int = 0
    prefetch: int = 0

    @property
    def receive_fill(self) -> float:
        """Mean messages per receive that brought any, at most 10."""
        return _ratio(self.counts.received, self.counts.receives - self.counts.empty_receives)

    @property
    def ack_fill(self) -> float:
        """Mean messages per delete call, at most 10."""
        return _ratio(self.counts.deleted, self.counts.delete_calls)

    @property
    def send_fill(self) -> float:
        """Mean messages per send call, at most 10."""
        return _ratio(self.counts.sent, self.counts.send_calls)

    @property
    def calls_per_message(self) -> float:
        """API calls per message received, sending not counted."""
        c = self.counts
        calls = c.receives + c.delete_calls + c.visibility_calls + c.heartbeats + c.burial_calls
        return _ratio(calls, c.received)


class Metrics:
    """Counts from many threads, once per API call rather than per message."""

    def __init__(self) -> None:
        self._counts = Counts()
        self._lock = threading.Lock()

    def add(self, **amounts: int) -> None:
        """Add to counters by name."""
        with self._lock:
            for name, amount in amounts.items():
                setattr(self._counts, name, getattr(self._counts, name) + amount)

    def copy(self) -> Counts:
        """Return the counters as they are now."""
        with self._lock:
            return Counts(*(getattr(self._counts, field.name) for field in fields(Counts)))


def _ratio(part: int, whole: int) -> float:
    return part / whole if whole else 0.0
