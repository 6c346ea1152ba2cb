"""What counts say about a pattern; every figure is a pure function of them.

Beliefs are Beta distributions, computed in plain floats to 1e-10, without a numerical library.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import date
from types import MappingProxyType

from sharpwave.schemas.patterns import PatternVersion
from sharpwave.schemas.times import DAY_S
from sharpwave.workers.patterns.counts import QUALITY_SCALE, Arms, Counts, total
from sharpwave.workers.patterns.stated import NO_WEIGHTS, Weights

HALF_LIFE_DAYS = 14.0
MIN_LIFT = 0.05
PRIOR_STRENGTH = 4.0
"""How many outcomes the base rate weighs in the posterior."""

HORIZON_S = DAY_S
"""After so many seconds a decision without an outcome is overdue, where its type says nothing."""

MIN_COMPLEMENT = 20
DEFAULT_BASE_RATE = 0.5

_HIGHEST_BAR = 0.999
_EMPTY = Counts()

_HALF_LOG_TAU = 0.5 * math.log(math.tau)
_TINY = 1e-300
_BELOW_ONE = math.nextafter(1.0, 0.0)
_CONVERGED = 1e-15
_SETTLED = 1e-13
_MAX_TERMS = 1_000_000
_NORMAL_FROM = 1e10


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
class Figures:
    """A pattern's standing at the latest day its counts have seen.

    Attributes:
        n: resolved decisions, undecayed.
        successes: successes among `n`.
        rate: successes / n; None before the first outcome.
        interval: bounds of the central 90 % of the decayed posterior.
        confidence: probability that the pattern beats `base_rate` by the minimum lift, or that one
            to avoid falls short of it by that.
        n_eff: decayed number of outcomes behind `interval` and `confidence`.
        base_rate: the rate to beat.
        quality_mean: mean quality, 0 to 1; None when no outcome has one.
        applied: resolved decisions in which the agent applied the pattern.
        unresolved: decisions without an outcome.
        as_of: latest day with a decision, `YYYY-MM-DD`; None when there is none.
        units: units of evidence with an outcome; what was decided in one cycle is one.
        overdue: those of `unresolved` whose day lies further before `as_of` than the horizon of
            their type, in whole days.
        due_before: the day before which decisions without an outcome are overdue; None as `as_of`.
        waiting: (day, decisions without an outcome) of the days from `due_before` on.
        quality_sd: standard deviation of the quality, n - 1 in its denominator; None below two,
            and where an older release kept no squares.
        applied_weights: sums over `applied` decisions drawn with a known probability.
        other_weights: likewise over the other resolved ones.
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
    units: int = 0
    overdue: int = 0
    due_before: str | None = None
    waiting: tuple[tuple[str, int], ...] = ()
    quality_sd: float | None = None
    applied_weights: Weights = NO_WEIGHTS
    other_weights: Weights = NO_WEIGHTS


def sum_up(
    days: Mapping[str, Counts],
    *,
    base: BaseRate,
    half_life_days: float = HALF_LIFE_DAYS,
    min_lift: float = MIN_LIFT,
    is_avoid: bool = False,
    arms: Mapping[str, Arms] = MappingProxyType({}),
    horizon_s: float = HORIZON_S,
) -> Figures:
    """Sum up a pattern from its counts per day; equal counts give identical floats.

    `is_avoid` says that it claims less success than `base`, so `confidence` is that it is right.
    """
    as_of = max((day for day, counts in days.items() if counts != _EMPTY), default=None)
    s_eff, n_eff = decayed(days, as_of, half_life_days) if as_of else (0.0, 0.0)
    belief = posterior(s_eff, n_eff, base.rate)
    counts = total(days.values())
    due = due_before(as_of, horizon_s) if as_of else None
    return Figures(
        n=counts.n,
        successes=counts.s,
        rate=success_rate(counts),
        interval=interval(belief),
        confidence=(
            confidence(belief.mirrored, 1 - base.rate, min_lift)
            if is_avoid
            else confidence(belief, base.rate, min_lift)
        ),
        n_eff=n_eff,
        base_rate=base.rate,
        quality_mean=quality_mean(counts),
        applied=counts.applied,
        unresolved=counts.pending,
        as_of=as_of,
        units=sum(each.n for each in arms.values()),
        overdue=overdue(days, as_of, horizon_s) if as_of else 0,
        due_before=due,
        waiting=tuple(
            (day, days[day].pending) for day in sorted(days) if days[day].pending and day >= due
        )
        if due
        else (),
        quality_sd=quality_sd(counts),
        applied_weights=counts.applied_weights,
        other_weights=counts.other_weights,
    )


