"""The actors: each reads a message, calls one handler and logs. One function per kind of message.

A message holds `entries`, made by the router or by a tick; see `envelope`. What a handler needs of
the world it has from `main.compose`; here it is only told what there is to do.
"""

import logging
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import replace
from typing import Any, TypeVar

import dramatiq
from dramatiq.middleware import CurrentMessage

from sharpwave.schemas import keys
from sharpwave.schemas.faults import Fault
from sharpwave.schemas.numbers import from_wire, item_from_wire
from sharpwave.schemas.times import Clock
from sharpwave.workers.gather import Gatherer
from sharpwave.workers.memory.episodes import Episodes
from sharpwave.workers.memory.promote import Shown
from sharpwave.workers.patterns.catalogue import Catalogue, Writers
from sharpwave.workers.patterns.publish import Position
from sharpwave.workers.router.router import LEARN
from sharpwave.workers.signals.acknowledge import Gone, Loss, Move
from sharpwave.workers.signals.audience import Joined, Late, Signal, missed
from sharpwave.workers.signals.bounces import Bounced, tell_of_bounces
from sharpwave.workers.signals.deliver import Courier, late_messages
from sharpwave.workers.signals.directory import RegisteredAgents
from sharpwave.workers.signals.expiry import Expired, Expiry, Partition, tell_of_expiry
from sharpwave.workers.signals.mirror import Holder, Sent, Statuses, readable
from sharpwave.workers.signals.notices import Notices
from sharpwave.workers.signals.refusals import RefusedBefore
from sharpwave.workers.telemetry import link
from sharpwave.workers.work import ticks
from sharpwave.workers.work.envelope import Duty, Entry, ascii_json, image_of, pack, singles
from sharpwave.workers.work.outgoing import FED_AGAIN, MAX_DELAY_S
from sharpwave.workers.work.ports import (
    Item,
    Parking,
    Reads,
    Refusal,
    TryAgain,
    Unfinished,
    WorkQueues,
)

log = logging.getLogger(__name__)

#: A group received this often without success is split.
SPLIT_AFTER = 5

T = TypeVar("T")
Entries = Sequence[Mapping[str, Any]]
Handler = Callable[[Entries], object]
Handlers = Mapping[str, Mapping[str, Handler]]
"""Every queue's handlers, by the names of their actors."""

Gather = Callable[[Callable[[list[Any]], object]], Gatherer[Any]]
"""Lets the messages of several threads share one call of a handler."""


def register(broker: dramatiq.Broker, handlers: Handlers, queues: WorkQueues) -> None:
    """Declare an actor on `broker` for each handler."""
    for queue, duties in handlers.items():
        for name, handle in duties.items():
            _declare(broker, queue, name, handle, queues)


def _declare(
    broker: dramatiq.Broker, queue: str, name: str, handle: Handler, queues: WorkQueues
) -> None:
    run = splitting(Duty(queue, name, 1), handle, queues)

    def actor(entries: Entries, **_of_newer_routers: object) -> None:
        # Our broker's messages say how often they were received; any other's is a first try.
        run(entries, getattr(CurrentMessage.get_current_message(), "receives", 1))

    dramatiq.actor(broker=broker, queue_name=queue, actor_name=name)(actor)


def splitting(duty: Duty, handle: Handler, queues: WorkQueues) -> Callable[[Entries, int], None]:
    """Handle entries so that what fails is tried again, and ends among the dead letters, alone.

    A group is done once its failing entries have gone out with messages of their own: the queue
    has accepted them before the group's message is deleted.
    """

    def run(entries: Entries, receives: int) -> None:
        try:
            done = handle(entries)
        except Unfinished as error:
            failing = [entry for entry in entries if tuple(entry.get("key", ())) in error.keys]
            if len(entries) == 1 or not failing:
                raise
            log.warning("entries_unfinished", extra={"actor": duty.actor, "error": str(error)})
        except TryAgain:
            # At first it may be the world that fails, and a split would only multiply its work.
            if len(entries) == 1 or receives < SPLIT_AFTER:
                raise
            failing = [*entries]
            log.warning("group_split", exc_info=True, extra={"actor": duty.actor})
        except Exception:
            if len(entries) == 1:
                raise
            failing = [*entries]
            log.exception("group_split", extra={"actor": duty.actor})
        else:
            log.debug(duty.actor, extra={"entries": len(entries), "done": done})
            return
        queues.send(singles(duty, failing))

    return run


