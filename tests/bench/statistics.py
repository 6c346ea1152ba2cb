"""How often patterns are promoted that are none, and how soon those that are.

Every rule is asked after every outcome, as agents ask. Outcomes are drawn from a seed, so a run can
be repeated; no table and no clock takes part.
"""

import math
import random
from bisect import bisect_left
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import date, timedelta
from functools import lru_cache
from itertools import accumulate
from statistics import fmean, median

from sharpwave.schemas.patterns import FrozenBase, PatternDefinition, PatternVersion
from sharpwave.workers.patterns import evidence
from sharpwave.workers.patterns.counts import Arms, Counts, total
from sharpwave.workers.patterns.evidence import drift, log_evidence
from sharpwave.workers.patterns.life import base_of_rest, trailing_bases, weigh
from sharpwave.workers.patterns.multiplicity import (
    closed_e_bh,
    e_bh,
    e_lond_level,
    online_closure,
)
from sharpwave.workers.patterns.policy import Policy
from sharpwave.workers.patterns.statistics import Beta, figures_of
from tests.bench.figures import Figures
from tests.bench.peers import GBSTATS, SAVVI, ask, local_environment
from tests.bench.results import OURS, Row, summed

LOOKS, MANY, ONLINE = "statistics", "statistics-many", "statistics-online"
DRIFT, AGREEMENT = "statistics-drift", "statistics-agreement"
BASES = "bases"
ALPHA, BASE, LEAST_N = 0.05, 0.55, 20
CANDIDATES, REAL = 300, 30
PROMISE, KEPT, OUTCOMES_A_DAY = 0.62, 0.72, 8
NULL_CASE = f"rate {BASE:.2f} against base {BASE}"
KEPT_CASE, FALLEN_CASE = (f"promise {PROMISE}, then {rate:.2f}" for rate in (KEPT, 0.50))
UNIFORM = "closed e-BH, uniform weights"

#: Power of closed e-BH on uniformly weighted evidence, by 150 draws of each row made elsewhere.
UNIFORM_POWER = {
    (60, 0.72): 7.0,
    (90, 0.72): 26.2,
    (120, 0.72): 53.5,
    (160, 0.72): 77.2,
    (200, 0.72): 90.6,
    (200, 0.68): 45.3,
}

#: What others are asked as well, by script `evidence_reference`.
CASES: Mapping[str, Sequence[Sequence[float]]] = {
    "evidence": [
        *(
            [n, round(n * share), base]
            for n in (20, 200, 5000)
            for share, base in ((0.5, 0.55), (0.62, 0.55), (0.75, 0.55), (0.95, 0.9), (0.03, 0.02))
        ),
    ],
    "base": [[20, 11], [300, 165], [40, 0], [1000, 997]],
    "interval": [[20, 14, 0.1], [100, 50, 0.05], [1000, 540, 0.1], [30, 0, 0.1], [30, 30, 0.1]],
    "uplift": [
        [50, 40, 50, 20],
        [5, 5, 5, 0],
        [200, 120, 80, 50],
        [30, 20, 400, 200],
        [1000, 620, 1000, 550],
    ],
    "savvi": [[20, 14], [100, 50], [250, 175], [1000, 540]],
    # A base rate, a half-life, and days: number, outcomes, successes.
    "pattern": [
        [0.55, 14.0, *(0, 5, 4), *(1, 3, 2), *(2, 7, 5), *(5, 4, 4), *(40, 6, 3), *(41, 9, 7)],
        [0.5, 30.0, *(number for day in range(60) for number in (day, 4, 2 + day % 2))],
        [0.62, 7.0, *(0, 200, 130), *(3, 100, 40)],
    ],
}

#: What gbstats is asked: outcomes and successes of two arms.
UPLIFTS = ([200, 120, 80, 50], [2_000, 1_240, 2_000, 1_100], [20_000, 12_100, 18_000, 10_500])

Rule = Callable[[int, int], bool]


