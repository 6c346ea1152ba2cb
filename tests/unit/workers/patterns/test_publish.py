"""Figures follow from counts alone, and are written only when they changed."""

from collections.abc import Callable
from decimal import Decimal
from random import Random
from typing import Any
from unittest.mock import patch

import pytest

from sharpwave.schemas import keys, tables
from sharpwave.schemas.patterns import PatternDefinition, PatternVersion
from sharpwave.workers.patterns import publish as publishing_module
from sharpwave.workers.patterns.catalogue import Catalogue, Known, Writers
from sharpwave.workers.patterns.counts import base_day, days_of, summed_days_of
from sharpwave.workers.patterns.learn import learn
from sharpwave.workers.patterns.ledger import Slots
from sharpwave.workers.patterns.metrics import Metrics
from sharpwave.workers.patterns.publish import RANK_STEP, Position, publish
from sharpwave.workers.patterns.units import Units
from sharpwave.workers.work import ticks
from sharpwave.workers.work.ports import Item, Location
from tests.world import Crash, Faults, World
from tests.world.interleaving import Job, Step, interleave
from tests.world.records import decision, outcome
from tests.world.stores import START


def add(world: World, **more: Any) -> PatternVersion:
    fields = {"pattern_id": "up", "agent_id": "ann", "decision_type": "TRADE", **more}
    fields.setdefault("conditions", [{"path": "context.market", "op": "eq", "value": "up"}])
    begin = int(START) - 10_000
    form = fields.pop("form", 1)
    version = PatternVersion(
        definition=PatternDefinition.model_validate(fields),
        version=1,
        form=form,
        effective_from=begin,
        learned_at=begin,
    )
    entry = {**keys.known_pattern(version.subject).item(), "version": version.model_dump_json()}
    world.tables.put(tables.PIPELINE, entry)
    row = {"PK": version.pk, "SK": "up", "version": 1, "GSI1_PK": version.pk, "GSI1_SK": 0}
    world.tables.put(tables.MEMORY, row)
    # As an import does, so that a pattern without decisions gets figures too.
    world.tables.mark(Location(tables.PIPELINE, keys.changed(version.subject, "2025-10-18")))
    return version


def ports_of(world: World, **more: Any) -> dict[str, Any]:
    process = world.process()
    # What a round of looks shares is read by the keeper.
    process.keeper._reads = more.get("reads", process.reads)
    return {
        "catalogue": process.catalogue,
        "reads": process.reads,
        "writes": process.writes,
        "ledger": process.ledger,
        "keeper": process.keeper,
        "units": Units(more.get("reads", process.reads)),
        "metrics": Metrics(reads=process.reads, writes=process.writes, clock=world.clock),
        "clock": world.clock,
        **more,
    }


def marks(world: World) -> list[keys.Key]:
    return [key for key in world.tables.keys(tables.PIPELINE) if keys.family(*key) == "changed"]


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


def test_the_base_rate_is_that_of_the_decisions_a_version_does_not_match(world: World) -> None:
    """Over the time in which the version is in effect, of all writers of the type."""
    version = add(world, agent_id=None, domain="crypto")
    early: Item = {"at": version.effective_from - 100, "context": {"market": "down"}}
    for name in ("carl", "unregistered"):
        for number in range(30):
            old = decision(name, f"e{number}", outcome=outcome(True), **early)
            item = decision(
                name,
                f"d{number}",
                at=START - 60,
                context={"market": "down"},
                outcome=outcome(number % 3 == 0),
            )
            world.tables.put(tables.DECISIONS, old)
            world.tables.put(tables.DECISIONS, item)
    decide(world, ups="++")
    figures_tick(world)

    assert row(world, version)["base_rate"] == round(Decimal(20 + 1) / (60 + 2), 6)


def test_an_import_in_mid_run_divides_the_base_and_loses_none_of_it(world: World) -> None:
    version = add(world)
    decide(world, ups="+", downs="-" * 30)
    other = add(world, pattern_id="other", conditions=None)
    begun = other.model_copy(update={"effective_from": int(START) + 60})
    entry = {**keys.known_pattern(other.subject).item(), "version": begun.model_dump_json()}
    world.tables.put(tables.PIPELINE, entry)
    world.clock.advance(120)
    decide(world, ups="+", downs="+" * 30)
    figures_tick(world)

    assert row(world, version)["base_rate"] == round(Decimal(30 + 1) / (60 + 2), 6)


