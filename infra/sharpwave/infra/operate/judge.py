"""What the archive says of pattern definitions before anything is imported.

It is a look back, at decisions that may have suggested the patterns: what it finds is no evidence,
for that only counts decisions after the import. It tells what a definition would match, and what
makes one worthless: a path that no decision has, a condition that never tells decisions apart, one
that may know the outcome.
"""

import math
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from difflib import get_close_matches
from typing import Any

from sharpwave.infra.errors import Rejected
from sharpwave.schemas import keys
from sharpwave.schemas.conditions import KNOWN_BEFORE_OUTCOME, Condition
from sharpwave.schemas.numbers import plain_json
from sharpwave.schemas.patterns import FrozenBase, PatternDefinition, PatternVersion
from sharpwave.workers.patterns.counts import Counts, Days, total
from sharpwave.workers.patterns.evidence import frozen_base, frozen_base_below
from sharpwave.workers.patterns.life import lacking, needed, weigh
from sharpwave.workers.patterns.policy import Policy
from sharpwave.workers.patterns.recount import Parts, Recount, figures

#: Below so many outcomes nothing is said about what is too good or too usual.
_ENOUGH = 50
_NEARLY_ALWAYS = 0.98
#: So many archived states without an outcome have to lack a path before that is told.
_WITHOUT_OUTCOME = 20
#: Values and names that a warning gives as examples, and the characters of each at most.
_EXAMPLES, _LONGEST = 4, 40
#: States whose paths are remembered, to find the one that is meant.
_LOOKED_AT = 1_000


@dataclass(frozen=True, kw_only=True)
class Judged:
    """What the archive says of one definition.

    Attributes:
        pattern_id: whose.
        owner: an agent, or `shared#<domain>`.
        decisions: archived decisions that it could match: of its agent and type.
        matched: those it does match.
        support: `matched` in shares of `decisions`; None without decisions.
        sample_size: matched decisions with an outcome.
        success_rate: successes among those; None without one.
        base_rate: the success rate of the decisions it does not match.
        applied: matched ones that name it in `reasoning.patterns_applied`, with an outcome.
        days: days with an outcome of a matched decision.
        units: units of evidence among them: what was decided in one cycle counts once.
        evidence: log10 of the e-value that these units would be, had they come after an import.
        asked: log10 of what suffices for the first candidate of an owner.
        lacks: what a promotion would take beside that evidence.
        warnings: what makes the definition worthless or doubtful, each with what to do.
    """

    pattern_id: str
    owner: str
    decisions: int
    matched: int
    support: float | None
    sample_size: int
    success_rate: float | None
    base_rate: float
    applied: int
    days: int
    units: int
    evidence: float
    asked: float
    lacks: Sequence[str]
    warnings: Sequence[str]


def judge_definitions(
    archive: Parts,
    definitions: Sequence[PatternDefinition],
    policy: Policy,
    *,
    where: str = "there",
) -> list[Judged]:
    """Hold definitions against all that is archived; writes nothing.

    Args:
        archive: where decisions are archived.
        definitions: what to judge.
        policy: the rules of promotion.
        where: the archive's place in words.

    Raises:
        Rejected: a part of the archive cannot be read, or nothing is archived.
    """
    versions = [
        PatternVersion(definition=definition, version=1, effective_from=0, learned_at=0)
        for definition in definitions
    ]
    looks = [_Look(version) for version in versions]

    def watch(state: Mapping[str, Any]) -> bool:
        for look in looks:
            look.at(state)
        return True

    with Recount(versions, accepts=watch) as recount:
        # Without one part every figure would be doubtful.
        for damage in recount.read(archive):
            raise Rejected(f"part {damage.part} of the archive cannot be read: {damage.reason}")
        counts, arms = recount.counts(), recount.arms()
    if not counts:
        raise Rejected(
            f"nothing is archived {where}, so nothing can be judged: give --archive URL, or set "
            "SHARPWAVE_ARCHIVE as the workers of archive have it"
        )
    standing = figures(versions, counts, arms=arms, horizons={})
    judged = []
    for version, look in zip(versions, looks, strict=True):
        definition, days = version.definition, counts.get(version.subject, {})
        mine, everyone = total(days.values()), _everyone(definition, counts)
        matched, decisions = mine.n + mine.pending, everyone.n + everyone.pending
        rest = everyone.n - mine.n, everyone.s - mine.s
        freeze = frozen_base_below if definition.is_avoid else frozen_base
        base = FrozenBase(p0=definition.base_rate or freeze(*rest))
        weighed = weigh(version.model_copy(update={"base": base}), arms.get(version.subject, {}))
        judged.append(
            Judged(
                pattern_id=definition.pattern_id,
                owner=version.owner,
                decisions=decisions,
                matched=matched,
                support=matched / decisions if decisions else None,
                sample_size=mine.n,
                success_rate=standing[version.subject].rate,
                base_rate=standing[version.subject].base_rate,
                applied=mine.applied,
                days=sum(1 for counted in days.values() if counted.n),
                units=weighed.n,
                evidence=weighed.log_evidence / math.log(10),
                asked=needed(1, 0, policy) / math.log(10),
                lacks=lacking(weighed, standing[version.subject], policy),
                warnings=look.warnings(mine, matched=matched, decisions=decisions, counts=counts),
            )
        )
    return judged


