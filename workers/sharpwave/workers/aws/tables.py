"""Strong reads and ledgers on DynamoDB."""

from collections.abc import Collection, Iterator, Mapping, Sequence
from typing import Any

from sharpwave.schemas import keys, tables
from sharpwave.schemas.ids import ulid
from sharpwave.schemas.numbers import Wire, item_from_wire, item_to_wire
from sharpwave.workers.aws.errors import ATTEMPTS, CONDITION_FAILED, calling, code_of, pause
from sharpwave.workers.work.ports import Item, Location, Slot, TryAgain

_KEYS_PER_GET = 100


class TableReads:
    """`Reads` on DynamoDB; safe to share between threads."""

    def __init__(self, client: Any, *, prefix: str = "") -> None:
        """Read through a low-level `dynamodb` client."""
        self._client, self._prefix = client, prefix

    def get(self, locations: Sequence[Location], *, strong: bool = True) -> dict[Location, Item]:
        """Read items; those that do not exist are left out."""
        found: dict[Location, Item] = {}
        distinct = list(dict.fromkeys(locations))
        logical = {tables.physical(each.table, self._prefix): each.table for each in distinct}
        for start in range(0, len(distinct), _KEYS_PER_GET):
            asked: dict[str, Any] = {}
            for place in distinct[start : start + _KEYS_PER_GET]:
                name = tables.physical(place.table, self._prefix)
                request = asked.setdefault(name, {"Keys": [], "ConsistentRead": strong})
                request["Keys"].append(place.key.wire())
            for attempt in range(ATTEMPTS):
                with calling("BatchGetItem"):
                    reply = self._client.batch_get_item(
                        RequestItems=asked, ReturnConsumedCapacity="INDEXES"
                    )
                for name, items in reply["Responses"].items():
                    for wire in items:
                        item, table = item_from_wire(wire), logical[name]
                        found[Location(table, keys.Key(item["PK"], item["SK"]))] = item
                # Under pressure, or beyond 16 MB, keys are left out of an answer that succeeds.
                asked = reply.get("UnprocessedKeys") or {}
                if not asked:
                    break
                pause(attempt)
            else:
                left = sorted(asked)
                raise TryAgain(f"BatchGetItem left keys of {left} unread {ATTEMPTS} times")
        return found

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
        request: dict[str, Any] = {
            "TableName": tables.physical(table, self._prefix),
            "KeyConditionExpression": condition,
            "ExpressionAttributeValues": values,
            "ConsistentRead": True,
        }
        if limit is not None:
            # With one more for `after`. A page would else be up to a megabyte, and billed whole.
            request["Limit"] = limit + 1
        read = 0
        for item in self._pages(request):
            if item["SK"] == after:
                continue
            yield item
            read += 1
            if limit is not None and read >= limit:
                return

    def scan(self, table: str) -> Iterator[dict[str, Wire]]:
        """Read a whole table strongly, in typed form; one partition's items follow each other."""
        name = tables.physical(table, self._prefix)
        with calling(f"Scan of {name}"):
            for page in scan_pages(self._client, name):
                yield from page["Items"]

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
                reply = self._client.query(**request, **start, ReturnConsumedCapacity="INDEXES")
            yield from map(item_from_wire, reply["Items"])
            if not reply.get("LastEvaluatedKey"):
                return
            start = {"ExclusiveStartKey": reply["LastEvaluatedKey"]}


def scan_pages(client: Any, name: str, **request: Any) -> Iterator[dict[str, Any]]:
    """Read a whole table strongly as DynamoDB answers it, with what each page counted and cost.

    It is paid for whole, whatever a filter leaves. A page ends at one megabyte before the filter,
    so it may be empty though more follow.

    Args:
        client: a low-level `dynamodb` client.
        name: the physical name of the table.
        request: more of what Scan takes.
    """
    whole = {"ConsistentRead": True, "ReturnConsumedCapacity": "INDEXES", **request}
    # Each page is asked for only when the one before is used up.
    pages: Iterator[dict[str, Any]] = iter(
        client.get_paginator("scan").paginate(TableName=name, **whole)
    )
    return pages


class TableLedger:
    """`Ledger` on DynamoDB: each call is one update, guarded by what the item holds."""

    def __init__(self, client: Any, *, prefix: str = "") -> None:
        """Write through a low-level `dynamodb` client."""
        self._client, self._prefix = client, prefix

    def add(
        self, location: Location, elements: Sequence[bytes], *, below: int, is_open: bool
    ) -> tuple[bool, Slot]:
        """Add elements to a set that holds fewer than `below`; with `is_open`, to no closed one."""
        room = "(attribute_not_exists(e) OR size(e) < :below)"
        done, item = self._update(
            location,
            "ADD e :elements, v :one",
            {":elements": set(elements), ":one": 1, ":below": below},
            condition=f"attribute_not_exists(closed) AND {room}" if is_open else room,
            answer="ALL_NEW",
        )
        return done, _slot(item)

    def close(self, location: Location) -> Slot:
        """Close a set for good, and give all of it."""
        _, item = self._update(location, "SET closed = :yes", {":yes": True}, answer="ALL_NEW")
        return _slot(item)

    def discard(self, location: Location, elements: Collection[bytes]) -> None:
        """Take elements out of a set."""
        values = {":elements": set(elements)}
        self._update(location, "DELETE e :elements", values, condition="attribute_exists(e)")

    def raise_counts(self, location: Location, row: Sequence[Any]) -> bool:
        """Store counts unless those that are there were folded as late."""
        values = {":row": list(row), ":revision": row[0]}
        condition = "attribute_not_exists(c) OR c[0] < :revision"
        # One attribute for all of them, so that no reader sees some of a row's counts.
        return self._update(location, "SET c = :row", values, condition=condition)[0]

    def mark(self, location: Location) -> None:
        """Set a mark, with a `rev` that no mark ever had."""
        self._update(location, "SET rev = :rev", {":rev": ulid()})

    def _update(
        self,
        location: Location,
        expression: str,
        values: Mapping[str, Any],
        *,
        condition: str | None = None,
        answer: str = "NONE",
    ) -> tuple[bool, Item]:
        """Update an item; say whether the condition held, and how it is now if it was asked."""
        request = {
            "TableName": tables.physical(location.table, self._prefix),
            "Key": location.key.wire(),
            "UpdateExpression": expression,
            "ExpressionAttributeValues": item_to_wire(values),
            "ReturnValues": answer,
            "ReturnConsumedCapacity": "INDEXES",
        }
        if condition is not None:
            request["ConditionExpression"] = condition
            if answer == "ALL_NEW":
                # Who is refused learns why from the refusal, without a read.
                request["ReturnValuesOnConditionCheckFailure"] = "ALL_OLD"
        try:
            with calling(f"UpdateItem of {location}"):
                reply = self._client.update_item(**request)
        except TryAgain as error:
            cause: Any = error.__cause__
            if code_of(cause) != CONDITION_FAILED:
                raise
            return False, item_from_wire(cause.response.get("Item", {}))
        return True, item_from_wire(reply.get("Attributes", {}))


def _slot(item: Item) -> Slot:
    return Slot(frozenset(item.get("e", ())), item.get("v", 0), "closed" in item)
