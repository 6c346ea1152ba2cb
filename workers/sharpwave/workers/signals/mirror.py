"""The mirror: how far a signal got, kept equal to its targets' rows in an item beside the signal.

One function serves delivery, acknowledgement, expiry and repair. It reads mirror and rows, takes
the greater rank per target and sets the whole map with a compare-and-swap, so messages that
overtake each other cannot matter. A mirror is begun by a delivery, which lists the whole frozen
audience in it; from then on its own list says whose rows count.

It lies in the signal's partition, where its sender may read it, and not in the signal: that is
written once, at its size, and the mirror two or three times at its own. A retried put of the
signal leaves it alone, and it is kept as long as the rows, which outlive the signal.
"""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, NamedTuple

from sharpwave.schemas import keys, tables
from sharpwave.schemas.ids import is_agent_id, nonce, signal_uid
from sharpwave.schemas.ownership import is_stamped
from sharpwave.schemas.records import MAX_SIGNAL_TTL_S
from sharpwave.schemas.status import RANK, TERMINAL, is_begun, outranks
from sharpwave.schemas.times import DAY_S, MAX_AHEAD_S, epoch_of
from sharpwave.workers.work.ports import (
    Insert,
    Item,
    Location,
    Reads,
    TryAgain,
    Update,
    Write,
    Writes,
)

Statuses = dict[str, dict[str, Any]]

#: Rows and mirrors are kept this long after the deadline of their signal.
KEPT_S = 7 * DAY_S

#: What a row can stand at; that a message was sent is known to the mirror only.
ROW_STATUSES = TERMINAL | {"PENDING"}

OPEN: dict[str, Any] = {"status": "PENDING"}
DELIVERED: dict[str, Any] = {"status": "DELIVERED"}
#: The end of a delivery whose deadline passed before its message went out.
UNSENT: dict[str, Any] = {"status": "EXPIRED", "reason": "expired_before_delivery"}
#: The end of a delivery that was handed out for sure.
UNACKNOWLEDGED: dict[str, Any] = {"status": "EXPIRED", "reason": "unacknowledged"}

_ATTEMPTS = 8
_DETAILS = ("processed_at", "decision_id", "reason")
_MAX_DETAIL = 1024


class Holder(NamedTuple):
    """Which item holds the mirror of a delivery: its signal's, or a chunk of the audience."""

    signal: keys.Key
    chunk: str | None = None

    @property
    def location(self) -> Location:
        """Say where the mirror is."""
        if self.chunk is None:
            return Location(tables.SIGNALS, keys.mirror(self.signal))
        uid = signal_uid(*self.signal)
        return Location(tables.PIPELINE, keys.Key(keys.audience_pk(uid), self.chunk))

    def row_of(self, target: str) -> Location:
        """Say where a target's row is, which is mirrored here."""
        row = keys.inbox_row(target, self.signal, signal_uid(*self.signal))
        return Location(tables.SIGNALS, row)


class Sent(NamedTuple):
    """What a duty knows of a mirror beyond its rows.

    Whatever it says of a target counts only if the target belongs to the audience: the mirror
    lists it once it is begun, and only a duty that names the whole audience begins it.

    Attributes:
        targets: who was sent to.
        at_ms: when their messages were handed to their queues, in epoch milliseconds, if known.
        settled: ends that stand by their rank.
        denied: ends that stand only for targets that nothing was delivered to.
        audience: the whole audience, from a duty that knows it.
        rows: the last images of rows that are there no more.
        ttl: the one that the signal got after it was written, in epoch seconds; 0 if it got none.
    """

    targets: frozenset[str] = frozenset()
    settled: Mapping[str, dict[str, Any]] = {}
    denied: Mapping[str, dict[str, Any]] = {}
    audience: frozenset[str] = frozenset()
    rows: Mapping[str, Item] = {}
    ttl: int = 0
    at_ms: int | None = None


class Held(NamedTuple):
    """A mirror as it was found.

    Attributes:
        item: the item that it is in; empty if there is none yet.
        entries: what it says of each target; None if it was not begun.
        until: when time removes it, in epoch seconds; None if it lives as long as its signal.
            Read only of one that was not begun.
    """

    item: Item
    entries: Statuses | None
    until: int | None = None

    @property
    def statuses(self) -> Statuses:
        """Give what it says of each delivery in the form that rows have."""
        return _as_rows_say(self.entries or {})


