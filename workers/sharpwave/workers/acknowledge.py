"""What agents do to their own rows: legal moves reach the mirror, others are written back."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from sharpwave.schemas import keys, tables
from sharpwave.schemas.faults import Fault
from sharpwave.schemas.ids import ulid
from sharpwave.schemas.numbers import Wire, from_wire
from sharpwave.schemas.status import RANK, TERMINAL
from sharpwave.workers.envelope import ascii_json
from sharpwave.workers.low_water import LowWater
from sharpwave.workers.mirror import ROW_STATUSES, Holder, Sent, mirror, readable
from sharpwave.workers.ports import Change, Location, Parking, Reads, Refusal, Write, Writes

_MAX_TOLD = 1024


@dataclass(frozen=True, slots=True)
class Move:
    """A row's move to a status that its agent may not set from where it was.

    Attributes:
        holder: where the row is mirrored.
        row: the row.
        before: the status it had.
        after: the status it got, in typed form; None if it lost it.
        worker_rev: the row's `worker_rev` at that moment; empty if it had none.
        event_id: the event that brought the move.
    """

    holder: Holder
    row: keys.Key
    before: str
    after: Wire | None
    worker_rev: str
    event_id: str


@dataclass(frozen=True, slots=True)
class Loss:
    """A row's attributes that a repeated PutItem removed, in typed form."""

    row: keys.Key
    attributes: Mapping[str, Any]


def acknowledge(
    holders: Mapping[Holder, Sent],
    *,
    illegal: Sequence[Move] = (),
    lost: Sequence[Loss] = (),
    reads: Reads,
    writes: Writes,
    parking: Parking,
) -> None:
    """Carry rows' statuses to their mirrors, after mending the rows that need it.

    Messages name signals only, so it does not matter in which order they come.
    """
    standing = [(move, _standing(move, illegal, reads)) for move in illegal]
    for wave in _waves([_undo(move, before) for move, before in standing]):
        writes.apply(wave)
    for row in {move.row for move, before in standing if before["status"] == "PENDING"}:
        # A sweep may have passed the row while it stood at an end that was none.
        LowWater("expiry", keys.owner_of(row.pk) or "", reads=reads, writes=writes).lower_to(row.sk)
    if illegal:
        parking.park([_refusal(move) for move in illegal])
    for wave in _waves([_restore(loss) for loss in lost]):
        writes.apply(wave)
    mirror(holders, reads=reads, writes=writes)


def _waves(changes: Sequence[Change]) -> Iterator[list[Write]]:
    """Part changes so that no part holds two of one item."""
    rest = list(changes)
    while rest:
        wave = {change.location: change for change in reversed(rest)}
        yield [*wave.values()]
        rest = [change for change in rest if wave[change.location] is not change]


def _restore(loss: Loss) -> Change:
    values = {name: from_wire(value) for name, value in loss.attributes.items()}
    place = Location(tables.SIGNALS, loss.row)
    return Change(place, {**values, "worker_rev": ulid()}, missing=tuple(values))


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


def _undo(move: Move, before: Mapping[str, Any]) -> Change:
    """Put a status back, unless a worker wrote to the row since."""
    values = {**before, "worker_rev": ulid()}
    equals: dict[str, Any] = {}
    if move.after is not None:
        equals["status"] = from_wire(move.after)
    if move.worker_rev:
        equals["worker_rev"] = move.worker_rev
    missing = tuple({"status", "worker_rev"} - equals.keys())
    return Change(Location(tables.SIGNALS, move.row), values, equals=equals, missing=missing)


def _refusal(move: Move) -> Refusal:
    after = "nothing" if move.after is None else str(*move.after.values())
    text = (
        f"status cannot go from {move.before} to {after:.40}; it was put back."
        " Set PROCESSED or FAILED once"
    )
    faults = [Fault("illegal_status", "status", text)]
    image = ascii_json({"status": after[:_MAX_TOLD]})
    owner = keys.owner_of(move.row.pk)
    return Refusal(tables.SIGNALS, move.row, move.event_id, faults, image, owner)
