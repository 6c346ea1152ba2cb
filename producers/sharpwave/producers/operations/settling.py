"""Ending a delivery: the agent's own row first, the queue's message after."""

from base64 import b32encode
from collections.abc import Mapping, Sequence
from hashlib import blake2b
from typing import Any, Literal

from sharpwave.producers.call import Call, Operation, Pause
from sharpwave.producers.errors import (
    AlreadyExists,
    AlreadySettled,
    ConditionFailed,
    InvalidRequest,
    RecordMissing,
    Throttled,
)
from sharpwave.producers.identity import Identity, log
from sharpwave.producers.operations import decisions, storage
from sharpwave.producers.operations.decisions import Parent
from sharpwave.producers.operations.receiving import Handling, Received, discard
from sharpwave.producers.operations.storage import Item
from sharpwave.schemas import keys
from sharpwave.schemas.faults import Fault, RecordRefused
from sharpwave.schemas.numbers import Wire, item_to_wire
from sharpwave.schemas.queues import is_final
from sharpwave.schemas.records import DecisionRecord
from sharpwave.schemas.tables import DECISIONS, SIGNALS
from sharpwave.schemas.times import iso_ms

_ATTEMPTS, _FIRST_PAUSE_S = 8, 0.02
_TRANSIENT = frozenset({"None", "TransactionConflict", "ThrottlingError"})
_MAX_REASON = 1024

Acknowledged = Literal["PROCESSED", "FAILED"]


def ack(
    handling: Handling,
    /,
    *,
    decision: DecisionRecord | str | None = None,
    reason: str | None = None,
) -> Operation[None]:
    """Say that the signal was worked. An acknowledgement made before is never changed.

    Args:
        decision: the decision it led to, or its id.
        reason: a remark, at most 1024 characters.

    Raises:
        AlreadySettled: this delivery was acknowledged, failed or given back before.
    """
    decision_id = decision.decision_id if isinstance(decision, DecisionRecord) else decision
    yield from _settle(handling, "PROCESSED", decision_id=decision_id, reason=reason)


def fail(handling: Handling, /, reason: str) -> Operation[None]:
    """Say that the signal cannot be worked. This is final: to try again, leave the message.

    Raises:
        AlreadySettled: this delivery was acknowledged, failed or given back before.
    """
    yield from _settle(handling, "FAILED", reason=reason)


def release(handling: Handling, /) -> Operation[None]:
    """Give the delivery back: it is handed out again at once.

    Raises:
        AlreadySettled: this delivery was acknowledged, failed or given back before.
    """
    _check_open(handling)
    yield from give_back([handling.received])
    handling.settled = "given back"


def decide(
    handling: Handling,
    /,
    decision_type: str,
    *,
    context: Mapping[str, Any] | None = None,
    reasoning: Mapping[str, Any] | None = None,
    inputs: Mapping[str, Any] | None = None,
    outcome: Mapping[str, Any] | None = None,
    parent: Parent | None = None,
    event_time: str | None = None,
    ttl_s: int | None = None,
    agent_version: str | None = None,
) -> Operation[DecisionRecord]:
    """Record the decision the signal led to and acknowledge it, both or neither, once.

    However often the delivery is handed out, and however many handle it at once, one decision is
    stored; the others are given that one. Its id follows from the delivery and its time is the
    whole second of the acknowledgement. The arguments are those of `Agent.decide`.

    Raises:
        AlreadySettled: this delivery was acknowledged, failed or given back before.
        RecordMissing: the delivery's row is gone, a week after it expired.
        RecordRefused: the decision breaks its schema; nothing was sent.
    """
    _check_open(handling)
    me, moment = handling.me, handling.me.now()
    described = {
        "context": context,
        "reasoning": reasoning,
        "inputs": inputs,
        "outcome": outcome,
        "event_time": event_time,
        "agent_version": agent_version,
        "caused_by": handling.message.delivery_id,
        **(yield from decisions.lineage(me, parent)),
    }
    decision_id = decision_id_of(handling.message.delivery_id)
    record, wire = decisions.draft(me, decision_type, decision_id, moment, described, ttl_s)
    if not (yield from _commit(handling, record, wire)):
        record = yield from _existing(handling, decision_type)
    yield from _finish(handling, "acknowledged")
    return record


def decision_id_of(delivery_id: str) -> str:
    """Give the id of the one decision a delivery leads to."""
    digest = blake2b(delivery_id.encode(), digest_size=15).digest()
    return f"dec_{b32encode(digest).decode().lower()}"


def give_back(received: Sequence[Received]) -> Operation[None]:
    """Make messages visible to others at once."""
    for message in received:
        message.held = False
    if received:
        yield _visibility(received, [0] * len(received))


def extend(received: Sequence[Received]) -> Operation[list[Received]]:
    """Keep messages invisible for another visibility timeout; at most 10, all of one queue.

    A message that is gone, or was held for 12 hours, is no longer held.

    Returns:
        Those that SQS did not renew now but may later.
    """
    reply = yield _visibility(received, [message.visibility_timeout_s for message in received])
    again: list[Received] = []
    for refused in reply.get("Failed", []):
        message = received[int(refused["Id"])]
        if is_final(refused):
            message.held = False
        else:
            again.append(message)
    return again


