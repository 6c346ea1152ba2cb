"""Of the candidates that are promoted few are wrong, however they depend on each other."""

import math
from itertools import chain, combinations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sharpwave.workers.patterns.multiplicity import (
    closed_e_bh,
    e_bh,
    e_lond_level,
    online_closure,
    share,
    spent,
)

LOGS = st.lists(st.floats(-6, 9), max_size=7)
ALPHAS = st.sampled_from([0.05, 0.1, 0.3])


def subsets(of: list[int]) -> chain[tuple[int, ...]]:
    return chain.from_iterable(combinations(of, size) for size in range(len(of) + 1))


def passes(promoted: tuple[int, ...], log_e: list[float], alpha: float) -> bool:
    """Say by definition whether a set is one of closed e-BH's."""
    return all(
        math.fsum(math.exp(log_e[i]) for i in some) / len(some)
        >= len({*some} & {*promoted}) / (alpha * len(promoted)) * (1 - 1e-9)
        for some in subsets(list(range(len(log_e))))
        if some
    )


def test_e_bh_asks_the_kth_greatest_for_m_over_k_alpha() -> None:
    log_e = [math.log(e) for e in (39, 1, 21, 14, 0.5)]

    assert e_bh(log_e, 0.1) == []
    assert e_bh([*log_e[:2], math.log(25), *log_e[3:]], 0.1) == [0, 2]
    assert e_bh([math.log(50), 0, 0, 0, 0], 0.1) == [0]


@given(LOGS, ALPHAS)
def test_closed_e_bh_promotes_the_largest_set_that_passes(log_e: list[float], alpha: float) -> None:
    found = closed_e_bh(log_e, alpha)
    largest = max(
        (
            len(some)
            for some in subsets(list(range(len(log_e))))
            if some and passes(some, log_e, alpha)
        ),
        default=0,
    )

    assert len(found) == largest
    assert not found or passes(tuple(found), log_e, alpha)


@given(st.lists(st.floats(-6, 12), max_size=40), ALPHAS)
def test_closed_e_bh_finds_what_e_bh_finds_and_more(log_e: list[float], alpha: float) -> None:
    assert {*e_bh(log_e, alpha)} <= {*closed_e_bh(log_e, alpha)}


def test_closed_e_bh_finds_more() -> None:
    log_e = [math.log(e) for e in (25, 13, 0.5)]

    assert (e_bh(log_e, 0.1), closed_e_bh(log_e, 0.1)) == ([], [0, 1])


@pytest.mark.parametrize("promote", [e_bh, closed_e_bh])
def test_nothing_comes_of_nothing(promote: object) -> None:
    assert callable(promote)
    assert promote([], 0.05) == promote([0.0, -3.0], 0.05) == []
    assert promote([1e9, -1e9], 0.05) == [0]


def test_the_shares_of_all_candidates_add_up_to_at_most_one() -> None:
    # What is left after the first j is at most the integral, 1 / log(j).
    assert 0.99 < spent(100_000) + share(1) * math.log(2) ** 2 / math.log(100_000.5) <= 1


def test_a_bar_falls_with_promotions_and_rises_with_candidates() -> None:
    assert e_lond_level(1, 0, 0.1) == 0.1 * share(1)
    assert e_lond_level(7, 3, 0.1) == 4 * e_lond_level(7, 0, 0.1)
    assert e_lond_level(8, 0, 0.1) < e_lond_level(7, 0, 0.1)


def stands(log_e: dict[int, float], alpha: float, last: int) -> bool:
    """Say by definition whether a set is one of the online closure's, over numbers up to `last`."""
    return all(
        math.fsum(
            share(sum(other <= number for other in some)) * math.exp(log_e[number])
            for number in some
            if number in log_e
        )
        >= len({*some} & log_e.keys()) / (alpha * len(log_e)) * (1 - 1e-9) - 1e-9
        for some in subsets(list(range(1, last + 1)))
        if some
    )


@given(st.lists(st.floats(-3, 9), min_size=1, max_size=7), ALPHAS)
def test_what_the_online_closure_promotes_passes_by_definition(
    log_e: list[float], alpha: float
) -> None:
    waiting = dict(enumerate(log_e, start=1))

    promoted = online_closure({}, waiting, alpha)

    if promoted:
        assert stands({number: waiting[number] for number in promoted}, alpha, len(log_e))
    elif len(log_e) < 6:
        assert not any(stands({number: waiting[number]}, alpha, len(log_e)) for number in waiting)


LOOKS = st.lists(st.lists(st.floats(-2, 12), min_size=12, max_size=12), min_size=1, max_size=6)


@given(LOOKS, ALPHAS)
def test_the_online_closure_promotes_all_that_e_lond_promotes(
    looks: list[list[float]], alpha: float
) -> None:
    by_closure: dict[int, float] = {}
    by_e_lond: set[int] = set()
    for look in looks:
        now = dict(enumerate(look, start=1))
        for number, log_e in now.items():
            if number not in by_e_lond:
                bar = -math.log(e_lond_level(number, len(by_e_lond), alpha))
                by_e_lond |= {number} if log_e >= bar else set()
        waiting = {number: e for number, e in now.items() if number not in by_closure}
        by_closure |= {number: now[number] for number in online_closure(by_closure, waiting, alpha)}

        assert by_e_lond <= by_closure.keys()


def test_promotions_lower_the_bar_of_those_after_them() -> None:
    alone = math.log(0.97 / (0.1 * share(40)))

    assert online_closure({}, {40: alone}, 0.1) == []
    assert online_closure({1: 30.0}, {40: alone - math.log(2)}, 0.1) == [40]


def test_many_that_are_each_too_weak_are_promoted_together() -> None:
    waiting = {number: math.log(1 / (0.1 * share(10) * 4)) + 0.01 for number in range(5, 11)}

    assert online_closure({}, waiting, 0.1) == list(range(5, 11))
    assert online_closure({}, {5: waiting[5]}, 0.1) == []


def test_immense_evidence_is_promoted() -> None:
    assert online_closure({}, {1: 1e9, 2: -1e9, 90_000: 1e9}, 0.05) == [1, 90_000]
