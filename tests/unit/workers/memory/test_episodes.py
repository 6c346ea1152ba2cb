"""An episode says of its day what the ledger counted, and never less than it did before."""

from collections import Counter
from decimal import Decimal
from random import Random
from typing import Any

import pytest

from sharpwave.schemas import keys, tables
from sharpwave.schemas.numbers import item_to_wire, wire_size
from sharpwave.schemas.patterns import PatternDefinition, PatternVersion
from sharpwave.workers.memory import episodes
from sharpwave.workers.memory.episodes import Day, summary
from sharpwave.workers.patterns.counts import Counts
from sharpwave.workers.work import ticks
from sharpwave.workers.work.low_water import LOTS, LowWater
from sharpwave.workers.work.ports import Item, TryAgain
from tests.world import Crash, Faults, World
from tests.world.interleaving import Job, Step, interleave
from tests.world.records import decision, key_of, outcome

DAY_S = 86_400
LOT_S = DAY_S // LOTS


@pytest.fixture
def world() -> World:
    made = World()
    made.register("ann")
    made.settle()
    return made


def decide(world: World, name: str, **more: Any) -> Item:
    """Write a decision and let it be learned."""
    item = decision(name=name, **{"at": world.clock(), **more})
    world.tables.put(tables.DECISIONS, item)
    world.settle()
    publish(world)
    return item


def sweep(world: World, faults: Faults | None = None) -> int:
    return world.process(faults).episodes.sweep("ann")


def fold(world: World, items: list[Item], faults: Faults | None = None) -> int:
    return world.process(faults).episodes.fold(items)


def episode(world: World, day: str = "2025-10-18") -> Item:
    return world.tables.items(tables.MEMORY)[keys.episode("ann", "TRADE", day)]


def publish(world: World) -> None:
    """Sum up what changed in ledgers, as a tick does."""
    world.queues.send([ticks.tick(ticks.FIGURES, clock=world.clock)])
    world.settle()


def entry_of(world: World, item: Item) -> Item:
    """Give a decision as it is now, as a work message carries it."""
    image = world.tables.items(tables.DECISIONS)[key_of(item)]
    return {"image": item_to_wire(image), "key": list(key_of(item))}


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
    process = world.process()
    query = process.reads.query

    def counted(*where: Any, **span: Any) -> Any:
        for item in query(*where, **span):
            if where[0] == tables.DECISIONS:
                read.append(item["decision_id"])
            yield item

    monkeypatch.setattr(process.reads, "query", counted)
    names = [f"d{number}" for number in range(48)]
    for name in names:
        decide(world, name)
        world.clock.advance(LOT_S / 2)
    for _ in range(2 * LOTS + 4):
        process.episodes.sweep("ann")
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
    publish(world)

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


def test_a_day_whose_only_decision_was_spoiled_after_it_was_counted_has_an_episode(
    world: World,
) -> None:
    key = decide(world, "d1")
    world.settle()
    stored = world.tables.items(tables.DECISIONS)[key_of(key)]
    world.tables.put(tables.DECISIONS, {**stored, "context": {"market": "other"}})
    world.settle()
    world.clock.advance(DAY_S + LOT_S)

    sweep(world)

    assert counts(episode(world)) == (0, 0, 1)


