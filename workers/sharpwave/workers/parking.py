"""Refused records: kept with their reasons, and told to the agent that can mend them."""

from collections.abc import Sequence
from dataclasses import dataclass

from sharpwave.schemas import keys, tables
from sharpwave.schemas.ids import ulid
from sharpwave.schemas.numbers import plain_json
from sharpwave.schemas.times import DAY_S, Clock
from sharpwave.workers.ports import (
    Change,
    Directory,
    Fate,
    Inboxes,
    Insert,
    Item,
    Location,
    Post,
    Refusal,
    Unfinished,
    Write,
    Writes,
)

KEPT_S = 30 * DAY_S
#: Most characters kept of an image, which is ASCII.
MAX_IMAGE = 32_000
#: Source: AWS, "Service, account, and table quotas in Amazon DynamoDB", sort key.
_MAX_SK_BYTES = 1024


@dataclass(frozen=True, slots=True)
class ParkingLot:
    """Parks records in the table `pipeline` and sends notices to inbox queues."""

    writes: Writes
    inboxes: Inboxes
    directory: Directory
    clock: Clock

    def park(self, refusals: Sequence[Refusal]) -> None:
        """Keep refused records and tell each owner, at most once a minute per fault.

        Whoever claimed the minute sends the notice, and sends it again if it died in between.

        Raises:
            Unfinished: all are kept, but the inboxes of some owners took no notice.
        """
        now = self.clock()
        distinct = list({(item.key, item.event_id): item for item in refusals}.values())
        known = self.directory.find({each.owner for each in distinct if each.owner is not None})
        unheard = self._tell([each for each in distinct if each.owner in known], now)
        parked: list[Write] = [Insert(tables.PIPELINE, _parked(each, now)) for each in distinct]
        if parked:
            self.writes.apply(parked)
        if unheard:
            owners = sorted({each.owner or "" for each in unheard})
            raise Unfinished({each.key for each in unheard}, f"not told: {', '.join(owners)}")

    def _tell(self, refusals: Sequence[Refusal], now: float) -> list[Refusal]:
        """Send notices; gives those refusals whose owners are to be told again."""
        windows = {_window(refusal, now): refusal for refusal in refusals}
        unsaid = self._unsaid(windows, now) if windows else []
        fates = self.inboxes.send([_notice(refusal, now) for refusal in unsaid]) if unsaid else []
        failed = [each for each, fate in zip(unsaid, fates, strict=True) if fate is not Fate.SENT]
        # A registered agent's queue is there, or will be; see `deliver`.
        there = self.directory.confirm({each.owner or "" for each in failed}) if failed else {}
        return [each for each in failed if each.owner in there]

    def _unsaid(self, windows: dict[keys.Key, Refusal], now: float) -> list[Refusal]:
        ttl = int(now) + DAY_S
        claims: list[Write] = [
            Insert(tables.PIPELINE, {**key.item(), "ttl": ttl, "event_id": refusal.event_id})
            for key, refusal in windows.items()
        ]
        fresh = self.writes.apply(claims)
        taken = [each for each, ok in zip(windows.items(), fresh, strict=True) if not ok]
        mine = self.writes.apply([_reclaim(*each) for each in taken]) if taken else []
        again = {key for (key, _), ok in zip(taken, mine, strict=True) if ok}
        return [
            refusal
            for (key, refusal), ok in zip(windows.items(), fresh, strict=True)
            if ok or key in again
        ]


def _reclaim(window: keys.Key, refusal: Refusal) -> Change:
    """Give a write that succeeds if the same event claimed the window before."""
    same = {"event_id": refusal.event_id}
    return Change(Location(tables.PIPELINE, window), same, equals=same)


def _window(refusal: Refusal, now: float) -> keys.Key:
    return keys.notice_window(refusal.owner or "", refusal.faults[0].code, int(now // 60))


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
        "digest": refusal.digest,
        "owner": refusal.owner,
        "parked_at": int(now),
        "ttl": int(now) + KEPT_S,
    }


def _notice(refusal: Refusal, now: float) -> Post:
    owner = refusal.owner or ""
    content = {
        "v": 1,
        "kind": "notice",
        "notice_id": ulid(epoch_ms=int(now * 1000)),
        "target_agent": owner,
        "code": refusal.faults[0].code,
        "reasons": [fault._asdict() for fault in refusal.faults],
        "record": {"table": refusal.table, **refusal.key.item()},
        "timestamp": int(now),
    }
    return Post(owner, plain_json(content))
