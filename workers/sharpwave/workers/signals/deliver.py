"""Delivery: a row and a message for each target, then one mirror write for all of them.

The effect comes first and the mark second. A crash in between sends again, with the same delivery
id, and the inbox client absorbs it.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from sharpwave.schemas import keys, tables
from sharpwave.schemas.faults import Fault
from sharpwave.schemas.ids import signal_uid
from sharpwave.schemas.messages import expires_at, signal_body
from sharpwave.schemas.ownership import stamped
from sharpwave.schemas.records import Registration
from sharpwave.schemas.status import RANK, TERMINAL
from sharpwave.schemas.times import DAY_S, Clock
from sharpwave.workers.ports import (
    Directory,
    Fate,
    Inboxes,
    InboxMessage,
    Insert,
    Item,
    Location,
    Parking,
    Reads,
    Refusal,
    TryAgain,
    Unfinished,
    Update,
    WorkQueues,
    Write,
    Writes,
)
from sharpwave.workers.signals.audience import (
    Audience,
    Late,
    Signal,
    admitted,
    as_decided,
    freeze,
    head_of,
    is_resolved,
    key_of,
    late_chunk,
    may_address,
    members,
)
from sharpwave.workers.signals.expiry import Deadlines, Handed, telling
from sharpwave.workers.signals.mirror import (
    Holder,
    Sent,
    Statuses,
    first_mirror,
    is_workers,
    mirror,
    row_status,
)
from sharpwave.workers.signals.quota import Quotas, is_granted
from sharpwave.workers.work.envelope import Duty, Entry, ascii_json, message, pack
from sharpwave.workers.work.outgoing import WorkMessage

CHUNK_DUTY = Duty("deliver", "on_chunks", 1)
LATE_DUTY = Duty("deliver", "on_late_joiners", 20)
ROW_KEPT_S = 7 * DAY_S
_PENDING: dict[str, Any] = {"status": "PENDING"}
_DELIVERED: dict[str, Any] = {"status": "DELIVERED"}
_EXPIRED: dict[str, Any] = {"status": "EXPIRED", "reason": "expired_before_delivery"}


@dataclass(frozen=True, slots=True)
class Delivery:
    """The ports that delivery works through; `marks` may take its time to gather writes."""

    reads: Reads
    writes: Writes
    marks: Writes
    inboxes: Inboxes
    queues: WorkQueues
    directory: Directory
    parking: Parking
    quotas: Quotas
    clock: Clock
    table_name: str = tables.SIGNALS
    deadlines: Deadlines = field(default_factory=Deadlines)


@dataclass(slots=True)
class _Plan:
    """What is to be done for one signal, or one chunk of its audience.

    Attributes:
        signal: the signal as it was admitted.
        holder: where the mirror is.
        audience: all targets; of those that `held` leaves open each comes to be among `targets`
            or `denied`.
        within_quota: what the quota of the source said.
        held: statuses that the signal's writer wiped, and ends that rows were found at.
        targets: those to deliver to.
        denied: ends of those that get nothing.
        is_late: the deadline has passed.
        found: targets whose row was there already, so that this is not the first attempt.
        sent: targets whose queue accepted the message.
        failed: targets that are to be tried again.
    """

    signal: Item
    holder: Holder
    audience: Sequence[str]
    within_quota: bool = True
    held: Statuses = field(default_factory=dict)
    targets: list[str] = field(default_factory=list)
    denied: Statuses = field(default_factory=dict)
    is_late: bool = False
    found: set[str] = field(default_factory=set)
    sent: set[str] = field(default_factory=set)
    failed: set[str] = field(default_factory=set)

    def row_of(self, target: str) -> Location:
        """Say where a target's row is."""
        key = self.holder.signal
        return Location(tables.SIGNALS, keys.inbox_row(target, key, signal_uid(*key)))


def deliver(signals: Sequence[Signal], ports: Delivery) -> int:
    """Deliver signals to their audiences; safe to repeat and to run concurrently.

    Returns:
        The number of messages sent.

    Raises:
        Unfinished: some inboxes did not take their messages, or their notices; all else is done.
        TryAgain: something did not answer; what was done is skipped at the next attempt.
    """
    allowed, unheard = _admitted(as_decided(signals, reads=ports.reads), ports)
    items = [signal.item for signal in allowed]
    # Before the freeze: who finds an audience frozen finds the verdict on its signal too.
    within = ports.quotas.admit(items, directory=ports.directory)
    audiences = freeze(allowed, directory=ports.directory, reads=ports.reads, writes=ports.writes)
    plans = []
    for signal, audience, granted in zip(allowed, audiences, within, strict=True):
        if audience.chunks:
            _send_chunks(audience, ports)
        else:
            holder, held = Holder(key_of(signal.item)), dict(signal.held)
            plans.append(_Plan(audience.signal, holder, audience.targets, granted, held))
    sent = _carry_out(plans, ports)
    _conclude(plans, unheard)
    return sent


