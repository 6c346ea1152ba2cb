"""Strong reads and ledgers on DynamoDB."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from botocore.exceptions import ClientError

from sharpwave.schemas import keys, tables
from sharpwave.schemas.numbers import item_from_wire, to_wire
from sharpwave.workers.adapters.calls import ATTEMPTS, calling, pause, slices
from sharpwave.workers.ports import Item, Location, TryAgain

_KEYS_PER_GET = 100


class TableReads:
    """`Reads` on DynamoDB; safe to share between threads."""

    def __init__(self, client: Any, *, prefix: str = "") -> None:
        """Read through a low-level `dynamodb` client."""
        self._client, self._prefix = client, prefix

    def get(self, locations: Sequence[Location]) -> dict[Location, Item]:
        """Read items strongly; those that do not exist are left out."""
        found: dict[Location, Item] = {}
        for places in slices(list(dict.fromkeys(locations)), _KEYS_PER_GET):
            found |= self._batch(places)
        return found

    def _batch(self, places: Sequence[Location]) -> dict[Location, Item]:
        asked: dict[str, Any] = {}
        for place in places:
            name = tables.physical(place.table, self._prefix)
            request = asked.setdefault(name, {"Keys": [], "ConsistentRead": True})
            request["Keys"].append(place.key.wire())
        logical = {tables.physical(place.table, self._prefix): place.table for place in places}
        found: dict[Location, Item] = {}
        for attempt in range(ATTEMPTS):
            with calling("BatchGetItem"):
                reply = self._client.batch_get_item(RequestItems=asked)
            for name, items in reply["Responses"].items():
                found |= {_place(logical[name], item): item_from_wire(item) for item in items}
            asked = reply.get("UnprocessedKeys") or {}
            if not asked:
                return found
            pause(attempt)
        raise TryAgain(f"BatchGetItem left keys of {sorted(asked)} unread {ATTEMPTS} times")

    def query(
        self, table: str, pk: str, *, after: str = "", until: str = "", limit: int | None = None
    ) -> Iterator[Item]:
        """Read a partition strongly in sort key order: `after` exclusive, `until` inclusive."""
        if until and until <= after:
            return
        values = {":pk": {"S": pk}, ":after": {"S": after or " "}}
        condition = "PK = :pk AND SK > :after"
        if until:
            # BETWEEN is the only key condition with two bounds, and it includes both.
            condition = "PK = :pk AND SK BETWEEN :after AND :until"
            values[":until"] = {"S": until}
        request = {
            "TableName": tables.physical(table, self._prefix),
            "KeyConditionExpression": condition,
            "ExpressionAttributeValues": values,
            "ConsistentRead": True,
        }
        read = 0
        for item in self._pages(request):
            if item["SK"] == after:
                continue
            yield item
            read += 1
            if limit is not None and read >= limit:
                return

    def by_agent(self, agent_id: str, *, after: int, until: int) -> Iterator[Item]:
        """Read index entries of an agent's decisions with `after < timestamp <= until`."""
        if until <= after:
            return
        bounds = {":after": {"N": str(after + 1)}, ":until": {"N": str(until)}}
        yield from self._pages(
            {
                "TableName": tables.physical(tables.DECISIONS, self._prefix),
                "IndexName": "by_agent",
                "KeyConditionExpression": "agent_id = :id AND #ts BETWEEN :after AND :until",
                "ExpressionAttributeNames": {"#ts": "timestamp"},
                "ExpressionAttributeValues": {":id": {"S": agent_id}, **bounds},
            }
        )

    def _pages(self, request: Mapping[str, Any]) -> Iterator[Item]:
        start: dict[str, Any] = {}
        while True:
            with calling(f"Query of {request['TableName']}"):
                reply = self._client.query(**request, **start)
            yield from map(item_from_wire, reply["Items"])
            if not reply.get("LastEvaluatedKey"):
                return
            start = {"ExclusiveStartKey": reply["LastEvaluatedKey"]}


class TableLedger:
    """`Ledger` on DynamoDB: one update for a set, one guarded update for a head."""

    def __init__(self, client: Any, *, prefix: str = "") -> None:
        """Write through a low-level `dynamodb` client."""
        self._client, self._prefix = client, prefix

    def add(self, location: Location, elements: Sequence[bytes]) -> frozenset[bytes]:
        """Add elements to a set and give all of it."""
        with calling("UpdateItem of a ledger"):
            reply = self._client.update_item(
                TableName=tables.physical(location.table, self._prefix),
                Key=location.key.wire(),
                UpdateExpression="ADD e :elements",
                ExpressionAttributeValues={":elements": {"BS": list(elements)}},
                ReturnValues="ALL_NEW",
            )
        return frozenset(bytes(element) for element in reply["Attributes"]["e"]["BS"])

    def raise_head(self, location: Location, bucket: str, row: Sequence[int]) -> bool:
        """Replace a bucket's counts unless the stored ones come from a set as large."""
        try:
            with calling("UpdateItem of a ledger's head"):
                self._client.update_item(
                    TableName=tables.physical(location.table, self._prefix),
                    Key=location.key.wire(),
                    UpdateExpression="SET #bucket = :row",
                    ConditionExpression="attribute_not_exists(#bucket) OR #bucket[0] < :size",
                    ExpressionAttributeNames={"#bucket": bucket},
                    ExpressionAttributeValues={
                        ":row": to_wire(list(row)),
                        ":size": to_wire(row[0]),
                    },
                )
        except TryAgain as error:
            if _is_condition(error.__cause__):
                return False
            raise
        return True


def _is_condition(error: BaseException | None) -> bool:
    return (
        isinstance(error, ClientError)
        and error.response["Error"]["Code"] == "ConditionalCheckFailedException"
    )


def _place(table: str, item: Mapping[str, Any]) -> Location:
    return Location(table, keys.Key(item["PK"]["S"], item["SK"]["S"]))
