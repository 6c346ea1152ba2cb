"""How many messages to hold: enough to keep every thread busy, and no more."""

from __future__ import annotations

import math
import time
from collections.abc import Callable

_BATCH = 10
_WINDOW_S = 0.02
_RATE_MEMORY_S = 0.25
_AHEAD_S = 1.0
_MOST = 1000


class Pace:
    """Follows the rate of finished messages and the latency of receives.

    By Little's law `rate x latency` messages are on their way while one receive
    is under way; twice that and one batch are held beyond the threads. The store
    never exceeds one second of work, nor what half a visibility timeout drains,
    so slow tasks are left to other workers and nothing waits into a redelivery.
    """

    def __init__(
        self,
        *,
        threads: int,
        visibility_s: float,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._threads = threads
        self._ahead_s = min(_AHEAD_S, visibility_s / 2)
        self._rate = 0.0
        self._latency_s = 0.02
        self._finished = 0
        self._clock = clock
        self._since = clock()

    @property
    def threads(self) -> int:
        """Return how many messages can run at once."""
        return self._threads

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
        self._rate += max(weight, 0.5 if rate > self._rate else 0.0) * (rate - self._rate)
        self._since, self._finished = now, total

    def bound(self) -> int:
        """Return the most messages to hold now, running and waiting."""
        wanted = _BATCH + 2 * self._rate * self._latency_s
        return min(_MOST, self._threads + int(min(wanted, self._rate * self._ahead_s)))