def _everyone(definition: PatternDefinition, counts: Mapping[str, Days]) -> Counts:
    """Add up all decisions that a definition could match."""
    found = Counts()
    for subject, days in counts.items():
        base = keys.split_base_subject(subject)
        if base and base[1] == definition.decision_type and definition.agent_id in (None, base[0]):
            found += total(days.values())
    return found


class _Look:
    """What the archived states that a definition could match say of its single conditions."""

    def __init__(self, version: PatternVersion) -> None:
        self._definition = version.definition
        self._conditions = (
            version.definition.conditions.root if version.definition.conditions else ()
        )
        self._seen: Counter[str] = Counter()
        self._has: Counter[tuple[int, str]] = Counter()
        self._holds: Counter[int] = Counter()
        self._values: dict[int, dict[str, None]] = {}
        self._paths: dict[str, None] = {}

    def at(self, state: Mapping[str, Any]) -> None:
        """Look at one archived state; a decision has one or more."""
        definition = self._definition
        if state["decision_type"] != definition.decision_type:
            return
        if definition.agent_id not in (None, state["agent_id"]):
            return
        when = "late" if isinstance(state.get("outcome"), Mapping) else "early"
        self._seen[when] += 1
        # Paths are looked for to name close ones, and those of some states suffice.
        if self._seen.total() <= _LOOKED_AT:
            self._paths |= dict.fromkeys(_paths(state))
        for number, condition in enumerate(self._conditions):
            is_there = Condition(path=condition.path, op="exists").matches(state)
            self._has[number, when] += is_there
            values = self._values.setdefault(number, {})
            # One more than is shown, which says that there are more.
            if is_there and len(values) <= _EXAMPLES:
                values[_shown(state, condition.path)] = None
            self._holds[number] += condition.matches(state)

    def warnings(
        self, mine: Counts, *, matched: int, decisions: int, counts: Mapping[str, Days]
    ) -> list[str]:
        """Say what makes the definition worthless or doubtful."""
        owner = self._definition.agent_id or "any agent"
        if not decisions:
            bases = filter(None, map(keys.split_base_subject, counts))
            there = sorted({f"{kind} of {agent_id}" for agent_id, kind, _ in bases})
            some = ", ".join(there[:_EXAMPLES]) + (", ..." if len(there) > _EXAMPLES else "")
            return [
                f"no {self._definition.decision_type} of {owner} is archived; mind the spelling of "
                f"agent_id and decision_type: there is {some}"
            ]
        return list(self._doubts(mine, matched, decisions))

    def _doubts(self, mine: Counts, matched: int, decisions: int) -> Iterator[str]:
        states = self._seen.total()
        for number, condition in enumerate(self._conditions):
            words, early = condition.describe(), self._has[number, "early"]
            there = early + self._has[number, "late"]
            if not there and condition.op != "exists":
                close = get_close_matches(condition.path, self._paths, n=1)
                hint = f": is {close[0]} meant?" if close else ""
                yield f"{words}: no decision has {condition.path}; mind where agents write it{hint}"
            elif not self._holds[number]:
                values = list(self._values[number])
                said = ", ".join(values[:_EXAMPLES]) + (", ..." if len(values) > _EXAMPLES else "")
                yield (
                    f"{words}: never true, though {there} of {states} states have the path, with "
                    f"values such as {said}"
                )
            elif self._holds[number] == states >= _ENOUGH:
                yield f"{words}: true of every decision, so it tells none apart; leave it out"
            if there and not early and self._seen["early"] >= _WITHOUT_OUTCOME:
                yield (
                    f"{words}: only decisions written together with their outcome have "
                    f"{condition.path}, so it may come from the outcome (leakage); use what was "
                    "known when the agent decided"
                )
        # Now what the conditions are together.
        if not self._conditions:
            if not matched:
                yield (
                    "no decision names it in reasoning.patterns_applied, and it has no conditions; "
                    "give it conditions, or let agents name it"
                )
        elif (
            not matched and all(self._holds.values()) and len(self._holds) == len(self._conditions)
        ):
            yield "each condition holds for some decisions, but never all of them for one"
        if matched >= _ENOUGH and matched > _NEARLY_ALWAYS * decisions:
            yield (
                f"it matches {matched} of {decisions} decisions, so there is almost nothing to "
                "compare it with; add a condition, or give base_rate"
            )
        if (
            mine.n >= _ENOUGH
            and not (1 - _NEARLY_ALWAYS) * mine.n < mine.s < _NEARLY_ALWAYS * mine.n
        ):
            yield (
                f"{mine.s} of {mine.n} outcomes are successes, which is too good to be true: look "
                "whether a condition knows the outcome (leakage)"
            )


def _paths(state: Mapping[str, Any]) -> Iterator[str]:
    """Give the paths to values that a condition may look at."""
    todo = [(name, state[name]) for name in KNOWN_BEFORE_OUTCOME if name in state]
    while todo:
        path, value = todo.pop()
        if isinstance(value, Mapping):
            todo += [(f"{path}.{name}", part) for name, part in value.items()]
        else:
            yield path


def _shown(state: Mapping[str, Any], path: str) -> str:
    """Write the value at a path as JSON has it, so that a number and its text look different."""
    value: Any = state
    for name in path.split("."):
        value = value[name]
    text = plain_json(value)
    return text if len(text) <= _LONGEST else f"{text[:_LONGEST]}..."
