"""Who a signal is for, decided once: who registers after that gets nothing.

The names behind everyone and subscribers come from a list that another queue fills, so an agent
may be registered and not yet on it. Two strong reads close the gap, as with two flags: a freeze
puts its signal on a list before it reads the names, and a registration puts its name on the other
list before it reads the signals. Whatever the order, one of them sees the other.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from hashlib import blake2b
from typing import Any, NamedTuple

from sharpwave.schemas import keys, tables
from sharpwave.schemas.faults import Fault
from sharpwave.schemas.ids import EVERYONE, SUBSCRIBERS, signal_uid
from sharpwave.schemas.messages import expires_at
from sharpwave.schemas.numbers import item_from_wire, item_to_wire
from sharpwave.schemas.records import Registration
from sharpwave.schemas.times import bound
from sharpwave.workers.signals.directory import Listed
from sharpwave.workers.signals.mirror import KEPT_S, Holder, look
from sharpwave.workers.work.envelope import packed, unpacked
from sharpwave.workers.work.outgoing import FED_AGAIN
from sharpwave.workers.work.ports import Directory, Insert, Item, Location, Reads, Writes

#: Larger audiences are split into chunks with a message and a mirror of their own.
CHUNK = 50
#: The clocks of streams, by which signals are stored, and of workers differ by less.
_STREAMS_APART_S = 60


class Signal(NamedTuple):
    """An admitted signal, its event, when it was stored, and the mirror that its writer wiped.

    `is_seen_late` says that its item may have been admitted earlier, in other words.
    """

    item: Item
    event_id: str
    stored_at: float
    held: Mapping[str, dict[str, Any]] = {}
    is_seen_late: bool = False


class Audience(NamedTuple):
    """A frozen audience: its targets, or the chunks that hold them, and the signal as admitted."""

    signal: Item
    targets: tuple[str, ...] = ()
    chunks: tuple[str, ...] = ()


class Joined(NamedTuple):
    """A registration: whose, what it subscribes to, its event, and when it was stored."""

    agent_id: str
    subscriptions: frozenset[str]
    event_id: str
    stored_at: float


class Late(NamedTuple):
    """A signal, an agent that its audience may have missed, and when that one registered."""

    signal: keys.Key
    agent_id: str
    registered_at: int


def may_address(signal: Item, known: Mapping[str, Registration]) -> Fault | None:
    """Say why a source may not address everyone, or None if it may."""
    if signal["target_agents"] != [EVERYONE]:
        return None
    source = known.get(signal["source_agent"])
    if source is not None and source.may_broadcast:
        return None
    text = f"{signal['source_agent']} may not address everyone; register it with may_broadcast"
    return Fault("broadcast_not_allowed", "target_agents", text)


def freeze(
    signals: Sequence[Signal], *, directory: Directory, reads: Reads, writes: Writes
) -> list[Audience]:
    """Decide the audiences of distinct signals, or find how they were decided before.

    A short list of names is its own decision. Everyone and the subscribers are resolved without
    the source and stored; of several attempts the first stored one holds. With it is stored the
    signal as admitted, for all that is delivered after the first message.
    """
    # Before the names are read: an agent that is not among them will find the signal there.
    listed = []
    for each in signals:
        if is_resolved(item := each.item):
            scope = EVERYONE if item["target_agents"] == [EVERYONE] else item["signal_type"]
            key = keys.resolved(scope, bound(each.stored_at), signal_uid(item["PK"], item["SK"]))
            more = {"source": item["source_agent"], "stored_at": int(each.stored_at)}
            listed.append(Insert(tables.PIPELINE, {**key.item(), **about(item), **more}))
    writes.apply(listed)
    items = [signal.item for signal in signals]
    agents = directory.everyone() if any(map(is_resolved, items)) else []
    resolved: list[list[str]] = []
    for item in items:
        names = set(item["target_agents"])
        if is_resolved(item):
            is_for_all = item["target_agents"] == [EVERYONE]
            names = {one.agent_id for one in agents if is_for_all or one.wants(item)}
            names.discard(item["source_agent"])
        resolved.append(sorted(names))
    stored = [_head_and_parts(*pair) for pair in zip(signals, resolved, strict=True)]
    # Parts before heads: whoever finds a head reads the parts that it names.
    writes.apply([part for _, parts in stored for part in parts])
    heads = {head.location: head for head, _ in stored if head is not None}
    fresh = writes.apply(list(heads.values()))
    # Of several attempts the first head stands, with the parts of its own attempt.
    winners = reads.get([place for place, ok in zip(heads, fresh, strict=True) if not ok])
    audiences = []
    for item, targets, (insert, _) in zip(items, resolved, stored, strict=True):
        if insert is None:
            audiences.append(Audience(item, tuple(targets)))
            continue
        head = winners.get(insert.location, insert.item)
        names, chunks = head.get("targets", ()), head.get("chunks", ())
        audiences.append(Audience(admitted(head), tuple(names), tuple(chunks)))
    return audiences


def as_decided(signals: Sequence[Signal], *, reads: Reads) -> list[Signal]:
    """Give signals that are seen late as they were first decided on, as far as that shows.

    Their items say what they say by now, and it takes a while until a change is refused: it adds
    nobody to an audience that is frozen, nor to a mirror that was begun.
    """
    late = [key_of(each.item) for each in signals if each.is_seen_late]
    if not late:
        return list(signals)
    heads = reads.get([head_of(key) for key in late])
    # No head is kept of a short list of names; those its mirror lists are the same.
    mirrors = look([Holder(key) for key in late if head_of(key) not in heads], reads)
    decided = []
    for each in signals:
        if each.is_seen_late:
            key = key_of(each.item)
            if head_of(key) in heads:
                each = each._replace(item=admitted(heads[head_of(key)]))
            elif (listed := mirrors[Holder(key)].entries) is not None:
                each = each._replace(item={**each.item, "target_agents": sorted(listed)})
        decided.append(each)
    return decided


def missed(
    joined: Sequence[Joined], *, listed: Mapping[str, Listed], directory: Directory, reads: Reads
) -> Iterator[Late]:
    """Find the signals that agents registered for in time, and whose audience may lack them.

    Call it once their names are on the list, `listed` being what `note` said of that: whoever
    read the list later has found them. A registration that is only fed again claims a time, and
    its agent was looked after when another event listed it.
    """
    # As they are now: an agent may be gone, or have given up a subscription, since the event.
    known = directory.confirm({each.agent_id for each in joined})
    for each in joined:
        registration = known.get(each.agent_id)
        is_fed_again = each.event_id.startswith(FED_AGAIN)
        if registration is None or (is_fed_again and listed[each.agent_id].by != each.event_id):
            continue
        subscriptions = each.subscriptions.intersection(registration.subscriptions)
        until = bound(listed[each.agent_id].at + _STREAMS_APART_S)
        for scope in (EVERYONE, *sorted(subscriptions)):
            # Streams tell time by the second: a signal of the same one counts as later.
            after, pk = bound(each.stored_at), keys.resolved_pk(scope)
            for entry in reads.query(tables.PIPELINE, pk, after=after, until=until):
                if entry["source"] != each.agent_id:
                    signal = keys.Key(entry["signal_pk"], entry["signal_sk"])
                    yield Late(signal, each.agent_id, int(each.stored_at))


def members(stored: Iterable[Item]) -> list[str] | None:
    """List the targets of an audience from all that its partition holds, or None before its freeze.

    Late joiners count; chunks that a lost attempt left behind do not.
    """
    items = {item["SK"]: item for item in stored}
    head = items.get(keys.audience("").sk)
    if head is None:
        return None
    late = keys.late_chunk("", "").sk
    holders = [head, *(items[chunk] for chunk in head.get("chunks", ()) if chunk in items)]
    holders += [item for sk, item in items.items() if sk.startswith(late)]
    return sorted({name for holder in holders for name in holder.get("targets", ())})


def late_chunk(head: Item, agent_id: str) -> Insert:
    """Give the chunk of a frozen audience for one agent that belongs to it and was missed."""
    signal = keys.Key(head["signal_pk"], head["signal_sk"])
    key = keys.late_chunk(signal_uid(*signal), agent_id)
    kept = {name: head[name] for name in ("signal_pk", "signal_sk", "ttl")}
    return Insert(tables.PIPELINE, {**key.item(), **kept, "targets": [agent_id]})


def key_of(signal: Item) -> keys.Key:
    """Give a signal's primary key."""
    return keys.Key(signal["PK"], signal["SK"])


