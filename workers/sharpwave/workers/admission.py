"""Whether a record in a stream may enter the pipeline.

The fast path reads the typed image's needed attributes in one pass; only a record that fails it
is read by the pydantic models, which then say what is wrong or find nothing wrong after all.
"""

import re
from collections.abc import Mapping
from datetime import datetime
from typing import Annotated, Any

from msgspec import Meta, Struct, ValidationError, convert

from sharpwave.schemas import ids, keys, times
from sharpwave.schemas.faults import (
    MAX_TTL_S,
    Fault,
    RecordRefused,
    too_deep,
    too_large,
    validate,
)
from sharpwave.schemas.numbers import Wire, item_from_wire, wire_depth, wire_size
from sharpwave.schemas.records import MAX_DEPTH, MAX_SIGNAL_BYTES, MAX_TARGETS

Image = Mapping[str, Wire]

_SHARE = r"^(0(\.\d{1,30})?|1(\.0{1,30})?)$"
_MOMENT = r"^\d{1,10}$"
_SHORT = r"^[\s\S]{1,1024}$"


class _Text(Struct):
    S: str


class _Moment(Struct):
    N: Annotated[str, Meta(pattern=_MOMENT)]


class _Agent(Struct):
    S: Annotated[str, Meta(pattern=ids.AGENT_ID)]


class _Type(Struct):
    S: Annotated[str, Meta(pattern=ids.TYPE_NAME)]


class _Id(Struct):
    S: Annotated[str, Meta(pattern=ids.RECORD_ID)]


class _Share(Struct):
    N: Annotated[str, Meta(pattern=_SHARE)]


class _Short(Struct):
    S: Annotated[str, Meta(pattern=_SHORT)]


class _Revision(Struct):
    N: Annotated[str, Meta(pattern=r"^[1-9]\d{0,4}$")]


class _Version(Struct):
    N: Annotated[str, Meta(pattern=r"^1$")]


class _Map(Struct):
    M: dict[str, Any]


class _Success(Struct):
    BOOL: bool


class _OutcomeMap(Struct):
    success: _Success
    quality_score: _Share | None = None


class _Outcome(Struct):
    M: _OutcomeMap


class _Targets(Struct):
    L: Annotated[list[_Text], Meta(min_length=1, max_length=MAX_TARGETS)]


class _Timed(Struct):
    PK: _Text
    SK: _Text
    timestamp: _Moment
    iso_timestamp: _Text
    event_time: _Text | None = None
    ttl: _Moment | None = None
    schema_version: _Version | None = None
    context: _Map | None = None


class _Decision(_Timed, kw_only=True):
    agent_id: _Agent
    decision_id: _Id
    decision_type: _Type
    outcome: _Outcome | None = None
    outcome_rev: _Revision | None = None
    agent_version: _Short | None = None
    reasoning: _Map | None = None
    inputs: _Map | None = None
    parent_decision_id: _Id | None = None
    root_decision_id: _Id | None = None


class _Signal(_Timed, kw_only=True):
    signal_id: _Id
    signal_type: _Type
    source_agent: _Agent
    target_agents: _Targets
    severity: _Short | None = None
    confidence: _Share | None = None
    data: _Map | None = None
    recommended_action: _Short | None = None
    correlation_id: _Short | None = None
    traceparent: _Short | None = None


_AGENT_ID = re.compile(ids.AGENT_ID)


def faults_of(kind: keys.Kind, image: Image, *, text: str, stored_at: float) -> list[Fault]:
    """List what is wrong with a record; an empty list admits it.

    Args:
        kind: what the record's key says it is.
        image: the record's typed attributes.
        text: the image as ASCII JSON, from which depth and size are bounded without a walk.
        stored_at: epoch seconds at which the record was stored.
    """
    if text.count('"M":') + text.count('"L":') > MAX_DEPTH:
        depth = max(wire_depth(value) for value in image.values())
        if depth > MAX_DEPTH:
            return [too_deep(depth)]
    if kind == "signal" and len(text) > MAX_SIGNAL_BYTES:
        size = wire_size(image)
        if size > MAX_SIGNAL_BYTES:
            return [too_large(size)]
    if _passes(kind, image, stored_at):
        return []
    return explain(kind, image, stored_at)


def explain(kind: keys.Kind, image: Image, stored_at: float) -> list[Fault]:
    """List what the models find wrong with a record."""
    try:
        validate(kind, item_from_wire(image), stored_at=stored_at)
    except RecordRefused as refused:
        return refused.faults
    return []


def _passes(kind: keys.Kind, image: Image, stored_at: float) -> bool:
    try:
        if kind == "decision":
            return _decision_fits(convert(image, _Decision), stored_at)
        if kind == "signal":
            return _signal_fits(convert(image, _Signal), stored_at)
    except (ValidationError, ValueError):
        return False
    return False


def _decision_fits(decision: _Decision, stored_at: float) -> bool:
    revision = decision.outcome_rev
    return (
        decision.PK.S == keys.decision_pk(decision.agent_id.S, decision.decision_type.S)
        and (revision is None or int(revision.N) <= 65_535)
        and _times_fit("decision", decision, decision.decision_id.S, stored_at)
    )


def _signal_fits(signal: _Signal, stored_at: float) -> bool:
    compatible = f"signal#{signal.signal_type.S}"
    return (
        signal.PK.S in (compatible, f"{compatible}#{signal.source_agent.S}")
        and _times_fit("signal", signal, signal.signal_id.S, stored_at)
        and _targets_fit(signal.target_agents.L)
    )


def _targets_fit(targets: list[_Text]) -> bool:
    if len(targets) == 1 and targets[0].S in (ids.EVERYONE, ids.SUBSCRIBERS):
        return True
    return all(_AGENT_ID.fullmatch(target.S) for target in targets)


def _times_fit(kind: keys.Kind, record: _Timed, record_id: str, stored_at: float) -> bool:
    iso, _, name = record.SK.S.partition("#")
    timestamp = int(record.timestamp.N)
    if name != record_id or not times.is_iso(iso) or not times.is_iso(record.iso_timestamp.S):
        return False
    if record.event_time is not None and not times.is_event_time(record.event_time.S):
        return False
    moments = {iso, record.iso_timestamp.S}
    drifts = (abs(_epoch(moment) - timestamp) for moment in moments)
    if max(drifts) > times.MAX_DRIFT_S or timestamp > stored_at + times.MAX_AHEAD_S:
        return False
    ttl = None if record.ttl is None else int(record.ttl.N)
    late = stored_at + MAX_TTL_S[kind] + times.MAX_AHEAD_S
    return ttl is None or stored_at - 1 < ttl <= late


def _epoch(iso: str) -> float:
    return datetime.fromisoformat(iso).timestamp()
