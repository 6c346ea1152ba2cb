"""Refused records: kept with their reasons, and told to the agent that can mend them."""

from collections.abc import Sequence
from dataclasses import dataclass

from sharpwave.schemas import keys, tables
from sharpwave.schemas.records import MAX_DECISION_TTL_S
from sharpwave.schemas.times import DAY_S, Clock
from sharpwave.workers.ports import Insert, Item, Refusal, Unfinished, Write, Writes
from sharpwave.workers.signals.notices import Notice, Notices

#: What is parked is kept this long for a human, and this long after its record's own `ttl`.
KEPT_S = 30 * DAY_S
#: Records without a ttl, or with one that is no time, are known as refused for this long.
MOST_KEPT_S = MAX_DECISION_TTL_S + KEPT_S
#: Most characters kept of an image, which is ASCII.
MAX_IMAGE = 32_000
#: Source: AWS, "Service, account, and table quotas in Amazon DynamoDB", sort key.
_MAX_SK_BYTES = 1024


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
        untold = self.notices.tell(
            [_notice(each, each.owner, now) for each in distinct if each.owner is not None]
        )
        parked: list[Write] = [Insert(tables.PIPELINE, _parked(each, now)) for each in distinct]
        if parked:
            self.writes.apply(parked)
        if untold:
            owners = sorted({each.owner or "" for each in distinct if each.key in untold})
            raise Unfinished(untold, f"not told: {', '.join(owners)}")


def _notice(refusal: Refusal, owner: str, now: float) -> Notice:
    code = refusal.faults[0].code
    return Notice(
        owner,
        keys.notice_window(owner, code, int(now // 60)),
        refusal.event_id,
        code,
        refusal.faults,
        refusal.table,
        refusal.key,
    )


def _fitting(key: keys.Key) -> keys.Key:
    """Cut a key that is longer in bytes than in characters; its end, the event id, stays."""
    tail = key.sk.encode()[-_MAX_SK_BYTES:]
    return key._replace(sk=tail.decode(errors="ignore"))


def _parked(refusal: Refusal, now: float) -> Item:
    key = _fitting(keys.parked(refusal.table, *refusal.key, refusal.event_id))
    return {
        **key.item(),
        "table": refusal.table,
        "record_pk": refusal.key.pk,
        "record_sk": refusal.key.sk,
        "event_id": refusal.event_id,
        "faults": [fault._asdict() for fault in refusal.faults],
        "image": refusal.image[:MAX_IMAGE],
        **({"words": dict(refusal.words)} if refusal.words else {}),
        "owner": refusal.owner,
        "parked_at": int(now),
        "ttl": int(now) + _kept_s(refusal, now),
    }


def _kept_s(refusal: Refusal, now: float) -> int:
    """Say how long to keep a refusal: as long as its record could be let in for want of it."""
    if not refusal.words:
        return KEPT_S
    left = int(refusal.words.get("ttl", now + MOST_KEPT_S) - now)
    return min(max(left, 0) + KEPT_S, MOST_KEPT_S)
