"""Valid records as agents write them; each keyword replaces or adds an attribute."""

from collections.abc import Mapping
from typing import Any

from sharpwave.schemas import keys
from sharpwave.schemas.times import iso_ms
from sharpwave.workers.work.ports import Item
from tests.world.stores import START


def _timed(at: float) -> Item:
    return {"timestamp": int(at), "iso_timestamp": iso_ms(at), "schema_version": 1}


def decision(
    agent: str = "ann", name: str = "d1", *, at: float = START, kind: str = "TRADE", **more: Any
) -> Item:
    """Make a decision without an outcome."""
    key = keys.Key(keys.decision_pk(agent, kind), keys.dated_sk(iso_ms(at), name))
    own = {"agent_id": agent, "decision_id": name, "decision_type": kind}
    return {**key.item(), **_timed(at), **own, **more}


def outcome(success: bool, quality: Any = None) -> Item:
    """Make an outcome."""
    return {"success": success, **({} if quality is None else {"quality_score": quality})}


def signal(
    source: str = "ann",
    name: str = "s1",
    *,
    to: list[str],
    at: float = START,
    kind: str = "ALERT",
    strict: bool = True,
    **more: Any,
) -> Item:
    """Make a signal."""
    pk = keys.signal_pk(kind, source if strict else None)
    key = keys.Key(pk, keys.dated_sk(iso_ms(at), name))
    own = {"signal_id": name, "signal_type": kind, "source_agent": source, "target_agents": to}
    return {**key.item(), **_timed(at), **own, **more}


def memory(
    agent: str = "ann", name: str = "m1", *, at: float = START, kind: str = "NOTE", **more: Any
) -> Item:
    """Make an entry of short-term memory."""
    key = keys.Key(keys.memory_pk(agent, kind), keys.dated_sk(iso_ms(at), name))
    own = {"agent_id": agent, "memory_id": name, "memory_type": kind, "data": {"text": name}}
    return {**key.item(), **_timed(at), **own, **more}


def registration(agent: str, *, at: float = START, **more: Any) -> Item:
    """Make a registration."""
    own = {"agent_id": agent, "registered_at": int(at), "schema_version": 1}
    return {**keys.registration(agent).item(), **own, **more}


def key_of(item: Item) -> keys.Key:
    """Give an item's key."""
    return keys.Key(item["PK"], item["SK"])


def mirror_of(signals: Mapping[keys.Key, Item], signal: keys.Key) -> Item:
    """Give the mirror beside a signal, of all items of their table; empty if there is none."""
    return signals.get(keys.mirror(signal), {})


def statuses_of(mirror: Mapping[str, Any]) -> dict[str, Item]:
    """Give what a mirror says of each target, but when it was sent to."""
    return {
        target: {name: value for name, value in entry.items() if name != "delivered_ms"}
        for target, entry in (mirror.get("processing_status") or {}).items()
    }
