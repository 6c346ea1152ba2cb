"""What counts say about a pattern; every figure is a pure function of them."""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import date

from sharpwave.workers.patterns.beta import Beta
from sharpwave.workers.patterns.counts import Counts, total
from sharpwave.workers.patterns.elements import QUALITY_SCALE

HALF_LIFE_DAYS = 14.0
MIN_LIFT = 0.05
PRIOR_STRENGTH = 4.0
"""How many outcomes the base rate weighs in the posterior."""

MIN_COMPLEMENT = 20
DEFAULT_BASE_RATE = 0.5

_HIGHEST_BAR = 0.999
_EMPTY = Counts()


@dataclass(frozen=True, slots=True)
class BaseRate:
    """How often decisions succeed that the pattern does not cover.

    Attributes:
        rate: strictly between 0 and 1.
        n: outcomes it was measured on; 0 when it is the stored or default one.

    Raises:
        ValueError: the rate is not strictly between 0 and 1.
    """

    rate: float = DEFAULT_BASE_RATE
    n: int = 0

    def __post_init__(self) -> None:
        if not 0 < self.rate < 1:
            raise ValueError(f"base rate {self.rate} must lie strictly between 0 and 1")

    @classmethod
    def of_complement(
        cls, ledger: Counts, pattern: Counts, *, stored: float = DEFAULT_BASE_RATE
    ) -> "BaseRate":
        """Measure the base rate outside the pattern, smoothed by Beta(1, 1).

        Below 20 outcomes it is the stored rate. A base ledger that lags behind the
        pattern's never gives a negative count.

        Args:
            ledger: counts of all decisions of the agent and type.
            pattern: counts of those that match the pattern.
            stored: the rate recorded with the pattern version.
        """
        n = max(0, ledger.n - pattern.n)
        if n < MIN_COMPLEMENT:
            return cls(stored)
        s = min(n, max(0, ledger.s - pattern.s))
        return cls((s + 1) / (n + 2), n)


@dataclass(frozen=True, slots=True, kw_only=True)
class Report:
    """A pattern's standing at the latest day its counts have seen.

    Attributes:
        n: resolved decisions, undecayed.
        successes: successes among `n`.
        rate: successes / n; None before the first outcome.
        interval: bounds of the central 90 % of the decayed posterior.
        confidence: probability that the pattern beats `base_rate` by the minimum lift.
        n_eff: decayed number of outcomes behind `interval` and `confidence`.
        base_rate: the rate to beat.
        quality_mean: mean quality, 0 to 1; None when no outcome has one.
        applied: resolved decisions in which the agent applied the pattern.
        unresolved: decisions without an outcome.
        as_of: latest day with a decision, `YYYY-MM-DD`; None when there is none.
    """

    n: int
    successes: int
    rate: float | None
    interval: tuple[float, float]
    confidence: float
    n_eff: float
    base_rate: float
    quality_mean: float | None
    applied: int
    unresolved: int
    as_of: str | None


def report(
    days: Mapping[str, Counts],
    *,
    base: BaseRate,
    half_life_days: float = HALF_LIFE_DAYS,
    min_lift: float = MIN_LIFT,
) -> Report:
    """Sum up a pattern from its counts per day; equal counts give identical floats."""
    as_of = max((day for day, counts in days.items() if counts != _EMPTY), default=None)
    s_eff, n_eff = decayed(days, as_of, half_life_days) if as_of else (0.0, 0.0)
    belief = posterior(s_eff, n_eff, base.rate)
    counts = total(days.values())
    return Report(
        n=counts.n,
        successes=counts.s,
        rate=success_rate(counts),
        interval=interval(belief),
        confidence=confidence(belief, base.rate, min_lift),
        n_eff=n_eff,
        base_rate=base.rate,
        quality_mean=quality_mean(counts),
        applied=counts.applied,
        unresolved=counts.pending,
        as_of=as_of,
    )


def success_rate(counts: Counts) -> float | None:
    """Give successes per outcome, undecayed; None before the first outcome."""
    return counts.s / counts.n if counts.n else None


def quality_mean(counts: Counts) -> float | None:
    """Give the mean quality, 0 to 1; None when no outcome has one."""
    return counts.q_sum / (counts.q_n * QUALITY_SCALE) if counts.q_n else None


def decayed(
    days: Mapping[str, Counts], as_of: str, half_life_days: float = HALF_LIFE_DAYS
) -> tuple[float, float]:
    """Weigh successes and outcomes by age: half per `half_life_days`.

    The age of a day's evidence is the calendar days from `as_of` back to it, but of a gap between
    two days of evidence at most one half-life counts: a gap says that nothing was learnt, not
    that what was known became wrong, and one decision with an absurd day halves and never wipes.

    Days after `as_of` are left out, so a past day's figures can be asked for.

    Returns:
        (S, N), the decayed successes and outcomes.

    Raises:
        ValueError: the half-life is not above 0, or a day is not `YYYY-MM-DD`.
    """
    if not half_life_days > 0:
        raise ValueError(f"a half-life of {half_life_days} days must be above 0")
    later, age = date.fromisoformat(as_of).toordinal(), 0.0
    weights: dict[str, float] = {}
    for day in sorted((day for day in days if day <= as_of and days[day].n), reverse=True):
        ordinal = date.fromisoformat(day).toordinal()
        age += min(later - ordinal, half_life_days)
        weights[day], later = 2.0 ** (-age / half_life_days), ordinal
    return (
        math.fsum(weight * days[day].s for day, weight in weights.items()),
        math.fsum(weight * days[day].n for day, weight in weights.items()),
    )


def posterior(s: float, n: float, p0: float, k: float = PRIOR_STRENGTH) -> Beta:
    """Update a prior worth `k` outcomes at the base rate with `s` successes of `n`."""
    return Beta(k * p0 + s, k * (1 - p0) + max(0.0, n - s))


def confidence(belief: Beta, p0: float, min_lift: float = MIN_LIFT) -> float:
    """Give the probability that the true rate exceeds `p0 + min_lift`, at most 0.999."""
    return belief.sf(min(p0 + min_lift, _HIGHEST_BAR))


def interval(belief: Beta, level: float = 0.9) -> tuple[float, float]:
    """Bound the central share `level` of the belief.

    Raises:
        ValueError: `level` is not strictly between 0 and 1.
    """
    if not 0 < level < 1:
        raise ValueError(f"an interval's level must lie strictly between 0 and 1, not {level}")
    tail = (1 - level) / 2
    return belief.ppf(tail), belief.ppf(1 - tail)
