"""What a row shows of a pattern is what scipy 1.17.1 and savvi 0.3.1 make of the same outcomes.

`tests/bench/scripts/evidence_reference.py` gave the numbers (`pattern`), and
`make bench ARGS="--only statistics"` asks both again.
"""

from collections.abc import Sequence

import pytest

from tests.bench.statistics import CASES, shown

#: By scipy: 90 % interval, confidence, log evidence; by savvi: the interval of all times.
SCIPY_AND_SAVVI: Sequence[Sequence[float]] = [
    [
        *(0.53605756730927, 0.8260424521027182, 0.8406777094863469),
        *(2.0623517703964502, 0.4979364411411495, 0.9042946108743797),
    ],
    [
        *(0.5533739757241927, 0.6899706920288924, 0.9575648965663452),
        *(6.622497792602275, 0.525266471695047, 0.7180760547781717),
    ],
    [
        *(0.4989326575241608, 0.6017192801259517, 4.1992353427277435e-05),
        *(-9.36805801445891, 0.4760180839758169, 0.6544166003066062),
    ],
]
#: savvi's solver ends a little sooner than scipy's.
OF_SCIPY, OF_SAVVI = 1e-10, 1e-6


@pytest.mark.parametrize(
    ("case", "expected"), list(zip(CASES["pattern"], SCIPY_AND_SAVVI, strict=True))
)
def test_two_others_find_the_same(case: Sequence[float], expected: Sequence[float]) -> None:
    base_rate, half_life, *days = case

    found = shown(base_rate, half_life, *days)

    assert found[:4] == pytest.approx(expected[:4], rel=OF_SCIPY)
    assert found[4:] == pytest.approx(expected[4:], abs=OF_SAVVI)
