"""Ending a delivery: the agent's own row first, the queue's message after."""

from base64 import b32encode
from collections.abc import Mapping
from hashlib import blake2b
from typing import Any, Literal

from sharpwave.producers.call import Call, Identity, Operation, Pause, log
from sharpwave.producers.choosing import Choice
from sharpwave.producers.errors import (
    AlreadyExists,
    AlreadySettled,
    ConditionFailed,
    InvalidRequest,
    RecordMissing,
    Throttled,
)
from sharpwave.producers.operations import decisions, signals, storage
from sharpwave.producers.operations.decisions import Parent
from sharpwave.producers.operations.receiving import Received, discard, give_back
from sharpwave.producers.operations.signals import Draft
from sharpwave.producers.operations.storage import Item
from sharpwave.schemas import keys
from sharpwave.schemas.faults import Fault, RecordRefused
from sharpwave.schemas.numbers import Wire, item_to_wire
from sharpwave.schemas.records import SIGNAL_TTL_S, DecisionRecord, SignalRecord
from sharpwave.schemas.tables import DECISIONS, SIGNALS
from sharpwave.schemas.times import iso_ms

#: A transaction that meets another writer fails at once, so the first pause is short: 5 s in all.
_ATTEMPTS, _FIRST_PAUSE_S = 8, 0.02
_TRANSIENT = frozenset({"None", "TransactionConflict", "ThrottlingError"})
_MAX_REASON = 1024
#: The type of signals that answer others, unless they say another.
ANSWER = "ANSWER"

Acknowledged = Literal["PROCESSED", "FAILED"]


def ack(
    received: Received,
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
    yield from _settle(received, "PROCESSED", decision_id=decision_id, reason=reason)


def fail(received: Received, /, reason: str) -> Operation[None]:
    """Say that the signal cannot be worked. This is final: to try again, leave the message.

    Raises:
        AlreadySettled: this delivery was acknowledged, failed or given back before.
    """
    yield from _settle(received, "FAILED", reason=reason)


def release(received: Received, /) -> Operation[None]:
    """Give the delivery back: it is handed out again at once.

    Raises:
        AlreadySettled: this delivery was acknowledged, failed or given back before.
    """
    _check_open(received)
    yield from give_back([received.lease])
    received.settled = "given back"


def decide(
    received: Received,
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
    choice: Choice | None = None,
) -> Operation[DecisionRecord]:
    """Record the decision the signal led to and acknowledge it, both or neither, once.

    However often the delivery is handed out, and however many handle it at once, one decision is
    stored; the others are given that one. Its id follows from the delivery and its time is the
    whole second of the acknowledgement. The arguments are those of `Agent.decide`.

    Raises:
        AlreadySettled: this delivery was acknowledged, failed or given back before.
        RecordMissing: the delivery's row is gone, a week after it expired.
        RecordRefused: the decision breaks its schema; nothing was sent.
        ValueError: `reasoning` selects something else than `choice`.
    """
    _check_open(received)
    me, moment = received.me, received.me.now()
    described = {
        "context": context,
        "reasoning": decisions.with_choice(reasoning, choice),
        "inputs": inputs,
        "outcome": outcome,
        "event_time": event_time,
        "agent_version": agent_version,
        "caused_by": received.message.delivery_id,
        "traceparent": received.message.traceparent,
        **(yield from decisions.lineage(me, parent)),
    }
    # All who handle this delivery make the same id; whose acknowledgement is in the row won.
    decision_id = decision_id_of(received.message.delivery_id)
    record, wire = decisions.draft(me, decision_type, decision_id, moment, described, ttl_s)
    end = {
        "status": "PROCESSED",
        "processed_at": record.timestamp,
        "decision_id": record.decision_id,
    }
    if not (yield from _commit(received, DECISIONS, wire, end)):
        record = yield from _existing(received, decision_type)
    yield from _finish(received, "acknowledged")
    return record


def reply(
    received: Received,
    /,
    data: Mapping[str, Any] | None = None,
    *,
    signal_type: str = ANSWER,
    context: Mapping[str, Any] | None = None,
    severity: str | None = None,
    confidence: float | None = None,
    ttl_s: int = SIGNAL_TTL_S,
) -> Operation[SignalRecord]:
    """Answer the signal's sender and acknowledge the delivery, both or neither, once.

    The sender's `ask` gives the answer; a sender that does not wait, or not any more, finds it in
    its inbox. However often the delivery is handed out, one answer is stored; the other handlers
    are given that one.

    Args:
        data: the answer.
        signal_type: the type of the signal that carries it.
        context: the circumstances.
        severity: any word the sender knows.
        confidence: 0 to 1.
        ttl_s: seconds until an unacknowledged answer counts as expired; at most 10 days.

    Raises:
        AlreadySettled: this delivery was acknowledged, failed or given back before, or, by another
            handler, without an answer of this type.
        RecordMissing: the delivery's row is gone, a week after it expired.
        RecordRefused: the answer breaks its schema; nothing was sent.
    """
    _check_open(received)
    me, message = received.me, received.message
    draft = Draft(
        signal_type=signal_type,
        to=message.source_agent,
        data=data,
        context=context,
        severity=severity,
        confidence=confidence,
        ttl_s=ttl_s,
        correlation_id=message.correlation_id or message.signal_id,
        traceparent=message.traceparent,
        in_reply_to=message.signal_id,
    )
    answer_id = f"ans_{_digest_of(message.delivery_id)}"
    record, wire = signals.drawn_up(me, draft, signal_id=answer_id, moment=me.now())
    end = {"status": "PROCESSED", "processed_at": record.timestamp}
    if not (yield from _commit(received, SIGNALS, wire, end)):
        row = yield from _settled_row(received)
        # The acknowledgement's time is the answer's, so its key is known.
        moment = row.get("processed_at") or 0
        key = keys.Key(record.PK, keys.dated_sk(iso_ms(moment), answer_id))
        item = yield from storage.read(me.table(SIGNALS), key)
        if item is None:
            text = f"{message.delivery_id} was acknowledged without such an answer"
            raise AlreadySettled(f"{text}; nothing was sent")
        record = SignalRecord.model_validate(item)
    yield from _finish(received, "acknowledged")
    return record


def decision_id_of(delivery_id: str) -> str:
    """Give the id of the one decision a delivery leads to."""
    return f"dec_{_digest_of(delivery_id)}"


def _digest_of(delivery_id: str) -> str:
    digest = blake2b(delivery_id.encode(), digest_size=15).digest()
    return b32encode(digest).decode().lower()


def _check_open(received: Received) -> None:
    if received.settled:
        delivery = received.message.delivery_id
        raise AlreadySettled(f"{delivery} is {received.settled} already; settle a delivery once")


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
    received: Received,
    status: Acknowledged,
    *,
    decision_id: str | None = None,
    reason: str | None = None,
) -> Operation[None]:
    _check_open(received)
    # The row first: a message that is deleted before its row is written would be lost if the agent
    # died in between; one that comes again meets a row that says what became of it.
    try:
        yield from acknowledge(
            received.me, received.row, status, decision_id=decision_id, reason=reason
        )
    except ConditionFailed as met:
        # Or it is PROCESSED already: whoever came first decided, and this message can go too.
        if not met.item:
            log.warning("row_gone: %s", received.message.delivery_id)
    yield from _finish(received, "acknowledged" if status == "PROCESSED" else "failed")


