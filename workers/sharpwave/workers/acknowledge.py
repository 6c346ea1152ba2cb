"""What agents do to their own rows: legal moves reach the mirror, others are written back."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from sharpwave.schemas import keys, tables
from sharpwave.schemas.faults import Fault
from sharpwave.schemas.ids import ulid
from sharpwave.schemas.numbers import from_wire
from sharpwave.workers.envelope import ascii_json
from sharpwave.workers.mirror import Holder, Sent, mirror
from sharpwave.workers.ports import Change, Location, Parking, Reads, Refusal, Write, Writes


@dataclass(frozen=True, slots=True)
class Move:
    """A row's move to a status that its agent may not set from where it was."""

    row: keys.Key
    before: str
    after: str
    event_id: str


@dataclass(frozen=True, slots=True)
class Loss:
    """A row's attributes that a repeated PutItem removed, in typed form."""

    row: keys.Key
    attributes: Mapping[str, Any]


def acknowledge(
    holders: Sequence[Holder],
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
    repairs: list[Write] = [_restore(loss) for loss in lost]
    if repairs:
        writes.apply(repairs)
    undone: list[Write] = [_undo(move) for move in illegal]
    if undone:
        writes.apply(undone)
        parking.park([_refusal(move) for move in illegal])
    mirror(dict.fromkeys(holders, Sent()), reads=reads, writes=writes)


def _restore(loss: Loss) -> Change:
    values = {name: from_wire(value) for name, value in loss.attributes.items()}
    values.pop("status", None)
    place = Location(tables.SIGNALS, loss.row)
    return Change(place, {**values, "worker_rev": ulid()}, missing=("signal_pk",))


def _undo(move: Move) -> Change:
    place = Location(tables.SIGNALS, move.row)
    values = {"status": move.before or "PENDING", "worker_rev": ulid()}
    if move.after:
        return Change(place, values, equals={"status": move.after})
    return Change(place, values, missing=("status",))


def _refusal(move: Move) -> Refusal:
    text = (
        f"status cannot go from {move.before} to {move.after or 'nothing'}; it was put back."
        " Set PROCESSED or FAILED once"
    )
    faults = [Fault("illegal_status", "status", text)]
    image = ascii_json({"status": move.after})
    owner = keys.owner_of(move.row.pk)
    return Refusal(tables.SIGNALS, move.row, move.event_id, faults, image, owner)
