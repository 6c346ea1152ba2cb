"""What is counted: the content of a decision, the counts of many, and where counts are stored.

Nothing here knows how a ledger comes to its counts, so `recount`, which checks them, may use it.
"""

from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from hashlib import blake2b
from itertools import chain
from operator import attrgetter
from typing import Any

from sharpwave.schemas import keys, tables
from sharpwave.schemas.numbers import canonical_json
from sharpwave.schemas.ownership import MUTABLE, agents_own
from sharpwave.schemas.patterns import PatternVersion, boundaries
from sharpwave.workers.patterns.sources import NO_USED, Used
from sharpwave.workers.patterns.stated import NO_CONFIDENCES, NO_WEIGHTS, Confidences, Weights
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


#: A counts row: whole numbers, and lists of them.
Row = list[Any]
#: In a row, in the place of a sum of squares that a release did not keep.
_UNKNOWN = -1


class MalformedRow(ValueError):
    """A stored counts row is not one that `Counts.to_row` wrote."""


#: The form of a counts row, its tenth number: what follows the nine that every release reads. A
#: release that appends something raises it; one that knows less passes over what it does not know.
ROW_FORM = 1
#: The form of a row with the counts of seats.
_SEATED_FORM = 2
#: Numbers that every row has.
_BASIC = ("revision", "n", "s", "q_sum", "q_n", "applied", "applied_s", "pending", "units")
#: Where in a row the sources stand.
_USED_AT = len(_BASIC) + 5


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
        q_sq: sum of squared quality x 10^8 over `q_n`; None where a release wrote the counts, or
            some of them, that kept neither squares nor what follows.
        applied_weights: over those of `applied` that were drawn with a known probability.
        other_weights: likewise over the rest of `n`; ledgers of patterns only.
        confidences: over those of `n` that stated one; base ledgers only.
        used: how the sources did that decisions named; ledgers of sources only.
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
    q_sq: int | None = 0
    applied_weights: Weights = NO_WEIGHTS
    other_weights: Weights = NO_WEIGHTS
    confidences: Confidences = NO_CONFIDENCES
    used: Used = NO_USED

    def __add__(self, more: "Counts") -> "Counts":
        """Merge the counts of disjoint buckets."""
        unknown = self.q_sq is None or more.q_sq is None
        return Counts(
            self.revision + more.revision,
            self.n + more.n,
            self.s + more.s,
            self.q_sum + more.q_sum,
            self.q_n + more.q_n,
            self.applied + more.applied,
            self.applied_s + more.applied_s,
            self.pending + more.pending,
            self.units + more.units,
            None if unknown else (self.q_sq or 0) + (more.q_sq or 0),
            self.applied_weights + more.applied_weights,
            self.other_weights + more.other_weights,
            self.confidences + more.confidences,
            self.used + more.used,
        )

    def summed(self) -> "Counts":
        """Give what is stored as the sum of a day or of all: of sources, those used most."""
        return self if self.used is (used := self.used.kept()) else replace(self, used=used)

    def to_row(self, seats: Sequence["Counts"] = ()) -> Row:
        """Give the row to store, `revision` first so that a condition can compare element 0.

        After nine numbers come the row's form, the sum of squared quality, the weights, the
        confidences, the counts of seats and the sources as lists, as far as there is something of
        it; the form is missing where the squares are unknown, as in the rows of the release that
        kept none.

        Args:
            seats: in a base ledger, the counts of its seats by number; see `seats_in`.
        """
        basic = [getattr(self, name) for name in _BASIC]
        seated = [each.to_row() if each.n or each.pending else [] for each in seats]
        is_seated = any(seated)
        has_more = self.has_weights or self.confidences.bins or is_seated or self.used.sums
        if self.q_sq is None and not has_more:
            return basic
        weights = [*self.applied_weights.numbers(), *self.other_weights.numbers()]
        more: Row = [
            _UNKNOWN if self.q_sq is None else self.q_sq,
            weights if self.has_weights else [],
            self.confidences.numbers() if self.confidences.bins else [],
            seated if is_seated else [],
            self.used.numbers(),
        ]
        while more and not more[-1]:
            more.pop()
        return [*basic, _SEATED_FORM if is_seated else ROW_FORM, *more]

    @property
    def has_weights(self) -> bool:
        """Say whether any decision was drawn with a known probability."""
        return bool(self.applied_weights.n or self.other_weights.n)

    @classmethod
    def from_row(cls, row: Sequence[Any]) -> "Counts":
        """Read a stored row, one of nine numbers too; DynamoDB's Decimals are accepted.

        What a newer release appended to it is passed over.

        Raises:
            MalformedRow: fewer than nine whole numbers of 0 or more, successes above their total,
                or sums behind them that are none.
        """
        least = len(_BASIC)
        with suppress(ArithmeticError, TypeError, ValueError):
            numbers, more = _whole(row[:least]), list(row[least + 1 : least + 4])
            if len(row) == least:
                # Without an outcome there is nothing that could have been left out.
                more = [_UNKNOWN if numbers[_BASIC.index("n")] else 0]
            more += [0, (), ()][len(more) :]
            more.append(row[_USED_AT] if len(row) > _USED_AT else ())
            squares, weights, confidences, used = more
            # Sums of weights of two arms.
            sums = _whole(weights) or [0] * 8
            counts = cls(
                **dict(zip(_BASIC, numbers, strict=True)),
                q_sq=None if squares == _UNKNOWN else _whole([squares])[0],
                applied_weights=Weights(*sums[:4]),
                other_weights=Weights(*sums[4:]),
                confidences=Confidences.from_numbers(_whole(confidences)),
                used=Used.from_numbers(_whole(used)) if used else NO_USED,
            )
            if len(sums) == 8 and counts.s <= counts.n and counts.applied_s <= counts.applied:
                return counts
        raise MalformedRow(
            f"counts row {list(row)!r} is not [{', '.join(_BASIC)}] in whole numbers of 0 or more, "
            "followed by a form and its sums; rebuild it by folding the ledger"
        )


