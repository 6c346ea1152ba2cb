"""Counting costs what it did before agents stated anything, and little more where they do.

Nor does it cost much more where candidates run that workers found, at any rate of decisions.

Learning and publishing run on the tables in memory; every item of a ledger that they store is
rated by its size, as a write is billed.
"""

from collections import Counter
from decimal import Decimal
from random import Random
from typing import Any, NamedTuple
from unittest.mock import patch

import pytest

from sharpwave.infra.cost.flow import WRITE_BLOCK, write_units
from sharpwave.schemas import keys, tables
from sharpwave.schemas.numbers import wire_size
from sharpwave.workers.patterns.catalogue import Writers
from sharpwave.workers.patterns.discover.lattice import MOST_OPEN
from sharpwave.workers.patterns.learn import learn
from sharpwave.workers.patterns.ledger import FULL_AT, MOST_AT_ONCE, STATING_BYTES, Slots
from sharpwave.workers.patterns.publish import Position, publish
from sharpwave.workers.patterns.seats import MOST_SEATS, seat
from sharpwave.workers.work.ports import Item
from tests.unit.workers.patterns.test_publish import add, ports_of
from tests.world import World
from tests.world.records import decision, outcome
from tests.world.stores import START
from tests.world.tables import MemoryTables

DECISIONS, TOGETHER = 300, 50


class Cost(NamedTuple):
    """Write units of a decision in its ledgers, and the greatest item of each kind in bytes."""

    units: float
    sizes: dict[str, int]


