"""The data operations: arguments as clients send them, DynamoDB's request, the reply's body."""

from collections.abc import Callable, Mapping
from enum import IntEnum
from typing import Any, NamedTuple

from botocore.exceptions import ClientError

from sharpwave.infra.local.dax import replies
from sharpwave.infra.local.dax.cache import CachedTables, Params, Reply
from sharpwave.infra.local.dax.cbor import Malformed, Raw, encode
from sharpwave.infra.local.dax.expressions import Expressions, projection_paths
from sharpwave.infra.local.dax.items import (
    AttributeLists,
    Item,
    Path,
    Schema,
    decode_key,
    decode_start,
    encode_key,
    encode_start,
    projected,
)


class Option(IntEnum):
    """The keys of a request's map of options."""

    PROJECTION = 0
    NAMES = 1
    CONSISTENT_READ = 2
    RETURN_CONSUMED_CAPACITY = 3
    CONDITION = 4
    VALUES = 5
    RETURN_ITEM_COLLECTION_METRICS = 6
    RETURN_VALUES = 7
    UPDATE = 8
    EXCLUSIVE_START_KEY = 9
    FILTER = 10
    INDEX_NAME = 11
    KEY_CONDITION = 12
    LIMIT = 13
    SCAN_INDEX_FORWARD = 14
    SELECT = 15
    SEGMENT = 16
    TOTAL_SEGMENTS = 17
    REQUEST_ITEMS = 18
    CLIENT_REQUEST_TOKEN = 19


class Field(IntEnum):
    """The keys of a reply's map."""

    ITEM = 0
    CONSUMED_CAPACITY = 1
    ATTRIBUTES = 2
    ITEM_COLLECTION_METRICS = 3
    ITEMS = 7
    COUNT = 8
    LAST_EVALUATED_KEY = 9
    SCANNED_COUNT = 10


_CAPACITIES = ("NONE", "TOTAL", "INDEXES")
_METRICS = ("NONE", "SIZE")
_RETURNED = ("", "NONE", "ALL_OLD", "UPDATED_OLD", "ALL_NEW", "UPDATED_NEW")
_SELECTED = ("", "ALL_ATTRIBUTES", "ALL_PROJECTED_ATTRIBUTES", "COUNT", "SPECIFIC_ATTRIBUTES")
_PUT = 2
#: Parts of a transaction, by the numbers that clients give them.
_PARTS = {_PUT: "Put", 7: "Delete", 9: "Update", 12: "ConditionCheck"}

#: How an option that needs nothing but itself is called at DynamoDB, and read.
_PLAIN: Mapping[Option, tuple[str, Callable[[Any], Any]]] = {
    Option.CONSISTENT_READ: ("ConsistentRead", bool),
    Option.RETURN_CONSUMED_CAPACITY: ("ReturnConsumedCapacity", lambda n: _CAPACITIES[n]),
    Option.RETURN_ITEM_COLLECTION_METRICS: (
        "ReturnItemCollectionMetrics",
        lambda n: _METRICS[n],
    ),
    Option.RETURN_VALUES: ("ReturnValues", lambda n: _RETURNED[n]),
    Option.INDEX_NAME: ("IndexName", lambda name: name.decode()),
    Option.LIMIT: ("Limit", int),
    Option.SCAN_INDEX_FORWARD: ("ScanIndexForward", bool),
    Option.SELECT: ("Select", lambda n: _SELECTED[n]),
    Option.SEGMENT: ("Segment", int),
    Option.TOTAL_SEGMENTS: ("TotalSegments", int),
    Option.CLIENT_REQUEST_TOKEN: ("ClientRequestToken", str),
}


class Context(NamedTuple):
    """What operations work with; `is_partial` leaves a part of a batch undone."""

    tables: CachedTables
    lists: AttributeLists
    is_partial: bool = False


class _Request(NamedTuple):
    """An operation on one table, read."""

    params: Params
    paths: list[Path] | None
    schema: Schema


