"""What agents do to their own rows: legal moves reach the mirror, others are written back.

An agent may write, write over and delete whatever it likes in its own partition. Whatever it did,
its row says in the end how the delivery ended, and the mirror says the same.
"""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from sharpwave.schemas import keys, tables
from sharpwave.schemas.faults import Fault
from sharpwave.schemas.ids import signal_uid
from sharpwave.schemas.numbers import Wire, from_wire, item_from_wire
from sharpwave.schemas.ownership import WORKER, stamped
from sharpwave.schemas.status import ACKNOWLEDGED, RANK, TERMINAL, outranks
from sharpwave.schemas.times import Clock
from sharpwave.workers.signals.expiry import Deadline, Deadlines
from sharpwave.workers.signals.mirror import (
    OPEN,
    ROW_STATUSES,
    Holder,
    Sent,
    Statuses,
    if_unchanged,
    is_workers,
    look,
    mirror,
    row_status,
)
from sharpwave.workers.work.envelope import ascii_json
from sharpwave.workers.work.ports import (
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

_MAX_TOLD = 1024
_ATTEMPTS = 8
_REMOVED: dict[str, Any] = {"status": "FAILED", "reason": "agent_removed"}


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
        return item_from_wire(self.said) or OPEN


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
    reads: Reads,
    writes: Writes,
    parking: Parking,
    deadlines: Deadlines,
    clock: Clock,
) -> None:
    """Carry rows' statuses to their mirrors, after mending the rows that need it.

    Messages name signals only, so it does not matter in which order they come.

    Args:
        holders: the mirrors concerned, and what is known of them beyond their rows.
        targets: whose rows changed.
        illegal: statuses to put back.
        lost: attributes to put back.
        gone: rows to put back, unless they had ended.
        reads: strong reads.
        writes: conditional writes.
        parking: where illegal moves go, and who tells of them.
        deadlines: where deliveries go that fall due again.
        clock: the time.
    """
    # Rows first: what is put back must not reach the mirror, where a greater rank stays for good.
    _undo_all(illegal, reads, writes)
    _restore_all(lost, reads, writes)
    # Images of rows that are gone count like rows: agents delete what they have done with.
    known = mirror(_with_evidence(holders, gone, lost), reads=reads, writes=writes)
    known |= mirror(_strays(targets, known, reads), reads=reads, writes=writes)
    # After the mirrors: whether a deleted row had ended, the mirror knows too.
    known |= _put_back(gone, known, reads, writes, clock)
    mended: list[Move | Loss | Gone] = [*illegal, *lost, *gone]
    rows = {Location(tables.SIGNALS, each.row): each.holder for each in mended}
    _finish(rows, known, reads, writes, deadlines, clock)
    # Parked last: whoever fails at it does all again, and what is mended needs nothing then.
    if illegal:
        try:
            parking.park([_refusal(move) for move in illegal])
        except Unfinished as error:
            # Work is known by its signal, not by the row.
            signals = {move.holder.signal for move in illegal if move.row in error.keys}
            raise Unfinished(signals, str(error)) from error


def _undo_all(moves: Sequence[Move], reads: Reads, writes: Writes) -> None:
    undone: list[tuple[Update, dict[str, Any]]] = []
    for move in moves:
        # What the row said before all of its illegal moves, as far as anybody knows.
        same = [other for other in moves if other.row == move.row]
        # A row that went A, B, C in one message was at A: of B another move says it came to it.
        reached = {str((other.after or {}).get("S")) for other in same}
        left = {other.before for other in same} - reached
        found = look([move.holder], reads).get(move.holder)
        mirrored = {} if found is None else found.statuses
        held = mirrored.get(keys.owner_of(move.row.pk) or "", {"status": "PENDING"})
        known = (left & ROW_STATUSES) | ({str(held["status"])} & TERMINAL)
        status = max(known, key=RANK.__getitem__, default="PENDING")
        before = held if held["status"] == status else {"status": status}
        # Good only as the move left the row: a worker, or the agent, may have written since.
        seen = {"status": move.after, "worker_rev": move.worker_rev}
        equals = {name: from_wire(value) for name, value in seen.items() if value is not None}
        change = Update(
            Location(tables.SIGNALS, move.row),
            stamped(move.row, before),
            equals=equals,
            missing=tuple(seen.keys() - equals.keys()),
        )
        undone.append((change, before))
    while undone:
        # No call may hold two writes of one item, so each move of a row has a turn of its own.
        turn = {each[0].location: each for each in reversed(undone)}
        undone = [each for each in undone if turn[each[0].location] is not each]
        done = writes.apply([change for change, _ in turn.values()])
        # Another event's repair may have opened the row without knowing of its end.
        writes.apply(
            [
                Update(change.location, change.set, equals=OPEN)
                for (change, before), ok in zip(turn.values(), done, strict=True)
                if not ok and before["status"] in TERMINAL
            ]
        )


