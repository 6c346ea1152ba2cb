"""A wait before another attempt is drawn below a ceiling that doubles with each failure."""

from hypothesis import given
from hypothesis import strategies as st

from sharpwave.workers.aws.errors import full_jitter_s


def test_a_backoff_draws_below_a_ceiling_that_doubles_up_to_a_cap() -> None:
    def highest(low: float, high: float) -> float:
        return high

    waits = [full_jitter_s(n, base_s=0.1, cap_s=0.5, uniform=highest) for n in range(4)]

    assert waits == [0.1, 0.2, 0.4, 0.5]


@given(failures=st.integers(0, 5_000))
def test_a_backoff_never_passes_its_cap(failures: int) -> None:
    assert 0.0 <= full_jitter_s(failures, base_s=0.1, cap_s=5.0) <= 5.0
