"""How soon a promoted pattern is doubted, and what outcomes that are missing do to a verdict.

Days are drawn from a seed and looked at one after another as workers look at them: by `weigh`,
`figures_of` and `next_step`. No table and no clock takes part.
"""

import random
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import date, timedelta
from functools import cache
from statistics import fmean, median
from typing import NamedTuple

from sharpwave.schemas.patterns import FrozenBase, PatternDefinition, PatternVersion
from sharpwave.workers.patterns.counts import Arms, Counts
from sharpwave.workers.patterns.life import Facts, Life, Step, lacking, needed, next_step, weigh
from sharpwave.workers.patterns.policy import Policy
from sharpwave.workers.patterns.statistics import Figures as Known
from sharpwave.workers.patterns.statistics import figures_of
from tests.bench.figures import Figures
from tests.bench.results import OURS, Row, summed
from tests.bench.statistics import remembered_evidence

DOUBTED, CENSORED = "lives", "lives-censored"
BASE, PROMISE, KEPT, FALLEN = 0.55, 0.62, 0.72, 0.50
#: Days for which a pattern keeps its rate before it changes, and days watched from there.
KEPT_DAYS, WATCHED_DAYS, YEAR = 60, 120, 365
#: Days of a history with missing outcomes, and decisions of each.
CENSORED_DAYS, A_DAY = 60, 8
POLICY = Policy()
LATE_DAYS = 3
KEPT_CASE = f"{KEPT} for a year, {A_DAY} a day"
LATE_CASE = f"{KEPT_CASE}, successes {LATE_DAYS} days late, and said to be"
FALLEN_CASE = f"{KEPT}, then {FALLEN:.2f}, {A_DAY} a day"


@cache
def day(number: int) -> str:
    """Give the name of a day."""
    return (date(2025, 1, 1) + timedelta(days=number)).isoformat()


@dataclass(slots=True)
class Pattern:
    """A version whose author says the base, and what workers know of it.

    Attributes:
        life: where it stands.
        arms: units with an outcome by day.
        pending: decisions without an outcome by day.
        horizon_days: within which an outcome is said to come.
    """

    life: Life = field(default_factory=Life)
    arms: dict[str, Arms] = field(default_factory=dict)
    pending: dict[str, int] = field(default_factory=dict)
    horizon_days: int = 1

    def known(self) -> Known:
        """Give its figures as a row shows them."""
        days = {
            name: Counts(n=arms.n, s=arms.s, units=arms.n, pending=self.pending.get(name, 0))
            for name, arms in self.arms.items()
        }
        horizons = {_VERSION.definition.decision_type: self.horizon_days * 86_400}
        return figures_of(_VERSION, days, Counts(), arms=self.arms, horizons=horizons)

    def look(self) -> Step | None:
        """Look at it once, and let it take the step that follows."""
        weighed, figures = weigh(_VERSION, self.arms), self.known()
        is_good = weighed.log_evidence >= needed(1, 0, POLICY)
        is_good = is_good and not lacking(weighed, figures, POLICY)
        latest = max(self.arms)
        found = next_step(
            self.life,
            _VERSION,
            Facts(
                weighed=weighed,
                figures=figures,
                latest=latest,
                promoted=weighed.log_evidence if is_good else None,
                has_readers=False,
                began=day(0),
            ),
            POLICY,
            0,
        )
        if found is not None:
            self.life = found.life
        return found


_VERSION = PatternVersion(
    definition=PatternDefinition(pattern_id="up", decision_type="TRADE", base_rate=BASE),
    version=1,
    effective_from=0,
    learned_at=0,
    base=FrozenBase(p0=BASE),
)


def measure(runs: Mapping[str, int], tell: Callable[[str], None]) -> Iterator[Row]:
    """Run every simulation as often as `runs` says, by name."""
    with remembered_evidence():
        tell("lives: years in which a promise is kept")
        for case, a_day, lag in (
            (KEPT_CASE, A_DAY, AT_ONCE),
            (LATE_CASE, A_DAY, Lag(LATE_DAYS, said=LATE_DAYS)),
            (f"{KEPT_CASE}, successes {LATE_DAYS} days late, unsaid", A_DAY, Lag(LATE_DAYS)),
            (f"{KEPT} for a year, 2 a day", 2, AT_ONCE),
        ):
            # The same years whenever outcomes come, so that a difference is the delay's.
            found = years(runs["years"], random.Random(f"{KEPT} {a_day}"), a_day, lag)
            yield from (summed(DOUBTED, case, who, [each]) for who, each in found.items())
        tell("lives: rates that fall")
        for case, a_day, rate in (
            (FALLEN_CASE, A_DAY, FALLEN),
            (f"{KEPT}, then 0.40, {A_DAY} a day", A_DAY, 0.40),
            (f"{KEPT}, then {FALLEN:.2f}, 2 a day", 2, FALLEN),
        ):
            found = falls(rate, runs["falls"], random.Random(case), a_day)
            yield from (summed(DOUBTED, case, who, [each]) for who, each in found.items())
        tell("lives: outcomes that never come, or late")
        for case, (rate, missing) in CASES.items():
            found = censored(rate, missing, runs["censored"], random.Random(case))
            yield from (summed(CENSORED, case, who, [each]) for who, each in found.items())


