"""Caches of recent reads: none, or this process's memory; `dax` has the one that is a cluster.

All follow one contract. An item that was read is given again until its time is over, and so is
that there was none. What an agent wrote itself it reads back at once. Queries are remembered as
they were asked, apart from items, and a write does not touch them.
"""

import json
import time
from collections import Counter, OrderedDict
from collections.abc import Callable, Hashable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal
from threading import Lock
from typing import Any, Generic, Literal, NamedTuple, Protocol, TypeVar

from sharpwave.producers.call import Call, Reply

K = TypeVar("K", bound=Hashable)
V = TypeVar("V")
Item = dict[str, Any]
MonotonicClock = Callable[[], float]

#: DAX keeps both for 5 minutes unless its parameter group says otherwise.
ITEM_TTL_S, QUERY_TTL_S = 300.0, 300.0
#: Operations that may be answered from a cache; a strong read would only pass through it.
READS = frozenset({"get_item", "batch_get_item", "query"})
#: The key of every table here.
_KEY = ("PK", "SK")


class Found(NamedTuple, Generic[V]):
    """What a cache holds; the value of an item that does not exist is None."""

    value: V


class Expiring(Generic[K, V]):
    """Values that are forgotten after a time, or when others were used more recently.

    A read that began before a write must not put back what the write replaced: `keep` takes the
    `moment` at which the read began.

    Args:
        ttl_s: how long a value is given, in seconds.
        capacity: how many values are held.
        clock: monotonic seconds.
    """

    def __init__(self, ttl_s: float, capacity: int, clock: MonotonicClock) -> None:
        if ttl_s < 0 or capacity < 1:
            raise ValueError(
                f"a cache of {capacity} entries for {ttl_s} s makes no sense; "
                "give it 1 or more for 0 s or more"
            )
        self._ttl_s, self._capacity, self._clock = ttl_s, capacity, clock
        # By key: the value, until when it is given, and the moment of the last write.
        self._held: OrderedDict[K, tuple[Found[V] | None, float, int]] = OrderedDict()
        self._lock = Lock()
        self._moment = 0

    @property
    def moment(self) -> int:
        """Count the writes so far."""
        return self._moment

    def get(self, key: K) -> Found[V] | None:
        """Give what is held and not too old."""
        with self._lock:
            held = self._held.get(key)
            if held is None:
                return None
            self._held.move_to_end(key)
            found, until, _ = held
            return found if self._clock() < until else None

    def keep(self, key: K, value: V, began: int) -> None:
        """Hold what a read gave that began at this moment, unless it was written since."""
        with self._lock:
            written = self._held.get(key, (None, 0.0, 0))[2]
            if written <= began:
                self._put(key, Found(value), written)

    def write(self, key: K, value: V) -> None:
        """Hold what was written, however old what was held is."""
        with self._lock:
            self._moment += 1
            self._put(key, Found(value), self._moment)

    def drop(self, key: K) -> None:
        """Forget a value that was written and is not known."""
        with self._lock:
            self._moment += 1
            self._put(key, None, self._moment)

    def _put(self, key: K, found: Found[V] | None, written: int) -> None:
        self._held[key] = (found, self._clock() + self._ttl_s, written)
        self._held.move_to_end(key)
        if len(self._held) > self._capacity:
            self._held.popitem(last=False)


ItemKey = tuple[str, tuple[tuple[str, str, Any], ...]]


def item_key(table: str, key: Mapping[str, Any]) -> ItemKey:
    """Name an item, its numbers as numbers."""
    # 1 and 1.0 are one number to DynamoDB, and would be two texts here.
    parts = ((name, *_only(value)) for name, value in key.items())
    return table, tuple(sorted((n, t, Decimal(v) if t == "N" else v) for n, t, v in parts))


def request_key(operation: str, params: Mapping[str, Any]) -> str:
    """Name a query by all that was asked, but not by the report of what it costs."""
    asked = {name: value for name, value in params.items() if name != "ReturnConsumedCapacity"}
    return operation + json.dumps(asked, sort_keys=True, default=_bytes_as_text)