def _visibility(received: Sequence[Received], timeouts: Sequence[int]) -> Call:
    entries = [
        {"Id": str(number), "ReceiptHandle": message.receipt, "VisibilityTimeout": timeout}
        for number, (message, timeout) in enumerate(zip(received, timeouts, strict=True))
    ]
    params = {"QueueUrl": received[0].url, "Entries": entries}
    return Call("sqs", "change_message_visibility_batch", params)


def _check_open(handling: Handling) -> None:
    if handling.settled:
        delivery = handling.message.delivery_id
        raise AlreadySettled(f"{delivery} is {handling.settled} already; settle a delivery once")


def acknowledge(
    me: Identity,
    row: keys.Key,
    status: Acknowledged,
    *,
    decision_id: str | None = None,
    reason: str | None = None,
) -> Operation[Item]:
    """Write an acknowledgement on a delivery's row; gives what was written.

    Raises:
        ConditionFailed: the row says PROCESSED already; or, without its item, it is gone.
    """
    if reason is not None and not 0 < len(reason) <= _MAX_REASON:
        text = f"{len(reason)} characters; write 1 to {_MAX_REASON}"
        raise RecordRefused([Fault("reason_length", "reason", text)])
    given = {
        "status": status,
        "processed_at": me.now(),
        "decision_id": decision_id,
        "reason": reason,
    }
    values = storage.without_none(given)
    yield Call("dynamodb", "update_item", _row_change(me, row, values))
    return values


def _settle(
    handling: Handling,
    status: Acknowledged,
    *,
    decision_id: str | None = None,
    reason: str | None = None,
) -> Operation[None]:
    _check_open(handling)
    try:
        yield from acknowledge(
            handling.me, handling.row, status, decision_id=decision_id, reason=reason
        )
    except ConditionFailed as met:
        if not met.item:
            log.warning("row_gone: %s", handling.message.delivery_id)
    yield from _finish(handling, "acknowledged" if status == "PROCESSED" else "failed")


def _finish(handling: Handling, how: str) -> Operation[None]:
    handling.settled = how
    yield from discard(handling.received)


def _row_change(me: Identity, row: keys.Key, values: Item) -> Item:
    """Set the agent's own row, unless it says PROCESSED already, and never make a new one."""
    sets = ", ".join(f"#{name} = :{name}" for name in values)
    return {
        "TableName": me.table(SIGNALS),
        "Key": row.wire(),
        "UpdateExpression": f"SET {sets}",
        "ConditionExpression": "attribute_exists(PK) AND #status <> :processed",
        "ExpressionAttributeNames": {f"#{name}": name for name in values},
        "ExpressionAttributeValues": item_to_wire(
            {":processed": "PROCESSED", **{f":{name}": value for name, value in values.items()}}
        ),
        "ReturnValuesOnConditionCheckFailure": "ALL_OLD",
    }


def _commit(
    handling: Handling, record: DecisionRecord, wire: Mapping[str, Wire]
) -> Operation[bool]:
    """Store the decision and the acknowledgement together; say whether this call did."""
    put = {
        "TableName": handling.me.table(DECISIONS),
        "Item": dict(wire),
        "ConditionExpression": "attribute_not_exists(PK)",
    }
    values = {
        "status": "PROCESSED",
        "processed_at": record.timestamp,
        "decision_id": record.decision_id,
    }
    row = _row_change(handling.me, handling.row, values)
    parts = {"TransactItems": [{"Put": put}, {"Update": row}]}
    for attempt in range(_ATTEMPTS):
        try:
            yield Call("dynamodb", "transact_write_items", parts)
            return True
        except ConditionFailed as refused:
            if "ConditionalCheckFailed" in refused.reasons:
                return False
            if not refused.reasons or not set(refused.reasons) <= _TRANSIENT:
                raise InvalidRequest(str(refused)) from refused
        yield Pause(_FIRST_PAUSE_S * 2**attempt)
    raise Throttled(
        f"{handling.message.delivery_id} met other writers {_ATTEMPTS} times; leave it and it is "
        "handed out again"
    )


def _existing(handling: Handling, decision_type: str) -> Operation[DecisionRecord]:
    """Read the decision that a delivery led to before."""
    me, delivery = handling.me, handling.message.delivery_id
    row = yield from storage.read(me.table(SIGNALS), handling.row)
    if row is None:
        raise RecordMissing(f"the row of {delivery} is gone; nothing can be acknowledged any more")
    if row.get("status") != "PROCESSED":
        raise AlreadyExists(f"the decision of {delivery} is stored but its row is not acknowledged")
    decision_id, moment = row.get("decision_id"), row.get("processed_at")
    if decision_id is None or moment is None:
        raise AlreadySettled(f"{delivery} was acknowledged without a decision; nothing was stored")
    pk = keys.decision_pk(me.agent_id, decision_type)
    key = keys.Key(pk, keys.dated_sk(iso_ms(moment), decision_id))
    item = yield from storage.read(me.table(DECISIONS), key)
    if item is not None:
        return DecisionRecord.model_validate(item)
    # Another handler chose another type: only the index can tell which.
    found = yield from decisions.decision(me, decision_id)
    if found is None:
        raise AlreadySettled(f"{delivery} led to {decision_id}, which is not readable (yet)")
    return found
