"""What the router makes of records, as they come from tables in memory."""

from collections.abc import Sequence
from typing import Any

from sharpwave.schemas.numbers import parse_json
from sharpwave.workers.router.router import Router
from sharpwave.workers.work.outgoing import WorkMessage
from sharpwave.workers.work.ports import Insert, Item, Write
from tests.world.queues import check_body
from tests.world.records import key_of
from tests.world.stores import VirtualClock
from tests.world.tables import MemoryTables


class Streams:
    """Tables whose records are routed one by one as they are written."""

    def __init__(self) -> None:
        self.clock = VirtualClock()
        self.tables = MemoryTables(self.clock)
        self.route = Router()

    def put(self, table: str, item: Item) -> list[Any]:
        self.tables.put(table, item)
        return self.news(table)

    def update(self, table: str, item: Item, **values: Any) -> list[Any]:
        self.tables.update(table, key_of(item), values)
        return self.news(table)

    def work(self, table: str, write: Insert | Write) -> list[Any]:
        self.tables.apply([write])
        return self.news(table)

    def news(self, table: str) -> list[Any]:
        """Give (actor, entry) for all that follows from the last record."""
        return entries(self.route(table, [self.tables.streams[table][-1].record]))


def entries(messages: Sequence[WorkMessage]) -> list[Any]:
    """Give (actor, entry) of all messages, each of which SQS would take."""
    found = []
    for message in messages:
        check_body(message.body)
        body = parse_json(message.body)
        found += [(body["actor_name"], entry) for entry in body["kwargs"]["entries"]]
    return found


def actors(found: Sequence[Any]) -> list[str]:
    """Name the actors of what `entries` found."""
    return [actor for actor, _ in found]


def codes(found: Sequence[Any]) -> list[str]:
    """Give the codes of all faults for which something was refused."""
    refused = [entry for actor, entry in found if actor == "on_refused"]
    return [fault["code"] for entry in refused for fault in entry["faults"]]
