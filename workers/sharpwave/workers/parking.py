"""Refused records: kept with their reasons, and told to the agent that can mend them."""

from collections.abc import Sequence
from dataclasses import dataclass

from sharpwave.schemas import keys, tables
from sharpwave.schemas.ids import ulid
from sharpwave.schemas.numbers import plain_json
from sharpwave.schemas.times import DAY_S, Clock
from sharpwave.workers.ports import Directory, Inboxes, Insert, Item, Post, Refusal, Write, Writes

KEPT_S = 30 * DAY_S


@dataclass(frozen=True, slots=True)
class ParkingLot:
    """Parks records in the table `pipeline` and sends notices to inbox queues."""

    writes: Writes
    inboxes: Inboxes
    directory: Directory
    clock: Clock

    def park(self, refusals: Sequence[Refusal]) -> None:
        """Keep refused records and tell each owner, at most once a minute per fault.

        The notice is sent before the record counts as parked, so a crash in between repeats the
        notice rather than losing it.
        """
        now = self.clock()
        distinct = list({(item.key, item.event_id): item for item in refusals}.values())
        self._tell([refusal for refusal in distinct if self._is_known(refusal.owner)], now)
        parked: list[Write] = [Insert(tables.PIPELINE, _parked(each, now)) for each in distinct]
        if parked:
            self.writes.apply(parked)

    def _is_known(self, owner: str | None) -> bool:
        return owner is not None and self.directory.find(owner) is not None

    def _tell(self, refusals: Sequence[Refusal], now: float) -> None:
        windows = {_window(refusal, now): refusal for refusal in refusals}
        if not windows:
            return
        self.inboxes.send([_notice(refusal, now) for refusal in self._unsaid(windows, now)])

    def _unsaid(self, windows: dict[keys.Key, Refusal], now: float) -> list[Refusal]:
        ttl = int(now) + DAY_S
        claims: list[Write] = [
            Insert(tables.PIPELINE, {**key.item(), "ttl": ttl}) for key in windows
        ]
        fresh = self.writes.apply(claims)
        return [each for each, ok in zip(windows.values(), fresh, strict=True) if ok]


def _window(refusal: Refusal, now: float) -> keys.Key:
    return keys.notice_window(refusal.owner or "", refusal.faults[0].code, int(now // 60))


def _parked(refusal: Refusal, now: float) -> Item:
    key = keys.parked(refusal.table, *refusal.key, refusal.event_id)
    return {
        **key.item(),
        "table": refusal.table,
        "record_pk": refusal.key.pk,
        "record_sk": refusal.key.sk,
        "event_id": refusal.event_id,
        "faults": [fault._asdict() for fault in refusal.faults],
        "image": refusal.image,
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