def head_of(signal: keys.Key) -> Location:
    """Say where the head of a signal's audience is."""
    return Location(tables.PIPELINE, keys.audience(signal_uid(*signal)))


def admitted(head: Item) -> Item:
    """Give a signal as it was admitted, whatever became of its item since."""
    return item_from_wire(unpacked(head["image"]))


def is_resolved(signal: Item) -> bool:
    """Say whether a signal names no agents, so that its audience is looked up."""
    return signal.get("target_agents") in ([EVERYONE], [SUBSCRIBERS])


def _head_and_parts(source: Signal, targets: list[str]) -> tuple[Insert | None, list[Insert]]:
    """Give what is stored of an audience: nothing, its head, or its head and its chunks."""
    signal = source.item
    if not is_resolved(signal) and len(targets) <= CHUNK:
        return None, []
    uid = signal_uid(signal["PK"], signal["SK"])
    # The keys of chunks carry the digest of the audience, so that an attempt which lost leaves
    # nothing that the winner would read.
    digest = blake2b(",".join(targets).encode(), digest_size=6).hexdigest()
    chunks = [
        (keys.Key(keys.audience_pk(uid), f"{digest}#{start // CHUNK:05d}"), targets[start:][:CHUNK])
        for start in (range(0, len(targets), CHUNK) if len(targets) > CHUNK else ())
    ]
    content: Item = {"chunks": [key.sk for key, _ in chunks]} if chunks else {"targets": targets}
    # A put that is repeated later is listed as resolved anew: the head says what was first.
    content |= {"image": packed(item_to_wire(signal)), "stored_at": int(source.stored_at)}
    head = Insert(tables.PIPELINE, {**keys.audience(uid).item(), **about(signal), **content})
    parts = [{**key.item(), **about(signal), "targets": part} for key, part in chunks]
    return head, [Insert(tables.PIPELINE, part) for part in parts]


def about(signal: Item) -> Item:
    """Say which signal an item of an audience is for, and how long it is kept."""
    return {
        "signal_pk": signal["PK"],
        "signal_sk": signal["SK"],
        "ttl": expires_at(signal) + KEPT_S,
    }
