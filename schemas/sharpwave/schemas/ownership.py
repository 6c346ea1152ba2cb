"""Which attributes belong to the agent and which to the worker, and what a change means."""

from collections.abc import Mapping, Set
from enum import Enum
from hashlib import blake2b
from typing import Any

from sharpwave.schemas.keys import Kind
from sharpwave.schemas.numbers import Wire, canonical_json, item_from_wire

#: Attributes only workers write; every other attribute of a record is the agent's.
WORKER: Mapping[Kind, frozenset[str]] = {
    "decision": frozenset({"promoted_at", "is_stm"}),
    "signal": frozenset({"processing_status", "status_v", "audience_chunks"}),
    "row": frozenset(
        {"signal_pk", "signal_sk", "signal_id", "signal_type", "source_agent", "timestamp"}
        | {"provenance", "expires_at", "ttl", "chunk", "data", "context", "omitted", "worker_rev"}
    ),
    "state": frozenset(),
    "registration": frozenset(),
    "memory": frozenset({"promoted_at"}),
}
#: Attributes raw writers of the first plan may send; accepted and without effect.
IGNORED = frozenset({"GSI1_PK", "GSI1_SK", "GSI2_PK", "GSI2_SK", "GSI3_PK", "GSI3_SK", "is_stm"})


class Change(Enum):
    """What a stream record says happened to a record."""

    INSERTED = "inserted"
    #: The agent changed something of its own.
    AGENT = "agent"
    #: A repeated PutItem removed what the worker had written, and changed nothing else.
    WIPED = "wiped"
    #: The agent changed something of its own and removed what the worker had written.
    OVERWRITTEN = "overwritten"
    #: Nothing of the agent's changed: a worker's write coming back.
    ECHO = "echo"
    REMOVED = "removed"


def change_of(kind: Kind, old: Mapping[str, Any] | None, new: Mapping[str, Any] | None) -> Change:
    """Compare a record's images, in either typed or plain form."""
    if new is None:
        return Change.REMOVED
    if old is None:
        return Change.INSERTED
    if kind == "row" and "worker_rev" in new and old.get("worker_rev") != new["worker_rev"]:
        return Change.ECHO
    mine = WORKER[kind]
    wiped = any(name in old and name not in new for name in mine - IGNORED)
    changed = bool(changed_names(kind, old, new))
    if wiped:
        return Change.OVERWRITTEN if changed else Change.WIPED
    return Change.AGENT if changed else Change.ECHO


def digest_of(kind: Kind | None, image: Mapping[str, Wire], but: Set[str] = frozenset()) -> str:
    """Give a digest of what the agent says in a typed image, whatever workers added to it.

    `but` names attributes that do not count.
    """
    others = IGNORED | but if kind is None else WORKER[kind] | IGNORED | but
    own = {name: value for name, value in image.items() if name not in others}
    text = canonical_json(item_from_wire(own))
    return blake2b(text.encode(), digest_size=12).hexdigest()


def changed_names(kind: Kind, old: Mapping[str, Any], new: Mapping[str, Any]) -> set[str]:
    """Name the agent's attributes that differ between two images."""
    names = (old.keys() | new.keys()) - WORKER[kind] - IGNORED
    return {name for name in names if old.get(name) != new.get(name)}