def deliver_chunk(signal: keys.Key, chunk: str, ports: Delivery) -> int:
    """Deliver a signal, as it was admitted, to one chunk of its audience; safe to repeat.

    Raises:
        Unfinished: some inboxes did not take their messages; all else is done.
        TryAgain: something did not answer.
    """
    holder, head = Holder(signal, chunk), head_of(signal)
    verdict = Location(tables.PIPELINE, keys.quota_verdict(signal_uid(*signal)))
    found = ports.reads.get([holder.location, head, verdict])
    if not found.keys() >= {holder.location, head}:
        return 0  # kept for days past the deadline, then removed
    targets, granted = found[holder.location]["targets"], is_granted(found.get(verdict))
    plan = _Plan(admitted(found[head]), holder, targets, granted)
    sent = _carry_out([plan], ports)
    _conclude([plan])
    return sent


def deliver_late(late: Sequence[Late], ports: Delivery) -> int:
    """Deliver one signal to agents that registered in time, unless its audience has them anyway.

    A whole fleet may be looked at for one signal, when its registrations are fed again.

    Raises:
        Unfinished: some inboxes did not take the message; all else is done.
        TryAgain: the audience is not frozen yet, or something did not answer.
    """
    signal = late[0].signal
    head = head_of(signal)
    stored = {item["SK"]: item for item in ports.reads.query(head.table, head.key.pk)}
    targets = members(stored.values())
    if targets is None:
        raise TryAgain(f"the audience of {signal} is not frozen yet")
    chunks: dict[str, Insert] = {}
    for each in late:
        chunk = late_chunk(stored[head.key.sk], each.agent_id)
        # A head without that moment is an older release's, which let every such message deliver.
        came_after = each.registered_at > stored[head.key.sk].get("stored_at", each.registered_at)
        name = chunk.location.key.sk
        if name in stored or not (came_after or each.agent_id in targets):
            chunks[name] = chunk
    if chunks:
        ports.writes.apply([*chunks.values()])
    sent, unfinished = 0, None
    for name in chunks:
        try:
            sent += deliver_chunk(signal, name, ports)
        except Unfinished as error:
            unfinished = error
    if unfinished is not None:
        raise unfinished
    return sent


def late_messages(late: Iterable[Late], *, clock: Clock) -> list[WorkMessage]:
    """Give the work that `deliver_late` does, each agent and signal once, by signal."""
    entries = [
        Entry(ascii_json({"key": key, "agent": agent_id, "registered_at": registered_at}), "")
        for key, agent_id, registered_at in sorted(set(late))
    ]
    return list(pack(LATE_DUTY, entries, moment_ms=int(clock() * 1000)))


def _admitted(
    signals: Sequence[Signal], ports: Delivery
) -> tuple[list[Signal], frozenset[keys.Key]]:
    """Give the signals that may go to whom they address, each once; the others are parked.

    Returns:
        The signals, and the keys of those parked whose owners could not be told.
    """
    distinct = {key_of(signal.item): signal for signal in signals}
    sources = {each.item["source_agent"] for each in signals if is_resolved(each.item)}
    known = ports.directory.find(sources)
    doubtful = [key for key, each in distinct.items() if may_address(each.item, known)]
    if not doubtful:
        return [*distinct.values()], frozenset()
    # A refusal is for good, so it does not rest on a registration that was read some time ago; and
    # what an earlier attempt let pass may be in inboxes by now.
    known = ports.directory.confirm({distinct[key].item["source_agent"] for key in doubtful})
    frozen = ports.reads.get([head_of(key) for key in doubtful])
    refusals: dict[keys.Key, Refusal] = {}
    for key in doubtful:
        fault = may_address(distinct[key].item, known)
        if fault is not None and head_of(key) not in frozen:
            refusals[key] = _refusal(distinct[key], fault)
    unheard: frozenset[keys.Key] = frozenset()
    if refusals:
        try:
            ports.parking.park([*refusals.values()])
        except Unfinished as error:
            unheard = error.keys
    return [each for key, each in distinct.items() if key not in refusals], unheard


