"""Who acts on evidence whenever it suffices is wrong as seldom as promised, and not too late.

Small, from seeds; `python -m tests.bench --only statistics` runs the same simulations at length.
"""

import math
import random
from functools import lru_cache

import pytest

from sharpwave.workers.patterns.evidence import log_evidence_otherwise, log_uplift_evidence
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
