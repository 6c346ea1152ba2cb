"""Capacity by item size."""

from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sharpwave.infra.cost.flow import read_units, write_units
from sharpwave.schemas.numbers import item_to_wire, wire_size
from sharpwave.schemas.tables import DECISIONS, TABLES, Index
from tests.cost import sizes

SCALARS = (
    st.text(max_size=60)
    | st.integers(-(10**30), 10**30)
    | st.booleans()
    | st.none()
    | st.binary(max_size=40)
    | st.sets(st.text(min_size=1, max_size=8), min_size=1, max_size=5)
    | st.sets(st.binary(min_size=1, max_size=17), min_size=1, max_size=5)
    | st.sets(st.integers(0, 10**12), min_size=1, max_size=5)
)
VALUES = st.recursive(
    SCALARS,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=8), inner),
    max_leaves=6,
)
ITEMS = st.dictionaries(st.text(min_size=1, max_size=20), VALUES, max_size=6).map(item_to_wire)
BULKY = st.builds(
    lambda item, size: {**item, "bulk": {"S": "x" * size}}, ITEMS, st.integers(0, 9000)
)

DECISION_INDEXES = next(table.indexes for table in TABLES if table.name == DECISIONS)
DECISION = item_to_wire(
    {
        "PK": "agent:hunter#decision#SELECT",
        "SK": "2026-01-01T00:00:00.000Z#dec_1",
        "agent_id": "hunter",
        "decision_type": "SELECT",
        "decision_id": "dec_1",
        "timestamp": 1_767_225_600,
        "reasoning": {"why": "x" * 600},
    }
)
KEYS = st.fixed_dictionaries(
    {"PK": st.just({"S": "p"}), "SK": st.just({"S": "s"})},
    optional={name: st.sampled_from([{"S": "1"}, {"S": "2"}]) for name in ("a", "b", "c", "d")},
)
INDEX = Index("by_a", "a", "b", include=("c",))


@pytest.mark.parametrize(
    ("size", "units"), [(0, 1), (1, 1), (1024, 1), (1025, 2), (2048, 2), (409_600, 400)]
)
def test_a_write_unit_is_one_kilobyte_begun(size: int, units: int) -> None:
    assert write_units(size) == units


@pytest.mark.parametrize(("size", "units"), [(0, 1), (4096, 1), (4097, 2), (40_960, 10)])
def test_a_read_unit_is_four_kilobytes_begun_and_half_of_it_if_not_strong(
    size: int, units: int
) -> None:
    assert read_units(size, consistent=True) == units
    assert read_units(size, consistent=False) == units / 2


@settings(max_examples=30)
@given(BULKY)
def test_units_of_an_item_are_those_of_its_exact_size(item: dict[str, Any]) -> None:
    """The quick bound never decides otherwise than the exact size would."""
    assert sizes.item_write_units(item) == write_units(wire_size(item))
    for strong in (True, False):
        exact = read_units(wire_size(item), consistent=strong)
        assert sizes.item_read_units(item, consistent=strong) == exact


@settings(max_examples=20)
@given(st.lists(BULKY, max_size=4))
def test_a_page_is_rounded_once_so_it_never_costs_more_than_its_items(
    items: list[dict[str, Any]],
) -> None:
    page = sizes.items_read_units(items, consistent=True)

    singly = sum(sizes.item_read_units(item, consistent=True) for item in items)
    assert page <= max(1, singly)
    assert page >= singly - len(items)


@given(KEYS)
def test_an_index_entry_that_does_not_change_costs_nothing(item: dict[str, Any]) -> None:
    assert sizes.index_writes([INDEX], item, {**item, "d": {"S": "other"}}) == []


@given(KEYS, KEYS)
def test_an_index_is_charged_as_its_entries_come_go_change_and_move(
    old: dict[str, Any], new: dict[str, Any]
) -> None:
    before, after = sizes.entry(INDEX, old), sizes.entry(INDEX, new)

    units = sum(units for _, units in sizes.index_writes([INDEX], old, new))

    if before == after:
        assert units == 0
    elif before is None or after is None:
        assert units == 1
    else:
        moved = (before["a"], before["b"]) != (after["a"], after["b"])
        assert units == (2 if moved else 1)


def test_a_new_decision_enters_every_index_with_its_keys_only() -> None:
    written = sizes.index_writes(DECISION_INDEXES, None, DECISION)

    assert written == [("by_agent", 1), ("by_id", 1)]


def test_an_outcome_touches_only_the_index_that_carries_it() -> None:
    resolved = {**DECISION, "outcome": {"M": {"success": {"BOOL": True}}}}

    assert sizes.index_writes(DECISION_INDEXES, DECISION, resolved) == [("by_agent", 1)]


def test_the_mark_of_promotion_touches_no_index() -> None:
    marked = {**DECISION, "promoted_at": {"N": "1"}, "is_stm": {"BOOL": False}}

    assert sizes.index_writes(DECISION_INDEXES, DECISION, marked) == []
