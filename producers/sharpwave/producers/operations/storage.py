"""Writes that are safe to repeat, and reads of a span of time that page until they have enough."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from datetime import datetime
from typing import Any, NamedTuple, TypeVar

from pydantic import BaseModel, ValidationError

from sharpwave.producers.call import Call, Identity, Operation, Pause, Reply
from sharpwave.producers.errors import AlreadyExists, ConditionFailed, RecordRefused, Throttled
from sharpwave.schemas.faults import too_deep, too_large, unstorable, validate
from sharpwave.schemas.keys import Key, Kind
from sharpwave.schemas.numbers import (
    UnstorableValue,
    Wire,
    item_from_wire,
    item_to_wire,
    wire_depth,
    wire_size,
)
from sharpwave.schemas.records import MAX_DEPTH, Record
from sharpwave.schemas.times import DAY_S, bound

R = TypeVar("R", bound=Record)
M = TypeVar("M", bound=BaseModel)
P = TypeVar("P")
Item = dict[str, Any]

#: Source: AWS, BatchGetItem and BatchWriteItem, most items in one request.
_READ_AT_ONCE, _WRITTEN_AT_ONCE = 100, 25
_SMALLEST_PAGE, _LARGEST_PAGE = 10, 1000
_ATTEMPTS, _FIRST_PAUSE_S = 8, 0.05

#: Epoch seconds, or a datetime with a time zone.
Moment = float | datetime

#: Records carry the time their writer's clock told, and are stored when they arrive. Who reads on
#: from where it last read looks back at least this many seconds and passes over what it knows by
#: its key; a writer that was offline for longer is found by a read of its whole span.
ARRIVES_LATE_S = 900

#: Sorts after every digit and letter of a sort key.
_LAST = "~"


def epoch(moment: Moment) -> float:
    """Give a moment in epoch seconds.

    Raises:
        ValueError: a datetime without a time zone.
    """
    if not isinstance(moment, datetime):
        return moment
    if moment.tzinfo is None:
        raise ValueError(f"{moment} has no time zone; write datetime(..., tzinfo=timezone.utc)")
    return moment.timestamp()


class Range(NamedTuple):
    """A range of time in whole epoch seconds, both ends included."""

    since: int
    until: int

    @classmethod
    def of(cls, since: Moment | None, until: Moment | None) -> "Range":
        """Read the range a caller asked for; an absent end is open."""
        return cls(
            0 if since is None else max(0, int(epoch(since))),
            9_999_999_999 if until is None else int(epoch(until)),
        )

    @property
    def sort_keys(self) -> tuple[str, str, str]:
        """Give the bounds of a dated sort key, of any precision."""
        return "SK", bound(self.since), bound(self.until) + _LAST

    @property
    def timestamps(self) -> tuple[str, int, int]:
        """Give the bounds of the `timestamp` attribute."""
        return "timestamp", self.since, self.until

    def is_recent(self, now: float) -> bool:
        """Say whether the range starts within the last day."""
        return self.since >= now - DAY_S


def is_alive(item: Item, now: float) -> bool:
    """Say whether an item's `ttl` lies ahead; DynamoDB removes items up to days after it."""
    ttl = item.get("ttl")
    return ttl is None or ttl > now


def without_none(attributes: Mapping[str, Any]) -> Item:
    """Leave out the attributes that have no value."""
    return {name: value for name, value in attributes.items() if value is not None}


def checked(kind: Kind, model: type[R], item: Item, *, now: float) -> tuple[R, dict[str, Wire]]:
    """Read an item as a record and give what is to be sent.

    Raises:
        RecordRefused: the item breaks its schema, nests too deeply, is too large, or holds a value
            that DynamoDB cannot.
    """
    try:
        wire = item_to_wire(item)
    except UnstorableValue as error:
        raise RecordRefused([unstorable(error)]) from error
    # Validated as it will read back, so that what is returned equals what is read later.
    record = validate(kind, item_from_wire(wire), stored_at=now)
    # `kind` and `model` are given together by each caller.
    assert isinstance(record, model)
    depth = max(wire_depth(value) for value in wire.values())
    if depth > MAX_DEPTH:
        raise RecordRefused([too_deep(depth)])
    if (fault := too_large(kind, wire_size(wire))) is not None:
        raise RecordRefused([fault])
    return record, wire


