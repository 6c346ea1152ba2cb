"""What is wrong with a record, in words its writer can act on."""

from collections.abc import Mapping
from typing import Any, NamedTuple

from pydantic import ValidationError

from sharpwave.schemas.keys import Kind, parse
from sharpwave.schemas.records import (
    MAX_DECISION_TTL_S,
    MAX_DEPTH,
    MAX_MEMORY_TTL_S,
    MAX_SIGNAL_BYTES,
    MAX_SIGNAL_TTL_S,
    RECORDS,
    DecisionRecord,
    Record,
)
from sharpwave.schemas.times import EVENT_AHEAD_S, MAX_AHEAD_S, EventAhead, is_far_ahead

MAX_TTL_S: Mapping[Kind, int] = {
    "decision": MAX_DECISION_TTL_S,
    "signal": MAX_SIGNAL_TTL_S,
    "memory": MAX_MEMORY_TTL_S,
}
_KEY_SHAPES = {
    "agent_decisions": "agent:<agent_id>#decision#<TYPE> / <iso_timestamp>#<decision_id>",
    "agent_signals": "signal#<TYPE> or signal#<TYPE>#<source_agent> / <iso_timestamp>#<signal_id>",
    "agent_state": "agent:<agent_id> / CURRENT, or agent:<agent_id>#memory#<TYPE> / <iso>#<id>",
}


class Fault(NamedTuple):
    """One thing wrong with a record: a stable code, the attribute, and what to do."""

    code: str
    where: str
    message: str

    def __str__(self) -> str:
        return f"{self.where}: {self.message}" if self.where else self.message


class RecordRefused(ValueError):
    """A record breaks its schema; `faults` says how."""

    def __init__(self, faults: list[Fault]) -> None:
        """Keep the faults and say them all."""
        super().__init__("; ".join(str(fault) for fault in faults))
        self.faults = faults


def validate(
    kind: Kind, item: Mapping[str, Any], *, stored_at: float, event_ahead: EventAhead | None = None
) -> Record:
    """Read plain attributes as a record.

    Args:
        kind: what the record's key says it is; an inbox row has no schema for agents.
        item: the attributes as Python values.
        stored_at: epoch seconds at which the record was stored; times are judged by it, so the
            verdict on a record never depends on when it is looked at.
        event_ahead: how far ahead a decision's event time may lie; None leaves it to the workers,
            whose setting it is.

    Raises:
        RecordRefused: the record breaks its schema or the time rules.
    """
    try:
        record = RECORDS[kind].model_validate(item)
    except ValidationError as error:
        raise RecordRefused(_explain(error)) from error
    moments = {name: getattr(record, name, None) for name in ("timestamp", "ttl")}
    faults = time_faults(kind, moments, stored_at)
    if event_ahead is not None and isinstance(record, DecisionRecord):
        faults += event_faults(record, event_ahead)
    if faults:
        raise RecordRefused(faults)
    return record


def time_faults(kind: Kind, item: Mapping[str, Any], stored_at: float) -> list[Fault]:
    """List what is wrong with a record's `timestamp` and `ttl`, given when it was stored."""
    faults = []
    timestamp, ttl, limit = item.get("timestamp"), item.get("ttl"), MAX_TTL_S.get(kind)
    if timestamp is not None and timestamp > stored_at + MAX_AHEAD_S:
        ahead = timestamp - stored_at
        text = f"{ahead:.0f} s in the future; at most {MAX_AHEAD_S} s are allowed: set your clock"
        faults.append(Fault("future_timestamp", "timestamp", text))
    if ttl is not None and ttl <= stored_at - 1:
        text = f"{ttl} was past when the record was stored; give epoch seconds in the future"
        faults.append(Fault("expired_ttl", "ttl", text))
    if ttl is not None and limit is not None and ttl > stored_at + limit + MAX_AHEAD_S:
        text = f"{ttl} is more than {limit // 86_400} days ahead, the most for a {kind}"
        faults.append(Fault("distant_ttl", "ttl", text))
    return faults


def event_faults(decision: DecisionRecord, event_ahead: EventAhead) -> list[Fault]:
    """List what is wrong with a decision's event time."""
    moment, name = decision.event_time, decision.decision_type
    if moment is None or not is_far_ahead(moment, decision.timestamp, name, event_ahead):
        return []
    limit = event_ahead.get(name, EVENT_AHEAD_S)
    text = f"{moment} lies more than {limit} s after the decision's timestamp, the most for {name}"
    remedy = "; let SHARPWAVE_EVENT_AHEAD allow more if such decisions are about the future"
    return [Fault("future_event_time", "event_time", text + remedy)]


def unknown_key(table: str) -> Fault:
    """Say which keys a table takes."""
    return Fault("unknown_key", "PK/SK", f"no record has this key; use {_KEY_SHAPES[table]}")


def too_deep(depth: int) -> Fault:
    """Say that a record nests too deeply."""
    return Fault("too_deep", "", f"maps and lists nest {depth} deep; at most {MAX_DEPTH} are read")


def too_large(size: int) -> Fault:
    """Say that a signal is too large."""
    text = f"{size} bytes; a signal holds at most {MAX_SIGNAL_BYTES}: store it and send a reference"
    return Fault("too_large", "", text)


def kind_of(table: str, pk: str, sk: str) -> Kind | None:
    """Say what a key of a streamed table stands for, or None if it has no known shape."""
    parsed = parse(table, pk, sk)
    return parsed.kind if parsed else None


def _explain(error: ValidationError) -> list[Fault]:
    faults = []
    for detail in error.errors(include_url=False, include_context=False):
        where = ".".join(str(part) for part in detail["loc"])
        message = detail["msg"].removeprefix("Value error, ")
        if detail["type"] == "missing":
            message = "missing; every record of this kind has it"
        code = "inconsistent" if detail["type"] == "value_error" else detail["type"]
        faults.append(Fault(code, where, message))
    return faults