def seats_in(row: Sequence[Any]) -> list[Counts]:
    """Read the counts of seats from a stored row, by number; none from that of another ledger.

    Raises:
        MalformedRow: they are no rows.
    """
    return [counts_in(row, seat) for seat in range(len(_seat_rows(row)))]


def counts_in(row: Sequence[Any], seat: int | None) -> Counts:
    """Read the counts of one seat from a stored row, or with None those of all in its ledger.

    Raises:
        MalformedRow: it is no row.
    """
    if seat is None:
        return Counts.from_row(row)
    rows = _seat_rows(row)
    return Counts.from_row(rows[seat]) if seat < len(rows) and rows[seat] else Counts()


def _seat_rows(row: Sequence[Any]) -> Sequence[Row]:
    behind = len(_BASIC) + 4
    found: Sequence[Row] = row[behind] if len(row) > behind else ()
    return found


def _whole(numbers: Sequence[Any]) -> list[int]:
    found = [int(each) for each in numbers]
    if any(each < 0 or each != given for each, given in zip(found, numbers, strict=True)):
        raise ValueError(f"{numbers} are not whole numbers of 0 or more")
    return found


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
    # Column by column, and the sums of what few decisions state only where there are some: a
    # pattern of years is added up each day.
    found = list(counts)
    basic: dict[str, Any] = {name: sum(map(attrgetter(name), found)) for name in _BASIC}
    squares = [each.q_sq for each in found]
    return Counts(
        **basic,
        q_sq=None if None in squares else sum(filter(None, squares)),
        applied_weights=sum(
            (each.applied_weights for each in found if each.applied_weights.n), start=NO_WEIGHTS
        ),
        other_weights=sum(
            (each.other_weights for each in found if each.other_weights.n), start=NO_WEIGHTS
        ),
        confidences=sum(
            (each.confidences for each in found if each.confidences.bins), start=NO_CONFIDENCES
        ),
        used=Used.merged(chain.from_iterable(each.used.sums for each in found)),
    )


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
    return {day: Counts.from_row(row) for day, row in summed_rows_of(subject, reads).items()}


def summed_rows_of(subject: str, reads: Reads) -> dict[str, Row]:
    """Read the rows of a ledger's days, which in a base ledger count its seats too."""
    pk, after, until = keys.ledger_days_span(subject)
    rows = reads.query(tables.PIPELINE, pk, after=after, until=until)
    return {keys.split_ledger_sk(row["SK"])[1]: row["c"] for row in rows}


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
