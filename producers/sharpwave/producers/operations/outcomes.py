"""Saying what came of a decision, once, and correcting it."""

from typing import Any

from pydantic import ValidationError

from sharpwave.producers.call import Call, Operation
from sharpwave.producers.errors import ConditionFailed, OutcomeConflict, RecordMissing
from sharpwave.producers.identity import Identity
from sharpwave.producers.operations import storage
from sharpwave.producers.operations.storage import Item
from sharpwave.schemas.faults import RecordRefused, explained, unstorable
from sharpwave.schemas.keys import Key
from sharpwave.schemas.numbers import UnstorableValue, item_from_wire, item_to_wire
from sharpwave.schemas.records import DecisionRecord, Outcome
from sharpwave.schemas.tables import DECISIONS


def record_outcome(
    me: Identity,
    /,
    decision: DecisionRecord | Key,
    *,
    success: bool,
    quality_score: float | None = None,
    **details: object,
) -> Operation[None]:
    """Record what came of a decision. Repeating the same outcome changes nothing.

    Args:
        decision: the decision, or its key.
        success: whether it turned out well.
        quality_score: how well, 0 to 1.
        details: anything else worth keeping, such as latency_ms.

    Raises:
        RecordMissing: there is no such decision.
        OutcomeConflict: it has another outcome already; `correct_outcome` changes it.
        RecordRefused: the outcome breaks the schema; nothing was sent.
    """
    key, outcome = _key(decision), _outcome(success, quality_score, details)
    open_still = "attribute_not_exists(#o) OR attribute_type(#o, :null)"
    update = _update(me, key, "SET #o = :o", f"attribute_exists(PK) AND ({open_still})")
    update["ExpressionAttributeNames"] = {"#o": "outcome"}
    update["ExpressionAttributeValues"] = item_to_wire({":o": outcome, ":null": "NULL"})
    try:
        yield Call("dynamodb", "update_item", update)
    except ConditionFailed as met:
        stored = yield from _stored(me, key, met)
        if stored.get("outcome") != outcome:
            raise OutcomeConflict(
                f"{key.sk} already has another outcome; use correct_outcome to change it"
            ) from met


def correct_outcome(
    me: Identity,
    /,
    decision: DecisionRecord | Key,
    *,
    success: bool,
    quality_score: float | None = None,
    **details: object,
) -> Operation[int]:
    """Replace a decision's outcome. Repeating the same correction changes nothing.

    Returns:
        The outcome's revision, `outcome_rev`.

    Raises:
        RecordMissing: there is no such decision.
        OutcomeConflict: it has no outcome yet, or someone corrected it at the same time.
        RecordRefused: the outcome breaks the schema; nothing was sent.
    """
    key, outcome = _key(decision), _outcome(success, quality_score, details)
    stored = yield from storage.read(me.table(DECISIONS), key)
    if stored is None:
        raise _missing(key)
    if stored.get("outcome") is None:
        raise OutcomeConflict(f"{key.sk} has no outcome to correct yet; use record_outcome")
    revision = stored.get("outcome_rev") or 1
    if stored["outcome"] == outcome:
        return int(revision)
    yield from _revise(me, key, outcome, revision, stored)
    return int(revision) + 1


def _revise(me: Identity, key: Key, outcome: Item, revision: int, stored: Item) -> Operation[None]:
    based_on = "#r = :old" if stored.get("outcome_rev") else "attribute_not_exists(#r)"
    update = _update(me, key, "SET #o = :o, #r = :new", f"attribute_exists(PK) AND {based_on}")
    values = {":o": outcome, ":new": revision + 1}
    if stored.get("outcome_rev"):
        values[":old"] = revision
    update["ExpressionAttributeNames"] = {"#o": "outcome", "#r": "outcome_rev"}
    update["ExpressionAttributeValues"] = item_to_wire(values)
    try:
        yield Call("dynamodb", "update_item", update)
    except ConditionFailed as met:
        meant = {"outcome": outcome, "outcome_rev": revision + 1}
        if not storage.holds((yield from _stored(me, key, met)), meant):
            raise OutcomeConflict(
                f"the outcome of {key.sk} was corrected by someone else; read it and decide again"
            ) from met


def _update(me: Identity, key: Key, change: str, condition: str) -> Item:
    return {
        "TableName": me.table(DECISIONS),
        "Key": key.wire(),
        "UpdateExpression": change,
        "ConditionExpression": condition,
        "ReturnValuesOnConditionCheckFailure": "ALL_OLD",
    }


def _key(decision: DecisionRecord | Key) -> Key:
    return decision if isinstance(decision, Key) else decision.key


def _outcome(success: bool, quality_score: float | None, details: dict[str, Any]) -> Item:
    """Give an outcome as it will read back, so that it compares with what is stored."""
    given = {**details, "success": success, "quality_score": quality_score}
    try:
        outcome = Outcome.model_validate(given).model_dump()
        return item_from_wire(item_to_wire(_without_score(outcome)))
    except ValidationError as error:
        raise RecordRefused(explained(error, under="outcome")) from error
    except UnstorableValue as error:
        raise RecordRefused([unstorable(error, under="outcome")]) from error


def _without_score(outcome: Item) -> Item:
    return {k: v for k, v in outcome.items() if k != "quality_score" or v is not None}


def _stored(me: Identity, key: Key, met: ConditionFailed) -> Operation[Item]:
    """Give the decision a refused write met."""
    item = item_from_wire(met.item) or (yield from storage.read(me.table(DECISIONS), key))
    if not item:
        raise _missing(key)
    return item


def _missing(key: Key) -> RecordMissing:
    return RecordMissing(f"there is no decision {key.pk} / {key.sk}; record the decision first")
