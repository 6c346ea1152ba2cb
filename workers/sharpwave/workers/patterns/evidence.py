"""How sure counts make us, however often somebody looked; every figure is a function of counts.

Evidence is the logarithm of an e-value: a number of mean at most 1 while the null hypothesis
holds, whenever one stops. So a rule that acts once it reaches log(1 / alpha) acts wrongly with
probability at most alpha, be it asked after every outcome (Ville). As it depends on counts alone,
order, retries and replays cannot change it.

What it takes: before an outcome is known, all that is known leaves it a chance of success that
keeps the hypothesis. Outcomes that are looked at, and only counted if they please, do not.
"""

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import date
from functools import lru_cache

from sharpwave.workers.patterns.stated import BINS, SCALE, Weights
from sharpwave.workers.patterns.statistics import Beta

ALPHA = 0.1
BASE_LEVEL = 0.9
LEAST_LIFT = 0.25
"""Times p (1 - p), the least lift over a base rate p that evidence weighs; 0.0625 at 0.5."""

LIFT_SHAPE = 3.0
"""Of the Beta(1, 3) that evidence weighs lifts by: smaller ones count more."""

MIN_ARM = 5
"""Outcomes that each arm needs before an uplift is more than unknown."""

WINDOW_DAYS = 60
DEGRADED_AT = 150.0
"""Doubts a promise kept by ten points, 8 outcomes a day, in 0.7 % of years; 100 in about 2 %, and
finds a drop one or two days sooner."""

RETIRED_AT = 500.0

_LOWEST_RATE = 0.001
_PLACES = 64
_BOUND_Z = 1.2815515655446004
_HALVINGS = 64
_NEGLIGIBLE = -41.0
_FARTHEST = 36.0


def log_evidence(n: int, s: int, base_rate: float) -> float:
    """Weigh `s` successes of `n` against the hypothesis that the rate is at most `base_rate`.

    The likelihood averaged over rates from p0 + p0 (1 - p0) / 4 to 1, relative to the likelihood
    of p0 = `base_rate`. At each of those rates the ratio's factor of an outcome has mean at most 1
    if its chance of success is at most p0, whichever it is and however it varies.

    Returns:
        The natural logarithm; 0 before the first outcome.

    Raises:
        ValueError: the counts are impossible, or `base_rate` is not strictly between 0 and 1.
    """
    _check(n, s)
    if not 0 < base_rate < 1:
        raise ValueError(f"base rate {base_rate} must lie strictly between 0 and 1")
    least = base_rate + LEAST_LIFT * base_rate * (1 - base_rate)
    # The weights are a Beta(1, b) cut off below the least lift, so the average has a closed form:
    # its density at p0 over that of the Beta it becomes, and their shares beyond the cut likewise.
    after = Beta(1.0 + s, LIFT_SHAPE + (n - s))
    before = math.log(LIFT_SHAPE) + math.log(base_rate) + LIFT_SHAPE * math.log1p(-base_rate)
    tail = after.log_sf(least) - LIFT_SHAPE * math.log1p(-least)
    return before - after.log_kernel(base_rate) + tail if n else 0.0


def log_evidence_along(counted: Mapping[float, tuple[int, int]]) -> float:
    """Weigh outcomes against the hypothesis that each one's chance is at most its own base rate.

    As `log_evidence`, over a way from the least lift to 1 that all outcomes go equally far along;
    it is averaged at 64 places of equal weight, so that it is no approximation of an e-value.

    Args:
        counted: outcomes and successes by their base rate, which was known before them.

    Raises:
        ValueError: counts are impossible, or a base rate is not strictly between 0 and 1.
    """
    logs = [0.0] * _PLACES
    for base_rate, (n, s) in sorted(counted.items()):
        _check(n, s)
        if not 0 < base_rate < 1:
            raise ValueError(f"base rate {base_rate} must lie strictly between 0 and 1")
        for place, (success, failure) in enumerate(_factors(base_rate)):
            logs[place] += s * success + (n - s) * failure
    most = max(logs)
    return most + math.log(math.fsum(math.exp(each - most) for each in logs) / _PLACES)


@lru_cache(2048)
def _factors(base_rate: float) -> tuple[tuple[float, float], ...]:
    """Give the logarithms of what a success and a failure multiply evidence by, for each place."""
    least = base_rate + LEAST_LIFT * base_rate * (1 - base_rate)
    found = []
    for place in range(_PLACES):
        # A quantile of the Beta(1, b) by which `log_evidence` weighs this way.
        beyond = (1 - (place + 0.5) / _PLACES) ** (1 / LIFT_SHAPE)
        rate = 1 - (1 - least) * beyond
        found.append((math.log(rate / base_rate), math.log((1 - rate) / (1 - base_rate))))
    return tuple(found)


