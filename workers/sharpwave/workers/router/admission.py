"""Whether a record in a stream may enter the pipeline, and what is wrong with it if not."""

from collections.abc import Mapping
from typing import Any

from sharpwave.schemas import keys, times
from sharpwave.schemas.faults import (
    MAX_TTL_S,
    Fault,
    RecordRefused,
    too_deep,
    too_large,
    validate,
)
from sharpwave.schemas.numbers import Wire, item_from_wire, item_to_wire, wire_depth, wire_size
from sharpwave.schemas.records import MAX_DEPTH, MAX_SIGNAL_BYTES, RECORDS
from sharpwave.schemas.times import EventAhead
from sharpwave.workers.router.fast_path import sound
from sharpwave.workers.router.image import Image, may_be_too_deep
from sharpwave.workers.work.envelope import ascii_json

#: Most faults told of one record, and most characters of what each says.
MAX_FAULTS, MAX_MESSAGE = 20, 500
# The models read text as a number where it looks like one, and a set as a list; handlers do not.
_WIRE_KINDS = {
    "L": {"target_agents"},
    "SS": {"shared_with", "shared_domains"},
    "M": {"large"},
    "N": {"timestamp", "ttl", "schema_version", "confidence", "outcome_rev", "expires_at"}
    | {"importance", "access_count", "current_cycle", "last_updated", "version"}
    | {"registered_at", "signals_per_minute", "last_accessed", "forgotten_at"},
}
_OUTCOME_KINDS = {"BOOL": {"success"}, "N": {"quality_score"}}
_MOMENTS = frozenset({"timestamp", "ttl"})


def faults_of(
    kind: keys.Kind,
    image: Image,
    *,
    stored_at: float,
    event_ahead: EventAhead = times.AS_A_RULE,
) -> list[Fault]:
    """List what is wrong with a record; an empty list admits it.

    Args:
        kind: what the record's key says it is.
        image: the record's typed attributes.
        stored_at: epoch seconds at which the record was stored.
        event_ahead: how far ahead the event time of decisions may lie, by their type.
    """
    key = keys.Key(*(str(image.get(name, {}).get("S", "")) for name in ("PK", "SK")))
    raw, text = image.raw, ascii_json(image.raw)
    if sound(kind, raw, key=key, text=text, stored_at=stored_at, event_ahead=event_ahead):
        return []
    if may_be_too_deep(text):
        depth = max(map(wire_depth, image.values()))
        if depth > MAX_DEPTH:
            return [too_deep(depth)]
    if kind == "signal" and len(text) > MAX_SIGNAL_BYTES:
        fault = too_large(kind, wire_size(image))
        if fault is not None:
            return [fault]
    return explain(kind, image, stored_at, event_ahead)


def is_admissible(
    kind: keys.Kind, item: Mapping[str, Any], *, event_ahead: EventAhead = times.AS_A_RULE
) -> bool:
    """Say whether an item found in its table may be worked with, by the time that it claims."""
    image = Image(item_to_wire(item))
    stored_at = claimed_at(kind, image) or 0.0
    return not faults_of(kind, image, stored_at=stored_at, event_ahead=event_ahead)


def claimed_at(kind: keys.Kind | None, image: Mapping[str, Wire]) -> float | None:
    """Give the moment at which a record in its table says that it was stored, if it does.

    That is its `timestamp`, unless its `ttl` lies further ahead of that than is allowed: what is
    written long after its moment may live as long as any other record.
    """
    moment = moment_of(image, "registered_at" if kind == "registration" else "timestamp")
    limit, ttl = kind and MAX_TTL_S.get(kind), moment_of(image, "ttl")
    if moment is None or ttl is None or not limit:
        return moment
    return max(moment, ttl - limit)


def moment_of(image: Mapping[str, Wire], name: str) -> float | None:
    """Read epoch seconds of an image; None if it has none there, or none that time counts by."""
    text = image.get(name, {}).get("N", "")
    return float(text) if text.isdigit() else None


def explain(
    kind: keys.Kind,
    image: Mapping[str, Wire],
    stored_at: float,
    event_ahead: EventAhead = times.AS_A_RULE,
) -> list[Fault]:
    """List what the models find wrong with a record, cut to what a notice can hold."""
    declared = RECORDS[kind].model_fields
    known = {name: image[name] for name in image if name in declared}
    outcome = known.get("outcome", {}).get("M", {})
    # Types first: the models are given plain values, in which a wrong one no longer shows.
    faults = _wrong_kinds("", known, _WIRE_KINDS)
    faults += _wrong_kinds("outcome.", outcome, _OUTCOME_KINDS)
    if not faults:
        # The time rules would take a moment that this kind does not have for one that it has.
        rest = {name: image[name] for name in image if name in declared or name not in _MOMENTS}
        try:
            validate(kind, item_from_wire(rest), stored_at=stored_at, event_ahead=event_ahead)
        except RecordRefused as refused:
            faults = refused.faults
    return [
        fault._replace(where=fault.where[:MAX_MESSAGE], message=fault.message[:MAX_MESSAGE])
        for fault in faults[:MAX_FAULTS]
    ]


def _wrong_kinds(
    path: str, image: Mapping[str, Wire], kinds: Mapping[str, set[str]]
) -> list[Fault]:
    faults = []
    for expected, names in kinds.items():
        for name in sorted(names & image.keys()):
            (found,) = image[name]
            if found not in (expected, "NULL"):
                text = f"stored with DynamoDB type {found}; write it with type {expected}"
                faults.append(Fault("wire_type", path + name, text))
    return faults
