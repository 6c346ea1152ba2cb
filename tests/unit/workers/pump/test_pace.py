"""Waits grow with failures and with idleness, and end with the first success or record."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sharpwave.workers.pump.pace import Backoff, Pace


def test_a_backoff_draws_below_a_ceiling_that_doubles_up_to_a_cap() -> None:
    backoff = Backoff(0.1, 0.5, uniform=lambda low, high: high)

    assert [backoff.next_s() for _ in range(4)] == [0.1, 0.2, 0.4, 0.5]


def test_a_success_starts_a_backoff_over() -> None:
    backoff = Backoff(0.1, 0.5, uniform=lambda low, high: high)
    backoff.next_s()
    backoff.next_s()

    backoff.reset()

    assert backoff.next_s() == 0.1


@given(failures=st.integers(0, 5_000))
def test_a_backoff_never_passes_its_cap(failures: int) -> None:
    backoff = Backoff(0.1, 5.0)
    backoff.failures = failures

    assert 0.0 <= backoff.next_s() <= 5.0


def test_a_table_with_a_full_page_is_read_again_at_once() -> None:
    assert make_pace().after(3, began=0.0, now=0.004, is_full=True) == 0.0


@pytest.mark.parametrize("records", [0, 1])
def test_a_table_with_traffic_is_read_in_a_steady_beat(records: int) -> None:
    pace = make_pace()
    pace.after(1, began=0.0, now=0.0)

    assert pace.after(records, began=0.5, now=0.5) == pytest.approx(0.01)
    assert pace.after(records, began=0.51, now=0.513) == pytest.approx(0.007)
    assert pace.after(records, began=0.52, now=0.55) == pytest.approx(0.005)


def test_an_idle_table_backs_off_to_the_long_wait_and_comes_back() -> None:
    pace = make_pace()
    pace.after(1, began=0.0, now=0.0)

    idle = [pace.after(0, began=1.0 + i, now=1.0 + i) for i in range(6)]
    pace.after(1, began=10.0, now=10.0)

    assert idle == pytest.approx([0.02, 0.04, 0.08, 0.16, 0.2, 0.2])
    assert pace.after(0, began=10.1, now=10.1) == pytest.approx(0.01)


def make_pace() -> Pace:
    return Pace(busy_wait_s=0.01, busy_for_s=1.0, idle_wait_s=0.2)
