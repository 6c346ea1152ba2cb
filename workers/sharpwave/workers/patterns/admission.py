"""How a definition becomes a version that workers count by, whoever brings it.

A version never changes what it counts. A definition that counts otherwise becomes a new version,
which takes over from the previous one at a moment in the near future; one that only reads
otherwise, or is shared otherwise, changes in place and keeps its evidence.

Workers keep in the table up to which moment they have judged decisions by the list of versions. A
version begins beyond it, and its transaction says so: one that comes too late, however long it
took on its way, is not written. People import by the same plan (`infra.operate.patterns`).
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from pydantic import ValidationError

from sharpwave.schemas import keys
from sharpwave.schemas.ids import ulid
from sharpwave.schemas.keys import Key
from sharpwave.schemas.patterns import (
    FrozenBase,
    PatternDefinition,
    PatternVersion,
    boundaries,
    content_hash,
    versions_of,
)
from sharpwave.schemas.tables import MEMORY, PIPELINE
from sharpwave.schemas.times import Clock, bound
from sharpwave.workers.patterns.catalogue import listed
from sharpwave.workers.patterns.counts import Counts, total
from sharpwave.workers.patterns.life import LIFE, base_at_once
from sharpwave.workers.patterns.policy import Policy
from sharpwave.workers.patterns.seats import MOST_SEATS
from sharpwave.workers.work.ports import (
    Check,
    Insert,
    Item,
    Location,
    Put,
    Reads,
    Transactions,
    TryAgain,
    Update,
    Write,
)

#: What workers compute for a current row; a new version starts without.
FIGURES = (
    "sample_size",
    "successes",
    "success_rate",
    "interval",
    "confidence",
    "base_rate",
    "n_eff",
    "applied",
    "unresolved",
    "overdue",
    "units",
    "quality_sd",
    "propensity",
    "as_of",
    "evidence",
    "evidence_n",
    "evidence_s",
    "evidence_needed",
    "base_frozen",
    "base_asked",
    "anytime",
    "not_applied",
    "uplift",
    "GSI1_SK",
    "GSI2_SK",
)
_BEGIN = {"state": "candidate"}
_ATTEMPTS = 4

Part = Write | Put | Check
Origin = Literal["import", "discovery", "drift", "split"]


@dataclass(frozen=True, kw_only=True)
class Plan:
    """What bringing a definition in takes.

    Attributes:
        version: the version that stands for the definition afterwards.
        change: what happens to the pattern.
        writes: all of it, for one transaction; none if nothing changes.
    """

    version: PatternVersion
    change: Literal["created", "new version", "changed in place", "unchanged"]
    writes: Sequence[Part]


def plan(draft: PatternVersion, row: Item | None, stored: PatternVersion | None) -> Plan:
    """Plan what brings a definition in; the transaction fails if the pattern changed meanwhile.

    Args:
        draft: the version it would be, were it the first of its name.
        row: the pattern's current row, if there is one.
        stored: the version that the row names, if there is a row.
    """
    definition = draft.definition
    if row is None or stored is None:
        begin = {"sample_size": 0, "successes": 0, **_BEGIN}
        current = {**place(draft).item(), **current_row(draft), **begin}
        writes: list[Part] = [*_immutable(draft), Insert(MEMORY, current)]
        return Plan(version=draft, change="created", writes=[*_fence(draft), *writes])
    # A grant, or its revocation, changes the row in place: who read it before must not undo that.
    expected: Item = {name: row[name] for name in ("version", "shared_with") if name in row}
    # A version that is made anew of the same conditions names the one that it follows.
    if draft.parent == stored.name or row["content_hash"] != counted_hash(definition):
        version = draft.model_copy(update={"version": row["version"] + 1})
        ends = version.effective_from
        if stored.effective_to is not None:
            ends = min(ends, stored.effective_to)
        previous = stored.model_copy(update={"effective_to": ends})
        # Workers write figures under the revision they read, so those of the old one now fail.
        revision = row.get("figures_rev", 0)
        expected |= {"figures_rev": revision} if revision else {}
        values = {**current_row(version), **_BEGIN, "figures_rev": revision + 1}
        # That a rule shared it once is kept: what was revoked since, no new version brings back.
        names = ({*FIGURES, *LIFE, "conditions", "kind"} - {"shared_once"}) & row.keys()
        stale = tuple(sorted(names - values.keys()))
        older = Key(version.pk, keys.pattern_version_sk(row["pattern_id"], row["version"]))
        writes = [
            *_fence(version),
            *_immutable(version),
            # Only what it says: base and number stand beside it, and may come at the same moment.
            Update(listed_at(previous), {"version": previous.entry()["version"]}),
            Update(Location(MEMORY, older), {"effective_to": ends}),
            Update(Location(MEMORY, place(version)), values, equals=expected, remove=stale),
        ]
        return Plan(version=version, change="new version", writes=writes)
    version = stored.model_copy(update={"definition": definition})
    wanted = current_row(version)
    if all(row.get(name) == value for name, value in wanted.items()):
        return Plan(version=version, change="unchanged", writes=[])
    return Plan(
        version=version,
        change="changed in place",
        writes=[
            Update(listed_at(version), {"version": version.entry()["version"]}),
            Update(Location(MEMORY, place(version)), wanted, equals=expected),
            mark(version),
        ],
    )


def counted_hash(definition: PatternDefinition) -> str:
    """Give a digest of what decides the counts; who may read them and a text about it do not."""
    no_matter: dict[str, Any] = {"description": None, "shared_with": [], "shards": 1}
    return content_hash(definition.model_copy(update=no_matter))


def described(definition: PatternDefinition) -> str:
    """Give the words for a pattern: the author's own, or else its conditions'."""
    if definition.description:
        return definition.description
    if definition.conditions:
        return definition.conditions.describe()
    return "decisions that name it in reasoning.patterns_applied"


def mark(version: PatternVersion) -> Put:
    """Let workers compute the figures of a version that has counted nothing yet."""
    day = bound(version.effective_from)[:10]
    return Put(PIPELINE, {**keys.changed(version.subject, day).item(), "rev": ulid()})


def place(version: PatternVersion) -> Key:
    """Give the key of a pattern's current row."""
    return Key(version.pk, version.definition.pattern_id)


