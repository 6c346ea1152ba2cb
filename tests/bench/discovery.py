"""What the search for patterns finds where there is something, and where there is nothing.

The whole way without tables: features, lattice, candidates, evidence of later decisions alone, and
promotion by online e-closure, looked at after every outcome. Decisions are one a day, described as
the demo describes its days: those of its market history, or of one drawn from a seed. Outcomes are
drawn, so that what is true is known.
"""

import math
import random
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from datetime import date, timedelta
from statistics import fmean, median
from typing import Any

from sharpwave.infra.demo.market import WINDOW, Bar, Market, MarketDay, load
from sharpwave.infra.local.environment import ensure_data
from sharpwave.workers.patterns.counts import Counts
from sharpwave.workers.patterns.discover.candidates import Candidate
from sharpwave.workers.patterns.discover.columns import Seen
from sharpwave.workers.patterns.discover.features import Feature, Said, read
from sharpwave.workers.patterns.discover.lattice import State
from sharpwave.workers.patterns.evidence import (
    ALPHA,
    frozen_base,
    frozen_base_below,
    log_evidence,
    log_evidence_below,
)
from sharpwave.workers.patterns.multiplicity import online_closure
from sharpwave.workers.patterns.statistics import BaseRate, sum_up
from tests.bench.figures import Figures
from tests.bench.results import OURS, Row, summed

PART = "discovery"
SHUFFLED, POWER = "outcomes shuffled", "planted at {rate:.2f} against {base}"
BASE = 0.55
LEAST_BASE, LEAST_UNITS, LEAST_DAYS, LEAST_CONFIDENCE = 100, 20, 3, 0.95


@dataclass(frozen=True, slots=True)
class Decision:
    """One decision of a history: its day, its features, and what it said."""

    day: str
    said: Mapping[Feature, Said]
    content: Mapping[str, Any]


@dataclass(slots=True)
class Followed:
    """A candidate from its admission on.

    Attributes:
        candidate: it.
        base: what its evidence is asked against; None until enough is known.
        n: its units with an outcome after the base was frozen.
        s: successes among `n`.
        days: counts by day of all its decisions since it was admitted.
        mine: their sum.
        everyone: outcomes and successes of all decisions since then.
    """

    candidate: Candidate
    base: float | None
    n: int = 0
    s: int = 0
    days: dict[str, Counts] = field(default_factory=dict)
    mine: Seen = field(default_factory=Seen)
    everyone: Seen = field(default_factory=Seen)

    def count(self, decision: Decision, success: bool) -> bool:
        """Count one decision made after the admission; says whether it matched."""
        self.everyone = self.everyone.plus(success)
        if not all(term.holds(decision.said) for term in self.candidate.rule):
            others = self.everyone.n - self.mine.n
            if self.base is None and others >= LEAST_BASE:
                self.base = frozen(self.candidate, others, self.everyone.s - self.mine.s)
            return False
        one = Counts(n=1, s=int(success))
        self.days[decision.day] = self.days.get(decision.day, Counts()) + one
        self.mine = self.mine.plus(success)
        if self.base is not None:
            self.n, self.s = self.n + 1, self.s + success
        return True

    @property
    def log_evidence(self) -> float:
        """Weigh its units."""
        if self.base is None:
            return 0.0
        weigh = log_evidence_below if self.candidate.avoid else log_evidence
        return weigh(self.n, self.s, self.base)

    def may_be_promoted(self) -> bool:
        """Say whether all that a promotion takes beside evidence is there."""
        if self.n < LEAST_UNITS or len(self.days) < LEAST_DAYS:
            return False
        mine, everyone = (Counts(n=each.n, s=each.s) for each in (self.mine, self.everyone))
        days = self.days
        if self.candidate.avoid:
            mine, everyone = _mirrored(mine), _mirrored(everyone)
            days = {day: _mirrored(counts) for day, counts in days.items()}
        base = BaseRate.of_complement(everyone, mine)
        half_life = float(self.candidate.half_life_days)
        return sum_up(days, base=base, half_life_days=half_life).confidence >= LEAST_CONFIDENCE


