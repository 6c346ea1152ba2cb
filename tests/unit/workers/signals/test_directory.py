"""The directory knows who is registered, at most as late as its cache lives."""

import pytest

from sharpwave.schemas import keys, tables
from sharpwave.workers.patterns.catalogue import Writers
from sharpwave.workers.signals.directory import RegisteredAgents
from tests.world import Faults, World
from tests.world.records import registration


@pytest.fixture
def world() -> World:
    return World()


def directory(world: World, faults: Faults | None = None) -> RegisteredAgents:
    return world.process(faults).agents


def test_a_registration_is_found_with_what_it_says(world: World) -> None:
    world.register("ann", may_broadcast=True, subscriptions=["ALERT"], accepts_from=["bob"])

    found = directory(world).find(["ann"]).get("ann")

    assert found is not None
    assert found.may_broadcast
    assert (found.subscriptions, found.accepts_from) == (["ALERT"], ["bob"])


@pytest.mark.parametrize("name", ["nobody", "", "a#b", "ann\n", "*"])
def test_who_is_not_registered_is_not_found(world: World, name: str) -> None:
    world.register("ann")

    assert directory(world).find([name]).get(name) is None


def test_a_known_agent_is_not_read_again_within_the_caches_life(world: World) -> None:
    world.register("ann")
    faults = Faults()
    agents = directory(world, faults)

    for _ in range(5):
        agents.find(["ann"])

    assert len(faults.calls) == 1


def test_an_unknown_agent_is_read_anew_each_time(world: World) -> None:
    agents = directory(world)
    before = agents.find(["ann"]).get("ann")
    world.register("ann")

    assert before is None
    assert agents.find(["ann"]).get("ann") is not None


def test_an_unknown_agent_is_recalled_without_a_read(world: World) -> None:
    faults = Faults()
    agents = directory(world, faults)

    assert [agents.recall("ann") for _ in range(5)] == [None] * 5
    assert len(faults.calls) == 1

    world.register("ann")
    world.clock.advance(6)
    assert agents.recall("ann") is not None


def test_a_removed_agent_is_forgotten_when_the_cache_ends(world: World) -> None:
    world.register("ann")
    agents = directory(world)
    agents.find(["ann"])
    world.tables.remove(tables.STATE, keys.registration("ann"))

    world.clock.advance(6)

    assert agents.find(["ann"]).get("ann") is None


def test_a_registration_that_says_nonsense_is_none(world: World) -> None:
    world.tables.put(tables.STATE, {**registration("ann"), "accepts_from": ["a#b"]})

    assert directory(world).find(["ann"]).get("ann") is None


def test_everyone_is_listed_by_name_once_their_registration_came_by(world: World) -> None:
    world.register("zoe", "ann", "bob")
    before = directory(world).everyone()
    world.settle()
    world.tables.remove(tables.STATE, keys.registration("bob"))

    assert before == []
    assert [each.agent_id for each in directory(world).everyone()] == ["ann", "zoe"]
    assert directory(world).names() == ["ann", "bob", "zoe"]


def test_noting_an_agent_twice_changes_nothing(world: World) -> None:
    agents = directory(world)

    agents.note({"ann": "e1"})
    agents.note({"ann": "e2", "bob": "e2"})

    assert agents.names() == ["ann", "bob"]


def test_a_registration_is_confirmed_whatever_was_read_lately(world: World) -> None:
    world.register("ann")
    agents = directory(world)
    agents.find(["ann"])
    world.register("ann", may_broadcast=True)

    assert agents.confirm(["ann", "nobody"])["ann"].may_broadcast
    assert agents.find(["ann"])["ann"].may_broadcast


def test_who_was_only_seen_was_never_registered(world: World) -> None:
    seen = keys.known_agent("seen")
    world.tables.put(tables.PIPELINE, {**seen.item(), "agent_id": "seen"})
    agents = directory(world)
    agents.note({"ann": "e1"})

    assert agents.ever_registered(["ann", "seen", "nobody", "*"]) == {"ann"}

    agents.note({"seen": "e2"})

    assert agents.ever_registered(["seen"]) == {"seen"}


def test_who_is_seen_to_write_at_the_same_moment_is_registered_all_the_same(world: World) -> None:
    """Another queue tells of its first record, between a look at the list and the write."""
    seen = Writers(writes=world.tables, clock=world.clock)
    faults = Faults(step=lambda: seen.note_agents(["ann"]) if len(faults.calls) == 1 else None)
    directory(world, faults).note({"ann": "e1"})

    assert directory(world).ever_registered(["ann"]) == {"ann"}
    assert directory(world).writers() == ["ann"]


def test_a_name_counts_as_listed_only_once_it_is_there(world: World) -> None:
    """A worker that freezes before its write must not claim the time it froze at."""
    faults = Faults()
    agents = directory(world, faults)
    begun = world.clock()

    def freeze() -> None:
        if faults.calls and faults.calls[-1].endswith("get") and world.clock() == begun:
            world.clock.advance(3600)

    faults.step = freeze

    listed = agents.note({"ann": "e1"})["ann"]
    world.clock.advance(60)

    assert listed == (begun + 3600, "e1")
    assert agents.note({"ann": "e2"}) == {"ann": listed}


def shown(world: World) -> dict[str, list[str]]:
    """Give who is on the list in which agents find each other, with capabilities."""
    items = world.tables.items(tables.MEMORY)
    entries = [each for key, each in items.items() if key.pk == keys.REGISTRY_PK]
    return {entry["SK"]: entry["capabilities"] for entry in entries}


def test_agents_are_shown_to_each_other_as_they_registered_last(world: World) -> None:
    world.register("ann", capabilities=["price", "hedge"])
    world.register("bob")
    world.settle()
    first = shown(world)
    world.register("ann", capabilities=["price"])
    world.settle()

    assert first == {"ann": ["price", "hedge"], "bob": []}
    assert shown(world) == {"ann": ["price"], "bob": []}


def test_a_removed_agent_is_shown_no_more_by_who_comes_late(world: World) -> None:
    world.register("ann")
    world.settle()
    world.tables.remove(tables.STATE, keys.registration("ann"))

    directory(world).announce(["ann"])

    assert shown(world) == {}


def test_who_announces_what_is_old_by_then_sees_it_and_mends_it(world: World) -> None:
    """Between its read and its write the agent registers anew, and that is announced."""
    world.register("ann", capabilities=["old"])
    faults = Faults()

    def registers_anew() -> None:
        # The third call is the write, after what is registered and what is shown were read.
        if len(faults.calls) == 2:
            world.register("ann", capabilities=["new"])
            directory(world).announce(["ann"])

    faults.step = registers_anew
    directory(world, faults).announce(["ann"])

    assert shown(world) == {"ann": ["new"]}
