"""Using what was learnt: the patterns a decision falls under, and which source to listen to."""

import math
import random
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any

from pydantic import ValidationError

from sharpwave.producers.call import Call, Identity, Operation
from sharpwave.producers.choosing import Choice
from sharpwave.producers.choosing import choose as draw
from sharpwave.producers.operations import decisions, storage
from sharpwave.schemas import keys
from sharpwave.schemas.conditions import Conditions
from sharpwave.schemas.faults import RecordRefused, unstorable
from sharpwave.schemas.numbers import UnstorableValue, item_from_wire, item_to_wire
from sharpwave.schemas.patterns import PatternRow, State
from sharpwave.schemas.records import MOST_SOURCE_NAME
from sharpwave.schemas.tables import MEMORY

#: What was read is used so long, in seconds; figures move by the minute.
MAX_AGE_S = 60.0
#: Pages of 1 MB that are read of one partition of patterns; what lies beyond is counted.
MAX_PAGES = 4
#: Decisions that a choice looks back on.
LOOK_BACK = 500

_STANDING: Mapping[State, int] = {
    "active": 0,
    "shared": 0,
    "candidate": 1,
    "degraded": 2,
    "dormant": 2,
    "retired": 2,
}
_IN_USE: tuple[State, ...] = ("active", "shared", "candidate")
_CHANCE = random.SystemRandom()


@dataclass(frozen=True, slots=True, kw_only=True)
class Recalled:
    """A pattern that a decision falls under, with what its outcomes have shown so far.

    Rates and shares lie within 0 to 1. What is not known yet is None.

    Attributes:
        pattern_id: its name.
        owner: whose it is: an agent, or `shared#<domain>`.
        version: the version that the figures are of; list it as `pattern_id@version`, or the
            pattern by its name, in `reasoning.patterns_applied` where it was acted on.
        decision_type: of the decisions it is about.
        description: in words.
        conditions: what a decision has to fulfil; None if it is one that names the pattern.
        avoid: it claims that such decisions succeed less often than the rest.
        state: where it stands in its life; a row that does not say so is a candidate's.
        evidence: natural logarithm of its e-value; 2.3 is 10 to 1 against chance.
        evidence_n: units of evidence behind it.
        n: resolved decisions that it matched.
        successes: those of them that succeeded.
        rate: successes / n.
        interval: bounds of the central 90 % of what its rate may be.
        base_rate: the rate of the decisions it does not match.
        confidence: probability that it beats `base_rate` by its least lift.
        as_of: the latest day counted, `YYYY-MM-DD`.
    """

    pattern_id: str
    owner: str
    version: int
    decision_type: str
    description: str
    conditions: Conditions | None
    avoid: bool
    state: State
    evidence: float | None
    evidence_n: int | None
    n: int
    successes: int
    rate: float | None
    interval: tuple[float, float] | None
    base_rate: float | None
    confidence: float | None
    as_of: str | None

    @property
    def is_proven(self) -> bool:
        """Say whether it has earned its confidence: it is active or shared."""
        return _STANDING[self.state] == 0

    @classmethod
    def of(cls, row: PatternRow) -> "Recalled":
        """Read a pattern's row.

        Raises:
            ValidationError: its conditions cannot be read.
        """
        low_high = row.interval or []
        said = row.conditions
        return cls(
            pattern_id=row.pattern_id,
            owner=row.agent_id or keys.shared_owner(row.domain),
            version=row.version,
            decision_type=row.decision_type,
            description=row.description,
            conditions=None if said is None else Conditions.model_validate(said),
            avoid=row.kind == "avoid",
            state=row.state,
            evidence=_plain(row.evidence),
            evidence_n=row.evidence_n,
            n=row.sample_size,
            successes=row.successes,
            rate=_plain(row.success_rate),
            interval=(float(low_high[0]), float(low_high[1])) if len(low_high) == 2 else None,
            base_rate=_plain(row.base_rate),
            confidence=_plain(row.confidence),
            as_of=row.as_of,
        )

    def matches(self, decision: Mapping[str, Any]) -> bool:
        """Say whether a decision of its type falls under it, whoever makes it."""
        if self.conditions is not None:
            return self.conditions.matches({**decision, "decision_type": self.decision_type})
        reasoning = decision.get("reasoning")
        named = reasoning.get("patterns_applied") if isinstance(reasoning, Mapping) else None
        names = {self.pattern_id, f"{self.pattern_id}@{self.version}"}
        return isinstance(named, list | set) and any(
            isinstance(name, str) and name in names for name in named
        )


def matching(
    me: Identity,
    decision: Mapping[str, Any],
    *,
    decision_type: str | None,
    domain: str | None,
    states: Collection[State] | None,
    max_age_s: float,
    limit: int,
) -> Operation[list[Recalled]]:
    """Give the patterns that a decision falls under, best proven first; see `recall`."""
    wanted = frozenset(_IN_USE if states is None else states)
    if unknown := sorted(wanted - _STANDING.keys()):
        known = ", ".join(_STANDING)
        raise ValueError(f"{', '.join(unknown)}: no state of a pattern; choose among {known}")
    for name, part in decision.items():
        if not isinstance(part, Mapping):
            raise ValueError(f"{name} is {part!r}; give a map, as to decide()")
    whole = {"agent_id": me.agent_id, "agent_version": me.agent_version, **decision}
    try:
        # As workers would read it.
        stored = item_from_wire(item_to_wire(storage.without_none(whole)))
    except UnstorableValue as error:
        raise RecordRefused([unstorable(error)]) from error
    places = [keys.pattern_pk(me.agent_id)]
    places += [keys.shared_pattern_pk(domain)] if domain else []
    places.append(keys.shared_with_pk(me.agent_id))
    found: dict[tuple[str, str], Recalled] = {}
    for pk in places:
        for each in (yield from _read(me, pk, max_age_s)):
            is_asked = each.state in wanted and decision_type in (None, each.decision_type)
            if is_asked and each.matches(stored):
                # A pattern of the domain may have been shared by name too.
                found.setdefault((each.owner, each.pattern_id), each)
    return sorted(found.values(), key=_rank)[:limit]