# -- drift ---------------------------------------------------------------------------------------

#: Ours watches a promise that was given, and one of its own: that of its promotion, or since.
PROMISED, LIVED = OURS, f"{OURS}, own promise"
THUMBS: Mapping[str, float] = {"30 days' rate < promise": PROMISE, "30 days' rate < base": BASE}


class Lag(NamedTuple):
    """Days after which successes come, and within which outcomes are said to come."""

    late: int = 0
    said: int = 1


AT_ONCE = Lag()


def years(
    runs: int, chance: random.Random, a_day: int, lag: Lag = AT_ONCE, *, days: int = YEAR
) -> dict[str, Figures]:
    """Count how often a pattern that keeps what it promised is doubted, for each year it lived.

    A look judges the latest seven days with outcomes, so one a week judges every day. Failures
    come at once, successes some days after their decisions. One pattern was promised, another one
    is promoted by these very outcomes, and what it promises grows as it keeps it.
    """
    alarms, retired = dict.fromkeys((PROMISED, LIVED, *THUMBS), 0), 0
    promises: list[float] = []
    for _ in range(runs):
        pattern, own = _promoted(), Pattern(horizon_days=lag.said)
        pattern.horizon_days = lag.said
        # Both are shown the same.
        own.arms, own.pending = pattern.arms, pattern.pending
        drawn = [_day(chance, KEPT, a_day) for _ in range(days)]
        for number in range(days):
            for at in {number, max(0, number - lag.late)}:
                s = drawn[at] if number - at >= lag.late else 0
                pattern.arms[day(at)] = Arms(n=a_day - drawn[at] + s, s=s)
                pattern.pending[day(at)] = drawn[at] - s
            if number % 7 == 6:
                for who, each in ((PROMISED, pattern), (LIVED, own)):
                    before, step = each.life.state, each.look()
                    is_doubted = step is not None and step.life.state in ("degraded", "retired")
                    alarms[who] += is_doubted and before != "degraded"
                    retired += who == PROMISED and each.life.state == "retired" != before
        promises += [] if own.life.promised is None else [own.life.promised]
        for who, bar in THUMBS.items():
            below = _below(drawn, a_day, bar, lag.late)
            alarms[who] += sum(
                now and not before for before, now in zip([False, *below], below, strict=False)
            )
    pattern_years = runs * days / YEAR
    found: dict[str, Figures] = {
        who: {"years": pattern_years, "doubted_per_100_years": 100 * count / pattern_years}
        for who, count in alarms.items()
    }
    found[PROMISED] = {
        **found[PROMISED],
        "retired_per_100_years": 100 * retired / pattern_years,
    }
    found[LIVED] = {**found[LIVED], "mean_promise": fmean(promises) if promises else None}
    return found


def falls(
    rate: float,
    runs: int,
    chance: random.Random,
    a_day: int = A_DAY,
    *,
    kept_days: int = KEPT_DAYS,
    watched_days: int = WATCHED_DAYS,
) -> dict[str, Figures]:
    """Let a rate fall and count the days until each contestant says so, looked at every day."""
    delays: dict[str, list[int]] = {who: [] for who in (PROMISED, LIVED, *THUMBS)}
    before = dict.fromkeys(delays, 0)
    promises: list[float] = []
    for _ in range(runs):
        drawn = [_day(chance, KEPT, a_day) for _ in range(kept_days)]
        drawn += [_day(chance, rate, a_day) for _ in range(watched_days)]
        moments: dict[str, int | None] = {}
        for who, pattern in ((PROMISED, _promoted()), (LIVED, Pattern())):
            moments[who] = _first_doubt(pattern, drawn, a_day)
            if who == LIVED and pattern.life.promised is not None:
                promises.append(pattern.life.promised)
        for who, bar in THUMBS.items():
            moments[who] = next(
                (n for n, is_below in enumerate(_below(drawn, a_day, bar)) if is_below), None
            )
        for who, moment in moments.items():
            if moment is not None and moment < kept_days:
                before[who] += 1
            elif moment is not None:
                delays[who].append(moment - kept_days + 1)
    found: dict[str, Figures] = {
        who: {
            "doubted_before_percent": 100 * before[who] / runs,
            "noticed_percent": 100 * len(each) / max(1, runs - before[who]),
            "median_days": median(each) if 2 * len(each) >= runs - before[who] else None,
        }
        for who, each in delays.items()
    }
    found[LIVED] = {**found[LIVED], "mean_promise": fmean(promises) if promises else None}
    return found


def _promoted() -> Pattern:
    return Pattern(Life(state="active", seq=1, promised=PROMISE))


def _first_doubt(pattern: Pattern, drawn: Sequence[int], a_day: int) -> int | None:
    for number, s in enumerate(drawn):
        pattern.arms[day(number)] = Arms(n=a_day, s=s)
        step = pattern.look()
        if step is not None and step.life.state in ("degraded", "retired"):
            return number
    return None


