"""Delivery: a row and a message for each target, then one mirror write for all of them.

The effect comes first and the mark second. A crash in between sends again, with the same delivery
id, and the inbox client absorbs it.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from sharpwave.schemas import keys, tables
from sharpwave.schemas.faults import Fault
from sharpwave.schemas.ids import SUBSCRIBERS, SYSTEM, signal_uid
from sharpwave.schemas.messages import URGENT, SignalBody, expires_at, is_answer, is_urgent
from sharpwave.schemas.ownership import stamped
from sharpwave.schemas.records import Registration
from sharpwave.schemas.status import RANK, TERMINAL
from sharpwave.schemas.times import Clock
from sharpwave.workers.patterns.telling import is_told
from sharpwave.workers.signals.audience import (
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
from sharpwave.workers.signals.bounces import bounced
from sharpwave.workers.signals.expiry import Deadline, Deadlines, telling
from sharpwave.workers.signals.mirror import (
    DELIVERED,
    KEPT_S,
    OPEN,
    UNSENT,
    Holder,
    Sent,
    Statuses,
    first_mirror,
    is_workers,
    mirror,
)
from sharpwave.workers.signals.quota import Quotas, is_granted
from sharpwave.workers.work.envelope import Duty, Entry, ascii_json, pack
from sharpwave.workers.work.outgoing import WorkMessage
from sharpwave.workers.work.ports import (
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

CHUNK_DUTY = Duty("deliver", "on_chunks", 1)
LATE_DUTY = Duty("deliver", "on_late_joiners", 20)


@dataclass(slots=True)
class _Plan:
    """What is to be done for one signal, or one chunk of its audience.

    Attributes:
        signal: the signal as it was admitted.
        holder: where the mirror is.
        audience: all targets; of those that `held` leaves open each comes to be among `targets`
            or `denied`, or both.
        within_quota: what the quota of the source said.
        held: statuses that the signal's writer wiped, or that its mirror holds past the deadline.
        targets: those whose row decides: who is denied by a registration, too.
        denied: ends of those that get nothing.
        is_late: the deadline has passed.
        found: targets whose row was there already, so that this is not the first attempt.
        sent: targets whose queue accepted the message.
        sent_ms: when that was, in epoch milliseconds.
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
    sent_ms: int = 0
    failed: set[str] = field(default_factory=set)

    def first_statuses(self) -> Statuses:
        """Give what the mirror is begun with if nobody has touched it."""
        # All of the audience: what a mirror does not name never reaches it.
        open_ones = dict.fromkeys(self.audience, OPEN)
        delivered = dict.fromkeys(sorted(self.sent), DELIVERED)
        return {**open_ones, **self.held, **delivered, **self.denied}


