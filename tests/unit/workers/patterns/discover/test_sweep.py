"""Each decision is looked at once, when it has come of age, and what is found becomes a pattern."""

import json
import random
from collections.abc import Iterator
from math import ceil
from typing import Any

import pytest

from sharpwave.schemas import keys, tables
from sharpwave.schemas.numbers import item_to_wire, wire_size
from sharpwave.schemas.patterns import PatternDefinition, PatternVersion
from sharpwave.schemas.times import DAY_S
from sharpwave.workers.patterns.discover import lattice
from sharpwave.workers.patterns.discover.features import Term
from sharpwave.workers.patterns.discover.lattice import MOST_BYTES, State
from sharpwave.workers.patterns.discover.sweep import BATCH, MOST_AT_ONCE
from sharpwave.workers.work import ticks
from sharpwave.workers.work.ports import Item, Location
from tests.world import Crash, Faults, World
from tests.world.records import decision, outcome

ROW = Location(tables.PIPELINE, keys.discovery("ann", "TRADE"))


@pytest.fixture
def world() -> World:
    made = World(discovery=True)
    made.register("ann")
    made.settle()
    return made


def decide(
    world: World, count: int, *, rate: float = 0.9, resolved: float = 1.0, every_s: float = 600.0
) -> None:
    """Let an agent decide; what is up succeeds at `rate`, all else at 0.4."""
    chance = random.Random(f"{world.clock()}")
    for number in range(count):
        trend = chance.choice(["up", "down", "flat"])
        more: dict[str, Any] = {}
        if chance.random() < resolved:
            more["outcome"] = outcome(chance.random() < (rate if trend == "up" else 0.4))
        name = f"d{int(world.clock())}-{number}"
        context = {"trend": trend, "size": chance.randrange(100)}
        world.tables.put(
            tables.DECISIONS, decision(name=name, at=world.clock(), context=context, **more)
        )
        world.clock.advance(every_s)


def sweep(world: World, faults: Faults | None = None) -> int:
    return world.process(faults).discovery.sweep("ann")


def row(world: World) -> Item:
    return world.tables.get([ROW])[ROW]


def state(world: World) -> State:
    return State.decode(row(world)["state"])


def found(world: World) -> dict[str, PatternVersion]:
    listed = world.tables.query(tables.PIPELINE, keys.KNOWN_PATTERNS_PK)
    versions = [PatternVersion.of_entry(entry) for entry in listed]
    return {version.definition.pattern_id: version for version in versions}


def come_of_age(world: World) -> None:
    world.clock.advance(DAY_S * 1.3)


def test_what_somebody_imported_is_not_found_again_and_is_named_as_what_is_refined(
    world: World,
) -> None:
    up = {"path": "context.trend", "op": "eq", "value": "up"}
    mine = PatternDefinition.model_validate(
        {"pattern_id": "mine", "agent_id": "ann", "decision_type": "TRADE", "conditions": [up]}
    )
    world.process().admission.admit(mine, origin="import", parent=None, reason="an idea")
    decide(world, 4 * BATCH)
    come_of_age(world)

    sweep(world)

    rules = [each.rule for each in state(world).open]
    assert (Term("context.trend", "eq", "up"),) not in rules
    versions = found(world)
    narrower = [
        versions[each.name]
        for each in state(world).open
        if not each.avoid and Term("context.trend", "eq", "up") in each.rule
    ]
    assert all(each.parent == "mine@1" and each.origin == "split" for each in narrower)


def test_what_is_there_to_find_becomes_a_candidate_that_counts_from_now_on(world: World) -> None:
    decide(world, 4 * BATCH)
    come_of_age(world)

    sweep(world)

    versions = found(world)
    words = [each.definition.conditions.describe() for each in versions.values()]  # type: ignore[union-attr]
    assert "context.trend = up" in words
    for name, version in versions.items():
        assert name.startswith("found_")
        assert version.origin == "discovery"
        assert version.reason
        assert "succeeded" in version.reason
        assert version.definition.agent_id == "ann"
        assert version.effective_from > world.clock()
        assert version.definition.kind == (
            "promote" if "succeed more" in version.reason else "avoid"
        )


