"""A pattern's conditions say which decisions it covers, from what was known before the outcome."""

import json
import re
from decimal import Decimal
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from sharpwave.schemas.conditions import MAX_PATH_DEPTH, Condition, Conditions

DECISION: dict[str, Any] = {
    "agent_id": "market-hunter",
    "decision_type": "SOURCE_SELECTION",
    "context": {
        "market": {"trend": "bullish", "volatility": Decimal("0.1")},
        "cycle": Decimal(142),
        "timeframe": "4h",
        "halted": False,
        "parent": None,
        "closes_at": "2025-10-18T21:00:00Z",
    },
    "inputs": {"whale_count": 5, "exchanges": {"binance", "coinbase"}, "levels": [Decimal(3), "x"]},
    "reasoning": {"selected": ["whaleMovements", "derivatives"]},
    "outcome": {"success": True},
}

MATCHES = [
    ("context.market.trend", "eq", "bullish"),
    ("context.market.trend", "ne", "bearish"),
    ("context.market.volatility", "eq", 0.1),
    ("context.cycle", "eq", 142.0),
    ("context.halted", "eq", False),
    ("context.parent", "eq", None),
    ("context.market.trend", "ne", None),
    ("inputs.whale_count", "ge", 5),
    ("inputs.whale_count", "gt", 4.5),
    ("inputs.whale_count", "le", Decimal(5)),
    ("inputs.whale_count", "lt", 6),
    ("context.closes_at", "lt", "2025-10-19"),
    ("context.timeframe", "in", ["1h", "4h"]),
    ("context.parent", "in", ["none", None]),
    ("inputs.exchanges", "contains", "binance"),
    ("inputs.levels", "contains", 3),
    ("reasoning.selected", "contains", "derivatives"),
    ("context.market.trend", "contains", "bull"),
    ("context.parent", "exists", True),
    ("context.market.depth", "exists", False),
    ("context.market.trend.strength", "exists", False),
]

MISSES = [
    ("context.market.trend", "eq", "bearish"),
    ("context.market.trend", "ne", "bullish"),
    ("inputs.whale_count", "gt", 5),
    ("inputs.whale_count", "lt", 5),
    ("inputs.whale_count", "ge", 6),
    ("inputs.whale_count", "le", 4),
    ("context.timeframe", "in", ["1h"]),
    ("reasoning.selected", "contains", "sentiment"),
    ("context.cycle", "exists", False),
    ("context.market.depth", "exists", True),
]

MISMATCHES = [
    ("context.market.depth", "eq", 1),
    ("context.market.depth", "ne", 1),
    ("context.market.trend.strength", "gt", 1),
    ("inputs.whale_count", "eq", "5"),
    ("inputs.whale_count", "ne", "5"),
    ("inputs.whale_count", "gt", "4"),
    ("context.timeframe", "gt", 3),
    ("context.halted", "eq", 0),
    ("context.halted", "ge", 0),
    ("context.parent", "ne", "x"),
    ("context.parent", "lt", 1),
    ("context.market", "eq", "bullish"),
    ("context.market", "contains", "trend"),
    ("inputs.whale_count", "contains", 5),
    ("context.timeframe", "contains", 4),
    ("context.halted", "in", [0, 1]),
]


def condition(path: str, op: str, value: object) -> Condition:
    return Condition.model_validate({"path": path, "op": op, "value": value})


@pytest.mark.parametrize(("path", "op", "value"), MATCHES)
def test_a_condition_that_holds_matches(path: str, op: str, value: object) -> None:
    assert condition(path, op, value).matches(DECISION)


@pytest.mark.parametrize(("path", "op", "value"), MISSES)
def test_a_condition_that_does_not_hold_does_not_match(path: str, op: str, value: object) -> None:
    assert not condition(path, op, value).matches(DECISION)


@pytest.mark.parametrize(("path", "op", "value"), MISMATCHES)
def test_a_missing_path_or_another_kind_never_matches(path: str, op: str, value: object) -> None:
    assert not condition(path, op, value).matches(DECISION)


