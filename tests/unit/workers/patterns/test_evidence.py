"""Evidence is a function of counts, and bounds how often one errs however often one looks.

The reference numbers come from scipy 1.17.1 (quadrature and root finding, no closed forms of ours)
and from savvi 0.3.1; `tests/bench/scripts/evidence_reference.py` gives them.
"""

import math
import random
from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sharpwave.workers.patterns.evidence import (
    Bin,
    Propensity,
    anytime_interval,
    calibration,
    drift,
    frozen_base,
    frozen_base_below,
    inverse_propensity,
    log_evidence,
    log_evidence_below,
    log_evidence_otherwise,
    log_uplift_evidence,
    probability_greater,
    uplift,
)
from sharpwave.workers.patterns.stated import BINS, Weights, bin_of, squared_error_of, weight_of
from sharpwave.workers.patterns.statistics import Beta

# n, s, base rate, log of the averaged likelihood ratio
ONE_SIDED = [
    (1, 1, 0.5, 0.29546421289383623),
    (20, 20, 0.9, 0.9614702257288235),
    (20, 15, 0.55, 1.394544747382838),
    (200, 144, 0.55, 11.098451993996946),
    (200, 110, 0.55, -3.7761475812602328),
    (200, 20, 0.55, -28.5331620076052),
    (60, 3, 0.02, -0.6967070427935571),
    (1000, 640, 0.6, -0.16869066519404896),
    (5000, 3300, 0.62, 9.227954971434428),
]
# n, s, upper 90 % bound
BOUNDS = [
    (20, 11, 0.7070711148079297),
    (300, 165, 0.5881382545887082),
    (40, 0, 0.055939123714076625),
    (1000, 997, 0.9988974393004678),
]
# four counts, probability that the first rate is greater, log of the ratio
UPLIFTS = [
    ((50, 40, 50, 20), 0.9999795530513093, 5.594013362749706),
    ((5, 5, 5, 0), 0.9989177489177484, 4.040017210564455),
    ((200, 120, 80, 50), 0.35613374852908397, -4.793259258777326),
    ((30, 20, 400, 200), 0.9592090496967204, -2.0943805178637263),
    ((1000, 620, 1000, 550), 0.9992544222453037, -0.7493497763643973),
]
# n, s, log of savvi's odds against 1/2 under a Dirichlet(1, 1), savvi's interval at alpha 0.1
SAVVI = [
    (20, 14, 0.2532771074707831, 0.3992321263253661, 0.9127552287656896),
    (100, 50, -2.0842441128641127, 0.3550880750747644, 0.6449119245079622),
    (250, 175, 17.945865766463953, 0.6046373196313907, 0.7849777356575397),
    (1000, 540, -0.028621822505101584, 0.4874134969445157, 0.5919981016711859),
]
# n, s, alpha, low, high
INTERVALS = [
    (20, 14, 0.1, 0.39923212523868107, 0.9127552341738154),
    (100, 50, 0.05, 0.34459026927787945, 0.6554097307221204),
    (1000, 540, 0.1, 0.48741349533190026, 0.5919981027757725),
    (30, 0, 0.1, 0.0, 0.1740483783295421),
    (30, 30, 0.1, 0.8259516216704579, 1.0),
]
# four counts, low, high at alpha 0.1
DIFFERENCES = [
    ((50, 40, 50, 20), 0.0678915108910042, 0.6748557697604797),
    ((200, 120, 80, 50), -0.24903219381304167, 0.2146222826167289),
    ((30, 20, 400, 200), -0.17312840193959442, 0.4306294374668984),
]

COUNTS = st.integers(0, 400).flatmap(lambda n: st.tuples(st.just(n), st.integers(0, n)))
RATES = st.floats(0.01, 0.99)


# Evidence


@pytest.mark.parametrize(("n", "s", "base_rate", "expected"), ONE_SIDED)
def test_evidence_is_the_averaged_likelihood_over_that_of_the_base_rate(
    n: int, s: int, base_rate: float, expected: float
) -> None:
    assert log_evidence(n, s, base_rate) == pytest.approx(expected, rel=1e-9, abs=1e-9)


@given(RATES)
def test_without_an_outcome_there_is_no_evidence(base_rate: float) -> None:
    assert log_evidence(0, 0, base_rate) == log_evidence_below(0, 0, base_rate) == 0


