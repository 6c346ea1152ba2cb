"""How long to wait: after a failure, and between two polls."""

import random
from collections.abc import Callable


class Backoff:
    """Full jitter: a uniform wait below a ceiling that doubles with each failure.

    Args:
        base_s: ceiling of the first wait, in seconds.
        cap_s: greatest ceiling, in seconds.
        uniform: draws between two bounds.
    """

    def __init__(
        self,
        base_s: float,
        cap_s: float,
        *,
        uniform: Callable[[float, float], float] = random.uniform,
    ) -> None:
        self._base_s = base_s
        self._cap_s = cap_s
        self._uniform = uniform
        self.failures = 0

    def next_s(self) -> float:
        """Count one more failure and give the wait before the next try, in seconds."""
        ceiling = min(self._cap_s, self._base_s * 2 ** min(self.failures, 32))
        self.failures += 1
        return self._uniform(0.0, ceiling)

    def reset(self) -> None:
        """Start over after a success."""
        self.failures = 0


class Pace:
    """Reads at once after a full page, in a steady beat after recent traffic, seldom when idle.

    What is read a beat later is read together, which spares the read after every page. Where reads
    are slow there is half a beat of rest between them, for others may be waiting for the backend.

    Args:
        busy_wait_s: from one read to the next while traffic is recent.
        busy_for_s: how long traffic counts as recent.
        idle_wait_s: the wait that an idle table backs off to, doubling.
    """

    def __init__(self, *, busy_wait_s: float, busy_for_s: float, idle_wait_s: float) -> None:
        self._busy_wait_s = busy_wait_s
        self._busy_for_s = busy_for_s
        self._idle_wait_s = idle_wait_s
        self._last_traffic = float("-inf")
        self._wait_s = busy_wait_s

    def after(self, records: int, *, began: float, now: float, is_full: bool = False) -> float:
        """Seconds to wait after a pass that handled `records`; both times are monotonic."""
        if records:
            self._last_traffic = now
            self._wait_s = self._busy_wait_s
        elif now - self._last_traffic >= self._busy_for_s:
            self._wait_s = min(self._idle_wait_s, self._wait_s * 2)
        return 0.0 if is_full else max(self._wait_s / 2, began + self._wait_s - now)
