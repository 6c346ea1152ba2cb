"""Which sources decisions used and in which bucket of contexts, and how those did, in integers.

A decision names its sources in `reasoning.selected`, and in `reasoning.bucket` the context in which
they are compared. An element in the ledger of sources of its agent and type carries the names as
digests; one that names nothing is in no such ledger. Sums merge by `+` in any order and travel with
counts.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from hashlib import blake2b
from itertools import chain
from typing import Any

from sharpwave.schemas.records import MOST_SOURCE_NAME, MOST_SOURCES

CODE_BYTES = 4
#: Of a day, and of all days, so many sums are kept, those of most decisions.
MOST_SUMS = 200
#: Codes and numbers of one sum.
_WIDTH, _NUMBERS = 7, 5

Sum = tuple[int, int, int, int, int, int, int]
"""Bucket and source by code, then pending, outcomes, successes, sum of quality and its number."""


def names_in(decision: Mapping[str, Any]) -> tuple[str | None, list[str]]:
    """Give the bucket that a decision names, if any, and its sources in order."""
    reasoning = decision.get("reasoning")
    if not isinstance(reasoning, Mapping):
        return None, []
    bucket, selected = reasoning.get("bucket"), reasoning.get("selected")
    listed = selected if isinstance(selected, list) else []
    found = {each[:MOST_SOURCE_NAME] for each in listed if isinstance(each, str) and each}
    named = bucket[:MOST_SOURCE_NAME] if isinstance(bucket, str) and bucket else None
    return named, sorted(found)[:MOST_SOURCES]


def code_of(name: str) -> int:
    """Give the code of a name; 0 stands for none. Of 200 names two share one once in 200,000."""
    return int.from_bytes(blake2b(name.encode(), digest_size=CODE_BYTES).digest()) or 1


def codes_in(decision: Mapping[str, Any]) -> tuple[int, ...]:
    """Give the codes of a decision's bucket, 0 without one, and its sources; () without both."""
    bucket, sources = names_in(decision)
    if bucket is None and not sources:
        return ()
    return (0 if bucket is None else code_of(bucket), *map(code_of, sources))


@dataclass(frozen=True, slots=True)
class Used:
    """How sources did in each bucket, and buckets as a whole.

    Attributes:
        sums: in order of their codes. A bucket as a whole has the source 0; a source outside of
            all buckets the bucket 0.
    """

    sums: tuple[Sum, ...] = ()

    @classmethod
    def merged(cls, sums: Iterable[Sum]) -> "Used":
        """Add up the sums of disjoint decisions."""
        found: dict[tuple[int, int], list[int]] = {}
        for bucket, source, *numbers in sums:
            held = found.setdefault((bucket, source), [0] * _NUMBERS)
            for place, number in enumerate(numbers):
                held[place] += number
        return cls(tuple((*pair, *found[pair]) for pair in sorted(found)))  # type: ignore[misc]

    def __add__(self, more: "Used") -> "Used":
        return Used.merged(chain(self.sums, more.sums)) if more.sums else self

    def kept(self) -> "Used":
        """Leave out what is beyond `MOST_SUMS`, of as many decisions those with greater codes."""
        if len(self.sums) <= MOST_SUMS:
            return self
        ranked = sorted(self.sums, key=lambda each: (-each[2] - each[3], each[:2]))
        return Used(tuple(sorted(ranked[:MOST_SUMS])))

    def numbers(self) -> list[int]:
        """Give all in order, seven for each sum."""
        return [*chain.from_iterable(self.sums)]

    @classmethod
    def from_numbers(cls, numbers: Sequence[int]) -> "Used":
        """Read what `numbers` gave.

        Raises:
            ValueError: these are no such sums.
        """
        columns = [numbers[place::_WIDTH] for place in range(_WIDTH)]
        sums: tuple[Sum, ...] = tuple(zip(*columns, strict=True))
        pairs = [each[:2] for each in sums]
        if pairs != sorted(set(pairs)) or any(s > n or q_n > n for *_, n, s, _, q_n in sums):
            raise ValueError(f"{numbers} are no sums of sources")
        return cls(sums)


NO_USED = Used()


def shares_of(codes: Sequence[int], numbers: Sequence[int]) -> Iterable[Sum]:
    """Give what one decision adds: to each source in its bucket, and to the bucket as a whole.

    Args:
        codes: as `codes_in` gives them.
        numbers: 1 or 0 for pending, outcome and success, its quality, and 1 if it has one.
    """
    if codes:
        bucket, *sources = codes
        for source in (*((0,) if bucket else ()), *sources):
            yield (bucket, source, *numbers)