@given(COUNTS, RATES)
def test_the_next_outcome_adds_nothing_on_average_where_the_rate_is_the_base_rate(
    counts: tuple[int, int], base_rate: float
) -> None:
    n, s = counts
    now = log_evidence(n, s, base_rate)
    success = math.exp(log_evidence(n + 1, s + 1, base_rate) - now)
    failure = math.exp(log_evidence(n + 1, s, base_rate) - now)

    assert base_rate * success + (1 - base_rate) * failure == pytest.approx(1, rel=1e-9)
    # So below the base rate it takes away.
    assert success > failure


@given(COUNTS, RATES)
def test_to_avoid_is_the_mirror_of_to_follow(counts: tuple[int, int], base_rate: float) -> None:
    n, s = counts

    assert log_evidence_below(n, s, base_rate) == log_evidence(n, n - s, 1 - base_rate)


@pytest.mark.parametrize("n", [10**6, 10**9, 10**10, 10**12, 10**15])
@pytest.mark.parametrize("share", [0.0, 0.5, 0.5501, 1.0])
def test_extreme_counts_give_finite_evidence(n: int, share: float) -> None:
    s = int(n * share)

    for figure in (
        log_evidence(n, s, 0.55),
        log_evidence_below(n, s, 0.55),
        log_evidence(n, s, 0.001),
        log_evidence(n, s, 0.999),
        log_uplift_evidence(n, s, 10, 5),
        log_uplift_evidence(10, 5, n, s),
        *anytime_interval(n, s),
        log_uplift_evidence(n, s, n, s),
        frozen_base(n, s),
    ):
        assert math.isfinite(figure)


def test_approximated_tails_continue_the_exact_ones(monkeypatch: pytest.MonkeyPatch) -> None:
    belief = Beta(6e7, 4e7)
    rates = [0.5996, 0.5999, 0.6, 0.60005, 0.6003, 0.61]
    exact = [belief.log_sf(rate) for rate in rates]

    monkeypatch.setattr("sharpwave.workers.patterns.statistics._NORMAL_FROM", 1e6)

    assert [belief.log_sf(rate) for rate in rates] == pytest.approx(exact, rel=1e-3, abs=1e-4)


@pytest.mark.parametrize(("n", "s"), [(-1, 0), (3, 4), (3, -1)])
@pytest.mark.parametrize(
    "ask",
    [
        lambda n, s: log_evidence(n, s, 0.5),
        lambda n, s: log_evidence_below(n, s, 0.5),
        lambda n, s: log_evidence_otherwise(n, s, 0.5),
        frozen_base,
        frozen_base_below,
        anytime_interval,
        lambda n, s: uplift(n, s, 5, 2),
        lambda n, s: uplift(5, 2, n, s),
        lambda n, s: drift([("2025-10-01", n, s)], 0.5),
    ],
)
def test_impossible_counts_are_refused(ask: Callable[[int, int], object], n: int, s: int) -> None:
    with pytest.raises(ValueError, match="impossible"):
        ask(n, s)


@pytest.mark.parametrize("base_rate", [0, 1, -0.2, math.nan])
def test_a_base_rate_of_zero_or_one_is_refused(base_rate: float) -> None:
    with pytest.raises(ValueError, match="strictly between 0 and 1"):
        log_evidence(10, 5, base_rate)


# The base rate to beat


@pytest.mark.parametrize(("n", "s", "bound"), BOUNDS)
def test_the_frozen_base_is_the_exact_upper_bound(n: int, s: int, bound: float) -> None:
    assert frozen_base(n, s) == pytest.approx(bound, abs=1e-9)
    assert frozen_base_below(n, n - s) == pytest.approx(1 - bound, abs=1e-9)


@pytest.mark.parametrize("n", [0, 1, 50])
def test_a_frozen_base_can_be_beaten(n: int) -> None:
    assert frozen_base(n, n) == 0.999
    assert frozen_base_below(n, 0) == pytest.approx(0.001)


# Interval


@pytest.mark.parametrize(("n", "s", "alpha", "low", "high"), INTERVALS)
def test_the_interval_ends_where_the_averaged_likelihood_outweighs_a_rate(
    n: int, s: int, alpha: float, low: float, high: float
) -> None:
    assert anytime_interval(n, s, alpha) == pytest.approx((low, high), abs=1e-9)


@pytest.mark.parametrize(("n", "s", "log_odds", "low", "high"), SAVVI)
def test_savvi_finds_the_same_evidence_and_interval(
    n: int, s: int, log_odds: float, low: float, high: float
) -> None:
    assert log_evidence_otherwise(n, s, 0.5) == pytest.approx(log_odds, abs=1e-9)
    assert anytime_interval(n, s, 0.1) == pytest.approx((low, high), abs=1e-6)


