"""What is wrong with a record, in words its writer can act on."""

from collections.abc import Mapping
from typing import Any, NamedTuple

from pydantic import ValidationError
from pydantic_core import ErrorDetails

from sharpwave.schemas.ids import IN_WORDS
from sharpwave.schemas.keys import Kind, parse
from sharpwave.schemas.numbers import UnstorableValue
from sharpwave.schemas.records import (
    MAX_DECISION_TTL_S,
    MAX_DEPTH,
    MAX_ITEM_BYTES,
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

#: How pydantic's kinds of error read: its word for the limit stands in the error's context.
_LIMITS = {
    "greater_than": ("it is above", "gt"),
    "greater_than_equal": ("it is at least", "ge"),
    "less_than_equal": ("it is at most", "le"),
}
_LENGTHS = {
    "too_short": ("it needs at least", "min_length", "item"),
    "too_long": ("it holds at most", "max_length", "item"),
    "string_too_short": ("it needs at least", "min_length", "character"),
    "string_too_long": ("it holds at most", "max_length", "character"),
}
_TYPES = {
    "dict_type": "map of names to values",
    "list_type": "list",
    "string_type": "text",
    "bool_type": "true or false",
    "int_type": "whole number",
    "int_parsing": "whole number",
    "int_from_float": "whole number",
    "float_parsing": "number",
    "decimal_type": "number",
    "decimal_parsing": "number",
    "finite_number": "number that is finite",
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
        raise RecordRefused(explained(error)) from error
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
    # `stored_at` has fractions and a time to live has none, so one second is let pass.
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


def too_large(kind: Kind, size: int) -> Fault | None:
    """Say that a record is too large, if it is; DynamoDB holds no larger ones of any kind."""
    limit = MAX_SIGNAL_BYTES if kind == "signal" else MAX_ITEM_BYTES
    if size <= limit:
        return None
    text = f"{size} bytes; a {kind} holds at most {limit}: store what is large elsewhere and"
    return Fault("too_large", "", f"{text} keep a reference")


def unstorable(error: UnstorableValue, *, under: str = "") -> Fault:
    """Say which value has no form in DynamoDB; `under` is the attribute that was looked at."""
    return Fault("unstorable_value", ".".join(filter(None, (under, error.where))), error.reason)


def kind_of(table: str, pk: str, sk: str) -> Kind | None:
    """Say what a key of a streamed table stands for, or None if it has no known shape."""
    parsed = parse(table, pk, sk)
    return parsed.kind if parsed else None


def explained(error: ValidationError, *, under: str = "") -> list[Fault]:
    """Say in words what a model found wrong.

    Args:
        error: what pydantic says.
        under: the attribute that the model stands for, if it is not a whole record.
    """
    faults = []
    for detail in error.errors(include_url=False):
        where = ".".join(str(part) for part in (*filter(None, [under]), *detail["loc"]))
        # What our own validators raise is about several attributes that disagree.
        code = "inconsistent" if detail["type"] == "value_error" else detail["type"]
        faults.append(Fault(code, where, _in_words(detail)))
    return faults


def _in_words(detail: ErrorDetails) -> str:
    kind, context, given = detail["type"], detail.get("ctx", {}), detail["input"]
    # Cut: it is written into notices, and what was refused may be large.
    shown = f"{given!r:.80}" if isinstance(given, str) else f"{given!s:.80}"
    if kind == "missing":
        return "missing; every record of this kind has it"
    if kind == "string_pattern_mismatch":
        pattern = str(context["pattern"])
        return f"{shown} cannot be used; take {IN_WORDS.get(pattern, pattern)}"
    if kind in _LIMITS:
        words, name = _LIMITS[kind]
        return f"{shown} is not allowed; {words} {context[name]}"
    if kind in _LENGTHS:
        words, name, noun = _LENGTHS[kind]
        return f"it has {len(given)} {noun}s; {words} {context[name]}"
    if kind in _TYPES:
        return f"{shown} is no {_TYPES[kind]}"
    if kind == "literal_error":
        return f"{shown} is not allowed; take {context['expected']}"
    return detail["msg"].removeprefix("Value error, ")
