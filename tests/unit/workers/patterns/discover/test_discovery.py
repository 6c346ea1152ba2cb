"""The whole way from features to promotion, without tables: what is there is found, and no more.

Small, from seeds; `python -m tests.bench --only discovery` runs the same at length.
"""

import random

import pytest

from sharpwave.workers.patterns.discover.lattice import MOST_BYTES
from tests.bench.discovery import Decision, concerns, market, planted, power, search, shuffled


@pytest.fixture(scope="module")
def decisions() -> list[Decision]:
    return market(1_200, random.Random("market"))


def test_what_is_planted_is_found_and_promoted(decisions: list[Decision]) -> None:
    told = search(decisions, planted(decisions, 0.85, random.Random("planted")))

    right = [name for name in told.promoted if concerns(name, told)]
    assert right
    assert len(right) == len(told.promoted)
    assert told.bytes <= MOST_BYTES
    by_name = {each.name: each for each in told.admitted}
    # Promoted by what came after it was proposed, and that was enough.
    assert all(told.promoted[name] >= by_name[name].since + 20 for name in right)


def test_of_shuffled_outcomes_nothing_is_promoted(decisions: list[Decision]) -> None:
    found = shuffled(decisions, 4, random.Random("shuffled"))

    assert found["with_a_promotion"] == 0


def test_a_weaker_one_is_found_later_or_not_at_all(decisions: list[Decision]) -> None:
    strong = power(decisions, 0.95, 1, random.Random("strong"))
    weak = power(decisions, 0.60, 1, random.Random("weak"))

    assert strong["found_percent"] == 100
    assert weak["found_percent"] == 0
    assert weak["with_another_percent"] == 0
