"""Whether a record in a stream may enter the pipeline.

The fast path reads the typed image's needed attributes in one pass; only a record that fails it
is read by the pydantic models, which then say what is wrong or find nothing wrong after all.
"""

import math
from collections.abc import Callable, Mapping
from functools import lru_cache
from re import compile as pattern
from typing import Annotated, Any, Literal

from msgspec import Meta, Struct, ValidationError, convert

from sharpwave.schemas import ids, keys, tables, times
from sharpwave.schemas.faults import (
    MAX_TTL_S,
    Fault,
    RecordRefused,
    too_deep,
    too_large,
    validate,
)
from sharpwave.schemas.numbers import Wire, item_from_wire, item_to_wire, wire_depth, wire_size
from sharpwave.schemas.records import MAX_DEPTH, MAX_SIGNAL_BYTES, MAX_TARGETS, RECORDS
from sharpwave.schemas.times import EventAhead
from sharpwave.workers.work.envelope import ascii_json

Image = Mapping[str, Wire]

#: Most faults told of one record, and most characters of what each says.
MAX_FAULTS, MAX_MESSAGE = 20, 500

# In Python `$` also matches before a newline at the end, which the models do not.
_RECORD_ID = ids.RECORD_ID.removesuffix("$") + r"\Z"
# The models read text as a number where it looks like one, and a set as a list; handlers do not.
_WIRE_KINDS = {
    "L": {"target_agents"},
    "N": {"timestamp", "ttl", "schema_version", "confidence", "outcome_rev", "expires_at"}
    | {"importance", "access_count", "current_cycle", "last_updated", "version"}
    | {"registered_at", "signals_per_minute"},
}
_OUTCOME_KINDS = {"BOOL": {"success"}, "N": {"quality_score"}}
_MOMENTS = frozenset({"timestamp", "ttl"})
_record_id = pattern(ids.RECORD_ID).fullmatch
_share = pattern(r"0(\.[0-9]{1,30})?|1(\.0{1,30})?").fullmatch
_FRACTION = pattern(r"(\.[0-9]{1,9})?Z")
_A_DATED_SK = keys.dated_sk("2000-01-01T00:00:00Z", "id")
_LAST_MOMENT = 9_999_999_999
#: Entries of each cache: partition keys, agents and seconds seen lately.
_CACHED = 16_384


class _Text(Struct, gc=False):
    S: str


class _Number(Struct, gc=False):
    N: str


class _Id(Struct, gc=False):
    S: Annotated[str, Meta(pattern=_RECORD_ID)]


class _Short(Struct, gc=False):
    S: Annotated[str, Meta(min_length=1, max_length=1024)]


class _Version(Struct, gc=False):
    N: Literal["1"]


class _Map(Struct, gc=False):
    M: dict[Any, Any]


class _Flag(Struct, gc=False):
    BOOL: bool


class _OutcomeMap(Struct, gc=False):
    success: _Flag
    quality_score: _Number | None = None


class _Outcome(Struct, gc=False):
    M: _OutcomeMap


class _Resolved(Struct, gc=False):
    outcome: _Outcome | None = None
    outcome_rev: _Number | None = None


class _Texts(Struct, gc=False):
    L: list[_Text]


class _Targets(Struct, gc=False):
    L: Annotated[list[_Text], Meta(min_length=1, max_length=MAX_TARGETS)]


class _Record(Struct, kw_only=True, gc=False):
    PK: _Text
    SK: _Text
    ttl: _Number | None = None
    schema_version: _Version | None = None


class _Timed(_Record, kw_only=True, gc=False):
    timestamp: _Number
    iso_timestamp: _Text
    event_time: _Text | None = None
    context: _Map | None = None


class _Decision(_Timed, kw_only=True, gc=False):
    agent_id: _Text
    decision_id: _Text
    decision_type: _Text
    outcome: _Outcome | None = None
    outcome_rev: _Number | None = None
    agent_version: _Short | None = None
    reasoning: _Map | None = None
    inputs: _Map | None = None
    parent_decision_id: _Id | None = None
    root_decision_id: _Id | None = None