def mirror(
    holders: Mapping[Holder, Sent], *, reads: Reads, writes: Writes
) -> dict[Holder, Statuses]:
    """Bring mirrors up to date.

    Safe to repeat, to run concurrently and in any order. A mirror that was not begun is only
    touched: it gets a version, or another one, so that the delivery which is about to begin it
    without a look at the rows must look. A chunk of an audience that is gone is left alone.

    Returns:
        The statuses each mirror holds now; none if it was not begun.

    Raises:
        TryAgain: others kept changing a mirror.
    """
    result: dict[Holder, Statuses] = {}
    todo = dict(holders)
    for _ in range(_ATTEMPTS):
        changes: dict[Holder, Write] = {}
        mirrors = look(todo, reads)
        # Whom the signal names by now does not matter: its writer may have changed it.
        audiences = {
            holder: sorted((held.entries or {}).keys() | todo[holder].audience)
            for holder, held in mirrors.items()
        }
        # Rows after mirrors, and the swap on the mirror's version: whoever changes a row later than
        # this read carries it to the mirror later too, so what is written here is never the last
        # word.
        places = [holder.row_of(name) for holder, names in audiences.items() for name in names]
        rows = reads.get(places) if places else {}
        for holder, held in mirrors.items():
            merged = _merge(holder, held, audiences[holder], rows, todo[holder])
            result[holder] = _as_rows_say(merged or {})
            # Nobody delivers again what a scan feeds again as long as it has its mirror.
            until, ends = todo[holder].ttl + KEPT_S, held.item.get("ttl")
            longer = {"ttl": until} if isinstance(ends, int) and ends < until else {}
            if merged is None:
                # The touch: a delivery that is about to begin the mirror would else miss this row.
                # A map that the signal's writer made up would be a mirror with the version.
                none = {"processing_status": None} if "processing_status" in held.item else {}
                changes[holder] = _change(holder, held, none)
            elif longer or merged != held.item.get("processing_status") or not is_begun(held.item):
                changes[holder] = _change(holder, held, {**longer, "processing_status": merged})
        done = writes.apply([*changes.values()])
        # Who lost the swap reads all of it again, for the rows may have moved on as well.
        todo = {holder: todo[holder] for holder, ok in zip(changes, done, strict=True) if not ok}
        if not todo:
            return result
    raise TryAgain(f"the mirrors of {len(todo)} signals kept changing")


def first_mirror(
    holder: Holder, statuses: Statuses, signal: Mapping[str, Any], sent: Mapping[str, int]
) -> Write:
    """Give the write that begins a mirror which nobody has touched yet.

    Args:
        holder: where it is.
        statuses: of the whole audience: rows of others will never count.
        signal: the signal, which says how long it is kept.
        sent: by target, when its message was handed to its queue, in epoch milliseconds.
    """
    begun = {
        target: {**entry, "delivered_ms": sent[target]} if target in sent else entry
        for target, entry in statuses.items()
    }
    held = Held({}, None, _kept_until(holder.signal, signal))
    return _change(holder, held, {"processing_status": begun})


def look(holders: Iterable[Holder], reads: Reads, *, strong: bool = True) -> dict[Holder, Held]:
    """Read mirrors; chunks of audiences that are not there are left out.

    Of a mirror that was not begun beside its signal, the signal is read too: earlier releases
    kept it there, and what that one says is what the one beside begins with.
    """
    known = {holder.location: holder for holder in holders}
    items = reads.get(list(known), strong=strong) if known else {}
    found = {
        holder: Held(item, _entries_of(item) if is_begun(item) else None)
        for place, holder in known.items()
        if (item := items.get(place, {})) or holder.chunk is None
    }
    rest = {
        Location(tables.SIGNALS, holder.signal): holder
        for holder, held in found.items()
        if held.entries is None and holder.chunk is None
    }
    signals = reads.get(list(rest), strong=strong) if rest else {}
    for place, holder in rest.items():
        signal = signals.get(place)
        older = _entries_of(signal) if signal is not None and is_begun(signal) else None
        until = _kept_until(holder.signal, signal)
        found[holder] = found[holder]._replace(entries=older, until=until)
    return found


def _kept_until(key: keys.Key, signal: Mapping[str, Any] | None) -> int | None:
    """Say until when a mirror is kept; None of a signal that has no end."""
    ttl = None if signal is None else signal.get("ttl")
    if isinstance(ttl, int):
        return ttl + KEPT_S
    if signal is not None and ttl is None:
        return None
    # The signal is gone, or its writer spoiled it: none that was sent at its time ends later.
    iso, _ = keys.time_and_id(key.sk)
    return int(epoch_of(iso)) + MAX_AHEAD_S + MAX_SIGNAL_TTL_S + KEPT_S


