"""Whether a record in a stream may enter the pipeline.

The fast path reads the typed image's needed attributes in one pass; only a record that fails it
is read by the pydantic models, which then say what is wrong or find nothing wrong after all.
"""

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
_SHARE = r"^(0(\.[0-9]{1,30})?|1(\.0{1,30})?)\Z"
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
_FRACTION = pattern(r"(\.[0-9]{1,9})?Z")
_A_DATED_SK = keys.dated_sk("2000-01-01T00:00:00Z", "id")
#: Entries of each cache: partition keys, agents and seconds seen lately.
_CACHED = 16_384


class _Text(Struct, gc=False):
    S: str


class _Number(Struct, gc=False):
    N: str


class _Id(Struct, gc=False):
    S: Annotated[str, Meta(pattern=_RECORD_ID)]


class _Share(Struct, gc=False):
    N: Annotated[str, Meta(pattern=_SHARE)]


class _Short(Struct, gc=False):
    S: Annotated[str, Meta(min_length=1, max_length=1024)]


class _Revision(Struct, gc=False):
    N: Annotated[str, Meta(pattern=r"^[1-9][0-9]{0,4}\Z")]


class _Version(Struct, gc=False):
    N: Literal["1"]


class _Map(Struct, gc=False):
    M: dict[Any, Any]


class _Success(Struct, gc=False):
    BOOL: bool


class _OutcomeMap(Struct, gc=False):
    success: _Success
    quality_score: _Share | None = None


class _Outcome(Struct, gc=False):
    M: _OutcomeMap


class _Targets(Struct, gc=False):
    L: Annotated[list[_Text], Meta(min_length=1, max_length=MAX_TARGETS)]


class _Timed(Struct, gc=False):
    PK: _Text
    SK: _Text
    timestamp: _Number
    iso_timestamp: _Text
    event_time: _Text | None = None
    ttl: _Number | None = None
    schema_version: _Version | None = None
    context: _Map | None = None


class _Decision(_Timed, kw_only=True, gc=False):
    agent_id: _Text
    decision_id: _Text
    decision_type: _Text
    outcome: _Outcome | None = None
    outcome_rev: _Revision | None = None
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
    confidence: _Share | None = None
    data: _Map | None = None
    recommended_action: _Short | None = None
    correlation_id: _Short | None = None
    traceparent: _Short | None = None


_is_agent_id = lru_cache(_CACHED)(ids.is_agent_id)
_is_event_time = lru_cache(_CACHED)(times.is_event_time)


@lru_cache(_CACHED)
def place_of(table: str, pk: str) -> keys.Parsed | None:
    """Say what a partition key of decisions or signals stands for, whatever the sort key is."""
    return keys.parse(table, pk, _A_DATED_SK)


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
    if _may_be_too_deep(text):
        depth = max(wire_depth(value) for value in image.values())
        if depth > MAX_DEPTH:
            return [too_deep(depth)]
    if kind == "signal" and len(text) > MAX_SIGNAL_BYTES:
        fault = too_large(kind, wire_size(image))
        if fault is not None:
            return [fault]
    if kind in _FITS and _passes(kind, image, stored_at, event_ahead):
        return []
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
    is_small = not _may_be_too_deep(text) and len(text) <= MAX_SIGNAL_BYTES
    return is_small and _passes(kind, image, stored_at, event_ahead)


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
    moments = [_moment(image, "registered_at" if kind == "registration" else "timestamp")]
    limit, ttl = kind and MAX_TTL_S.get(kind), _moment(image, "ttl")
    if limit and ttl is not None:
        moments.append(ttl - limit)
    return None if moments[0] is None else max(moment for moment in moments if moment is not None)


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
    """Say whether so many maps and lists hold something that their depth must be looked at."""
    return text.count('"M":{"') + text.count('"L":[{') >= MAX_DEPTH - 1


def _passes(kind: keys.Kind, image: Image, stored_at: float, event_ahead: EventAhead) -> bool:
    try:
        return _FITS[kind](image, stored_at, event_ahead)
    except (ValidationError, ValueError):
        return False


def _decision_fits(image: Image, stored_at: float, event_ahead: EventAhead) -> bool:
    decision = convert(image, _Decision)
    place = place_of(tables.DECISIONS, decision.PK.S)
    revision = decision.outcome_rev
    return (
        place is not None
        and place.owner == decision.agent_id.S
        and place.type_name == decision.decision_type.S
        and (revision is None or int(revision.N) <= 65_535)
        and _times_fit(decision, decision.decision_id.S, stored_at, MAX_TTL_S["decision"])
        and not _is_far_ahead(decision, event_ahead)
    )


def _signal_fits(image: Image, stored_at: float, event_ahead: EventAhead) -> bool:
    signal = convert(image, _Signal)
    place, source = place_of(tables.SIGNALS, signal.PK.S), signal.source_agent.S
    return (
        place is not None
        and place.type_name == signal.signal_type.S
        and (place.owner == source or (place.owner is None and _is_agent_id(source)))
        and _times_fit(signal, signal.signal_id.S, stored_at, MAX_TTL_S["signal"])
        and _targets_fit(signal.target_agents.L)
    )


_FITS: Mapping[keys.Kind, Callable[[Image, float, EventAhead], bool]] = {
    "decision": _decision_fits,
    "signal": _signal_fits,
}


def _targets_fit(targets: list[_Text]) -> bool:
    for target in targets:
        if not _is_agent_id(target.S):
            return len(targets) == 1 and target.S in (ids.EVERYONE, ids.SUBSCRIBERS)
    return True


def _times_fit(record: _Timed, record_id: str, stored_at: float, max_ttl_s: int) -> bool:
    iso, _, name = record.SK.S.partition("#")
    also, claimed = record.iso_timestamp.S, record.timestamp.N
    if name != record_id or _record_id(name) is None:
        return False
    if not _agree(iso, claimed) or (also != iso and not _agree(also, claimed)):
        return False
    if record.event_time is not None and not _is_event_time(record.event_time.S):
        return False
    if not 0 <= int(claimed) <= stored_at + times.MAX_AHEAD_S:
        return False
    late = stored_at + max_ttl_s + times.MAX_AHEAD_S
    return record.ttl is None or stored_at - 1 < int(record.ttl.N) <= late


def _is_far_ahead(decision: _Decision, event_ahead: EventAhead) -> bool:
    if decision.event_time is None:
        return False
    moment, claimed = decision.event_time.S, int(decision.timestamp.N)
    return times.is_far_ahead(moment, claimed, decision.decision_type.S, event_ahead)


def _agree(iso: str, timestamp: str) -> bool:
    """Say whether a UTC time lies in the second of `timestamp` or the one before it.

    A time a whole second later agrees too, which is rare enough for the models to find out.
    """
    return _seconds_agree(iso[:19], timestamp) and _is_fraction(iso[19:])


@lru_cache(_CACHED)
def _seconds_agree(iso: str, timestamp: str) -> bool:
    second = int(times.epoch_of(iso)) if times.is_iso(f"{iso}Z") else None
    return second is not None and -1 <= second - int(timestamp) <= 0


@lru_cache(_CACHED)
def _is_fraction(text: str) -> bool:
    return _FRACTION.fullmatch(text) is not None
