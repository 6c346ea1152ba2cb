"""Figures follow from counts alone, and are written only when they changed."""

from decimal import Decimal
from typing import Any

import pytest

from sharpwave.schemas import keys, tables
from sharpwave.schemas.patterns import PatternDefinition, PatternVersion
from sharpwave.workers.learning.publish import RANK_STEP, publish
from sharpwave.workers.ports import Item
from sharpwave.workers.testing import World
from sharpwave.workers.testing.records import decision, outcome
from sharpwave.workers.testing.stores import START


def add(world: World, **more: Any) -> PatternVersion:
    fields = {"pattern_id": "up", "agent_id": "ann", "decision_type": "TRADE", **more}
    fields.setdefault("conditions", [{"path": "context.market", "op": "eq", "value": "up"}])
    begin = int(START) - 10_000
    version = PatternVersion(
        definition=PatternDefinition.model_validate(fields),
        version=1,
        effective_from=begin,
        learned_at=begin,
    )
    entry = {**keys.known_pattern(version.subject).item(), "version": version.model_dump_json()}
    world.tables.put(tables.PIPELINE, entry)
    row = {"PK": version.pk, "SK": "up", "version": 1, "GSI1_PK": version.pk, "GSI1_SK": 0}
    world.tables.put(tables.MEMORY, row)
    return version


def decide(world: World, *, ups: str, downs: str = "") -> None:
    """Write decisions in a rising and in a falling market; `+` succeeds, `-` fails."""
    for market, marks in (("up", ups), ("down", downs)):
        for number, mark in enumerate(marks):
            item = decision(
                name=f"{market}{number}",
                at=world.clock(),
                context={"market": market},
                outcome=outcome(mark == "+"),
            )
            world.tables.put(tables.DECISIONS, item)
    world.settle()


def figures_tick(world: World) -> None:
    world.tick()
    world.settle()


def row(world: World, version: PatternVersion) -> Item:
    return world.tables.items(tables.MEMORY)[keys.Key(version.pk, "up")]


@pytest.fixture
def world() -> World:
    made = World()
    made.register("ann")
    made.settle()
    return made


def test_a_row_shows_what_was_counted(world: World) -> None:
    version = add(world)
    decide(world, ups="+++-", downs="+---")
    figures_tick(world)

    found = row(world, version)
    assert (found["sample_size"], found["successes"]) == (4, 3)
    low, high = found["interval"]
    assert 0 <= low < found["success_rate"] < high <= 1
    assert 0 <= found["confidence"] <= 1
    assert found["as_of"] == "2025-10-18"


def test_the_index_moves_in_steps(world: World) -> None:
    version = add(world)
    decide(world, ups="++++++++-")
    figures_tick(world)

    rank = Decimal(row(world, version)["GSI1_SK"])
    assert rank % RANK_STEP == 0
    assert abs(rank - row(world, version)["confidence"]) <= RANK_STEP / 2


def test_figures_that_did_not_change_are_not_written(world: World) -> None:
    version = add(world)
    decide(world, ups="+-")
    figures_tick(world)
    before = row(world, version)

    figures_tick(world)

    assert row(world, version) == before


def test_a_better_record_is_never_less_credible(world: World) -> None:
    worse, better = World(), world
    for each, ups in ((worse, "+---"), (better, "+++-")):
        if each is worse:
            each.register("ann")
            each.settle()
        version = add(each)
        decide(each, ups=ups, downs="++--")
        figures_tick(each)

    assert row(better, version)["confidence"] > row(worse, version)["confidence"]


def test_a_pattern_without_decisions_says_that_nothing_is_known(world: World) -> None:
    version = add(world)
    figures_tick(world)

    found = row(world, version)
    assert (found["sample_size"], found["success_rate"]) == (0, None)


def test_a_domains_pattern_is_held_against_the_base_of_all_agents(world: World) -> None:
    version = add(world, agent_id=None, domain="crypto")
    decide(world, ups="++", downs="-" * 24)
    figures_tick(world)

    assert row(world, version)["sample_size"] == 2
    assert row(world, version)["base_rate"] < Decimal("0.5")


def test_a_closed_version_and_a_row_of_another_version_are_left_alone(world: World) -> None:
    version = add(world)
    decide(world, ups="++")
    closed = version.model_copy(update={"effective_to": int(START)})
    key = keys.Key(version.pk, "up")
    ports = world.process().ports

    def run(*versions: PatternVersion) -> int:
        return publish(versions, reads=ports.reads, writes=ports.writes, clock=world.clock)

    assert run(closed) == 0
    world.tables.update(tables.MEMORY, key, {"version": 2})
    assert run(version) == 0
    world.tables.remove(tables.MEMORY, key)
    assert run(version) == 0
    assert key not in world.tables.keys(tables.MEMORY)


def test_of_two_that_publish_at_once_one_writes(world: World) -> None:
    version = add(world)
    decide(world, ups="++")
    ports = world.process().ports

    class Late:
        """Reads that let another worker publish once the row was read."""

        def __init__(self) -> None:
            self.is_done = False

        def get(self, locations: Any) -> Any:
            found = world.tables.get(locations)
            if not self.is_done:
                self.is_done = True
                publish([version], reads=ports.reads, writes=ports.writes, clock=world.clock)
            return found

        def query(self, *args: Any, **named: Any) -> Any:
            return world.tables.query(*args, **named)

        def by_agent(self, *args: Any, **named: Any) -> Any:
            return world.tables.by_agent(*args, **named)

    late = publish([version], reads=Late(), writes=ports.writes, clock=world.clock)

    assert late == 0
    assert row(world, version)["figures_rev"] == 1
