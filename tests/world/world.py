"""Everything the pipeline needs, in memory, and processes that work in it and may die."""

from typing import Any

from sharpwave.schemas import keys, tables
from sharpwave.schemas.messages import RowReference, parse_message
from sharpwave.schemas.numbers import parse_json
from sharpwave.schemas.times import AS_A_RULE, EventAhead
from sharpwave.workers.actors import Handler, splitting
from sharpwave.workers.main import build_router, compose
from sharpwave.workers.settings import Settings
from sharpwave.workers.work import ticks
from sharpwave.workers.work.envelope import Duty
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
        discovery: bool = False,
    ) -> None:
        """Start with nothing."""
        self.clock = VirtualClock()
        self.tables = MemoryTables(self.clock)
        self.inboxes = MemoryInboxes()
        self.queues = MemoryWorkQueues(self.clock, max_receives=max_receives)
        self.archive = MemoryArchive()
        # Constructed: no variable of whoever runs the tests, and no look at what is given.
        self.settings = Settings.model_construct(
            quota_per_minute=quota_per_minute,
            promote_after_s=promote_after_s,
            event_ahead=dict(event_ahead),
            discovery=discovery,
            threads=1,
            linger_s=0.0,
            archive_linger_s=0.0,
        )
        self.route = build_router(self.settings)
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

    def unread(self) -> list[tuple[str, list[dict[str, Any]]]]:
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
        """Put the product's handlers together on the world's adapters."""
        self.world, self.faults, self.clock = world, faults, world.clock
        self.reads: Any = Watched(world.tables, faults)
        self.ledger: Any = self.reads
        self.writes: Any = WatchedBatches(world.tables, faults)
        self.queues: Any = WatchedBatches(world.queues, faults)
        archive: Any = Watched(world.archive, faults)
        inboxes: Any = WatchedInboxes(world.inboxes, faults)
        composed = compose(
            world.settings,
            reads=self.reads,
            writes=self.writes,
            transactions=self.reads,
            ledger=self.ledger,
            inboxes=inboxes,
            queues=self.queues,
            archive=archive,
            clock=world.clock,
        )
        self.handlers = composed.handlers
        self.agents, self.parking = composed.agents, composed.parking
        self.courier, self.catalogue = composed.courier, composed.catalogue
        self.episodes = composed.episodes
        self.admission, self.keeper = composed.admission, composed.keeper
        self.discovery = composed.discovery

    def handle(self, body: str, receives: int = 1) -> None:
        """Handle one work message as its actor does."""
        message = parse_json(body)
        queue, actor = message["queue_name"], message["actor_name"]
        run = splitting(Duty(queue, actor, 1), self.handler(queue, actor), self.queues)
        run(message["kwargs"]["entries"], receives)

    def handler(self, queue: str, name: str) -> Handler:
        """Give one actor's handler."""
        return self.handlers[queue][name]


def messages(world: World, agent: str) -> list[Any]:
    """Read every message an agent's queue ever received, notices included."""
    bodies = [post.body for post in world.inboxes.sent if post.target == agent]
    return [parse_message(body) for body in bodies]