def _restore_all(losses: Sequence[Loss], reads: Reads, writes: Writes) -> None:
    """Put attributes back; a worker writes each of them once, so an old image has them right."""
    by_row: dict[keys.Key, Loss] = {}
    for loss in losses:
        # Of several losses of a row the first has what the worker wrote: a later one's old image
        # may hold what the agent made of it.
        first = by_row.get(loss.row, loss)
        said = loss.said if outranks(loss.end["status"], first.end["status"]) else first.said
        attributes = {**loss.attributes, **first.attributes}
        by_row[loss.row] = replace(loss, attributes=attributes, said=said)
    todo = {Location(tables.SIGNALS, row): loss for row, loss in by_row.items()}
    for _ in range(_ATTEMPTS):
        needed: list[Update] = []
        for place, row in reads.get(list(todo)).items():
            loss = todo[place]
            before = {name: from_wire(value) for name, value in loss.attributes.items()}
            values = {name: value for name, value in before.items() if row.get(name) != value}
            status = row_status(row)["status"]
            if outranks(loss.end["status"], status):
                # A delivery took the row for none of a worker's and opened it, or it went on from
                # there.
                values |= loss.end
                status = loss.end["status"]
            if values and status != row.get("status"):
                # The stamp must not vouch for a status that no worker wrote.
                values["status"] = status
            if values:
                needed.append(if_unchanged(place, stamped(loss.row, values, status=status), row))
        done = writes.apply(needed)
        todo = {
            each.location: todo[each.location]
            for each, ok in zip(needed, done, strict=True)
            if not ok
        }
        if not todo:
            return
    raise TryAgain(f"{len(todo)} rows kept changing")


def _with_evidence(
    holders: Mapping[Holder, Sent], gone: Sequence[Gone], lost: Sequence[Loss]
) -> dict[Holder, Sent]:
    """Add the last images of rows that are gone, and acknowledgements whose rows may be."""
    result = dict(holders)
    for each in gone:
        sent = result.get(each.holder, Sent())
        rows = {**sent.rows, each.target: item_from_wire(each.image)}
        result[each.holder] = sent._replace(rows=rows)
    for loss in lost:
        sent, target = result.get(loss.holder, Sent()), keys.owner_of(loss.row.pk) or ""
        end = row_status(loss.end)
        if outranks(end["status"], sent.settled.get(target, OPEN)["status"]):
            result[loss.holder] = sent._replace(settled={**sent.settled, target: end})
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
            found[Holder(holder.signal)] = Sent()
            head = keys.audience(signal_uid(*holder.signal))
            for item in reads.query(tables.PIPELINE, head.pk, after=head.sk):
                if not missing.isdisjoint(item.get("targets", ())):
                    found[Holder(holder.signal, item["SK"])] = Sent()
            found.pop(holder, None)
    return found


def _put_back(
    gone: Sequence[Gone],
    known: Mapping[Holder, Statuses],
    reads: Reads,
    writes: Writes,
    clock: Clock,
) -> dict[Holder, Statuses]:
    """Put rows back that were deleted before they ended, or replaced by what is no row.

    Gives the statuses of the mirrors that this changed.
    """
    by_row = {Location(tables.SIGNALS, each.row): each for each in gone}
    homes = {each.target: Location(tables.STATE, keys.registration(each.target)) for each in gone}
    found = reads.get([*by_row, *dict.fromkeys(homes.values())])
    changes: list[Write] = []
    news: dict[Holder, Sent] = {}
    for place, each in by_row.items():
        image, row = item_from_wire(each.image), found.get(place)
        end = known.get(each.holder, {}).get(each.target, OPEN)
        if row is None and homes[each.target] not in found:
            # An agent that was removed with its rows acknowledges nothing any more.
            if row_status(image) == OPEN and end["status"] not in TERMINAL:
                settled = {**news.get(each.holder, Sent()).settled, each.target: _REMOVED}
                news[each.holder] = Sent(settled=settled)
            continue
        end = end if end["status"] in TERMINAL else row_status(image)
        if row is not None and not is_workers(row, each.holder.signal):
            # An agent put something in the place of a row: its word on the end counts.
            status = row.get("status")
            is_said = str(status) in ACKNOWLEDGED and outranks(status, end["status"])
            own = {name: image[name] for name in WORKER["inbox_row"] & image.keys()}
            values = {**own, **({"status": status} if is_said else end)}
            changes.append(if_unchanged(place, stamped(each.row, values), row))
            news.setdefault(each.holder, Sent())
        elif row is None and row_status(image)["status"] == "PENDING":
            # Some remove by hand what its time to live is about to remove.
            ttl = image.get("ttl")
            if isinstance(ttl, int) and ttl > clock():
                changes.append(Insert(tables.SIGNALS, {**image, **stamped(each.row, end)}))
    if not all(writes.apply(changes)):
        raise TryAgain("rows changed while they were put back")
    return mirror(news, reads=reads, writes=writes)


def _finish(
    rows: Mapping[Location, Holder],
    known: Mapping[Holder, Statuses],
    reads: Reads,
    writes: Writes,
    deadlines: Deadlines,
    clock: Clock,
) -> None:
    """Bring open rows to the end that their mirror says, or let them fall due again."""
    now = clock()
    ends: list[Update] = []
    late: list[Deadline] = []
    # Read again, after all that was mended: somebody may have said an end in between.
    for place, row in reads.get(list(rows)).items():
        if row.get("status") != "PENDING":
            continue
        holder, target = rows[place], keys.owner_of(place.key.pk) or ""
        held = known.get(holder, {}).get(target, OPEN)
        deadline = row.get("expires_at")
        if held["status"] in TERMINAL:
            ends.append(Update(place, stamped(place.key, held), equals=OPEN))
        elif isinstance(deadline, int) and deadline <= now:
            # Its time may have come while it stood at an end that was none.
            late.append(Deadline(holder, int(now), [target]))
    writes.apply(ends)
    deadlines.note(late, writes=writes, clock=clock)


def _refusal(move: Move) -> Refusal:
    after = "nothing" if move.after is None else str(*move.after.values())
    text = (
        f"status cannot go from {move.before} to {after:.40}; it was put back."
        " Set PROCESSED or FAILED once"
    )
    faults = [Fault("illegal_status", "status", text)]
    image = ascii_json({"status": after[:_MAX_TOLD]})
    return Refusal(tables.SIGNALS, move.row, move.event_id, faults, image)
