"""A source has a minute's worth of tokens, refilled at its rate and shared by all processes."""

import itertools
from collections.abc import Callable, Sequence
from random import Random
from typing import Any

import pytest

from sharpwave.schemas import tables
from sharpwave.workers.work.ports import TryAgain, Write, Writes
from tests.world import Faults, World
from tests.world.interleaving import Job, Step, interleave
from tests.world.records import signal
from tests.world.world import Process


@pytest.fixture
def world() -> World:
    made = World(quota_per_minute=30)
    made.register("ann", "bob")
    made.register("quick", signals_per_minute=60)
    made.settle()
    return made


def take(process: Process, source: str = "ann", count: int = 1) -> int:
    """Ask for tokens; gives how many were granted."""
    courier = process.courier
    signals = [signal(source, f"s{next(NUMBERS)}", to=["bob"]) for _ in range(count)]
    return sum(courier.quotas.admit(signals, directory=courier.directory))


NUMBERS = itertools.count()


def test_a_minutes_worth_is_granted_at_once_and_no_more(world: World) -> None:
    assert take(world.process(), count=50) == 30


def test_tokens_come_back_at_the_rate(world: World) -> None:
    process = world.process()
    take(process, count=50)
    world.clock.advance(10)

    assert take(process, count=50) == 5


def test_a_bucket_never_holds_more_than_a_minute(world: World) -> None:
    process = world.process()
    take(process)
    world.clock.advance(3600)

    assert take(process, count=100) <= 32


def test_a_registration_sets_its_own_rate(world: World) -> None:
    assert take(world.process(), "quick", 100) == 60


def test_sources_do_not_spend_each_others_tokens(world: World) -> None:
    process = world.process()
    take(process, "ann", 50)

    assert take(process, "bob", 10) == 10


def test_without_a_rate_there_is_no_limit_and_no_table_access() -> None:
    free, faults = World(), Faults()
    free.register("ann")
    free.settle()

    assert take(free.process(faults), count=100) == 100
    assert "MemoryTables.apply" not in faults.calls


def test_a_tenth_of_the_bucket_is_drawn_at_once(world: World) -> None:
    faults = Faults()

    take(world.process(faults), count=30)

    leases, verdicts = 10, 30
    assert faults.calls.count("MemoryTables.apply") == leases + verdicts


@pytest.mark.parametrize("seed", range(5))
def test_processes_together_never_exceed_the_rate(world: World, seed: int) -> None:
    granted: list[int] = []

    def job() -> Job:
        def run(step: Step) -> None:
            process = world.process(Faults(step=step))
            for _ in range(12):
                try:
                    granted.append(take(process))
                except TryAgain:
                    continue

        return run

    errors = interleave([job() for _ in range(4)], Random(seed))

    assert errors == [None] * 4
    assert sum(granted) <= 30


def test_a_contended_bucket_is_tried_again_rather_than_called_empty(world: World) -> None:
    """A signal must not fail for its quota because others took their tokens meanwhile."""
    process = world.process()
    process.courier.quotas._writes = Losing()

    with pytest.raises(TryAgain, match="kept changing"):
        take(process)
    assert not list(world.tables.query(tables.PIPELINE, "rate"))


def test_a_signal_costs_one_token_however_often_it_is_attempted(world: World) -> None:
    """Ten signals with a quota of ten, and a table that fails three times after the tokens went."""
    world.register("ten", signals_per_minute=10)
    signals = [signal("ten", f"t{n}", to=["bob"]) for n in range(10)]
    quotas = world.process().courier.quotas
    directory = world.process().agents
    reliable = quotas._writes
    quotas._writes = Failing(reliable, times=3)
    for _ in range(3):
        with pytest.raises(TryAgain):
            quotas.admit(signals, directory=directory)

    assert quotas.admit(signals, directory=directory) == [True] * 10
    assert world.process().courier.quotas.admit(signals, directory=directory) == [True] * 10
    assert quotas.admit([signal("ten", "t10", to=["bob"])], directory=directory) == [False]


def test_a_token_goes_back_when_somebody_else_judged_first(world: World) -> None:
    one, other = (world.process().courier for _ in range(2))
    racing = [signal("quick", "s1", to=["bob"])]
    one.quotas._writes = Overtaken(
        one.quotas._writes, by=lambda: other.quotas.admit(racing, directory=other.directory)
    )

    assert one.quotas.admit(racing, directory=one.directory) == [True]

    assert take(world.process(), "quick", 100) == 60 - 2 * LEASE
    assert one.quotas._drawn["quick"] == LEASE
    assert other.quotas._drawn["quick"] == LEASE - 1


def test_a_token_of_an_unanswered_verdict_goes_back_once_another_one_is_found(
    world: World,
) -> None:
    one, other = (world.process().courier for _ in range(2))
    racing = [signal("quick", "s1", to=["bob"])]
    one.quotas._drawn["quick"] = 1
    one.quotas._writes = Failing(one.quotas._writes, times=1)
    with pytest.raises(TryAgain):
        one.quotas.admit(racing, directory=one.directory)
    other.quotas.admit(racing, directory=other.directory)

    another = [signal("quick", "s2", to=["bob"])]
    assert one.quotas.admit(another, directory=one.directory) == [True]

    assert one.quotas._drawn["quick"] == 0
    assert take(world.process(), "quick", 100) == 60 - LEASE


def test_a_thread_that_comes_as_another_one_stored_the_verdict_gives_its_token_back(
    world: World,
) -> None:
    """Both threads are of one process, and handle one signal that came twice."""
    courier = world.process().courier
    quotas: Any = courier.quotas
    directory = courier.directory
    racing = [signal("quick", "s1", to=["bob"])]
    take = quotas._take_for

    def overtaken(*args: Any) -> Any:
        quotas._take_for = take
        quotas.admit(racing, directory=directory)
        return take(*args)

    quotas._take_for = overtaken

    assert quotas.admit(racing, directory=directory) == [True]
    assert quotas._drawn["quick"] == LEASE - 1


def test_a_verdict_stays_what_it_was(world: World) -> None:
    world.register("one", signals_per_minute=1)
    process = world.process()
    first, second = ([signal("one", name, to=["bob"])] for name in ("s1", "s2"))
    quotas, directory = process.courier.quotas, process.agents
    verdicts = [quotas.admit(each, directory=directory) for each in (first, second)]
    world.clock.advance(3600)

    assert verdicts == [[True], [False]]
    assert [quotas.admit(each, directory=directory) for each in (first, second)] == verdicts


#: A tenth of the bucket of "quick".
LEASE = 6


class Failing:
    """Writes of which verdicts are not answered a number of times."""

    def __init__(self, writes: Writes, *, times: int) -> None:
        self.writes, self.times = writes, times

    def apply(self, writes: Sequence[Write]) -> list[bool]:
        verdicts = [write for write in writes if write.location.key.sk == "quota"]
        if verdicts and self.times:
            self.times -= 1
            raise TryAgain("503")
        return self.writes.apply(writes)


class Overtaken:
    """Writes before whose verdicts somebody else stores theirs."""

    def __init__(self, writes: Writes, *, by: Callable[[], object]) -> None:
        self.writes, self.by = writes, by

    def apply(self, writes: Sequence[Write]) -> list[bool]:
        if writes[0].location.key.sk == "quota":
            self.by()
        return self.writes.apply(writes)


class Losing:
    """Writes of which others are always quicker."""

    def apply(self, writes: Sequence[Write]) -> list[bool]:
        return [False for _ in writes]