def get_item(context: Context, table: bytes, key: bytes, given: Any) -> bytes:
    """Read one item."""
    params, paths, schema = _request(context, table, given)
    reply = context.tables.get_item(params | {"Key": decode_key(key, schema)})
    fields: dict[int, Any] = {}
    if "Item" in reply:
        fields[Field.ITEM] = _item(context, reply["Item"], schema, paths)
    return _body(fields, reply)


def put_item(context: Context, table: bytes, key: bytes, values: bytes, given: Any) -> bytes:
    """Write one item."""
    params, _, schema = _request(context, table, given)
    item = context.lists.item(values) | decode_key(key, schema)
    return _written(context, "put_item", params | {"Item": item}, schema)


def update_item(context: Context, table: bytes, key: bytes, given: Any) -> bytes:
    """Change one item."""
    params, _, schema = _request(context, table, given)
    return _written(context, "update_item", params | {"Key": decode_key(key, schema)}, schema)


def delete_item(context: Context, table: bytes, key: bytes, given: Any) -> bytes:
    """Remove one item."""
    params, _, schema = _request(context, table, given)
    return _written(context, "delete_item", params | {"Key": decode_key(key, schema)}, schema)


def query(context: Context, table: bytes, condition: bytes | None, given: Any) -> bytes:
    """Read a page of a partition or of an index."""
    return _page(context, "query", table, condition, given)


def scan(context: Context, table: bytes, given: Any) -> bytes:
    """Read a page of a whole table or index."""
    return _page(context, "scan", table, None, given)


def batch_get_item(context: Context, wishes: dict[str, list[Any]], given: Any) -> bytes:
    """Read items by their keys."""
    requested: dict[str, Params] = {}
    paths: dict[str, list[Path]] = {}
    for table, (is_consistent, projection, keys) in wishes.items():
        schema = context.tables.schema(table)
        found = [decode_key(key, schema) for key in keys]
        requested[table] = {"Keys": found, "ConsistentRead": bool(is_consistent)}
        if projection is not None:
            paths[table] = projection_paths(projection)
    left: dict[str, list[Item]] = {}
    if context.is_partial:
        for table, wish in requested.items():
            half = len(wish["Keys"]) // 2
            wish["Keys"], left[table] = wish["Keys"][:half], wish["Keys"][half:]
    asked = {table: wish for table, wish in requested.items() if wish["Keys"]}
    params = _options(given, Expressions()) | {"RequestItems": asked}
    reply = context.tables.batch_get_item(params) if asked else {"Responses": {}}
    for table, wish in reply.get("UnprocessedKeys", {}).items():
        left[table] = [*left.get(table, []), *wish["Keys"]]
    responses: dict[str, list[Any]] = {}
    for table, items in reply["Responses"].items():
        schema, listed = context.tables.schema(table), responses.setdefault(table, [])
        for item in items:
            if table in paths:
                listed.append(projected(item, paths[table]))
            else:
                listed += [encode_key(item, schema), context.lists.values(item, schema)]
    unprocessed = {
        table: [encode_key(key, context.tables.schema(table)) for key in keys]
        for table, keys in left.items()
        if keys
    }
    # DAX announces two elements and sends three; its clients count on it.
    return encode(Raw(b"\x82"), responses, unprocessed, _capacities(reply))


