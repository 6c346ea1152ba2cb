"""What agents do to their own rows: legal moves reach the mirror, others are written back.

An agent may write, write over and delete whatever it likes in its own partition. Whatever it did,
its row says in the end how the delivery ended, and the mirror says the same.
"""

from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from sharpwave.schemas import keys, tables
from sharpwave.schemas.faults import Fault
from sharpwave.schemas.ids import signal_uid
from sharpwave.schemas.numbers import Wire, from_wire, item_from_wire
from sharpwave.schemas.ownership import WORKER, stamped
from sharpwave.schemas.status import ACKNOWLEDGED, RANK, TERMINAL, outranks
from sharpwave.schemas.times import Clock
from sharpwave.workers.ports import (
    Insert,
    Item,
    Location,
    Parking,
    Reads,
    Refusal,
    TryAgain,
    Unfinished,
    Update,
    Write,
    Writes,
)
from sharpwave.workers.signals.expiry import Deadlines, Handed
from sharpwave.workers.signals.mirror import (
    ROW_STATUSES,
    Holder,
    Sent,
    Statuses,
    is_workers,
    mirror,
    readable,
    row_status,
)
from sharpwave.workers.work.envelope import ascii_json

_MAX_TOLD = 1024
_ATTEMPTS = 8
_OPEN: dict[str, Any] = {"status": "PENDING"}
_REMOVED: dict[str, Any] = {"status": "FAILED", "reason": "agent_removed"}


@dataclass(frozen=True, slots=True)
class Mending:
    """The ports that rows and mirrors are mended through."""

    reads: Reads
    writes: Writes
    parking: Parking
    deadlines: Deadlines
    clock: Clock


@dataclass(frozen=True, slots=True)
class Move:
    """A row's move to a status that its agent may not set from where it was.

    Attributes:
        holder: where the row is mirrored.
        row: the row.
        before: the status it had.
        after: the status it got, in typed form; None if it lost it.
        worker_rev: the row's `worker_rev` at that moment, in typed form; None if it had none.
        event_id: the event that brought the move.
    """

    holder: Holder
    row: keys.Key
    before: str
    after: Wire | None
    worker_rev: Wire | None
    event_id: str


@dataclass(frozen=True, slots=True)
class Loss:
    """A row's attributes that its agent removed or wrote over, in typed form.

    Attributes:
        holder: where the row is mirrored.
        row: the row.
        attributes: what the worker had written.
        said: the acknowledgement that left the row without the name of its signal, if it was one.
    """

    holder: Holder
    row: keys.Key
    attributes: Mapping[str, Wire]
    said: Mapping[str, Wire] = field(default_factory=dict)

    @property
    def end(self) -> Item:
        """Give the acknowledgement as plain attributes; open if there is none."""
        return item_from_wire(self.said) or _OPEN


@dataclass(frozen=True, slots=True)
class Gone:
    """A row that its agent deleted, and how it was, in typed form."""

    holder: Holder
    row: keys.Key
    image: Mapping[str, Wire]

    @property
    def target(self) -> str:
        """Name the row's agent."""
        return keys.owner_of(self.row.pk) or ""


def acknowledge(
    holders: Mapping[Holder, Sent],
    *,
    targets: Mapping[Holder, Collection[str]],
    illegal: Sequence[Move] = (),
    lost: Sequence[Loss] = (),
    gone: Sequence[Gone] = (),
    ports: Mending,
) -> None:
    """Carry rows' statuses to their mirrors, after mending the rows that need it.

    Messages name signals only, so it does not matter in which order they come.

    Args:
        holders: the mirrors concerned, and what is known of them beyond their rows.
        targets: whose rows changed.
        illegal: statuses to put back.
        lost: attributes to put back.
        gone: rows to put back, unless they had ended.
        ports: what to do it with.
    """
    _undo_all(illegal, ports)
    _restore_all(lost, ports)
    told = _with_said(_with_rows(holders, gone), lost)
    known = mirror(told, reads=ports.reads, writes=ports.writes)
    strays = _strays(targets, known, ports.reads)
    if strays:
        known |= mirror(strays, reads=ports.reads, writes=ports.writes)
    if gone:
        known |= _put_back(gone, known, ports)
    mended: list[Move | Loss | Gone] = [*illegal, *lost, *gone]
    if mended:
        rows = {Location(tables.SIGNALS, each.row): each.holder for each in mended}
        _finish(rows, known, ports)
    if illegal:
        _park(illegal, ports)


def _park(moves: Sequence[Move], ports: Mending) -> None:
    try:
        ports.parking.park([_refusal(move) for move in moves])
    except Unfinished as error:
        # Work is known by its signal, not by the row.
        signals = {move.holder.signal for move in moves if move.row in error.keys}
        raise Unfinished(signals, str(error)) from error