class Written(NamedTuple):
    """What is known of an item after a write: the item, None where there is none, or nothing."""

    table: str
    key: Item
    item: Item | Literal["unknown"] | None


def written(
    operation: str,
    params: Mapping[str, Any],
    reply: Mapping[str, Any],
    key_of: Callable[[str, Item], Item],
) -> Iterator[Written]:
    """Say what a write that succeeded means for the items it names; nothing for a read."""
    table = params.get("TableName", "")
    if operation == "put_item":
        yield Written(table, key_of(table, params["Item"]), params["Item"])
    elif operation == "delete_item":
        yield Written(table, params["Key"], None)
    elif operation == "update_item":
        # What else an update returns is a part of the item, or what it was before.
        is_whole = params.get("ReturnValues") == "ALL_NEW"
        item: Item | Literal["unknown"] = "unknown"
        item = reply.get("Attributes", item) if is_whole else item
        yield Written(table, params["Key"], item)
    elif operation == "batch_write_item":
        left = reply.get("UnprocessedItems", {})
        for name, requests in params["RequestItems"].items():
            for request in requests:
                if request not in left.get(name, ()):
                    yield _part(name, request, key_of)
    elif operation == "transact_write_items":
        for part in params["TransactItems"]:
            ((kind, wish),) = part.items()
            if kind != "ConditionCheck":
                yield _part(wish["TableName"], {kind: wish}, key_of)


def _part(table: str, request: Item, key_of: Callable[[str, Item], Item]) -> Written:
    ((kind, wish),) = request.items()
    if "Item" in wish:
        return Written(table, key_of(table, wish["Item"]), wish["Item"])
    return Written(table, wish["Key"], None if kind.startswith("Delete") else "unknown")


def key_of(_table: str, item: Item) -> Item:
    """Give the key of an item of this project's tables."""
    return {name: item[name] for name in _KEY}


class ReadCache(Protocol):
    """Where an agent's recent reads go first."""

    @property
    def waits(self) -> bool:
        """Say whether a read may wait for the network, so that no event loop may call it."""

    @property
    def moment(self) -> int:
        """Give what `learn` is to be told of when a call began."""

    def accepts(self, call: Call) -> bool:
        """Say whether a call may be answered from here."""

    def read(self, call: Call) -> Reply | None:
        """Answer, or give None where DynamoDB is to be asked; not to be changed by who gets it."""

    def learn(self, call: Call, reply: Reply, began: int) -> None:
        """Take notice of what DynamoDB answered to a call that began at this moment."""

    def close(self) -> None:
        """Let go of connections."""


class Uncached:
    """The cache that holds nothing."""

    waits = False
    moment = 0

    def accepts(self, call: Call) -> bool:
        """Say no."""
        return False

    def read(self, call: Call) -> Reply | None:
        """Answer nothing."""
        return None

    def learn(self, call: Call, reply: Reply, began: int) -> None:
        """Learn nothing."""

    def close(self) -> None:
        """Do nothing."""


@dataclass(frozen=True)
class MemoryCache:
    """Keep recent reads in this process's memory; a setting of `Agent(cache=...)`.

    What others write is seen when the time of an entry is over.

    Args:
        ttl_s: how long an item is given again, or that there was none; in seconds.
        query_ttl_s: the same for queries, which even an own write does not refresh; in seconds.
        entries: how many items, and how many queries, are held.
        clock: monotonic seconds.

    Raises:
        ValueError: a time is negative, or there is no room for an entry.
    """

    ttl_s: float = ITEM_TTL_S
    query_ttl_s: float = 5.0
    entries: int = 10_000
    clock: MonotonicClock = time.monotonic

    def __post_init__(self) -> None:
        self.open(Counter())

    def open(self, counters: Counter[str]) -> "MemoryReads":
        """Make the cache; it counts `cache_hits` and `cache_misses`."""
        items: Expiring[ItemKey, Item | None] = Expiring(self.ttl_s, self.entries, self.clock)
        queries: Expiring[str, Reply] = Expiring(self.query_ttl_s, self.entries, self.clock)
        return MemoryReads(items, queries, counters)