def deliver_actors(courier: Courier) -> dict[str, Handler]:
    """Give the actors that carry signals to their targets."""

    def on_signals(entries: Entries) -> int:
        signals = []
        for entry in entries:
            event_id = entry["event_id"]
            # What a scan fed again, or a repair wrote anew, says what it says by now.
            is_seen_late = event_id.startswith(FED_AGAIN) or entry.get("mended", False)
            stored_at, held = float(entry["stored_at"]), _held(entry)
            signals.append(Signal(_item(entry), event_id, stored_at, held, is_seen_late))
        link(signal.item.get("traceparent") for signal in signals)
        return courier.deliver(signals)

    def on_chunks(entries: Entries) -> int:
        return _for_each(entries, lambda each: courier.deliver_chunk(_key(each), each["chunk"]))

    def on_late_joiners(entries: Entries) -> int:
        by_signal: dict[keys.Key, list[Late]] = {}
        for entry in entries:
            # Who made entries without that moment had found that the agent registered in time.
            late = Late(_key(entry), entry["agent"], entry.get("registered_at", 0))
            by_signal.setdefault(late.signal, []).append(late)
        return _for_each(by_signal.values(), courier.deliver_late)

    return {"on_signals": on_signals, "on_chunks": on_chunks, "on_late_joiners": on_late_joiners}


def status_actors(
    acknowledge: Callable[..., None],
    expiry: Expiry,
    *,
    agents: RegisteredAgents,
    parking: Parking,
    notices: Notices,
    writers: Writers,
    reads: Reads,
    queues: WorkQueues,
    clock: Clock,
    gather: Gather,
) -> dict[str, Handler]:
    """Give the actors that follow what became of signals, and who is there."""

    def acknowledge_all(entries: list[Mapping[str, Any]]) -> None:
        holders: dict[Holder, Sent] = {}
        targets: dict[Holder, set[str]] = {}
        illegal, lost, gone = list[Move](), list[Loss](), list[Gone]()
        for entry in entries:
            holder, held = Holder(_key(entry), entry.get("chunk")), _held(entry)
            sent = holders.get(holder, Sent())
            holders[holder] = Sent(
                settled={**sent.settled, **held},
                audience=sent.audience.union(held),
                ttl=max(sent.ttl, entry.get("ttl", 0)),
            )
            targets.setdefault(holder, set()).update(entry.get("targets", ()))
            if move := entry.get("illegal"):
                row = keys.Key(move["row_pk"], move["row_sk"])
                seen = move["before"], move["after"], move["worker_rev"]
                illegal.append(Move(holder, row, *seen, move["event_id"]))
            if loss := entry.get("restore"):
                row = keys.Key(loss["row_pk"], loss["row_sk"])
                lost.append(Loss(holder, row, loss["attributes"], loss.get("said", {})))
            if row_key := entry.get("gone"):
                gone.append(Gone(holder, keys.Key(*row_key), image_of(entry)))
        acknowledge(holders, targets=targets, illegal=illegal, lost=lost, gone=gone)

    # Acknowledgements of one signal come close together and then share one write of its mirror.
    acknowledgements = gather(acknowledge_all)

    def on_refused(entries: Entries) -> None:
        refusals = []
        for entry in entries:
            faults = [Fault(one["code"], one["where"], one["message"]) for one in entry["faults"]]
            event_id, words = entry["event_id"], entry.get("words", {})
            refusals.append(
                Refusal(entry["table"], _key(entry), event_id, faults, entry["image"], words)
            )
        parking.park(refusals)

    def on_seen(entries: Entries) -> int:
        writers.note_agents(entry["agent"] for entry in entries)
        return len(entries)

    def on_registered(entries: Entries) -> None:
        joined = []
        for entry in entries:
            agent_id = keys.owner_of(entry["key"][0]) or ""
            subscriptions = frozenset(_item(entry).get("subscriptions", ()))
            stored_at = float(entry["stored_at"])
            joined.append(Joined(agent_id, subscriptions, entry["event_id"], stored_at))
        # First on the list, then the look at what was frozen without them; see `audience`.
        listed = agents.note({each.agent_id: each.event_id for each in joined})
        late = missed(joined, listed=listed, directory=agents, reads=reads)
        queues.send(late_messages(late, clock=clock))
        agents.announce(each.agent_id for each in joined)

    def on_expiry(entries: Entries) -> int:
        return sum(
            expiry.expire(Partition(entry["minute"], entry["shard"], entry["after"]))
            for entry in entries
        )

    def on_expired(entries: Entries) -> None:
        expired = [Expired(_key(each), each["targets"], each["event_id"]) for each in entries]
        tell_of_expiry(expired, notices)

    def on_bounced(entries: Entries) -> None:
        tell_of_bounces(
            [Bounced(_key(each), each["reasons"], each["event_id"]) for each in entries], notices
        )

    return {
        "on_acknowledgements": acknowledgements.add,
        # What routers of older releases call it; their messages may still be queued.
        "on_rows_changed": acknowledgements.add,
        "on_refused": on_refused,
        "on_registered": on_registered,
        "on_seen": on_seen,
        "on_expiry": on_expiry,
        "on_expired": on_expired,
        "on_bounced": on_bounced,
        "on_expiry_tick": lambda _: expiry.hand_out(),
    }


