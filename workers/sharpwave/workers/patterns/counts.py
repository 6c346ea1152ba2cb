"""Counts of one ledger bucket, folded from its elements, and their stored row."""

from collections.abc import Iterable, Sequence
from dataclasses import astuple, dataclass, fields
from decimal import Decimal

from sharpwave.workers.patterns.elements import (
    ELEMENT_BYTES,
    KEY_BYTES,
    Element,
    Outcome,
    outranks,
)


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
        known = row[: len(fields(cls))]
        if len(known) < len(fields(cls)) or any(each != int(each) or each < 0 for each in known):
            raise MalformedRow(_explain(row))
        counts = cls(*(int(value) for value in known))
        if counts.s > counts.n or counts.applied_s > counts.applied:
            raise MalformedRow(_explain(row))
        return counts


def fold(elements: Iterable[bytes], *, revision: int = 0) -> Counts:
    """Count a ledger set: of each decision the element that outranks its others stands.

    Depends on the set of elements alone, never on order or repetition, and not on elements that
    others supersede.

    Args:
        elements: the elements.
        revision: the revision of the set that they are.

    Raises:
        MalformedElement: an element this version cannot read.
    """
    standing = [Element.decode(element) for element in standing_of(elements).values()]
    return _count(standing, revision)


def standing_of(elements: Iterable[bytes]) -> dict[bytes, bytes]:
    """Give the element that stands of each decision, by the digest of its key.

    Raises:
        MalformedElement: an element is not of the length this version reads.
    """
    standing: dict[bytes, bytes] = {}
    for element in elements:
        if len(element) != ELEMENT_BYTES:
            Element.decode(element)
        held = standing.get(element[:KEY_BYTES])
        if held is None or outranks(element, held):
            standing[element[:KEY_BYTES]] = element
    return standing


def total(counts: Iterable[Counts]) -> Counts:
    """Add up the counts of disjoint buckets."""
    return sum(counts, start=Counts())


def _count(standing: list[Element], revision: int) -> Counts:
    resolved = [element for element in standing if element.outcome is not Outcome.PENDING]
    applied = [element for element in resolved if element.applied]
    qualities = [element.quality for element in resolved if element.quality is not None]
    return Counts(
        revision=revision,
        n=len(resolved),
        s=_successes(resolved),
        q_sum=sum(qualities),
        q_n=len(qualities),
        applied=len(applied),
        applied_s=_successes(applied),
        pending=len(standing) - len(resolved),
        units=len({element.unit for element in resolved}),
    )


def _successes(elements: list[Element]) -> int:
    return sum(element.outcome is Outcome.SUCCESS for element in elements)


def _explain(row: Sequence[object]) -> str:
    names = ", ".join(field.name for field in fields(Counts))
    return (
        f"counts row {list(row)!r} is not [{names}] in whole numbers of 0 or more; "
        "rebuild it by folding the ledger"
    )
