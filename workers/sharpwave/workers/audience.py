"""Who a signal is for, decided once: later registrants get nothing."""

from collections.abc import Mapping, Sequence
from hashlib import blake2b
from typing import NamedTuple

from sharpwave.schemas import keys, tables
from sharpwave.schemas.faults import Fault
from sharpwave.schemas.ids import EVERYONE, SUBSCRIBERS, signal_uid
from sharpwave.schemas.messages import expires_at
from sharpwave.schemas.records import Registration
from sharpwave.schemas.times import DAY_S
from sharpwave.workers.ports import Directory, Insert, Item, Reads, Writes

#: Larger audiences are split into chunks with a message and a mirror of their own.
CHUNK = 50


class Audience(NamedTuple):
    """A frozen audience: its targets, or the chunks that hold them."""

    targets: tuple[str, ...] = ()
    chunks: tuple[str, ...] = ()


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
    signals: Sequence[Item], *, directory: Directory, reads: Reads, writes: Writes
) -> list[Audience]:
    """Decide the audiences of distinct signals, or find how they were decided before.

    A short list of names is its own decision. Everyone and the subscribers are resolved without
    the source and stored; of several attempts the first stored one holds.
    """
    resolved = _resolve_all(signals, directory)
    stored = [_heads_and_parts(*pair) for pair in zip(signals, resolved, strict=True)]
    parts = [part for _, parts in stored for part in parts]
    if parts:
        writes.apply(parts)
    heads = {head.location: head for head, _ in stored if head is not None}
    fresh = writes.apply(list(heads.values())) if heads else []
    lost = [place for place, is_new in zip(heads, fresh, strict=True) if not is_new]
    winners = reads.get(lost) if lost else {}
    return [
        Audience(tuple(targets))
        if head is None
        else _audience(winners.get(head.location, head.item))
        for targets, (head, _) in zip(resolved, stored, strict=True)
    ]


def is_resolved(signal: Item) -> bool:
    """Say whether a signal names no agents, so that its audience is looked up."""
    return signal.get("target_agents") in ([EVERYONE], [SUBSCRIBERS])


def _resolve_all(signals: Sequence[Item], directory: Directory) -> list[list[str]]:
    agents = directory.everyone() if any(map(is_resolved, signals)) else []
    return [
        _resolve(signal, agents) if is_resolved(signal) else sorted(set(signal["target_agents"]))
        for signal in signals
    ]


def _resolve(signal: Item, agents: Sequence[Registration]) -> list[str]:
    everyone = signal["target_agents"] == [EVERYONE]
    return sorted(
        agent.agent_id
        for agent in agents
        if agent.agent_id != signal["source_agent"]
        and (everyone or signal["signal_type"] in agent.subscriptions)
    )


def _heads_and_parts(signal: Item, targets: list[str]) -> tuple[Insert | None, list[Insert]]:
    """Give what is stored of an audience: nothing, its head, or its head and its chunks."""
    if not is_resolved(signal) and len(targets) <= CHUNK:
        return None, []
    uid = signal_uid(signal["PK"], signal["SK"])
    until = {"ttl": expires_at(signal) + 7 * DAY_S, "signal_pk": signal["PK"]}
    until["signal_sk"] = signal["SK"]
    chunks = _chunks(uid, targets)
    content: Item = {"chunks": [key.sk for key, _ in chunks]} if chunks else {"targets": targets}
    head = Insert(tables.PIPELINE, {**keys.audience(uid).item(), **until, **content})
    parts = [{**key.item(), **until, "targets": part} for key, part in chunks]
    return head, [Insert(tables.PIPELINE, part) for part in parts]


def _chunks(uid: str, targets: Sequence[str]) -> list[tuple[keys.Key, list[str]]]:
    """Split a large audience.

    The keys carry the digest of the audience, so that an attempt which lost leaves nothing that
    the winner would read.
    """
    if len(targets) <= CHUNK:
        return []
    digest = blake2b(",".join(targets).encode(), digest_size=6).hexdigest()
    pk = keys.audience(uid).pk
    return [
        (keys.Key(pk, f"{digest}#{start // CHUNK:05d}"), list(targets[start : start + CHUNK]))
        for start in range(0, len(targets), CHUNK)
    ]


def _audience(item: Item) -> Audience:
    return Audience(tuple(item.get("targets", ())), tuple(item.get("chunks", ())))