def promotes(n: int, s: int) -> bool:
    """Promote on evidence of 1 / alpha: the rule of this project."""
    return log_evidence(n, s, BASE) >= -math.log(ALPHA)


def wilson(n: int, s: int) -> bool:
    """Promote when Wilson's lower 95 % bound exceeds the base rate."""
    z, rate = 1.645, s / n
    middle = rate + z * z / (2 * n)
    margin = z * math.sqrt(rate * (1 - rate) / n + z * z / (4 * n * n))
    return (middle - margin) / (1 + z * z / n) > BASE


def posterior(n: int, s: int) -> bool:
    """Promote when the posterior is 95 % sure that the rate exceeds the base rate."""
    return Beta(1.0 + s, 1.0 + n - s).sf(BASE) > 0.95


def threshold(n: int, s: int) -> bool:
    """Promote what is better by five points."""
    return s > (BASE + 0.05) * n


RULES: Mapping[str, Rule] = {
    OURS: promotes,
    "Wilson bound > base": wilson,
    "posterior > .95": posterior,
    "rate > base + .05": threshold,
}


def measure(runs: Mapping[str, int], tell: Callable[[str], None]) -> Iterator[Row]:
    """Run every simulation as often as `runs` says, by name."""
    tell("statistics: looks after every outcome")
    for rate in (BASE, 0.65, 0.70, 0.78):
        case = f"rate {rate:.2f} against base {BASE}"
        for who, rule in RULES.items():
            found = looks(rule, rate, runs["looks"], random.Random(f"looks {rate}"))
            yield summed(LOOKS, case, who, [found])
    tell("statistics: many candidates")
    for (n, rate), power in UNIFORM_POWER.items():
        case = f"{n} outcomes each, rate {rate}"
        for who, figures in many(n, rate, runs["many"], random.Random(f"many {n} {rate}")).items():
            yield summed(MANY, case, who, [figures])
        yield summed(MANY, case, UNIFORM, [{"power_percent": power}])
    case = "200 outcomes each, rate 0.72, most of them shared"
    for who, figures in many(200, 0.72, runs["many"], random.Random("shared"), 0.8).items():
        yield summed(MANY, case, who, [figures])
    tell("statistics: candidates that come one after another")
    for shared in (0.0, 0.8):
        case = f"rate 0.72, {shared:.0%} of outcomes shared"
        for who, figures in online(
            runs["online"], random.Random(f"online {shared}"), shared
        ).items():
            yield summed(ONLINE, case, who, [figures])
    tell("statistics: drift")
    for rate in (KEPT, PROMISE, 0.50, 0.40):
        found = fall(rate, runs["drift"], random.Random(f"drift {rate}"))
        yield summed(DRIFT, f"promise {PROMISE}, then {rate:.2f}", OURS, [found])
    tell("statistics: agreement with others")
    yield from _agreement()
    yield from _uplifts()


def measure_bases(runs: int, tell: Callable[[str], None]) -> Iterator[Row]:
    """Promote against bases that are measured while the rate of the rest drifts."""
    for case in MARKETS:
        tell(f"bases: {case}")
        for lift in (0.0, LIFT):
            # Of the one market that no base can follow, enough to tell its share from alpha.
            count = 5 * runs if (case, lift) == (JUMPING, 0.0) else runs
            for who, figures in drifting(case, lift, count).items():
                yield summed(BASES, f"{case}, lift {lift:.2f}", who, [figures])


def looks(rule: Rule, rate: float, runs: int, chance: random.Random, most: int = 400) -> Figures:
    """Ask a rule after every outcome from the 20th on, and say how often and when it promotes."""
    bars = [least_successes(rule, n) for n in range(LEAST_N, most + 1)]
    when: list[int] = []
    for _ in range(runs):
        s = sum(chance.random() < rate for _ in range(LEAST_N - 1))
        for n, bar in enumerate(bars, start=LEAST_N):
            s += chance.random() < rate
            if s >= bar:
                when.append(n)
                break
    return {
        "promoted_percent": 100 * len(when) / runs,
        "median_n": float(median(when)) if 2 * len(when) >= runs else None,
    }


