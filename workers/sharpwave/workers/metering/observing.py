"""Asks a backend for what a meter must know, and hides the answer from the caller.

DynamoDB itself says what a call consumed if it is asked to. Other backends say nothing or a
constant, so they are asked for the item as it was before the write instead, and its size decides.
Reading those items takes time, so after the first few only a sample is asked for.
"""

from collections.abc import Mapping, Sequence
from typing import Any
from urllib.parse import urlsplit

from sharpwave.workers.metering.expressions import parse_statement
from sharpwave.workers.metering.names import Names

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
#: So many changes of one kind are seen whole at first, and one of so many later.
FIRST, EVERY = 32, 32

_RETURNING = " RETURNING ALL OLD *"
_AWS = (".amazonaws.com", ".amazonaws.com.cn", ".api.aws")


class Sample:
    """Decides which changes are seen whole, by kind; threads may race and sample one more."""

    def __init__(self) -> None:
        """Start with nothing seen."""
        self._seen: dict[str, int] = {}

    def takes(self, kind: str) -> bool:
        """Say whether this one is to be seen."""
        number = self._seen[kind] = self._seen.get(kind, 0) + 1
        return number <= FIRST or number % EVERY == 0


def tells_capacity(endpoint_url: str) -> bool:
    """Say whether an endpoint is AWS, whose consumed capacity is the bill."""
    return (urlsplit(endpoint_url).hostname or "").endswith(_AWS)


def ask_capacity(operation: str, params: dict[str, Any]) -> None:
    """Have DynamoDB say what the call consumes, indexes apart."""
    if operation in _WITH_CAPACITY:
        params.setdefault("ReturnConsumedCapacity", "INDEXES")


def ask_old_image(
    operation: str, params: dict[str, Any], *, sample: Sample, names: Names
) -> Sequence[int]:
    """Have a backend return the items a call changes, of those the sample takes.

    Returns:
        Which parts of the call were asked for more than the caller asked.
    """
    if operation in _SINGLE and "ReturnValues" not in params:
        key = params.get("Key") or params.get("Item") or {}
        if sample.takes(f"{operation} {names.item(key)}"):
            params["ReturnValues"] = "ALL_OLD"
            return (0,)
    if operation == "BatchExecuteStatement":
        before = params["Statements"]
        after = [_returning(each, sample) for each in before]
        asked = [place for place, each in enumerate(after) if each is not before[place]]
        if asked:
            params["Statements"] = after
        return asked
    return ()


def hide_old_image(operation: str, reply: dict[str, Any], asked: Sequence[int]) -> None:
    """Take out of a reply what only the meter asked for."""
    if operation in _SINGLE:
        reply.pop("Attributes", None)
        return
    answers = reply.get("Responses", ())
    for place in asked:
        if place < len(answers) and "Error" not in answers[place]:
            answers[place].pop("Item", None)


def _returning(statement: Mapping[str, Any], sample: Sample) -> Mapping[str, Any]:
    text = statement["Statement"]
    if text.startswith("INSERT") or " RETURNING " in text:
        return statement
    parsed = parse_statement(text)
    if parsed is None or parsed.verb not in ("UPDATE", "DELETE"):
        return statement
    if not sample.takes(f"{parsed.table} {len(parsed.names)}"):
        return statement
    return {**statement, "Statement": text + _RETURNING}
