"""The whole flow in virtual time: agents act, streams repeat, workers die, all by one seed.

report = run(7)
assert not report.violations
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from random import Random

from sharpwave.schemas import keys, tables
from sharpwave.schemas.messages import SignalMessage, parse_message
from sharpwave.schemas.patterns import PatternDefinition, PatternVersion
from sharpwave.schemas.status import ACKNOWLEDGED
from sharpwave.workers.ports import InboxMessage, Location, TryAgain
from sharpwave.workers.work.outgoing import StreamRecord
from tests.world.agents import Agents
from tests.world.checker import violations
from tests.world.faults import Crash, Faults
from tests.world.interleaving import Job, Step, interleave
from tests.world.queues import Held
from tests.world.stores import START
from tests.world.world import Process, World

#: Seconds by which time jumps once the agents rest: past deadlines, a day, and the sweeps' margin.
JUMPS_S = (700, 6_000, 90_000, 1_500, 1_500)
_MOST_ROUNDS = 5_000
#: Attempts at a message that may fail; without a limit, long work would never end.
_MOST_FAULTS = 10


@dataclass(frozen=True, slots=True, kw_only=True)
class Weather:
    """How bad it gets.

    Attributes:
        crash_rate: share of port calls at which the process dies.
        refusal_rate: share of port calls that are not answered.
        replay_rate: share of pages of a stream that are read twice.
        workers: handlers that run at the same time.
        acknowledges_first: a flaw to be caught: messages are deleted before they are handled.
    """

    crash_rate: float = 0.02
    refusal_rate: float = 0.01
    replay_rate: float = 0.1
    workers: int = 3
    acknowledges_first: bool = False

    @classmethod
    def calm(cls) -> "Weather":
        """Give weather in which nothing goes wrong."""
        return cls(crash_rate=0, refusal_rate=0, replay_rate=0, workers=1)


@dataclass(slots=True)
class Report:
    """What came of a run.

    Attributes:
        violations: broken invariants, in words; empty if all hold.
        handled: messages handled to their end.
        crashes: processes that died.
        calls: port calls made.
    """

    violations: list[str] = field(default_factory=list)
    handled: int = 0
    crashes: int = 0
    calls: int = 0


def run(seed: int, *, agents: int = 4, actions: int = 60, weather: Weather | None = None) -> Report:
    """Simulate one history of the whole flow until nothing is left to do, and check it."""
    chance = Random(seed)
    world = World()
    add_pattern(world, owner="agent-0")
    runner = Runner(world, chance, weather or Weather())
    world.settle()
    crowd = Agents(world, chance, count=agents)
    world.settle()
    watch(world, crowd)
    for _ in range(actions):
        crowd.act()
        runner.live(chance.randint(0, 3))
    runner.rest(crowd)
    runner.report.violations = list(violations(world, crowd.book))
    return runner.report


class Runner:
    """Carries and handles messages in a random order, with random faults."""

    def __init__(self, world: World, chance: Random, weather: Weather) -> None:
        """Run `world` in `weather`."""
        self.world, self.report = world, Report()
        self._chance, self._weather = chance, weather
        self._last: list[tuple[str, list[StreamRecord]]] = []

    def live(self, rounds: int) -> None:
        """Let a little time pass, and work for some rounds."""
        self.world.clock.advance(self._chance.choice([0.0, 0.2, 3.0, 40.0]))
        if self._chance.random() < 0.05:
            self.world.tick()
        for _ in range(rounds):
            self.pump()
            self.work()

    def rest(self, crowd: Agents) -> None:
        """Let time pass until every duty is done; some agents answer late."""
        for jump in JUMPS_S:
            self.drain()
            self.world.clock.advance(jump)
            for _ in range(10):
                self._chance.choice([crowd.answer, crowd.resolve])()
            self.world.tables.expire(lambda table, key: self._chance.random() < 0.7)
            self.drain()
            self.world.tick()
        self.drain()

    def drain(self) -> None:
        """Work until the streams are read and the queues are empty."""
        for _ in range(_MOST_ROUNDS):
            self.pump()
            if not self.world.queues.messages:
                return
            if not self.world.queues.visible():
                self.world.clock.advance(5.0)
            self.work()
        errors = [held.errors[-3:] for held in self.world.queues.messages]
        raise AssertionError(f"the queues do not come to rest: {errors}")

    def pump(self) -> None:
        """Carry new records in some order, each item's in its own; now and then repeat a page."""
        pages, repeated = self.world.unread(), []
        if self._chance.random() < self._weather.replay_rate:
            repeated, self._last = self._last, []
        self._last += pages
        for table, page in [*repeated, *pages]:
            self.world.queues.send(self.world.route(table, shuffled(page, self._chance)))

    def work(self) -> None:
        """Handle a few of the visible messages at the same time."""
        visible = self.world.queues.visible()
        count = min(len(visible), self._chance.randint(1, self._weather.workers))
        taken = [held for held in self._chance.sample(visible, count) if self._receive(held)]
        errors = interleave([self._job(held) for held in taken], self._chance)
        for held, error in zip(taken, errors, strict=True):
            self._finish(held, error)

    def _receive(self, held: Held) -> bool:
        if self._weather.acknowledges_first:
            self.world.queues.delete(held)
            return True
        return self.world.queues.receive(held)

    def _job(self, held: Held) -> Job:
        weather = self._weather if held.receives <= _MOST_FAULTS else Weather.calm()
        faults = Faults(
            crash_rate=weather.crash_rate,
            refusal_rate=weather.refusal_rate,
            chance=self._chance,
        )

        def job(step: Step) -> None:
            faults.step = step
            try:
                Process(self.world, faults).handle(held.body, held.receives)
            finally:
                self.report.calls += len(faults.calls)

        return job

    def _finish(self, held: Held, error: BaseException | None) -> None:
        if error is None:
            self.report.handled += 1
            self.world.queues.delete(held)
        elif isinstance(error, Crash | TryAgain):
            held.errors.append(str(error))
            self.report.crashes += isinstance(error, Crash)
            held.visible_at = self.world.clock() + self._chance.choice([0.0, 1.0, 60.0])
        else:
            raise error