def trailing_rate(n: int, s: int) -> float:
    """Bound the rate of trailing outcomes from above with 90 % (Wilson), in whole thousandths."""
    _check(n, s)
    z, rate = _BOUND_Z, s / n
    middle = rate + z * z / (2 * n)
    spread = z * math.sqrt(rate * (1 - rate) / n + z * z / (4 * n * n))
    return in_thousandths((middle + spread) / (1 + z * z / n))


def in_thousandths(rate: float) -> float:
    """Round a base rate up to whole thousandths, within 0.001 to 0.999."""
    # Few different rates: days that share one are weighed together.
    return min(max(math.ceil(rate * 1_000), 1), 999) / 1_000


def log_evidence_below(n: int, s: int, base_rate: float) -> float:
    """Weigh counts against a rate of at least `base_rate`: `log_evidence` of the failures."""
    _check(n, s)
    return log_evidence(n, n - s, 1 - base_rate)


def log_evidence_otherwise(n: int, s: int, rate: float) -> float:
    """Weigh counts against a rate of exactly `rate`, above or below; all others weigh the same.

    Raises:
        ValueError: the counts are impossible.
    """
    _check(n, s)
    return -_log_density(n, s, rate)


def frozen_base(n: int, s: int) -> float:
    """Bound the rate of the decisions a pattern does not match, from above, with 90 %.

    The exact (Clopper-Pearson) one-sided bound, kept within 0.001 to 0.999. It is the base rate
    of a version if it is stored before the version's first unit of evidence, and never measured
    again: along the way it would not be known before the outcome that it judges.
    """
    _check(n, s)
    if s == n:
        return 1 - _LOWEST_RATE
    belief, beyond = Beta(s + 1.0, float(n - s)), math.log(1 - BASE_LEVEL)
    bound = _edge(s / n, 1.0, lambda rate: belief.log_sf(rate) > beyond)
    return min(max(bound, _LOWEST_RATE), 1 - _LOWEST_RATE)


def frozen_base_below(n: int, s: int) -> float:
    """Bound that rate from below, with 90 %, for patterns to avoid."""
    _check(n, s)
    return 1 - frozen_base(n, n - s)


def anytime_interval(n: int, s: int, alpha: float = ALPHA) -> tuple[float, float]:
    """Bound the rate so that all the intervals ever given hold together, with 1 - `alpha`.

    All rates that `log_evidence_otherwise` has not reached log(1 / alpha) against.

    Raises:
        ValueError: the counts are impossible.
    """
    _check(n, s)
    if not n:
        return 0.0, 1.0

    def stands(rate: float) -> bool:
        return _log_density(n, s, rate) > math.log(alpha)

    return _edge(s / n, 0.0, stands), _edge(s / n, 1.0, stands)


@dataclass(frozen=True, slots=True)
class Uplift:
    """What applying a pattern adds where it matches, as far as counts tell.

    Attributes:
        difference: success rate of applied less that of not applied.
        interval: bounds of the true difference that hold at all times together.
        log_evidence: against the hypothesis that applying adds nothing or takes away.
    """

    difference: float
    interval: tuple[float, float]
    log_evidence: float


def uplift(
    n: int, s: int, other_n: int, other_s: int, *, alpha: float = ALPHA, min_arm: int = MIN_ARM
) -> Uplift | None:
    """Compare matched and applied (`n`, `s`) with matched and not applied.

    It compares what agents chose to do with what they chose to leave. Only where they drew lots
    is the difference an effect of applying.

    Returns:
        None while either arm has fewer than `min_arm` outcomes: the uplift is unknown.

    Raises:
        ValueError: counts are impossible.
    """
    _check(n, s)
    _check(other_n, other_s)
    if min(n, other_n) < max(1, min_arm):
        return None

    def stands(difference: float) -> bool:
        # A difference stands while the averaged likelihood leaves one of its pairs of rates. The
        # likelihood along the pairs of one difference is log-concave: halve by its slope.
        low, high = max(0.0, -difference), min(1.0, 1 - difference)
        for _ in range(_HALVINGS):
            other = (low + high) / 2
            rises = _slope(n, s, other + difference) + _slope(other_n, other_s, other) > 0
            low, high = (other, high) if rises else (low, other)
        best = max(
            _log_density(n, s, other + difference) + _log_density(other_n, other_s, other)
            for other in (low, high)
        )
        return best > math.log(alpha)

    seen = s / n - other_s / other_n
    interval = _edge(seen, -1.0, stands), _edge(seen, 1.0, stands)
    return Uplift(seen, interval, log_uplift_evidence(n, s, other_n, other_s))


