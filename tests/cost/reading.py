"""Read units of DynamoDB's reads."""

from collections.abc import Iterator, Mapping
from typing import Any

from sharpwave.infra.cost.flow import read_units
from sharpwave.workers.aws.meter import Names
from tests.cost.sizes import (
    TRANSACTIONAL,
    Charge,
    item_read_units,
    items_read_units,
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