class _Signal(_Timed, kw_only=True, gc=False):
    signal_id: _Text
    signal_type: _Text
    source_agent: _Text
    target_agents: _Targets
    severity: _Short | None = None
    confidence: _Number | None = None
    data: _Map | None = None
    recommended_action: _Short | None = None
    correlation_id: _Short | None = None
    traceparent: _Short | None = None


class _Memory(_Timed, kw_only=True, gc=False):
    agent_id: _Text
    memory_id: _Text
    memory_type: _Text
    data: _Map | None = None
    importance: _Number | None = None
    access_count: _Number | None = None
    expires_at: _Number | None = None


class _State(_Record, kw_only=True, gc=False):
    agent_id: _Text
    state_type: _Text
    last_updated: _Number
    version: _Number
    agent_version: _Short | None = None
    current_cycle: _Number | None = None
    configuration: _Map | None = None
    state: _Map | None = None


class _Registration(_Record, kw_only=True, gc=False):
    agent_id: _Text
    registered_at: _Number
    subscriptions: _Texts | None = None
    may_broadcast: _Flag | None = None
    accepts_from: _Texts | None = None
    signals_per_minute: _Number | None = None


_is_agent_id = lru_cache(_CACHED)(ids.is_agent_id)
_is_type_name = lru_cache(_CACHED)(ids.is_type_name)
_is_event_time = lru_cache(_CACHED)(times.is_event_time)


@lru_cache(_CACHED)
def place_of(table: str, pk: str, sk: str = _A_DATED_SK) -> keys.Parsed | None:
    """Say what a key stands for; where none is given, its sort key is taken for a good one."""
    return keys.parse(table, pk, sk)


def faults_of(
    kind: keys.Kind,
    image: Image,
    *,
    text: str,
    stored_at: float,
    event_ahead: EventAhead = times.AS_A_RULE,
) -> list[Fault]:
    """List what is wrong with a record; an empty list admits it.

    Args:
        kind: what the record's key says it is.
        image: the record's typed attributes.
        text: the image as ASCII JSON, with anything around it; depth and size are bounded from
            it without a walk.
        stored_at: epoch seconds at which the record was stored.
        event_ahead: how far ahead the event time of decisions may lie, by their type.
    """
    if is_sound(kind, image, text=text, stored_at=stored_at, event_ahead=event_ahead):
        return []
    if _may_be_too_deep(text):
        depth = max(wire_depth(value) for value in image.values())
        if depth > MAX_DEPTH:
            return [too_deep(depth)]
    if kind == "signal" and len(text) > MAX_SIGNAL_BYTES:
        fault = too_large(kind, wire_size(image))
        if fault is not None:
            return [fault]
    return explain(kind, image, stored_at, event_ahead)


def is_sound(
    kind: keys.Kind,
    image: Image,
    *,
    text: str,
    stored_at: float,
    event_ahead: EventAhead = times.AS_A_RULE,
) -> bool:
    """Say whether the fast path admits a record; one that it does not may still have no fault."""
    if _may_be_too_deep(text) or (kind == "signal" and len(text) > MAX_SIGNAL_BYTES):
        return False
    try:
        return _FITS[kind](image, stored_at, event_ahead)
    except (ValidationError, ValueError):
        return False


def had_sound_outcome(decision: Image) -> bool:
    """Say whether the fast path admits the outcome of a decision, or it has none."""
    try:
        found = convert(decision, _Resolved)
        is_flat = found.outcome is None or wire_depth(decision["outcome"]) <= MAX_DEPTH
        return is_flat and _outcome_fits(found.outcome, found.outcome_rev)
    except (ValidationError, ValueError):
        return False


def is_admissible(
    kind: keys.Kind, item: Mapping[str, Any], *, event_ahead: EventAhead = times.AS_A_RULE
) -> bool:
    """Say whether an item found in its table may be worked with, by the time that it claims."""
    image = item_to_wire(item)
    stored_at = claimed_at(kind, image) or 0.0
    return not faults_of(
        kind, image, text=ascii_json(image), stored_at=stored_at, event_ahead=event_ahead
    )


