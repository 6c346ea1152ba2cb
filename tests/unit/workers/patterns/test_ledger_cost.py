"""Counting costs what it did before agents stated anything, and little more where they do.

Learning and publishing run on the tables in memory; every item of a ledger that they store is
rated by its size, as a write is billed.
"""

from collections import Counter
from decimal import Decimal
from random import Random
from typing import Any, NamedTuple
from unittest.mock import patch

from sharpwave.infra.cost.flow import write_units
from sharpwave.schemas import keys, tables
from sharpwave.schemas.numbers import wire_size
from sharpwave.workers.patterns.catalogue import Writers
from sharpwave.workers.patterns.discover.lattice import MOST_OPEN
from sharpwave.workers.patterns.learn import learn
from sharpwave.workers.patterns.ledger import Slots
from sharpwave.workers.work.ports import Item
from tests.unit.workers.patterns.test_publish import add, figures_tick
from tests.world import World
from tests.world.records import decision, outcome
from tests.world.stores import START
from tests.world.tables import MemoryTables

DECISIONS, TOGETHER = 300, 50


class Cost(NamedTuple):
    """Write units of a decision in two ledgers, and the greatest item of each kind in bytes."""

    units: float
    sizes: dict[str, int]


def cost(*, stated: bool, rated: bool, candidates: int = 0, sources: int = 0) -> Cost:
    """Count decisions of ten minutes twice, as they are made and with their outcome.

    Each names some of ten `sources`, and one of three buckets.
    """
    world, chance, sizes, units = World(), Random(4), Counter[str](), 0
    version = add(world)
    for number in range(candidates):
        add(world, pattern_id=f"found_{number}")
    store = MemoryTables._store

    def rating(self: MemoryTables, table: str, key: keys.Key, item: Any, by: Any) -> None:
        nonlocal units
        store(self, table, key, item, by)
        subject = keys.ledger_subject(key.pk) or ""
        if keys.split_sources_subject(subject) or keys.family(*key) in ("names", "metrics"):
            kind = f"sources {keys.split_ledger_sk(key.sk)[0] if subject else key.pk}"
            sizes[kind] = max(sizes[kind], wire_size(item))
            units += write_units(wire_size(item))
        elif subject:
            of = "base" if keys.split_base_subject(keys.ledger_subject(key.pk) or "") else "pattern"
            kind = f"{of} {keys.split_ledger_sk(key.sk)[0]}"
            sizes[kind] = max(sizes[kind], wire_size(item))
            units += write_units(wire_size(item))

    items: list[Item] = []
    for number in range(DECISIONS):
        reasoning: Item = {"patterns_applied": ["up"] if chance.random() < 0.5 else []}
        if stated:
            reasoning["confidence"] = Decimal(chance.randint(0, 100)) / 100
            reasoning["selection_prob"] = Decimal(chance.randint(1, 100)) / 100
        if sources:
            reasoning["selected"] = chance.sample([f"source-{n}" for n in range(10)], sources)
            reasoning["bucket"] = chance.choice(["low", "middle", "high"])
        context = {"market": "up", "cycle": number // 2}
        at = START - 600 + number
        items.append(decision(name=f"d{number}", at=at, context=context, reasoning=reasoning))
    resolved = [
        {
            **item,
            "outcome": outcome(
                chance.random() < 0.6, Decimal(chance.randint(0, 100)) / 100 if rated else None
            ),
            "outcome_rev": 1,
        }
        for item in items
    ]
    process = world.process()
    slots, writers = Slots(process.ledger), Writers(writes=process.writes, clock=process.clock)
    with patch.object(MemoryTables, "_store", rating):
        for states in (items, resolved):
            for start in range(0, DECISIONS, TOGETHER):
                page = states[start : start + TOGETHER]
                learn(page, catalogue=process.catalogue, slots=slots, writers=writers)
        figures_tick(world)
    assert world.tables.items(tables.MEMORY)[keys.Key(version.pk, "up")]["units"] == DECISIONS / 2
    return Cost(units / DECISIONS, dict(sizes))


def test_what_nobody_states_costs_nothing() -> None:
    """Twenty bytes an element; the form of counts is three bytes, their squares up to ten."""
    plain, rated = cost(stated=False, rated=False), cost(stated=False, rated=True)

    assert plain.units == rated.units < 0.68
    elements = 2 * DECISIONS * 20
    for found in (plain, rated):
        for kind in ("base L", "pattern L"):
            assert elements < found.sizes[kind] < elements + 120
    heads = [(plain.sizes[kind], rated.sizes[kind]) for kind in ("base H", "pattern H")]
    assert all(without <= 101 and squares <= without + 12 for without, squares in heads)


def test_what_is_stated_costs_a_fifth_more_of_the_sets_and_no_more_for_heads() -> None:
    plain, stated = cost(stated=False, rated=True), cost(stated=True, rated=True)

    assert plain.units < stated.units < 1.25 * plain.units
    elements = 2 * DECISIONS * 24
    assert all(elements < stated.sizes[kind] < elements + 120 for kind in ("base L", "pattern L"))
    assert stated.sizes["pattern H"] < plain.sizes["pattern H"] + 80
    assert max(size for kind, size in stated.sizes.items() if kind[-1] != "L") < 350


def test_who_names_sources_pays_two_thirds_of_a_write_unit_and_who_does_not_nothing() -> None:
    """Slots hold 36 bytes a state, and heads the sums of thirty pairs, which takes two units."""
    plain, named = cost(stated=False, rated=True), cost(stated=False, rated=True, sources=2)

    assert not any(kind.startswith("sources") for kind in plain.sizes)
    assert 0.6 < named.units - plain.units < 0.7
    elements = 2 * DECISIONS * (24 + 4 * 3)
    assert elements < named.sizes["sources L"] < elements + 120
    assert named.sizes["sources H"] < 2_048


def test_at_most_eight_candidates_run_and_each_costs_like_a_pattern_that_is_imported() -> None:
    plain = cost(stated=False, rated=False)
    full = cost(stated=False, rated=False, candidates=MOST_OPEN)

    # The worst case: every decision matches every candidate, so a candidate costs one ledger.
    each = (full.units - plain.units) / MOST_OPEN
    assert 0 < each < 0.34
    assert full.units < 3.4
