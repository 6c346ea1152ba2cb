"""Items of the tables as plain Python attributes."""

import time
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from botocore.exceptions import ClientError

from sharpwave.infra.connection import Deployment
from sharpwave.infra.errors import Conflict, translated
from sharpwave.schemas.keys import Key
from sharpwave.schemas.numbers import Wire, item_from_wire, item_to_wire, to_wire
from sharpwave.workers.aws.errors import code_of
from sharpwave.workers.aws.tables import scan_pages

#: Most requests of one call. Source: AWS, "BatchWriteItem", API reference.
MAX_DELETES = 25
#: Wait after a call that was throttled in part.
PAUSE_S = 0.2

Item = dict[str, Any]
#: One part of a transaction, such as `{"Put": ...}`, as DynamoDB takes it.
Write = dict[str, Any]


class Items:
    """Reads and conditional writes of one deployment's tables; every read is strong."""

    def __init__(self, deployment: Deployment) -> None:
        self._client: Any = deployment.dynamodb
        self._name = deployment.name

    def get(self, table: str, key: Key) -> Item | None:
        """Read one item."""
        with translated(f"table {self._name(table)}"):
            answer = self._client.get_item(
                TableName=self._name(table), Key=key.wire(), ConsistentRead=True
            )
        return item_from_wire(answer["Item"]) if "Item" in answer else None

    def query(
        self,
        table: str,
        pk: str,
        *,
        begins: str = "",
        between: tuple[str, str] | None = None,
        newest_first: bool = False,
    ) -> Iterator[Item]:
        """Read one partition in order of its sort key, page by page as it is consumed."""
        condition, values = "PK = :pk", {":pk": {"S": pk}}
        if between:
            condition += " AND SK BETWEEN :low AND :high"
            values |= {":low": {"S": between[0]}, ":high": {"S": between[1]}}
        elif begins:
            condition += " AND begins_with(SK, :begins)"
            values[":begins"] = {"S": begins}
        request = {
            "TableName": self._name(table),
            "ConsistentRead": True,
            "KeyConditionExpression": condition,
            "ExpressionAttributeValues": values,
            "ScanIndexForward": not newest_first,
        }
        # Around the whole loop, as below.
        with translated(f"table {self._name(table)}"):
            for page in self._client.get_paginator("query").paginate(**request):
                yield from map(item_from_wire, page["Items"])

    def scan(self, table: str, **request: Any) -> Iterator[dict[str, Wire]]:
        """Read a whole table in typed form; it is paid for whole, whatever a filter leaves."""
        for page in self.scan_pages(table, **request):
            yield from page["Items"]

    def scan_pages(self, table: str, **request: Any) -> Iterator[dict[str, Any]]:
        """Read a whole table as DynamoDB answers it, with what each page counted and cost."""
        # Around the whole loop: each page is asked for only when the one before is used up.
        with translated(f"table {self._name(table)}"):
            yield from scan_pages(self._client, self._name(table), **request)

    def put_new(self, table: str, item: Mapping[str, Any]) -> bool:
        """Put an item unless its key is taken; say whether it was put."""
        return self._conditional("put_item", table, self.new(table, item)["Put"])

    def put(self, table: str, item: Mapping[str, Any]) -> None:
        """Put an item, whatever is there."""
        self._conditional("put_item", table, self.whole(table, item)["Put"])

    def update(self, table: str, key: Key, attributes: Mapping[str, Any]) -> bool:
        """Set attributes of an item that exists; say whether it does."""
        request = self.change(table, key, attributes)["Update"]
        return self._conditional("update_item", table, request)

    def delete(self, table: str, key: Key) -> bool:
        """Delete an item; say whether there was one."""
        request = {
            "TableName": self._name(table),
            "Key": key.wire(),
            "ConditionExpression": "attribute_exists(PK)",
        }
        return self._conditional("delete_item", table, request)

    def delete_all(self, table: str, keys: Sequence[Key]) -> None:
        """Delete items, whether or not they exist, 25 to a call."""
        todo = [{"DeleteRequest": {"Key": key.wire()}} for key in keys]
        while todo:
            part, todo = todo[:MAX_DELETES], todo[MAX_DELETES:]
            with translated(f"table {self._name(table)}"):
                reply = self._client.batch_write_item(RequestItems={self._name(table): part})
            # A batch is no transaction: under load DynamoDB does a part of it and says so.
            left = reply.get("UnprocessedItems", {}).get(self._name(table), [])
            if left:
                time.sleep(PAUSE_S)
            todo += left

    def transact(self, writes: Sequence[Write], *, thing: str) -> None:
        """Write all or nothing.

        Raises:
            Conflict: a condition does not hold, or another transaction is at it; names `thing`.
        """
        with translated(thing):
            try:
                self._client.transact_write_items(TransactItems=list(writes))
            except ClientError as error:
                if code_of(error) != "TransactionCanceledException":
                    raise
                # One code stands for every cause; only the parts' reasons tell a lost race
                # from a throttle or a request that can never succeed.
                answer: Any = error.response
                reasons = {part.get("Code") for part in answer.get("CancellationReasons", [])}
                if reasons - {None, "None", "ConditionalCheckFailed", "TransactionConflict"}:
                    raise
                raise Conflict(f"{thing} was changed by somebody else; run it again") from error

    def new(self, table: str, item: Mapping[str, Any]) -> Write:
        """Give the write of an item whose key must be free."""
        put = self.whole(table, item)["Put"]
        return {"Put": {**put, "ConditionExpression": "attribute_not_exists(PK)"}}

    def whole(self, table: str, item: Mapping[str, Any]) -> Write:
        """Give the write of an item, whatever was there."""
        return {"Put": {"TableName": self._name(table), "Item": item_to_wire(item)}}

    def change(
        self,
        table: str,
        key: Key,
        attributes: Mapping[str, Any],
        *,
        remove: Sequence[str] = (),
        expected: Mapping[str, Any] | None = None,
        missing: Sequence[str] = (),
    ) -> Write:
        """Give the change of an item that exists, is as `expected`, and lacks what is `missing`."""
        sets, held = dict(enumerate(attributes.items())), dict(enumerate((expected or {}).items()))
        gone, absent = dict(enumerate(remove)), dict(enumerate(missing))
        expression = "SET " + ", ".join(f"#s{n} = :s{n}" for n in sets)
        if gone:
            expression += " REMOVE " + ", ".join(f"#r{n}" for n in gone)
        # Without the condition an update of what is gone would make a torn item of it.
        conditions = ["attribute_exists(PK)", *(f"#e{n} = :e{n}" for n in held)]
        conditions += [f"attribute_not_exists(#m{n})" for n in absent]
        request = {
            "TableName": self._name(table),
            "Key": key.wire(),
            "UpdateExpression": expression,
            "ConditionExpression": " AND ".join(conditions),
            "ExpressionAttributeNames": {
                **{f"#s{n}": name for n, (name, _) in sets.items()},
                **{f"#r{n}": name for n, name in gone.items()},
                **{f"#e{n}": name for n, (name, _) in held.items()},
                **{f"#m{n}": name for n, name in absent.items()},
            },
            "ExpressionAttributeValues": {
                **{f":s{n}": to_wire(value) for n, (_, value) in sets.items()},
                **{f":e{n}": to_wire(value) for n, (_, value) in held.items()},
            },
        }
        return {"Update": request}

    def below(self, table: str, key: Key, name: str, limit: int) -> Write:
        """Give the condition that an item's number is below `limit`, or is not there."""
        check = {
            "TableName": self._name(table),
            "Key": key.wire(),
            "ConditionExpression": "attribute_not_exists(#n) OR #n < :limit",
            "ExpressionAttributeNames": {"#n": name},
            "ExpressionAttributeValues": {":limit": to_wire(limit)},
        }
        return {"ConditionCheck": check}

    def _conditional(self, operation: str, table: str, request: Mapping[str, Any]) -> bool:
        with translated(f"table {self._name(table)}"):
            try:
                getattr(self._client, operation)(**request)
            except ClientError as error:
                if code_of(error) != "ConditionalCheckFailedException":
                    raise
                return False
        return True
