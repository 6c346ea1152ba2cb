"""What is counted: the content of a decision, the counts of many, and where counts are stored.

Nothing here knows how a ledger comes to its counts, so `recount`, which checks them, may use it.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import astuple, dataclass, fields
from decimal import Decimal
from hashlib import blake2b
from typing import Any

from sharpwave.schemas import keys, tables
from sharpwave.schemas.numbers import canonical_json
from sharpwave.schemas.ownership import MUTABLE, agents_own
from sharpwave.schemas.patterns import PatternVersion, boundaries
from sharpwave.workers.work.ports import Location, Reads

CONTENT_BYTES = 3
QUALITY_SCALE = 10_000


def content_digest(decision: Mapping[str, Any]) -> bytes:
    """Give a digest of what a decision says and may not change; equal content, equal digest.

    All of the agent's attributes count but its outcome and `ttl`. The order of names, the way a
    number is written and the order of a set do not matter.

    Of one key in one ledger's day the content of the smallest digest counts, and no other; see
    `ledger.supersedes`.

    Args:
        decision: plain attributes, as `item_from_wire` gives them.
    """
    own = agents_own("decision", decision.keys() - MUTABLE["decision"])
    content = {name: decision[name] for name in own}
    return blake2b(canonical_json(content).encode(), digest_size=CONTENT_BYTES).digest()


class MalformedRow(ValueError):
    """A stored counts row is not one that `Counts.to_row` wrote."""


@dataclass(frozen=True, slots=True)
class Counts:
    """What one bucket, or several disjoint ones, have seen.

    Attributes:
        revision: how often the sets were added to; only a greater one replaces stored counts.
        n: decisions with an outcome.
        s: successes among `n`.
        q_sum: sum of quality x 10^4 over `q_n`.
        q_n: resolved decisions with a quality.
        applied: resolved decisions whose agent applied the pattern.
        applied_s: successes among `applied`.
        pending: decisions without an outcome.
        units: distinct evidence units among `n`, per bucket; a unit in two buckets counts twice.
    """

    revision: int = 0
    n: int = 0
    s: int = 0
    q_sum: int = 0
    q_n: int = 0
    applied: int = 0
    applied_s: int = 0
    pending: int = 0
    units: int = 0

    def __add__(self, other: "Counts") -> "Counts":
        """Merge the counts of disjoint buckets."""
        return Counts(*(a + b for a, b in zip(astuple(self), astuple(other), strict=True)))

    def to_row(self) -> list[int]:
        """Give the numbers to store, `revision` first so that a condition can compare element 0."""
        return list(astuple(self))

    @classmethod
    def from_row(cls, row: Sequence[int | Decimal]) -> "Counts":
        """Read a stored row; DynamoDB's Decimals are accepted.

        What a newer release appended to it is passed over.

        Raises:
            MalformedRow: fewer than nine whole numbers of 0 or more, or successes above their
                total.
        """
        names = [field.name for field in fields(cls)]
        known = row[: len(names)]
        if len(known) == len(names) and all(each == int(each) and each >= 0 for each in known):
            counts = cls(*(int(value) for value in known))
            if counts.s <= counts.n and counts.applied_s <= counts.applied:
                return counts
        raise MalformedRow(
            f"counts row {list(row)!r} is not [{', '.join(names)}] in whole numbers of 0 or more; "
            "rebuild it by folding the ledger"
        )


@dataclass(frozen=True, slots=True)
class Arms:
    """Units of evidence of one day, or of several: each counts once, whatever it consists of.

    A unit is what an agent decided in one cycle. Of its decisions the one with the smallest key
    digest stands for it, which nobody knows to be a success or a failure when it is made.

    Attributes:
        n: units with an outcome.
        s: successes among `n`.
        applied_n: units with an outcome whose agent applied the pattern.
        applied_s: successes among `applied_n`.
    """

    n: int = 0
    s: int = 0
    applied_n: int = 0
    applied_s: int = 0

    def __add__(self, more: "Arms") -> "Arms":
        """Merge the units of other days."""
        return Arms(
            self.n + more.n,
            self.s + more.s,
            self.applied_n + more.applied_n,
            self.applied_s + more.applied_s,
        )


Days = dict[str, Counts]


def total(counts: Iterable[Counts]) -> Counts:
    """Add up the counts of disjoint buckets."""
    return sum(counts, start=Counts())


def days_of(subject: str, reads: Reads) -> Days:
    """Read a ledger's counts as learning left them, summed by day."""
    pk, after, until = keys.ledger_heads_span(subject)
    days: Days = {}
    for head in reads.query(tables.PIPELINE, pk, after=after, until=until):
        day = keys.split_ledger_sk(head["SK"])[1]
        days[day] = days.get(day, Counts()) + Counts.from_row(head["c"])
    return days


def summed_days_of(subject: str, reads: Reads) -> Days:
    """Read a ledger's counts by day as they were last summed up: a page for about 1,000 days."""
    pk, after, until = keys.ledger_days_span(subject)
    rows = reads.query(tables.PIPELINE, pk, after=after, until=until)
    return {keys.split_ledger_sk(row["SK"])[1]: Counts.from_row(row["c"]) for row in rows}


def base_day(
    agent_id: str,
    decision_type: str,
    day: str,
    versions: Sequence[PatternVersion],
    reads: Reads,
) -> Counts:
    """Read the counts of all of an agent's decisions of one type and day, as last summed up."""
    subjects = [
        keys.base_subject(agent_id, decision_type, epoch)
        for epoch in boundaries(versions, agent_id, decision_type)
    ]
    places = [Location(tables.PIPELINE, keys.ledger_day(subject, day)) for subject in subjects]
    return total(Counts.from_row(row["c"]) for row in reads.get(places).values())


def base_subjects(
    version: PatternVersion,
    versions: Sequence[PatternVersion],
    writers: Mapping[str, Iterable[int]],
) -> list[str]:
    """Name the base ledgers that count every decision a version is held against.

    They are those of the epochs in which it is in effect: of its agent, or of every writer of its
    type.

    Args:
        version: the version.
        versions: all of them, for they divide the epochs.
        writers: the agents that wrote decisions of its type, each with the epochs that versions
            divided which are gone.
    """
    agent_id, decision_type = version.definition.agent_id, version.definition.decision_type
    return [
        keys.base_subject(each, decision_type, epoch)
        for each, kept in ({agent_id: ()} if agent_id else writers).items()
        for epoch in sorted({*boundaries(versions, each, decision_type), *kept})
        if version.covers(epoch)
    ]
