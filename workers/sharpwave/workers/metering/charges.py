"""What a call consumes, worked out from its request and its reply. Pure functions."""

from collections.abc import Callable, Iterator, Mapping
from typing import Any

from sharpwave.workers.metering import queueing, reading, writing
from sharpwave.workers.metering.names import Charge, Names

Request = Mapping[str, Any]
Rule = Callable[[Request, Request, Names], Iterator[Charge]]

_RULES: Mapping[str, Rule] = {
    "dynamodb.PutItem": writing.put_item,
    "dynamodb.UpdateItem": writing.update_item,
    "dynamodb.DeleteItem": writing.delete_item,
    "dynamodb.BatchWriteItem": writing.batch_write_item,
    "dynamodb.TransactWriteItems": writing.transact_write_items,
    "dynamodb.BatchExecuteStatement": writing.batch_execute_statement,
    "dynamodb.GetItem": reading.get_item,
    "dynamodb.BatchGetItem": reading.batch_get_item,
    "dynamodb.TransactGetItems": reading.transact_get_items,
    "dynamodb.Query": reading.page,
    "dynamodb.Scan": reading.page,
    "dynamodbstreams.GetRecords": reading.records,
    "sqs.SendMessage": queueing.send,
    "sqs.SendMessageBatch": queueing.send_batch,
    "sqs.ReceiveMessage": queueing.receive,
    "sqs.DeleteMessage": queueing.delete,
    "sqs.DeleteMessageBatch": queueing.delete,
    "sqs.ChangeMessageVisibility": queueing.hide,
    "sqs.ChangeMessageVisibilityBatch": queueing.hide,
    "s3.PutObject": queueing.put_object,
    "s3.ListObjectsV2": queueing.put_object,
    "s3.GetObject": queueing.get_object,
}
#: DynamoDB bills a write whose condition fails, and no other error.
_BILLED_ERRORS = frozenset({"ConditionalCheckFailedException", "TransactionCanceledException"})


def charges(operation: str, request: Request, reply: Request, names: Names) -> Iterator[Charge]:
    """Give what a call consumes by size; an operation that has no rule consumes nothing here.

    The size of an item that exists is known only if the reply shows it, as it does once
    `observing.prepare` has asked for it. Otherwise what the request says of it is a lower bound.
    """
    rule = _RULES.get(operation)
    error = reply.get("Error")
    if rule is None or (error and error.get("Code") not in _BILLED_ERRORS):
        return iter(())
    return rule(request, reply, names)


def reported(operation: str, request: Request, reply: Request, names: Names) -> list[Charge] | None:
    """Give what DynamoDB itself says that a call consumed; None if it says nothing."""
    consumed = reply.get("ConsumedCapacity")
    if not consumed or operation not in _RULES:
        return None
    verb = "write" if _RULES[operation].__module__ == writing.__name__ else "read"
    items = list(charges(operation, request, {**reply, "ConsumedCapacity": None}, names))
    things = [charge for charge in items if charge.what.startswith(f"{verb}:")]
    return list(_shared_out(verb, consumed, things))


def _shared_out(verb: str, consumed: Any, things: list[Charge]) -> Iterator[Charge]:
    """Share a call's capacity out among its items as their sizes weigh."""
    parts = consumed if isinstance(consumed, list) else [consumed]
    indexed = sum(
        float(each.get("CapacityUnits", 0))
        for part in parts
        for each in part.get("GlobalSecondaryIndexes", {}).values()
    )
    units = sum(float(part.get("CapacityUnits", 0)) for part in parts) - indexed
    weight = sum(charge.units for charge in things) or 1.0
    for charge in things:
        yield charge._replace(units=units * charge.units / weight)
    if indexed and things:
        yield Charge(f"index:{things[0].what.partition(':')[2]}", 1, indexed)
