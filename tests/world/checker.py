"""The invariants, checked at rest: each function says in words what it finds broken."""

from collections import Counter, defaultdict
from collections.abc import Iterator
from typing import Any

from sharpwave.schemas import keys, tables
from sharpwave.schemas.ids import delivery_id, signal_uid
from sharpwave.schemas.messages import NoticeMessage, SignalMessage, parse_message
from sharpwave.schemas.status import TERMINAL
from sharpwave.workers.ports import Item, Location
from sharpwave.workers.signals.mirror import Holder
from tests.world.book import Book
from tests.world.counts_checker import counts
from tests.world.memory_checker import memory
from tests.world.world import World

#: Ends that need no message: the target could not, or should not, get one.
_UNSENT = frozenset({"unknown_target", "not_accepted", "quota", "expired_before_delivery"})


def violations(world: World, book: Book) -> Iterator[str]:
    """Check everything that can be seen in a world at rest."""
    yield from queues(world)
    yield from deliveries(world, book)
    yield from statuses(world)
    yield from counts(world, book)
    yield from memory(world, book)
    yield from refusals(world, book)
    yield from reactions(world)


def queues(world: World) -> Iterator[str]:
    """Nothing is left to do, and nothing was given up."""
    for held in [*world.queues.messages, *world.queues.dead]:
        yield f"{held.queue} still holds {held.body[:200]} after {held.errors[-2:]}"


def deliveries(world: World, book: Book) -> Iterator[str]:
    """Every target of every signal's audience got it, or a reason; nobody else did."""
    received, stored = _received(world), world.tables.items(tables.SIGNALS)
    for again in book.resent:
        yield f"{again} was sent although it was acknowledged"
    for key, signal in book.signals.items():
        uid = signal_uid(*key)
        audience, frozen = _expected_audience(signal, book), _frozen_audience(world, uid)
        if frozen is not None:
            if not audience <= frozen:
                yield f"signal {key.sk}: {sorted(audience - frozen)} are not in its audience"
            audience = frozen
        elif _needs_freezing(signal, book):
            yield f"signal {key.sk}: its audience was never decided"
        statuses, is_gone = _mirror(world, key), key not in stored
        for target in audience:
            sent = received[delivery_id(uid, target)]
            end = statuses.get(target) or _row(world, key, target)
            reason = end.get("reason")
            # A signal that its ttl removed took along whether it was delivered, and why not.
            untold = is_gone and end.get("status") in (None, "EXPIRED")
            if not (sent or reason in _UNSENT or "processed_at" in end or untold):
                yield f"signal {key.sk} was never sent to {target}; it ended as {end}"
        for name in received:
            if name.startswith(uid) and name.partition(".")[2] not in audience:
                yield f"signal {key.sk} was sent to {name.partition('.')[2]}, a stranger to it"
    known = {signal_uid(*key) for key in book.signals}
    for name in received:
        if name.partition(".")[0] not in known:
            yield f"{name} is the delivery of no valid signal"


def statuses(world: World) -> Iterator[str]:
    """Every delivery ended, with its reason, and mirrors say what rows say."""
    stored = world.tables.items(tables.SIGNALS)
    for key, row in stored.items():
        if not key.pk.endswith("#inbox"):
            continue
        target, status = keys.owner_of(key.pk) or "", row.get("status")
        if status not in TERMINAL:
            yield f"row {key} did not end: {status}"
        if status == "EXPIRED" and "reason" not in row:
            yield f"row {key} expired without a reason"
        if "signal_pk" not in row:
            yield f"row {key} lost what the worker had written"
            continue
        signal = keys.Key(row["signal_pk"], row["signal_sk"])
        place = Holder(signal, row.get("chunk")).location
        mirror = world.tables.get([place]).get(place)
        if mirror is not None:
            entry = mirror.get("processing_status", {}).get(target, {})
            for name in ("status", "reason", "decision_id", "processed_at"):
                if entry.get(name) != row.get(name):
                    yield f"row {key} has {name} {row.get(name)}, its mirror {entry.get(name)}"
    for key, item in [*stored.items(), *world.tables.items(tables.PIPELINE).items()]:
        for target, entry in item.get("processing_status", {}).items():
            if entry["status"] not in TERMINAL:
                yield f"the mirror in {key} leaves {target} at {entry['status']}"
            if entry["status"] == "EXPIRED" and "reason" not in entry:
                yield f"the mirror in {key} gives no reason for {target}"


def refusals(world: World, book: Book) -> Iterator[str]:
    """Every bad record is parked with its faults, and its owner heard of each kind."""
    parked: dict[tuple[str, keys.Key], Item] = {}
    for key, item in world.tables.items(tables.PIPELINE).items():
        if key.pk.startswith("parked#"):
            parked[item["table"], keys.Key(item["record_pk"], item["record_sk"])] = item
    told: set[tuple[str, str]] = set()
    for post in world.inboxes.sent:
        message = parse_message(post.body)
        if isinstance(message, NoticeMessage):
            told.add((post.target, message.code))
    for refused in book.refused:
        found = parked.get((refused.table, refused.key))
        if found is None:
            yield f"{refused.table} {refused.key} was not parked"
        elif not found["faults"] or not found["faults"][0]["message"]:
            yield f"{refused.table} {refused.key} was parked without a fault"
        elif refused.owner and (refused.owner, found["faults"][0]["code"]) not in told:
            yield f"{refused.owner} never heard of {found['faults'][0]['code']}"


def reactions(world: World) -> Iterator[str]:
    """What workers write starts nothing."""
    for table, stream in world.tables.streams.items():
        for record, by in stream:
            if by == "worker":
                for message in world.route(table, [record]):
                    yield f"a worker's write to {table} started {message.body[:300]}"


def _received(world: World) -> Counter[str]:
    found: Counter[str] = Counter()
    for post in world.inboxes.sent:
        message = parse_message(post.body)
        if isinstance(message, SignalMessage):
            found[message.delivery_id] += 1
    return found


def _needs_freezing(signal: Item, book: Book) -> bool:
    return signal["target_agents"] in (["*"], ["@subscribers"])


def _expected_audience(signal: Item, book: Book) -> set[str]:
    listed: list[str] = signal["target_agents"]
    if listed == ["*"]:
        return book.agents.keys() - {signal["source_agent"]}
    if listed == ["@subscribers"]:
        return {
            name
            for name, manners in book.agents.items()
            if signal["signal_type"] in manners.get("subscriptions", ())
            and name != signal["source_agent"]
        }
    return set(listed)


def _frozen_audience(world: World, uid: str) -> set[str] | None:
    items = list(world.tables.query(tables.PIPELINE, keys.audience_pk(uid)))
    if not items:
        return None
    return {target for item in items for target in item.get("targets", ())}


def _mirror(world: World, key: keys.Key) -> dict[str, dict[str, Any]]:
    uid, found = signal_uid(*key), Location(tables.SIGNALS, key)
    items = [*world.tables.query(tables.PIPELINE, keys.audience_pk(uid))]
    items += world.tables.get([found]).values()
    merged: dict[str, dict[str, Any]] = defaultdict(dict)
    for item in items:
        merged |= item.get("processing_status", {})
    return merged


def _row(world: World, key: keys.Key, target: str) -> Item:
    place = Location(tables.SIGNALS, keys.inbox_row(target, key, signal_uid(*key)))
    return world.tables.get([place]).get(place, {})
