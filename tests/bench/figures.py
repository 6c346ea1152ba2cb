"""What a series of measurements comes down to."""

import math
from collections.abc import Mapping, Sequence
from statistics import median

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
    names = dict.fromkeys(name for run in runs for name in run)
    return {name: _median([run.get(name) for run in runs]) for name in names}


def ratio(one: float | None, other: float | None) -> float | None:
    """Divide, or give None where that makes no sense."""
    return one / other if one is not None and other else None


def _median(values: Sequence[float | None]) -> float | None:
    known = [value for value in values if value is not None]
    return median(known) if known else None