@pytest.mark.parametrize(
    "strange", [Decimal("NaN"), Decimal("sNaN"), float("inf"), b"\0", object()]
)
@pytest.mark.parametrize("op", ["eq", "ne", "gt", "ge", "lt", "le", "contains"])
def test_a_value_that_is_no_plain_value_never_matches_and_never_raises(
    op: str, strange: object
) -> None:
    assert not condition("inputs.x", op, 1).matches({"inputs": {"x": strange}})


def test_all_conditions_must_hold() -> None:
    trend = {"path": "context.market.trend", "op": "eq", "value": "bullish"}
    many = {"path": "inputs.whale_count", "op": "gt", "value": 5}

    assert Conditions.model_validate([trend]).matches(DECISION)
    assert not Conditions.model_validate([trend, many]).matches(DECISION)


@pytest.mark.parametrize("path", ["outcome", "outcome.success", "outcome_rev"])
def test_a_condition_on_the_outcome_is_refused_as_leakage(path: str) -> None:
    with pytest.raises(ValidationError, match="leakage"):
        condition(path, "eq", True)


@pytest.mark.parametrize("path", ["ttl", "promoted_at", "is_stm", "timestamp.x"])
def test_a_condition_on_what_may_change_later_names_the_roots_that_may_not(path: str) -> None:
    with pytest.raises(ValidationError, match=r"start the path with one of agent_id, .*context"):
        condition(path, "exists", True)


@pytest.mark.parametrize(
    "path", ["", ".", "context.", "context..a", "context a", "context.a\n", "é"]
)
def test_a_malformed_path_is_refused_with_an_example(path: str) -> None:
    with pytest.raises(ValidationError, match=r"such as context\.market\.trend"):
        condition(path, "eq", 1)


def test_a_path_has_at_most_eight_names() -> None:
    deepest = ".".join(["context", *"abcdefg"])

    assert condition(deepest, "eq", 1).path.count(".") + 1 == MAX_PATH_DEPTH
    with pytest.raises(ValidationError, match="9 names deep"):
        condition(f"{deepest}.h", "eq", 1)


@pytest.mark.parametrize(
    ("op", "value", "fault"),
    [
        ("in", "4h", "takes a list of 1 to 64"),
        ("in", [], "takes a list of 1 to 64"),
        ("in", list(range(65)), "takes a list of 1 to 64"),
        ("in", [[1]], "list cannot be compared"),
        ("eq", [1], 'use "in" for a list'),
        ("gt", True, "orders numbers or text only"),
        ("gt", None, "orders numbers or text only"),
        ("exists", "yes", "takes true or false"),
        ("eq", {"a": 1}, "dict cannot be compared"),
        ("eq", float("nan"), "not a finite number"),
        ("eq", Decimal("0.12345678901234567890"), "more digits"),
        ("eq", "x" * 257, "at most 256"),
        ("matches", 1, "Input should be 'eq'"),
    ],
)
def test_a_value_that_does_not_fit_its_operator_is_refused(
    op: str, value: object, fault: str
) -> None:
    with pytest.raises(ValidationError, match=fault):
        condition("inputs.x", op, value)


def test_a_condition_without_a_value_is_refused_unless_it_asks_for_existence() -> None:
    exists = Condition.model_validate({"path": "inputs.x", "op": "exists"})

    assert exists.value is True
    with pytest.raises(ValidationError, match="write null to compare with null"):
        Condition.model_validate({"path": "inputs.x", "op": "eq"})


def test_a_map_of_conditions_is_refused_with_the_list_to_write_instead() -> None:
    legacy = {"context": "bullish_trend", "whale_count_min": 5, "timeframe": "4h"}

    with pytest.raises(ValidationError) as refusal:
        Conditions.model_validate(legacy)

    assert "not a map of context, whale_count_min, timeframe" in str(refusal.value)
    assert '[{"path": "inputs.whale_count", "op": "ge", "value": 5}]' in str(refusal.value)


@pytest.mark.parametrize(("count", "fault"), [(0, "no condition given"), (17, "at most 16")])
def test_a_pattern_has_1_to_16_conditions(count: int, fault: str) -> None:
    with pytest.raises(ValidationError, match=fault) as refusal:
        Conditions.model_validate([{"path": "inputs.x", "op": "eq", "value": 1}] * count)

    assert refusal.value.error_count() == 1


