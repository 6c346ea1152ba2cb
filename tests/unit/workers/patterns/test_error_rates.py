"""Who acts on evidence whenever it suffices is wrong as seldom as promised, and not too late.

Small, from seeds; `python -m tests.bench --only statistics,lives` runs the same at length.
"""

import math
import random
from functools import lru_cache

import pytest

from sharpwave.workers.patterns.evidence import log_evidence_otherwise, log_uplift_evidence
from tests.bench.lives import (
    CASES,
    FALLEN,
    LATE_DAYS,
    LIVED,
    NAIVE,
    THUMBS,
    Lag,
    censored,
    falls,
    years,
)
from tests.bench.results import OURS
from tests.bench.statistics import (
    ALPHA,
    BASE,
    FROZEN_BASE,
    KEPT,
    LIFT,
    NAIVE_BASE,
    RULES,
    UNIFORM_POWER,
    drifting,
    fall,
    looks,
    many,
    online,
)


def promoted(who: str, rate: float, runs: int = 1_500) -> float:
    found = looks(RULES[who], rate, runs, random.Random(f"{who} {rate}"))["promoted_percent"]
    return found or 0.0


def test_looking_after_every_outcome_promotes_as_seldom_as_promised() -> None:
    assert promoted(OURS, BASE) <= 100 * ALPHA
    assert promoted(OURS, BASE - 0.02) <= 2.5


@pytest.mark.parametrize("who", [who for who in RULES if who != OURS])
def test_rules_of_thumb_do_not(who: str) -> None:
    assert promoted(who, BASE) > 3 * 100 * ALPHA


@pytest.mark.parametrize(("rate", "least_percent", "n"), [(0.65, 90, 152), (0.7, 99, 67)])
def test_what_is_real_is_promoted_in_time(rate: float, least_percent: float, n: int) -> None:
    found = looks(RULES[OURS], rate, 1_000, random.Random(f"real {rate}"))

    assert (found["promoted_percent"] or 0) >= least_percent
    assert (found["median_n"] or 400) <= n


@pytest.mark.parametrize(("n", "rate"), [(90, 0.72), (200, 0.68)])
def test_of_many_few_are_false_and_more_are_found_than_by_uniform_weights(
    n: int, rate: float
) -> None:
    found = many(n, rate, 25, random.Random(f"{n} {rate}"))

    assert (found[OURS]["fdr_percent"] or 0) <= 100 * ALPHA
    assert (found[OURS]["power_percent"] or 0) >= UNIFORM_POWER[n, rate]
    assert (found[OURS]["power_percent"] or 0) >= (found["e-BH"]["power_percent"] or 0)
    assert (found["rate > base + .05"]["fdr_percent"] or 0) > 100 * ALPHA


@pytest.mark.parametrize("shared", [0.0, 0.8])
def test_of_those_promoted_for_good_few_were_ever_false(shared: float) -> None:
    found = online(12, random.Random(f"online {shared}"), shared, every=20)

    assert (found[OURS]["fdr_percent"] or 0) <= 100 * ALPHA
    assert (found[OURS]["power_percent"] or 0) > (found["e-LOND"]["power_percent"] or 0) > 40


def test_an_interval_holds_the_rate_at_all_times_together() -> None:
    chance, runs, missed = random.Random("interval"), 800, 0
    refutes = lru_cache(maxsize=None)(
        lambda n, s: log_evidence_otherwise(n, s, 0.62) >= -math.log(ALPHA)
    )
    for _ in range(runs):
        s = 0
        for n in range(1, 201):
            s += chance.random() < 0.62
            if refutes(n, s):
                missed += 1
                break

    assert missed <= ALPHA * runs


def test_without_uplift_none_is_found_even_if_arms_are_chosen_by_their_luck() -> None:
    chance, runs, found = random.Random("uplift"), 120, 0
    for _ in range(runs):
        counts = [[5, 3], [5, 3]]
        for moment in range(1, 201):
            rates = [s / n for n, s in counts]
            arm = rates.index(max(rates)) if chance.random() < 0.8 else chance.randrange(2)
            counts[arm][0] += 1
            counts[arm][1] += chance.random() < 0.6
            # The first ten were given, so they are no evidence.
            (n, s), (m, t) = ((n - 5, s - 3) for n, s in counts)
            if moment % 20 == 0 and log_uplift_evidence(n, s, m, t) >= -math.log(ALPHA):
                found += 1
                break

    assert found <= ALPHA * runs


