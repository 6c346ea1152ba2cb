"""Deliveries that nobody acknowledged in time get a status, a reason and a place in the mirror."""

from collections.abc import Iterator, Sequence
from typing import Any

from sharpwave.schemas import keys, tables
from sharpwave.schemas.ids import ulid
from sharpwave.schemas.status import RANK, TERMINAL, outranks
from sharpwave.schemas.times import DAY_S, Clock, bound
from sharpwave.workers.low_water import LowWater
from sharpwave.workers.mirror import Holder, Sent, mirror
from sharpwave.workers.ports import Change, Item, Location, Reads, Writes

#: Rows younger than this may still be written; the low-water mark stays below them.
SETTLING_S = 120
_PAGE = 200
_MAX_KEY = 256


def expire(agent_id: str, *, reads: Reads, writes: Writes, clock: Clock) -> int:
    """Expire the rows of one inbox whose deadline has passed.

    Returns:
        The number of rows that expired now; those acknowledged meanwhile are left alone.
    """
    low = LowWater("expiry", agent_id, reads=reads, writes=writes)
    now = clock()
    expired, first_open, last = 0, "", ""
    for page in _pages(agent_id, low.mark, now, reads):
        due = [row for row in page if _is_due(row, now)]
        expired += _expire(agent_id, due, reads, writes)
        first_open = first_open or next((row["SK"] for row in page if _is_open(row, now)), "")
        last = page[-1]["SK"]
    # One character short of an open row's key sorts before it, so the row is read again.
    before = low.mark
    if low.raise_to(min(first_open[:-1] or last, bound(now - SETTLING_S))):
        _look_back(agent_id, before, now, low, reads)
    return expired


def note_late_rows(rows: Sequence[Item], *, reads: Reads, writes: Writes, clock: Clock) -> None:
    """Lower the marks of the inboxes that just got rows older than the sweep expects."""
    horizon = clock() - SETTLING_S / 2
    late = [row for row in rows if row["timestamp"] < horizon]
    earliest: dict[str, str] = {}
    for row in late:
        agent = keys.owner_of(row["PK"]) or ""
        earliest[agent] = min(earliest.get(agent, row["SK"]), row["SK"])
    for agent, sk in earliest.items():
        LowWater("expiry", agent, reads=reads, writes=writes).lower_to(sk)


def _pages(agent_id: str, after: str, now: float, reads: Reads) -> Iterator[list[Item]]:
    page: list[Item] = []
    for row in reads.query(tables.SIGNALS, keys.inbox_pk(agent_id), after=after, until=bound(now)):
        page.append(row)
        if len(page) == _PAGE:
            yield page
            page = []
    if page:
        yield page


def _look_back(agent_id: str, after: str, now: float, low: LowWater, reads: Reads) -> None:
    """Lower the mark again if rows turned up below it while it rose."""
    rows = reads.query(tables.SIGNALS, keys.inbox_pk(agent_id), after=after, until=low.mark)
    first = next((row["SK"] for row in rows if _may_expire(row, now)), None)
    if first is not None:
        low.lower_to(first)


def _is_due(row: Item, now: float) -> bool:
    deadline = row.get("expires_at")
    passed = not isinstance(deadline, int) or deadline <= now
    return row.get("status") == "PENDING" and _is_ours(row) and passed


def _is_open(row: Item, now: float) -> bool:
    return _may_expire(row, now) and not _is_due(row, now)


def _may_expire(row: Item, now: float) -> bool:
    """Say whether a row will end by itself; one that its agent spoiled has a day to be mended."""
    if str(row.get("status")) in TERMINAL:
        return False
    return _is_ours(row) or str(row["SK"]) > bound(now - DAY_S)


def _is_ours(row: Item) -> bool:
    signal, chunk = (row.get("signal_pk"), row.get("signal_sk")), row.get("chunk", "-")
    if not all(isinstance(part, str) and 0 < len(part) <= _MAX_KEY for part in (*signal, chunk)):
        return False
    place = keys.parse(tables.SIGNALS, str(signal[0]), str(signal[1]))
    return place is not None and place.kind == "signal"


def _expire(agent_id: str, rows: Sequence[Item], reads: Reads, writes: Writes) -> int:
    """Settle the mirror first and the row second: a row still open is found again."""
    by_holder = {_holder(row): row for row in rows}
    if not by_holder:
        return 0
    seen = dict.fromkeys(by_holder, Sent(audience=frozenset({agent_id})))
    known = mirror(seen, reads=reads, writes=writes)
    ends = {holder: _end(known.get(holder, {}).get(agent_id)) for holder in by_holder}
    settled = {holder: Sent(settled={agent_id: end}) for holder, end in ends.items()}
    mirror(settled, reads=reads, writes=writes)
    return sum(writes.apply([_settle(row, ends[holder]) for holder, row in by_holder.items()]))


def _end(held: dict[str, Any] | None) -> dict[str, Any]:
    """Give a row's end: what its mirror says already, or that it expired and why."""
    status = held["status"] if held else "DELIVERED"
    if held and outranks(status, "EXPIRED"):
        return held
    delivered = RANK[status] >= RANK["DELIVERED"]
    reason = "unacknowledged" if delivered else "expired_before_delivery"
    return {"status": "EXPIRED", "reason": (held or {}).get("reason", reason)}


def _settle(row: Item, end: dict[str, Any]) -> Change:
    place = Location(tables.SIGNALS, keys.Key(row["PK"], row["SK"]))
    return Change(place, {**end, "worker_rev": ulid()}, equals={"status": "PENDING"})


def _holder(row: Item) -> Holder:
    return Holder(keys.Key(row["signal_pk"], row["signal_sk"]), row.get("chunk"))