def test_the_description_says_what_the_conditions_say() -> None:
    conditions = Conditions.model_validate(
        [
            {"path": "context.market.trend", "op": "eq", "value": "bullish"},
            {"path": "inputs.whale_count", "op": "ge", "value": Decimal("5.0")},
            {"path": "context.timeframe", "op": "in", "value": ["4h", "5", "one day", None]},
            {"path": "reasoning.selected", "op": "contains", "value": "derivatives"},
            {"path": "inputs.fee", "op": "exists", "value": False},
        ]
    )

    assert conditions.describe() == (
        "context.market.trend = bullish and inputs.whale_count >= 5 and "
        'context.timeframe in [4h, "5", "one day", null] and '
        "reasoning.selected contains derivatives and inputs.fee is missing"
    )


SCALARS = (
    st.none()
    | st.booleans()
    | st.integers(-(10**30), 10**30)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(max_size=20)
)


@given(SCALARS)
def test_a_condition_is_the_same_after_json_and_after_dynamodb(value: object) -> None:
    written = condition("inputs.x", "eq", value)
    as_json = json.dumps(written.model_dump(mode="json"))

    assert Condition.model_validate_json(as_json) == written
    assert Condition.model_validate(json.loads(as_json, parse_float=Decimal)) == written


@given(SCALARS, SCALARS)
def test_different_values_are_described_differently(one: object, other: object) -> None:
    first, second = condition("inputs.x", "eq", one), condition("inputs.x", "eq", other)

    same = first.matches({"inputs": {"x": other}})

    assert (first.describe() == second.describe()) == same


@given(
    st.lists(
        st.builds(
            condition,
            st.sampled_from(["inputs.x", "context.a-b.and"]),
            st.sampled_from(["eq", "ne", "contains"]),
            SCALARS,
        )
        | st.builds(condition, st.just("inputs.in"), st.just("in"), st.lists(SCALARS, min_size=1))
        | st.builds(condition, st.just("inputs.is"), st.just("exists"), st.booleans()),
        min_size=1,
        max_size=4,
    )
)
def test_a_description_reads_back_as_the_same_conditions(written: list[Condition]) -> None:
    conditions = Conditions(tuple(written))

    assert Conditions.read(conditions.describe()) == conditions


def test_conditions_are_read_in_any_spacing() -> None:
    read = Conditions.read('inputs.whale_count>=5  and\ncontext.market.trend="bullish"')

    assert read.describe() == "inputs.whale_count >= 5 and context.market.trend = bullish"


@pytest.mark.parametrize(
    ("text", "fault"),
    [
        ("", "at its end, where something more"),
        ("inputs.x", "at its end"),
        ("inputs.x is 5", "at '5', where \"missing\" is expected"),
        ("inputs.x >= 5 or inputs.y = 1", "at 'or', where \"and\" is expected"),
        ("inputs.x ~ 5", "at '~', where one of =, !=, >, >=, <, <=, in"),
        ("inputs.x in [1 2]", 'at \'2\', where "," or "]" is expected'),
        ("inputs.x = and", "at 'and', where a number, a word, or a text in quotes"),
        ('inputs.x = "\\q"', "where a text in quotes, as in JSON"),
        ('inputs.x = "open', "at '\"'"),
        ("outcome.success = true", "leakage"),
    ],
)
def test_what_cannot_be_read_as_conditions_names_the_word(text: str, fault: str) -> None:
    with pytest.raises(ValueError, match=re.escape(fault)):
        Conditions.read(text)


ANYTHING = st.recursive(
    SCALARS | st.decimals() | st.floats() | st.binary(max_size=3),
    lambda inner: st.lists(inner) | st.dictionaries(st.sampled_from("abx"), inner),
    max_leaves=8,
)


@given(
    decision=st.dictionaries(st.sampled_from(["context", "inputs"]), ANYTHING),
    op=st.sampled_from(["eq", "ne", "contains", "gt", "ge", "lt", "le"]),
    value=st.integers(-(10**15), 10**15) | st.text(max_size=3),
)
def test_matching_never_raises(decision: dict[str, Any], op: str, value: object) -> None:
    assert condition("inputs.x", op, value).matches(decision) in (True, False)
