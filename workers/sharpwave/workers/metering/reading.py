"""Read units of DynamoDB's reads and of its streams."""

from collections import Counter
from collections.abc import Iterator, Mapping
from typing import Any

from sharpwave.workers.metering.names import Charge, Names
from sharpwave.workers.metering.sizes import (
    TRANSACTIONAL,
    item_read_units,
    items_read_units,
    read_units,
)

Request = Mapping[str, Any]


def get_item(request: Request, reply: Request, names: Names) -> Iterator[Charge]:
    """Charge a GetItem; one that finds nothing is billed as the smallest item."""
    strong = bool(request.get("ConsistentRead"))
    units = item_read_units(reply.get("Item") or {}, consistent=strong)
    yield Charge(f"read:{names.item(request['Key'])}", 1, units)


def batch_get_item(request: Request, reply: Request, names: Names) -> Iterator[Charge]:
    """Charge a BatchGetItem, whose items are rounded up one by one."""
    for table, asked in request["RequestItems"].items():
        strong = bool(asked.get("ConsistentRead"))
        left = (reply.get("UnprocessedKeys") or {}).get(table, {}).get("Keys", ())
        found = reply.get("Responses", {}).get(table, ())
        count = len(asked["Keys"]) - len(left)
        units = sum(item_read_units(item, consistent=strong) for item in found)
        units += (count - len(found)) * read_units(0, consistent=strong)
        if count:
            yield Charge(f"read:{names.item(asked['Keys'][0])}", count, units)


def transact_get_items(request: Request, reply: Request, names: Names) -> Iterator[Charge]:
    """Charge a TransactGetItems, which is strong and billed twice."""
    found = reply.get("Responses", ())
    for part, answer in zip(request["TransactItems"], found, strict=False):
        units = item_read_units(answer.get("Item") or {}, consistent=True) * TRANSACTIONAL
        yield Charge(f"read:{names.item(part['Get']['Key'])}", 1, units)


def page(request: Request, reply: Request, names: Names) -> Iterator[Charge]:
    """Charge one page of a Query or a Scan; items a filter dropped are not seen here."""
    items = reply.get("Items", ())
    units = items_read_units(items, consistent=bool(request.get("ConsistentRead")))
    yield Charge(f"read:{names.partition(request)}", len(items), units)


def records(_: Request, reply: Request, names: Names) -> Iterator[Charge]:
    """Charge a GetRecords, and count what it brought by kind of item."""
    found = reply.get("Records", ())
    yield Charge("stream:records", len(found), 1)
    inserted = Counter(
        names.item(record["dynamodb"]["Keys"])
        for record in found
        if record.get("eventName") == "INSERT"
    )
    for thing, count in inserted.items():
        yield Charge(f"new:{thing}", count, 0)
