"""An episode is always the whole day, recomputed from its decisions."""

from decimal import Decimal
from random import Random
from typing import Any

import pytest

from sharpwave.schemas import keys, tables
from sharpwave.workers.episodes import LOTS, Day, fold_decisions, summary, sweep_decisions
from sharpwave.workers.ports import Item
from sharpwave.workers.testing import Crash, Faults, World
from sharpwave.workers.testing.interleaving import Job, Step, interleave
from sharpwave.workers.testing.records import decision, key_of, outcome

DAY_S = 86_400
LOT_S = DAY_S // LOTS


@pytest.fixture
def world() -> World:
    made = World()
    made.register("ann")
    made.settle()
    return made


def decide(world: World, name: str, **more: Any) -> Item:
    item = decision(name=name, **{"at": world.clock(), **more})
    world.tables.put(tables.DECISIONS, item)
    return item


def sweep(world: World, faults: Faults | None = None) -> int:
    ports = world.process(faults).ports
    return sweep_decisions(
        "ann", promote_after_s=DAY_S, reads=ports.reads, writes=ports.writes, clock=world.clock
    )


def episode(world: World, day: str = "2025-10-18") -> Item:
    return world.tables.items(tables.MEMORY)[keys.episode("ann", "TRADE", day)]


def counts(item: Item) -> tuple[int, int, int]:
    return item["sample_size"], item["successes"], item["pending"]


def test_a_day_is_folded_once_its_decisions_come_of_age(world: World) -> None:
    decide(world, "d1", outcome=outcome(True, Decimal("0.5")))
    decide(world, "d2", outcome=outcome(False, 1))
    item = decide(world, "d3", reasoning={"selected": ["news", "tape"]})
    early = sweep(world)
    world.clock.advance(DAY_S + LOT_S)

    assert (early, sweep(world), sweep(world)) == (0, 1, 0)
    assert counts(episode(world)) == (2, 1, 1)
    assert episode(world)["quality_mean"] == Decimal("0.75")
    assert episode(world)["sources"] == {"news": 1, "tape": 1}
    marked = world.tables.items(tables.DECISIONS)[key_of(item)]
    assert (marked["promoted_at"], marked["is_stm"]) == (int(world.clock()), False)


def test_sweeps_read_each_decision_of_a_day_once(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    read: list[str] = []
    ports = world.process().ports
    query = ports.reads.query

    def counted(*where: Any, **span: Any) -> Any:
        for item in query(*where, **span):
            read.append(item["decision_id"])
            yield item

    monkeypatch.setattr(ports.reads, "query", counted)
    names = [f"d{number}" for number in range(48)]
    for name in names:
        decide(world, name)
        world.clock.advance(LOT_S / 2)
    for _ in range(2 * LOTS + 4):
        sweep_decisions(
            "ann", promote_after_s=DAY_S, reads=ports.reads, writes=ports.writes, clock=world.clock
        )
        world.clock.advance(LOT_S / 2)

    assert sorted(read) == sorted(names)


def test_a_late_outcome_runs_its_day_again(world: World) -> None:
    items = [decide(world, f"d{number}") for number in range(3)]
    world.settle()
    world.clock.advance(2 * DAY_S)
    sweep(world)
    assert counts(episode(world)) == (0, 0, 3)

    for item in items[:2]:
        world.tables.update(tables.DECISIONS, key_of(item), {"outcome": outcome(True)})
    world.settle()

    assert counts(episode(world)) == (2, 2, 1)
    assert episode(world)["version"] > 1


def test_a_decision_stored_late_joins_its_day(world: World) -> None:
    decide(world, "d1")
    world.clock.advance(2 * DAY_S)
    world.tick()
    world.settle()

    decide(world, "d0", at=world.clock() - 2 * DAY_S - 60)
    decide(world, "d2", at=world.clock() - 2 * DAY_S + 60)
    world.settle()

    assert counts(episode(world)) == (0, 0, 3)


def test_domain_time_decides_the_day(world: World) -> None:
    decide(world, "d1", event_time="2008-10-10")
    decide(world, "d2", event_time="2008-10-10T09:30:00Z")
    decide(world, "d3", event_time="2008-10-11")
    world.clock.advance(DAY_S + LOT_S)
    sweep(world)

    assert counts(episode(world, "2008-10-10")) == (0, 0, 2)
    assert counts(episode(world, "2008-10-11")) == (0, 0, 1)


@pytest.mark.parametrize(
    "bad",
    [
        {"event_time": "once upon a time"},
        {"event_time": 5},
        {"outcome": {"success": "maybe"}},
        {"outcome": {"success": True, "quality_score": "good"}},
        {"decision_id": "another"},
        {"reasoning": "none"},
    ],
)
def test_a_refused_decision_is_in_no_episode_and_stops_no_sweep(world: World, bad: Item) -> None:
    world.tables.put(tables.DECISIONS, {**decision(name="bad", at=world.clock()), **bad})
    decide(world, "good")
    world.clock.advance(DAY_S + LOT_S)

    sweep(world)

    assert counts(episode(world)) == (0, 0, 1)


def test_a_forged_index_entry_is_dropped(world: World) -> None:
    """Another agent's decision that claims to be ann's is in the index, but not in her days."""
    world.tables.put(tables.DECISIONS, {**decision("eve", "d1"), "agent_id": "ann"})
    world.tables.put(tables.DECISIONS, {**decision("ann", "d2"), "PK": "agent:ann#odd"})
    world.clock.advance(DAY_S + LOT_S)

    assert sweep(world) == 0


@pytest.mark.parametrize("seed", range(6))
def test_folds_that_race_with_outcomes_end_exact(world: World, seed: int) -> None:
    items = [decide(world, f"d{number}") for number in range(4)]

    def fold(item: Item) -> Job:
        def run(step: Step) -> None:
            ports = world.process(Faults(step=step)).ports
            values = {"outcome": outcome(True)}
            world.tables.update(tables.DECISIONS, key_of(item), values)
            fold_decisions([item], reads=ports.reads, writes=ports.writes, clock=world.clock)

        return run

    errors = interleave([fold(item) for item in items], Random(seed))

    assert errors == [None] * 4
    assert counts(episode(world)) == (4, 4, 0)


@pytest.mark.parametrize("after", [False, True], ids=["before", "after"])
def test_a_crash_at_any_call_is_made_good_by_the_next_sweep(*, after: bool) -> None:
    call, done = 0, False
    while not done:
        call += 1
        world = World()
        items = [decide(world, f"d{number}", outcome=outcome(True)) for number in range(3)]
        world.clock.advance(DAY_S + LOT_S)
        try:
            sweep(world, Faults(crash_at=call, after=after))
            done = True
        except Crash:
            sweep(world)

        assert counts(episode(world)) == (3, 3, 0)
        stored = world.tables.items(tables.DECISIONS)
        assert all("promoted_at" in stored[key_of(item)] for item in items)


def test_a_summary_of_nothing_counts_nothing() -> None:
    found = summary(Day("ann", "TRADE", "2025-10-18"), {})

    assert counts(found) == (0, 0, 0)
    assert "quality_mean" not in found
