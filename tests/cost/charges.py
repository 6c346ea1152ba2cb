"""What a call consumes, worked out from its request and its reply. Pure functions."""

from collections.abc import Callable, Iterator, Mapping
from typing import Any

from sharpwave.workers.aws.meter import BILLED_ERRORS, Names
from tests.cost import reading, writing
from tests.cost.sizes import Charge

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
}


def charges(operation: str, request: Request, reply: Request, names: Names) -> Iterator[Charge]:
    """Give what a call of DynamoDB consumes by size; one that has no rule consumes nothing here.

    The size of an item that exists is known only if the reply shows it, as it does once
    `Estimate` has asked for it. Otherwise what the request says of it is a lower bound.
    """
    rule = _RULES.get(operation)
    error = reply.get("Error")
    if rule is None or (error and error.get("Code") not in BILLED_ERRORS):
        return iter(())
    return rule(request, reply, names)
