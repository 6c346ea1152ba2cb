"""Making an agent known, and giving it a queue to poll."""

from collections.abc import Mapping, Sequence
from contextlib import suppress
from typing import Any

from pydantic import ValidationError

from sharpwave.producers.call import Call, Identity, Operation
from sharpwave.producers.errors import AccessDenied, InvalidRequest, QueueMissing
from sharpwave.producers.operations import storage
from sharpwave.schemas import keys, queues, tables
from sharpwave.schemas.conditions import SignalConditions
from sharpwave.schemas.faults import Fault, RecordRefused, explained
from sharpwave.schemas.numbers import Wire
from sharpwave.schemas.records import Registration

#: Conditions in words, or as they are stored.
Filter = str | Sequence[Mapping[str, Any]]

#: What an agent says of itself; the rest of a registration is an operator's.
_SET_ONCE = ("schema_version", "agent_id", "registered_at")
_SAID = ("subscriptions", "filters", "may_broadcast", "accepts_from", "capabilities")
_OWN = (*_SET_ONCE, *_SAID)


def register(
    me: Identity,
    /,
    *,
    subscriptions: Sequence[str] = (),
    filters: Mapping[str, Filter] | None = None,
    may_broadcast: bool = False,
    accepts_from: Sequence[str] | None = None,
    capabilities: Sequence[str] = (),
) -> Operation[Registration]:
    """Register the agent, or change its registration, and make its queues if they are missing.

    What an operator set beside these fields, such as a quota, is kept.

    Args:
        subscriptions: signal types whose "@subscribers" signals it wants.
        filters: by type, what a signal to "@subscribers" must fulfil, such as
            {"WHALE_ACTIVITY": "data.count >= 5 and severity = high"}, or as a list of
            {"path": ..., "op": ..., "value": ...}; all of a type without one. What is addressed to
            the agent itself or to "*" passes none.
        may_broadcast: whether it may send to "*".
        accepts_from: the only sources it wants signals from; anyone's unless given.
        capabilities: what others may ask of it, by which `agents` finds it; names of letters,
            digits, '_' and '-', at most 50.

    Raises:
        QueueMissing: there is no inbox queue and the credentials may not create one.
        RecordRefused: the registration breaks its schema; nothing was written.
    """
    now, key, table = me.now(), keys.registration(me.agent_id), me.table(tables.STATE)
    known = yield from storage.read(table, key)
    item = storage.without_none(
        {
            **(known or {"schema_version": 1, "registered_at": now}),
            **key.item(),
            "agent_id": me.agent_id,
            "subscriptions": list(dict.fromkeys(subscriptions)),
            "filters": {name: _conditions(name, each) for name, each in filters.items()}
            if filters
            else None,
            "may_broadcast": may_broadcast,
            "accepts_from": None if accepts_from is None else list(accepts_from),
            "capabilities": list(dict.fromkeys(capabilities)) or None,
        }
    )
    record, wire = storage.checked("registration", Registration, item, now=now)
    # The queue first: once the registration is seen, signals are sent to it.
    yield from _ensure_queue(me)
    if item != known:
        yield Call("dynamodb", "update_item", _change(table, key, wire))
    return record


def _conditions(signal_type: str, given: Filter) -> object:
    """Give a filter as it is stored.

    Raises:
        RecordRefused: it is text that cannot be read.
    """
    if not isinstance(given, str):
        return given
    try:
        return SignalConditions.read(given).model_dump(mode="json")
    except ValidationError as error:
        raise RecordRefused(explained(error, under=f"filters.{signal_type}")) from error
    except ValueError as error:
        raise RecordRefused([Fault("filter", f"filters.{signal_type}", str(error))]) from error


def queue_url(name: str) -> Operation[str]:
    """Look a queue's URL up.

    Raises:
        QueueMissing: there is no such queue.
    """
    reply = yield Call("sqs", "get_queue_url", {"QueueName": name})
    return str(reply["QueueUrl"])


def _change(table: str, key: keys.Key, wire: Mapping[str, Wire]) -> storage.Item:
    """Set the agent's own fields alone: what an operator sets meanwhile must not be undone."""
    sets = [
        f"#{name} = if_not_exists(#{name}, :{name})" if name in _SET_ONCE else f"#{name} = :{name}"
        for name in _OWN
        if name in wire
    ]
    removed = [f"#{name}" for name in _OWN if name not in wire]
    return {
        "TableName": table,
        "Key": key.wire(),
        "UpdateExpression": f"SET {', '.join(sets)}"
        + (f" REMOVE {', '.join(removed)}" if removed else ""),
        "ExpressionAttributeNames": {f"#{name}": name for name in _OWN},
        "ExpressionAttributeValues": {f":{name}": wire[name] for name in _OWN if name in wire},
    }


def _ensure_queue(me: Identity) -> Operation[None]:
    usual, urgent = queues.of_agent(me.agent_id)
    try:
        yield from _make_missing(me, usual)
    except (AccessDenied, InvalidRequest) as error:
        raise QueueMissing(
            f"{me.inbox_name} does not exist and could not be created ({error}); ask an operator to"
            f" run `sharpwave agents add {me.agent_id}`"
        ) from error
    # Nothing is lost without the other one, but the hurry of what is urgent.
    with suppress(AccessDenied, InvalidRequest):
        yield from _make_missing(me, urgent)


def _make_missing(me: Identity, queue: queues.Queue) -> Operation[None]:
    name, dlq = tables.physical(queue.name, me.prefix), tables.physical(queue.dlq, me.prefix)
    try:
        yield from queue_url(name)
    except QueueMissing:
        # The dead-letter queue first: the other one names it, and must never be without it.
        reply = yield _create(me, dlq, dict(queues.DLQ_ATTRIBUTES))
        wanted = {"QueueUrl": reply["QueueUrl"], "AttributeNames": ["QueueArn"]}
        found = yield Call("sqs", "get_queue_attributes", wanted)
        yield _create(me, name, queue.attributes(str(found["Attributes"]["QueueArn"])))


def _create(me: Identity, name: str, attributes: dict[str, str]) -> Call:
    # The tag by which operators' tools know the queues of one deployment.
    tags = {"sharpwave": me.prefix or "default"}
    return Call("sqs", "create_queue", {"QueueName": name, "Attributes": attributes, "tags": tags})
