"""Deliveries that nobody acknowledged in time get a status, a reason and a place in the mirror."""

import secrets
from collections.abc import Iterator, Sequence
from math import ceil
from typing import Any, NamedTuple

from sharpwave.schemas import keys, tables
from sharpwave.schemas.ids import ulid
from sharpwave.schemas.status import RANK, TERMINAL, outranks
from sharpwave.schemas.times import DAY_S, Clock, bound
from sharpwave.workers.low_water import LowWater
from sharpwave.workers.mirror import Holder, Sent, mirror
from sharpwave.workers.ports import (
    Change,
    Insert,
    Item,
    Location,
    Reads,
    TryAgain,
    Writes,
)

#: Rows younger than this may still be written; the low-water mark stays below them.
SETTLING_S = 120
_PAGE = 200
_MAX_KEY = 256


#: Seconds that a deadline's entry has at least to be written before its minute is handled.
WRITING_S = 10
#: Entries are kept this long after their minute, for outages and for whoever looks into one.
KEPT_S = 10 * DAY_S
_HOLDERS = 20
_ROUNDS = 8


class Handed(NamedTuple):
    """Targets that a signal was handed to, and when these deliveries fall due.

    Attributes:
        holder: where they are mirrored.
        deadline: epoch seconds.
        targets: who was sent to.
    """

    holder: Holder
    deadline: int
    targets: Sequence[str]


class Deadlines:
    """Notes when deliveries fall due; one per process."""

    def __init__(self) -> None:
        """Start as a process that has noted nothing."""
        self._begun = False

    def note(self, handed: Sequence[Handed], *, reads: Reads, writes: Writes, clock: Clock) -> None:
        """Note deliveries that were sent and marked; noting one again does no harm.

        A worker may freeze between the choice of a minute and its write. Once that minute has
        come it may have been handled, so the entry is written again for a later one.

        Raises:
            TryAgain: this worker kept being too late.
        """
        rest = [each for each in handed if each.targets]
        if rest and not self._begun:
            _begin(reads, writes, clock)
            self._begun = True
        for _ in range(_ROUNDS):
            if not rest:
                return
            begun = clock()
            writes.apply([*_due_entries(rest, begun)])
            done = clock()
            rest = [each for each in rest if due_minute(each.deadline, begun) * 60 <= done]
        raise TryAgain("deadlines passed faster than they could be noted")


def due_writes(handed: Sequence[Handed], *, clock: Clock) -> list[Insert]:
    """Give the entries that bring deliveries back when their deadline has passed."""
    return _due_entries(handed, clock())


def _due_entries(handed: Sequence[Handed], now: float) -> list[Insert]:
    by_minute: dict[int, list[Handed]] = {}
    for each in handed:
        by_minute.setdefault(due_minute(each.deadline, now), []).append(each)
    return [
        _due_entry(minute, some[start : start + _HOLDERS])
        for minute, some in by_minute.items()
        for start in range(0, len(some), _HOLDERS)
    ]


def due_minute(deadline: int, now: float) -> int:
    """Give the minute since the epoch from whose beginning on a deadline is acted upon."""
    return ceil((max(deadline, now) + WRITING_S) / 60)


def _due_entry(minute: int, handed: Sequence[Handed]) -> Insert:
    key = keys.due(minute, secrets.randbelow(keys.DUE_SHARDS), ulid())
    entries = [
        {
            **dict(zip(("pk", "sk"), each.holder.signal, strict=True)),
            **({} if each.holder.chunk is None else {"chunk": each.holder.chunk}),
            "targets": list(each.targets),
        }
        for each in handed
    ]
    item = {**key.item(), "entries": entries, "ttl": minute * 60 + KEPT_S}
    return Insert(tables.PIPELINE, item)


def _begin(reads: Reads, writes: Writes, clock: Clock) -> None:
    """Make sure that there is a mark, below every minute that this process will note."""
    low = due_mark(reads, writes)
    if not low.mark:
        low.raise_to(str(int(clock() // 60) - 2), at_once=True)


def due_mark(reads: Reads, writes: Writes) -> LowWater:
    """Give the minute up to which everything that fell due is being handled."""
    return LowWater("due", "all", reads=reads, writes=writes)


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
