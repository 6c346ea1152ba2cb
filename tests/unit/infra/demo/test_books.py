"""What is due, what came and how often is counted from both ends, in whatever order they report."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sharpwave.infra.demo.books import Deliveries, Due, percentile


def test_a_delivery_is_due_then_delivered_then_processed() -> None:
    deliveries = Deliveries()
    deliveries.wrote("s1", ["a", "b"], 100.0)
    deliveries.handed("s1", "a", 130.0)
    deliveries.acknowledged("s1", "a")

    assert (deliveries.due, deliveries.delivered, deliveries.processed) == (2, 1, 1)
    assert deliveries.lost == [Due("s1", "b")]
    assert deliveries.latencies_ms() == [30.0]


def test_a_second_handing_over_is_doubled_and_does_not_change_the_latency() -> None:
    deliveries = Deliveries()
    deliveries.wrote("s1", ["a"], 0.0)
    deliveries.handed("s1", "a", 5.0)
    deliveries.handed("s1", "a", 50.0)

    assert deliveries.doubled == [Due("s1", "a")]
    assert deliveries.latencies_ms() == [5.0]


def test_a_signal_may_arrive_before_its_sender_knows_its_id() -> None:
    deliveries = Deliveries()
    deliveries.handed("s1", "a", 7.0)
    deliveries.acknowledged("s1", "a")
    assert deliveries.strays == [Due("s1", "a")]

    deliveries.wrote("s1", ["a"], 2.0)

    assert (deliveries.strays, deliveries.lost, deliveries.doubled) == ([], [], [])
    assert deliveries.latencies_ms() == [5.0]
    assert deliveries.wait_until_open(0, timeout_s=0)


def test_it_is_open_until_as_many_are_acknowledged_as_wanted() -> None:
    deliveries = Deliveries()
    deliveries.wrote("s1", ["a", "b", "c"], 0.0)
    deliveries.acknowledged("s1", "b")

    assert deliveries.wait_until_open(2, timeout_s=0)
    assert not deliveries.wait_until_open(1, timeout_s=0)


@pytest.mark.parametrize(
    ("share", "expected"), [(0.5, 50.0), (0.99, 99.0), (1.0, 100.0), (0.001, 1.0)]
)
def test_a_percentile_is_a_value_that_was_measured(share: float, expected: float) -> None:
    assert percentile([float(value) for value in range(1, 101)], share) == expected


@given(st.lists(st.floats(0, 1e6), min_size=1), st.floats(0.01, 1))
def test_at_least_that_share_does_not_exceed_a_percentile(
    values: list[float], share: float
) -> None:
    found = percentile(sorted(values), share)

    assert found in values
    assert sum(value <= found for value in values) >= share * len(values) - 1e-5


def test_nothing_measured_has_no_percentile() -> None:
    assert percentile([], 0.5) is None
