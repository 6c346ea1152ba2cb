"""A candidate that discovery made is ended for good, and nothing else is."""

from typing import Any

import pytest

from sharpwave.schemas import keys, tables
from sharpwave.schemas.conditions import Conditions
from sharpwave.schemas.patterns import PatternDefinition, PatternVersion
from sharpwave.workers.patterns.discover.ending import Ending
from sharpwave.workers.work.ports import Location, TryAgain
from tests.world import Faults, World

LEAD_S = 15.0
ROW = keys.Key(keys.pattern_pk("ann"), "found_up")


@pytest.fixture
def world() -> World:
    return World()


def made(world: World, origin: Any = "discovery") -> PatternVersion:
    definition = PatternDefinition(
        pattern_id="found_up",
        agent_id="ann",
        decision_type="TRADE",
        conditions=Conditions.read("context.trend = up"),
    )
    version = world.process().admission.admit(definition, origin=origin, parent=None, reason="seen")
    assert version is not None
    return version


def listed(world: World, version: PatternVersion) -> PatternVersion:
    place = Location(tables.PIPELINE, keys.known_pattern(version.subject))
    return PatternVersion.of_entry(world.tables.get([place])[place])


def ending(world: World, faults: Faults | None = None) -> Ending:
    reads = world.process(faults).reads
    return Ending(reads=reads, transactions=reads, clock=world.clock, lead_s=LEAD_S)


def test_it_counts_no_decision_that_comes_later(world: World) -> None:
    version = made(world)
    world.clock.advance(1_000)

    assert ending(world).retire("ann", "found_up")

    ended = listed(world, version)
    assert ended.effective_to == int(world.clock() + LEAD_S)
    assert world.tables.items(tables.MEMORY)[ROW]["state"] == "retired"
    history = world.tables.items(tables.PIPELINE)[keys.life(version.subject, 1)]
    assert (history["from"], history["to"]) == ("candidate", "retired")
    own = keys.Key(ROW.pk, keys.pattern_version_sk("found_up", 1))
    assert world.tables.items(tables.MEMORY)[own]["effective_to"] == ended.effective_to


def test_what_refines_another_is_the_searchs_to_end_too(world: World) -> None:
    made(world, "split")

    assert ending(world).retire("ann", "found_up")


def test_nobody_hears_of_it_since_nobody_heard_of_the_candidate(world: World) -> None:
    made(world)

    assert ending(world).retire("ann", "found_up")

    assert world.tables.items(tables.SIGNALS) == {}


def test_what_is_found_again_after_it_ended_counts_again(world: World) -> None:
    first = made(world)
    ending(world).retire("ann", "found_up")
    ended = listed(world, first)
    world.clock.advance(1_000)

    second, again = made(world), made(world)

    assert (second.version, second.origin, second.parent) == (2, "discovery", "found_up@1")
    assert again == listed(world, second)
    assert second.effective_to is None
    assert second.effective_from > int(ended.effective_to or 0)
    # In between nothing was counted, and nothing is now.
    assert listed(world, first) == ended
    row = world.tables.items(tables.MEMORY)[ROW]
    assert (row["version"], row["state"]) == (2, "candidate")
    assert "state_was" not in row


def test_a_version_that_was_yet_to_end_does_so_when_the_next_begins(world: World) -> None:
    first = made(world)
    Ending(
        reads=world.process().reads,
        transactions=world.process().reads,
        clock=world.clock,
        lead_s=10 * LEAD_S,
    ).retire("ann", "found_up")

    second = made(world)

    assert listed(world, first).effective_to == second.effective_from


def test_it_ends_beyond_what_was_judged_by_then(world: World) -> None:
    version = made(world)
    world.process().catalogue.known_for(
        {"agent_id": "ann", "decision_type": "TRADE", "timestamp": int(world.clock())}
    )
    place = Location(tables.PIPELINE, keys.judged())
    world.tables.update(tables.PIPELINE, place.key, {"until": int(world.clock()) + 500})

    ending(world).retire("ann", "found_up")

    assert listed(world, version).effective_to == int(world.clock()) + 501


def test_to_end_it_again_changes_nothing(world: World) -> None:
    made(world)
    ending(world).retire("ann", "found_up")
    before = world.tables.items(tables.MEMORY)

    assert not ending(world).retire("ann", "found_up")
    assert world.tables.items(tables.MEMORY) == before


@pytest.mark.parametrize("state", ["active", "shared", "degraded"])
def test_what_was_promoted_stays(world: World, state: str) -> None:
    version = made(world)
    world.tables.update(tables.MEMORY, ROW, {"state": state})

    assert not ending(world).retire("ann", "found_up")
    assert listed(world, version).effective_to is None


def test_what_a_person_imported_stays(world: World) -> None:
    version = made(world, "import")

    assert not ending(world).retire("ann", "found_up")
    assert listed(world, version).effective_to is None
    assert not ending(world).retire("ann", "another")


def test_who_promotes_it_at_this_moment_wins(world: World) -> None:
    version = made(world)

    def promote() -> None:
        if faults.calls:  # after the row was read
            values = {"state": "active", "figures_rev": len(faults.calls)}
            world.tables.update(tables.MEMORY, ROW, values)

    faults = Faults(step=promote)

    assert not ending(world, faults).retire("ann", "found_up")
    assert listed(world, version).effective_to is None


def test_where_others_write_again_and_again_it_is_tried_later(world: World) -> None:
    made(world)

    def touch() -> None:
        world.tables.update(tables.MEMORY, ROW, {"figures_rev": len(faults.calls)})

    faults = Faults(step=touch)

    with pytest.raises(TryAgain, match="found_up is written by others"):
        ending(world, faults).retire("ann", "found_up")
