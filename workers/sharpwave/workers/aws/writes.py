"""Conditional writes of single items on DynamoDB: one by one, or 25 to a call.

Both adapters keep the same contract. The batched one uses PartiQL's BatchExecuteStatement, whose
statements fail each on its own; the single one serves backends that lack it.
"""

from collections.abc import Sequence
from functools import lru_cache
from typing import Any

from sharpwave.schemas import tables
from sharpwave.schemas.numbers import Wire, item_to_wire, to_wire
from sharpwave.workers.aws.errors import (
    ATTEMPTS,
    CONDITION_FAILED,
    REQUEST_AT_FAULT,
    calling,
    code_of,
    pause,
)
from sharpwave.workers.work.ports import (
    CallRefused,
    Check,
    Delete,
    Insert,
    Put,
    TryAgain,
    Update,
    Write,
)

#: Most statements of one call. Source: AWS, "BatchExecuteStatement", API reference.
_STATEMENTS = 25
#: Most characters of one statement; same source.
_MAX_STATEMENT = 8192
#: Texts kept; workers write few kinds of items.
_TEXTS = 32
_UNMET = frozenset({"ConditionalCheckFailed", "DuplicateItem"})
_WORTH_RETRYING = frozenset(
    {
        "RequestLimitExceeded",
        "ProvisionedThroughputExceeded",
        "ThrottlingError",
        "TransactionConflict",
        "InternalServerError",
    }
)


class BatchedWrites:
    """`Writes` by BatchExecuteStatement; safe to share between threads."""

    def __init__(self, client: Any, *, prefix: str = "") -> None:
        """Write through a low-level `dynamodb` client."""
        self._client, self._prefix = client, prefix
        self._single = SingleWrites(client, prefix=prefix)

    def apply(self, writes: Sequence[Write]) -> list[bool]:
        """Apply writes to distinct items; say of each whether its condition held."""
        verdicts: list[bool | None] = [None] * len(writes)
        statements = [statement(write, self._prefix) for write in writes]
        todo = []
        for index, each in enumerate(statements):
            if len(each["Statement"]) > _MAX_STATEMENT:
                verdicts[index] = self._single.apply([writes[index]])[0]
            else:
                todo.append(index)
        for attempt in range(ATTEMPTS):
            again: list[int] = []
            for start in range(0, len(todo), _STATEMENTS):
                part = todo[start : start + _STATEMENTS]
                with calling("BatchExecuteStatement"):
                    reply = self._client.batch_execute_statement(
                        Statements=[statements[index] for index in part],
                        ReturnConsumedCapacity="INDEXES",
                    )
                for index, response in zip(part, reply["Responses"], strict=True):
                    code = response.get("Error", {}).get("Code")
                    if code in _WORTH_RETRYING:
                        again.append(index)
                    elif code is not None and code not in _UNMET:
                        # Statements before this one stand; a repetition of the message finds that.
                        kind = CallRefused if code in REQUEST_AT_FAULT else TryAgain
                        raise kind(f"{writes[index].location}: {response['Error']}")
                    else:
                        verdicts[index] = code is None
            if not again:
                return [bool(verdict) for verdict in verdicts]
            todo = again
            pause(attempt)
        raise TryAgain(f"{len(todo)} of {len(writes)} writes were throttled {ATTEMPTS} times")


class SingleWrites:
    """`Writes` by PutItem, UpdateItem and DeleteItem, a call each."""

    def __init__(self, client: Any, *, prefix: str = "") -> None:
        """Write through a low-level `dynamodb` client."""
        self._client, self._prefix = client, prefix

    def apply(self, writes: Sequence[Write]) -> list[bool]:
        """Apply writes to distinct items; say of each whether its condition held."""
        return [self._apply(write) for write in writes]

    def _apply(self, write: Write) -> bool:
        try:
            with calling(f"write of {write.location}"):
                if isinstance(write, Insert):
                    self._client.put_item(**put_request(write, self._prefix))
                elif isinstance(write, Delete):
                    self._client.delete_item(**delete_request(write, self._prefix))
                else:
                    self._client.update_item(**update_request(write, self._prefix))
        except TryAgain as error:
            if code_of(error.__cause__) != CONDITION_FAILED:
                raise
            return False
        return True


class TableTransactions:
    """`Transactions` by TransactWriteItems; safe to share between threads."""

    def __init__(self, client: Any, *, prefix: str = "") -> None:
        """Write through a low-level `dynamodb` client."""
        self._client, self._prefix = client, prefix

    def transact(self, writes: Sequence[Write | Put | Check]) -> bool:
        """Write all if every condition holds, and say whether they did."""
        parts = [_part(write, self._prefix) for write in writes]
        try:
            with calling("TransactWriteItems"):
                self._client.transact_write_items(
                    TransactItems=parts, ReturnConsumedCapacity="INDEXES"
                )
        except TryAgain as error:
            # One code stands for every cause; only the parts' reasons tell an unmet condition
            # from a throttle or another transaction.
            answer: Any = getattr(error.__cause__, "response", {})
            codes = {part.get("Code") for part in answer.get("CancellationReasons", [])}
            if "ValidationError" in codes:
                raise CallRefused(str(error)) from error
            if "ConditionalCheckFailed" not in codes:
                raise
            return False
        return True