@given(COUNTS, RATES)
def test_the_interval_holds_what_evidence_has_not_refuted(
    counts: tuple[int, int], rate: float
) -> None:
    n, s = counts
    low, high = anytime_interval(n, s, 0.1)
    distance = log_evidence_otherwise(n, s, rate) - math.log(10)

    if abs(distance) > 1e-6:
        assert (low <= rate <= high) == (distance < 0)
    assert 0 <= low <= (s / n if n else 0.5) <= high <= 1


def test_without_an_outcome_any_rate_is_possible() -> None:
    assert anytime_interval(0, 0) == (0, 1)


# Uplift


@pytest.mark.parametrize(("counts", "greater", "expected"), UPLIFTS)
def test_uplift_evidence_is_the_averaged_likelihood_over_the_best_without_uplift(
    counts: tuple[int, int, int, int], greater: float, expected: float
) -> None:
    n, s, m, t = counts

    assert probability_greater(Beta(1 + s, 1 + n - s), Beta(1 + t, 1 + m - t)) == pytest.approx(
        greater, abs=1e-10
    )
    assert log_uplift_evidence(*counts) == pytest.approx(expected, abs=1e-8)


@given(COUNTS, COUNTS)
def test_one_of_two_rates_is_the_greater(one: tuple[int, int], other: tuple[int, int]) -> None:
    first, second = (Beta(1 + s, 1 + n - s) for n, s in (one, other))

    both = probability_greater(first, second) + probability_greater(second, first)

    assert both == pytest.approx(1, abs=1e-9)


@pytest.mark.parametrize(("counts", "low", "high"), DIFFERENCES)
def test_the_interval_of_the_uplift_holds_the_pairs_that_are_not_refuted(
    counts: tuple[int, int, int, int], low: float, high: float
) -> None:
    found = uplift(*counts)

    assert found is not None
    assert found.interval == pytest.approx((low, high), abs=1e-7)
    assert found.difference == counts[1] / counts[0] - counts[3] / counts[2]


@pytest.mark.parametrize("counts", [(4, 4, 100, 50), (100, 50, 4, 0), (0, 0, 0, 0)])
def test_an_uplift_of_few_outcomes_is_unknown(counts: tuple[int, int, int, int]) -> None:
    assert uplift(*counts) is None


@given(COUNTS, COUNTS)
def test_an_uplift_stays_in_its_ranges(one: tuple[int, int], other: tuple[int, int]) -> None:
    found = uplift(*one, *other)

    if found:
        assert -1 <= found.interval[0] <= found.difference <= found.interval[1] <= 1
        assert math.isfinite(found.log_evidence)
        if found.log_evidence > math.log(2 / 0.1):
            assert found.interval[0] > 0


# Inverse propensity

SHARES = st.lists(st.tuples(st.integers(1, 10_000), st.booleans()), max_size=40)


def added(shares: list[tuple[int, bool]]) -> Weights:
    return sum((Weights.of(*share) for share in shares), Weights())


@given(SHARES, st.randoms(use_true_random=False), st.integers(0, 40))
def test_weights_merge_in_any_order_and_grouping(
    shares: list[tuple[int, bool]], chance: random.Random, cut: int
) -> None:
    shuffled = list(shares)
    chance.shuffle(shuffled)

    assert added(shuffled[:cut]) + added(shuffled[cut:]) == added(shares)


def test_a_weight_is_one_over_the_probability() -> None:
    assert [weight_of(p) for p in (10_000, 5_000, 3_000, 1)] == [10**4, 2 * 10**4, 33_333, 10**8]


@pytest.mark.parametrize("selection_prob", [0, -5, 10_001])
def test_what_was_impossible_has_no_weight(selection_prob: int) -> None:
    with pytest.raises(ValueError, match="selection probability"):
        weight_of(selection_prob)


def test_always_is_estimated_from_those_who_drew_it() -> None:
    weights = added([(2_500, True), (5_000, False), (5_000, True), (10_000, False)])

    assert inverse_propensity(weights) == Propensity((4 + 2) / 9, 4, 81 / (16 + 4 + 4 + 1))
    assert inverse_propensity(Weights()) is None


def test_equal_weights_are_worth_their_number() -> None:
    estimate = inverse_propensity(added([(3_000, True)] * 7))

    assert estimate is not None
    assert estimate.n_eff == pytest.approx(7)


def test_without_squared_weights_their_worth_is_unknown() -> None:
    assert inverse_propensity(Weights(2, 60_000, 20_000)) == Propensity(1 / 3, 2, None)