def cost(
    *,
    stated: bool = False,
    rated: bool = False,
    candidates: int = 0,
    hourly: int = 3_600,
    decisions: int = DECISIONS,
    together: int = TOGETHER,
    ticks: bool = False,
    sources: int = 0,
) -> Cost:
    """Count decisions twice, as they are made and with their outcome.

    Args:
        stated: they state a confidence and a lot.
        rated: their outcomes have a quality.
        candidates: patterns that workers found; they match what the imported one does.
        hourly: so many are made in an hour.
        decisions: so many there are.
        together: so many of them come in a message.
        ticks: figures are published after each message; else at the end.
        sources: each names so many of ten, and one of three buckets.
    """
    world, chance, sizes, units = World(), Random(4), Counter[str](), 0
    version = add(world)
    for number in range(candidates):
        add(world, pattern_id=f"found_{number}", form=2)
    store = MemoryTables._store

    def rating(self: MemoryTables, table: str, key: keys.Key, item: Any, by: Any) -> None:
        nonlocal units
        store(self, table, key, item, by)
        subject = keys.ledger_subject(key.pk) or ""
        is_of_sources = keys.split_sources_subject(subject) is not None
        if subject or key.pk in keys.changed_pks() or keys.family(*key) in ("names", "metrics"):
            units += write_units(wire_size(item))
        if is_of_sources or keys.family(*key) in ("names", "metrics"):
            kind = f"sources {keys.split_ledger_sk(key.sk)[0] if subject else key.pk}"
            sizes[kind] = max(sizes[kind], wire_size(item))
        elif subject:
            of = "base" if keys.split_base_subject(subject) else "pattern"
            kind = f"{of} {keys.split_ledger_sk(key.sk)[0]}"
            sizes[kind] = max(sizes[kind], wire_size(item))

    items: list[Item] = []
    for number in range(decisions):
        named = ["up", *(f"found_{number % 11}" for _ in range(candidates))]
        reasoning: Item = {"patterns_applied": named if chance.random() < 0.5 else []}
        if stated:
            reasoning["confidence"] = Decimal(chance.randint(0, 100)) / 100
            reasoning["selection_prob"] = Decimal(chance.randint(1, 100)) / 100
        if sources:
            reasoning["selected"] = chance.sample([f"source-{n}" for n in range(10)], sources)
            reasoning["bucket"] = chance.choice(["low", "middle", "high"])
        context = {"market": "up", "cycle": number // 2}
        at = START - 600 + number * 3_600 / hourly
        items.append(decision(name=f"d{number}", at=at, context=context, reasoning=reasoning))
    world.clock.advance(max(0, decisions * 3_600 / hourly - 600))
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
    process, ports = world.process(), ports_of(world)
    slots, writers = Slots(process.ledger), Writers(writes=process.writes, clock=process.clock)
    with patch.object(MemoryTables, "_store", rating):
        for states in (items, resolved):
            for start in range(0, decisions, together):
                page = states[start : start + together]
                learn(page, catalogue=process.catalogue, slots=slots, writers=writers)
                if ticks:
                    publish(Position(), **ports)
        publish(Position(), **ports)
    stored = world.tables.items(tables.MEMORY)[keys.Key(version.pk, "up")]
    assert stored["units"] == decisions / 2
    return Cost(units / decisions, dict(sizes))


def test_what_nobody_states_costs_nothing() -> None:
    """Twenty bytes an element; the form of counts is three bytes, their squares up to ten."""
    plain, rated = cost(stated=False, rated=False), cost(stated=False, rated=True)

    assert plain.units == rated.units < 0.76
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


def test_who_names_sources_pays_most_of_a_write_unit_more_and_who_does_not_nothing() -> None:
    """Slots hold 36 bytes a state, and heads the sums of thirty pairs, which takes two units."""
    plain, named = cost(stated=False, rated=True), cost(stated=False, rated=True, sources=2)

    assert not any(kind.startswith("sources") for kind in plain.sizes)
    assert 0.65 < named.units - plain.units < 0.75
    elements = 2 * DECISIONS * (24 + 4 * 3)
    assert elements < named.sizes["sources L"] < elements + 120
    assert named.sizes["sources H"] < 2_048


#: Decisions an hour, how many there are, how many to a message, whether each is published by
#: itself; and the units that docs/PATTERNS.md tells, without candidates and with eight.
RATES: list[Any] = [
    pytest.param((100, 60, 1, True), (23.1, 23.4), (24.0, 25.6), id="100 an hour, one by one"),
    pytest.param((100, 200, 50, False), (0.52, 0.57), (0.57, 0.65), id="100 an hour"),
    pytest.param((3_600, 300, 50, False), (0.75, 0.82), (0.89, 0.95), id="one a second"),
    pytest.param((100_000, 600, 50, False), (0.77, 0.81), (0.91, 0.95), id="100,000 an hour"),
]


@pytest.mark.parametrize("stated", [False, True])
@pytest.mark.parametrize(("rate", "told", "told_stated"), RATES)
def test_eight_candidates_cost_little_more_than_none(
    rate: tuple[int, int, int, bool],
    told: tuple[float, float],
    told_stated: tuple[float, float],
    stated: bool,
) -> None:
    """The worst case: every decision matches every candidate, and half applied some."""
    how: dict[str, Any] = dict(
        zip(("hourly", "decisions", "together", "ticks"), rate, strict=True), stated=stated
    )

    plain = cost(rated=True, **how)
    full = cost(rated=True, candidates=MOST_OPEN, **how)

    assert full.units <= 1.3 * plain.units
    expected = told_stated if stated else told
    assert (plain.units, full.units) == pytest.approx(expected, rel=0.02)
    assert max(full.sizes.values()) < 64 * 1024
    assert full.sizes["pattern L"] == plain.sizes["pattern L"]


def test_so_many_seats_as_are_given_out_fit_the_write_unit_of_a_head_and_an_item() -> None:
    full = cost(rated=True, candidates=MOST_SEATS)

    assert full.sizes["base H"] <= WRITE_BLOCK
    longest = seat(bytes(STATING_BYTES), 2**MOST_SEATS - 1, 2**MOST_SEATS - 1)
    assert (FULL_AT + MOST_AT_ONCE) * len(longest) < 62_000