def shuffled(page: Sequence[StreamRecord], chance: Random) -> list[StreamRecord]:
    """Mix records of different items; those of one item keep their order."""
    by_item: dict[str, list[StreamRecord]] = {}
    for record in page:
        by_item.setdefault(str(record["dynamodb"]["Keys"]), []).append(record)
    mixed = []
    while by_item:
        item = chance.choice(list(by_item))
        mixed.append(by_item[item].pop(0))
        if not by_item[item]:
            del by_item[item]
    return mixed


def add_pattern(world: World, *, owner: str) -> PatternVersion:
    """Let a pattern of one agent count from the beginning of time."""
    definition = PatternDefinition.model_validate(
        {
            "pattern_id": "up",
            "agent_id": owner,
            "decision_type": "TRADE",
            "conditions": [{"path": "context.market", "op": "eq", "value": "up"}],
        }
    )
    begin = int(START) - 10 * 86_400
    version = PatternVersion(
        definition=definition, version=1, effective_from=begin, learned_at=begin
    )
    entry = {**keys.known_pattern(version.subject).item(), "version": version.model_dump_json()}
    world.tables.put(tables.PIPELINE, entry)
    world.tables.put(tables.MEMORY, {"PK": version.pk, "SK": "up", "version": 1})
    return version


def watch(world: World, crowd: Agents) -> None:
    """Note every signal that is sent to an agent which acknowledged it already."""

    def on_send(post: InboxMessage) -> None:
        message = parse_message(post.body)
        if isinstance(message, SignalMessage) and _is_acknowledged(world, message):
            crowd.book.resent.append(message.delivery_id)

    world.inboxes.on_send = on_send


def _is_acknowledged(world: World, message: SignalMessage) -> bool:
    place = Location(tables.SIGNALS, keys.Key(message.row.PK, message.row.SK))
    row = world.tables.get([place]).get(place, {})
    return row.get("status") in ACKNOWLEDGED and "processed_at" in row