class MemoryReads:
    """The cache in this process's memory."""

    waits = False

    def __init__(
        self,
        items: Expiring[ItemKey, Item | None],
        queries: Expiring[str, Reply],
        counters: Counter[str],
    ) -> None:
        """Hold items and queries apart."""
        self._items, self._queries, self._counters = items, queries, counters

    @property
    def moment(self) -> int:
        """Give what `learn` is to be told of when a call began."""
        return self._items.moment

    def accepts(self, call: Call) -> bool:
        """Say whether a call may be answered from here."""
        return is_cached_read(call)

    def read(self, call: Call) -> Reply | None:
        """Answer, or give None where DynamoDB is to be asked."""
        answer: Reply | None = None
        if call.operation == "query":
            page = self._queries.get(request_key("query", call.params))
            answer = page.value if page else None
        else:
            found: dict[str, list[Item | None]] = {}
            for table, key in keys_read(call):
                held = self._items.get(item_key(table, key))
                if held is None:
                    # All or nothing: a batch that is asked for anyway costs one call.
                    break
                found.setdefault(table, []).append(held.value)
            else:
                here = {
                    table: [i for i in items if i is not None] for table, items in found.items()
                }
                answer = {"Responses": here, "UnprocessedKeys": {}}
                if call.operation == "get_item":
                    ((item,),) = found.values()
                    answer = {} if item is None else {"Item": item}
        self._counters["cache_misses" if answer is None else "cache_hits"] += 1
        return answer

    def learn(self, call: Call, reply: Reply, began: int) -> None:
        """Keep what a read gave, and refresh or forget what a write changed."""
        if call.service != "dynamodb":
            return
        if self.accepts(call) and call.operation == "query":
            self._queries.keep(request_key("query", call.params), reply, self._queries.moment)
        elif self.accepts(call):
            if call.operation == "get_item":
                items = {call.params["TableName"]: [reply["Item"]] if "Item" in reply else []}
            else:
                items = reply["Responses"]
            here = {
                item_key(table, key_of(table, item)): item
                for table, some in items.items()
                for item in some
            }
            # Of what DynamoDB left unread in a batch nothing is known, not even that it is absent.
            left = {
                item_key(table, key)
                for table, wish in reply.get("UnprocessedKeys", {}).items()
                for key in wish["Keys"]
            }
            for name in (item_key(table, key) for table, key in keys_read(call)):
                if name not in left:
                    self._items.keep(name, here.get(name), began)
        for table, key, item in written(call.operation, call.params, reply, key_of):
            if item == "unknown":
                self._items.drop(item_key(table, key))
            else:
                self._items.write(item_key(table, key), item)

    def close(self) -> None:
        """Do nothing."""


def is_cached_read(call: Call) -> bool:
    """Say whether a call reads recent records only, whole, and may be behind by a moment."""
    if not call.recent or call.operation not in READS:
        return False
    if call.operation == "query":
        wishes: Sequence[Mapping[str, Any]] = [call.params]
    elif call.operation == "get_item":
        wishes = [call.params]
    else:
        wishes = list(call.params["RequestItems"].values())
    is_part = call.operation != "query" and any("ProjectionExpression" in w for w in wishes)
    return not is_part and not any(wish.get("ConsistentRead") for wish in wishes)


def keys_read(call: Call) -> Iterator[tuple[str, Item]]:
    """Name the items that a `get_item` or `batch_get_item` asks for, and none for others."""
    if call.operation == "get_item":
        yield call.params["TableName"], call.params["Key"]
    elif call.operation == "batch_get_item":
        for table, wish in call.params["RequestItems"].items():
            for key in wish["Keys"]:
                yield table, key


def _only(value: Mapping[str, Any]) -> tuple[str, Any]:
    ((kind, held),) = value.items()
    return kind, held


def _bytes_as_text(value: Any) -> str:
    return f"bytes:{bytes(value).hex()}"
