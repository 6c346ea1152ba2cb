"""Measuring: what a series comes down to, how a count grows, what a process group has spent."""

import math
import os
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from statistics import median

from sharpwave.infra.local.processes import Child

Figures = Mapping[str, float | None]


def quantile(values: Sequence[float], share: float) -> float | None:
    """Give the value that `share` of the values do not exceed, by nearest rank; None of nothing."""
    if not values:
        return None
    ranked = sorted(values)
    return ranked[max(0, math.ceil(share * len(ranked)) - 1)]


def latency_figures(seconds: Sequence[float]) -> dict[str, float | None]:
    """Sum up latencies, given in seconds, as milliseconds."""
    return {
        f"{name}_ms": None if (value := quantile(seconds, share)) is None else value * 1000
        for name, share in (("p50", 0.5), ("p95", 0.95), ("p99", 0.99))
    }


def median_of_runs(runs: Sequence[Figures]) -> dict[str, float | None]:
    """Give each figure's median over the runs that have it."""
    found: dict[str, float | None] = {}
    for name in dict.fromkeys(name for run in runs for name in run):
        known = [value for run in runs if (value := run.get(name)) is not None]
        found[name] = median(known) if known else None
    return found


def ratio(one: float | None, other: float | None) -> float | None:
    """Divide, or give None where that makes no sense."""
    return one / other if one is not None and other else None


class Watch:
    """Notes how a count grows and what has been spent on it.

    Figures are of its middle, between a tenth and nine tenths of the total: without start and end.

    Args:
        count: gives the count.
        spent: gives what was spent so far, if that is known.
    """

    def __init__(
        self,
        count: Callable[[], int],
        *,
        spent: Callable[[], float | None] = lambda: None,
        every_s: float = 0.2,
    ) -> None:
        self._count, self._spent, self._every_s = count, spent, every_s
        self.seen: list[tuple[float, int, float | None]] = []

    def until(self, total: int, *, quiet_s: float) -> int:
        """Look until the total is reached, or nothing has changed for a while."""
        changed, last = time.monotonic(), -1
        while time.monotonic() - changed < quiet_s:
            now, number = time.monotonic(), self._count()
            self.seen.append((now, number, self._spent()))
            if number != last:
                changed, last = now, number
            if number >= total:
                break
            threading.Event().wait(self._every_s)
        return last

    def rate(self, total: int) -> float | None:
        """Give the growth per second."""
        (began, low, _), (ended, high, _) = self._middle(total)
        return ratio(high - low, ended - began)

    def cost(self, total: int) -> float | None:
        """Give what one more was worth."""
        (_, low, before), (_, high, after) = self._middle(total)
        return None if before is None or after is None else ratio(after - before, high - low)

    def _middle(self, total: int) -> tuple[tuple[float, int, float | None], ...]:
        middle = [each for each in self.seen if 0.1 * total <= each[1] <= 0.9 * total]
        return (middle[0], middle[-1]) if middle else ((0.0, 0, None), (0.0, 0, None))


def cpu_s(child: Child) -> float | None:
    """Give the processor time of a child's group so far, where the system tells."""
    ticks = [sum(map(int, _stat(process)[11:13])) for process in _group(child)]
    return sum(ticks) / os.sysconf("SC_CLK_TCK") if ticks else None


def peak_mb(child: Child) -> float | None:
    """Give the most memory that any process of a child's group has had, where the system tells."""
    peaks: list[float] = []
    for process in _group(child):
        try:
            lines = (process / "status").read_text().splitlines()
        except OSError:
            continue
        peaks += [float(line.split()[1]) for line in lines if line.startswith("VmHWM")]
    return max(peaks) / 1024 if peaks else None


def _group(child: Child) -> list[Path]:
    processes = [stat.parent for stat in Path("/proc").glob("[0-9]*/stat")]
    return [each for each in processes if _stat(each)[2:3] == [str(child.pid)]]


def _stat(process: Path) -> list[str]:
    """Give what follows the name: state, parent, group and so on."""
    try:
        return (process / "stat").read_text().rpartition(")")[2].split()
    except OSError:
        return []
