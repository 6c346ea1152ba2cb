"""Who runs when: messages in any order, nested in one another, on workers that freeze and die."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from random import Random
from typing import Any

from sharpwave.workers.work import ticks
from tests.simulation.scene import STREAMED, Scene, Worker
from tests.simulation.weather import Weather
from tests.world.faults import Crash, Faults
from tests.world.interleaving import Job, Step, interleave
from tests.world.queues import Held

#: Attempts at a message that may fail by chance; without a limit, long work would never end.
_MOST_FAULTS = 8
_MOST_ROUNDS = 4_000
#: How deep something may happen within something else.
_DEEPEST = 3
#: How often in a history: what happens in between makes calls, in between which more may happen.
_MOST_FREEZES, _MOST_NESTED = 6, 150


class Restless(BaseException):
    """The pipeline does not come to rest; nothing that handles messages may catch it."""


class Scheduler:
    """Carries and handles the messages of one scene in an order drawn by chance."""

    def __init__(self, scene: Scene, chance: Random, weather: Weather) -> None:
        """Start the worker processes of `weather`."""
        self.scene, self.weather = scene, weather
        self._chance = chance
        self._workers = [Worker(scene, skew) for skew in weather.skews]
        self._last: list[tuple[str, list[dict[str, Any]]]] = []
        self._depth = 0
        # Some for each act, or the first ones would have them all.
        self._freezes, self._share = _MOST_FREEZES, -(-_MOST_NESTED // weather.actions)
        self._nested = self._share
        self.act: Callable[[], None] = lambda: None
        self.handled = 0
        self.calls = 0

    def live(self) -> None:
        """Let a little time pass, and some work be done."""
        chance = self._chance
        self._nested += self._share
        self.scene.clock.advance(chance.choice([0.0, 0.2, 3.0, 12.0]))
        if chance.random() < 0.05:
            self.tick()
        if chance.random() < self.weather.stall_rate:
            self._stall()
        if chance.random() < self.weather.ttl_rate:
            self.scene.tables.expire(lambda table, key: chance.random() < 0.5)
        for _ in range(chance.choice([0, 1, 2, 4])):
            self.pump()
            self.work()

    def drain(self) -> None:
        """Work until the streams are read and the queues are empty.

        Raises:
            Restless: they never are.
        """
        for _ in range(_MOST_ROUNDS):
            self.pump()
            if not self.scene.queues.messages and not self.scene.has_unread():
                self.scene.book.rested.append(int(self.scene.clock()))
                return
            if not self.scene.workable():
                self._wait_for_work()
            self.work()
        errors = [(held.body[:120], held.errors[-2:]) for held in self.scene.queues.messages[:3]]
        raise Restless(f"the queues do not come to rest: {errors}")

    def tick(self, *duties: ticks.Periodic) -> None:
        """Send periodic duties once; without any, all of them."""
        clock = self.scene.clock
        self.scene.queues.send([ticks.tick(each, clock=clock) for each in duties or ticks.ALL])

    def pump(self) -> None:
        """Carry new records in some order, each item's in its own; now and then repeat a page."""
        most = self._chance.choice([None, None, 3])
        pages, repeated = self.scene.unread(most=most), []
        if self._last and self._chance.random() < self.weather.replay_rate:
            repeated, self._last = self._last, []
            self.scene.book.repeats += len(repeated)
        self._last = [*self._last, *pages][-20:]
        for table, page in [*repeated, *pages]:
            self.scene.feed(table, shuffled(page, self._chance))

    def work(self) -> None:
        """Handle a few messages, one after the other but for what happens in between."""
        for _ in range(self._chance.choice([1, 2, 5])):
            waiting = self.scene.workable()
            idle = [worker for worker in self._workers if not worker.is_busy]
            if not waiting or not idle:
                return
            if self._depth == 0:
                self.scene.inboxes.began = self.scene.book.moment(self.scene.clock()).order
                if self._chance.random() < self.weather.abreast_rate:
                    self._abreast(waiting, idle)
                    continue
            # Mostly the oldest; any other as well, for queues do not keep an order.
            fifo = self._chance.random() < 0.5
            held = waiting[0] if fifo else self._chance.choice(waiting)
            self._handle(held, self._chance.choice(idle))

    def _abreast(self, waiting: list[Held], idle: list[Worker]) -> None:
        """Handle some messages at the same time: a call of one, then one of any other."""

        def job(held: Held, worker: Worker) -> Job:
            return lambda step: self._handle(held, worker, step)

        count = min(len(waiting), len(idle))
        pairs = zip(self._chance.sample(waiting, count), idle, strict=False)
        for error in interleave([job(*pair) for pair in pairs], self._chance):
            if error is not None:
                raise error

    def _handle(self, held: Held, worker: Worker, step: Step | None = None) -> None:
        if not self.scene.queues.receive(held):
            return
        self.scene.book.repeats += held.receives > 1
        self._arm(worker, held)
        if step is not None:
            worker.faults.step = step
        worker.is_busy = True
        try:
            worker.handle(held)
        except Crash as crash:
            self.scene.book.crashes += 1
            self._retry(held, crash)
            self._workers[self._workers.index(worker)] = Worker(self.scene, worker.skew)
        except Exception as error:
            self.scene.book.refusals += 1
            self._retry(held, error)
        else:
            self.handled += 1
            self.scene.queues.delete(held)
        finally:
            worker.is_busy = False
            self.calls += len(worker.faults.calls)
            worker.faults.calls.clear()

    def _arm(self, worker: Worker, held: Held) -> None:
        is_stormy, faults = held.receives <= _MOST_FAULTS, worker.faults
        faults.chance = self._chance
        faults.crash_rate = self.weather.crash_rate if is_stormy else 0.0
        faults.refusal_rate = self.weather.refusal_rate if is_stormy else 0.0
        faults.step = partial(self._between, faults) if is_stormy else None
        at, faults.after = self.weather.death or (0, False)
        faults.crash_at = max(0, at - self.calls)

    def _retry(self, held: Held, error: BaseException) -> None:
        held.errors.append(f"{type(error).__name__}: {error}")
        wait = self._chance.choice([0.0, 1.0, 5.0, 60.0])
        held.visible_at = self.scene.clock() + wait

    def _between(self, faults: Faults) -> None:
        """Let something happen before a call of a port, or let much time pass."""
        chance, weather = self._chance, self.weather
        if self._depth >= _DEEPEST:
            return
        nest_rate = faults.weight * weather.nest_rate
        # Transactions are so few that each may have its turn.
        is_allowed = self._nested > 0 or faults.weight > 1
        if is_allowed and nest_rate and chance.random() < nest_rate:
            self._nested -= 1
            with self._deeper():
                others = [self.work, self.act] if faults.weight > 1 else [self.work] * 2
                chance.choice([*others, self.pump, self.act])()
        if self._freezes and weather.freeze_rate and chance.random() < weather.freeze_rate:
            self._freezes -= 1
            with self._deeper():
                self._freeze()

    def _freeze(self) -> None:
        self.scene.book.delays = True
        self.scene.clock.advance(self._chance.choice([1.0, 8.0, 70.0, 70.0, 400.0, 5_000.0]))
        self.tick()
        for _ in range(self._chance.choice([0, 2, 6])):
            self.pump()
            self.work()

    def _stall(self) -> None:
        self.scene.book.delays = True
        name = self._chance.choice(["deliver", "status", "status", "learn", "promote", *STREAMED])
        self.scene.stalled[name] = self.scene.clock() + self._chance.choice([30, 600, 20_000])

    def _wait_for_work(self) -> None:
        moments = [held.visible_at for held in self.scene.queues.messages]
        moments += self.scene.stalled.values()
        later = [moment for moment in moments if moment > self.scene.clock()]
        if later:
            self.scene.clock.advance(min(later) - self.scene.clock() + 0.001)

    @contextmanager
    def _deeper(self) -> Iterator[None]:
        self._depth += 1
        try:
            yield
        finally:
            self._depth -= 1


def shuffled(page: Sequence[dict[str, Any]], chance: Random) -> list[dict[str, Any]]:
    """Mix records of different items; those of one item keep their order."""
    by_item: dict[str, list[dict[str, Any]]] = {}
    for record in page:
        by_item.setdefault(str(record["dynamodb"]["Keys"]), []).append(record)
    mixed = []
    while by_item:
        item = chance.choice(list(by_item))
        mixed.append(by_item[item].pop(0))
        if not by_item[item]:
            del by_item[item]
    return mixed
