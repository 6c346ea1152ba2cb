"""Sketches give quantiles within a known share, and merge as if they were one."""

import pytest

from sharpwave.schemas.sketch import ACCURACY, Sketch


def test_sketches_of_parts_merge_to_that_of_the_whole() -> None:
    times = [number**3 / 10 for number in range(1, 200)]

    whole, odd, even = Sketch.of(times), Sketch.of(times[::2]), Sketch.of(times[1::2])

    assert odd + even == whole
    assert whole.count == len(times)
    for share in (0.01, 0.5, 0.99):
        exact = times[-int(-share * len(times) // 1) - 1]
        assert whole.quantile(share) == pytest.approx(exact, rel=ACCURACY + 0.005)


def test_no_duration_has_no_quantile_and_a_negative_one_is_none_at_all() -> None:
    empty, early = Sketch.of([None]), Sketch.of([-3.0, 0])

    assert (empty.count, empty.p50_s, empty.p99_s) == (0, None, None)
    assert (early.pairs(), early.p50_s, early.p99_s) == ([(None, 2)], 0.0, 0.0)