def test_the_days_of_an_hour_are_judged_by_one_list_of_versions(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    for day in (14, 15, 16, 17):
        item = decide(world, f"d{day}", event_time=f"2025-10-{day}T12:00:00Z")
        stored = world.tables.items(tables.DECISIONS)[key_of(item)]
        world.tables.put(tables.DECISIONS, {**stored, "context": {"market": "other"}})
    world.settle()
    world.clock.advance(DAY_S + LOT_S)
    process = world.process()
    lists: list[str] = []
    query = process.reads.query

    def counted(table: str, pk: str, **span: Any) -> Any:
        if pk == keys.KNOWN_PATTERNS_PK:
            lists.append(pk)
        return query(table, pk, **span)

    monkeypatch.setattr(process.reads, "query", counted)
    process.episodes.sweep("ann")

    assert counts(episode(world, "2025-10-15")) == (0, 0, 1)
    assert len(lists) == 1


def test_a_forged_index_entry_is_dropped(world: World) -> None:
    """Another agent's decision that claims to be ann's is in the index, but not in her days."""
    world.tables.put(tables.DECISIONS, {**decision("eve", "d1"), "agent_id": "ann"})
    world.tables.put(tables.DECISIONS, {**decision("ann", "d2"), "PK": "agent:ann#odd"})
    world.clock.advance(DAY_S + LOT_S)

    assert sweep(world) == 0


@pytest.mark.parametrize("seed", range(6))
def test_folds_that_race_with_outcomes_end_exact(world: World, seed: int) -> None:
    items = [decide(world, f"d{number}") for number in range(4)]

    def late(item: Item) -> Job:
        def run(step: Step) -> None:
            process = world.process(Faults(step=step))
            values = {"outcome": outcome(True)}
            world.tables.update(tables.DECISIONS, key_of(item), values)
            process.handler("learn", "on_decisions")([entry_of(world, item)])
            fold(world, [item], Faults(step=step))

        return run

    errors = interleave([late(item) for item in items], Random(seed))
    publish(world)

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
    found = summary(Day("ann", "TRADE", "2025-10-18"), Counts(), Counter())

    assert counts(found) == (0, 0, 0)
    assert "quality_mean" not in found


def test_a_late_outcome_after_removal_corrects_an_episode_and_shrinks_nothing(
    world: World,
) -> None:
    used = {"reasoning": {"selected": ["news"]}}
    items = [decide(world, f"d{number}", outcome=outcome(True), **used) for number in range(8)]
    last = decide(world, "d8", ttl=int(world.clock()) + 9 * DAY_S, **used)
    world.clock.advance(DAY_S + LOT_S)
    sweep(world)
    for item in items:
        world.tables.remove(tables.DECISIONS, key_of(item), by="ttl")

    world.tables.update(tables.DECISIONS, key_of(last), {"outcome": outcome(False)})
    world.settle()
    publish(world)

    assert counts(episode(world)) == (9, 8, 0)
    assert episode(world)["sources"] == {"news": 9}


def test_a_decision_that_goes_before_it_is_of_age_is_folded_at_once(world: World) -> None:
    ttl = int(world.clock()) + 600
    item = decide(world, "d1", ttl=ttl, outcome=outcome(True), reasoning={"selected": ["news"]})
    world.clock.advance(DAY_S)
    world.tables.expire()
    world.settle()
    sweep(world)

    assert key_of(item) not in world.tables.keys(tables.DECISIONS)
    assert counts(episode(world)) == (1, 1, 0)
    assert episode(world)["sources"] == {"news": 1}


@pytest.mark.parametrize("is_told", [True, False], ids=["shortened", "removed"])
def test_a_decision_whose_time_is_cut_short_later_is_folded_too(
    world: World, *, is_told: bool
) -> None:
    item = decide(world, "d1", outcome=outcome(True))
    values = {"ttl": int(world.clock()) + 600}
    world.tables.update(tables.DECISIONS, key_of(item), values)
    if is_told:
        world.settle()
    else:
        world.unread()
        world.tables.remove(tables.DECISIONS, key_of(item), by="ttl")
        world.settle()

    assert counts(episode(world)) == (1, 1, 0)


def test_an_hour_read_again_after_removals_keeps_its_greater_numbers(world: World) -> None:
    tape, news = {"reasoning": {"selected": ["tape"]}}, {"reasoning": {"selected": ["news"]}}
    items = [decide(world, f"d{number}", **tape) for number in range(5)]
    world.clock.advance(DAY_S + LOT_S)
    sweep(world)
    for item in items[:4]:
        world.tables.remove(tables.DECISIONS, key_of(item), by="ttl")

    decide(world, "late", at=world.clock() - DAY_S - LOT_S + 1, **news)

    assert episode(world)["sources"] == {"news": 1, "tape": 5}


def test_a_day_written_in_many_hours_stays_a_small_item(world: World) -> None:
    for number in range(100):
        world.clock.advance(3_600)
        decide(world, f"d{number}", event_time="2008-10-10", reasoning={"selected": ["tape"]})
    world.clock.advance(DAY_S + LOT_S)

    sweep(world)

    assert counts(episode(world, "2008-10-10")) == (0, 0, 100)
    assert episode(world, "2008-10-10")["sources"] == {"tape": 100}
    assert wire_size(item_to_wire(episode(world, "2008-10-10"))) < 1_000


def test_only_what_was_admitted_lends_its_sources(world: World) -> None:
    """Judged by its own time a decision from the future would pass; it was refused when it came."""
    used = {"reasoning": {"selected": ["news"]}}
    decide(world, "ahead", at=world.clock() + 3_000, **used)
    decide(world, "good", **used)
    world.clock.advance(DAY_S + 2 * LOT_S)

    sweep(world)

    assert counts(episode(world)) == (0, 0, 1)
    assert episode(world)["sources"] == {"news": 1}


def test_a_type_that_is_about_the_future_is_swept_as_it_was_admitted() -> None:
    world = World(event_ahead={"TRADE": 30 * DAY_S})
    far = {"event_time": "2025-11-10", "reasoning": {"selected": ["news"]}}
    decide(world, "forecast", **far)
    decide(world, "hedge", kind="HEDGE", **far)
    world.clock.advance(DAY_S + 2 * LOT_S)

    world.tick()
    world.settle()

    assert counts(episode(world, "2025-11-10")) == (0, 0, 1)
    assert episode(world, "2025-11-10")["sources"] == {"news": 1}
    assert keys.episode("ann", "HEDGE", "2025-11-10") not in world.tables.keys(tables.MEMORY)


def test_a_sweep_that_runs_out_of_time_is_taken_up_where_it_ended(world: World) -> None:
    for number in range(6):
        decide(world, f"d{number}")
        world.clock.advance(3_600)
    world.clock.advance(2 * DAY_S)
    marks: list[str] = []

    def slow() -> None:
        world.clock.advance(1)

    for _ in range(20):
        sweep(world, Faults(step=slow))
        mark = LowWater("episode", "ann", reads=world.tables, writes=world.tables).mark
        if marks and mark == marks[-1]:
            break
        marks.append(mark)

    assert len(marks) > 1
    assert marks == sorted(marks)
    stored = world.tables.items(tables.DECISIONS).values()
    assert all("promoted_at" in item for item in stored)


def test_more_decisions_in_one_second_than_are_marked_at_once_stop_no_sweep(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(episodes, "_MARKS", 3)
    for number in range(8):
        world.tables.put(tables.DECISIONS, decision(name=f"d{number}", at=world.clock()))
    world.settle()
    world.clock.advance(DAY_S + LOT_S)

    sweep(world)

    stored = world.tables.items(tables.DECISIONS).values()
    assert all("promoted_at" in item for item in stored)


@pytest.mark.parametrize("seed", range(30))
def test_a_day_is_never_made_from_counts_that_are_older_than_its_refresh(seed: int) -> None:
    """Who changes a ledger refreshes a day only if it is there, and may do so as it is made."""
    world = World()
    item = decide(world, "d1")
    world.tables.update(tables.DECISIONS, key_of(item), {"outcome": outcome(True)})
    world.settle()

    def folding(step: Step) -> None:
        fold(world, [item], Faults(step=step))

    def publishing(step: Step) -> None:
        world.process(Faults(step=step)).handler("learn", "on_figures_tick")([{}])

    assert interleave([folding, publishing], Random(seed)) == [None, None]
    assert counts(episode(world)) == (1, 1, 0)


@pytest.mark.parametrize("is_frozen", [False, True], ids=["one by one", "frozen in between"])
def test_a_day_that_an_import_divides_is_summed_up_whole(world: World, *, is_frozen: bool) -> None:
    """A worker that read the list before an import does not take its epoch out of the sum."""
    decide(world, "d1", outcome=outcome(True))
    stale = world.process().catalogue.fresh()
    begin = int(world.clock()) + 60
    condition = {"path": "context.market", "op": "eq", "value": "up"}
    definition = PatternDefinition.model_validate(
        {
            "pattern_id": "up",
            "agent_id": "ann",
            "decision_type": "TRADE",
            "conditions": [condition],
        }
    )
    version = PatternVersion(
        definition=definition, version=1, effective_from=begin, learned_at=begin
    )
    entry = {**keys.known_pattern(version.subject).item(), "version": version.model_dump_json()}
    world.tables.put(tables.PIPELINE, entry)
    world.clock.advance(120)
    decide(world, "d2", outcome=outcome(False))
    world.clock.advance(DAY_S + LOT_S)
    sweep(world)
    if is_frozen:
        day = Day("ann", "TRADE", "2025-10-18")
        world.process().episodes.refresh(day, stale, folds=True)

    assert counts(episode(world)) == (2, 1, 0)


def test_a_list_that_lost_versions_stops_no_sweep(world: World) -> None:
    decide(world, "d1", outcome=outcome(True))
    world.clock.advance(DAY_S + LOT_S)
    sweep(world)
    world.tables.update(tables.MEMORY, keys.episode("ann", "TRADE", "2025-10-18"), {"epochs": 9})

    decide(world, "late", at=world.clock() - DAY_S - LOT_S + 1)

    assert counts(episode(world)) == (1, 1, 1)


def test_a_day_that_only_a_newer_release_can_divide_waits_and_does_not_shrink(
    world: World,
) -> None:
    item = decide(world, "d1")
    world.clock.advance(DAY_S + LOT_S)
    sweep(world)
    world.tables.update(tables.DECISIONS, key_of(item), {"outcome": outcome(True)})
    world.settle()
    place = keys.known_pattern("pattern:ann:new@1")
    world.tables.put(tables.PIPELINE, {**place.item(), "version": "{}"})

    with pytest.raises(TryAgain):
        fold(world, [item])
    publish(world)
    before = counts(episode(world))
    world.tables.remove(tables.PIPELINE, place)
    publish(world)

    assert (before, counts(episode(world))) == ((0, 0, 1), (1, 1, 0))