def listed_at(version: PatternVersion) -> Location:
    """Say where a version stands in the list that workers count by."""
    return Location(PIPELINE, keys.known_pattern(version.subject))


def current_row(version: PatternVersion) -> Item:
    """Give what a pattern's row says of its current version, figures and state aside."""
    definition = version.definition
    plain = definition.model_dump(mode="json")
    named: dict[str, Any] = {"agent_id": definition.agent_id, "conditions": plain["conditions"]}
    is_domain = definition.agent_id is None
    return {
        "memory_type": "PATTERN",
        "pattern_id": definition.pattern_id,
        "domain": definition.domain,
        "decision_type": definition.decision_type,
        "description": described(definition),
        "content_hash": counted_hash(definition),
        "is_shared": is_domain or bool(definition.shared_with),
        "shared_with": sorted(definition.shared_with),
        "GSI1_PK": version.pk,
        **({"kind": definition.kind} if definition.is_avoid else {}),
        **({"GSI2_PK": version.pk} if is_domain else {}),
        **{name: value for name, value in named.items() if value is not None},
        **version.model_dump(include={"version", "effective_from", "learned_at"}),
    }


def scope_subjects(
    version: PatternVersion,
    versions: Sequence[PatternVersion],
    writers: Mapping[str, Sequence[int]],
) -> list[str]:
    """Name the base ledgers of a version's agent, or of all writers, and type, in all epochs."""
    agent_id, decision_type = version.definition.agent_id, version.definition.decision_type
    return [
        keys.base_subject(each, decision_type, epoch)
        for each, kept in ({agent_id: ()} if agent_id else writers).items()
        for epoch in sorted(
            {*boundaries(versions_of(versions, each, decision_type), each, decision_type), *kept}
        )
    ]


def scope_counts(version: PatternVersion, reads: Reads) -> Counts:
    """Add up what is published of all decisions of a version's scope, before it begins."""
    decision_type = version.definition.decision_type
    entries = reads.query(MEMORY, keys.writers_pk(decision_type))
    writers = {entry["SK"]: entry.get("epochs", []) for entry in entries}
    subjects = scope_subjects(version, listed(reads).versions, writers)
    rows = reads.get([Location(PIPELINE, keys.ledger_total(each)) for each in subjects])
    return total(Counts.from_row(row["c"]) for row in rows.values())


def frozen_at_once(version: PatternVersion, reads: Reads, policy: Policy) -> FrozenBase | None:
    """Freeze a version's base when it is made, if enough is known of its scope."""
    return base_at_once(version, scope_counts(version, reads), policy)