def least_successes(rule: Rule, n: int) -> int:
    """Give the fewest successes of `n` at which a rule promotes; n + 1 if it never does."""
    return bisect_left(range(n + 1), True, key=lambda s: rule(n, s))


def many(
    n: int, rate: float, runs: int, chance: random.Random, shared: float = 0.0
) -> dict[str, Figures]:
    """Judge 300 candidates, of which 30 are real, at one moment."""
    e_values = [log_evidence(n, s, BASE) for s in range(n + 1)]
    found = [least_successes(threshold, n) <= s for s in range(n + 1)]
    procedures: Mapping[str, Callable[[Sequence[int]], Sequence[int]]] = {
        OURS: lambda seen: closed_e_bh([e_values[s] for s in seen], ALPHA),
        "e-BH": lambda seen: e_bh([e_values[s] for s in seen], ALPHA),
        "rate > base + .05": lambda seen: [i for i, s in enumerate(seen) if found[s]],
    }
    tallies: dict[str, list[tuple[float, float]]] = {who: [] for who in procedures}
    for _ in range(runs):
        seen = _successes(n, rate, chance, shared)
        for who, procedure in procedures.items():
            tallies[who].append(_judged(procedure(seen)))
    return {who: _averaged(tally) for who, tally in tallies.items()}


def online(
    runs: int, chance: random.Random, shared: float = 0.0, most: int = 200, every: int = 5
) -> dict[str, Figures]:
    """Let 300 candidates come one after another, and promote what is never taken back.

    The false share is the greatest that there ever was in a run.
    """
    e_values = [[log_evidence(n, s, BASE) for s in range(n + 1)] for n in range(most + 1)]
    tallies: dict[str, list[tuple[float, float]]] = {OURS: [], "e-LOND": []}
    for _ in range(runs):
        rates = [0.72] * REAL + [BASE] * (CANDIDATES - REAL)
        chance.shuffle(rates)
        counts = [(0, 0)] * CANDIDATES
        closure: dict[int, float] = {}
        e_lond: set[int] = set()
        levels: dict[int, float] = {}
        worst = {OURS: 0.0, "e-LOND": 0.0}
        for moment in range(CANDIDATES + most):
            common = chance.random()
            for number in range(max(0, moment - most), min(moment, CANDIDATES)):
                n, s = counts[number]
                luck = common if chance.random() < shared else chance.random()
                counts[number] = n + 1, s + (luck < rates[number])
            if moment % every:
                continue
            now = {i + 1: e_values[n][s] for i, (n, s) in enumerate(counts[:moment])}
            waiting = {i: e for i, e in now.items() if i not in closure and e > 0}
            closure |= {i: now[i] for i in online_closure(closure, waiting, ALPHA)}
            for number, log_e in now.items():
                level = levels.setdefault(number, e_lond_level(number, len(e_lond), ALPHA))
                if log_e >= -math.log(level):
                    e_lond.add(number)
            for who, promoted in ((OURS, closure.keys()), ("e-LOND", e_lond)):
                false = sum(rates[number - 1] == BASE for number in promoted)
                worst[who] = max(worst[who], false / max(1, len(promoted)))
        for who, promoted in ((OURS, closure.keys()), ("e-LOND", e_lond)):
            right = sum(rates[number - 1] != BASE for number in promoted)
            tallies[who].append((worst[who], right / REAL))
    return {who: _averaged(tally) for who, tally in tallies.items()}