def _undo_all(moves: Sequence[Move], ports: Mending) -> None:
    standing = [(move, _standing(move, moves, ports.reads)) for move in moves]
    for wave in _waves([(_undo(move, before), before) for move, before in standing]):
        done = ports.writes.apply([change for change, _ in wave])
        # Another event's repair may have opened the row without knowing of its end.
        ended: list[Write] = [
            Update(change.location, change.set, equals=_OPEN)
            for (change, before), ok in zip(wave, done, strict=True)
            if not ok and before["status"] in TERMINAL
        ]
        if ended:
            ports.writes.apply(ended)


def _waves(
    changes: Sequence[tuple[Update, dict[str, Any]]],
) -> Iterator[list[tuple[Update, dict[str, Any]]]]:
    """Part changes so that no part holds two of one item."""
    rest = list(changes)
    while rest:
        wave = {each[0].location: each for each in reversed(rest)}
        yield [*wave.values()]
        rest = [each for each in rest if wave[each[0].location] is not each]


def _standing(move: Move, moves: Sequence[Move], reads: Reads) -> dict[str, Any]:
    """Give what a row said before all of its illegal moves, as far as anybody knows."""
    same = [other for other in moves if other.row == move.row]
    after = {str((other.after or {}).get("S")) for other in same}
    before = {other.before for other in same} - after
    place = move.holder.location
    mirror = readable(reads.get([place]).get(place, {}).get("processing_status"))
    held = mirror.get(keys.owner_of(move.row.pk) or "", {"status": "PENDING"})
    known = (before & ROW_STATUSES) | ({str(held["status"])} & TERMINAL)
    status = max(known, key=RANK.__getitem__, default="PENDING")
    return held if held["status"] == status else {"status": status}


def _undo(move: Move, before: Mapping[str, Any]) -> Update:
    """Put a status back, unless a worker wrote to the row since."""
    seen = {"status": move.after, "worker_rev": move.worker_rev}
    equals = {name: from_wire(value) for name, value in seen.items() if value is not None}
    missing = tuple(seen.keys() - equals.keys())
    place = Location(tables.SIGNALS, move.row)
    return Update(place, stamped(move.row, before), equals=equals, missing=missing)


def _restore_all(losses: Sequence[Loss], ports: Mending) -> None:
    """Put attributes back; a worker writes each of them once, so an old image has them right."""
    by_row: dict[keys.Key, Loss] = {}
    for loss in losses:
        first = by_row.get(loss.row, loss)
        said = loss.said if outranks(loss.end["status"], first.end["status"]) else first.said
        attributes = {**loss.attributes, **first.attributes}
        by_row[loss.row] = replace(loss, attributes=attributes, said=said)
    todo = {Location(tables.SIGNALS, row): loss for row, loss in by_row.items()}
    for _ in range(_ATTEMPTS):
        found = ports.reads.get(list(todo)) if todo else {}
        changes = {place: _restore(todo[place], row) for place, row in found.items()}
        writes: list[Write] = [change for change in changes.values() if change is not None]
        done = ports.writes.apply(writes) if writes else []
        todo = {
            write.location: todo[write.location]
            for write, ok in zip(writes, done, strict=True)
            if not ok
        }
        if not todo:
            return
    raise TryAgain(f"{len(todo)} rows kept changing")


def _restore(loss: Loss, row: Item) -> Update | None:
    before = {name: from_wire(value) for name, value in loss.attributes.items()}
    values = {name: value for name, value in before.items() if row.get(name) != value}
    status = row_status(row)["status"]
    if outranks(loss.end["status"], status):
        # A delivery took the row for none of a worker's and opened it, or it went on from there.
        values |= loss.end
        status = loss.end["status"]
    if not values:
        return None
    if status != row.get("status"):
        # The stamp must not vouch for a status that no worker wrote.
        values["status"] = status
    return _guarded(loss.row, stamped(loss.row, values, status=status), row)


def _guarded(key: keys.Key, values: Mapping[str, Any], row: Item) -> Update:
    """Give a change of a row that is good only while its status is as it was read."""
    place = Location(tables.SIGNALS, key)
    if "status" in row:
        return Update(place, values, equals={"status": row["status"]})
    return Update(place, values, missing=("status",))


def _with_rows(holders: Mapping[Holder, Sent], gone: Sequence[Gone]) -> dict[Holder, Sent]:
    result = dict(holders)
    for each in gone:
        sent = result.get(each.holder, Sent())
        rows = {**sent.rows, each.target: item_from_wire(each.image)}
        result[each.holder] = sent._replace(rows=rows)
    return result


def _with_said(holders: Mapping[Holder, Sent], lost: Sequence[Loss]) -> dict[Holder, Sent]:
    """Add acknowledgements whose rows may be deleted by now."""
    result = dict(holders)
    for each in lost:
        sent, target = result.get(each.holder, Sent()), keys.owner_of(each.row.pk) or ""
        end = row_status(each.end)
        if outranks(end["status"], sent.settled.get(target, _OPEN)["status"]):
            result[each.holder] = sent._replace(settled={**sent.settled, target: end})
    return result