def batch_write_item(context: Context, wishes: dict[str, list[Any]], given: Any) -> bytes:
    """Put and delete items."""
    requested: dict[str, list[Item]] = {}
    for table, flat in wishes.items():
        schema = context.tables.schema(table)
        requested[table] = []
        for key, values in zip(flat[::2], flat[1::2], strict=True):
            found = decode_key(key, schema)
            if values is None:
                requested[table].append({"DeleteRequest": {"Key": found}})
            else:
                item = context.lists.item(values) | found
                requested[table].append({"PutRequest": {"Item": item}})
    left: dict[str, list[Item]] = {}
    if context.is_partial:
        for table, requests in requested.items():
            half = len(requests) // 2
            requested[table], left[table] = requests[:half], requests[half:]
    asked = {table: requests for table, requests in requested.items() if requests}
    params = _options(given, Expressions()) | {"RequestItems": asked}
    reply = context.tables.write("batch_write_item", params) if asked else {}
    for table, requests in reply.get("UnprocessedItems", {}).items():
        left[table] = [*left.get(table, []), *requests]
    unprocessed: dict[str, list[Any]] = {}
    for table, requests in left.items():
        schema, listed = context.tables.schema(table), unprocessed.setdefault(table, [])
        for request in requests:
            ((_, wish),) = request.items()
            put = wish.get("Item")
            listed.append(encode_key(put or wish["Key"], schema))
            listed.append(None if put is None else context.lists.values(put, schema))
    metrics = replies.collections(reply.get("ItemCollectionMetrics", {}))
    return encode({t: each for t, each in unprocessed.items() if each}, _capacities(reply), metrics)


def transact_get_items(
    context: Context, names: list[bytes], keys: list[bytes], projections: Any, given: Any
) -> bytes:
    """Read items as of one moment."""
    schemas = [context.tables.schema(name.decode()) for name in names]
    wanted = [None if data is None else projection_paths(data) for data in projections or names]
    if projections is None:
        wanted = [None for _ in names]
    gets = [
        {"Get": {"TableName": name.decode(), "Key": decode_key(key, schema)}}
        for name, key, schema in zip(names, keys, schemas, strict=True)
    ]
    params = _options(given, Expressions()) | {"TransactItems": gets}
    reply = context.tables.transact_get_items(params)
    items = [
        _item(context, each["Item"], schema, paths) if each.get("Item") else None
        for each, schema, paths in zip(reply["Responses"], schemas, wanted, strict=True)
    ]
    return encode([items, _capacity_maps(reply)])


def transact_write_items(
    context: Context,
    kinds: list[int],
    names: list[bytes],
    keys: list[bytes],
    values: list[bytes | None] | None,
    _returned: Any,
    on_failure: list[int] | None,
    conditions: list[bytes | None] | None,
    updates: list[bytes | None] | None,
    given: Any,
) -> bytes:
    """Write items, all or none."""
    nothing: list[Any] = [None] * len(kinds)
    schemas = [context.tables.schema(name.decode()) for name in names]
    parts = []
    for place, kind in enumerate(kinds):
        expressions = Expressions()
        key = decode_key(keys[place], schemas[place])
        part: Params = {"TableName": names[place].decode()}
        if (condition := (conditions or nothing)[place]) is not None:
            part["ConditionExpression"] = expressions.condition(condition)
        if (update := (updates or nothing)[place]) is not None:
            part["UpdateExpression"] = expressions.update(update)
        if (on_failure or nothing)[place] == _RETURNED.index("ALL_OLD"):
            part["ReturnValuesOnConditionCheckFailure"] = "ALL_OLD"
        if kind == _PUT:
            # An item that is its key alone comes without values: 1 is the empty list of names.
            part["Item"] = context.lists.item((values or nothing)[place] or b"\x01") | key
        else:
            part["Key"] = key
        part |= expressions.parameters
        if kind not in _PARTS:
            raise Malformed(f"{kind} is no part of a transaction")
        parts.append({_PARTS[kind]: part})
    params = _options(given, Expressions()) | {"TransactItems": parts}
    try:
        reply = context.tables.write("transact_write_items", params)
    except ClientError as error:
        reasons = error.response.get("CancellationReasons")
        if reasons:
            # They name items, which only here are known to be of which table.
            found = replies.cancellation(list(reasons), context.lists, schemas)
            raise Cancelled(error, found) from error
        raise
    metrics = replies.collections(reply.get("ItemCollectionMetrics", {}))
    return encode([None, _capacity_maps(reply), metrics])


class Cancelled(Exception):
    """A transaction was cancelled; `reasons` are in the form an error carries them."""

    def __init__(self, error: ClientError, reasons: list[Any]) -> None:
        super().__init__(str(error))
        self.error, self.reasons = error, reasons


