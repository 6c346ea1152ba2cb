"""Refusals: what the pipeline does not admit is parked, told to its owner, and known again.

A refused record stays in its table as its agent wrote it. Whoever works on what a table holds, a
sweep or `reconcile`, judges it by the time it claims and without its old image, and would find
nothing wrong with a record from the future or a change of what may not change. So it first asks
whether these very words were refused: what was refused is not let in by another door.

A change is refused, and its agent may take it back, which is a change too and refused like the
first one. The words that stand then were admitted before any of it. So a refusal also says what
stood before it, and refusals are read in the order in which they happened.
"""

import logging
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from msgspec import UNSET

from sharpwave.schemas import keys, tables
from sharpwave.schemas.faults import Fault
from sharpwave.schemas.numbers import Wire, parse_json
from sharpwave.schemas.ownership import MUTABLE, digest_of
from sharpwave.schemas.records import MAX_DECISION_TTL_S
from sharpwave.schemas.times import DAY_S, Clock
from sharpwave.workers.signals.notices import Notice, Notices
from sharpwave.workers.work.envelope import ascii_json
from sharpwave.workers.work.incoming import StreamRecord, streamed
from sharpwave.workers.work.outgoing import WorkMessage
from sharpwave.workers.work.ports import Insert, Item, Parking, Reads, Refusal, Unfinished, Writes

log = logging.getLogger(__name__)

#: What is parked is kept this long for a human, and this long after its record's own `ttl`.
KEPT_S = 30 * DAY_S
#: Records without a ttl, or with one that is no time, are known as refused for this long.
MOST_KEPT_S = MAX_DECISION_TTL_S + KEPT_S
#: Most characters kept of an image, which is ASCII.
MAX_IMAGE = 32_000
#: Source: AWS, "Service, account, and table quotas in Amazon DynamoDB", sort key.
_MAX_SK_BYTES = 1024
#: Digits of the longest number of a stream record, so that numbers sort as text.
_DIGITS = 40
_DAY = len("2026-11-22")


@dataclass(frozen=True, slots=True)
class ParkingLot:
    """Parks records in the table `pipeline` and tells their owners."""

    writes: Writes
    notices: Notices
    clock: Clock

    def park(self, refusals: Sequence[Refusal]) -> None:
        """Keep refused records and tell each owner, at most once a minute per fault.

        Raises:
            Unfinished: all are kept, but the inboxes of some owners took no notice.
        """
        now = self.clock()
        distinct = list({(item.key, item.event_id): item for item in refusals}.values())
        # Who cannot be told is raised last: an inbox that takes nothing keeps no record from here.
        news = []
        for each in distinct:
            if each.owner is not None:
                code = each.faults[0].code
                claim = keys.notice_window(each.owner, code, int(now // 60))
                record = each.table, each.key
                news.append(Notice(each.owner, claim, each.event_id, code, each.faults, *record))
        untold = self.notices.tell(news)
        parked = []
        for each in distinct:
            key = keys.parked(each.table, *each.key, each.event_id)
            # A key can be longer in bytes than in characters; its end, the event id, must stay.
            sk = key.sk.encode()[-_MAX_SK_BYTES:].decode(errors="ignore")
            kept_s: int = KEPT_S
            if each.words:
                # As long as its record could be let in for want of it: until its ttl, or the
                # latest one.
                left = int(each.words.get("ttl", now + MOST_KEPT_S) - now)
                kept_s = min(max(left, 0) + KEPT_S, MOST_KEPT_S)
            item: Item = {
                **key._replace(sk=sk).item(),
                "table": each.table,
                "record_pk": each.key.pk,
                "record_sk": each.key.sk,
                "event_id": each.event_id,
                "faults": [fault._asdict() for fault in each.faults],
                "image": each.image[:MAX_IMAGE],
                **({"words": dict(each.words)} if each.words else {}),
                "owner": each.owner,
                "parked_at": int(now),
                "ttl": int(now) + kept_s,
            }
            parked.append(Insert(tables.PIPELINE, item))
        self.writes.apply(parked)
        if untold:
            owners = sorted({each.owner or "" for each in distinct if each.key in untold})
            raise Unfinished(untold, f"not told: {', '.join(owners)}")


def park_in_passing(parking: Parking, refusal: Refusal) -> None:
    """Park what stands in a stream's way; that its owner cannot be told must not stand there too.

    A stream is read in order, so whoever carries it would wait for one inbox with all behind it.
    """
    try:
        parking.park([refusal])
    except Unfinished:
        log.warning("owner_not_told", extra={"table": refusal.table, "owner": refusal.owner})


def refused_message(message: WorkMessage, code: str, reason: str) -> Refusal:
    """Give the refusal of a work message that SQS takes at no time; its owner is nobody."""
    message_id = parse_json(message.body)["message_id"]
    fault = Fault("unsendable", "", f"SQS refused its work message: {code}: {reason}")
    key = keys.Key(f"queue#{message.queue}", message_id)
    return Refusal("queue", key, message_id, [fault], message.body[:MAX_IMAGE])


def refused_record(table: str, record: StreamRecord, error: Exception) -> Refusal:
    """Give the refusal of a stream record that the router fails on."""
    known = streamed(record)
    change = known.change
    key = keys.Key(change.keys.PK.S, change.keys.SK.S)
    fault = Fault("unroutable", "", f"the router failed on it: {error!r:.500}")
    image = "{}" if change.new is UNSET else ascii_json(change.new)[:MAX_IMAGE]
    return Refusal(table, key, known.event_id, [fault], image)


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
            partition, after, until = keys.parked_span(*span)
            found: dict[str, list[Item]] = {}
            for item in self._reads.query(tables.PIPELINE, partition, after=after, until=until):
                if "words" in item:
                    found.setdefault(item["record_sk"], []).append(item["words"])
            # Only now: what a read that failed had found is not all.
            self._of, self._refused = span, {sk: _refused(words) for sk, words in found.items()}
        refused = self._refused.get(sk)
        if not refused:
            return False
        parsed = keys.parse(table, pk, sk)
        return not refused.isdisjoint(_digests(parsed.kind if parsed else None, image))


def _refused(words: Iterable[Item]) -> set[str]:
    """Give the digests of what one record may not say, from all its refusals."""
    admitted: set[str] = set()
    refused: set[str] = set()
    # By the numbers of their stream records, which is how they happened; they were parked, and
    # their keys sort, in any order.
    for each in sorted(words, key=lambda each: str(each.get("number", ""))):
        before = set(each.get("before", ()))
        # What stood before a refusal was admitted, unless it is itself what was refused earlier.
        if before.isdisjoint(refused):
            admitted |= before
        if each["digest"] not in admitted:
            refused.add(each["digest"])
    return refused


def _digests(kind: keys.Kind | None, image: Mapping[str, Wire]) -> tuple[str, str]:
    """Give the digests of all that an agent says, and of what it may not change."""
    content = digest_of(kind, image, MUTABLE.get(kind, frozenset()))
    return digest_of(kind, image), f"content:{content}"