def promote_actors(
    promote: Callable[[Sequence[Shown]], int],
    sweep_memories: Callable[[str], int],
    episodes: Episodes,
    discover: Callable[[str], int] | None,
    *,
    agents: RegisteredAgents,
    reads: Reads,
    queues: WorkQueues,
    clock: Clock,
    gather: Gather,
) -> dict[str, Handler]:
    """Give the actors by which short-term memory becomes long-term memory, and sweeps are made."""

    def on_memories(entries: Entries) -> int:
        shown: dict[keys.Key, Shown] = {}
        for entry in _not_refused(entries, reads):
            key, state = _key(entry), Shown(_item(entry), entry.get("number", ""))
            if key not in shown or shown[key].order <= state.order:
                shown[key] = state
        return promote(list(shown.values()))

    def fold_all(entries: list[Mapping[str, Any]]) -> None:
        items = {_key(entry): _item(entry) for entry in _not_refused(entries, reads)}
        episodes.fold(list(items.values()))

    # An hour's decisions, from whatever messages, share one look at that hour.
    folds = gather(fold_all)

    def sweep(agent_id: str) -> int:
        done = sweep_memories(agent_id) + episodes.sweep(agent_id)
        return done + (discover(agent_id) if discover is not None else 0)

    def on_sweep(entries: Entries) -> int:
        return _for_each(entries, lambda entry: sweep(entry["agent"]))

    def on_sweep_tick(entries: Entries) -> int:
        # Most agents of a fleet only receive; a sweep of one that wrote nothing finds nothing.
        names = agents.writers()
        queues.send(ticks.per_agent(ticks.SWEEP, names, clock=clock))
        return len(names)

    return {
        "on_memories": on_memories,
        "on_late_outcomes": folds.add,
        "on_sweep": on_sweep,
        "on_sweep_tick": on_sweep_tick,
    }


def learn_actors(
    learn: Callable[[Sequence[Item]], int],
    publish: Callable[[Position], tuple[int, Position | None]],
    *,
    catalogue: Catalogue,
    queues: WorkQueues,
    clock: Clock,
    gather: Gather,
) -> dict[str, Handler]:
    """Give the actors that count decisions and publish what the counts say."""
    # Decisions of one slot, from whatever messages, share one write of its ledger.
    decisions = gather(learn)

    def on_decisions(entries: Entries) -> int:
        now: list[Item] = []
        later: dict[int, list[Entry]] = {}
        for entry in entries:
            item = _item(entry)
            wait_s = min(catalogue.wait_s(item), MAX_DELAY_S)
            if wait_s:
                later.setdefault(wait_s, []).append(Entry(ascii_json(entry), ""))
            else:
                # What cannot be judged fails here, before others wait for it.
                catalogue.known_for(item)
                now.append(item)
        if now:
            decisions.add(now)
        moment_ms = int(clock() * 1000)
        for wait_s, waiting in later.items():
            parts = pack(LEARN, waiting, moment_ms=moment_ms)
            queues.send([replace(part, delay_s=wait_s) for part in parts])
        return len(now)

    def on_figures_tick(entries: Entries) -> int:
        begin = entries[0].get("begin") if entries else None
        changed, following = publish(Position(*begin) if begin else Position())
        if following is not None:
            queues.send([ticks.tick(ticks.FIGURES, clock=clock, begin=following)])
        return changed

    return {"on_decisions": on_decisions, "on_figures_tick": on_figures_tick}


def _not_refused(entries: Entries, reads: Reads) -> list[Mapping[str, Any]]:
    """Leave out what time removed and the pipeline had refused: it was never let in."""
    refused = RefusedBefore(reads)
    return [
        entry
        for entry in entries
        if not (entry.get("removed") and refused.holds(entry["table"], image_of(entry)))
    ]


def _for_each(entries: Iterable[T], duty: Callable[[T], int]) -> int:
    """Do a duty for every entry, and only then fail if it failed for some."""
    done, unfinished, failed = 0, list[Unfinished](), None
    for entry in entries:
        try:
            done += duty(entry)
        except Unfinished as error:
            unfinished.append(error)
        except Exception as error:
            log.warning("duty_failed", extra={"entry": entry, "error": repr(error)})
            failed = error
    if failed is not None:
        raise failed
    if unfinished:
        keys_left = {key for error in unfinished for key in error.keys}
        raise Unfinished(keys_left, "; ".join(map(str, unfinished)))
    return done


def _item(entry: Mapping[str, Any]) -> Item:
    return item_from_wire(image_of(entry))


def _key(entry: Mapping[str, Any]) -> keys.Key:
    return keys.Key(*entry["key"])


def _held(entry: Mapping[str, Any]) -> Statuses:
    return readable(from_wire(entry["held"])) if "held" in entry else {}