@dataclass(slots=True)
class Told:
    """What came of one history.

    Attributes:
        admitted: all candidates, in order.
        promoted: those promoted, each with the number of decisions by then.
        bytes: the largest state there was.
    """

    admitted: list[Candidate] = field(default_factory=list)
    promoted: dict[str, int] = field(default_factory=dict)
    bytes: int = 0


def search(decisions: Sequence[Decision], outcomes: Sequence[bool], alpha: float = ALPHA) -> Told:
    """Let one agent decide once a day, and look for patterns in what it did."""
    state, told = State(), Told()
    running: dict[int, Followed] = {}
    closure: dict[int, float] = {}
    seen = Seen()
    for moment, (decision, success) in enumerate(zip(decisions, outcomes, strict=True)):
        changed = {
            number for number, each in running.items() if each.count(decision, success)
        } - closure.keys()
        hopeful = {number: running[number].log_evidence for number in changed}
        # Less evidence than one in ten candidates needs suffices for none; the rest costs time.
        waiting = {
            number: value
            for number, value in hopeful.items()
            if value >= -math.log(alpha) and running[number].may_be_promoted()
        }
        if waiting:
            for number in online_closure(closure, waiting, alpha):
                closure[number] = waiting[number]
                told.promoted[running[number].candidate.name] = moment + 1
        seen = seen.plus(success)
        # The outcome of a decision is known, and looked at, when the next one is made.
        promoted = [name for name in told.promoted if any(e.name == name for e in state.open)]
        state.settle(promoted=promoted, ended=())
        known = {each.name for each in told.admitted}
        state.look(f"{decision.day}T21:00:00.000Z#d", decision.said, success, day=decision.day)
        for each in state.open:
            if each.name not in known:
                base = frozen(each, seen.n, seen.s) if seen.n >= LEAST_BASE else None
                told.admitted.append(each)
                running[len(told.admitted)] = Followed(each, base)
        ended = set(state.ending)
        state.ending = []
        running = {
            number: each
            for number, each in running.items()
            if each.candidate.name not in ended or number in closure
        }
        if seen.n % 64 == 0:
            told.bytes = max(told.bytes, len(state.encode().encode()))
    return told


def frozen(candidate: Candidate, n: int, s: int) -> float:
    """Freeze the base of a candidate."""
    return frozen_base_below(n, s) if candidate.avoid else frozen_base(n, s)


def market(count: int, chance: random.Random) -> list[Decision]:
    """Draw days of a market, and give the decision that an agent makes on each of them."""
    days: list[MarketDay] = []
    level, tech, oil, spread, drift = 1_200.0, 2_500.0, 50.0, 0.01, 0.0
    day = date(1999, 1, 4)
    for number in range(count + WINDOW):
        if number % 40 == 0:
            drift = chance.choice([-0.002, 0.0, 0.002])
        spread = min(0.04, max(0.004, spread * math.exp(chance.gauss(0, 0.08))))
        move = chance.gauss(drift, spread)
        level, tech = level * (1 + move), tech * (1 + move + chance.gauss(0, spread / 2))
        oil *= 1 + chance.gauss(0, 0.02)
        bars = []
        for close in (level, tech):
            low, high = (
                close * (1 - spread * chance.random()),
                close * (1 + spread * chance.random()),
            )
            volume = int(1e9 * math.exp(chance.gauss(0, 0.25)))
            bars.append(Bar(close, high, low, close, volume if chance.random() > 0.02 else None))
        vix = spread * 1_600 if number > count // 2 else None
        days.append(MarketDay(day, bars[0], bars[1], oil if chance.random() > 0.02 else None, vix))
        day += timedelta(days=3 if day.weekday() == 4 else 1)
    return decisions_of(days)