@pytest.mark.parametrize("market", ["swings by .12 in 300 days", "rises by .2 in a year"])
def test_a_base_that_drifts_promotes_nothing_where_frozen_and_naive_ones_do(market: str) -> None:
    nothing = drifting(market, 0.0, 30, every=14)

    assert (nothing[OURS]["promoted_percent"] or 0) <= 10
    assert all((nothing[who]["promoted_percent"] or 0) > 10 for who in (FROZEN_BASE, NAIVE_BASE))


def test_a_base_frozen_in_a_better_market_is_blind_and_a_trailing_one_is_not() -> None:
    real = drifting("rough start", LIFT, 12, every=14)

    assert real[OURS]["promoted_percent"] == 100
    assert (real[FROZEN_BASE]["promoted_percent"] or 0) < 60


def test_a_kept_promise_is_hardly_ever_doubted_and_a_drop_noticed_within_two_weeks() -> None:
    kept = fall(KEPT, 15, random.Random("kept"))
    dropped = fall(0.50, 80, random.Random("dropped"), watched_days=40)

    assert kept["degraded_in_a_year_percent"] == kept["retired_percent"] == 0
    assert dropped["degraded_in_60_days_before_percent"] == 0
    assert (dropped["degraded_in_a_year_percent"] or 0) >= 98
    assert (dropped["median_days"] or 365) <= 14


@pytest.mark.parametrize("lag", [Lag(), Lag(LATE_DAYS, said=LATE_DAYS)], ids=["at once", "late"])
def test_a_life_that_keeps_its_promise_is_not_doubted_even_if_successes_come_late(lag: Lag) -> None:
    found = years(4, random.Random("kept"), 8, lag, days=120)

    assert found[OURS]["doubted_per_100_years"] == found[OURS]["retired_per_100_years"] == 0


def test_a_life_that_breaks_its_promise_is_degraded_within_two_weeks() -> None:
    found = falls(FALLEN, 6, random.Random("fallen"), kept_days=20, watched_days=40)

    assert found[OURS]["noticed_percent"] == 100
    assert (found[OURS]["median_days"] or 365) <= 14
    assert found[OURS]["doubted_before_percent"] == 0


def test_a_promise_of_its_own_grows_until_a_fall_is_seen_as_soon() -> None:
    found = falls(FALLEN, 3, random.Random("grown"), kept_days=90, watched_days=40)

    assert found[LIVED]["doubted_before_percent"] == 0
    assert (found[LIVED]["median_days"] or 365) <= 21
    assert (found[LIVED]["mean_promise"] or 0) > 0.58


def test_a_rate_of_thirty_days_doubts_more_often_where_outcomes_are_few() -> None:
    found = years(3, random.Random("few"), 2, days=240)

    theirs = found["30 days' rate < promise"]["doubted_per_100_years"] or 0
    assert theirs > 10 * (found[OURS]["doubted_per_100_years"] or 0) + 100
    assert set(found) == {OURS, LIVED, *THUMBS}


@pytest.mark.parametrize(
    "case",
    ["failures come 10 days late", "3 failures in 10 never come", "5 failures in 10 never come"],
)
def test_failures_that_are_missing_promote_nothing(case: str) -> None:
    """What is missing shows, and the rate of all lies within what it may have been."""
    runs = 12
    found = censored(*CASES[case], runs, random.Random(case))
    ours, left_out = found[OURS], found[NAIVE["leave out"]]

    assert (ours["promoted_percent"] or 0) <= 100 * (0.1 + 2 * math.sqrt(0.09 / runs))
    assert left_out["promoted_percent"] == 100
    assert (ours["unresolved_percent"] or 0) >= (ours["overdue_percent"] or 0) > 5
    assert (ours["least_rate"] or 1) - 0.02 < BASE < (ours["mean_rate"] or 0)


def test_outcomes_that_are_missing_whatever_they_are_bias_no_rate() -> None:
    found = censored(*CASES["3 in 10 never come, whatever they are"], 8, random.Random("any"))

    assert found[OURS]["mean_rate"] == pytest.approx(BASE, abs=0.03)
    assert found[OURS]["unresolved_percent"] == pytest.approx(30, abs=4)
    assert (found[NAIVE["fail"]]["mean_rate"] or 1) < BASE - 0.1


def test_what_is_real_is_promoted_though_failures_are_missing() -> None:
    case = "0.72: 3 failures in 10 never come"
    found = censored(*CASES[case], 6, random.Random(case), days=30)

    assert found[OURS]["promoted_percent"] == 100