def fall(
    rate: float, runs: int, chance: random.Random, watched_days: int = 365, kept_days: int = 60
) -> Figures:
    """Let a rate of .72 become another after 60 days, and watch it for a year from there."""
    successes = [_cumulative(OUTCOMES_A_DAY, each) for each in (KEPT, rate)]
    first = date(2025, 1, 1)
    names = [(first + timedelta(days=day)).isoformat() for day in range(kept_days + watched_days)]
    changed, delays, early, retired = names[kept_days], [], 0, 0
    with remembered_evidence():
        for _ in range(runs):
            drawn = _draws(successes[0], kept_days, chance)
            drawn += _draws(successes[1], watched_days, chance)
            days = [(day, OUTCOMES_A_DAY, s) for day, s in zip(names, drawn, strict=True)]
            found = drift(days, PROMISE)
            retired += found.retired_on is not None
            if found.degraded_on is None:
                continue
            if found.degraded_on < changed:
                early += 1
            else:
                delays.append(names.index(found.degraded_on) - kept_days + 1)
    return {
        "degraded_in_60_days_before_percent": 100 * early / runs,
        "degraded_in_a_year_percent": 100 * len(delays) / (runs - early),
        "median_days": float(median(delays)) if 2 * len(delays) >= runs - early else None,
        "retired_percent": 100 * retired / runs,
    }


def shown(base_rate: float, half_life: float, *flat: float) -> Sequence[float]:
    """Give what a row shows of a pattern, by the code that publishes rows.

    Args:
        base_rate: of the rest, measured and frozen alike.
        half_life: in days.
        flat: a day's number, outcomes and successes, for each day.
    """
    triples = zip(*(map(int, flat[place::3]) for place in range(3)), strict=True)
    days = {date.fromordinal(730_000 + day).isoformat(): (n, s) for day, n, s in triples}
    version = PatternVersion(
        definition=PatternDefinition(
            pattern_id="up", decision_type="TRADE", base_rate=base_rate, half_life_days=half_life
        ),
        version=1,
        effective_from=0,
        learned_at=0,
        base=FrozenBase(p0=base_rate),
    )
    figures = figures_of(version, {day: Counts(n=n, s=s) for day, (n, s) in days.items()}, Counts())
    weighed = weigh(version, {day: Arms(n=n, s=s) for day, (n, s) in days.items()})
    return [
        *figures.interval,
        figures.confidence,
        weighed.log_evidence,
        *weighed.anytime,
    ]


def _agreement() -> Iterator[Row]:
    """Ask scipy and savvi for the same figures, and say to how many digits they agree."""

    def uplifts(n: int, s: int, m: int, t: int) -> Sequence[float]:
        found = evidence.uplift(n, s, m, t, alpha=0.1)
        greater = evidence.probability_greater(
            Beta(1.0 + s, 1.0 + n - s), Beta(1.0 + t, 1.0 + m - t)
        )
        return [] if found is None else [greater, found.log_evidence, *found.interval]

    ours: Mapping[str, Callable[..., Sequence[float]]] = {
        "evidence": lambda n, s, base: [log_evidence(n, s, base)],
        "base": lambda n, s: [evidence.frozen_base(n, s)],
        "interval": evidence.anytime_interval,
        "uplift": uplifts,
        "savvi": lambda n, s: [
            evidence.log_evidence_otherwise(n, s, 0.5),
            *evidence.anytime_interval(n, s, 0.1),
        ],
        "pattern": shown,
    }
    trouble = SAVVI.trouble
    if trouble:
        yield Row(part=AGREEMENT, case="all", who="scipy, savvi", note=trouble)
        return
    theirs = ask("evidence_reference", CASES, env=local_environment(), python=SAVVI.interpreter)
    for name, cases in CASES.items():
        pairs = [
            pair
            for case, found in zip(cases, theirs[name], strict=True)
            for pair in zip(ours[name](*case), found, strict=True)
        ]
        worst = max(abs(mine - other) / max(1, abs(other)) for mine, other in pairs)
        found = {"numbers": float(len(pairs)), "digits": -math.log10(max(worst, 1e-16))}
        yield summed(
            AGREEMENT, name, f"{OURS} and {'savvi' if name == 'savvi' else 'scipy'}", [found]
        )


