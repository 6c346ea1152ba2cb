"""Short-term memory becomes a fact exactly once, by age, importance or use."""

from random import Random
from typing import Any

import pytest

from sharpwave.schemas import keys, tables
from sharpwave.workers.ports import Item
from sharpwave.workers.promote import promote, sweep_memories
from sharpwave.workers.testing import Crash, Faults, World
from sharpwave.workers.testing.interleaving import Job, Step, interleave
from sharpwave.workers.testing.records import key_of, memory

DAY_S = 86_400


@pytest.fixture
def world() -> World:
    made = World()
    made.register("ann")
    made.settle()
    return made


def remember(world: World, name: str, **more: Any) -> Item:
    item = memory(name=name, at=world.clock(), **more)
    world.tables.put(tables.STATE, item)
    return item


def facts(world: World) -> dict[keys.Key, Item]:
    found = world.tables.items(tables.MEMORY)
    return {key: item for key, item in found.items() if key.pk == "agent:ann#fact"}


def sweep(world: World, faults: Faults | None = None) -> int:
    ports = world.process(faults).ports
    return sweep_memories(
        "ann",
        promote_after_s=DAY_S,
        reads=ports.reads,
        writes=ports.writes,
        clock=world.clock,
    )


def test_an_entry_becomes_a_fact_when_it_comes_of_age(world: World) -> None:
    item = remember(world, "m1", kind="QUERY")
    early = sweep(world)
    world.clock.advance(DAY_S + 1)

    assert (early, sweep(world), sweep(world)) == (0, 1, 0)
    ((key, fact),) = facts(world).items()
    assert key == keys.fact("ann", "QUERY", item["SK"])
    assert fact["data"] == item["data"]
    assert fact["learned_at"] == int(world.clock())
    assert world.tables.items(tables.STATE)[key_of(item)]["promoted_at"] == int(world.clock())


def test_an_important_entry_does_not_wait(world: World) -> None:
    remember(world, "m1", importance=1)
    world.settle()

    assert len(facts(world)) == 1


def test_an_entry_that_its_ttl_removed_first_is_not_lost(world: World) -> None:
    remember(world, "m1", ttl=int(world.clock()) + 60)
    world.clock.advance(120)
    world.tables.expire()
    world.settle()

    assert len(facts(world)) == 1
    assert not [key for key in world.tables.keys(tables.STATE) if "#memory#" in key.pk]


def test_what_an_agent_wrote_for_indexes_never_reaches_those_of_long_term_memory(
    world: World,
) -> None:
    plan = {"GSI1_PK": "agent:eve#pattern", "GSI1_SK": "2025-10-18", "GSI2_PK": "x", "GSI2_SK": 9}
    remember(world, "m1", importance=1, is_stm=True, **plan)
    world.settle()

    (fact,) = facts(world).values()
    assert not fact.keys() & {*plan, "is_stm", "ttl"}


def test_a_refused_entry_neither_becomes_a_fact_nor_stops_its_neighbours(world: World) -> None:
    faults: list[Item] = [
        {"agent_id": "eve"},
        {"memory_type": 5},
        {"timestamp": "now"},
        {"importance": "high"},
    ]
    for number, bad in enumerate(faults):
        world.tables.put(tables.STATE, {**memory(name=f"bad{number}", at=world.clock()), **bad})
    remember(world, "good")
    world.clock.advance(DAY_S + 1)

    assert sweep(world) == 1


def test_a_finished_past_is_not_swept_again(world: World) -> None:
    remember(world, "m1")
    world.clock.advance(2 * DAY_S)
    sweep(world)
    faults = Faults()

    sweep(world, faults)

    assert "MemoryTables.apply" not in faults.calls


@pytest.mark.parametrize("seed", range(5))
def test_ten_who_promote_at_once_make_one_fact(world: World, seed: int) -> None:
    items = [remember(world, f"m{number}") for number in range(3)]
    new: list[int] = []

    def job() -> Job:
        def run(step: Step) -> None:
            ports = world.process(Faults(step=step)).ports
            new.append(promote(items, writes=ports.writes, clock=world.clock))

        return run

    errors = interleave([job() for _ in range(10)], Random(seed))

    assert errors == [None] * 10
    assert sum(new) == len(facts(world)) == 3


@pytest.mark.parametrize("after", [False, True], ids=["before", "after"])
def test_a_crash_at_any_call_neither_loses_nor_doubles_a_fact(*, after: bool) -> None:
    call, done = 0, False
    while not done:
        call += 1
        world = World()
        items = [remember(world, f"m{number}") for number in range(3)]
        world.clock.advance(DAY_S + 1)
        try:
            sweep(world, Faults(crash_at=call, after=after))
            done = True
        except Crash:
            sweep(world)

        assert len(facts(world)) == 3
        for item in items:
            assert "promoted_at" in world.tables.items(tables.STATE)[key_of(item)]


def test_a_mark_never_raises_an_entry_that_is_gone(world: World) -> None:
    item = memory()

    assert promote([item], writes=world.tables, clock=world.clock) == 1
    assert key_of(item) not in world.tables.keys(tables.STATE)