def _address(plans: Sequence[_Plan], ports: Delivery) -> None:
    """Sort audiences into those to deliver to and those that are denied, each with a reason.

    A denial is for good, so none rests on a registration that was read some time ago.
    """
    now = ports.clock()
    known = ports.directory.find({name for plan in plans for name in plan.audience})
    doubtful = {
        target for plan in plans for target in plan.audience if _obstacle(plan, target, known)
    }
    confirmed = ports.directory.confirm(doubtful) if doubtful else {}
    known = {name: each for name, each in known.items() if name not in doubtful} | confirmed
    absent = _absent(doubtful - confirmed.keys(), ports)
    for plan in plans:
        plan.is_late = expires_at(plan.signal) <= now
    marked = _marked([plan for plan in plans if plan.is_late], ports)
    for plan in plans:
        # A row that is missing by now was deleted, if the mirror says that it was delivered.
        plan.held = {**marked.get(plan.holder, {}), **plan.held}
        for target in plan.audience:
            if RANK[plan.held.get(target, _PENDING)["status"]] >= RANK["DELIVERED"]:
                continue
            reason = absent.get(target) or _obstacle(plan, target, known)
            if reason:
                plan.denied[target] = {"status": "FAILED", "reason": reason}
            else:
                plan.targets.append(target)


def _marked(plans: Sequence[_Plan], ports: Delivery) -> dict[Holder, Statuses]:
    """Give what mirrors say of targets that were delivered to, or came to an end."""
    if not plans:
        return {}
    seen = {plan.holder: Sent(audience=frozenset(plan.audience)) for plan in plans}
    known = mirror(seen, reads=ports.reads, writes=ports.writes)
    return {
        holder: {name: statuses[name] for name in _beyond_pending(statuses)}
        for holder, statuses in known.items()
    }


def _obstacle(plan: _Plan, target: str, known: Mapping[str, Registration]) -> str | None:
    registration = known.get(target)
    if registration is None:
        return "unknown_target"
    allowed = registration.accepts_from
    if allowed is not None and plan.signal["source_agent"] not in allowed:
        return "not_accepted"
    return None if plan.within_quota else "quota"


def _absent(agent_ids: set[str], ports: Delivery) -> dict[str, str]:
    """Say why agents that are certainly not registered get nothing."""
    removed = ports.directory.ever_registered(agent_ids) if agent_ids else set()
    return {name: "agent_removed" if name in removed else "unknown_target" for name in agent_ids}


def _carry_out(plans: Sequence[_Plan], ports: Delivery) -> int:
    if plans:
        _address(plans, ports)
    _send(_insert_rows(plans, ports), ports)
    marked = _mark(plans, ports)
    _settle_rows(marked, ports)
    _tell_of_expired(marked, ports)
    return sum(len(plan.sent) for plan in plans)


def _conclude(plans: Sequence[_Plan], unheard: frozenset[keys.Key] = frozenset()) -> None:
    """Ask for another attempt at what inboxes did not take, once all else is marked."""
    failed = {plan.holder.signal for plan in plans if plan.failed}
    if failed or unheard:
        names = sorted({name for plan in plans for name in plan.failed})
        raise Unfinished(failed | unheard, f"inboxes took no message: {', '.join(names)}")


def _insert_rows(plans: Sequence[_Plan], ports: Delivery) -> list[tuple[_Plan, InboxMessage]]:
    """Write the rows, and give what is to be sent for them.

    Attempts agree by the row. Past the deadline, one that finds no row ends the delivery by
    writing it as expired, so that an attempt which began in time sends nothing after all; one
    that finds an open row sends, for nobody knows whether its message went out.
    """
    work = [(plan, target, *_row(plan, target, ports)) for plan in plans for target in plan.targets]
    if not work:
        return []
    inserts: list[Write] = [Insert(tables.SIGNALS, row) for _, _, row, _ in work]
    fresh = ports.writes.apply(inserts)
    for (plan, target, *_), is_new in zip(work, fresh, strict=True):
        if not is_new:
            plan.found.add(target)
        elif plan.is_late:
            plan.denied[target] = _EXPIRED
    settled = _settled([plan for plan in plans if plan.found], ports)
    return [
        (plan, InboxMessage(target, body))
        for plan, target, _, body in work
        if target not in plan.denied
        and target not in plan.failed
        and target not in settled.get(plan.holder, ())
    ]


