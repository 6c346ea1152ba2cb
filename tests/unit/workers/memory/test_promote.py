"""Short-term memory becomes a fact exactly once, by age, importance or use, and is followed."""

import json
from collections.abc import Sequence
from itertools import permutations
from random import Random
from typing import Any

import pytest

from sharpwave.schemas import keys, tables
from sharpwave.schemas.numbers import item_to_wire, wire_size
from sharpwave.workers.memory.promote import MAX_ENTRY_BYTES, Shown, promote, sweep_memories
from sharpwave.workers.work import ticks
from sharpwave.workers.work.ports import Insert, Item, Write
from tests.world import Crash, Faults, World
from tests.world.interleaving import Job, Step, interleave
from tests.world.records import decision, key_of, memory

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
    process = world.process(faults)
    return sweep_memories(
        "ann",
        promote_after_s=DAY_S,
        reads=process.reads,
        writes=process.writes,
        transactions=process.reads,
        parking=process.parking,
        clock=world.clock,
    )


def promoted(world: World, shown: Sequence[Shown], faults: Faults | None = None) -> int:
    """Promote entries as the actor does."""
    process = world.process(faults)
    return promote(
        shown,
        reads=process.reads,
        writes=process.writes,
        transactions=process.reads,
        parking=process.parking,
        clock=world.clock,
    )


def parked(world: World) -> list[Item]:
    found = world.tables.items(tables.PIPELINE)
    return [item for key, item in found.items() if key.pk.startswith("parked#")]


def change(world: World, item: Item, **values: Any) -> None:
    world.tables.update(tables.STATE, key_of(item), values)


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
            new.append(promoted(world, [Shown(item) for item in items], Faults(step=step)))

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

    assert promoted(world, [Shown(item)]) == 1
    assert key_of(item) not in world.tables.keys(tables.STATE)


def test_the_fact_of_an_early_promoted_entry_takes_later_updates(world: World) -> None:
    item = remember(world, "m1", importance=1, mood="calm")
    world.settle()

    change(world, item, data={"text": "later"})
    world.tables.update(tables.STATE, key_of(item), {"note": "new"}, remove=["mood"])
    world.settle()

    (fact,) = facts(world).values()
    assert (fact["data"], fact["note"]) == ({"text": "later"}, "new")
    assert "mood" not in fact


def test_an_entry_that_was_promoted_and_written_anew_is_promoted_anew(world: World) -> None:
    """A raw PutItem takes the mark away with everything else."""
    item = remember(world, "m1", importance=1)
    world.settle()
    world.clock.advance(60)

    world.tables.put(tables.STATE, {**item, "data": {"text": "anew"}, "importance": 0})
    world.settle()

    (fact,) = facts(world).values()
    assert fact["data"] == {"text": "anew"}
    assert "promoted_at" in world.tables.items(tables.STATE)[key_of(item)]


@pytest.mark.parametrize("order", list(permutations(range(3))))
@pytest.mark.parametrize("is_gone", [False, True], ids=["there", "gone"])
def test_the_newest_state_wins_whatever_the_order(order: tuple[int, ...], *, is_gone: bool) -> None:
    """Three states of one entry wait in as many messages, and may be handled twice."""
    world = World()
    item = remember(world, "m1", importance=1)
    change(world, item, data={"text": "2"})
    change(world, item, data={"text": "3"})
    records = [record.record for record in world.tables.streams[tables.STATE]]
    bodies = [
        out.body
        for record in records
        for out in world.route(tables.STATE, [record])
        if out.queue == "promote"
    ]
    if is_gone:
        world.tables.remove(tables.STATE, key_of(item), by="ttl")
        world.unread()

    for at in (*order, *order):
        world.process().handle(bodies[at])

    (fact,) = facts(world).values()
    assert fact["data"] == {"text": "3"}


@pytest.mark.parametrize("seed", range(20))
def test_a_change_that_races_with_the_promotion_is_not_lost(seed: int) -> None:
    """Until the mark stands, the stream's record of a change does not say that there is a fact."""
    world = World()
    item = remember(world, "m1")

    def sweeping(step: Step) -> None:
        promoted(world, [Shown(item)], Faults(step=step))

    def agent(step: Step) -> None:
        for number in range(3):
            step()
            change(world, item, data={"text": str(number)})

    assert interleave([sweeping, agent], Random(seed)) == [None, None]
    world.settle()

    (fact,) = facts(world).values()
    assert fact["data"] == {"text": "2"}


@pytest.mark.parametrize("after", [False, True], ids=["before", "after"])
def test_a_crash_at_any_call_of_an_update_is_made_good_by_the_next_attempt(*, after: bool) -> None:
    call, done = 0, False
    while not done:
        call += 1
        world = World()
        item = remember(world, "m1", importance=1)
        world.settle()
        change(world, item, data={"text": "later"})
        (entry,) = [Shown({**item, "promoted_at": 1}, "9")]
        try:
            promoted(world, [entry], Faults(crash_at=call, after=after))
            done = True
        except Crash:
            promoted(world, [entry])

        (fact,) = facts(world).values()
        assert fact["data"] == {"text": "later"}


def test_who_updates_a_fact_that_was_removed_on_purpose_does_not_bring_it_back(
    world: World,
) -> None:
    item = remember(world, "m1", importance=1)
    world.settle()
    ((place, _),) = facts(world).items()
    world.tables.remove(tables.MEMORY, place)

    change(world, item, data={"text": "later"})
    world.settle()

    assert not facts(world)