def decisions_of(days: Sequence[MarketDay]) -> list[Decision]:
    """Give the decision that an agent makes on each day of a market that has enough past."""
    known = Market(days)
    return [_decision(known, number) for number in range(WINDOW, len(days))]


def _decision(known: Market, number: int) -> Decision:
    said = {name: value for name, value in asdict(known.at(number)).items() if value is not None}
    day = said.pop("day")
    labels = {name: said.pop(name) for name in ("trend", "regime", "mood")}
    content = {
        "context": {"market": labels, "cycle": number},
        "inputs": said,
        "reasoning": {"selected": ["long" if said["return_1d"] > 0 else "short"]},
    }
    return Decision(day, read(content), content)


def is_planted(content: Mapping[str, Any]) -> bool:
    """Say whether a decision is of the kind that succeeds more often, where that is planted."""
    ratio = content["inputs"].get("volume_ratio")
    is_bullish = content["context"]["market"]["trend"] == "bullish"
    return is_bullish and ratio is not None and bool(ratio >= 1.0)


def planted(decisions: Sequence[Decision], rate: float, chance: random.Random) -> list[bool]:
    """Draw outcomes: of the planted kind at `rate`, of all others at the base."""
    return [chance.random() < (rate if is_planted(each.content) else BASE) for each in decisions]


def concerns(name: str, told: Told) -> bool:
    """Say whether a candidate is about a path that the planted kind is made of."""
    (found,) = (each for each in told.admitted if each.name == name)
    return bool(found.paths & {"context.market.trend", "inputs.volume_ratio", "inputs.trend_20d"})


def shuffled(decisions: Sequence[Decision], runs: int, chance: random.Random) -> Figures:
    """Shuffle outcomes in which something is planted, so that no feature tells anything."""
    outcomes = planted(decisions, 0.85, chance)
    promoted, admitted = 0, []
    for _ in range(runs):
        chance.shuffle(outcomes)
        told = search(decisions, outcomes)
        promoted += bool(told.promoted)
        admitted.append(len(told.admitted))
    return {
        "histories": float(runs),
        "with_a_promotion": float(promoted),
        "promoted_percent": 100 * promoted / runs,
        "candidates": fmean(admitted),
    }


def power(decisions: Sequence[Decision], rate: float, runs: int, chance: random.Random) -> Figures:
    """Plant a kind, and say how often, and after how many decisions, something of it is found."""
    found, candidates, sizes, wrong = [], [], [], 0
    for _ in range(runs):
        told = search(decisions, planted(decisions, rate, chance))
        right = [when for name, when in told.promoted.items() if concerns(name, told)]
        wrong += len(right) < len(told.promoted)
        found += [min(right)] if right else []
        candidates.append(len(told.admitted))
        sizes.append(told.bytes)
    return {
        "found_percent": 100 * len(found) / runs,
        "median_decisions": float(median(found)) if found else None,
        "with_another_percent": 100 * wrong / runs,
        "candidates": fmean(candidates),
        "largest_state_kb": max(sizes) / 1_000,
    }


def measure(runs: Mapping[str, int], tell: Callable[[str], None]) -> Iterator[Row]:
    """Search the demo's market history as often as `runs` says, each time with other outcomes."""
    tell("discovery: shuffled outcomes")
    decisions = decisions_of(load(ensure_data("arch")))
    found = shuffled(decisions, runs["shuffles"], random.Random("shuffles"))
    yield summed(PART, SHUFFLED, OURS, [found])
    for rate in (0.85, 0.75):
        tell(f"discovery: planted at {rate}")
        figures = power(decisions, rate, runs["planted"], random.Random(f"planted {rate}"))
        yield summed(PART, POWER.format(rate=rate, base=BASE), OURS, [figures])


def _mirrored(counts: Counts) -> Counts:
    return Counts(n=counts.n, s=counts.n - counts.s)