def _settled(plans: Sequence[_Plan], ports: Delivery) -> dict[Holder, set[str]]:
    """Find the targets that were sent to, or acknowledged, in an earlier attempt."""
    if not plans:
        return {}
    seen = {
        plan.holder: Sent(settled=plan.held, audience=frozenset(plan.audience)) for plan in plans
    }
    known = mirror(seen, reads=ports.reads, writes=ports.writes)
    rows = ports.reads.get([plan.row_of(target) for plan in plans for target in plan.found])
    settled: dict[Holder, set[str]] = {}
    foreign: list[tuple[_Plan, str, Update]] = []
    for plan in plans:
        settled[plan.holder] = done = _beyond_pending(known.get(plan.holder, {}))
        for target in sorted(plan.found - done):
            row = rows.get(plan.row_of(target), {})
            if row and not is_workers(row, plan.holder.signal):
                foreign.append((plan, target, _take_over(row, plan, target, ports)))
            elif row.get("status") in TERMINAL or "sent_at" in row:
                done.add(target)
                end = row_status(row)
                if end["status"] in TERMINAL:
                    # A signal that its time to live removed has no mirror that would tell.
                    plan.held[target] = end
    taken = ports.writes.apply([change for *_, change in foreign]) if foreign else []
    for (plan, target, _), ok in zip(foreign, taken, strict=True):
        if not ok:
            plan.failed.add(target)  # it changed just now; the next attempt looks again
    return settled


def _take_over(found: Item, plan: _Plan, target: str, ports: Delivery) -> Update:
    """Make a row of ours of what an agent put where it was to be."""
    row, _ = _row(plan, target, ports)
    values = {name: value for name, value in row.items() if name not in ("PK", "SK")}
    named: Item = {name: found[name] for name in ("signal_pk", "signal_sk") if name in found}
    return Update(
        plan.row_of(target),
        stamped(plan.row_of(target).key, {**values, **_PENDING}),
        equals=named,
        missing=tuple({"signal_pk", "signal_sk"} - named.keys()),
        remove=tuple(sorted(found.keys() - row.keys() - {"worker_rev"})),
    )


def _beyond_pending(statuses: Statuses) -> set[str]:
    return {
        target
        for target, entry in statuses.items()
        if RANK.get(entry["status"], 0) >= RANK["DELIVERED"]
    }


def _send(posts: Sequence[tuple[_Plan, InboxMessage]], ports: Delivery) -> None:
    """Send messages, and note in their plans what became of each."""
    fates = ports.inboxes.send([post for _, post in posts]) if posts else []
    gone = {post.target for (_, post), fate in zip(posts, fates, strict=True) if fate is Fate.GONE}
    # A queue may be said not to exist within seconds of its making, or for want of a permission:
    # only a registration that is gone says that the agent was removed.
    absent = _absent(gone - ports.directory.confirm(gone).keys(), ports) if gone else {}
    for (plan, post), fate in zip(posts, fates, strict=True):
        if fate is Fate.SENT:
            plan.sent.add(post.target)
        elif post.target in absent:
            plan.denied[post.target] = {"status": "FAILED", "reason": absent[post.target]}
        else:
            plan.failed.add(post.target)


def _mark(plans: Sequence[_Plan], ports: Delivery) -> list[tuple[_Plan, Statuses]]:
    """Write the mirrors, note deadlines, and give the statuses that the mirrors hold now.

    What was sent and never marked may be noted: at its deadline it waits, for its message comes
    again and marks it.
    """
    fresh = [plan for plan in plans if not plan.found]
    begun = [(plan, _first_statuses(plan)) for plan in fresh]
    first: list[Write] = [first_mirror(plan.holder, statuses) for plan, statuses in begun]
    done = _note_deadlines(begun, ports, first)
    marked = [each for each, ok in zip(begun, done, strict=True) if ok]
    late = [plan for plan, ok in zip(fresh, done, strict=True) if not ok]
    late += [plan for plan in plans if plan.found]
    if not late:
        return marked
    sent = {
        plan.holder: Sent(frozenset(plan.sent), plan.held, plan.denied, frozenset(plan.audience))
        for plan in late
    }
    known = mirror(sent, reads=ports.reads, writes=ports.writes)
    _mark_rows([plan for plan in late if plan.holder not in known], ports)
    # Those too that another attempt marked and died before it noted them.
    merged = [(plan, known.get(plan.holder) or _first_statuses(plan)) for plan in late]
    _note_deadlines(merged, ports)
    return [*marked, *merged]