def readable(me: Identity, model: type[M], item: Item) -> M | None:
    """Read an item as a record, or count it as unreadable: one bad record must not hide others."""
    try:
        return model.model_validate(item)
    except ValidationError:
        me.counters["unreadable"] += 1
        return None


def put_once(table: str, wire: Mapping[str, Wire]) -> Operation[bool]:
    """Write an item that is not there yet; finding the very same item counts as success.

    A retried write whose first answer was lost meets its own item. Attributes that others added
    since do not matter.

    Returns:
        Whether this call wrote it.

    Raises:
        AlreadyExists: something else is stored under the key.
    """
    params = {
        "TableName": table,
        "Item": dict(wire),
        "ConditionExpression": "attribute_not_exists(PK)",
        "ReturnValuesOnConditionCheckFailure": "ALL_OLD",
    }
    try:
        yield Call("dynamodb", "put_item", params)
    except ConditionFailed as met:
        key = Key(wire["PK"]["S"], wire["SK"]["S"])
        stored = item_from_wire(met.item) if met.item else (yield from read(table, key))
        if stored is None or not holds(stored, item_from_wire(wire)):
            raise AlreadyExists(f"{key.pk} / {key.sk} holds another record; use a new id") from met
        return False
    return True


def holds(stored: Mapping[str, Any], wanted: Mapping[str, Any]) -> bool:
    """Say whether every wanted attribute is stored with the same value."""
    return all(name in stored and stored[name] == value for name, value in wanted.items())


def read(
    table: str, key: Key, *, consistent: bool = True, recent: bool = False
) -> Operation[Item | None]:
    """Read one item, or None."""
    params = {"TableName": table, "Key": key.wire(), "ConsistentRead": consistent}
    reply = yield Call("dynamodb", "get_item", params, recent)
    return item_from_wire(reply["Item"]) if reply.get("Item") else None


def select(
    request: Mapping[str, Any],
    pick: Callable[[Item], P | None],
    *,
    limit: int,
    recent: bool = False,
    expand: Callable[[list[Item]], Operation[list[Item]]] | None = None,
) -> Operation[list[P]]:
    """Query page by page until `limit` items are picked or none are left.

    What `pick` answers with None does not count, so a page of expired items never ends a read
    early; pages double, so a rare match does not cost a request for each item passed over.

    Args:
        request: the Query.
        pick: gives what to keep of an item, or None.
        limit: the most to give.
        recent: the Query reads only records of the last day.
        expand: turns a page of index entries into whole items.
    """
    params, kept, page = {**request}, list[P](), max(limit, _SMALLEST_PAGE)
    while len(kept) < limit:
        # A page also ends at 1 MB, and one that holds nothing may still have a next one.
        params["Limit"] = min(page, _LARGEST_PAGE)
        reply = yield Call("dynamodb", "query", {**params}, recent)
        items = [item_from_wire(wire) for wire in reply["Items"]]
        if expand is not None:
            items = yield from expand(items)
        kept += [picked for item in items if (picked := pick(item)) is not None]
        if not reply.get("LastEvaluatedKey"):
            break
        params["ExclusiveStartKey"], page = reply["LastEvaluatedKey"], page * 2
    return kept[:limit]