def _uplifts() -> Iterator[Row]:
    """Ask gbstats for differences, the chance of being greater, and intervals of all times.

    Its interval is one of a normal mean with a known variance, tuned to this very size; ours holds
    for any pair of rates at any size, and says what that costs.
    """
    if trouble := GBSTATS.trouble:
        yield Row(part=AGREEMENT, case="two arms", who="gbstats", note=trouble)
        return
    asked = {"cases": UPLIFTS}
    theirs = ask("uplift_gbstats", asked, env=local_environment(), python=GBSTATS.interpreter)
    for (n, s, m, t), (difference, chance, low, high) in zip(UPLIFTS, theirs["found"], strict=True):
        ours = evidence.uplift(n, s, m, t)
        assert ours is not None, "both arms are large"
        one, other = Beta(1.0 + s, 1.0 + n - s), Beta(1.0 + t, 1.0 + m - t)
        errors = {
            "difference_digits": abs(ours.difference - difference),
            "chance_digits": abs(evidence.probability_greater(one, other) - chance),
        }
        digits = {name: -math.log10(max(error, 1e-16)) for name, error in errors.items()}
        width = (ours.interval[1] - ours.interval[0]) / (high - low)
        who, case = f"{OURS} and gbstats", f"two arms, {n + m} outcomes"
        yield summed(AGREEMENT, case, who, [{**digits, "width_ratio": width}])


def _successes(n: int, rate: float, chance: random.Random, shared: float) -> list[int]:
    """Draw how often each candidate succeeded; the first 30 are real."""
    if not shared:
        real = _draws(_cumulative(n, rate), REAL, chance)
        return real + _draws(_cumulative(n, BASE), CANDIDATES - REAL, chance)
    seen = [0] * CANDIDATES
    for _ in range(n):
        common = chance.random()
        for number in range(CANDIDATES):
            luck = common if chance.random() < shared else chance.random()
            seen[number] += luck < (rate if number < REAL else BASE)
    return seen


#: The rate of the rest, day by day.
Market = Callable[[random.Random, int], Sequence[float]]
LIFT, MATCHED, RESOLVED_REST = 0.15, 4, 8
FROZEN_BASE, NAIVE_BASE = "frozen base", "trailing mean"
CONFIDENT = f"{OURS}, and min_confidence"


def _wanders(chance: random.Random, days: int) -> list[float]:
    rates = [BASE]
    while len(rates) < days:
        rates.append(min(0.75, max(0.35, rates[-1] + chance.gauss(0, 0.01))))
    return rates


def _swings(chance: random.Random, days: int) -> list[float]:
    phase = chance.random()
    return [BASE + 0.12 * math.sin(math.tau * (day / 300 + phase)) for day in range(days)]


