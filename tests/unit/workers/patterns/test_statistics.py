"""A pattern's figures are a pure function of its counts per day and its base rate.

The Beta distribution agrees with scipy 1.17.1 to 1e-10, from tiny shapes to a million.
"""

import math
import random
from statistics import stdev

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sharpwave.workers.patterns import statistics
from sharpwave.workers.patterns.counts import Counts
from sharpwave.workers.patterns.statistics import (
    BaseRate,
    Beta,
    Figures,
    confidence,
    decayed,
    interval,
    overdue,
    posterior,
    quality_mean,
    quality_sd,
    success_rate,
    sum_up,
)


def counts(n: int, s: int, pending: int = 0) -> Counts:
    return Counts(
        n=n,
        s=s,
        q_sum=8000 * n,
        q_n=n,
        applied=n // 2,
        applied_s=s // 2,
        pending=pending,
        units=n,
        q_sq=8000**2 * n,
    )


DAYS = {"2025-10-04": counts(40, 30), "2025-10-18": counts(23, 18, pending=2)}

SOME_DAYS = st.dictionaries(
    st.dates().map(lambda day: day.isoformat()),
    st.tuples(st.integers(0, 500), st.floats(0, 1)).map(lambda c: counts(c[0], int(c[0] * c[1]))),
    max_size=8,
)


def test_a_day_weighs_half_after_each_half_life() -> None:
    assert decayed(DAYS, "2025-10-18", 14.0) == (18 + 30 / 2, 23 + 40 / 2)
    assert decayed(DAYS, "2025-11-01", 14.0) == (18 / 2 + 30 / 4, 23 / 2 + 40 / 4)


def test_of_a_gap_without_evidence_at_most_one_half_life_counts() -> None:
    long = {"2025-01-01": counts(40, 30), "2025-10-18": counts(23, 18)}
    twice = {**long, "2024-01-01": counts(8, 4)}

    assert decayed(long, "2025-10-18", 14.0) == (18 + 30 / 2, 23 + 40 / 2)
    assert decayed(twice, "2025-10-18", 14.0) == (18 + 30 / 2 + 4 / 4, 23 + 40 / 2 + 8 / 4)
    assert decayed(long, "2026-10-18", 14.0) == (18 / 2 + 30 / 4, 23 / 2 + 40 / 4)


def test_a_day_without_an_outcome_is_no_evidence_that_a_gap_ends_at() -> None:
    waiting = {**DAYS, "2025-10-11": Counts(pending=5)}

    assert decayed(waiting, "2025-10-18", 10.0) == decayed(DAYS, "2025-10-18", 10.0)


@pytest.mark.parametrize("absurd", [counts(1, 0), Counts(pending=1)])
@pytest.mark.parametrize("day", ["9999-12-31", "2026-10-18", "1970-01-01"])
def test_one_absurd_day_halves_and_never_wipes(day: str, absurd: Counts) -> None:
    before = sum_up({"2025-10-18": counts(200, 150)}, base=BaseRate())

    after = sum_up({"2025-10-18": counts(200, 150), day: absurd}, base=BaseRate())

    assert before.n_eff == 200
    assert 100 <= after.n_eff <= 201
    assert after.confidence > 0.99


@given(SOME_DAYS, st.dates().map(lambda day: day.isoformat()))
def test_no_day_takes_more_than_half_of_the_evidence(days: dict[str, Counts], day: str) -> None:
    before = sum_up(days, base=BaseRate())
    after = sum_up({day: counts(1, 1), **days}, base=BaseRate())

    assert after.n_eff >= before.n_eff / 2


def test_days_after_the_day_asked_for_are_left_out() -> None:
    assert decayed(DAYS, "2025-10-05", math.inf) == (30, 40)


@pytest.mark.parametrize("half_life_days", [0, -1, math.nan])
def test_a_half_life_lies_above_zero(half_life_days: float) -> None:
    with pytest.raises(ValueError, match="must be above 0"):
        decayed(DAYS, "2025-10-18", half_life_days)