def _below(drawn: Sequence[int], a_day: int, bar: float, late: int = 0) -> list[bool]:
    """Say of each day whether the rate of outcomes of the 30 that end with it is below a bar."""
    below = []
    for end in range(1, len(drawn) + 1):
        there, waiting = drawn[max(0, end - 30) : end - late], drawn[max(0, end - late) : end]
        below.append(end >= 30 and sum(there) < bar * (30 * a_day - sum(waiting)))
    return below


def _day(chance: random.Random, rate: float, a_day: int) -> int:
    return sum(chance.random() < rate for _ in range(a_day))


# -- censoring -----------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Missing:
    """Which outcomes are not there.

    Attributes:
        failures: share of failures whose outcome never comes.
        successes: the same of successes.
        late: days after which failures come that do.
    """

    failures: float = 0.0
    successes: float = 0.0
    late: int = 0


#: The rate of the pattern, and what is missing.
CASES: Mapping[str, tuple[float, Missing]] = {
    f"no better than {BASE}: all come": (BASE, Missing()),
    "failures come 3 days late": (BASE, Missing(late=3)),
    "failures come 10 days late": (BASE, Missing(late=10)),
    "3 in 10 never come, whatever they are": (BASE, Missing(0.3, 0.3)),
    "1 failure in 10 never comes": (BASE, Missing(0.1)),
    "3 failures in 10 never come": (BASE, Missing(0.3)),
    "5 failures in 10 never come": (BASE, Missing(0.5)),
    "8 failures in 10 never come": (BASE, Missing(0.8)),
    f"{KEPT}: all come": (KEPT, Missing()),
    f"{KEPT}: 3 failures in 10 never come": (KEPT, Missing(0.3)),
    f"{KEPT}: failures come 3 days late": (KEPT, Missing(late=3)),
}
NULLS = [case for case, (rate, _) in CASES.items() if rate == BASE]
#: What people do with outcomes that are missing; each promotes what is better by five points.
NAIVE: Mapping[str, str] = {
    "leave out": "rate of outcomes > base + .05",
    "fail": "missing counts as failed, > base + .05",
}


def censored(
    rate: float, missing: Missing, runs: int, chance: random.Random, days: int = CENSORED_DAYS
) -> dict[str, Figures]:
    """Look every day at a pattern some of whose outcomes are missing, and say who promotes it.

    The naive rules look from 20 outcomes on, as a promotion does.
    """
    promoted = dict.fromkeys((OURS, *NAIVE.values()), 0)
    shown: list[Known] = []
    left, failed = NAIVE.values()
    for _ in range(runs):
        pattern, seen = Pattern(), set[str]()
        for name in history(pattern, rate, missing, days, chance):
            if pattern.life.state == "candidate" and pattern.look() and name:
                seen.add(OURS)
            n = sum(each.n for each in pattern.arms.values())
            s = sum(each.s for each in pattern.arms.values())
            if n >= POLICY.min_units:
                seen |= {left} if s > (BASE + 0.05) * n else set()
                n += sum(pattern.pending.values())
                seen |= {failed} if s > (BASE + 0.05) * n else set()
        for who in seen:
            promoted[who] += 1
        shown.append(pattern.known())
    figures: dict[str, dict[str, float | None]] = {
        who: {"promoted_percent": 100 * count / runs} for who, count in promoted.items()
    }
    whole = [each.n + each.unresolved for each in shown]
    rates = [each.rate or 0.0 for each in shown]
    lowest = [each.successes / n for each, n in zip(shown, whole, strict=True)]
    highest = [(each.successes + each.unresolved) / n for each, n in zip(shown, whole, strict=True)]
    figures[OURS] |= {
        "mean_rate": fmean(rates),
        "unresolved_percent": 100
        * fmean(each.unresolved / n for each, n in zip(shown, whole, strict=True)),
        "overdue_percent": 100
        * fmean(each.overdue / n for each, n in zip(shown, whole, strict=True)),
        "least_rate": fmean(lowest),
        "greatest_rate": fmean(highest),
    }
    figures[left]["mean_rate"] = fmean(rates)
    figures[failed]["mean_rate"] = fmean(lowest)
    return {**figures}


def history(
    pattern: Pattern, rate: float, missing: Missing, days: int, chance: random.Random
) -> Iterator[str]:
    """Let days of decisions and outcomes pass; gives each day's name once all of it is known."""
    drawn: list[tuple[int, int, int]] = []
    for number in range(days):
        s = never = late = 0
        for _ in range(A_DAY):
            success = chance.random() < rate
            if chance.random() < (missing.successes if success else missing.failures):
                never += 1
            elif success:
                s += 1
            else:
                late += 1
        drawn.append((s, never, late))
        for at in {number, number - missing.late}:
            if at < 0:
                continue
            s, never, late = drawn[at]
            is_there = number - at >= missing.late
            pattern.arms[day(at)] = Arms(n=s + late * is_there, s=s)
            pattern.pending[day(at)] = never + late * (not is_there)
        yield day(number)
