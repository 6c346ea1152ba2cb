"""Values pass between Python, JSON and DynamoDB without losing a digit, or are refused."""

import base64
import json
import math
from datetime import date, datetime
from decimal import Decimal
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sharpwave.schemas.numbers import (
    MAX_DIGITS,
    UnstorableValue,
    canonical_json,
    from_wire,
    item_from_wire,
    item_to_wire,
    number_text,
    parse_json,
    plain_json,
    to_wire,
    wire_depth,
    wire_size,
)

DECIMALS = st.builds(
    lambda digits, exponent: Decimal(digits).scaleb(exponent),
    st.integers(-(10**38) + 1, 10**38 - 1),
    st.integers(-100, 80),
)
NUMBERS = st.integers(-(10**38) + 1, 10**38 - 1) | DECIMALS
SCALARS = st.none() | st.booleans() | st.text() | st.binary() | NUMBERS
VALUES = st.recursive(
    SCALARS,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4),
    max_leaves=12,
)
SETS = (
    st.sets(st.text(), min_size=1) | st.sets(st.binary(), min_size=1) | st.sets(NUMBERS, min_size=1)
)


@given(VALUES | SETS)
def test_a_value_reads_back_as_it_was_stored(value: Any) -> None:
    assert from_wire(to_wire(value)) == value


@given(VALUES)
def test_json_reads_back_with_every_digit(value: Any) -> None:
    text = plain_json(value)

    assert text.isascii()
    assert parse_json(text) == _as_json(value)


@given(st.floats(allow_nan=False, allow_infinity=False).filter(lambda x: 1e-120 < abs(x) < 1e120))
def test_a_float_is_stored_by_its_shortest_exact_form(value: float) -> None:
    assert float(from_wire(to_wire(value))) == value


@pytest.mark.parametrize(
    "value",
    [
        math.nan,
        math.inf,
        -math.inf,
        Decimal("NaN"),
        Decimal("Infinity"),
        10**38 + 1,
        Decimal("1." + "1" * 38),
        Decimal("1e126"),
        Decimal("1e-131"),
        10**200,
        set(),
        {"a", 1},
        {1} | {b"x"},
        {1: "x"},
        object(),
        {"deep": [math.nan]},
    ],
)
def test_what_dynamodb_cannot_hold_is_refused(value: Any) -> None:
    with pytest.raises(UnstorableValue):
        to_wire(value)


@pytest.mark.parametrize(
    ("value", "text"),
    [(0, "0"), (-7, "-7"), (0.1, "0.1"), (Decimal("1.50"), "1.50"), (Decimal(10) ** 120, None)],
)
def test_numbers_are_written_as_dynamodb_takes_them(value: Any, text: str | None) -> None:
    written = number_text(value)

    assert Decimal(written) == Decimal(str(value))
    assert text in (written, None)


@pytest.mark.parametrize("digits", [MAX_DIGITS, MAX_DIGITS + 1])
def test_trailing_zeros_are_no_digits(digits: int) -> None:
    assert number_text(10**digits) == "1" + "0" * digits


def test_integers_stay_integers_and_fractions_stay_exact() -> None:
    assert from_wire({"N": "7"}) == 7
    assert isinstance(from_wire({"N": "7"}), int)
    assert from_wire({"N": "0.10"}) == Decimal("0.10")
    assert isinstance(from_wire({"N": "0.10"}), Decimal)


def test_binary_comes_as_bytes_or_as_base64() -> None:
    text = base64.b64encode(b"\x00\xff").decode()

    assert from_wire({"B": text}) == from_wire({"B": b"\x00\xff"}) == b"\x00\xff"
    assert from_wire({"BS": [text]}) == {b"\x00\xff"}


def test_json_has_binary_as_base64_and_sets_in_order() -> None:
    assert json.loads(plain_json({"b": b"\x00", "s": {"z", "a"}})) == {"b": "AA==", "s": ["a", "z"]}


@pytest.mark.parametrize("text", ["\uffff", "😀", "\u2028", '"\\\n', "\x00"])
def test_json_is_ascii_whatever_the_text(text: str) -> None:
    written = plain_json({text: text})

    assert written.isascii()
    assert parse_json(written) == {text: text}


def test_an_unknown_type_is_refused() -> None:
    with pytest.raises(UnstorableValue, match="unknown attribute type"):
        from_wire({"X": "1"})


@pytest.mark.parametrize(
    ("value", "depth"), [("x", 0), (["x"], 1), ({"a": ["x"]}, 2), ([["x"], [["x"]]], 3)]
)
def test_depth_counts_maps_and_lists(value: Any, depth: int) -> None:
    assert wire_depth(to_wire(value)) == depth


@given(st.dictionaries(st.text(min_size=1), VALUES, max_size=4))
@settings(max_examples=40)
def test_a_size_is_at_least_what_the_text_takes(item: dict[str, Any]) -> None:
    names = sum(len(name.encode()) for name in item)

    assert wire_size(item_to_wire(item)) >= names
    assert item_from_wire(item_to_wire(item)) == item


@pytest.mark.parametrize(
    ("item", "size"), [({"a": "bc"}, 3), ({"a": "é"}, 3), ({"a": True}, 2), ({"a": b"123"}, 4)]
)
def test_sizes_are_counted_as_dynamodb_does(item: dict[str, Any], size: int) -> None:
    assert wire_size(item_to_wire(item)) == size


def _as_json(value: Any) -> Any:
    if isinstance(value, bytes):
        return base64.b64encode(value).decode()
    if isinstance(value, list):
        return [_as_json(part) for part in value]
    if isinstance(value, dict):
        return {name: _as_json(part) for name, part in value.items()}
    return value


def test_what_has_no_type_has_no_canonical_form() -> None:
    with pytest.raises(UnstorableValue, match="no type for object"):
        canonical_json({"a": object()})


@pytest.mark.parametrize(
    ("item", "where", "reason"),
    [
        ({"data": {"a": {"b": [1, float("nan")]}}}, "data.a.b.1", "nan is not a number"),
        ({"data": {"at": datetime(2025, 10, 18)}}, "data.at", "2025-10-18T14:30:00Z"),
        ({"day": date(2025, 10, 18)}, "day", "write epoch seconds"),
        ({"data": {"tags": set()}}, "data.tags", "no empty set"),
        ({"data": {"a": {1: 2}}}, "data.a", "attribute names are strings"),
        ({1: 2}, "", "attribute names are strings"),
    ],
)
def test_what_cannot_be_stored_is_found_in_its_item(
    item: dict[Any, Any], where: str, reason: str
) -> None:
    with pytest.raises(UnstorableValue) as told:
        item_to_wire(item)

    assert told.value.where == where
    assert reason in told.value.reason
    assert str(told.value).startswith(f"{where}: " if where else reason)