def test_publishing_costs_what_changed(world: World) -> None:
    for number in range(30):
        add(world, pattern_id=f"p{number}", agent_id=f"agent{number}")
    version = add(world)
    decide(world, ups="+")
    figures_tick(world)
    faults = Faults()

    idle = world.process(faults)
    idle.handle(ticks.tick(ticks.FIGURES, clock=world.clock).body)
    idle_calls = list(faults.calls)
    world.tables.put(
        tables.DECISIONS, decision(name="late", context={"market": "up"}, outcome=outcome(True))
    )
    world.settle()
    faults.calls.clear()
    idle.handle(ticks.tick(ticks.FIGURES, clock=world.clock).body)

    assert idle_calls == ["MemoryTables.query"] * keys.CHANGED_SHARDS
    assert len(faults.calls) < 30
    assert row(world, version)["sample_size"] == 2
    assert marks(world) == []


def test_marks_beyond_a_round_are_taken_by_messages_that_follow(world: World) -> None:
    version = add(world)
    for day in range(7):
        item = decision(
            name=f"d{day}",
            event_time=f"2008-10-1{day}",
            context={"market": "up"},
            outcome=outcome(True),
        )
        world.tables.put(tables.DECISIONS, item)
    with patch.object(publishing_module, "MOST_MARKS", 3):
        world.settle()
        figures_tick(world)

    assert row(world, version)["sample_size"] == 7
    assert marks(world) == []


def test_a_mark_raised_while_it_is_worked_on_stays(world: World) -> None:
    add(world)
    decide(world, ups="+")

    def raise_again(agent_id: str, decision_type: str, day: str, versions: object) -> None:
        subject = keys.base_subject(agent_id, decision_type, int(START) - 10_000)
        world.tables.mark(Location(tables.PIPELINE, keys.changed(subject, day)))

    publish(Position(), **ports_of(world, refresh=raise_again))
    left = marks(world)
    publish(Position(), **ports_of(world))

    assert [key.sk.partition("@")[0] for key in left] == ["base:ann:TRADE"]
    assert marks(world) == []


def test_a_mark_set_after_another_publisher_took_it_away_stays(world: World) -> None:
    """Two publishers read one mark; what is counted between their ends has a mark of its own."""
    add(world)
    decide(world, ups="+")

    def overtaken(agent_id: str, decision_type: str, day: str, versions: object) -> None:
        publish(Position(), **ports_of(world))
        world.clock.advance(1)
        decide(world, ups="-")

    publish(Position(), **ports_of(world, refresh=overtaken))

    assert marks(world)


def test_a_base_day_that_changed_is_told_with_the_epochs_it_is_divided_into(world: World) -> None:
    version = add(world)
    decide(world, ups="+-", downs="-")
    told: list[Any] = []

    def refresh(agent_id: str, decision_type: str, day: str, known: Known) -> None:
        counts = base_day(agent_id, decision_type, day, known.versions, world.tables)
        told.append((agent_id, decision_type, day, counts.n, counts.s))

    publish(Position(), **ports_of(world, refresh=refresh))

    assert told == [("ann", "TRADE", "2025-10-18", 3, 1)]
    assert row(world, version)["sample_size"] == 2


def test_a_day_says_the_same_summed_up_and_by_its_heads(world: World) -> None:
    version = add(world)
    decide(world, ups="+-")
    figures_tick(world)

    [(day, heads)] = days_of(version.subject, world.tables).items()
    [(same, summed)] = summed_days_of(version.subject, world.tables).items()

    assert (day, heads.n, heads.s) == (same, summed.n, summed.s) == ("2025-10-18", 2, 1)


def test_figures_wait_for_a_version_that_only_a_newer_release_can_read(world: World) -> None:
    version = add(world)
    decide(world, ups="+")
    text = version.model_dump_json().replace('"op":"eq"', '"op":"resembles"')
    newer = {**keys.known_pattern("pattern:ann:newer@1").item(), "version": text}
    world.tables.put(tables.PIPELINE, newer)

    figures_tick(world)
    waiting = marks(world)
    world.tables.remove(tables.PIPELINE, keys.known_pattern("pattern:ann:newer@1"))
    figures_tick(world)

    assert len(waiting) == 2
    assert row(world, version)["sample_size"] == 1
    assert marks(world) == []