def test_the_prior_weighs_four_outcomes_at_the_base_rate() -> None:
    assert posterior(0, 0, 0.25) == Beta(1.0, 3.0)
    assert posterior(18, 23, 0.5) == Beta(20.0, 7.0)
    assert posterior(18, 23, 0.5, k=2) == Beta(19.0, 6.0)


def test_confidence_is_the_probability_to_beat_the_base_rate_by_the_minimum_lift() -> None:
    belief = posterior(18, 23, 0.5)

    assert confidence(belief, 0.5) == belief.sf(0.55)
    # scipy 1.17.1: scipy.stats.beta.sf(0.55, 20, 7)
    assert confidence(belief, 0.5) == pytest.approx(0.9819658129045977, abs=1e-10)


def test_a_bar_above_one_is_lowered_to_where_it_can_still_be_met() -> None:
    assert confidence(Beta(1e6, 1.0), 0.97, 0.05) == Beta(1e6, 1.0).sf(0.999) > 0.99


def test_the_interval_leaves_equal_shares_outside() -> None:
    belief = posterior(18, 23, 0.5)

    low, high = interval(belief)

    # scipy 1.17.1: scipy.stats.beta.ppf([0.05, 0.95], 20, 7)
    assert (low, high) == pytest.approx((0.5946461655688338, 0.8662258743554809), abs=1e-10)
    assert interval(belief, 0.5) == (belief.ppf(0.25), belief.ppf(0.75))


@pytest.mark.parametrize("level", [0, 1, 1.5])
def test_an_interval_covers_some_but_not_all(level: float) -> None:
    with pytest.raises(ValueError, match="strictly between 0 and 1"):
        interval(Beta(1, 1), level)


def test_the_base_rate_is_the_smoothed_rate_of_decisions_outside_the_pattern() -> None:
    base = BaseRate.of_complement(counts(123, 68), counts(23, 18))

    assert base == BaseRate(51 / 102, 100)


def test_below_20_decisions_outside_the_pattern_the_stored_rate_stands() -> None:
    ledger, pattern = counts(42, 30), counts(23, 18)

    assert BaseRate.of_complement(ledger, pattern, stored=0.6) == BaseRate(0.6)
    assert BaseRate.of_complement(ledger, pattern) == BaseRate(0.5)
    assert BaseRate.of_complement(counts(43, 30), pattern, stored=0.6) == BaseRate(13 / 22, 20)


def test_a_base_ledger_that_lags_behind_gives_no_negative_counts() -> None:
    assert BaseRate.of_complement(counts(10, 5), counts(23, 18)) == BaseRate(0.5)
    assert BaseRate.of_complement(counts(50, 10), counts(20, 18)) == BaseRate(1 / 32, 30)
    assert BaseRate.of_complement(counts(50, 45), counts(20, 0)) == BaseRate(31 / 32, 30)


@pytest.mark.parametrize("rate", [0, 1, -0.1, math.nan])
def test_a_base_rate_of_zero_or_one_is_refused(rate: float) -> None:
    with pytest.raises(ValueError, match="strictly between 0 and 1"):
        BaseRate(rate)


def test_a_report_names_rate_interval_and_confidence_apart() -> None:
    belief = Beta(2 + 33, 2 + 10)

    assert sum_up(DAYS, base=BaseRate(0.5)) == Figures(
        n=63,
        successes=48,
        rate=48 / 63,
        interval=interval(belief),
        confidence=belief.sf(0.55),
        n_eff=43.0,
        base_rate=0.5,
        quality_mean=0.8,
        applied=31,
        unresolved=2,
        as_of="2025-10-18",
        due_before="2025-10-17",
        waiting=(("2025-10-18", 2),),
        quality_sd=0.0,
    )