def test_lots_that_favour_the_lucky_do_not_bias_the_estimate() -> None:
    chance, weights = random.Random(3), Weights()
    for _ in range(20_000):
        # Where things go well anyhow, applying is drawn more often.
        goes_well = chance.random() < 0.5
        drawn = 8_000 if goes_well else 2_000
        if chance.random() < drawn / 10_000:
            weights += Weights.of(drawn, chance.random() < (0.9 if goes_well else 0.3))

    estimate = inverse_propensity(weights)

    assert estimate is not None
    assert estimate.rate == pytest.approx(0.6, abs=0.02)  # and not 0.78


# Drift

KEPT = [(f"2025-10-{day:02}", 8, 6) for day in range(1, 31)]
FALLEN = [(f"2025-11-{day:02}", 8, 3) for day in range(1, 31)]


def test_a_kept_promise_raises_nothing() -> None:
    found = drift(KEPT, 0.62)

    assert (found.degraded_on, found.retired_on) == (None, None)
    assert found.log_futility < 0
    assert [day for day, _ in found.days] == [day for day, _, _ in KEPT]


def test_a_fall_degrades_and_then_retires() -> None:
    found = drift(KEPT + FALLEN, 0.62)

    assert found.degraded_on is not None
    assert found.retired_on is not None
    assert "2025-11-05" <= found.degraded_on < found.retired_on <= "2025-11-20"


def test_the_detector_sums_the_evidence_of_all_starts_in_the_window() -> None:
    days = [("2025-10-01", 4, 1), ("2025-10-02", 3, 1), ("2025-12-01", 5, 2)]

    found = dict(drift(days, 0.6, window_days=61).days)

    assert found["2025-10-01"] == log_evidence_below(4, 1, 0.6)
    assert math.exp(found["2025-10-02"]) == pytest.approx(
        math.exp(log_evidence_below(7, 2, 0.6)) + math.exp(log_evidence_below(3, 1, 0.6))
    )
    assert math.exp(found["2025-12-01"]) == pytest.approx(
        math.exp(log_evidence_below(8, 3, 0.6)) + math.exp(log_evidence_below(5, 2, 0.6))
    )


def test_counts_that_speak_against_the_promise_retire_without_the_detector() -> None:
    found = drift(FALLEN, 0.62, retired_at=math.inf)

    assert found.retired_on is not None
    assert found.log_futility > math.log(10)


@given(st.randoms(use_true_random=False))
def test_days_come_in_any_order_and_in_parts(chance: random.Random) -> None:
    parts = [
        part for day, n, s in FALLEN[:9] for part in ((day, n - 2, s - 1), (day, 2, 1), (day, 0, 0))
    ]
    chance.shuffle(parts)

    assert drift(parts, 0.62) == drift(FALLEN[:9], 0.62)


def test_days_judged_before_still_count_as_starts() -> None:
    whole = drift(KEPT + FALLEN, 0.62)
    rest = drift(KEPT + FALLEN, 0.62, judge_from="2025-11-10")

    assert rest.days == whole.days[-21:]
    assert rest.log_futility == whole.log_futility
    assert (rest.degraded_on, rest.retired_on) >= ("2025-11-10", "2025-11-10")


def test_without_outcomes_there_is_nothing_to_watch() -> None:
    found = drift([("2025-10-01", 0, 0)], 0.6)

    assert (found.days, found.degraded_on, found.log_futility) == ((), None, 0)


# Calibration


def test_confidences_are_judged_by_their_bins() -> None:
    stated = [(9_000, True), (9_500, True), (9_200, False), (4_000, False), (10_000, True)]
    bins = [[0, 0, 0] for _ in range(BINS)]
    for confidence, success in stated:
        tally = bins[bin_of(confidence)]
        tally[0] += 1
        tally[1] += success
        tally[2] += confidence
    squared_error = sum(squared_error_of(*each) for each in stated)

    found = calibration([(n, s, c) for n, s, c in bins], squared_error)

    assert found is not None
    assert found.n == 5
    assert found.brier == pytest.approx((0.1**2 + 0.05**2 + 0.92**2 + 0.4**2) / 5)
    assert found.ece == pytest.approx((0.4 + 4 * (0.9425 - 0.75)) / 5)
    assert found.bins == (Bin(0.4, 1, 0.4, 0.0), Bin(0.9, 4, 0.9425, 0.75))


def test_a_bin_is_a_tenth_and_certainty_belongs_to_the_last() -> None:
    assert [bin_of(c) for c in (0, 999, 1_000, 8_999, 9_000, 10_000)] == [0, 0, 1, 8, 9, 9]


def test_without_an_outcome_nothing_is_calibrated() -> None:
    assert calibration([(0, 0, 0)] * BINS, 0) is None