def test_a_decision_is_looked_at_once_and_not_before_its_horizon(world: World) -> None:
    decide(world, BATCH)
    world.clock.advance(DAY_S / 2)
    sweep(world)
    assert row(world)["rev"] == 0

    come_of_age(world)
    sweep(world)
    assert state(world).seen.n == BATCH

    for _ in range(3):
        world.clock.advance(DAY_S)
        sweep(world)
    assert state(world).seen.n == BATCH
    assert row(world)["rev"] == 1


def test_a_horizon_of_its_own_is_kept() -> None:
    world = World(discovery=True)
    world.settings.outcome_horizon["TRADE"] = 3 * DAY_S
    decide(world, BATCH, every_s=60)
    world.settle()
    come_of_age(world)
    sweep(world)
    assert row(world)["rev"] == 0

    world.clock.advance(2 * DAY_S)
    sweep(world)

    assert state(world).seen.n == BATCH


def test_few_decisions_wait_for_more_but_no_longer_than_a_week(world: World) -> None:
    decide(world, 5)
    come_of_age(world)
    sweep(world)
    assert row(world)["rev"] == 0

    world.clock.advance(7.5 * DAY_S)
    sweep(world)

    assert state(world).seen.n == 5


def test_what_has_no_outcome_by_then_is_no_failure_and_never_looked_at_again(world: World) -> None:
    decide(world, 2 * BATCH, resolved=0.5)
    come_of_age(world)
    sweep(world)
    before = state(world)

    assert before.unresolved + before.seen.n == 2 * BATCH
    assert before.unresolved > BATCH / 2
    for key in world.tables.items(tables.DECISIONS):
        world.tables.update(tables.DECISIONS, key, {"outcome": outcome(True), "outcome_rev": 1})
    world.clock.advance(8 * DAY_S)
    sweep(world)
    assert state(world) == before


def test_what_was_refused_is_not_looked_at(world: World) -> None:
    decide(world, BATCH)
    bad = decision(name="bad", at=world.clock(), outcome={"success": "perhaps"})
    world.tables.put(tables.DECISIONS, bad)
    decide(world, 3)
    come_of_age(world)

    sweep(world)

    assert state(world).seen.n == BATCH + 3


def test_it_is_off_unless_asked_for() -> None:
    world = World()
    decide(world, BATCH)
    world.settle()
    come_of_age(world)

    world.process().handler("promote", "on_sweep")([{"agent": "ann", "tick": 0}])

    assert ROW not in world.tables.get([ROW])


def test_a_tick_sweeps_every_agent_that_wrote(world: World) -> None:
    decide(world, BATCH)
    world.settle()
    come_of_age(world)

    world.process().handle(ticks.tick(ticks.SWEEP, clock=world.clock).body)
    world.settle()

    assert state(world).seen.n == BATCH


def test_a_backlog_is_gone_through_in_parts_and_proposes_only_at_its_end(world: World) -> None:
    decide(world, MOST_AT_ONCE + BATCH, every_s=60)
    world.clock.advance(40 * DAY_S)

    sweep(world)

    assert state(world).seen.n == MOST_AT_ONCE + BATCH
    assert row(world)["rev"] == 2
    assert found(world) == {}

    decide(world, 2 * BATCH)
    come_of_age(world)
    sweep(world)
    assert found(world)


def _deaths(calls: int) -> Iterator[tuple[int, bool]]:
    for call in range(1, calls + 1):
        yield call, False
        yield call, True


def test_a_sweep_that_dies_anywhere_leaves_what_one_that_lives_does() -> None:
    def history() -> World:
        world = World(discovery=True)
        decide(world, 3 * BATCH)
        come_of_age(world)
        return world

    whole, quiet = history(), Faults()
    sweep(whole, quiet)
    wanted = {name: version.definition for name, version in found(whole).items()}
    assert wanted

    for call, after in _deaths(len(quiet.calls)):
        world = history()
        with pytest.raises(Crash):
            sweep(world, Faults(crash_at=call, after=after))
        for _ in range(2):
            sweep(world)
        # What the state says is open and is not there yet, the next batch admits.
        decide(world, BATCH)
        come_of_age(world)
        sweep(world)
        seen = state(world)
        assert seen.seen.n == 4 * BATCH
        definitions = {name: version.definition for name, version in found(world).items()}
        assert wanted.items() <= definitions.items(), (call, after)