def _strays(
    targets: Mapping[Holder, Collection[str]], known: Mapping[Holder, Statuses], reads: Reads
) -> dict[Holder, Sent]:
    """Find other mirrors for targets which the one that their row named does not list.

    An agent can write over the name of its row's chunk.
    """
    found: dict[Holder, Sent] = {}
    for holder, names in targets.items():
        missing = set(names) - known.get(holder, {}).keys()
        if missing:
            found |= dict.fromkeys(_mirrors_of(holder.signal, missing, reads), Sent())
            found.pop(holder, None)
    return found


def _mirrors_of(signal: keys.Key, targets: set[str], reads: Reads) -> Iterator[Holder]:
    yield Holder(signal)
    head = keys.audience(signal_uid(*signal))
    for item in reads.query(tables.PIPELINE, head.pk, after=head.sk):
        if not targets.isdisjoint(item.get("targets", ())):
            yield Holder(signal, item["SK"])


def _put_back(
    gone: Sequence[Gone], known: Mapping[Holder, Statuses], ports: Mending
) -> dict[Holder, Statuses]:
    """Put rows back that were deleted before they ended, or replaced by what is no row.

    Gives the statuses of the mirrors that this changed.
    """
    by_row = {Location(tables.SIGNALS, each.row): each for each in gone}
    homes = {each.target: Location(tables.STATE, keys.registration(each.target)) for each in gone}
    found = ports.reads.get([*by_row, *set(homes.values())])
    writes: list[Write] = []
    news: dict[Holder, Sent] = {}
    for place, each in by_row.items():
        image, row = item_from_wire(each.image), found.get(place)
        end = known.get(each.holder, {}).get(each.target, _OPEN)
        if row is None and homes[each.target] not in found:
            if row_status(image) == _OPEN and end["status"] not in TERMINAL:
                settled = {**news.get(each.holder, Sent()).settled, each.target: _REMOVED}
                news[each.holder] = Sent(settled=settled)
            continue
        end = end if end["status"] in TERMINAL else row_status(image)
        if row is not None and not is_workers(row, each.holder.signal):
            writes.append(_replaced(each, image, row, end))
            news.setdefault(each.holder, Sent())
        elif row is None and row_status(image)["status"] == "PENDING" and _lasts(image, ports):
            whole = {**image, **stamped(each.row, end)}
            writes.append(Insert(tables.SIGNALS, whole))
    if writes and not all(ports.writes.apply(writes)):
        raise TryAgain("rows changed while they were put back")
    return mirror(news, reads=ports.reads, writes=ports.writes) if news else {}


def _lasts(row: Item, ports: Mending) -> bool:
    """Say whether a row's time to live has not passed; some remove such rows by hand."""
    ttl = row.get("ttl")
    return isinstance(ttl, int) and ttl > ports.clock()


def _replaced(each: Gone, image: Item, row: Item, end: Mapping[str, Any]) -> Update:
    """Make a row again of what an agent put in the place of one; its word on the end counts."""
    status = row.get("status")
    is_said = str(status) in ACKNOWLEDGED and outranks(status, end["status"])
    own = {name: image[name] for name in WORKER["inbox_row"] & image.keys()}
    values = {**own, **({"status": status} if is_said else end)}
    return _guarded(each.row, stamped(each.row, values), row)


def _finish(
    rows: Mapping[Location, Holder], known: Mapping[Holder, Statuses], ports: Mending
) -> None:
    """Bring open rows to the end that their mirror says, or let them fall due again."""
    now = ports.clock()
    ends: list[Write] = []
    late: list[Handed] = []
    for place, row in ports.reads.get(list(rows)).items():
        if row.get("status") != "PENDING":
            continue
        holder, target = rows[place], keys.owner_of(place.key.pk) or ""
        held = known.get(holder, {}).get(target, _OPEN)
        deadline = row.get("expires_at")
        if held["status"] in TERMINAL:
            ends.append(Update(place, stamped(place.key, held), equals=_OPEN))
        elif isinstance(deadline, int) and deadline <= now:
            # Its time may have come while it stood at an end that was none.
            late.append(Handed(holder, int(now), [target]))
    if ends:
        ports.writes.apply(ends)
    ports.deadlines.note(late, writes=ports.writes, clock=ports.clock)


def _refusal(move: Move) -> Refusal:
    after = "nothing" if move.after is None else str(*move.after.values())
    text = (
        f"status cannot go from {move.before} to {after:.40}; it was put back."
        " Set PROCESSED or FAILED once"
    )
    faults = [Fault("illegal_status", "status", text)]
    image = ascii_json({"status": after[:_MAX_TOLD]})
    return Refusal(tables.SIGNALS, move.row, move.event_id, faults, image)
