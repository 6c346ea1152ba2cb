"""Everything the pipeline needs, in memory, and processes that work in it and may die."""

from typing import Any

from sharpwave.schemas import keys, tables
from sharpwave.schemas.messages import RowReference, parse_message
from sharpwave.schemas.numbers import parse_json
from sharpwave.schemas.times import AS_A_RULE, EventAhead
from sharpwave.workers.actors import Handler, Ports, handlers, splitting
from sharpwave.workers.archive import Archiving
from sharpwave.workers.patterns.catalogue import Catalogue
from sharpwave.workers.router.router import Router
from sharpwave.workers.signals.deliver import Delivery
from sharpwave.workers.signals.directory import RegisteredAgents
from sharpwave.workers.signals.notices import Notices
from sharpwave.workers.signals.parking import ParkingLot
from sharpwave.workers.signals.quota import Quotas
from sharpwave.workers.work import ticks
from sharpwave.workers.work.envelope import Duty
from sharpwave.workers.work.outgoing import StreamRecord
from tests.world import records
from tests.world.faults import (
    Faults,
    Watched,
    WatchedBatches,
    WatchedInboxes,
)
from tests.world.queues import MemoryInboxes, MemoryWorkQueues
from tests.world.stores import MemoryArchive, VirtualClock
from tests.world.tables import MemoryTables

DAY_S = 86_400.0


class World:
    """What outlives any process: time, tables, queues, inboxes and the archive."""

    def __init__(
        self,
        *,
        quota_per_minute: int | None = None,
        promote_after_s: float = DAY_S,
        max_receives: int | None = None,
        event_ahead: EventAhead = AS_A_RULE,
    ) -> None:
        """Start with nothing."""
        self.clock = VirtualClock()
        self.tables = MemoryTables(self.clock)
        self.inboxes = MemoryInboxes()
        self.queues = MemoryWorkQueues(self.clock, max_receives=max_receives)
        self.archive = MemoryArchive()
        self.quota_per_minute = quota_per_minute
        self.promote_after_s = promote_after_s
        self.event_ahead = event_ahead
        self.route = Router(promote_after_s=promote_after_s, event_ahead=event_ahead)
        self._read: dict[str, int] = dict.fromkeys(tables.STREAMED, 0)

    # What agents do

    def register(self, *agents: str, **more: Any) -> None:
        """Register agents the raw way, each with a queue."""
        for agent in agents:
            self.inboxes.create(agent)
            self.tables.put(tables.STATE, records.registration(agent, at=self.clock(), **more))

    def acknowledge(self, row: RowReference | keys.Key, status: str = "PROCESSED") -> bool:
        """Set the status of an inbox row, as its agent does."""
        key = keys.Key(row.PK, row.SK) if isinstance(row, RowReference) else row
        values = {"status": status, "processed_at": int(self.clock())}
        return self.tables.update(tables.SIGNALS, key, values)

    # What keeps the pipeline going

    def unread(self) -> list[tuple[str, list[StreamRecord]]]:
        """Give the records of each stream that were not read yet, and call them read."""
        found = []
        for table, stream in self.tables.streams.items():
            page = [recorded.record for recorded in stream[self._read[table] :]]
            self._read[table] = len(stream)
            if page:
                found.append((table, page))
        return found

    def pump(self) -> int:
        """Carry what is new in the streams to the work queues; gives the number of messages."""
        messages = [out for table, page in self.unread() for out in self.route(table, page)]
        self.queues.send(messages)
        return len(messages)

    def tick(self) -> None:
        """Send every periodic duty once."""
        self.queues.send([ticks.tick(each, clock=self.clock) for each in ticks.ALL])

    def process(self, faults: Faults | None = None) -> "Process":
        """Start a process, with faults of its own."""
        return Process(self, faults or Faults())

    def settle(self, process: "Process | None" = None) -> None:
        """Carry and handle messages, oldest first, until none is left."""
        running = process or self.process()
        while self.pump() or self.queues.visible():
            for held in self.queues.visible():
                if self.queues.receive(held):
                    running.handle(held.body)
                    self.queues.delete(held)


class Process:
    """A worker process: its own caches, its own faults, the world's everything else."""

    def __init__(self, world: World, faults: Faults) -> None:
        """Put the ports together as the composition root does."""
        self.world, self.faults = world, faults
        self.ports = build_ports(world, faults)
        self._handlers = {
            (queue, name): handle
            for queue, duties in handlers(self.ports).items()
            for name, handle in duties.items()
        }

    def handle(self, body: str, receives: int = 1) -> None:
        """Handle one work message as its actor does."""
        message = parse_json(body)
        queue, actor = message["queue_name"], message["actor_name"]
        run = splitting(Duty(queue, actor, 1), self.handler(queue, actor), self.ports.queues)
        run(message["kwargs"]["entries"], receives)

    def handler(self, queue: str, name: str) -> Handler:
        """Give one actor's handler."""
        return self._handlers[queue, name]


def build_ports(world: World, faults: Faults) -> Ports:
    """Put the ports of one process together."""
    reads: Any = Watched(world.tables, faults)
    writes: Any = WatchedBatches(world.tables, faults)
    inboxes: Any = WatchedInboxes(world.inboxes, faults)
    queues: Any = WatchedBatches(world.queues, faults)
    clock = world.clock
    agents = RegisteredAgents(reads=reads, writes=writes, clock=clock, lifetime_s=5.0)
    notices = Notices(writes, inboxes, agents, clock)
    parking = ParkingLot(writes, notices, clock)
    quotas = Quotas(reads=reads, writes=writes, clock=clock, per_minute=world.quota_per_minute)
    delivery = Delivery(
        reads=reads,
        writes=writes,
        marks=writes,
        inboxes=inboxes,
        queues=queues,
        directory=agents,
        parking=parking,
        quotas=quotas,
        clock=clock,
    )
    archive: Any = Watched(world.archive, faults)
    return Ports(
        delivery=delivery,
        reads=reads,
        writes=writes,
        queues=queues,
        agents=agents,
        parking=parking,
        notices=notices,
        catalogue=Catalogue(reads=reads, writes=writes, clock=clock, lifetime_s=5.0),
        ledger=reads,
        archiving=Archiving(archive, linger_s=0.0, threads=1),
        clock=clock,
        promote_after_s=world.promote_after_s,
        event_ahead=world.event_ahead,
    )


def messages(world: World, agent: str) -> list[Any]:
    """Read every message an agent's queue ever received, notices included."""
    bodies = [post.body for post in world.inboxes.sent if post.target == agent]
    return [parse_message(body) for body in bodies]