class Frozen:
    """Reads of a publisher that is frozen after it has read something of one kind so often."""

    def __init__(
        self, world: World, family: str, meanwhile: Callable[[], None], times: int = 1
    ) -> None:
        self._tables, self._family, self._meanwhile = world.tables, family, meanwhile
        self.left = times

    def get(self, locations: Any) -> Any:
        found = self._tables.get(locations)
        self._freeze([place.key for place in locations])
        return found

    def query(self, table: str, pk: str, **named: Any) -> Any:
        found = list(self._tables.query(table, pk, **named))
        self._freeze([keys.Key(pk, named.get("after", "") or "-")])
        return iter(found)

    def by_agent(self, *args: Any, **named: Any) -> Any:
        return self._tables.by_agent(*args, **named)

    def _freeze(self, read: list[keys.Key]) -> None:
        if any(keys.family(*key) == self._family for key in read):
            self.left -= 1
            if self.left == 0:
                self._meanwhile()


@pytest.mark.parametrize(
    ("family", "times"),
    [("changed", 8), ("patterns", 1), ("head", 1), ("head", 2), ("pattern", 1)]
    + [("day", times) for times in range(1, 5)]
    + [("slot", 1)],
)
def test_a_publisher_that_was_frozen_takes_nothing_back(
    world: World, family: str, times: int
) -> None:
    version = add(world)
    decide(world, ups="+-")

    def meanwhile() -> None:
        item = decision(name="late", context={"market": "up"}, outcome=outcome(True))
        world.tables.put(tables.DECISIONS, item)
        world.settle()
        figures_tick(world)

    reads: Any = Frozen(world, family, meanwhile, times)
    catalogue = Catalogue(reads=reads, writes=world.tables, clock=world.clock, lifetime_s=5)
    publish(Position(), **ports_of(world, reads=reads, catalogue=catalogue))

    assert reads.left <= 0
    found = row(world, version)
    assert (found["sample_size"], found["successes"], found["units"]) == (3, 2, 3)
    figures_tick(world)
    found = row(world, version)
    assert (found["sample_size"], found["units"], marks(world)) == (3, 3, [])


@pytest.mark.parametrize("cycles", [(7, 7), (7, None), (7, "7")])
def test_a_cycle_counts_once_and_shows_as_units(world: World, cycles: tuple[Any, Any]) -> None:
    version = add(world)
    for number, cycle in enumerate(cycles):
        context = {"market": "up"} if cycle is None else {"market": "up", "cycle": cycle}
        late = decision(
            name=f"d{number}",
            context=context,
            outcome=outcome(True),
            event_time=f"2025-10-1{number}",
        )
        world.tables.put(tables.DECISIONS, late)
    world.settle()
    figures_tick(world)

    found = row(world, version)
    assert (found["sample_size"], found["units"]) == (2, len({str(each) for each in cycles}))


def test_a_row_shows_spread_lots_and_what_is_overdue(world: World) -> None:
    version = add(world)
    for number, (quality, drawn, applied) in enumerate([(0, 0.25, 1), (1, 0.5, 1), (1, 1, 0)]):
        reasoning = {
            "selection_prob": Decimal(str(drawn)),
            "patterns_applied": ["up"] if applied else [],
        }
        item = decision(
            name=f"d{number}",
            context={"market": "up"},
            outcome=outcome(bool(quality), Decimal(quality)),
            reasoning=reasoning,
        )
        world.tables.put(tables.DECISIONS, item)
    for number, day in enumerate(["2025-10-18", "2025-10-17", "2025-10-16", "2008-10-10"]):
        waiting = decision(name=f"w{number}", context={"market": "up"}, event_time=day)
        world.tables.put(tables.DECISIONS, waiting)
    world.settle()
    figures_tick(world)

    found = row(world, version)
    assert (found["unresolved"], found["overdue"]) == (4, 2)
    assert found["quality_sd"] == round(Decimal(1 / 3).sqrt(), 6)
    assert found["propensity"] == {
        "applied": {"rate": round(Decimal(1) / 3, 6), "n": 2, "n_eff": Decimal("1.8")},
        "other": {"rate": 1, "n": 1, "n_eff": 1},
    }


def test_the_horizon_of_a_type_decides_what_is_overdue(world: World) -> None:
    version = add(world)
    for number, day in enumerate(["2025-10-18", "2025-10-15", "2025-10-14"]):
        waiting = decision(name=f"w{number}", context={"market": "up"}, event_time=day)
        world.tables.put(tables.DECISIONS, waiting)
    world.settle()

    publish(Position(), **ports_of(world, horizons={"TRADE": 200_000, "HEDGE": 0}))

    assert row(world, version)["overdue"] == 1


