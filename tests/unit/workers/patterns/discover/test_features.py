"""What of a decision is compared, and what is not."""

from decimal import Decimal
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sharpwave.schemas.conditions import MAX_PATH_DEPTH
from sharpwave.workers.patterns.discover.features import (
    MOST_MEMBERS,
    MOST_READ,
    Feature,
    Rule,
    Term,
    conditions_of,
    name_of,
    read,
)


def found(**decision: Any) -> dict[tuple[str, str], Any]:
    return {(path, kind): said for (path, kind), said in read(decision).items()}


def test_texts_numbers_truths_and_members_are_compared() -> None:
    decision = {
        "context": {"market": {"trend": "bullish"}, "is_open": True},
        "inputs": {"whale_count": 5, "ratio": Decimal("1.25"), "exchanges": ["nyse", "cme"]},
    }

    assert found(**decision) == {
        ("context.market.trend", "label"): "bullish",
        ("context.is_open", "label"): True,
        ("inputs.whale_count", "number"): 5.0,
        ("inputs.ratio", "number"): 1.25,
        ("inputs.exchanges", "members"): ("cme", "nyse"),
    }


def test_of_the_reasoning_only_what_was_selected_and_from_where() -> None:
    reasoning = {"selected": ["nasdaq"], "sources": ["news"], "source_kind": "x", "mood": "fear"}

    assert {path for path, _ in found(reasoning=reasoning)} == {
        "reasoning.selected",
        "reasoning.sources",
        "reasoning.source_kind",
    }


@pytest.mark.parametrize(
    "name", ["cycle", "order_id", "created_at", "timestamp", "confidence", "note", "ts", "open_ms"]
)
def test_what_names_a_record_or_moment_or_judges_itself_is_left_out(name: str) -> None:
    assert found(context={name: 3}, inputs={name.upper(): "x"}) == {}


@pytest.mark.parametrize(
    "value",
    [
        None,
        "",
        "a text that is written for people",
        "x" * 43,
        "2025-10-18",
        "2025-10-18T14:30:00Z",
        float("inf"),
        Decimal("1e125") ** 3,
        [],
        [1, 2],
        {},
        b"x",
    ],
    ids=repr,
)
def test_what_is_no_value_to_compare_is_left_out(value: object) -> None:
    assert found(context={"value": value}) == {}


def test_nothing_that_comes_after_a_decision_is_read() -> None:
    decision = {
        "outcome": {"success": True, "quality": 1},
        "outcome_rev": 1,
        "promoted_at": 5,
        "is_stm": False,
        "confidence": 0.9,
        "agent_id": "ann",
        "reasoning": {"patterns_applied": ["up"], "selection_prob": 0.5, "confidence": 0.8},
    }

    assert found(**decision) == {}


def test_no_more_is_read_than_there_is_room_for() -> None:
    wide = found(context={f"name{number:03}": number for number in range(500)})
    listed = found(context={"all": [f"m{number:02}" for number in range(50)]})

    assert len(wide) == MOST_READ
    assert len(listed["context.all", "members"]) == MOST_MEMBERS
    assert found(context={"n" * 97: 1, "a.b": 1, "sp ace": 1}) == {}


_LEAF = st.one_of(
    st.text(max_size=8), st.booleans(), st.integers(-5, 5), st.floats(allow_nan=False), st.none()
)
_TREE = st.recursive(
    _LEAF | st.lists(st.text(max_size=4), max_size=4),
    lambda inner: st.dictionaries(st.text("abc_.", min_size=1, max_size=4), inner, max_size=4),
    max_leaves=12,
)


@given(_TREE, _TREE)
def test_a_term_holds_where_its_condition_matches(context: object, inputs: object) -> None:
    decision = {"context": context, "inputs": inputs}
    said = read(decision)

    for (path, kind), value in said.items():
        assert path.count(".") < MAX_PATH_DEPTH
        terms: list[Term] = []
        if isinstance(value, float):
            terms = [Term(path, "ge", value), Term(path, "lt", value), Term(path, "ge", value + 1)]
        elif isinstance(value, tuple):
            terms = [Term(path, "contains", each) for each in value]
        else:
            terms = [Term(path, "eq", value), Term(path, "eq", not value)]
        for term in terms:
            rule: Rule = (term,)
            assert term.holds(said) is conditions_of(rule).matches(decision), (kind, term)


def test_one_and_true_are_two_values() -> None:
    assert not Term("context.x", "eq", True).holds({Feature("context.x", "number"): 1.0})
    assert not Term("context.x", "eq", "true").holds({Feature("context.x", "label"): True})


def test_a_name_follows_from_what_is_said_and_not_from_its_order() -> None:
    one, other = Term("context.a", "eq", "x"), Term("inputs.b", "ge", 2.0)

    assert name_of((one, other), avoid=False) == name_of((other, one), avoid=False)
    assert name_of((one,), avoid=False) != name_of((one,), avoid=True)
    assert name_of((one,), avoid=False) != name_of((other,), avoid=False)