@given(st.lists(st.integers(0, 10_000), min_size=2))
def test_the_spread_of_quality_is_exact(qualities: list[int]) -> None:
    found = Counts(
        n=len(qualities),
        q_n=len(qualities),
        q_sum=sum(qualities),
        q_sq=sum(each * each for each in qualities),
    )

    assert quality_sd(found) == pytest.approx(stdev(qualities) / 10_000, rel=1e-12)


@pytest.mark.parametrize(
    "unknown",
    [
        Counts(n=1, q_n=1, q_sum=5, q_sq=25),
        Counts(n=2, q_n=2, q_sum=5, q_sq=None),
        Counts(n=2, q_n=2, q_sum=5),
    ],
)
def test_of_one_quality_or_without_squares_the_spread_is_unknown(unknown: Counts) -> None:
    assert quality_sd(unknown) is None


@pytest.mark.parametrize(
    ("horizon_s", "late"), [(0, 6), (1, 4), (86_400, 4), (86_401, 0), (10**9, 0)]
)
def test_a_horizon_counts_in_whole_days_rounded_up(horizon_s: int, late: int) -> None:
    days = {
        "2025-10-16": counts(1, 1, 4),
        "2025-10-17": counts(0, 0, 2),
        "2025-10-18": counts(1, 0, 1),
    }

    assert overdue(days, "2025-10-18", horizon_s) == late


def test_half_life_and_minimum_lift_reach_the_figures() -> None:
    undecayed = sum_up(DAYS, base=BaseRate(0.5), half_life_days=math.inf, min_lift=0.1)

    assert undecayed.n_eff == 63
    assert undecayed.confidence == Beta(2 + 48, 2 + 15).sf(0.6)


@pytest.mark.parametrize("days", [{}, {"2025-10-18": Counts()}])
def test_without_a_decision_the_report_is_the_prior(days: dict[str, Counts]) -> None:
    nothing = sum_up(days, base=BaseRate(0.3))

    assert (nothing.n, nothing.rate, nothing.quality_mean, nothing.as_of) == (0, None, None, None)
    assert nothing.confidence == Beta(4 * 0.3, 4 * 0.7).sf(0.35)


def test_a_report_is_as_of_the_latest_day_with_a_decision() -> None:
    later = DAYS | {"2025-10-20": counts(0, 0, pending=1), "2025-10-25": Counts()}

    assert sum_up(later, base=BaseRate()).as_of == "2025-10-20"


@given(SOME_DAYS, st.randoms(use_true_random=False))
def test_equal_counts_give_identical_floats(days: dict[str, Counts], chance: random.Random) -> None:
    shuffled = list(days.items())
    chance.shuffle(shuffled)

    assert sum_up(dict(shuffled), base=BaseRate(0.4)) == sum_up(days, base=BaseRate(0.4))


@given(SOME_DAYS)
def test_a_report_stays_in_its_ranges(days: dict[str, Counts]) -> None:
    figures = sum_up(days, base=BaseRate(0.4))

    assert 0 <= figures.interval[0] < figures.interval[1] <= 1
    assert 0 <= figures.confidence <= 1
    assert 0 <= figures.n_eff <= figures.n


@given(st.integers(0, 300), st.integers(0, 300))
def test_a_success_raises_confidence_and_a_failure_lowers_it(s: int, failures: int) -> None:
    def given_outcomes(s: int, failures: int) -> float:
        return confidence(posterior(s, s + failures, 0.5), 0.5)

    now = given_outcomes(s, failures)

    assert given_outcomes(s, failures + 1) <= now + 1e-12
    assert given_outcomes(s + 1, failures) >= now - 1e-12


def test_rates_of_nothing_are_unknown() -> None:
    assert (success_rate(Counts()), quality_mean(Counts())) == (None, None)


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
    monkeypatch.setattr(statistics, "_MAX_TERMS", 10)

    with pytest.raises(ArithmeticError, match="beyond reason"):
        statistics._continued_fraction(1e12, 1e12, 0.5)