def _request(
    context: Context, table: bytes, given: Any, expressions: Expressions | None = None
) -> _Request:
    name, expressions = table.decode(), expressions or Expressions()
    schema = context.tables.schema(name)
    given = given or {}
    params = {"TableName": name, **_options(given, expressions)}
    paths = None
    if (data := given.get(Option.PROJECTION)) is not None:
        paths = projection_paths(data)
    if (start := given.get(Option.EXCLUSIVE_START_KEY)) is not None:
        is_index = "IndexName" in params
        params["ExclusiveStartKey"] = decode_start(start) if is_index else decode_key(start, schema)
    return _Request(params | expressions.parameters, paths, schema)


def _options(given: Mapping[int, Any] | None, expressions: Expressions) -> Params:
    params: Params = {}
    for number, value in (given or {}).items():
        # An unknown number makes a ValueError, for which the connection is closed as malformed.
        option = Option(number)
        if option in _PLAIN:
            name, read = _PLAIN[option]
            params[name] = read(value)
        elif option is Option.CONDITION:
            params["ConditionExpression"] = expressions.condition(value)
        elif option is Option.FILTER:
            params["FilterExpression"] = expressions.condition(value)
        elif option is Option.UPDATE:
            params["UpdateExpression"] = expressions.update(value)
    return params


def _page(
    context: Context, operation: str, table: bytes, condition: bytes | None, given: Any
) -> bytes:
    expressions = Expressions()
    params, paths, schema = _request(context, table, given, expressions)
    if condition is not None:
        params["KeyConditionExpression"] = expressions.condition(condition)
    if paths is not None:
        # DynamoDB does not say which element of a list it gives, so then it is asked for all.
        if any(isinstance(step, int) for path in paths for step in path):
            params.pop("Select", None)
        else:
            params["ProjectionExpression"] = expressions.projection(paths)
    reply = context.tables.query(operation, params | expressions.parameters)
    fields: dict[int, Any] = {
        Field.COUNT: reply["Count"],
        Field.SCANNED_COUNT: reply["ScannedCount"],
    }
    if "Items" in reply:
        fields[Field.ITEMS] = [
            [encode_key(item, schema), context.lists.values(item, schema)]
            if paths is None
            else projected(item, paths)
            for item in reply["Items"]
        ]
    if (last := reply.get("LastEvaluatedKey")) is not None:
        is_index = "IndexName" in params
        fields[Field.LAST_EVALUATED_KEY] = (
            encode_start(last) if is_index else encode_key(last, schema)
        )
    return _body(fields, reply)


def _written(context: Context, operation: str, params: Params, schema: Schema) -> bytes:
    reply = context.tables.write(operation, params)
    fields: dict[int, Any] = {}
    if (attributes := reply.get("Attributes")) is not None:
        is_partial = params.get("ReturnValues", "").startswith("UPDATED")
        lists = context.lists
        fields[Field.ATTRIBUTES] = (
            lists.partial(attributes) if is_partial else lists.values(attributes, schema)
        )
    if report := reply.get("ItemCollectionMetrics"):
        fields[Field.ITEM_COLLECTION_METRICS] = replies.collection(report)
    return _body(fields, reply)


def _item(context: Context, item: Item, schema: Schema, paths: list[Path] | None) -> Any:
    return context.lists.values(item, schema) if paths is None else projected(item, paths)


def _body(fields: dict[int, Any], reply: Reply) -> bytes:
    if report := reply.get("ConsumedCapacity"):
        fields[Field.CONSUMED_CAPACITY] = replies.capacity(report)
    return encode(fields or None)


def _capacities(reply: Reply) -> list[bytes]:
    return [replies.capacity(each) for each in reply.get("ConsumedCapacity", ())]


def _capacity_maps(reply: Reply) -> list[Any]:
    return [replies.capacity_map(each) for each in reply.get("ConsumedCapacity", ())]
