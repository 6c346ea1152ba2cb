"""What the pipeline refused is not let in by another door.

A refused record stays in its table as its agent wrote it. Whoever works on what a table holds, a
sweep or `reconcile`, judges it by the time it claims and without its old image, and would find
nothing wrong with a record from the future or a change of what may not change. So it first asks
whether these very words were refused.
"""

from collections.abc import Mapping, Sequence

from sharpwave.schemas import keys, tables
from sharpwave.schemas.faults import Fault
from sharpwave.schemas.numbers import Wire
from sharpwave.schemas.ownership import digest_of
from sharpwave.workers.ports import Reads
from sharpwave.workers.stream_records import MUTABLE

_CONTENT = "content:"


def refused_digest(
    kind: keys.Kind | None, image: Mapping[str, Wire], faults: Sequence[Fault]
) -> str:
    """Give the digest by which a refused record is known again.

    Of one refused because it changed what may not change, only that counts: no later outcome or
    `ttl` makes it good.
    """
    if any(fault.code == "immutable" for fault in faults):
        return _content(kind, image)
    return digest_of(kind, image)


def _content(kind: keys.Kind | None, image: Mapping[str, Wire]) -> str:
    return _CONTENT + digest_of(kind, image, MUTABLE.get(kind or "", frozenset()))


class RefusedBefore:
    """Knows the refused records of one partition after another, by one query for each."""

    def __init__(self, reads: Reads) -> None:
        """Read the parked records through `reads`."""
        self._reads = reads
        self._of: tuple[str, str] | None = None
        self._digests: frozenset[tuple[str, str]] = frozenset()

    def holds(self, table: str, image: Mapping[str, Wire]) -> bool:
        """Say whether a typed item says what was refused under its key.

        What its agent mended since says something else, and what was handed to the pipeline again
        by hand is not parked any more.
        """
        pk, sk = image["PK"]["S"], image["SK"]["S"]
        if self._of != (table, pk):
            self._of, self._digests = (table, pk), self._read(table, pk)
        if not any(name == sk for name, _ in self._digests):
            return False
        parsed = keys.parse(table, pk, sk)
        kind = parsed.kind if parsed else None
        known = {(sk, digest_of(kind, image)), (sk, _content(kind, image))}
        return not known.isdisjoint(self._digests)

    def _read(self, table: str, pk: str) -> frozenset[tuple[str, str]]:
        partition, after, until = keys.parked_span(table, pk)
        parked = self._reads.query(tables.PIPELINE, partition, after=after, until=until)
        return frozenset((item["record_sk"], item.get("digest", "")) for item in parked)
