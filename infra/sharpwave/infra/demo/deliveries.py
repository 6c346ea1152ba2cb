"""The replay's own ledger of deliveries: what is due, what came, how often and how fast."""

import itertools
import math
import threading
from collections import Counter
from collections.abc import Iterable, Sequence
from typing import NamedTuple

_RECENT = 200


class Due(NamedTuple):
    """One signal at one target."""

    signal_id: str
    target: str


class Deliveries:
    """Counts every delivery from both ends; safe from several threads.

    A signal may be in its target's hands before its sender has the answer to the write, so the
    two ends are matched only when somebody asks. All times are milliseconds of one clock.
    """

    def __init__(self) -> None:
        self._changed = threading.Condition()
        self._due: dict[Due, float] = {}
        self._handed: dict[Due, float] = {}
        self._times: Counter[Due] = Counter()
        self._acknowledged: set[Due] = set()
        self._open: set[Due] = set()

    def wrote(self, signal_id: str, targets: Iterable[str], at_ms: float) -> None:
        """Note a signal whose write began at `at_ms`."""
        with self._changed:
            new = {Due(signal_id, target): at_ms for target in targets}
            self._due.update(new)
            self._open.update(new.keys() - self._acknowledged)
            self._changed.notify_all()

    def handed(self, signal_id: str, target: str, at_ms: float) -> None:
        """Note that a target's handler was given a signal."""
        with self._changed:
            self._handed.setdefault(Due(signal_id, target), at_ms)
            self._times[Due(signal_id, target)] += 1
            self._changed.notify_all()

    def acknowledged(self, signal_id: str, target: str) -> None:
        """Note that a target is done with a signal."""
        with self._changed:
            self._acknowledged.add(Due(signal_id, target))
            self._open.discard(Due(signal_id, target))
            self._changed.notify_all()

    def wait_until_open(self, limit: int, timeout_s: float) -> bool:
        """Wait until at most `limit` deliveries are due and not acknowledged.

        Returns:
            False when that took longer than `timeout_s`.
        """
        with self._changed:
            return self._changed.wait_for(lambda: len(self._open) <= limit, max(0.0, timeout_s))

    def is_due(self, signal_id: str, target: str) -> bool:
        """Say whether a written signal asks for this delivery."""
        return Due(signal_id, target) in self._due

    @property
    def due(self) -> int:
        """Count the deliveries that the written signals ask for."""
        return len(self._due)

    @property
    def delivered(self) -> int:
        """Count the deliveries that reached a handler."""
        return len(self._handed)

    @property
    def processed(self) -> int:
        """Count the deliveries that were acknowledged."""
        return len(self._acknowledged)

    @property
    def lost(self) -> list[Due]:
        """Name what was due and reached nobody, in order."""
        with self._changed:
            return sorted(self._due.keys() - self._handed.keys())

    @property
    def doubled(self) -> list[Due]:
        """Name what a handler was given more than once, in order."""
        with self._changed:
            return sorted(due for due, times in self._times.items() if times > 1)

    @property
    def strays(self) -> list[Due]:
        """Name what reached an agent it was not meant for, in order."""
        with self._changed:
            return sorted(self._handed.keys() - self._due.keys())

    def recent_p50_ms(self) -> float | None:
        """Give the median time from write to receipt of the latest deliveries."""
        with self._changed:
            latest = list(itertools.islice(reversed(self._handed.items()), _RECENT))
            known = [at - self._due[due] for due, at in latest if due in self._due]
        return percentile(sorted(known), 0.5)

    def latencies_ms(self) -> list[float]:
        """Give the time from the write of a signal to its receipt, sorted, in milliseconds."""
        with self._changed:
            pairs = [(self._due[due], at) for due, at in self._handed.items() if due in self._due]
        return sorted(received - written for written, received in pairs)


def percentile(ordered: Sequence[float], share: float) -> float | None:
    """Give the smallest value that at least `share` of the sorted values do not exceed."""
    if not ordered:
        return None
    rank = math.ceil(round(len(ordered) * share, 6))
    return ordered[max(1, rank) - 1]