def _merge(
    holder: Holder,
    held: Held,
    audience: Sequence[str],
    rows: Mapping[Location, Item],
    sent: Sent,
) -> Statuses | None:
    """Give the greater rank per target, or None for a mirror that this duty cannot begin."""
    if held.entries is None and not sent.audience:
        return None
    before, settled, merged = held.statuses, _as_rows_say(sent.settled), Statuses()
    for target in audience:
        merged[target] = before.get(target, OPEN)
        if target in sent.targets:
            _take(merged, target, DELIVERED)
        if target in settled:
            _take(merged, target, settled[target])
        for row in (sent.rows.get(target), rows.get(holder.row_of(target))):
            if row is not None and is_workers(row, holder.signal):
                _take(merged, target, row_status(row))
        # After the rows: a denial outranks DELIVERED, and yet what was delivered is not denied.
        if target in sent.denied and merged[target] == OPEN:
            merged[target] = sent.denied[target]
        if target in sent.targets and merged[target] == UNSENT:
            # Another attempt gave up on a target that this one was about to send to.
            merged[target] = UNACKNOWLEDGED
        # Of several attempts that sent, the first one counts.
        for entry in ((held.entries or {}).get(target), sent.settled.get(target)):
            if entry is not None and isinstance(entry.get("delivered_ms"), int):
                moment = entry["delivered_ms"]
                break
        else:
            moment = sent.at_ms if target in sent.targets else None
        if moment is not None:
            merged[target] = {**merged[target], "delivered_ms": moment}
    return merged


def _as_rows_say(entries: Mapping[str, dict[str, Any]]) -> Statuses:
    """Leave out what the mirror alone knows of a delivery: when it was sent."""
    return {
        target: {name: each for name, each in entry.items() if name != "delivered_ms"}
        for target, entry in entries.items()
    }


def is_workers(row: Mapping[str, Any], signal: keys.Key) -> bool:
    """Say whether a row found under the key of a signal's delivery was written by a worker."""
    return (row.get("signal_pk"), row.get("signal_sk")) == signal


def _take(merged: Statuses, target: str, entry: dict[str, Any]) -> None:
    held = merged[target]["status"]
    # At the same rank too, if it says more: the row may have gained a decision id.
    if outranks(entry["status"], held) or (entry["status"] == held and len(entry) > 1):
        merged[target] = entry


def row_status(row: Mapping[str, Any]) -> dict[str, Any]:
    """Give what a row says of its delivery, in the form of a mirror's entry."""
    status = row.get("status")
    if not isinstance(status, str) or status not in ROW_STATUSES:
        status = "PENDING"
    elif status == "EXPIRED" and not ("reason" in row and is_stamped(row)):
        status = "PENDING"  # only a worker says so, and it says why
    # The row is its agent's to write on; the map is shared, and one item holds it for all targets.
    given = {name: row.get(name) for name in _DETAILS}
    return {
        "status": status,
        **{name: each[:_MAX_DETAIL] for name, each in given.items() if isinstance(each, str)},
        **{name: each for name, each in given.items() if isinstance(each, int)},
    }


def if_unchanged(place: Location, values: Mapping[str, Any], row: Item) -> Update:
    """Give a change of a row that is good only while its status is as it was read."""
    if "status" in row:
        return Update(place, values, equals={"status": row["status"]})
    return Update(place, values, missing=("status",))


def _entries_of(item: Mapping[str, Any]) -> Statuses:
    """Give what a mirror says; an entry that its signal's writer spoiled is open again."""
    held = item["processing_status"]
    # Whose rows count is said by the names, whatever became of their entries.
    return {name: OPEN for name in held if is_agent_id(name)} | readable(held)


def readable(held: object) -> Statuses:
    """Read a map of statuses, leaving out what is none: its signal's owner can write to it."""
    if not isinstance(held, dict):
        return {}
    return {
        target: entry
        for target, entry in held.items()
        if is_agent_id(target) and isinstance(entry, dict) and str(entry.get("status")) in RANK
    }


def _change(holder: Holder, held: Held, values: Mapping[str, Any]) -> Write:
    # A count would begin again once its signal's writer has wiped the mirror, and who read the one
    # that was wiped would take the one that was put back for it.
    anew: Item = {**values, "status_v": nonce()}
    place, item, endless = holder.location, held.item, False
    # A chunk has its own end. Whoever put something else at a mirror's key does not set its.
    if holder.chunk is None and not is_begun(item):
        endless = held.until is None
        anew |= {} if held.until is None else {"ttl": held.until}
    if not item and holder.chunk is None:
        return Insert(place.table, {**place.key.item(), **anew})
    removed = ("ttl",) if endless and "ttl" in item else ()
    if "status_v" not in item:
        return Update(place, anew, missing=("status_v",), remove=removed)
    return Update(place, anew, equals={"status_v": item["status_v"]}, remove=removed)
