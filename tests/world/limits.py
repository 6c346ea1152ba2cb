"""What DynamoDB refuses to store, so that a fake refuses it too."""

import re
from collections.abc import Iterator, Mapping

from sharpwave.schemas import tables
from sharpwave.schemas.numbers import Wire, wire_depth, wire_size
from sharpwave.workers.work.ports import CallRefused

#: Source: AWS, "Service, account, and table quotas in Amazon DynamoDB".
MAX_ITEM_BYTES, MAX_PK_BYTES, MAX_SK_BYTES, MAX_DEPTH, MAX_DIGITS = 400 * 1024, 2048, 1024, 32, 38

_INDEXES = {table.name: table.indexes for table in tables.TABLES}
_ZEROS = re.compile(r"^[-+0.]+|[eE].*$")


def check_item(table: str, item: Mapping[str, Wire]) -> None:
    """Refuse an item that the table could not hold.

    Raises:
        CallRefused: which rule it breaks; the adapters raise the same for a ValidationException.
    """
    for fault in _faults(table, item):
        raise CallRefused(f"ValidationException: {table}: {fault}")


def _faults(table: str, item: Mapping[str, Wire]) -> Iterator[str]:
    for name, most in (("PK", MAX_PK_BYTES), ("SK", MAX_SK_BYTES)):
        text = item.get(name, {}).get("S", "")
        if not 0 < len(text.encode()) <= most:
            yield f"{name} has {len(text.encode())} bytes"
    for index in _INDEXES[table]:
        for key, kind in ((index.hash_key, "S"), (index.range_key, index.range_type)):
            if key is not None and key in item and kind not in item[key]:
                yield f"type mismatch for index key {key}"
    if wire_size(item) > MAX_ITEM_BYTES:
        yield f"the item has {wire_size(item)} bytes"
    if any(wire_depth(value) > MAX_DEPTH for value in item.values()):
        yield "the item nests too deeply"
    yield from _bad_values(item)


def _bad_values(item: Mapping[str, Wire]) -> Iterator[str]:
    todo = list(item.values())
    while todo:
        ((kind, content),) = todo.pop().items()
        if kind == "N" and len(_ZEROS.sub("", content).replace(".", "").rstrip("0")) > MAX_DIGITS:
            yield f"{content} has more than {MAX_DIGITS} digits"
        elif kind in ("SS", "NS", "BS") and not content:
            yield "a set is empty"
        elif kind == "M":
            todo.extend(content.values())
        elif kind == "L":
            todo.extend(content)