def figures_of(
    version: PatternVersion,
    days: Mapping[str, Counts],
    base: Counts,
    *,
    arms: Mapping[str, Arms] = MappingProxyType({}),
    horizons: Mapping[str, int] = MappingProxyType({}),
) -> Figures:
    """Compute the figures of a version from its counts by day and from those of all decisions.

    Args:
        version: the version.
        days: what its own ledger counts.
        base: what the base ledgers count that `counts.base_subjects` names.
        arms: its units of evidence by day.
        horizons: after how many seconds a decision without an outcome is overdue, by its type.
    """
    definition = version.definition
    rate = (
        BaseRate(definition.base_rate)
        if definition.base_rate
        else BaseRate.of_complement(base, total(days.values()))
    )
    return sum_up(
        days,
        base=rate,
        half_life_days=definition.half_life_days,
        min_lift=definition.min_lift,
        is_avoid=definition.is_avoid,
        arms=arms,
        horizon_s=horizons.get(definition.decision_type, HORIZON_S),
    )


def success_rate(counts: Counts) -> float | None:
    """Give successes per outcome, undecayed; None before the first outcome."""
    return counts.s / counts.n if counts.n else None


def quality_mean(counts: Counts) -> float | None:
    """Give the mean quality, 0 to 1; None when no outcome has one."""
    return counts.q_sum / (counts.q_n * QUALITY_SCALE) if counts.q_n else None


def quality_sd(counts: Counts) -> float | None:
    """Give the standard deviation of the quality, 0 to 1; None if it is unknown or below two."""
    if counts.q_n < 2 or counts.q_sq is None:
        return None
    # In integers, so that nothing is lost where the two terms nearly cancel.
    spread = counts.q_n * counts.q_sq - counts.q_sum * counts.q_sum
    if spread < 0:
        # No qualities have such sums: counts that were made without squares.
        return None
    return math.sqrt(spread / (counts.q_n * (counts.q_n - 1))) / QUALITY_SCALE


def due_before(as_of: str, horizon_s: float = HORIZON_S) -> str:
    """Give the day that lies the horizon before `as_of`: decisions of earlier days had their time.

    The horizon counts in whole days, rounded up, as decisions are counted by day.
    """
    last = date.fromisoformat(as_of).toordinal() - math.ceil(horizon_s / DAY_S)
    return date.fromordinal(max(1, last)).isoformat()


def overdue(days: Mapping[str, Counts], as_of: str, horizon_s: float = HORIZON_S) -> int:
    """Count the decisions without an outcome of days that lie beyond the horizon before `as_of`."""
    due = due_before(as_of, horizon_s)
    return sum(counts.pending for day, counts in days.items() if day < due)


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
    # In one order and summed exactly, so that equal counts give identical floats everywhere.
    return (
        math.fsum(weight * days[day].s for day, weight in weights.items()),
        math.fsum(weight * days[day].n for day, weight in weights.items()),
    )


def posterior(s: float, n: float, p0: float, k: float = PRIOR_STRENGTH) -> "Beta":
    """Update a prior worth `k` outcomes at the base rate with `s` successes of `n`."""
    return Beta(k * p0 + s, k * (1 - p0) + max(0.0, n - s))


def confidence(belief: "Beta", p0: float, min_lift: float = MIN_LIFT) -> float:
    """Give the probability that the true rate exceeds `p0 + min_lift`, at most 0.999."""
    return belief.sf(min(p0 + min_lift, _HIGHEST_BAR))


def interval(belief: "Beta", level: float = 0.9) -> tuple[float, float]:
    """Bound the central share `level` of the belief.

    Raises:
        ValueError: `level` is not strictly between 0 and 1.
    """
    if not 0 < level < 1:
        raise ValueError(f"an interval's level must lie strictly between 0 and 1, not {level}")
    tail = (1 - level) / 2
    return belief.ppf(tail), belief.ppf(1 - tail)


