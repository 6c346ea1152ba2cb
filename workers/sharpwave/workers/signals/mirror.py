"""The mirror: a signal's `processing_status`, kept equal to its targets' rows.

One function serves delivery, acknowledgement, expiry and repair. It reads signal and rows, takes
the greater rank per target and sets the whole map with a compare-and-swap, so messages that
overtake each other cannot matter. A mirror is begun by a delivery, which lists the whole frozen
audience in it; from then on its own list says whose rows count.
"""

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from sharpwave.schemas import keys, tables
from sharpwave.schemas.ids import is_agent_id, nonce, signal_uid
from sharpwave.schemas.ownership import is_stamped
from sharpwave.schemas.status import RANK, TERMINAL, outranks
from sharpwave.workers.work.ports import Item, Location, Reads, TryAgain, Update, Writes

Statuses = dict[str, dict[str, Any]]

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
    """Which item holds the mirror of a delivery: the signal, or a chunk of its audience."""

    signal: keys.Key
    chunk: str | None = None

    @property
    def location(self) -> Location:
        """Say where the mirror is."""
        if self.chunk is None:
            return Location(tables.SIGNALS, self.signal)
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
        settled: ends that stand by their rank.
        denied: ends that stand only for targets that nothing was delivered to.
        audience: the whole audience, from a duty that knows it.
        rows: the last images of rows that are there no more.
    """

    targets: frozenset[str] = frozenset()
    settled: Mapping[str, dict[str, Any]] = {}
    denied: Mapping[str, dict[str, Any]] = {}
    audience: frozenset[str] = frozenset()
    rows: Mapping[str, Item] = {}


def mirror(
    holders: Mapping[Holder, Sent], *, reads: Reads, writes: Writes
) -> dict[Holder, Statuses]:
    """Bring mirrors up to date.

    Safe to repeat, to run concurrently and in any order. A signal removed by its TTL is left
    alone: its rows are the evidence. A mirror that was not begun is only touched: its version
    changes, so that the delivery which is about to begin it without a look at the rows must look.

    Returns:
        The statuses each existing mirror holds now; none if it was not begun.

    Raises:
        TryAgain: others kept changing a mirror.
    """
    result: dict[Holder, Statuses] = {}
    todo = dict(holders)
    for _ in range(_ATTEMPTS):
        changes: dict[Holder, Update] = {}
        for holder, (item, merged) in _read(todo, reads).items():
            result[holder] = merged or {}
            if merged is None:
                # The touch: a delivery that is about to begin the mirror would else miss this row.
                # A map that the signal's writer made up would be a mirror with the version.
                none = {"processing_status": None} if "processing_status" in item else {}
                changes[holder] = _change(holder, item, none)
            elif merged != statuses_of(item) or not is_begun(item):
                changes[holder] = _change(holder, item, {"processing_status": merged})
        done = writes.apply([*changes.values()])
        # Who lost the swap reads all of it again, for the rows may have moved on as well.
        todo = {holder: todo[holder] for holder, ok in zip(changes, done, strict=True) if not ok}
        if not todo:
            return result
    raise TryAgain(f"the mirrors of {len(todo)} signals kept changing")


def first_mirror(holder: Holder, statuses: Statuses) -> Update:
    """Give the write that begins a mirror which nobody has touched yet.

    `statuses` must hold the whole audience: rows of others will never count.
    """
    return _change(holder, {}, {"processing_status": statuses})


def is_begun(item: Mapping[str, Any]) -> bool:
    """Say whether a mirror was begun, and so lists its audience; one only touched was not."""
    return "status_v" in item and isinstance(item.get("processing_status"), dict)


def _read(
    holders: Mapping[Holder, Sent], reads: Reads
) -> dict[Holder, tuple[Item, Statuses | None]]:
    """Read mirrors, then rows, and give each mirror as it is and as it should be."""
    known = {holder.location: holder for holder in holders}
    items = {known[place]: item for place, item in reads.get(list(known)).items()}
    audiences: dict[Holder, list[str]] = {}
    for holder, item in items.items():
        # What else the signal says by now does not matter: its writer may have changed it.
        listed = item["processing_status"] if is_begun(item) else ()
        named = {name for name in listed if is_agent_id(name)}
        audiences[holder] = sorted(named | holders[holder].audience)
    # Rows after mirrors, and the swap on the mirror's version: whoever changes a row later than
    # this read carries it to the mirror later too, so what is written here is never the last word.
    places = [holder.row_of(name) for holder, names in audiences.items() for name in names]
    rows = reads.get(places)
    return {
        holder: (item, _merge(holder, item, audiences[holder], rows, holders[holder]))
        for holder, item in items.items()
    }


def _merge(
    holder: Holder,
    item: Item,
    audience: Sequence[str],
    rows: Mapping[Location, Item],
    sent: Sent,
) -> Statuses | None:
    """Give the greater rank per target, or None for a mirror that this duty cannot begin."""
    if not is_begun(item) and not sent.audience:
        return None
    held = statuses_of(item)
    merged: Statuses = {}
    for target in audience:
        merged[target] = held.get(target, OPEN)
        if target in sent.targets:
            _take(merged, target, DELIVERED)
        if target in sent.settled:
            _take(merged, target, sent.settled[target])
        for row in (sent.rows.get(target), rows.get(holder.row_of(target))):
            if row is not None and is_workers(row, holder.signal):
                _take(merged, target, row_status(row))
        # After the rows: a denial outranks DELIVERED, and yet what was delivered is not denied.
        if target in sent.denied and merged[target] == OPEN:
            merged[target] = sent.denied[target]
        if target in sent.targets and merged[target] == UNSENT:
            # Another attempt gave up on a target that this one was about to send to.
            merged[target] = UNACKNOWLEDGED
    return merged


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


def statuses_of(item: Mapping[str, Any]) -> Statuses:
    """Give what a mirror says; nothing if it was not begun, whatever its signal's writer put."""
    return readable(item["processing_status"]) if is_begun(item) else {}


def readable(held: object) -> Statuses:
    """Read a map of statuses, leaving out what is none: its signal's owner can write to it."""
    if not isinstance(held, dict):
        return {}
    return {
        target: entry
        for target, entry in held.items()
        if is_agent_id(target) and isinstance(entry, dict) and str(entry.get("status")) in RANK
    }


def _change(holder: Holder, item: Item, values: Mapping[str, Any]) -> Update:
    # A count would begin again once its signal's writer has wiped the mirror, and who read the one
    # that was wiped would take the one that was put back for it.
    anew = {**values, "status_v": nonce()}
    if "status_v" not in item:
        return Update(holder.location, anew, missing=("status_v",))
    return Update(holder.location, anew, equals={"status_v": item["status_v"]})
