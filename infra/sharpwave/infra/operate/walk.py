"""The lives of patterns day by day: what the rules say at the end of each day that was counted.

Pure: counts by day, units of evidence, versions and rules give every state that there was. So it
answers what other rules would have done, and draws how a pattern came to where it stands. A
decision is counted on its own day with the outcome it has by now, and looked at once a day;
workers look more often, at outcomes as they come, so they may come to a verdict on another day.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from sharpwave.schemas import keys
from sharpwave.schemas.patterns import PatternVersion, State
from sharpwave.schemas.times import DAY_S, bound, event_begin
from sharpwave.workers.patterns.account import Account
from sharpwave.workers.patterns.counts import Arms, Counts, Days, base_subjects
from sharpwave.workers.patterns.life import (
    Facts,
    Life,
    Weighed,
    base_of_rest,
    floored,
    lacking,
    needed,
    next_step,
    rest_of,
    weigh,
)
from sharpwave.workers.patterns.multiplicity import spent
from sharpwave.workers.patterns.policy import Policy
from sharpwave.workers.patterns.statistics import Figures, figures_of

#: A version that slept may be promoted and shared on one day, never more than this.
_STEPS = 4
#: The state in which a pattern is first believed, doubted and put aside.
_FIRST: Mapping[str, frozenset[State]] = {
    "promoted": frozenset({"active", "shared"}),
    "degraded": frozenset({"degraded"}),
    "retired": frozenset({"retired"}),
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Standing:
    """Where a version stood at the end of one day.

    Attributes:
        day: the day.
        state: its state.
        n: decisions with an outcome so far.
        rate: successes among them; None without any.
        interval: 90 % bounds of the decayed posterior.
        confidence: that it beats the measured rest.
        base_rate: the success rate of the rest, as measured.
        units: units of evidence with an outcome that count for `evidence`.
        evidence: natural logarithm of the e-value; None while no base is frozen.
        bar: log evidence that suffices alone to promote it, by e-LOND; the closure may ask less.
        anytime: bounds of the rate of all units that hold at all times together.
    """

    day: str
    state: State
    n: int
    rate: float | None
    interval: tuple[float, float]
    confidence: float
    base_rate: float
    units: int
    evidence: float | None
    bar: float
    anytime: tuple[float, float]


@dataclass(frozen=True, slots=True, kw_only=True)
class Turn:
    """A day on which a version came into another state, and why."""

    day: str
    state: State
    reason: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Told:
    """One version's life.

    Attributes:
        version: the version, with the base that it was held against if one was frozen.
        number: its place in the order of arrival in its family.
        standings: one for each day that its agents decided, in order.
        turns: its transitions, in order.
    """

    version: PatternVersion
    number: int
    standings: Sequence[Standing]
    turns: Sequence[Turn]

    def first(self, what: str) -> str | None:
        """Give the day on which it was first `promoted`, `degraded` or `retired`."""
        return next((turn.day for turn in self.turns if turn.state in _FIRST[what]), None)


@dataclass(frozen=True, slots=True, kw_only=True)
class Budget:
    """What a family of patterns has taken of its false discovery budget by the end of one day.

    Attributes:
        day: the day.
        candidates: versions that there were.
        promoted: those of them that were promoted, for good in this account.
        spent: the part of alpha that their shares add up to; below alpha for ever.
    """

    day: str
    candidates: int
    promoted: int
    spent: float


@dataclass(slots=True)
class _Line:
    """What the walk keeps of one version."""

    version: PatternVersion
    number: int
    days: Days
    arms: Mapping[str, Arms]
    bases: Sequence[Days]
    began: str = ""
    life: Life = field(default_factory=Life)
    seen: Days = field(default_factory=dict)
    seen_arms: dict[str, Arms] = field(default_factory=dict)
    everyone: Counts = field(default_factory=Counts)
    latest: str = ""
    rest: dict[str, tuple[int, int]] = field(default_factory=dict)
    weighed: Weighed | None = None
    standings: list[Standing] = field(default_factory=list)
    turns: list[Turn] = field(default_factory=list)


def walk(
    versions: Sequence[PatternVersion],
    counts: Mapping[str, Days],
    arms: Mapping[str, Mapping[str, Arms]],
    policy: Policy,
) -> tuple[dict[str, Told], dict[str, list[Budget]]]:
    """Walk through all days that were counted, and apply the rules at the end of each.

    A base that is not stored with a version is frozen on the first day on which enough is known.

    Args:
        versions: all that divide the ledgers; families are told by their owners.
        counts: by ledger and day, base ledgers too.
        arms: units of evidence by ledger and day.
        policy: the rules.

    Returns:
        Lives by the name of the ledger; and budgets by owner, one for each day.
    """
    # With every epoch that was counted: versions that divided some of them may be gone.
    writers: dict[str, dict[str, list[int]]] = {}
    for agent_id, kind, epoch in filter(None, map(keys.split_base_subject, counts)):
        writers.setdefault(kind, {}).setdefault(agent_id, []).append(epoch)
    families: dict[str, list[_Line]] = {}
    for version in sorted(versions, key=lambda each: (each.effective_from, each.subject)):
        family = families.setdefault(version.owner, [])
        agents = writers.get(version.definition.decision_type, {})
        family.append(
            _Line(
                version=version,
                number=version.number or len(family) + 1,
                days=counts.get(version.subject, {}),
                arms=arms.get(version.subject, {}),
                bases=[counts.get(each, {}) for each in base_subjects(version, versions, agents)],
            )
        )
    told: dict[str, Told] = {}
    budgets: dict[str, list[Budget]] = {}
    for owner, family in sorted(families.items()):
        budgets[owner] = _through(family, policy)
        for line in family:
            told[line.version.subject] = Told(
                version=line.version,
                number=line.number,
                standings=line.standings,
                turns=line.turns,
            )
    return told, budgets


def _through(family: Sequence[_Line], policy: Policy) -> list[Budget]:
    """Walk a family through its days; gives its budget by day."""
    # By number in the family, the evidence with which each was promoted.
    promoted: dict[int, float] = {}
    budgets = []
    for line in family:
        own = sorted({day for base in line.bases for day in base} | line.days.keys())
        begins = bound(line.version.effective_from)[:10]
        line.began = begins if own and own[0] <= begins <= own[-1] else (own or [begins])[0]
    for day in sorted({day for line in family for base in line.bases for day in base}):
        living: list[tuple[_Line, Figures, Weighed]] = []
        for line in family:
            if _see(line, day, policy):
                arms = line.seen_arms
                figures = figures_of(line.version, line.seen, line.everyone, arms=arms)
                # Weighing is dear: anew only where a day brought evidence or moved the base.
                weighed = line.weighed or weigh(line.version, arms, line.rest)
                line.weighed = weighed
                living.append((line, figures, weighed))
        waiting = {
            line.number: float(floored(weighed.log_evidence))
            for line, figures, weighed in living
            if line.life.state == "candidate"
            and line.number not in promoted
            and not lacking(weighed, figures, policy)
        }
        account = Account(
            promoted={number: ("", held) for number, held in promoted.items()},
            waiting={number: ("", found) for number, found in waiting.items()},
        )
        # Who is promoted stays promoted in the account, whatever becomes of the pattern.
        for number in account.chosen(policy):
            promoted[number] = waiting[number]
        for line, figures, weighed in living:
            _turn(line, day, figures, weighed, promoted.get(line.number), policy)
            evidence = None if weighed.base is None else weighed.log_evidence
            others = sum(number != line.number for number in promoted)
            line.standings.append(
                Standing(
                    day=day,
                    state=line.life.state,
                    n=figures.n,
                    rate=figures.rate,
                    interval=figures.interval,
                    confidence=figures.confidence,
                    base_rate=figures.base_rate,
                    units=weighed.n,
                    evidence=evidence,
                    bar=needed(line.number, others, policy),
                    anytime=weighed.anytime,
                )
            )
        arrived = max((line.number for line in family if line.latest), default=0)
        budgets.append(
            Budget(
                day=day,
                candidates=arrived,
                promoted=len(promoted),
                spent=policy.alpha * spent(arrived),
            )
        )
    return budgets


def _see(line: _Line, day: str, policy: Policy) -> bool:
    """Add what a day counted; says whether there was any of it in the version's scope."""
    shown = [base[day] for base in line.bases if day in base]
    if not shown:
        return False
    line.latest = day
    line.everyone = sum(shown, start=line.everyone)
    if day in line.days:
        line.seen[day] = line.days[day]
    if day in line.arms:
        line.seen_arms[day] = line.arms[day]
        line.weighed = None
    line.rest.update(rest_of(line.days, [{day: each} for each in shown]))
    if line.version.base is None:
        bases = [{each: base[each] for each in base if each <= day} for base in line.bases]
        if (base := base_of_rest(line.version, line.seen, bases, policy)) is not None:
            line.version = line.version.model_copy(update={"base": base})
            line.weighed = None
    if line.version.base is not None and line.version.base.trailing is not None:
        line.weighed = None
    return True


def _turn(
    line: _Line,
    day: str,
    figures: Figures,
    weighed: Weighed,
    promoted: float | None,
    policy: Policy,
) -> None:
    definition = line.version.definition
    facts = Facts(
        weighed=weighed,
        figures=figures,
        latest=line.latest,
        promoted=promoted,
        has_readers=definition.agent_id is None or bool(definition.shared_with),
        began=line.began,
    )
    # The last second of the day, by the days' own clock: nothing here asks what time it is.
    moment = int(event_begin(day)) + DAY_S - 1
    for _ in range(_STEPS):
        step = next_step(line.life, line.version, facts, policy, moment)
        if step is None:
            return
        line.life = step.life
        line.turns.append(Turn(day=day, state=step.life.state, reason=step.reason))
