"""What the pipeline refused is not let in by another door.

A refused record stays in its table as its agent wrote it. Whoever works on what a table holds, a
sweep or `reconcile`, judges it by the time it claims and without its old image, and would find
nothing wrong with a record from the future or a change of what may not change. So it first asks
whether these very words were refused.

A change is refused, and its agent may take it back, which is a change too and refused like the
first one. The words that stand then were admitted before any of it. So a refusal also says what
stood before it, and refusals are read in the order in which they happened.
"""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from sharpwave.schemas import keys, tables
from sharpwave.schemas.faults import Fault
from sharpwave.schemas.numbers import Wire
from sharpwave.schemas.ownership import digest_of
from sharpwave.workers.ports import Item, Reads
from sharpwave.workers.router.record import MUTABLE

_DIGITS = 40
_DAY = len("2026-11-22")


def words_of(
    kind: keys.Kind | None,
    image: Mapping[str, Wire],
    faults: Sequence[Fault],
    *,
    before: Mapping[str, Wire] | None = None,
    number: str = "",
) -> dict[str, Any]:
    """Give what a parked record keeps so that its words are known again.

    Of one refused because it changed what may not change, only that counts: no later outcome or
    `ttl` makes it good.

    Args:
        kind: what the record's key says it is.
        image: what was refused, typed.
        faults: why.
        before: what stood admitted before it, if anything did.
        number: the number of its stream record.
    """
    whole, content = _digests(kind, image)
    is_other = any(fault.code == "immutable" for fault in faults)
    words: dict[str, Any] = {"digest": content if is_other else whole}
    if before is not None:
        words["before"] = list(_digests(kind, before))
    if number:
        words["number"] = number.zfill(_DIGITS)
    # It may be met in its table until then, and when time removes it.
    ttl = image.get("ttl", {}).get("N", "")
    if ttl.isdigit():
        words["ttl"] = int(ttl)
    return words


class RefusedBefore:
    """Knows the refused words of one partition's day after another, by one query for each."""

    def __init__(self, reads: Reads) -> None:
        """Read the parked records through `reads`."""
        self._reads = reads
        self._of: tuple[str, str, str] | None = None
        self._refused: dict[str, set[str]] = {}

    def holds(self, table: str, image: Mapping[str, Wire]) -> bool:
        """Say whether a typed item says what was refused under its key.

        What its agent mended since says something else, and what was handed to the pipeline again
        by hand is not parked any more.
        """
        pk, sk = image["PK"]["S"], image["SK"]["S"]
        # A day at a time: what was refused of a partition may be many megabytes.
        span = table, pk, sk[:_DAY]
        if self._of != span:
            self._of, self._refused = span, self._read(*span)
        refused = self._refused.get(sk)
        if not refused:
            return False
        parsed = keys.parse(table, pk, sk)
        return not refused.isdisjoint(_digests(parsed.kind if parsed else None, image))

    def _read(self, table: str, pk: str, begins: str) -> dict[str, set[str]]:
        partition, after, until = keys.parked_span(table, pk, begins)
        found: dict[str, list[Item]] = {}
        for item in self._reads.query(tables.PIPELINE, partition, after=after, until=until):
            if "words" in item:
                found.setdefault(item["record_sk"], []).append(item["words"])
        return {sk: _refused(words) for sk, words in found.items()}


def _refused(words: Iterable[Item]) -> set[str]:
    admitted: set[str] = set()
    refused: set[str] = set()
    for each in sorted(words, key=lambda each: str(each.get("number", ""))):
        before = set(each.get("before", ()))
        if before.isdisjoint(refused):
            admitted |= before
        if each["digest"] not in admitted:
            refused.add(each["digest"])
    return refused


def _digests(kind: keys.Kind | None, image: Mapping[str, Wire]) -> tuple[str, str]:
    """Give the digests of all that an agent says, and of what it may not change."""
    content = digest_of(kind, image, MUTABLE.get(kind or "", frozenset()))
    return digest_of(kind, image), f"content:{content}"