def _jumps(chance: random.Random, days: int) -> list[float]:
    phase = chance.randrange(120)
    return [0.45 + 0.2 * ((day + phase) // 60 % 2) for day in range(days)]


JUMPING = "jumps by .2 each 60 days"
MARKETS: Mapping[str, Market] = {
    "steady": lambda chance, days: [BASE] * days,
    "wanders by .01 a day": _wanders,
    "swings by .12 in 300 days": _swings,
    "rises by .2 in a year": lambda chance, days: [0.45 + day / 1825 for day in range(days)],
    "rough start": lambda chance, days: [0.72 if day < 40 else 0.5 for day in range(days)],
    JUMPING: _jumps,
}


def drifting(
    market: str, lift: float, runs: int, days: int = 365, every: int = 3
) -> dict[str, Figures]:
    """Let the rest's rate drift; what matches succeeds by `lift` more often on each day.

    Evidence is that of the code that publishes it, looked at each few days, against 1 / alpha of
    the policy: against the base frozen at 100 outcomes, measured anew, and by the mean of the same
    days with no bound. And once more as workers promote, who ask for `min_confidence` besides,
    against the rest as it was measured by then.
    """
    chance = random.Random(f"{market} {lift}")
    bar, policy = -math.log(evidence.ALPHA), Policy()
    names = [(date(2025, 1, 1) + timedelta(days=day)).isoformat() for day in range(days)]
    when: dict[str, list[int]] = {OURS: [], CONFIDENT: [], FROZEN_BASE: [], NAIVE_BASE: []}
    definition = PatternDefinition(pattern_id="up", decision_type="TRADE")
    for _ in range(runs):
        rates = MARKETS[market](chance, days)
        rest = {
            name: (RESOLVED_REST, sum(chance.random() < rate for _ in range(RESOLVED_REST)))
            for name, rate in zip(names, rates, strict=True)
        }
        matched = [sum(chance.random() < rate + lift for _ in range(MATCHED)) for rate in rates]
        version = PatternVersion(
            definition=definition, version=1, effective_from=0, learned_at=0, base=None
        )
        ledgers = {name: Counts(n=n, s=s) for name, (n, s) in rest.items()}
        begin = -(-policy.min_base // RESOLVED_REST)
        known = {name: ledgers[name] for name in names[:begin]}
        base = base_of_rest(version, {}, [known], policy)
        assert base is not None
        version = version.model_copy(update={"base": base})
        later = names[begin:]
        ours = trailing_bases(version, later, rest)
        naive = _means(later, rest, policy)
        bases = {
            OURS: ours,
            CONFIDENT: ours,
            FROZEN_BASE: dict.fromkeys(later, evidence.in_thousandths(base.p0)),
            NAIVE_BASE: {day: naive.get(day, ours[day]) for day in later},
        }
        reached = days
        for who, asked in bases.items():
            # Who asks for more besides promotes no sooner.
            earliest = reached if who == CONFIDENT else begin
            counted: dict[float, tuple[int, int]] = {}
            for day in range(begin, days):
                n, s = counted.get(asked[names[day]], (0, 0))
                counted[asked[names[day]]] = n + MATCHED, s + matched[day]
                if day % every or day < earliest or evidence.log_evidence_along(counted) < bar:
                    continue
                if who == OURS:
                    reached = day
                if who == CONFIDENT:
                    seen = {
                        name: Counts(n=MATCHED, s=matched[at])
                        for at, name in enumerate(names[: day + 1])
                    }
                    everybody = total([*seen.values(), *(ledgers[name] for name in seen)])
                    if figures_of(version, seen, everybody).confidence < policy.min_confidence:
                        continue
                when[who].append(day)
                break
    return {
        who: {
            "promoted_percent": 100 * len(found) / runs,
            "median_days": float(median(found)) if 2 * len(found) >= runs else None,
        }
        for who, found in when.items()
    }


def _means(
    later: Sequence[str], rest: Mapping[str, tuple[int, int]], policy: Policy
) -> dict[str, float]:
    """Give the plain rate of the days before each day, as somebody would who forgets its error."""
    names, found = list(rest), {}
    for day in later:
        end = max(0, names.index(day) - policy.base_lag_days)
        window = [rest[name] for name in names[max(0, end - policy.base_days) : end]]
        n, s = sum(n for n, _ in window), sum(s for _, s in window)
        if n >= policy.min_base:
            found[day] = evidence.in_thousandths(s / n)
    return found


def _cumulative(n: int, rate: float) -> list[float]:
    weights = (math.comb(n, s) * rate**s * (1 - rate) ** (n - s) for s in range(n + 1))
    return list(accumulate(weights))


def _draws(cumulative: Sequence[float], count: int, chance: random.Random) -> list[int]:
    return chance.choices(range(len(cumulative)), cum_weights=cumulative, k=count)


def _judged(promoted: Sequence[int]) -> tuple[float, float]:
    """Give the false share of the promoted and the promoted share of the real."""
    right = sum(number < REAL for number in promoted)
    return (len(promoted) - right) / max(1, len(promoted)), right / REAL


def _averaged(tally: Sequence[tuple[float, float]]) -> Figures:
    return {
        "fdr_percent": 100 * fmean(false for false, _ in tally),
        "power_percent": 100 * fmean(power for _, power in tally),
    }


@contextmanager
def remembered_evidence() -> Iterator[None]:
    """Compute the evidence of equal counts once, as thousands of simulated days have them."""
    original = evidence.log_evidence_below
    evidence.log_evidence_below = lru_cache(maxsize=None)(original)
    try:
        yield
    finally:
        evidence.log_evidence_below = original