def claimed_at(kind: keys.Kind | None, image: Image) -> float | None:
    """Give the moment at which a record in its table says that it was stored, if it does.

    That is its `timestamp`, unless its `ttl` lies further ahead of that than is allowed: what is
    written long after its moment may live as long as any other record.
    """
    moment = _moment(image, "registered_at" if kind == "registration" else "timestamp")
    limit, ttl = kind and MAX_TTL_S.get(kind), _moment(image, "ttl")
    if moment is None or ttl is None or not limit:
        return moment
    return max(moment, ttl - limit)


def _moment(image: Image, name: str) -> float | None:
    text = image.get(name, {}).get("N", "")
    return float(text) if text.isdigit() else None


def explain(
    kind: keys.Kind, image: Image, stored_at: float, event_ahead: EventAhead = times.AS_A_RULE
) -> list[Fault]:
    """List what the models find wrong with a record, cut to what a notice can hold."""
    faults = _misfits(kind, image) or _refused(kind, image, stored_at, event_ahead)
    return [
        fault._replace(where=fault.where[:MAX_MESSAGE], message=fault.message[:MAX_MESSAGE])
        for fault in faults[:MAX_FAULTS]
    ]


def _refused(
    kind: keys.Kind, image: Image, stored_at: float, event_ahead: EventAhead
) -> list[Fault]:
    declared = RECORDS[kind].model_fields
    known = {name: image[name] for name in image if name in declared or name not in _MOMENTS}
    try:
        validate(kind, item_from_wire(known), stored_at=stored_at, event_ahead=event_ahead)
    except RecordRefused as refused:
        return refused.faults
    return []


def _misfits(kind: keys.Kind, image: Image) -> list[Fault]:
    declared = RECORDS[kind].model_fields
    known = {name: image[name] for name in image if name in declared}
    outcome = known.get("outcome", {}).get("M", {})
    return _wrong_kinds("", known, _WIRE_KINDS) + _wrong_kinds("outcome.", outcome, _OUTCOME_KINDS)


def _wrong_kinds(path: str, image: Image, kinds: Mapping[str, set[str]]) -> list[Fault]:
    faults = []
    for expected, names in kinds.items():
        for name in sorted(names & image.keys()):
            (found,) = image[name]
            if found not in (expected, "NULL"):
                text = f"stored with DynamoDB type {found}; write it with type {expected}"
                faults.append(Fault("wire_type", path + name, text))
    return faults


def _may_be_too_deep(text: str) -> bool:
    """Say whether so many maps and lists hold something that their depth must be looked at.

    A map is counted where it is an attribute; every other one lies in a list. What is counted
    must not begin as it ends, or every other one of a row would be missed.
    """
    return text.count(':{"M":{"') + 2 * text.count('L":[{"') >= MAX_DEPTH - 1


def _decision_fits(image: Image, stored_at: float, event_ahead: EventAhead) -> bool:
    decision = convert(image, _Decision)
    place = place_of(tables.DECISIONS, decision.PK.S)
    return (
        place is not None
        and place.owner == decision.agent_id.S
        and place.type_name == decision.decision_type.S
        and _outcome_fits(decision.outcome, decision.outcome_rev)
        and _times_fit(decision, decision.decision_id.S, stored_at, MAX_TTL_S["decision"])
        and not _is_far_ahead(decision, event_ahead)
    )


def _signal_fits(image: Image, stored_at: float, _: EventAhead) -> bool:
    signal = convert(image, _Signal)
    place, source = place_of(tables.SIGNALS, signal.PK.S), signal.source_agent.S
    return (
        place is not None
        and place.type_name == signal.signal_type.S
        and (place.owner == source or (place.owner is None and _is_agent_id(source)))
        and _is_share(signal.confidence)
        and _times_fit(signal, signal.signal_id.S, stored_at, MAX_TTL_S["signal"])
        and _targets_fit(signal.target_agents.L)
    )


def _memory_fits(image: Image, stored_at: float, _: EventAhead) -> bool:
    entry = convert(image, _Memory)
    place = place_of(tables.STATE, entry.PK.S)
    return (
        place is not None
        and place.owner == entry.agent_id.S
        and place.type_name == entry.memory_type.S
        and _is_share(entry.importance)
        and _is_whole(entry.access_count)
        and _is_whole(entry.expires_at, most=_LAST_MOMENT)
        and _times_fit(entry, entry.memory_id.S, stored_at, MAX_TTL_S["memory"])
    )