def test_figures_wait_for_a_set_that_only_a_newer_release_can_read(world: World) -> None:
    version = add(world)
    decide(world, ups="+")
    [place] = [
        Location(tables.PIPELINE, key)
        for key in world.tables.keys(tables.PIPELINE)
        if key.pk == keys.ledger_pk(version.subject) and key.sk.startswith("L#")
    ]
    newer = bytes(28)
    world.tables.add(place, [newer], below=100, is_open=False)

    figures_tick(world)
    waiting = marks(world)
    world.tables.discard(place, [newer])
    figures_tick(world)

    assert waiting != []
    assert (row(world, version)["units"], marks(world)) == (1, [])


def test_marks_stay_when_somebody_else_changed_a_row(world: World) -> None:
    """Who won may have computed from older counts."""
    version = add(world)
    decide(world, ups="+")

    def meanwhile() -> None:
        key = keys.Key(version.pk, "up")
        world.tables.update(tables.MEMORY, key, {"figures_rev": 9, "sample_size": 0})

    publish(Position(), **ports_of(world, reads=Frozen(world, "pattern", meanwhile)))
    assert marks(world) != []

    figures_tick(world)
    assert (row(world, version)["sample_size"], marks(world)) == (1, [])


@pytest.mark.parametrize("seed", range(15))
def test_whoever_publishes_while_others_count_the_last_word_is_right(seed: int) -> None:
    chance, world = Random(seed), World()
    version = add(world)
    items = [
        decision(
            name=f"d{number}",
            at=START - 3600 * (number % 3),
            context={"market": "up"},
            outcome=outcome(number % 2 == 0),
        )
        for number in range(8)
    ]

    def counting(page: list[Item]) -> Job:
        def run(step: Step) -> None:
            process = world.process(Faults(step=step))
            learn(
                page,
                catalogue=process.catalogue,
                slots=Slots(process.ledger),
                writers=Writers(writes=process.writes, clock=process.clock),
            )

        return run

    def publishing_job() -> Job:
        def run(step: Step) -> None:
            while True:
                faults = Faults(step=step, crash_rate=0.02, chance=chance)
                process = world.process(faults)
                try:
                    process.handle(ticks.tick(ticks.FIGURES, clock=world.clock).body)
                except Crash:
                    continue
                return

        return run

    jobs = [counting(items[at : at + 2]) for at in range(0, 8, 2)]
    errors = interleave([*jobs, *(publishing_job() for _ in range(4))], chance)
    figures_tick(world)

    assert errors == [None] * len(errors)
    assert (row(world, version)["sample_size"], row(world, version)["successes"]) == (8, 4)
    assert marks(world) == []


def test_a_closed_version_and_a_row_of_another_version_are_left_alone(world: World) -> None:
    version = add(world)
    decide(world, ups="++")
    closed = version.model_copy(update={"effective_to": int(START)})
    key = keys.Key(version.pk, "up")
    entry = keys.known_pattern(version.subject)

    def run(version: PatternVersion) -> int:
        world.tables.mark(Location(tables.PIPELINE, keys.changed(version.subject, "2025-10-18")))
        world.tables.put(tables.PIPELINE, {**entry.item(), "version": version.model_dump_json()})
        return publish(Position(), **ports_of(world))[0]

    assert run(closed) == 0
    world.tables.update(tables.MEMORY, key, {"version": 2})
    assert run(version) == 0
    world.tables.remove(tables.MEMORY, key)
    assert run(version) == 0
    assert key not in world.tables.keys(tables.MEMORY)


def test_of_two_that_publish_at_once_one_writes(world: World) -> None:
    version = add(world)
    decide(world, ups="++")

    class Late:
        """Reads that let another worker publish once the row was read."""

        def __init__(self) -> None:
            self.is_done = False

        def get(self, locations: Any) -> Any:
            found = world.tables.get(locations)
            if not self.is_done and any(place.table == tables.MEMORY for place in locations):
                self.is_done = True
                publish(Position(), **ports_of(world))
            return found

        def query(self, *args: Any, **named: Any) -> Any:
            return world.tables.query(*args, **named)

        def by_agent(self, *args: Any, **named: Any) -> Any:
            return world.tables.by_agent(*args, **named)

    late, _ = publish(Position(), **ports_of(world, reads=Late()))

    assert late == 0
    assert row(world, version)["figures_rev"] == 1