def test_of_two_sweeps_at_once_one_looks() -> None:
    nested: list[int] = []

    def step() -> None:
        if len(faults.calls) == count and not nested:
            nested.append(1)
            sweep(world)

    whole = Faults()
    sweep(_copy(), whole)
    for count in range(len(whole.calls)):
        world = _copy()
        nested.clear()
        faults = Faults(step=step)
        sweep(world, faults)
        assert state(world).seen.n == 2 * BATCH, count


def _copy() -> World:
    world = World(discovery=True)
    decide(world, 2 * BATCH)
    come_of_age(world)
    return world


def test_a_candidate_that_got_nowhere_ends_and_frees_its_place(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(lattice, "PATIENCE", 2 * BATCH)
    decide(world, 4 * BATCH)
    come_of_age(world)
    sweep(world)
    before = found(world)
    for _ in range(4):
        decide(world, BATCH, rate=0.4)
        come_of_age(world)
        sweep(world)

    assert before
    for name in before:
        ended = found(world)[name]
        assert ended.effective_to is not None
        assert ended.effective_to > ended.effective_from
        key = keys.Key(keys.pattern_pk("ann"), name)
        assert world.tables.items(tables.MEMORY)[key]["state"] == "retired"
        assert name not in [each.name for each in state(world).open]


def test_one_that_was_promoted_meanwhile_is_not_ended(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(lattice, "PATIENCE", 2 * BATCH)
    decide(world, 4 * BATCH)
    come_of_age(world)
    sweep(world)
    for name in found(world):
        key = keys.Key(keys.pattern_pk("ann"), name)
        world.tables.update(tables.MEMORY, key, {"state": "active"})
    names = set(found(world))
    for _ in range(4):
        decide(world, BATCH)
        come_of_age(world)
        sweep(world)

    assert all(found(world)[name].effective_to is None for name in names)
    assert names <= {each.name for each in state(world).kept}


def test_the_state_costs_less_than_half_a_write_unit_a_decision(world: World) -> None:
    """A unit is a kilobyte written; the row is written once for a batch of 64 or more."""
    units = decisions = 0
    for _ in range(12):
        decide(world, BATCH)
        come_of_age(world)
        before = row(world)["rev"] if ROW in world.tables.get([ROW]) else 0
        sweep(world)
        size = wire_size(item_to_wire(row(world)))
        assert row(world)["rev"] == before + 1
        assert size < MOST_BYTES
        units += ceil(size / 1024)
        decisions += BATCH

    assert units / decisions < 0.5


def test_the_state_of_an_agent_is_named_as_its_own_and_readable(world: World) -> None:
    decide(world, BATCH)
    come_of_age(world)
    sweep(world)

    assert keys.is_agents("ann", ROW.key)
    assert json.loads(row(world)["state"])["seen"][0] == BATCH


def test_what_is_found_is_promoted_by_later_outcomes_alone(world: World) -> None:
    decide(world, 6 * BATCH)
    world.settle()
    world.process().handler("learn", "on_figures_tick")([{}])
    come_of_age(world)
    sweep(world)
    world.settle()
    candidates = {name: each.definition.conditions for name, each in found(world).items()}

    for _ in range(4):
        world.clock.advance(DAY_S)
        decide(world, BATCH)
        world.settle()
        world.process().handler("learn", "on_figures_tick")([{}])
        world.settle()

    rows = world.tables.items(tables.MEMORY)
    standing = {name: rows[keys.Key(keys.pattern_pk("ann"), name)] for name in candidates}
    promoted = [name for name, row in standing.items() if row.get("state") == "active"]
    words = [each.describe() for name in promoted if (each := candidates[name]) is not None]
    assert any("context.trend = up" in text for text in words)
    for name in promoted:
        # Of what suggested it nothing counts.
        assert 20 <= standing[name]["evidence_n"] <= 4 * BATCH