def log_uplift_evidence(n: int, s: int, other_n: int, other_s: int) -> float:
    """Weigh four counts against the hypothesis that `s` of `n` has no greater rate than the other.

    Universal inference: the likelihood averaged over all pairs of rates of which the first is
    greater, relative to the greatest likelihood of a pair of which it is not. So it never exceeds
    the ratio to the true pair, whose mean is 1 under any rule that chooses the arms as it goes.

    Raises:
        ValueError: counts are impossible.
    """
    _check(n, s)
    _check(other_n, other_s)
    if s * other_n > other_s * n:
        rate = other_rate = (s + other_s) / (n + other_n)
    else:
        rate, other_rate = s / n if n else 0.0, other_s / other_n if other_n else 0.0
    greater = probability_greater(
        Beta(1.0 + s, 1.0 + (n - s)), Beta(1.0 + other_s, 1.0 + (other_n - other_s))
    )
    averages = -_log_density(n, s, rate) - _log_density(other_n, other_s, other_rate)
    return averages + math.log(2 * max(greater, 1e-300))


def probability_greater(one: Beta, other: Beta) -> float:
    """Give the probability that a rate drawn from `one` exceeds one drawn from `other`, to 1e-10.

    Both need shapes of at least 1.
    """
    spread = 1 / one.a + 1 / one.b
    if spread > 1 / other.a + 1 / other.b:
        return max(0.0, 1 - probability_greater(other, one))
    # On the log-odds scale the density is smooth and vanishes on both sides, where sums of equal
    # steps converge faster than any power. The narrower one sets the steps.
    centre, step, terms = math.log(one.a / one.b), math.sqrt(spread) / 3, []
    peak, mirrored = one.log_kernel(_rate(centre)), Beta(other.b, other.a)
    for first, stride in ((centre, step), (centre - step, -step)):
        odds = first
        while abs(odds) < _FARTHEST:
            rate = _rate(odds)
            height = one.log_kernel(rate)
            if height < peak + _NEGLIGIBLE:
                break
            terms.append(math.exp(height + mirrored.log_sf(1 - rate)))
            odds += stride
    return min(1.0, math.fsum(terms) * step)


@dataclass(frozen=True, slots=True)
class Propensity:
    """What the success rate would be if all matching decisions did one thing.

    Attributes:
        rate: weighted successes by weights (self-normalised); its bias falls as 1 / n.
        n: decisions behind it.
        n_eff: Kish's effective number of them; None where squared weights were not kept.
    """

    rate: float
    n: int
    n_eff: float | None


def inverse_propensity(weights: Weights) -> Propensity | None:
    """Estimate the rate under "always" from those who did it by lot; None without any of them."""
    if not weights.weight:
        return None
    squares = weights.weight_sq
    n_eff = weights.weight * weights.weight / squares if squares else None
    return Propensity(weights.weight_s / weights.weight, weights.n, n_eff)


@dataclass(frozen=True, slots=True)
class Drift:
    """How strongly each day says that a rate has fallen below what was promised.

    Attributes:
        days: (day, log of the detector) in order, of the days judged.
        degraded_on: the first judged day on which the detector reached 150; None if it did not.
        retired_on: the first on which it reached 500, or all the counts speak against the promise.
        log_futility: evidence of all the counts against a rate of at least the promise.
    """

    days: tuple[tuple[str, float], ...]
    degraded_on: str | None
    retired_on: str | None
    log_futility: float


