"""The Beta distribution agrees with scipy 1.17.1 to 1e-10, from tiny shapes to a million."""

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sharpwave.workers.patterns import beta
from sharpwave.workers.patterns.beta import Beta

# a, b, x, scipy.stats.beta.cdf(x, a, b), scipy.stats.beta.sf(x, a, b); scipy 1.17.1
TAILS = [
    (2.0, 2.0, 0.55, 0.5747500000000001, 0.42524999999999996),
    (0.04, 3.96, 0.06, 0.9537318744234449, 0.04626812557655516),
    (20.2, 7.8, 0.6, 0.08201559596273189, 0.9179844040372683),
    (80.0, 24.0, 0.7, 0.05290944780627781, 0.9470905521937222),
    (3.2, 0.8, 0.85, 0.4979430824845008, 0.5020569175154995),
    (650.5, 353.5, 0.6, 0.0008802775299598008, 0.9991197224700402),
    (5500.0, 4500.0, 0.55, 0.49973269459970937, 0.5002673054002901),
    (70000.0, 30000.0, 0.7012, 0.7961051442340135, 0.2038948557659829),
    (2.0, 1000000.0, 4e-06, 0.9084225381812742, 0.09157746181909321),
    (1000000.0, 900000.0, 0.5262, 0.3746071907663008, 0.6253928092336956),
    (0.5, 0.5, 0.999, 0.9798649583666235, 0.0201350416333775),
    (30.0, 400.0, 0.2, 0.9999999999999878, 1.2187713595447376e-14),
]

# a, b, q, scipy.stats.beta.ppf(q, a, b); scipy 1.17.1
QUANTILES = [
    (2.0, 2.0, 0.05, 0.13535036217158378),
    (2.0, 2.0, 0.95, 0.8646496378284161),
    (0.04, 3.96, 0.05, 4.949196798492796e-34),
    (0.04, 3.96, 0.95, 0.053441680292748144),
    (20.2, 7.8, 0.05, 0.5756453058908537),
    (20.2, 7.8, 0.95, 0.8489328021612257),
    (80.0, 24.0, 0.05, 0.6987245016281826),
    (80.0, 24.0, 0.95, 0.8338249798610783),
    (3.2, 0.8, 0.05, 0.4342950396038377),
    (3.2, 0.8, 0.95, 0.9929721019925636),
    (650.5, 353.5, 0.05, 0.6229585249087113),
    (650.5, 353.5, 0.95, 0.6725230228879324),
    (5500.0, 4500.0, 0.05, 0.5418116239454243),
    (5500.0, 4500.0, 0.95, 0.5581770051532745),
    (70000.0, 30000.0, 0.05, 0.6976141189005243),
    (70000.0, 30000.0, 0.95, 0.7023813329609063),
    (2.0, 1000000.0, 0.05, 3.5536126987721413e-07),
    (2.0, 1000000.0, 0.95, 4.74385089440848e-06),
    (1000000.0, 900000.0, 0.05, 0.5257199496985301),
    (1000000.0, 900000.0, 0.95, 0.5269115977521821),
    (0.5, 0.5, 0.05, 0.0061558297024311365),
    (0.5, 0.5, 0.95, 0.9938441702975689),
    (30.0, 400.0, 0.05, 0.050780997412565664),
    (30.0, 400.0, 0.95, 0.09102869322615595),
]

SHAPES = st.floats(0.02, 1e5)


@pytest.mark.parametrize(("a", "b", "x", "lower", "upper"), TAILS)
def test_both_tails_agree_with_the_reference(
    a: float, b: float, x: float, lower: float, upper: float
) -> None:
    belief = Beta(a, b)

    assert belief.cdf(x) == pytest.approx(lower, rel=1e-10, abs=0)
    assert belief.sf(x) == pytest.approx(upper, rel=1e-10, abs=0)


@pytest.mark.parametrize(("a", "b", "q", "x"), QUANTILES)
def test_quantiles_agree_with_the_reference(a: float, b: float, q: float, x: float) -> None:
    assert Beta(a, b).ppf(q) == pytest.approx(x, rel=1e-10, abs=0)


def test_the_mean_is_the_share_of_a() -> None:
    assert Beta(3, 1).mean == 0.75


def test_the_uniform_distribution_is_exact_enough() -> None:
    uniform = Beta(1, 1)

    assert uniform.cdf(0.3) == pytest.approx(0.3, abs=1e-15)
    assert uniform.log_kernel(0.3) == pytest.approx(math.log(0.3 * 0.7), abs=1e-14)


@given(SHAPES, SHAPES, st.floats(0, 1))
def test_the_tails_add_up_and_mirror_each_other(a: float, b: float, x: float) -> None:
    belief, mirrored = Beta(a, b), Beta(b, a)

    assert belief.cdf(x) + belief.sf(x) == pytest.approx(1, abs=1e-12)
    assert 0 <= belief.cdf(x) <= 1
    if 1e-6 < x < 1 - 1e-6:
        assert belief.cdf(x) == pytest.approx(mirrored.sf(1 - x), abs=1e-10)


@given(st.floats(0.1, 1e5), st.floats(0.1, 1e5), st.floats(1e-6, 1 - 1e-6))
def test_a_quantile_cuts_off_its_share(a: float, b: float, q: float) -> None:
    belief = Beta(a, b)
    x = belief.ppf(q)

    just_below, just_above = x * (1 - 1e-13), min(x * (1 + 1e-13), 1.0)

    assert belief.cdf(just_below) - 1e-9 <= q <= belief.cdf(just_above) + 1e-9


@pytest.mark.parametrize("a", [1e-300, 1e-9, 0.3, 50, 1e9])
@pytest.mark.parametrize("b", [1e-300, 1e-9, 0.3, 50, 1e9])
def test_the_most_extreme_shapes_still_have_quantiles(a: float, b: float) -> None:
    low, high = Beta(a, b).ppf(0.05), Beta(a, b).ppf(0.95)

    assert 0 <= low <= high <= 1


def test_outside_0_to_1_there_is_nothing() -> None:
    belief = Beta(2, 3)

    assert (belief.cdf(-1), belief.sf(0), belief.cdf(1), belief.sf(2)) == (0, 1, 1, 0)
    assert (belief.ppf(0), belief.ppf(1)) == (0, 1)


@pytest.mark.parametrize(("a", "b"), [(0, 1), (1, -1), (math.inf, 1), (math.nan, 1)])
def test_shapes_must_be_finite_and_above_zero(a: float, b: float) -> None:
    with pytest.raises(ValueError, match="needs finite shapes above 0"):
        Beta(a, b)


@pytest.mark.parametrize("q", [-0.1, 1.1, math.nan])
def test_a_quantile_needs_a_share(q: float) -> None:
    with pytest.raises(ValueError, match="a share in 0 to 1"):
        Beta(1, 1).ppf(q)


def test_counts_beyond_reason_are_named_instead_of_computed_for_ever(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(beta, "_MAX_TERMS", 10)

    with pytest.raises(ArithmeticError, match="beyond reason"):
        beta._continued_fraction(1e12, 1e12, 0.5)
