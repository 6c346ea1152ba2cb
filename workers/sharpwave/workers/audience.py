"""Who a signal is for, decided once: later registrants get nothing."""

from collections.abc import Sequence
from hashlib import blake2b
from typing import NamedTuple

from sharpwave.schemas import keys, tables
from sharpwave.schemas.faults import Fault
from sharpwave.schemas.ids import EVERYONE, SUBSCRIBERS, signal_uid
from sharpwave.schemas.messages import expires_at
from sharpwave.schemas.times import DAY_S
from sharpwave.workers.ports import Directory, Insert, Item, Location, Reads, Writes

#: Larger audiences are split into chunks with a message and a mirror of their own.
CHUNK = 50


class Audience(NamedTuple):
    """A frozen audience: its targets, or the chunks that hold them."""

    targets: tuple[str, ...] = ()
    chunks: tuple[str, ...] = ()


def may_address(signal: Item, directory: Directory) -> Fault | None:
    """Say why a source may not address everyone, or None if it may."""
    if signal["target_agents"] != [EVERYONE]:
        return None
    source = directory.find(signal["source_agent"])
    if source is not None and source.may_broadcast:
        return None
    text = f"{signal['source_agent']} may not address everyone; register it with may_broadcast"
    return Fault("broadcast_not_allowed", "target_agents", text)


def freeze(signal: Item, *, directory: Directory, reads: Reads, writes: Writes) -> Audience:
    """Decide a signal's audience, or read it if it was decided before.

    A list of names is its own decision. Everyone and the subscribers are resolved without the
    source and stored; of several attempts the first stored one holds.
    """
    listed = signal["target_agents"]
    if listed not in ([EVERYONE], [SUBSCRIBERS]):
        targets = sorted(set(listed))
        if len(targets) <= CHUNK:
            return Audience(tuple(targets))
        return _store(signal, targets, reads, writes)
    place = Location(tables.PIPELINE, keys.audience(signal_uid(signal["PK"], signal["SK"])))
    stored = reads.get([place]).get(place)
    if stored is not None:
        return _audience(stored)
    return _store(signal, _resolve(signal, directory), reads, writes)


def _resolve(signal: Item, directory: Directory) -> list[str]:
    everyone = signal["target_agents"] == [EVERYONE]
    return sorted(
        agent.agent_id
        for agent in directory.everyone()
        if agent.agent_id != signal["source_agent"]
        and (everyone or signal["signal_type"] in agent.subscriptions)
    )


def _store(signal: Item, targets: list[str], reads: Reads, writes: Writes) -> Audience:
    uid = signal_uid(signal["PK"], signal["SK"])
    head = keys.audience(uid)
    until = {"ttl": expires_at(signal) + 7 * DAY_S, "signal_pk": signal["PK"]}
    until["signal_sk"] = signal["SK"]
    chunks = _chunks(uid, targets)
    if chunks:
        # Chunks carry the digest of their audience, so that an attempt which lost leaves
        # nothing that the winner would read.
        parts = [{**key.item(), **until, "targets": part} for key, part in chunks]
        writes.apply([Insert(tables.PIPELINE, part) for part in parts])
        content: Item = {"chunks": [key.sk for key, _ in chunks]}
    else:
        content = {"targets": targets}
    item = {**head.item(), **until, **content}
    if writes.apply([Insert(tables.PIPELINE, item)])[0]:
        return _audience(item)
    place = Location(tables.PIPELINE, head)
    return _audience(reads.get([place])[place])


def _chunks(uid: str, targets: Sequence[str]) -> list[tuple[keys.Key, list[str]]]:
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