def _state_fits(image: Image, stored_at: float, _: EventAhead) -> bool:
    state = convert(image, _State)
    place = place_of(tables.STATE, state.PK.S, state.SK.S)
    return (
        place is not None
        and place.kind == "state"
        and place.owner == state.agent_id.S
        and place.type_name == state.state_type.S
        and _is_whole(state.last_updated, most=_LAST_MOMENT)
        and _is_whole(state.version, 1)
        and _is_whole(state.current_cycle)
        and (state.ttl is None or stored_at - 1 < int(state.ttl.N) <= _LAST_MOMENT)
    )


def _registration_fits(image: Image, _: float, __: EventAhead) -> bool:
    mine = convert(image, _Registration)
    return (
        _is_agent_id(mine.agent_id.S)
        and (mine.PK.S, mine.SK.S) == keys.registration(mine.agent_id.S)
        and _is_whole(mine.registered_at, most=_LAST_MOMENT)
        and _is_whole(mine.signals_per_minute, 1)
        and (
            mine.subscriptions is None
            or all(_is_type_name(each.S) for each in mine.subscriptions.L)
        )
        and (mine.accepts_from is None or all(_is_agent_id(each.S) for each in mine.accepts_from.L))
    )


_FITS: Mapping[keys.Kind, Callable[[Image, float, EventAhead], bool]] = {
    "decision": _decision_fits,
    "signal": _signal_fits,
    "memory": _memory_fits,
    "state": _state_fits,
    "registration": _registration_fits,
}


def _is_share(number: _Number | None) -> bool:
    return number is None or _share(number.N) is not None


def _is_whole(number: _Number | None, least: int = 0, most: float = math.inf) -> bool:
    return number is None or least <= int(number.N) <= most


def _outcome_fits(outcome: _Outcome | None, revision: _Number | None) -> bool:
    is_scored = outcome is None or _is_share(outcome.M.quality_score)
    return is_scored and _is_whole(revision, 1, 65_535)


def _targets_fit(targets: list[_Text]) -> bool:
    for target in targets:
        if not _is_agent_id(target.S):
            return len(targets) == 1 and target.S in (ids.EVERYONE, ids.SUBSCRIBERS)
    return True


def _times_fit(record: _Timed, record_id: str, stored_at: float, max_ttl_s: int) -> bool:
    iso, _, name = record.SK.S.partition("#")
    also, claimed = record.iso_timestamp.S, record.timestamp.N
    ttl = stored_at if record.ttl is None else int(record.ttl.N)
    return (
        name == record_id
        and _record_id(name) is not None
        and 0 <= _agreed(iso[:19], claimed) <= stored_at + times.MAX_AHEAD_S
        and _is_fraction(iso[19:])
        and (also == iso or (_agreed(also[:19], claimed) >= 0 and _is_fraction(also[19:])))
        and stored_at - 1 < ttl <= stored_at + max_ttl_s + times.MAX_AHEAD_S
        and ttl <= _LAST_MOMENT
        and (record.event_time is None or _is_event_time(record.event_time.S))
    )


def _is_far_ahead(decision: _Decision, event_ahead: EventAhead) -> bool:
    if decision.event_time is None:
        return False
    moment, claimed = decision.event_time.S, int(decision.timestamp.N)
    return times.is_far_ahead(moment, claimed, decision.decision_type.S, event_ahead)


@lru_cache(_CACHED)
def _agreed(iso: str, timestamp: str) -> int:
    """Give `timestamp` if a UTC time without fraction is that second or the one before, else -1.

    A time a whole second later agrees too, which is rare enough for the models to find out.
    """
    second = int(times.epoch_of(iso)) if times.is_iso(f"{iso}Z") else math.inf
    moment = int(timestamp)
    return moment if -1 <= second - moment <= 0 and moment <= _LAST_MOMENT else -1


@lru_cache(_CACHED)
def _is_fraction(text: str) -> bool:
    return _FRACTION.fullmatch(text) is not None