def _finish(received: Received, how: str) -> Operation[None]:
    received.settled = how
    yield from discard(received.lease)


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


def _commit(received: Received, table: str, wire: Mapping[str, Wire], end: Item) -> Operation[bool]:
    """Store a record and the acknowledgement together; say whether this call did."""
    put = {
        "TableName": received.me.table(table),
        "Item": dict(wire),
        "ConditionExpression": "attribute_not_exists(PK)",
    }
    row = _row_change(received.me, received.row, end)
    parts = {"TransactItems": [{"Put": put}, {"Update": row}]}
    for attempt in range(_ATTEMPTS):
        try:
            yield Call("dynamodb", "transact_write_items", parts)
            return True
        except ConditionFailed as refused:
            # The record or the acknowledgement is there already: another handler's, or our own
            # whose answer was lost.
            if "ConditionalCheckFailed" in refused.reasons:
                return False
            if not refused.reasons or not set(refused.reasons) <= _TRANSIENT:
                raise InvalidRequest(str(refused)) from refused
        yield Pause(_FIRST_PAUSE_S * 2**attempt)
    raise Throttled(
        f"{received.message.delivery_id} met other writers {_ATTEMPTS} times; leave it and it is "
        "handed out again"
    )


def _settled_row(received: Received) -> Operation[Item]:
    """Read the row of a delivery that somebody acknowledged together with what it led to."""
    delivery = received.message.delivery_id
    row = yield from storage.read(received.me.table(SIGNALS), received.row)
    if row is None:
        raise RecordMissing(f"the row of {delivery} is gone; nothing can be acknowledged any more")
    if row.get("status") != "PROCESSED":
        raise AlreadyExists(
            f"what {delivery} led to is stored but its row is not acknowledged; leave the delivery"
        )
    return row


def _existing(received: Received, decision_type: str) -> Operation[DecisionRecord]:
    """Read the decision that a delivery led to before."""
    me, delivery = received.me, received.message.delivery_id
    row = yield from _settled_row(received)
    decision_id, moment = row.get("decision_id"), row.get("processed_at")
    if decision_id is None or moment is None:
        raise AlreadySettled(f"{delivery} was acknowledged without a decision; nothing was stored")
    # The acknowledgement's time is the decision's, so its key is known without an index.
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
