"""What decisions state of themselves is free text until it is a number that makes sense."""

from decimal import Decimal
from fractions import Fraction
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sharpwave.workers.patterns.stated import (
    BINS,
    SCALE,
    Confidences,
    confidence_of,
    selection_prob_of,
)

NONSENSE: list[Any] = [
    None,
    "0.9",
    True,
    -1,
    Decimal("1.0001"),
    Decimal("NaN"),
    Decimal("Infinity"),
    float("nan"),
    [0.5],
    {"p": 1},
    b"1",
    10**40,
]


@pytest.mark.parametrize("said", NONSENSE)
def test_what_is_no_number_from_0_to_1_is_stated_by_nobody(said: object) -> None:
    reasoning = {"confidence": said, "selection_prob": said}

    assert confidence_of({"reasoning": reasoning, "confidence": said}) is None
    assert selection_prob_of({"reasoning": reasoning}) is None
    assert confidence_of({"reasoning": reasoning, "confidence": Decimal("0.25")}) == 2_500


@pytest.mark.parametrize("reasoning", ["sure", None, 3, ["confidence"]])
def test_reasoning_may_be_anything(reasoning: object) -> None:
    assert confidence_of({"reasoning": reasoning}) is None
    assert selection_prob_of({"reasoning": reasoning}) is None


def test_a_confidence_in_the_reasoning_comes_before_one_beside_it() -> None:
    decision = {"reasoning": {"confidence": Decimal("0.7")}, "confidence": Decimal("0.9")}

    assert confidence_of(decision) == 7_000
    assert confidence_of({"confidence": 1}) == 10_000
    assert confidence_of({"confidence": 0}) == 0


@pytest.mark.parametrize(("said", "kept"), [("0", None), ("0.00005", None), ("0.00006", 1)])
def test_a_probability_that_rounds_to_0_has_no_weight(said: str, kept: int | None) -> None:
    assert selection_prob_of({"reasoning": {"selection_prob": Decimal(said)}}) == kept


@given(st.decimals(0, 1, places=38) | st.decimals(0, 1, places=5))
def test_numbers_are_rounded_once_and_half_to_even(said: Decimal) -> None:
    assert confidence_of({"confidence": said}) == round(Fraction(said) * SCALE)


STATED = st.lists(st.tuples(st.integers(0, SCALE), st.booleans()))


@given(STATED, st.randoms(use_true_random=False))
def test_sums_merge_in_any_order_and_grouping(stated: list[tuple[int, bool]], chance: Any) -> None:
    parts = [Confidences.of(*each) for each in stated]
    chance.shuffle(parts)
    half = len(parts) // 2
    whole = sum((Confidences.of(*each) for each in stated), Confidences())

    assert sum(parts[:half], Confidences()) + sum(parts[half:], Confidences()) == whole
    assert Confidences.from_numbers(whole.numbers()) == whole
    assert len(whole.dense()) == BINS
    assert sum(n for n, _, _ in whole.dense()) == len(stated)
    assert sum(said for _, _, said in whole.dense()) == sum(said for said, _ in stated)
