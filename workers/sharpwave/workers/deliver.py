"""Delivery: a row and a message for each target, then one mirror write for all of them.

The effect comes first and the mark second. A crash in between sends again, with the same delivery
id, and the inbox client absorbs it.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from sharpwave.schemas import keys, tables
from sharpwave.schemas.faults import Fault
from sharpwave.schemas.ids import signal_uid
from sharpwave.schemas.messages import expires_at, signal_body
from sharpwave.schemas.ownership import stamped
from sharpwave.schemas.records import Registration
from sharpwave.schemas.status import RANK
from sharpwave.schemas.times import DAY_S, Clock
from sharpwave.workers.audience import Audience, freeze, is_resolved, may_address
from sharpwave.workers.envelope import Duty, Entry, ascii_json, message
from sharpwave.workers.expiry import Deadlines, Handed, tell_of_expiry
from sharpwave.workers.mirror import Holder, Sent, Statuses, first_mirror, mirror
from sharpwave.workers.notices import Notices
from sharpwave.workers.outgoing import Outgoing
from sharpwave.workers.ports import (
    Change,
    Directory,
    Inboxes,
    Insert,
    Item,
    Location,
    Parking,
    Post,
    Reads,
    Refusal,
    WorkQueues,
    Write,
    Writes,
)
from sharpwave.workers.quota import Quotas

CHUNK_DUTY = Duty("deliver", "on_chunks", 1)
ROW_KEPT_S = 7 * DAY_S
_DENIALS = frozenset({"FAILED", "EXPIRED"})
_PENDING: dict[str, Any] = {"status": "PENDING"}
_DELIVERED: dict[str, Any] = {"status": "DELIVERED"}
_EXPIRED: dict[str, Any] = {"status": "EXPIRED", "reason": "expired_before_delivery"}


@dataclass(frozen=True, slots=True)
class Delivery:
    """The ports that delivery works through."""

    reads: Reads
    writes: Writes
    inboxes: Inboxes
    queues: WorkQueues
    directory: Directory
    parking: Parking
    quotas: Quotas
    clock: Clock
    notices: Notices
    table_name: str = tables.SIGNALS
    deadlines: Deadlines = field(default_factory=Deadlines)


class Signal(NamedTuple):
    """An admitted signal, the event that brought it, and the mirror that its writer wiped."""

    item: Item
    event_id: str
    held: Mapping[str, dict[str, Any]] = {}


@dataclass(slots=True)
class _Plan:
    """What is to be done for one signal, or one chunk of its audience."""

    signal: Item
    holder: Holder
    targets: list[str] = field(default_factory=list)
    denied: Statuses = field(default_factory=dict)
    held: Statuses = field(default_factory=dict)
    sent: set[str] = field(default_factory=set)
    repeated: bool = False

    @property
    def everyone(self) -> frozenset[str]:
        """Give the targets, and those that were denied."""
        return frozenset({*self.targets, *self.denied})

    @property
    def audience(self) -> frozenset[str]:
        """Give the whole audience; a mirror that is begun with less loses acknowledgements."""
        return self.everyone.union(self.held)

    def address(
        self,
        targets: Iterable[str],
        known: Mapping[str, Registration],
        *,
        now: float,
        within_quota: bool,
    ) -> None:
        """Sort an audience into those to send to and those that are denied, each with a reason."""
        expired = expires_at(self.signal) <= now
        for target in targets:
            if RANK[self.held.get(target, _PENDING)["status"]] >= RANK["DELIVERED"]:
                continue
            reason = _obstacle(self.signal, target, known) or (None if within_quota else "quota")
            if reason:
                self.denied[target] = {"status": "FAILED", "reason": reason}
            elif expired:
                self.denied[target] = _EXPIRED
            else:
                self.targets.append(target)


def deliver(signals: Sequence[Signal], ports: Delivery) -> int:
    """Deliver signals to their audiences; safe to repeat and to run concurrently.

    Returns:
        The number of messages sent.

    Raises:
        TryAgain: something did not answer; what was done is skipped at the next attempt.
    """
    admitted = _admitted(signals, ports)
    audiences = freeze(
        [signal.item for signal in admitted],
        directory=ports.directory,
        reads=ports.reads,
        writes=ports.writes,
    )
    known = ports.directory.find({name for audience in audiences for name in audience.targets})
    plans = []
    for signal, audience in zip(admitted, audiences, strict=True):
        within = ports.quotas.take(signal.item["source_agent"], directory=ports.directory)
        if audience.chunks:
            _send_chunks(signal.item, audience, ports, within_quota=within)
        else:
            plan = _Plan(signal.item, Holder(_key(signal.item)), held=dict(signal.held))
            plan.address(audience.targets, known, now=ports.clock(), within_quota=within)
            plans.append(plan)
    return _carry_out(plans, ports)


def deliver_chunk(
    signal: keys.Key, chunk: str, ports: Delivery, *, within_quota: bool = True
) -> int:
    """Deliver a signal to one chunk of its audience; safe to repeat."""
    holder = Holder(signal, chunk)
    place = Location(tables.SIGNALS, signal)
    found = ports.reads.get([place, holder.location])
    if holder.location not in found:
        return 0
    targets = found[holder.location]["targets"]
    if place not in found:
        gone = _Plan({**signal.item()}, holder, denied=dict.fromkeys(targets, _EXPIRED))
        return _carry_out([gone], ports)
    plan = _Plan(found[place], holder)
    known = ports.directory.find(targets)
    plan.address(targets, known, now=ports.clock(), within_quota=within_quota)
    return _carry_out([plan], ports)


def _admitted(signals: Sequence[Signal], ports: Delivery) -> list[Signal]:
    """Give the signals that may go to whom they address, each once; the others are parked."""
    distinct = {_key(signal.item): signal for signal in signals}.values()
    sources = {each.item["source_agent"] for each in distinct if is_resolved(each.item)}
    known = ports.directory.find(sources)
    faults = [(signal, may_address(signal.item, known)) for signal in distinct]
    refusals = [_refusal(signal, fault) for signal, fault in faults if fault]
    if refusals:
        ports.parking.park(refusals)
    return [signal for signal, fault in faults if not fault]


def _obstacle(signal: Item, target: str, known: Mapping[str, Registration]) -> str | None:
    registration = known.get(target)
    if registration is None:
        return "unknown_target"
    allowed = registration.accepts_from
    if allowed is not None and signal["source_agent"] not in allowed:
        return "not_accepted"
    return None


def _carry_out(plans: Sequence[_Plan], ports: Delivery) -> int:
    posts = _insert_rows(plans, ports)
    accepted = ports.inboxes.send([post for _, post in posts])
    for (plan, post), exists in zip(posts, accepted, strict=True):
        if exists:
            plan.sent.add(post.target)
        else:
            plan.denied[post.target] = {"status": "FAILED", "reason": "agent_removed"}
    marked = _mark(plans, ports)
    _settle_rows(marked, ports)
    _note_deadlines(marked, ports)
    _tell_of_expired(marked, ports)
    return sum(accepted)


def _note_deadlines(marked: Sequence[tuple[_Plan, Statuses]], ports: Delivery) -> None:
    """Note when deliveries fall due, those too that an attempt marked and died before this."""
    handed = [
        Handed(plan.holder, expires_at(plan.signal), targets)
        for plan, statuses in marked
        if (targets := [n for n in sorted(plan.everyone) if statuses.get(n) == _DELIVERED])
    ]
    ports.deadlines.note(handed, reads=ports.reads, writes=ports.writes, clock=ports.clock)


def _tell_of_expired(marked: Sequence[tuple[_Plan, Statuses]], ports: Delivery) -> None:
    """Tell the senders of what came too late to be sent."""
    expired = [
        (plan.holder, target)
        for plan, statuses in marked
        for target in plan.everyone
        if statuses.get(target) == _EXPIRED
    ]
    events = {holder.signal: holder.signal.sk for holder, _ in expired}
    tell_of_expiry(expired, events, ports.notices)


def _insert_rows(plans: Sequence[_Plan], ports: Delivery) -> list[tuple[_Plan, Post]]:
    """Write the rows, and give what is to be sent for them."""
    work = [(plan, target, *_row(plan, target, ports)) for plan in plans for target in plan.targets]
    if not work:
        return []
    rows = [row for _, _, row, _ in work]
    writes: list[Write] = [Insert(tables.SIGNALS, row) for row in rows]
    fresh = ports.writes.apply(writes)
    for (plan, *_), is_new in zip(work, fresh, strict=True):
        plan.repeated = plan.repeated or not is_new
    settled = _already_settled([plan for plan in plans if plan.repeated], ports)
    return [
        (plan, Post(target, body))
        for plan, target, _, body in work
        if target not in settled.get(plan.holder, ())
    ]


def _already_settled(plans: Sequence[_Plan], ports: Delivery) -> dict[Holder, set[str]]:
    """Find the targets that were sent to, or acknowledged, in an earlier attempt."""
    if not plans:
        return {}
    seen = {plan.holder: Sent(settled=plan.held, audience=plan.audience) for plan in plans}
    known = mirror(seen, reads=ports.reads, writes=ports.writes)
    return {holder: _beyond_pending(statuses) for holder, statuses in known.items()}


def _beyond_pending(statuses: Statuses) -> set[str]:
    return {
        target
        for target, entry in statuses.items()
        if RANK.get(entry["status"], 0) >= RANK["DELIVERED"]
    }


def _mark(plans: Sequence[_Plan], ports: Delivery) -> list[tuple[_Plan, Statuses]]:
    """Write the mirrors, and give the statuses that they hold now."""
    fresh = [plan for plan in plans if not plan.repeated]
    changes: list[Write] = [first_mirror(plan.holder, _first_statuses(plan)) for plan in fresh]
    done = ports.writes.apply(changes) if changes else []
    late = [plan for plan, ok in zip(fresh, done, strict=True) if not ok]
    late += [plan for plan in plans if plan.repeated]
    known: dict[Holder, Statuses] = {}
    if late:
        sent = {
            plan.holder: Sent(frozenset(plan.sent), plan.held, plan.denied, plan.audience)
            for plan in late
        }
        known = mirror(sent, reads=ports.reads, writes=ports.writes)
    return [(plan, known.get(plan.holder) or _first_statuses(plan)) for plan in plans]


def _first_statuses(plan: _Plan) -> Statuses:
    delivered = {target: {"status": "DELIVERED"} for target in sorted(plan.sent)}
    waiting = dict.fromkeys(sorted(plan.everyone), _PENDING)
    return {**waiting, **plan.held, **delivered, **plan.denied}


def _settle_rows(marked: Sequence[tuple[_Plan, Statuses]], ports: Delivery) -> None:
    """End the rows of targets that one attempt began with and another one denied."""
    ends: dict[Location, dict[str, Any]] = {}
    for plan, statuses in marked:
        key = _key(plan.signal)
        for target in plan.everyone:
            end = statuses.get(target, _PENDING)
            if end["status"] in _DENIALS and "processed_at" not in end:
                row = keys.inbox_row(target, key, signal_uid(*key))
                ends[Location(tables.SIGNALS, row)] = end
    found = ports.reads.get(list(ends)) if ends else {}
    changes: list[Write] = [
        Change(place, stamped(place.key, ends[place]), equals=_PENDING)
        for place, row in found.items()
        if row.get("status") == "PENDING"
    ]
    if changes:
        ports.writes.apply(changes)


def _row(plan: _Plan, target: str, ports: Delivery) -> tuple[Item, str]:
    signal, key = plan.signal, _key(plan.signal)
    uid = signal_uid(*key)
    body, omitted = signal_body(signal, target, ports.table_name)
    deadline = expires_at(signal)
    row: Item = {
        **keys.inbox_row(target, key, uid).item(),
        "signal_pk": key.pk,
        "signal_sk": key.sk,
        "signal_id": signal["signal_id"],
        "signal_type": signal["signal_type"],
        "source_agent": signal["source_agent"],
        "timestamp": signal["timestamp"],
        "status": "PENDING",
        "expires_at": deadline,
        "ttl": deadline + ROW_KEPT_S,
    }
    if plan.holder.chunk is not None:
        row["chunk"] = plan.holder.chunk
    if omitted:
        row |= {"omitted": list(omitted), **{name: signal[name] for name in omitted}}
    return row, body


def _send_chunks(signal: Item, audience: Audience, ports: Delivery, *, within_quota: bool) -> None:
    more = {} if within_quota else {"over_quota": True}
    ports.queues.send(
        [
            _chunk_message({"key": list(_key(signal)), "chunk": chunk, **more}, ports.clock)
            for chunk in audience.chunks
        ]
    )
    summary = {"audience_chunks": len(audience.chunks)}
    place = Location(tables.SIGNALS, _key(signal))
    ports.writes.apply([Change(place, summary, missing=("audience_chunks",))])


def _chunk_message(content: Mapping[str, Any], clock: Clock) -> Outgoing:
    body = message(CHUNK_DUTY, [Entry(ascii_json(content), "")], moment_ms=int(clock() * 1000))
    return Outgoing("deliver", body, ())


def _key(signal: Item) -> keys.Key:
    return keys.Key(signal["PK"], signal["SK"])


def _refusal(signal: Signal, fault: Fault) -> Refusal:
    item = signal.item
    image = ascii_json({name: str(value)[:2000] for name, value in item.items()})
    key = _key(item)
    return Refusal(tables.SIGNALS, key, signal.event_id, [fault], image)
