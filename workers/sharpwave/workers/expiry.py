"""Deliveries that nobody acknowledged in time get a status, a reason and a place in the mirror."""

from collections.abc import Iterator, Sequence

from sharpwave.schemas import keys, tables
from sharpwave.schemas.ids import ulid
from sharpwave.schemas.status import RANK, TERMINAL
from sharpwave.schemas.times import Clock, bound
from sharpwave.workers.low_water import LowWater
from sharpwave.workers.mirror import Holder, Sent, Statuses, mirror
from sharpwave.workers.ports import Change, Item, Location, Reads, Writes

#: Rows younger than this may still be written; the low-water mark stays below them.
SETTLING_S = 120
_PAGE = 200


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
        expired += _expire(due, reads, writes)
        first_open = first_open or next((row["SK"] for row in page if _is_open(row, now)), "")
        last = page[-1]["SK"]
    # One character short of an open row's key sorts before it, so the row is read again.
    low.raise_to(min(first_open[:-1] or last, bound(now - SETTLING_S)))
    return expired


def note_late_rows(rows: Sequence[Item], *, reads: Reads, writes: Writes, clock: Clock) -> None:
    """Lower the marks of the inboxes that are about to get rows older than the sweep expects."""
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


def _is_due(row: Item, now: float) -> bool:
    return row.get("status") == "PENDING" and row.get("expires_at", 0) <= now


def _is_open(row: Item, now: float) -> bool:
    return row.get("status") not in TERMINAL and not _is_due(row, now)


def _expire(rows: Sequence[Item], reads: Reads, writes: Writes) -> int:
    holders = {_holder(row): Sent() for row in rows}
    if not holders:
        return 0
    known = mirror(holders, reads=reads, writes=writes)
    changes = [_expiry(row, known.get(_holder(row), {})) for row in rows]
    done = writes.apply(changes)
    mirror(holders, reads=reads, writes=writes)
    return sum(done)


def _expiry(row: Item, statuses: Statuses) -> Change:
    target = keys.owner_of(row["PK"]) or ""
    status = statuses.get(target, {}).get("status", "DELIVERED")
    delivered = RANK.get(status, 0) >= RANK["DELIVERED"]
    reason = "unacknowledged" if delivered else "expired_before_delivery"
    values = {"status": "EXPIRED", "reason": reason, "worker_rev": ulid()}
    place = Location(tables.SIGNALS, keys.Key(row["PK"], row["SK"]))
    return Change(place, values, equals={"status": "PENDING"})


def _holder(row: Item) -> Holder:
    return Holder(keys.Key(row["signal_pk"], row["signal_sk"]), row.get("chunk"))