@pytest.mark.parametrize("is_swept", [True, False], ids=["swept", "important"])
def test_an_entry_too_large_to_be_promoted_is_parked_and_passed_over(
    world: World, *, is_swept: bool
) -> None:
    more: Item = {} if is_swept else {"importance": 1}
    remember(world, "huge", data={"text": "x" * MAX_ENTRY_BYTES}, **more)
    remember(world, "small", **more)
    world.settle()
    if is_swept:
        world.clock.advance(DAY_S + 1)
        sweep(world)
        sweep(world)

    (found,) = facts(world).values()
    assert found["data"] == {"text": "small"}
    (refusal,) = parked(world)
    assert refusal["faults"][0]["code"] == "unpromotable"
    assert str(MAX_ENTRY_BYTES) in refusal["faults"][0]["message"]


def test_an_entry_that_was_too_large_is_promoted_once_it_is_mended(world: World) -> None:
    item = remember(world, "huge", data={"text": "x" * MAX_ENTRY_BYTES}, importance=1)
    world.settle()

    change(world, item, data={"text": "short"})
    world.settle()

    (fact,) = facts(world).values()
    assert fact["data"] == {"text": "short"}


def test_a_call_carries_no_more_bytes_than_it_can(world: World) -> None:
    for number in range(12):
        remember(world, f"m{number}", data={"text": "x" * 390_000}, importance=1)
    sizes: list[int] = []
    process = world.process()

    class Weighed:
        def apply(self, writes: Sequence[Write]) -> list[bool]:
            held = [item_to_wire(write.item) for write in writes if isinstance(write, Insert)]
            sizes.append(sum(wire_size(item) for item in held))
            done: list[bool] = process.writes.apply(writes)
            return done

    stored = [item for key, item in world.tables.items(tables.STATE).items() if "memory" in key.pk]
    promote(
        [Shown(item) for item in stored],
        reads=process.reads,
        writes=Weighed(),
        transactions=process.reads,
        parking=process.parking,
        clock=world.clock,
    )

    assert len(facts(world)) == 12
    assert max(sizes) < 2_500_000


def test_what_no_table_takes_harms_no_neighbour(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("sharpwave.workers.memory.promote.MAX_ENTRY_BYTES", 10**9)
    huge = {"text": "x" * (MAX_ENTRY_BYTES + 830)}
    remember(world, "huge", data=huge, importance=1)
    remember(world, "small", importance=1)
    world.settle()

    assert [fact["data"] for fact in facts(world).values() if fact["data"] != huge] == [
        {"text": "small"}
    ]
    assert not world.queues.dead
    assert parked(world)


def test_a_refused_entry_from_the_future_is_not_let_in_by_the_sweep(world: World) -> None:
    item = memory(name="ahead", at=world.clock() + 3_000)
    world.tables.put(tables.STATE, item)
    remember(world, "good")
    world.settle()
    world.clock.advance(2 * DAY_S)

    assert sweep(world) == 1
    assert "promoted_at" not in world.tables.items(tables.STATE)[key_of(item)]


def test_who_never_registered_is_listed_and_swept(world: World) -> None:
    item = memory("eve", at=world.clock())
    world.tables.put(tables.STATE, item)
    world.settle()
    world.clock.advance(DAY_S + 1)
    world.tick()
    world.settle()

    assert "eve" in world.process().agents.names()
    assert keys.fact("eve", "NOTE", item["SK"]) in world.tables.keys(tables.MEMORY)


def test_who_only_receives_is_not_swept_until_it_writes(world: World) -> None:
    world.register("ann", "eve")
    world.settle()
    world.tables.put(tables.STATE, memory("ann", at=world.clock()))
    world.settle()

    assert swept(world) == ["ann"]

    world.tables.put(tables.DECISIONS, decision("eve", at=world.clock()))
    world.settle()

    assert swept(world) == ["ann", "eve"]


def test_who_wrote_before_it_registered_is_swept(world: World) -> None:
    world.tables.put(tables.STATE, memory("eve", at=world.clock()))
    world.settle()
    world.register("eve")
    world.settle()

    assert swept(world) == ["eve"]


def swept(world: World) -> list[str]:
    """Name the agents whose sweeps a tick sends out."""
    before = {held.body for held in world.queues.visible()}
    world.process().handle(ticks.tick(ticks.SWEEP, clock=world.clock).body)
    sent = [held for held in world.queues.visible() if held.body not in before]
    entries = [e for held in sent for e in json.loads(held.body)["kwargs"]["entries"]]
    return [entry["agent"] for entry in entries]


def test_of_a_batch_each_agent_is_told_of_once(world: World) -> None:
    for number in range(5):
        remember(world, f"m{number}")
        world.tables.put(tables.STATE, memory("eve", f"e{number}", at=world.clock()))
    ((_, records),) = world.unread()

    (message,) = world.route(tables.STATE, records)

    assert message.body.count('"agent":') == 2


def test_a_sweep_that_runs_out_of_time_leaves_the_rest_to_the_next(world: World) -> None:
    for number in range(250):
        remember(world, f"m{number}")
    world.clock.advance(DAY_S + 1)

    def slow() -> None:
        world.clock.advance(0.05)

    first = sweep(world, Faults(step=slow))
    rest = sum(sweep(world, Faults(step=slow)) for _ in range(5))

    assert 0 < first < 250
    assert first + rest == len(facts(world)) == 250
