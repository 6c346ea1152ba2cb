"""Asks a backend for what a meter must know, and hides the answer from the caller.

DynamoDB itself says what a call consumed if it is asked to. Other backends say nothing or a
constant, so they are asked for the item as it was before the write instead, and its size decides.
"""

from collections.abc import Mapping
from typing import Any
from urllib.parse import urlsplit

from sharpwave.workers.metering.expressions import parse_statement

_SINGLE = frozenset({"PutItem", "UpdateItem", "DeleteItem"})
_WITH_CAPACITY = _SINGLE | {
    "BatchExecuteStatement",
    "BatchGetItem",
    "BatchWriteItem",
    "GetItem",
    "Query",
    "Scan",
    "TransactGetItems",
    "TransactWriteItems",
}
_RETURNING = " RETURNING ALL OLD *"
_AWS = (".amazonaws.com", ".amazonaws.com.cn", ".api.aws")


def tells_capacity(endpoint_url: str) -> bool:
    """Say whether an endpoint is AWS, whose consumed capacity is the bill."""
    return (urlsplit(endpoint_url).hostname or "").endswith(_AWS)


def ask_capacity(operation: str, params: dict[str, Any]) -> None:
    """Have DynamoDB say what the call consumes, indexes apart."""
    if operation in _WITH_CAPACITY:
        params.setdefault("ReturnConsumedCapacity", "INDEXES")


def ask_old_image(operation: str, params: dict[str, Any]) -> bool:
    """Have a backend return the item a call replaces; False if the caller asked for an image."""
    if operation in _SINGLE and "ReturnValues" not in params:
        params["ReturnValues"] = "ALL_OLD"
        return True
    if operation == "BatchExecuteStatement":
        statements = params["Statements"]
        if not any("RETURNING" in each["Statement"] for each in statements):
            params["Statements"] = [_returning(each) for each in statements]
            return True
    return False


def hide_old_image(operation: str, reply: dict[str, Any]) -> None:
    """Take out of a reply what only the meter asked for."""
    if operation in _SINGLE:
        reply.pop("Attributes", None)
    for answer in reply.get("Responses", ()) if operation == "BatchExecuteStatement" else ():
        if "Error" not in answer:
            answer.pop("Item", None)


def _returning(statement: Mapping[str, Any]) -> Mapping[str, Any]:
    parsed = parse_statement(statement["Statement"])
    if parsed is None or parsed.verb not in ("UPDATE", "DELETE"):
        return statement
    return {**statement, "Statement": statement["Statement"] + _RETURNING}