def choose(
    me: Identity,
    /,
    sources: Collection[str],
    *,
    decision_type: str,
    context: Mapping[str, Any] | None = None,
    look_back: int = LOOK_BACK,
    chance: random.Random | None = None,
    max_age_s: float = MAX_AGE_S,
) -> Operation[Choice]:
    """Draw a source to listen to, as often as it is likely to be the best one (Thompson).

    It counts the agent's own decisions of the type that have an outcome and whose
    `reasoning.selected` is that one source. Give the answer to `decide(..., choice=...)`, which
    stores the source and the probability of its choice: that is what the next choice counts, and
    what estimates of another choice need. A source without outcomes is tried like any other.

    Args:
        sources: whom to choose from, by name.
        decision_type: of the decision to be, such as SOURCE_SELECTION.
        context: only decisions count whose context says the same in all of this. Give what makes
            them comparable, such as {"market": {"trend": "bullish"}}, and nothing that is new each
            time, such as a cycle.
        look_back: the most decisions to count, the latest ones.
        chance: where randomness comes from; the operating system unless given. Equal counts and
            an equal state of it give an equal choice.
        max_age_s: seconds for which decisions that were read are used again.

    Raises:
        ValueError: there is no source, or the context has values that do not compare.
    """
    if isinstance(sources, str) or not sources or not all(isinstance(s, str) for s in sources):
        raise ValueError(f"{sources!r} is no choice; give the names of sources, such as a list")
    leaves = list(_leaves("context", context or {}))
    # What decisions have to fulfil to be comparable; without a context all are.
    same = [{"path": path, "op": "eq", "value": value} for path, value in leaves]
    bucket = Conditions.model_validate(same) if same else None
    counts = dict.fromkeys(sources, (0, 0))
    for selected, success, surroundings in (
        yield from _resolved(me, decision_type, look_back, max_age_s)
    ):
        if selected in counts and (bucket is None or bucket.matches({"context": surroundings})):
            n, s = counts[selected]
            counts[selected] = n + 1, s + success
    leaves.sort(key=lambda leaf: leaf[0])
    named = ", ".join(f"{path.removeprefix('context.')}={value}" for path, value in leaves)
    return replace(draw(counts, chance or _CHANCE), bucket=named[:MOST_SOURCE_NAME] or None)


def _read(me: Identity, pk: str, max_age_s: float) -> Operation[list[Recalled]]:
    """Read the current patterns of a partition, or what was read within `max_age_s`."""
    now, kept = me.clock(), me.shelf.get(pk)
    if kept is not None and 0 <= now - kept[0] < max_age_s:
        return kept[1]
    request = storage.query(me.table(MEMORY), ("PK", pk), newest_first=False)
    found: list[Recalled] = []
    for _ in range(MAX_PAGES):
        reply = yield Call("dynamodb", "query", {**request})
        for item in map(item_from_wire, reply["Items"]):
            # `<pattern_id>@<version>` is an immutable version, the row without it the current one.
            is_current = item.get("memory_type") == "PATTERN" and "@" not in item["SK"]
            row = storage.readable(me, PatternRow, item) if is_current else None
            try:
                found += [] if row is None else [Recalled.of(row)]
            except ValidationError:
                me.counters["unreadable"] += 1
        if not reply.get("LastEvaluatedKey"):
            break
        request["ExclusiveStartKey"] = reply["LastEvaluatedKey"]
    else:
        me.counters["beyond"] += 1
    me.shelf[pk] = (now, found)
    return found


def _rank(each: Recalled) -> tuple[int, float, float, int, str]:
    evidence = -math.inf if each.evidence is None else each.evidence
    confidence = -1.0 if each.confidence is None else each.confidence
    return _STANDING[each.state], -evidence, -confidence, -each.n, each.pattern_id


_Resolved = tuple[str, bool, Mapping[str, Any]]


def _resolved(
    me: Identity, decision_type: str, look_back: int, max_age_s: float
) -> Operation[list[_Resolved]]:
    """Give what each decision selected, how it turned out, and its context."""
    place = f"{decision_type}#{look_back}"
    now, kept = me.clock(), me.shelf.get(place)
    if kept is not None and 0 <= now - kept[0] < max_age_s:
        return kept[1]
    found: list[_Resolved] = []
    records = yield from decisions.decisions(me, decision_type=decision_type, limit=look_back)
    for record in records:
        selected = (record.reasoning or {}).get("selected")
        if record.outcome is not None and isinstance(selected, list) and len(selected) == 1:
            found.append((selected[0], record.outcome.success, record.context or {}))
    me.shelf[place] = (now, found)
    return found


def _leaves(path: str, value: Any) -> Iterator[tuple[str, Any]]:
    if isinstance(value, Mapping):
        for name, part in value.items():
            yield from _leaves(f"{path}.{name}", part)
    else:
        yield path, value


def _plain(value: Any) -> float | None:
    return None if value is None else float(value)