def _part(write: Write | Put | Check, prefix: str) -> dict[str, Any]:
    if isinstance(write, Insert):
        kind, request = "Put", put_request(write, prefix)
    elif isinstance(write, Put):
        kind, request = "Put", put_request(Insert(write.table, write.item), prefix)
        del request["ConditionExpression"]
    elif isinstance(write, Delete):
        kind, request = "Delete", delete_request(write, prefix)
    elif isinstance(write, Update):
        kind, request = "Update", update_request(write, prefix)
    else:
        names: dict[str, str] = {}
        values: dict[str, Wire] = {}
        tests = [_pair(name, value, names, values) for name, value in write.equals.items()]
        for name, limit in write.below.items():
            token, bound = _name(name, names), f":v{len(values)}"
            values[bound] = to_wire(limit)
            # A comparison with what is absent is false.
            tests.append(f"(attribute_not_exists({token}) OR {token} < {bound})")
        kind = "ConditionCheck"
        request = {
            "TableName": tables.physical(write.location.table, prefix),
            "Key": write.location.key.wire(),
            "ConditionExpression": " AND ".join(tests),
            "ExpressionAttributeNames": names,
            "ExpressionAttributeValues": values,
        }
    # Of a transaction as a whole it is asked.
    request.pop("ReturnConsumedCapacity", None)
    return {kind: request}


def statement(write: Write, prefix: str) -> dict[str, Any]:
    """Give a write as a PartiQL statement with parameters."""
    # An insertion puts its location together each time that it is asked for it.
    logical = write.table if isinstance(write, Insert) else write.location.table
    table = tables.physical(logical, prefix)
    if isinstance(write, Insert):
        text, values = _insertion(table, tuple(write.item)), [*write.item.values()]
    elif isinstance(write, Delete):
        text = _removal(table, tuple(write.equals))
        values = [*write.location.key, *write.equals.values()]
    else:
        text = _change(table, tuple(write.set), write.remove, tuple(write.equals), write.missing)
        values = [*write.set.values(), *write.location.key, *write.equals.values()]
    return {"Statement": text, "Parameters": [to_wire(value) for value in values]}


@lru_cache(_TEXTS)
def _insertion(table: str, names: Sequence[str]) -> str:
    fields = ", ".join(_quoted(name, "'") + ": ?" for name in names)
    return f'INSERT INTO "{table}" VALUE {{{fields}}}'


@lru_cache(_TEXTS)
def _removal(table: str, equals: Sequence[str]) -> str:
    return f'DELETE FROM "{table}" WHERE {" AND ".join(_tests(equals))}'


@lru_cache(_TEXTS)
def _change(
    table: str,
    names: Sequence[str],
    removed: Sequence[str],
    equals: Sequence[str],
    missing: Sequence[str],
) -> str:
    sets = " ".join(f"SET {_quoted(name)} = ?" for name in names)
    sets += "".join(f" REMOVE {_quoted(name)}" for name in removed)
    tests = _tests(equals) + [f"{_quoted(name)} IS MISSING" for name in missing]
    return f'UPDATE "{table}" {sets} WHERE {" AND ".join(tests)}'


def _tests(equals: Sequence[str]) -> list[str]:
    return ["PK = ?", "SK = ?", *(f"{_quoted(name)} = ?" for name in equals)]


def _quoted(name: str, mark: str = '"') -> str:
    return mark + name.replace(mark, mark * 2) + mark


def put_request(write: Insert, prefix: str) -> dict[str, Any]:
    """Give an insertion as PutItem takes it."""
    return {
        "TableName": tables.physical(write.table, prefix),
        "Item": item_to_wire(write.item),
        "ConditionExpression": "attribute_not_exists(PK)",
        "ReturnConsumedCapacity": "INDEXES",
    }


def delete_request(write: Delete, prefix: str) -> dict[str, Any]:
    """Give a removal as DeleteItem takes it."""
    names: dict[str, str] = {}
    values: dict[str, Wire] = {}
    tests = ["attribute_exists(PK)"]
    tests += [_pair(name, value, names, values) for name, value in write.equals.items()]
    request = {
        "TableName": tables.physical(write.location.table, prefix),
        "Key": write.location.key.wire(),
        "ConditionExpression": " AND ".join(tests),
        "ReturnConsumedCapacity": "INDEXES",
    }
    if names:
        request["ExpressionAttributeNames"] = names
        request["ExpressionAttributeValues"] = values
    return request


def update_request(write: Update, prefix: str) -> dict[str, Any]:
    """Give a change as UpdateItem takes it; it never creates the item."""
    names: dict[str, str] = {}
    values: dict[str, Wire] = {}
    sets = [_pair(name, value, names, values) for name, value in write.set.items()]
    update = "SET " + ", ".join(sets)
    if write.remove:
        update += " REMOVE " + ", ".join(_name(name, names) for name in write.remove)
    tests = ["attribute_exists(PK)"]
    tests += [_pair(name, value, names, values) for name, value in write.equals.items()]
    for name in write.missing:
        tests.append(f"attribute_not_exists({_name(name, names)})")
    return {
        "TableName": tables.physical(write.location.table, prefix),
        "Key": write.location.key.wire(),
        "UpdateExpression": update,
        "ConditionExpression": " AND ".join(tests),
        "ExpressionAttributeNames": names,
        "ExpressionAttributeValues": values,
        "ReturnConsumedCapacity": "INDEXES",
    }


def _pair(name: str, value: Any, names: dict[str, str], values: dict[str, Wire]) -> str:
    token = f":v{len(values)}"
    values[token] = to_wire(value)
    return f"{_name(name, names)} = {token}"


def _name(name: str, names: dict[str, str]) -> str:
    for token, known in names.items():
        if known == name:
            return token
    token = f"#n{len(names)}"
    names[token] = name
    return token
