"""The tables in memory: strong reads, conditional writes, ledgers, and a stream of changes."""

import itertools
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from datetime import UTC, datetime
from typing import Any, Literal, NamedTuple

from sharpwave.schemas import tables
from sharpwave.schemas.ids import ulid
from sharpwave.schemas.keys import Key
from sharpwave.schemas.numbers import Wire, from_wire, item_from_wire, item_to_wire
from sharpwave.schemas.times import Clock
from sharpwave.workers.work.ports import (
    CallRefused,
    Check,
    Delete,
    Insert,
    Item,
    Location,
    Put,
    Slot,
    Write,
)
from tests.world.limits import check_item

Writer = Literal["agent", "worker", "ttl"]
WireItem = dict[str, Wire]


class Recorded(NamedTuple):
    """A record of a stream, and who made the change."""

    record: dict[str, Any]
    by: Writer


class MemoryTables:
    """`Reads`, `Writes`, `Transactions`, `Ledger` in memory; and what agents do with the tables."""

    def __init__(self, clock: Clock) -> None:
        """Start with empty tables."""
        self._clock = clock
        self._items: dict[str, dict[Key, WireItem]] = {t.name: {} for t in tables.TABLES}
        # Sort keys by partition, for a history has thousands of items.
        self._partitions: dict[str, dict[str, set[str]]] = {t.name: {} for t in tables.TABLES}
        self._sequence = itertools.count(1)
        self.streams: dict[str, list[Recorded]] = {name: [] for name in tables.STREAMED}

    # Reads

    def get(self, locations: Sequence[Location], *, strong: bool = True) -> dict[Location, Item]:
        """Read items; those that do not exist are left out."""
        found = {place: self._items[place.table].get(place.key) for place in locations}
        return {place: item_from_wire(item) for place, item in found.items() if item is not None}

    def query(
        self, table: str, pk: str, *, after: str = "", until: str = "", limit: int | None = None
    ) -> Iterator[Item]:
        """Read a partition in sort key order: `after` exclusive, `until` inclusive."""
        held = self._partitions[table].get(pk, ())
        sks = sorted(sk for sk in held if sk > after and (not until or sk <= until))
        return iter([item_from_wire(self._items[table][Key(pk, sk)]) for sk in sks[:limit]])

    def by_agent(self, agent_id: str, *, after: int, until: int) -> Iterator[Item]:
        """Read index entries of an agent's decisions with `after < timestamp <= until`."""
        names = ("PK", "SK", "agent_id", "timestamp", "outcome", "event_time")
        due = [
            item_from_wire({name: item[name] for name in names if name in item})
            for item in self._items[tables.DECISIONS].values()
            if item.get("agent_id") == {"S": agent_id}
            and "timestamp" in item
            and after < from_wire(item["timestamp"]) <= until
        ]
        return iter(sorted(due, key=lambda entry: entry["timestamp"]))

    def scan(self, table: str) -> list[WireItem]:
        """Read a whole table in typed form."""
        return [dict(item) for item in self._items[table].values()]

    def keys(self, table: str) -> list[Key]:
        """List the keys of a table, in the order they were first written."""
        return list(self._items[table])

    def items(self, table: str) -> dict[Key, Item]:
        """Read a whole table as plain attributes."""
        return {key: item_from_wire(item) for key, item in self._items[table].items()}

    # Writes

    def apply(self, writes: Sequence[Write]) -> list[bool]:
        """Apply writes to distinct items, each on its own."""
        self.check_distinct(writes)
        return [self._apply(write) for write in writes]

    def transact(self, writes: Sequence[Write | Put | Check]) -> bool:
        """Write all if every condition holds, and say whether they did."""
        self.check_distinct(writes)
        if not all(self._would_hold(write) for write in writes):
            return False
        for write in writes:
            if isinstance(write, Put):
                self._store(*write.location, item_to_wire(write.item), "worker")
            elif not isinstance(write, Check):
                self._apply(write)
        return True

    def _would_hold(self, write: Write | Put | Check) -> bool:
        table, key = write.location
        old = self._items[table].get(key)
        if isinstance(write, Put):
            return True
        if isinstance(write, Insert):
            return old is None
        if isinstance(write, Check):
            found = old or {}
            low = (from_wire(found[n]) < most for n, most in write.below.items() if n in found)
            return _holds(found, write.equals) and all(low)
        if old is None or not _holds(old, write.equals):
            return False
        return isinstance(write, Delete) or not any(name in old for name in write.missing)

    def check_distinct(self, writes: Iterable[Write | Put | Check]) -> None:
        """Refuse two writes on one item, as a batch at AWS does."""
        places = [write.location for write in writes]
        if len(set(places)) < len(places):
            raise CallRefused("ValidationException: a batch holds two writes on one item")

    def _apply(self, write: Write) -> bool:
        table, key = write.location
        old = self._items[table].get(key)
        if isinstance(write, Insert):
            if old is None:
                self._store(table, key, item_to_wire(write.item), "worker")
            return old is None
        if isinstance(write, Delete):
            if old is not None and _holds(old, write.equals):
                self.remove(table, key, by="worker")
                return True
            return False
        if old is None or any(name in old for name in write.missing):
            return False
        if not _holds(old, write.equals):
            return False
        kept = {name: value for name, value in old.items() if name not in write.remove}
        self._store(table, key, {**kept, **item_to_wire(write.set)}, "worker")
        return True

    # Ledger

    def add(
        self, location: Location, elements: Sequence[bytes], *, below: int, is_open: bool
    ) -> tuple[bool, Slot]:
        """Add elements to a set that holds fewer than `below`; with `is_open`, to no closed one."""
        held = self._slot(location)
        if len(held.elements) >= below or (is_open and held.is_closed):
            return False, held
        everything = held.elements | set(elements)
        self._set(location, e=set(everything), v=held.revision + 1)
        return True, self._slot(location)

    def close(self, location: Location) -> Slot:
        """Close a set for good, and give all of it."""
        self._set(location, closed=True)
        return self._slot(location)

    def discard(self, location: Location, elements: Collection[bytes]) -> None:
        """Take elements out of a set."""
        held = self._slot(location)
        if held.elements:
            self._set(location, e=set(held.elements - set(elements)))

    def raise_counts(self, location: Location, row: Sequence[Any]) -> bool:
        """Store counts unless those that are there were folded as late."""
        stored = self._items[location.table].get(location.key, {})
        if "c" in stored and from_wire(stored["c"])[0] >= row[0]:
            return False
        self._set(location, c=list(row))
        return True

    def mark(self, location: Location) -> None:
        """Set a mark, with a `rev` that no mark ever had."""
        self._set(location, rev=ulid())

    def _slot(self, location: Location) -> Slot:
        item = item_from_wire(self._items[location.table].get(location.key, {}))
        return Slot(frozenset(item.get("e", ())), item.get("v", 0), "closed" in item)

    def _set(self, location: Location, **values: Any) -> None:
        item = self._items[location.table].get(location.key, location.key.wire())
        self._store(location.table, location.key, {**item, **item_to_wire(values)}, "worker")

    # What agents, or time, do

    def put(self, table: str, item: Mapping[str, Any]) -> Key:
        """Put an item as an agent does: whatever was there is replaced."""
        return self.put_wire(table, item_to_wire(item))

    def put_wire(self, table: str, item: Mapping[str, Wire]) -> Key:
        """Put an item in typed form."""
        key = Key(item["PK"]["S"], item["SK"]["S"])
        self._store(table, key, dict(item), "agent")
        return key

    def update(
        self, table: str, key: Key, values: Mapping[str, Any], *, remove: Sequence[str] = ()
    ) -> bool:
        """Set and remove attributes of an item that exists, as an agent does."""
        old = self._items[table].get(key)
        if old is None:
            return False
        kept = {name: value for name, value in old.items() if name not in remove}
        self._store(table, key, {**kept, **item_to_wire(values)}, "agent")
        return True

    def remove(self, table: str, key: Key, *, by: Writer = "agent") -> None:
        """Remove an item."""
        old = self._items[table].pop(key, None)
        if old is not None:
            self._partitions[table][key.pk].discard(key.sk)
            self._record(table, key, old, None, by)

    def expire(self, is_picked: Callable[[str, Key], bool] = lambda table, key: True) -> None:
        """Remove items whose `ttl` has passed, as DynamoDB does at a time of its own choosing."""
        for table, items in self._items.items():
            for key, item in list(items.items()):
                ttl = float(item.get(tables.TTL_ATTRIBUTE, {}).get("N", "inf"))
                if ttl < self._clock() and is_picked(table, key):
                    self.remove(table, key, by="ttl")

    def _store(self, table: str, key: Key, item: WireItem, by: Writer) -> None:
        check_item(table, item)
        old = self._items[table].get(key)
        self._items[table][key] = item
        self._partitions[table].setdefault(key.pk, set()).add(key.sk)
        if old != item:
            self._record(table, key, old, item, by)

    def _record(
        self, table: str, key: Key, old: WireItem | None, new: WireItem | None, by: Writer
    ) -> None:
        if table not in self.streams:
            return
        number = next(self._sequence)
        change: dict[str, Any] = {
            "ApproximateCreationDateTime": datetime.fromtimestamp(int(self._clock()), UTC),
            "Keys": key.wire(),
            "SequenceNumber": f"{number:021d}",
            "StreamViewType": "NEW_AND_OLD_IMAGES",
            **({} if old is None else {"OldImage": old}),
            **({} if new is None else {"NewImage": new}),
        }
        name = "REMOVE" if new is None else ("INSERT" if old is None else "MODIFY")
        record: dict[str, Any] = {"eventID": f"e{number}", "eventName": name, "dynamodb": change}
        if by == "ttl":
            record["userIdentity"] = {"PrincipalId": "dynamodb.amazonaws.com", "Type": "Service"}
        self.streams[table].append(Recorded(record, by))


def _holds(item: WireItem, equals: Mapping[str, Any]) -> bool:
    return all(_same(item.get(name), value) for name, value in equals.items())


def _same(held: Wire | None, value: Any) -> bool:
    return held is not None and from_wire(held) == value
