"""Capacity by item size, as DynamoDB bills it. Pure functions.

Source: AWS, "DynamoDB on-demand capacity mode", read and write request units.
"""

from collections.abc import Iterable, Mapping
from typing import Any, NamedTuple

from msgspec import json as fast_json

from sharpwave.infra.cost.flow import READ_BLOCK, WRITE_BLOCK, read_units, write_units
from sharpwave.schemas.numbers import Wire, wire_size
from sharpwave.schemas.tables import Index

#: A transaction prepares and commits, and is billed for both.
TRANSACTIONAL = 2

Item = Mapping[str, Wire]


class Charge(NamedTuple):
    """What one call, or one part of it, consumes.

    Attributes:
        what: verb and thing, such as `write:row`.
        number: items.
        units: write units or read units.
        guessed: the item that was changed was not seen, so that `units` are the least it can be;
            None where nothing had to be seen.
    """

    what: str
    number: int
    units: float
    guessed: bool | None = None


def item_write_units(item: Item) -> int:
    """Give the write units of an item."""
    return write_units(_bounded_size(item, WRITE_BLOCK))


def item_read_units(item: Item, *, consistent: bool) -> float:
    """Give the read units of an item read on its own."""
    return read_units(_bounded_size(item, READ_BLOCK), consistent=consistent)


def items_read_units(items: Iterable[Item], *, consistent: bool) -> float:
    """Give the read units of a page of a Query or a Scan, whose sizes add up before rounding."""
    return read_units(sum(map(wire_size, items)), consistent=consistent)


def index_writes(
    indexes: Iterable[Index], old: Item | None, new: Item | None
) -> list[tuple[str, int]]:
    """Give the index entries that a change from `old` to `new` writes, with their units.

    An entry whose keys change is deleted and written anew, which are two writes. An entry in
    which nothing that it carries changes costs nothing.
    """
    written: list[tuple[str, int]] = []
    for index in indexes:
        before, after = entry(index, old), entry(index, new)
        if before == after:
            continue
        held = [each for each in (before, after) if each is not None]
        units = [item_write_units(each) for each in held]
        if len(held) == 2 and _keys(index, held[0]) == _keys(index, held[1]):
            units = [max(units)]
        written += [(index.name, each) for each in units]
    return written


def entry(index: Index, item: Item | None) -> dict[str, Wire] | None:
    """Give the entry an index has for an item; None if the item lacks one of its keys."""
    if item is None or any(name not in item for name in _key_names(index)):
        return None
    carried = ("PK", "SK", *_key_names(index), *index.include)
    return {name: item[name] for name in carried if name in item}


def _key_names(index: Index) -> tuple[str, ...]:
    return (index.hash_key, index.range_key) if index.range_key else (index.hash_key,)


def _keys(index: Index, item: Item) -> list[Wire]:
    return [item[name] for name in _key_names(index)]


def _bounded_size(item: Any, block: int) -> int:
    # An item's JSON is never shorter than DynamoDB counts it and far quicker to measure, so the
    # exact size is only worked out when it could take more than one block.
    bound = len(fast_json.encode(item))
    return bound if bound <= block else wire_size(item)