class Admission:
    """Brings versions in that workers make: discovered ones, and those that follow a drift."""

    def __init__(
        self,
        *,
        reads: Reads,
        transactions: Transactions,
        clock: Clock,
        lead_s: float,
        policy: Policy,
    ) -> None:
        """Let versions begin `lead_s` seconds after they are written, or later."""
        self._policy = policy
        self._reads, self._transactions = reads, transactions
        self._clock, self._lead_s = clock, lead_s

    def admit(
        self, definition: PatternDefinition, *, origin: Origin, parent: str | None, reason: str
    ) -> PatternVersion | None:
        """Make a version of a definition that workers count by; safe to repeat and to race.

        The same definition again changes nothing, whatever its words, unless its version has
        ended: then the next one begins. One that follows the pattern's current version (`parent`
        is its name) becomes the next version of it, though nothing else changed, and once only.

        Args:
            definition: what it is to be.
            origin: what made it.
            parent: the version it came from, as `pattern_id@version`.
            reason: why it is made, in words.

        Returns:
            The version that stands for it. None if the name belongs to a pattern of the same owner
            that says something else, or a newer release wrote it: that is never replaced.

        Raises:
            TryAgain: others wrote to the pattern at the same moment, again and again.
        """
        for _ in range(_ATTEMPTS):
            draft = self._draft(definition, origin, parent, reason)
            at = Location(MEMORY, place(draft))
            row = self._reads.get([at]).get(at)
            stored: PatternVersion | None = None
            if row is not None:
                current = draft.model_copy(update={"version": int(row["version"])})
                entry = self._reads.get([listed_at(current)]).get(listed_at(current))
                try:
                    stored = None if entry is None else PatternVersion.of_entry(entry, strict=True)
                except ValidationError:
                    return None
                if stored is None or row["content_hash"] != counted_hash(definition):
                    return None
                if parent != stored.name:
                    if stored.effective_to is None:
                        return stored
                    # It was given up once, and nothing counts its decisions any more.
                    draft = draft.model_copy(update={"parent": stored.name})
                else:
                    # It counts the same, and who may read it is what the stored one says by now.
                    draft = draft.model_copy(update={"definition": stored.definition})
            planned = plan(draft, row, stored)
            if self._transactions.transact(planned.writes):
                return planned.version
        raise TryAgain(f"pattern {definition.pattern_id} is written by others, again and again")

    def _draft(
        self, definition: PatternDefinition, origin: Origin, parent: str | None, reason: str
    ) -> PatternVersion:
        now = self._clock()
        at = Location(PIPELINE, keys.judged())
        judged = self._reads.get([at]).get(at)
        until = -1 if judged is None else int(judged["until"])
        begin = max(-int(-(now + self._lead_s) // 1), until + 1)
        form = 1
        # Without an agent its decisions are in ledgers of many, and base ledgers give it no seat.
        if definition.agent_id is not None:
            known = listed(self._reads).versions
            seated = [
                each
                for each in versions_of(known, definition.agent_id, definition.decision_type)
                if each.is_seated and (each.effective_to is None or each.effective_to > begin)
            ]
            # Some more, admitted at the same moment, make rows longer and no more.
            form = 2 if len(seated) < MOST_SEATS else 1
        draft = PatternVersion(
            definition=definition,
            version=1,
            form=form,
            effective_from=begin,
            learned_at=int(now),
            origin=origin,
            parent=parent,
            reason=reason,
        )
        return draft.model_copy(update={"base": frozen_at_once(draft, self._reads, self._policy)})


def _fence(version: PatternVersion) -> list[Part]:
    # In the same transaction: a worker that judges up to its beginning from now on breaks it.
    at = Location(PIPELINE, keys.judged())
    return [Check(at, below={"until": version.effective_from}), mark(version)]


def _immutable(version: PatternVersion) -> list[Part]:
    definition = version.definition
    row = {
        **Key(version.pk, keys.pattern_version_sk(definition.pattern_id, version.version)).item(),
        "memory_type": "PATTERN_VERSION",
        "pattern_id": definition.pattern_id,
        "definition": definition.model_dump(mode="json"),
        "content_hash": counted_hash(definition),
        "origin": version.origin,
        **({"parent": version.parent} if version.parent else {}),
        **({"reason": version.reason} if version.reason else {}),
        **version.model_dump(include={"version", "effective_from", "learned_at"}),
    }
    entry = {**listed_at(version).key.item(), **version.entry()}
    return [Insert(MEMORY, row), Insert(PIPELINE, entry)]