@dataclass(frozen=True, slots=True)
class Beta:
    """A Beta distribution over a success rate.

    Raises:
        ValueError: a shape is not a finite number above 0.
    """

    a: float
    b: float

    def __post_init__(self) -> None:
        if not (0 < self.a < math.inf and 0 < self.b < math.inf):
            raise ValueError(f"Beta({self.a}, {self.b}) needs finite shapes above 0")

    @property
    def mean(self) -> float:
        """The expected rate."""
        return self.a / (self.a + self.b)

    @property
    def mirrored(self) -> "Beta":
        """The distribution of the rate of failures."""
        return Beta(self.b, self.a)

    def cdf(self, x: float) -> float:
        """Give P(rate <= x)."""
        return self._tails(x)[0]

    def sf(self, x: float) -> float:
        """Give P(rate > x), accurate even where it is tiny."""
        return self._tails(x)[1]

    def log_sf(self, x: float) -> float:
        """Give log P(rate > x), also where the probability is too small for a float.

        Shapes that add up to more than 1e10, where the exact fraction takes too long, are
        approximated to a relative 1e-5 of the probability.
        """
        if not 0 < x < 1:
            return 0.0 if x <= 0 else -math.inf
        if self.a + self.b > _NORMAL_FROM:
            deviance = max(0.0, self.log_kernel(self.mean) - self.log_kernel(x))
            z = math.copysign(math.sqrt(2 * deviance), x - self.mean)
            if z < 30:
                return math.log(math.erfc(z / math.sqrt(2)) / 2)
            return -z * z / 2 - math.log(z) - _HALF_LOG_TAU
        if x < (self.a + 1) / (self.a + self.b + 2):
            return math.log1p(-self.cdf(x))
        fraction = _continued_fraction(self.b, self.a, 1 - x)
        return self.log_kernel(x) + math.log(fraction / self.b)

    def ppf(self, q: float) -> float:
        """Give the rate below which a share `q` of the distribution lies.

        Raises:
            ValueError: `q` is outside 0 to 1.
        """
        if not 0 <= q <= 1:
            raise ValueError(f"a quantile is asked for a share in 0 to 1, not {q}")
        if q in (0.0, 1.0):
            return q
        # Newton's method, kept in a shrinking bracket. Rates may lie at 1e-200, so what bisects
        # the bracket is the exponent.
        low, high, x = _TINY, 1.0, min(self.mean, _BELOW_ONE)
        for _ in range(200):
            error = self.cdf(x) - q
            low, high = (low, x) if error > 0 else (x, high)
            kernel = math.exp(self.log_kernel(x))
            following = x - error * x * (1 - x) / kernel if kernel else -1.0
            if abs(following - x) <= _SETTLED * x:
                return min(following, 1.0)
            middle = min(math.sqrt(low) * math.sqrt(high), _BELOW_ONE)
            x = following if low < following < high else middle
        return x

    def log_kernel(self, x: float) -> float:
        """Give log(x^a (1-x)^b / B(a, b)), for 0 < x < 1."""
        a, b, mean = self.a, self.b, self.mean
        scale = 0.5 * (math.log(a) + math.log(b) - math.log(a + b)) - _HALF_LOG_TAU
        correction = _stirling_error(a + b) - _stirling_error(a) - _stirling_error(b)
        # Differences of large lgammas would lose the digits that the ratios to the mean keep.
        successes = a * _log_ratio(x, mean, x - mean)
        failures = b * _log_ratio(1 - x, (1 - mean) or b / (a + b), mean - x)
        return successes + failures + scale + correction

    def _tails(self, x: float) -> tuple[float, float]:
        if x <= 0:
            return 0.0, 1.0
        if x >= 1:
            return 1.0, 0.0
        kernel = math.exp(self.log_kernel(x))
        # The fraction converges fast on one side of the mean only. The other tail, which is the
        # greater one there, is 1 less it.
        if x < (self.a + 1) / (self.a + self.b + 2):
            lower = kernel * _continued_fraction(self.a, self.b, x) / self.a
            return lower, 1 - lower
        upper = kernel * _continued_fraction(self.b, self.a, 1 - x) / self.b
        return 1 - upper, upper


def _log_ratio(x: float, reference: float, difference: float) -> float:
    relative = difference / reference
    return math.log1p(relative) if abs(relative) < 0.5 else math.log(x / reference)


def _stirling_error(z: float) -> float:
    """Give lgamma(z) less Stirling's approximation of it."""
    if z < 10:
        return math.lgamma(z) - ((z - 0.5) * math.log(z) - z + _HALF_LOG_TAU)
    inverse = 1 / (z * z)
    series = 1 / 1680 - inverse / 1188
    for term in (1 / 1260, 1 / 360, 1 / 12):
        series = term - inverse * series
    return series / z


def _continued_fraction(a: float, b: float, x: float) -> float:
    """Evaluate the incomplete beta's continued fraction by Lentz's method.

    Takes about sqrt(max(a, b)) terms for x < (a + 1) / (a + b + 2).
    """
    c, d = 1.0, 1 / _nonzero(1 - (a + b) * x / (a + 1))
    value = d
    for m in range(1, _MAX_TERMS):
        even = m * (b - m) * x / ((a + 2 * m - 1) * (a + 2 * m))
        odd = -(a + m) * (a + b + m) * x / ((a + 2 * m) * (a + 2 * m + 1))
        for coefficient in (even, odd):
            d = 1 / _nonzero(1 + coefficient * d)
            c = _nonzero(1 + coefficient / c)
            value *= c * d
        if abs(c * d - 1) < _CONVERGED:
            return value
    raise ArithmeticError(f"Beta({a}, {b}) did not converge at {x}; its counts are beyond reason")


def _nonzero(value: float) -> float:
    return value if abs(value) > _TINY else _TINY
