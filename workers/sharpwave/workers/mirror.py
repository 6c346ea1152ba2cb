"""The mirror: a signal's `processing_status`, kept equal to its targets' rows.

One function serves delivery, acknowledgement, expiry and repair. It reads signal and rows, takes
the greater rank per target and sets the whole map with a compare-and-swap, so messages that
overtake each other cannot matter.
"""

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from sharpwave.schemas import keys, tables
from sharpwave.schemas.ids import is_agent_id, signal_uid
from sharpwave.schemas.status import RANK, TERMINAL, outranks
from sharpwave.workers.audience import CHUNK, is_resolved
from sharpwave.workers.ports import Change, Item, Location, Reads, TryAgain, Write, Writes

Statuses = dict[str, dict[str, Any]]

#: What a row can stand at; that a message was sent is known to the mirror only.
ROW_STATUSES = TERMINAL | {"PENDING"}

_ATTEMPTS = 8
_OPEN = {"status": "PENDING"}
_DETAILS = ("processed_at", "decision_id", "reason")
_MAX_DETAIL = 1024


class Holder(NamedTuple):
    """Which item holds the mirror of a delivery: the signal, or a chunk of its audience."""

    signal: keys.Key
    chunk: str | None = None

    @property
    def location(self) -> Location:
        """Say where the mirror is."""
        if self.chunk is None:
            return Location(tables.SIGNALS, self.signal)
        uid = signal_uid(*self.signal)
        return Location(tables.PIPELINE, keys.Key(keys.audience(uid).pk, self.chunk))


class Sent(NamedTuple):
    """What a duty knows of a mirror beyond its rows.

    Attributes:
        targets: who was sent to.
        settled: ends that stand by their rank.
        denied: ends that stand only for targets that nothing was delivered to.
        audience: targets whose rows count, whatever the signal says by now.
    """

    targets: frozenset[str] = frozenset()
    settled: Mapping[str, dict[str, Any]] = {}
    denied: Mapping[str, dict[str, Any]] = {}
    audience: frozenset[str] = frozenset()


def mirror(
    holders: Mapping[Holder, Sent], *, reads: Reads, writes: Writes
) -> dict[Holder, Statuses]:
    """Bring mirrors up to date.

    Safe to repeat, to run concurrently and in any order. A signal removed by its TTL is left
    alone: its rows are the evidence.

    Returns:
        The statuses each existing mirror holds now.

    Raises:
        TryAgain: others kept changing a mirror.
    """
    result: dict[Holder, Statuses] = {}
    todo = dict(holders)
    for _ in range(_ATTEMPTS):
        current = _read(todo, reads)
        changes: list[Write] = []
        pending: list[Holder] = []
        for holder, (item, merged) in current.items():
            result[holder] = merged
            if merged != _statuses(item):
                changes.append(_change(holder, item, merged))
                pending.append(holder)
        done = writes.apply(changes) if changes else []
        todo = {holder: todo[holder] for holder, ok in zip(pending, done, strict=True) if not ok}
        if not todo:
            return result
    raise TryAgain(f"the mirrors of {len(todo)} signals kept changing")


def first_mirror(holder: Holder, statuses: Statuses) -> Change:
    """Give the write that sets a mirror which nobody has written yet."""
    values = {"processing_status": statuses, "status_v": 1}
    return Change(holder.location, values, missing=("status_v",))


def _read(holders: Mapping[Holder, Sent], reads: Reads) -> dict[Holder, tuple[Item, Statuses]]:
    known = {holder.location: holder for holder in holders}
    items = {known[place]: item for place, item in reads.get(list(known)).items()}
    audiences = _audiences(items, reads)
    rows = {
        holder: [
            _row(holder, target) for target in _concerned(item, holders[holder], audiences[holder])
        ]
        for holder, item in items.items()
    }
    found = reads.get([place for places in rows.values() for place in places])
    return {
        holder: (item, _merge(item, rows[holder], found, holders[holder]))
        for holder, item in items.items()
    }