def merge(
    requests: Sequence[Mapping[str, Any]],
    pick: Callable[[Item], P | None],
    *,
    limit: int,
    recent: bool = False,
) -> Operation[list[P]]:
    """Query several partitions, newest first, and give the newest of all by sort key.

    Each is read page by page and only as far as what it holds is among the newest; the first page
    is as small as its share of `limit`.

    Args:
        requests: a Query of each partition.
        pick: gives what to keep of an item, or None.
        limit: the most to give.
        recent: the Queries read only records of the last day.
    """
    share = limit // max(1, len(requests)) + 1
    unread = [{**request, "Limit": max(share, _SMALLEST_PAGE)} for request in requests]
    heads: list[tuple[list[Item], Item | None]] = [([], params) for params in unread]
    kept: list[P] = []
    while len(kept) < limit:
        for at, (items, params) in enumerate(heads):
            while not items and params is not None:
                reply = yield Call("dynamodb", "query", {**params}, recent)
                # The newest comes last, to be taken off the end.
                items = [item_from_wire(wire) for wire in reply["Items"]][::-1]
                start = reply.get("LastEvaluatedKey")
                page = min(params["Limit"] * 2, _LARGEST_PAGE)
                params = {**params, "ExclusiveStartKey": start, "Limit": page} if start else None
            heads[at] = (items, params)
        heads = [head for head in heads if head[0]]
        if not heads:
            break
        # Of two at one moment the partition decides, so that a read which goes on goes on rightly.
        newest = max(heads, key=lambda head: (str(head[0][-1]["SK"]), str(head[0][-1]["PK"])))
        if (picked := pick(newest[0].pop())) is not None:
            kept.append(picked)
    return kept


def fetch(table: str, keys: Iterable[Key], *, recent: bool = False) -> Operation[dict[Key, Item]]:
    """Read many items by key; those that are gone are left out.

    Raises:
        Throttled: DynamoDB kept leaving keys out.
    """
    wanted, found = list(dict.fromkeys(keys)), dict[Key, Item]()
    for start in range(0, len(wanted), _READ_AT_ONCE):
        chunk = [key.wire() for key in wanted[start : start + _READ_AT_ONCE]]
        todo: Reply = {table: {"Keys": chunk}}
        for attempt in range(_ATTEMPTS):
            reply = yield Call("dynamodb", "batch_get_item", {"RequestItems": todo}, recent)
            for item in map(item_from_wire, reply.get("Responses", {}).get(table, [])):
                found[Key(item["PK"], item["SK"])] = item
            # Under pressure, or beyond 16 MB, keys are left out of an answer that succeeds.
            todo = reply.get("UnprocessedKeys") or {}
            if not todo:
                break
            yield Pause(_FIRST_PAUSE_S * 2**attempt)
        if todo:
            raise Throttled(f"{table} left reads out {_ATTEMPTS} times; try again later")
    return found


def put_all(table: str, wires: Iterable[Mapping[str, Wire]]) -> Operation[None]:
    """Write many items under keys of their own; writing one again changes nothing.

    Raises:
        Throttled: DynamoDB kept leaving items out; those before were written.
    """
    requests = [{"PutRequest": {"Item": dict(wire)}} for wire in wires]
    for start in range(0, len(requests), _WRITTEN_AT_ONCE):
        todo: Reply = {table: requests[start : start + _WRITTEN_AT_ONCE]}
        for attempt in range(_ATTEMPTS):
            # Takes no condition: only for keys that nobody else writes.
            reply = yield Call("dynamodb", "batch_write_item", {"RequestItems": todo})
            todo = reply.get("UnprocessedItems") or {}
            if not todo:
                break
            yield Pause(_FIRST_PAUSE_S * 2**attempt)
        if todo:
            raise Throttled(f"{table} left writes out {_ATTEMPTS} times; send them again later")


def query(
    table: str,
    hash_key: tuple[str, str],
    *,
    index: str | None = None,
    between: tuple[str, Any, Any] | None = None,
    begins: str | None = None,
    consistent: bool = False,
    newest_first: bool = True,
) -> Item:
    """Build a Query: `hash_key` and `between` name their attribute first; `begins` is of `SK`."""
    names, values = {"#h": hash_key[0]}, {":h": hash_key[1]}
    condition = "#h = :h"
    if between is not None:
        names["#r"], values[":from"], values[":to"] = between
        condition += " AND #r BETWEEN :from AND :to"
    elif begins:
        names["#r"], values[":begins"] = "SK", begins
        condition += " AND begins_with(#r, :begins)"
    request: Item = {
        "TableName": table,
        "KeyConditionExpression": condition,
        "ExpressionAttributeNames": names,
        "ExpressionAttributeValues": item_to_wire(values),
        "ScanIndexForward": not newest_first,
    }
    if index is not None:
        # Global indexes know no strong reads; asking for one is an error.
        return {**request, "IndexName": index}
    return {**request, "ConsistentRead": consistent}