def drift(
    days: Iterable[tuple[str, int, int]],
    promised: float,
    *,
    judge_from: str = "",
    window_days: int = WINDOW_DAYS,
    degraded_at: float = DEGRADED_AT,
    retired_at: float = RETIRED_AT,
    alpha: float = ALPHA,
) -> Drift:
    """Watch for a rate that falls below `promised`, by a Shiryaev-Roberts e-detector.

    Its value on a day is the sum, over the starts within the window, of the e-values of what was
    counted from there on. While the rate keeps the promise its mean grows by at most 1 a day with
    outcomes, so on average at least `degraded_at` such days pass before a false alarm.

    Args:
        days: (day, outcomes, successes) in any order; buckets of one day add up.
        promised: the rate that was promised, strictly between 0 and 1.
        judge_from: the first day to judge, for a caller that knows the verdicts on those before;
            they still count as starts.

    Raises:
        ValueError: counts are impossible, or a day is not `YYYY-MM-DD`.
    """
    merged: dict[str, tuple[int, int]] = {}
    for day, n, s in days:
        _check(n, s)
        so_far = merged.get(day, (0, 0))
        merged[day] = so_far[0] + n, so_far[1] + s
    judged: list[tuple[str, float]] = []
    degraded_on = retired_on = None
    log_futility, total_n, total_s = 0.0, 0, 0
    recent: list[tuple[int, int, int]] = []
    # No window of a judged day begins before.
    before = date.fromisoformat(judge_from).toordinal() - window_days if judge_from else 0
    for day in sorted(day for day in merged if merged[day][0]):
        n, s = merged[day]
        today = date.fromisoformat(day).toordinal()
        if today > before:
            recent = [start for start in recent if start[0] > today - window_days]
            recent = [(at, k + n, successes + s) for at, k, successes in recent] + [(today, n, s)]
        total_n, total_s = total_n + n, total_s + s
        if day < judge_from:
            continue
        log_futility = log_evidence_below(total_n, total_s, promised)
        starts = [log_evidence_below(k, hits, promised) for _, k, hits in recent]
        most = max(starts)
        value = most + math.log(math.fsum(math.exp(each - most) for each in starts))
        judged.append((day, value))
        if degraded_on is None and value >= math.log(degraded_at):
            degraded_on = day
        if retired_on is None and (
            value >= math.log(retired_at) or log_futility >= -math.log(alpha)
        ):
            retired_on = day
    return Drift(tuple(judged), degraded_on, retired_on, log_futility)


@dataclass(frozen=True, slots=True)
class Bin:
    """Decisions whose stated confidence lies in one tenth.

    Attributes:
        low: where the tenth begins.
        n: decisions with an outcome.
        stated: their mean stated confidence.
        came_true: their success rate.
    """

    low: float
    n: int
    stated: float
    came_true: float


@dataclass(frozen=True, slots=True)
class Calibration:
    """How well stated confidences foretold outcomes.

    Attributes:
        n: decisions that stated one and have an outcome.
        brier: mean squared error, 0 to 1; 0.25 is what saying 0.5 always gets.
        ece: mean distance of stated from come true over the bins, weighted by their decisions.
        bins: those with decisions, in order.
    """

    n: int
    brier: float
    ece: float
    bins: tuple[Bin, ...]


def calibration(bins: Sequence[tuple[int, int, int]], squared_error: int) -> Calibration | None:
    """Judge confidences by sums that merge in any order; None before the first outcome.

    Args:
        bins: ten of (outcomes, successes, sum of confidences x 10^4), by `stated.bin_of`.
        squared_error: sum of `stated.squared_error_of`.
    """
    n = sum(count for count, _, _ in bins)
    if not n:
        return None
    found = tuple(
        Bin(number / BINS, count, stated / (count * SCALE), s / count)
        for number, (count, s, stated) in enumerate(bins)
        if count
    )
    ece = math.fsum(each.n * abs(each.came_true - each.stated) for each in found) / n
    return Calibration(n, squared_error / (n * SCALE * SCALE), ece, found)


def _check(n: int, s: int) -> None:
    if not 0 <= s <= n:
        raise ValueError(f"{s} successes of {n} outcomes are impossible")


def _log_density(n: int, s: int, rate: float) -> float:
    """Give the log of the Beta(1 + s, 1 + n - s) density: the likelihood over its average."""
    if 0 < rate < 1:
        kernel = Beta(1.0 + s, 1.0 + (n - s)).log_kernel(rate)
        return kernel - math.log(rate) - math.log1p(-rate)
    possible = s == 0 if rate <= 0 else s == n
    return math.log(n + 1) if possible else -math.inf


def _edge(inside: float, outside: float, stands: Callable[[float], bool]) -> float:
    """Find where something that stands at `inside` ends on the way to `outside`; err outwards."""
    if stands(outside):
        return outside
    for _ in range(_HALVINGS):
        middle = (inside + outside) / 2
        if stands(middle):
            inside = middle
        else:
            outside = middle
    return outside


def _slope(n: int, s: int, rate: float) -> float:
    """Give the slope of the log-likelihood."""
    ups = s / rate if s and rate > 0 else math.inf if s else 0.0
    downs = (n - s) / (1 - rate) if n > s and rate < 1 else math.inf if n > s else 0.0
    return ups - downs


def _rate(log_odds: float) -> float:
    return 1 / (1 + math.exp(-log_odds))
