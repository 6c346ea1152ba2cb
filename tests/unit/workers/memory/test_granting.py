"""Whom a memory is shared with reads a copy of it, as long as the grant stands and no longer."""

from typing import Any

import pytest

from sharpwave.schemas import keys, tables
from sharpwave.workers.memory.promote import Shown, promote
from sharpwave.workers.work.ports import Item
from tests.world import Crash, Faults, World
from tests.world.records import key_of, memory

FACT = keys.fact("ann", "STRATEGY", "")


@pytest.fixture
def world() -> World:
    made = World()
    made.register("ann")
    made.settle()
    return made


def share(world: World, **more: Any) -> Item:
    item = memory(at=world.clock(), kind="STRATEGY", **more)
    world.tables.put(tables.STATE, item)
    return item


def change(world: World, item: Item, **values: Any) -> None:
    stored = world.tables.items(tables.STATE)[key_of(item)]
    kept = {**stored, **values}
    world.tables.put(tables.STATE, {k: v for k, v in kept.items() if v is not None})


def copies(world: World) -> dict[str, Item]:
    found = world.tables.items(tables.MEMORY)
    return {key.pk: item for key, item in found.items() if "granted" in key.pk}


def test_each_reader_has_a_copy_that_follows_and_goes_with_the_grant(world: World) -> None:
    item = share(world, shared_with={"bob", "eve"}, shared_domains={"crypto"})
    world.settle()
    granted = copies(world)
    change(world, item, data={"text": "new"}, shared_with={"eve"}, shared_domains=None)
    world.settle()

    assert set(granted) == {"agent:bob#granted", "agent:eve#granted", "granted#crypto"}
    assert {one["data"]["text"] for one in granted.values()} == {"m1"}
    assert all(one["agent_id"] == "ann" and "shared_with" not in one for one in granted.values())
    assert {pk: one["data"] for pk, one in copies(world).items()} == {
        "agent:eve#granted": {"text": "new"}
    }


def test_what_is_forgotten_leaves_neither_content_nor_copies(world: World) -> None:
    item = share(world, shared_with={"bob"})
    world.settle()
    change(world, item, data={}, shared_with=None, forgotten_at=int(world.clock()))
    world.settle()

    (fact,) = (one for key, one in world.tables.items(tables.MEMORY).items() if key.pk == FACT.pk)
    assert copies(world) == {}
    assert (fact["data"], fact["ttl"] > world.clock()) == ({}, True)


def test_what_is_forgotten_before_it_is_promoted_becomes_no_fact(world: World) -> None:
    item = share(world)
    change(world, item, data={}, forgotten_at=int(world.clock()))
    world.settle()

    assert not [key for key in world.tables.keys(tables.MEMORY) if key.pk == FACT.pk]


def promoted(world: World, item: Item, number: int, faults: Faults | None = None) -> None:
    process = world.process(faults)
    promote(
        [Shown(item, str(number))],
        reads=process.reads,
        writes=process.writes,
        transactions=process.reads,
        parking=process.parking,
        clock=world.clock,
    )


@pytest.mark.parametrize("after", [False, True], ids=["before", "after"])
def test_a_crash_at_any_call_leaves_no_copy_of_a_revoked_grant(*, after: bool) -> None:
    call, done = 0, False
    while not done:
        call, world = call + 1, World()
        item = share(world, shared_with={"bob", "eve"})
        promoted(world, item, 1)
        change(world, item, shared_with={"bob", "joe"})
        changed = world.tables.items(tables.STATE)[key_of(item)]
        try:
            promoted(world, changed, 2, Faults(crash_at=call, after=after))
            done = True
        except Crash:
            promoted(world, changed, 2)

        assert set(copies(world)) == {"agent:bob#granted", "agent:joe#granted"}
    assert call > 5


def test_a_worker_overtaken_by_a_revocation_and_killed_leaves_no_copy() -> None:
    """Whichever call of it the revocation comes before."""
    call, done = 0, False
    while not done:
        call, world = call + 1, World()
        item = share(world, shared_with={"bob"})
        slow = Faults(crash_at=call, after=True)

        def revoke(world: World = world, item: Item = item, slow: Faults = slow) -> None:
            if len(slow.calls) == slow.crash_at - 1:
                change(world, item, shared_with=None)
                promoted(world, world.tables.items(tables.STATE)[key_of(item)], 2)

        slow.step = revoke
        try:
            promoted(world, item, 1, slow)
            done = True
        except Crash:
            promoted(world, item, 1)

        assert done or copies(world) == {}
    assert call > 5


@pytest.mark.parametrize(
    "bad",
    [
        {"shared_with": ["bob"]},
        {"shared_with": {"bob#granted"}},
        {"shared_domains": {"a#b"}},
        {"forgotten_at": "now"},
        {"large": {"url": "file:///etc/passwd", "bytes": 1, "sha256": "0" * 64}},
    ],
)
def test_an_entry_whose_grants_cannot_be_is_refused(world: World, bad: Item) -> None:
    share(world, **bad)
    world.settle()

    assert copies(world) == {}
    assert not [key for key in world.tables.keys(tables.MEMORY) if key.pk == FACT.pk]
    assert [key for key in world.tables.keys(tables.PIPELINE) if key.pk.startswith("parked#")]