@dataclass(frozen=True, slots=True, kw_only=True)
class Courier:
    """Delivers signals, and ends what cannot be delivered; `marks` may wait to gather writes.

    `urgent` are the severities whose signals overtake a target's backlog.
    """

    reads: Reads
    writes: Writes
    marks: Writes
    inboxes: Inboxes
    queues: WorkQueues
    directory: Directory
    parking: Parking
    quotas: Quotas
    deadlines: Deadlines
    clock: Clock
    table_name: str = tables.SIGNALS
    urgent: frozenset[str] = URGENT

    def deliver(self, signals: Sequence[Signal]) -> int:
        """Deliver signals to their audiences; safe to repeat and to run concurrently.

        Returns:
            The number of messages sent.

        Raises:
            Unfinished: some inboxes did not take their messages, or their notices; all else is
                done.
            TryAgain: something did not answer; what was done is skipped at the next attempt.
        """
        allowed, unheard = self._admitted(as_decided(signals, reads=self.reads))
        # Before the freeze: who finds an audience frozen finds the verdict on its signal too.
        within = self.quotas.admit([each.item for each in allowed], directory=self.directory)
        audiences = freeze(allowed, directory=self.directory, reads=self.reads, writes=self.writes)
        plans = []
        for signal, audience, granted in zip(allowed, audiences, within, strict=True):
            if audience.chunks:
                place = Location(tables.SIGNALS, key_of(signal.item))
                texts = [ascii_json({"key": place.key, "chunk": each}) for each in audience.chunks]
                work = [Entry(text, "") for text in texts]
                self.queues.send([*pack(CHUNK_DUTY, work, moment_ms=int(self.clock() * 1000))])
                summary = {"audience_chunks": len(texts)}
                self.writes.apply([Update(place, summary, missing=("audience_chunks",))])
            else:
                holder, held = Holder(key_of(signal.item)), dict(signal.held)
                plans.append(_Plan(audience.signal, holder, audience.targets, granted, held))
        return self._carry_out(plans, unheard)

    def deliver_chunk(self, signal: keys.Key, chunk: str) -> int:
        """Deliver a signal, as it was admitted, to one chunk of its audience; safe to repeat.

        Raises:
            Unfinished: some inboxes did not take their messages; all else is done.
            TryAgain: something did not answer.
        """
        holder, head = Holder(signal, chunk), head_of(signal)
        verdict = Location(tables.PIPELINE, keys.quota_verdict(signal_uid(*signal)))
        found = self.reads.get([holder.location, head, verdict])
        if not found.keys() >= {holder.location, head}:
            return 0  # kept for days past the deadline, then removed
        targets, granted = found[holder.location]["targets"], is_granted(found.get(verdict))
        return self._carry_out([_Plan(admitted(found[head]), holder, targets, granted)])

    def deliver_late(self, late: Sequence[Late]) -> int:
        """Deliver one signal to agents that registered in time, unless its audience has them.

        A whole fleet may be looked at for one signal, when its registrations are fed again.

        Raises:
            Unfinished: some inboxes did not take the message; all else is done.
            TryAgain: the audience is not frozen yet, or something did not answer.
        """
        signal = late[0].signal
        head = head_of(signal)
        stored = {item["SK"]: item for item in self.reads.query(head.table, head.key.pk)}
        targets = members(stored.values())
        if targets is None:
            # Its freeze may have read the names before these were on the list, and be about to
            # store what it read: only what is stored says who was missed.
            raise TryAgain(f"the audience of {signal} is not frozen yet")
        # One that subscribed to its type in time may filter it out.
        signal_then = admitted(stored[head.key.sk])
        known = (
            self.directory.confirm({each.agent_id for each in late})
            if signal_then["target_agents"] == [SUBSCRIBERS]
            else {}
        )
        chunks: dict[str, Insert] = {}
        for each in late:
            if each.agent_id in known and not known[each.agent_id].wants(signal_then):
                continue
            chunk = late_chunk(stored[head.key.sk], each.agent_id)
            # A head without that moment is an older release's, which let every such message
            # deliver.
            stored_at = stored[head.key.sk].get("stored_at", each.registered_at)
            came_after = each.registered_at > stored_at
            name = chunk.location.key.sk
            # A chunk of its own that is stored is one that an attempt did not finish, perhaps.
            if name in stored or not (came_after or each.agent_id in targets):
                chunks[name] = chunk
        self.writes.apply([*chunks.values()])
        sent, unfinished = 0, None
        for name in chunks:
            try:
                sent += self.deliver_chunk(signal, name)
            except Unfinished as error:
                unfinished = error
        if unfinished is not None:
            raise unfinished
        return sent

    def _admitted(self, signals: Sequence[Signal]) -> tuple[list[Signal], frozenset[keys.Key]]:
        """Give the signals that may go to whom they address, each once; the others are parked.

        Returns:
            The signals, and the keys of those parked whose owners could not be told.
        """
        distinct = {key_of(signal.item): signal for signal in signals}
        sources = {each.item["source_agent"] for each in signals if is_resolved(each.item)}
        known = self.directory.find(sources)
        doubtful = [key for key, each in distinct.items() if self._objection(each.item, known)]
        if not doubtful:
            return [*distinct.values()], frozenset()
        # A refusal is for good, so it does not rest on a registration that was read some time ago;
        # and what an earlier attempt let pass may be in inboxes by now.
        known = self.directory.confirm({distinct[key].item["source_agent"] for key in doubtful})
        frozen = self.reads.get([head_of(key) for key in doubtful])
        refusals: dict[keys.Key, Refusal] = {}
        for key in doubtful:
            signal = distinct[key]
            fault = self._objection(signal.item, known)
            if fault is not None and head_of(key) not in frozen:
                image = ascii_json({name: str(value)[:2000] for name, value in signal.item.items()})
                refusals[key] = Refusal(tables.SIGNALS, key, signal.event_id, [fault], image)
        unheard: frozenset[keys.Key] = frozenset()
        if refusals:
            try:
                self.parking.park([*refusals.values()])
            except Unfinished as error:
                # Raised at the end: the neighbours of a refused signal are delivered first.
                unheard = error.keys
        return [each for key, each in distinct.items() if key not in refusals], unheard

    def _objection(self, signal: Item, known: Mapping[str, Registration]) -> Fault | None:
        """Say why a source may not send a signal to whom it addresses, or in whose name it does."""
        if signal["source_agent"] == SYSTEM and not is_told(signal, self.reads):
            text = f"{SYSTEM} sent no such signal; sign with your own agent_id"
            return Fault("foreign_source", "source_agent", text)
        return may_address(signal, known)

    def _carry_out(self, plans: Sequence[_Plan], unheard: frozenset[keys.Key] = frozenset()) -> int:
        """Do all that can be done for some plans, then ask for another attempt at the rest."""
        if plans:
            self._address(plans)
        # Rows before messages: a message names its row, which its agent acknowledges on at once.
        # The mark after the messages: what is marked is never sent again.
        self._send(self._insert_rows(plans))
        marked = self._mark(plans)
        self._settle_rows(marked)
        # Senders are told of what came too late to be sent.
        expired = [
            (plan.holder, target)
            for plan, statuses in marked
            for target in plan.audience
            if statuses.get(target) == UNSENT
        ]
        # Of a signal's chunks the first one tells. The others must not take its claim for that of
        # an attempt of their own that died, for it may be telling just now.
        events = {
            holder.signal: "|".join([*holder.signal, holder.chunk or ""]) for holder, _ in expired
        }
        self.queues.send(telling(expired, events, clock=self.clock))
        ends = [(plan.holder, statuses) for plan, statuses in marked]
        self.queues.send(bounced(ends, clock=self.clock))
        failed = {plan.holder.signal for plan in plans if plan.failed}
        if failed or unheard:
            names = sorted({name for plan in plans for name in plan.failed})
            raise Unfinished(failed | unheard, f"inboxes took no message: {', '.join(names)}")
        return sum(len(plan.sent) for plan in plans)

    def _address(self, plans: Sequence[_Plan]) -> None:
        """Sort audiences into those to deliver to and those that are denied, each with a reason."""
        now = self.clock()
        known = self.directory.find({name for plan in plans for name in plan.audience})
        # A denial is for good, so none rests on a registration that was read some time ago: an
        # agent may have registered, or let the source in, a moment before the signal was stored.
        doubtful = {
            target for plan in plans for target in plan.audience if _obstacle(plan, target, known)
        }
        confirmed = self.directory.confirm(doubtful) if doubtful else {}
        known = {name: each for name, each in known.items() if name not in doubtful} | confirmed
        gone = doubtful - confirmed.keys()
        removed = self.directory.ever_registered(gone) if gone else set()
        absent = {name: "agent_removed" if name in removed else "unknown_target" for name in gone}
        for plan in plans:
            plan.is_late = expires_at(plan.signal) <= now
        marked = self._marked([plan for plan in plans if plan.is_late])
        for plan in plans:
            # A row that is missing by now was deleted, if the mirror says that it was delivered.
            plan.held = {**marked.get(plan.holder, {}), **plan.held}
            for target in plan.audience:
                if RANK[plan.held.get(target, OPEN)["status"]] >= RANK["DELIVERED"]:
                    continue
                reason = absent.get(target) or _obstacle(plan, target, known)
                if reason:
                    plan.denied[target] = {"status": "FAILED", "reason": reason}
                # The verdict on a quota is stored with the signal, and so costs no rows.
                if reason != "quota":
                    plan.targets.append(target)

    def _marked(self, plans: Sequence[_Plan]) -> dict[Holder, Statuses]:
        """Give what mirrors say of targets that were delivered to, or came to an end."""
        seen = {plan.holder: Sent(audience=frozenset(plan.audience)) for plan in plans}
        known = mirror(seen, reads=self.reads, writes=self.writes)
        return {
            holder: {name: statuses[name] for name in _beyond_pending(statuses)}
            for holder, statuses in known.items()
        }

    def _insert_rows(self, plans: Sequence[_Plan]) -> list[tuple[_Plan, InboxMessage]]:
        """Write the rows, and give what is to be sent for them."""
        work = [(plan, *each) for plan in plans for each in self._rows(plan, plan.targets)]
        # Attempts agree by the row. One that denies a target, for it read no registration yet or
        # the deadline has passed, ends the delivery by writing a row that is not there, so that
        # an attempt which read something else sends nothing after all; one that finds an open row
        # sends, for nobody knows whether its message went out.
        fresh = self.writes.apply([Insert(tables.SIGNALS, row) for _, row, _ in work])
        for (plan, _, post), is_new in zip(work, fresh, strict=True):
            if not is_new:
                plan.found.add(post.target)
            elif plan.is_late:
                plan.denied.setdefault(post.target, UNSENT)
        settled = self._settled([plan for plan in plans if plan.found])
        return [
            (plan, post)
            for plan, _, post in work
            if post.target not in plan.denied
            and post.target not in plan.failed
            and post.target not in settled.get(plan.holder, ())
        ]

    def _settled(self, plans: Sequence[_Plan]) -> dict[Holder, set[str]]:
        """Find the targets that were sent to, or acknowledged, in an earlier attempt."""
        seen = {
            plan.holder: Sent(settled=plan.held, audience=frozenset(plan.audience))
            for plan in plans
        }
        known = mirror(seen, reads=self.reads, writes=self.writes)
        rows = self.reads.get([plan.holder.row_of(name) for plan in plans for name in plan.found])
        settled: dict[Holder, set[str]] = {}
        foreign: list[tuple[_Plan, str, Update]] = []
        for plan in plans:
            settled[plan.holder] = done = _beyond_pending(known.get(plan.holder, {}))
            # Another attempt let them in, or ended them: that is what holds.
            plan.denied = {name: end for name, end in plan.denied.items() if name not in done}
            for target in sorted(plan.found - done):
                row = rows.get(plan.holder.row_of(target), {})
                if row and not is_workers(row, plan.holder.signal):
                    foreign.append((plan, target, self._take_over(row, plan, target)))
                    continue
                plan.denied.pop(target, None)
                # Earlier releases said in the row what was sent, if the signal was gone by then.
                if row.get("status") in TERMINAL or "sent_at" in row:
                    done.add(target)
        taken = self.writes.apply([change for *_, change in foreign])
        for (plan, target, _), ok in zip(foreign, taken, strict=True):
            if not ok:
                plan.failed.add(target)  # it changed just now; the next attempt looks again
        return settled

    def _rows(self, plan: _Plan, targets: Iterable[str]) -> Iterator[tuple[Item, InboxMessage]]:
        """Give some targets' rows, and for each the message that is sent once the row is there."""
        signal, key = plan.signal, plan.holder.signal
        urgent, deadline = is_urgent(signal, self.urgent), expires_at(signal)
        shared = SignalBody(signal, self.table_name, urgent=urgent)
        alike: Item = {
            "signal_pk": key.pk,
            "signal_sk": key.sk,
            "signal_id": signal["signal_id"],
            "signal_type": signal["signal_type"],
            "source_agent": signal["source_agent"],
            "timestamp": signal["timestamp"],
            "expires_at": deadline,
            "ttl": deadline + KEPT_S,
        }
        if plan.holder.chunk is not None:
            alike["chunk"] = plan.holder.chunk
        if is_answer(signal):
            # Who asked waits here, and not at its queue, which others of its processes may poll.
            kept = ("in_reply_to", "data", "context")
            alike |= {name: signal[name] for name in kept if name in signal}
        for target in targets:
            body, omitted = shared.to(target)
            end = plan.denied.get(target) or (UNSENT if plan.is_late else None)
            place = plan.holder.row_of(target).key
            row = {**place.item(), **alike, **(stamped(place, end) if end else OPEN)}
            if omitted and target not in plan.denied:
                row |= {"omitted": list(omitted), **{name: signal[name] for name in omitted}}
            yield row, InboxMessage(target, body, urgent)

    def _take_over(self, found: Item, plan: _Plan, target: str) -> Update:
        """Make a row of ours of what an agent put where it was to be."""
        row, _ = next(self._rows(plan, [target]))
        place = plan.holder.row_of(target)
        # Past the deadline too it is opened: what stands there may have replaced the row of a
        # message that its agent has, so nobody can say that none was sent.
        end = plan.denied.get(target, OPEN)
        unsaid = ("PK", "SK", *UNSENT)
        values = {name: value for name, value in row.items() if name not in unsaid}
        named: Item = {name: found[name] for name in ("signal_pk", "signal_sk") if name in found}
        return Update(
            place,
            stamped(place.key, {**values, **end}),
            equals=named,
            missing=tuple({"signal_pk", "signal_sk"} - named.keys()),
            remove=tuple(sorted(found.keys() - {*values, *end, "PK", "SK", "worker_rev"})),
        )

    def _send(self, posts: Sequence[tuple[_Plan, InboxMessage]]) -> None:
        """Send messages, and note in their plans what became of each."""
        fates = self.inboxes.send([post for _, post in posts])
        moment = int(1000 * self.clock())
        gone = {
            post.target for (_, post), fate in zip(posts, fates, strict=True) if fate is Fate.GONE
        }
        # A queue may be said not to exist within seconds of its making, or for want of a
        # permission: only a registration that is gone says that the agent was removed. It was
        # there, for a row is opened only by an attempt that read it.
        removed = gone - self.directory.confirm(gone).keys() if gone else set()
        for (plan, post), fate in zip(posts, fates, strict=True):
            if fate is Fate.SENT:
                plan.sent.add(post.target)
                plan.sent_ms = moment
            elif post.target in removed:
                plan.denied[post.target] = {"status": "FAILED", "reason": "agent_removed"}
            else:
                plan.failed.add(post.target)

    def _mark(self, plans: Sequence[_Plan]) -> list[tuple[_Plan, Statuses]]:
        """Write the mirrors, note deadlines, and give the statuses that the mirrors hold now."""
        fresh = [plan for plan in plans if not plan.found]
        begun = [(plan, plan.first_statuses()) for plan in fresh]
        # Deadlines go in one call with the marks, and before them: whoever dies in between leaves
        # a deadline that waits for its mark, for the message comes again and sets it. A mark
        # without a deadline would stay open for good.
        firsts = [
            first_mirror(plan.holder, statuses, plan.signal, dict.fromkeys(plan.sent, plan.sent_ms))
            for plan, statuses in begun
        ]
        done = self._note_deadlines(begun, firsts)
        marked = [each for each, ok in zip(begun, done, strict=True) if ok]
        # Whose mirror somebody touched or began has to look at the rows.
        late = [plan for plan, ok in zip(fresh, done, strict=True) if not ok]
        late += [plan for plan in plans if plan.found]
        if not late:
            return marked
        sent = {
            plan.holder: Sent(
                frozenset(plan.sent),
                plan.held,
                plan.denied,
                frozenset(plan.audience),
                at_ms=plan.sent_ms,
            )
            for plan in late
        }
        known = mirror(sent, reads=self.reads, writes=self.writes)
        # Those too that another attempt marked and died before it noted them.
        merged = [(plan, known.get(plan.holder) or plan.first_statuses()) for plan in late]
        self._note_deadlines(merged)
        return [*marked, *merged]

    def _note_deadlines(
        self, marked: Sequence[tuple[_Plan, Statuses]], beside: Sequence[Write] = ()
    ) -> list[bool]:
        """Note when deliveries fall due, and do other writes in the same call."""
        deadlines = [
            Deadline(plan.holder, expires_at(plan.signal), targets)
            for plan, statuses in marked
            if (targets := [name for name in plan.audience if statuses.get(name) == DELIVERED])
        ]
        return self.deadlines.note(deadlines, writes=self.marks, clock=self.clock, beside=beside)

    def _settle_rows(self, marked: Sequence[tuple[_Plan, Statuses]]) -> None:
        """End the rows that an attempt opened although their deliveries had ended.

        One attempt begins with a target that another one finds removed, or finds no row because
        its agent acknowledged and then deleted it.
        """
        ends: dict[Location, dict[str, Any]] = {}
        for plan, statuses in marked:
            for target in plan.audience:
                end = statuses.get(target, OPEN)
                if end["status"] in TERMINAL:
                    ends[plan.holder.row_of(target)] = end
        self.writes.apply(
            [
                Update(place, stamped(place.key, ends[place]), equals=OPEN)
                for place, row in self.reads.get(list(ends)).items()
                if row.get("status") == "PENDING"
            ]
        )


def late_messages(late: Iterable[Late], *, clock: Clock) -> list[WorkMessage]:
    """Give the work that `deliver_late` does, each agent and signal once, by signal."""
    entries = [
        Entry(ascii_json({"key": key, "agent": agent_id, "registered_at": registered_at}), "")
        for key, agent_id, registered_at in sorted(set(late))
    ]
    return list(pack(LATE_DUTY, entries, moment_ms=int(clock() * 1000)))


def _obstacle(plan: _Plan, target: str, known: Mapping[str, Registration]) -> str | None:
    registration = known.get(target)
    if registration is None:
        return "unknown_target"
    allowed = registration.accepts_from
    if allowed is not None and plan.signal["source_agent"] not in allowed:
        return "not_accepted"
    return None if plan.within_quota else "quota"


def _beyond_pending(statuses: Statuses) -> set[str]:
    return {
        target
        for target, entry in statuses.items()
        if RANK.get(entry["status"], 0) >= RANK["DELIVERED"]
    }
