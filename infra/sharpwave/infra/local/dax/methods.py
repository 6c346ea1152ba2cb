"""The methods of the protocol, by the numbers that clients call them by."""

from collections.abc import Callable, Mapping
from typing import NamedTuple

from sharpwave.infra.local.dax import operations


class Method(NamedTuple):
    """A method of the protocol: how many arguments it has, and what performs it on data."""

    name: str
    arguments: int
    perform: Callable[..., bytes] | None = None


METHODS: Mapping[int, Method] = {
    1489122155: Method("authorizeConnection", 5),
    455855874: Method("endpoints", 0),
    -742646399: Method("defineKeySchema", 1),
    -1230579644: Method("defineAttributeListId", 1),
    670678385: Method("defineAttributeList", 1),
    263244906: Method("getItem", 3, operations.get_item),
    -2106490455: Method("putItem", 4, operations.put_item),
    1425579023: Method("updateItem", 3, operations.update_item),
    1013539361: Method("deleteItem", 3, operations.delete_item),
    -931250863: Method("query", 3, operations.query),
    -1875390620: Method("scan", 2, operations.scan),
    -697851100: Method("batchGetItem", 2, operations.batch_get_item),
    116217951: Method("batchWriteItem", 2, operations.batch_write_item),
    1866287579: Method("transactGetItems", 4, operations.transact_get_items),
    -1160037738: Method("transactWriteItems", 9, operations.transact_write_items),
}