def _mark_rows(plans: Sequence[_Plan], ports: Delivery) -> None:
    """Say in the rows who was sent to, where no item is left that could hold a mirror.

    Another attempt, for a target that failed, would else send to everybody again.
    """
    moment = {"sent_at": int(ports.clock())}
    changes: list[Write] = [
        Update(place, stamped(place.key, moment, status="PENDING"), equals=_PENDING)
        for plan in plans
        for place in map(plan.row_of, sorted(plan.sent))
    ]
    if changes:
        ports.writes.apply(changes)


def _first_statuses(plan: _Plan) -> Statuses:
    # All of the audience: what a mirror does not name never reaches it.
    open_ones = dict.fromkeys(plan.audience, _PENDING)
    delivered = dict.fromkeys(sorted(plan.sent), _DELIVERED)
    return {**open_ones, **plan.held, **delivered, **plan.denied}


def _settle_rows(marked: Sequence[tuple[_Plan, Statuses]], ports: Delivery) -> None:
    """End the rows that an attempt opened although their deliveries had ended.

    One attempt begins with a target that another one denies, or finds no row because its agent
    acknowledged and then deleted it.
    """
    ends: dict[Location, dict[str, Any]] = {}
    for plan, statuses in marked:
        for target in plan.audience:
            end = statuses.get(target, _PENDING)
            if end["status"] in TERMINAL:
                ends[plan.row_of(target)] = end
    found = ports.reads.get(list(ends)) if ends else {}
    changes: list[Write] = [
        Update(place, stamped(place.key, ends[place]), equals=_PENDING)
        for place, row in found.items()
        if row.get("status") == "PENDING"
    ]
    if changes:
        ports.writes.apply(changes)


def _note_deadlines(
    marked: Sequence[tuple[_Plan, Statuses]], ports: Delivery, beside: Sequence[Write] = ()
) -> list[bool]:
    """Note when deliveries fall due, and do other writes in the same call."""
    handed = [
        Handed(plan.holder, expires_at(plan.signal), targets)
        for plan, statuses in marked
        if (targets := [name for name in plan.audience if statuses.get(name) == _DELIVERED])
    ]
    return ports.deadlines.note(handed, writes=ports.marks, clock=ports.clock, beside=beside)


def _tell_of_expired(marked: Sequence[tuple[_Plan, Statuses]], ports: Delivery) -> None:
    """Have the senders told of what came too late to be sent."""
    expired = [
        (plan.holder, target)
        for plan, statuses in marked
        for target in plan.audience
        if statuses.get(target) == _EXPIRED
    ]
    # Of a signal's chunks the first one tells. The others must not take its claim for that of an
    # attempt of their own that died, for it may be telling just now.
    events = {
        holder.signal: "|".join([*holder.signal, holder.chunk or ""]) for holder, _ in expired
    }
    if expired:
        ports.queues.send(telling(expired, events, clock=ports.clock))


def _row(plan: _Plan, target: str, ports: Delivery) -> tuple[Item, str]:
    signal, key = plan.signal, plan.holder.signal
    body, omitted = signal_body(signal, target, ports.table_name)
    deadline = expires_at(signal)
    place = plan.row_of(target).key
    row: Item = {
        **place.item(),
        "signal_pk": key.pk,
        "signal_sk": key.sk,
        "signal_id": signal["signal_id"],
        "signal_type": signal["signal_type"],
        "source_agent": signal["source_agent"],
        "timestamp": signal["timestamp"],
        **(stamped(place, _EXPIRED) if plan.is_late else _PENDING),
        "expires_at": deadline,
        "ttl": deadline + ROW_KEPT_S,
    }
    if plan.holder.chunk is not None:
        row["chunk"] = plan.holder.chunk
    if omitted:
        row |= {"omitted": list(omitted), **{name: signal[name] for name in omitted}}
    return row, body


def _send_chunks(audience: Audience, ports: Delivery) -> None:
    key, now_ms = key_of(audience.signal), int(ports.clock() * 1000)
    texts = [ascii_json({"key": key, "chunk": chunk}) for chunk in audience.chunks]
    ports.queues.send(
        [
            WorkMessage("deliver", message(CHUNK_DUTY, [Entry(text, "")], moment_ms=now_ms), ())
            for text in texts
        ]
    )
    summary = {"audience_chunks": len(audience.chunks)}
    place = Location(tables.SIGNALS, key)
    ports.writes.apply([Update(place, summary, missing=("audience_chunks",))])


def _refusal(signal: Signal, fault: Fault) -> Refusal:
    item = signal.item
    image = ascii_json({name: str(value)[:2000] for name, value in item.items()})
    key = key_of(item)
    return Refusal(tables.SIGNALS, key, signal.event_id, [fault], image)