def _audiences(items: Mapping[Holder, Item], reads: Reads) -> dict[Holder, list[str]]:
    """Give the targets whose rows each mirror reflects."""
    frozen = {
        holder: Location(tables.PIPELINE, keys.audience(signal_uid(*holder.signal)))
        for holder, item in items.items()
        if holder.chunk is None and is_resolved(item)
    }
    found = reads.get(list(frozen.values())) if frozen else {}
    return {
        holder: list(found.get(frozen[holder], {}).get("targets", ()))
        if holder in frozen
        else _named(holder, item)
        for holder, item in items.items()
    }


def _named(holder: Holder, item: Item) -> list[str]:
    if holder.chunk is not None:
        return list(item.get("targets", ()))
    listed = item.get("target_agents")
    targets = {name for name in listed if is_agent_id(name)} if isinstance(listed, list) else set()
    return sorted(targets) if len(targets) <= CHUNK else []


def _concerned(item: Item, sent: Sent, audience: Sequence[str]) -> list[str]:
    """List the targets to look at; an agent that changes its signal's list hides no row."""
    others = {*_statuses(item), *sent.targets, *sent.settled, *sent.denied, *sent.audience}
    return sorted(others.union(audience))


def _merge(
    item: Item, rows: Sequence[Location], found: Mapping[Location, Item], sent: Sent
) -> Statuses:
    merged = dict(_statuses(item))
    for target in sent.targets:
        _take(merged, target, {"status": "DELIVERED"})
    for target, entry in sent.settled.items():
        _take(merged, target, entry)
    for place in rows:
        row = found.get(place)
        if row is not None:
            _take(merged, keys.owner_of(place.key.pk) or "", _entry(row))
    for target, entry in sent.denied.items():
        if merged.get(target, _OPEN) == _OPEN:
            merged[target] = entry
    return merged


def _take(merged: Statuses, target: str, entry: dict[str, Any]) -> None:
    held = merged.get(target)
    if held is None or outranks(entry["status"], held["status"]):
        merged[target] = entry
    elif entry["status"] == held["status"] and len(entry) > 1:
        merged[target] = entry  # the row may have gained a decision id


def _entry(row: Item) -> dict[str, Any]:
    status = row.get("status")
    if status == "EXPIRED" and not {"worker_rev", "reason"} <= row.keys():
        status = "PENDING"  # only a worker says so, and it says why
    details = {name: _detail(row.get(name)) for name in _DETAILS}
    return {
        "status": status if isinstance(status, str) and status in ROW_STATUSES else "PENDING",
        **{name: detail for name, detail in details.items() if detail is not None},
    }


def _detail(value: object) -> str | int | None:
    """Give what an agent wrote on its row, if it fits into a map shared with others."""
    if isinstance(value, str):
        return value[:_MAX_DETAIL]
    return value if isinstance(value, int) else None


def _statuses(item: Item) -> Statuses:
    return readable(item.get("processing_status")) if "status_v" in item else {}


def readable(held: object) -> Statuses:
    """Read a map of statuses, leaving out what is none: its signal's owner can write to it."""
    if not isinstance(held, dict):
        return {}
    return {target: entry for target, entry in held.items() if _is_entry(target, entry)}


def _is_entry(target: str, entry: object) -> bool:
    return is_agent_id(target) and isinstance(entry, dict) and str(entry.get("status")) in RANK


def _change(holder: Holder, item: Item, merged: Statuses) -> Change:
    version = item.get("status_v")
    count = version if isinstance(version, int) else 0
    values = {"processing_status": merged, "status_v": count + 1}
    if version is None:
        return Change(holder.location, values, missing=("status_v",))
    return Change(holder.location, values, equals={"status_v": version})


def _row(holder: Holder, target: str) -> Location:
    uid = signal_uid(*holder.signal)
    return Location(tables.SIGNALS, keys.inbox_row(target, holder.signal, uid))
