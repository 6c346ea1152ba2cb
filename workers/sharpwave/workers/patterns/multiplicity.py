"""Which of many candidates to believe, so that of those believed few are wrong.

All take logarithms of e-values (`evidence.log_evidence`) and bound the false discovery rate, the
mean share of false ones among the promoted, by alpha. Nothing is assumed of how candidates depend
on each other: overlapping ones share most of their decisions.

For a report on one moment: `e_bh`, and `closed_e_bh`, which finds those and more. For decisions
that are never taken back while candidates come and evidence grows: `e_lond_level`, a bar for each
candidate, fixed when it comes, and `online_closure`, which promotes those and more.

Sources: Wang and Ramdas, "False discovery rate control with e-values" (e-BH); Xu and others,
"Bringing closure to false discovery rate control", arXiv 2509.02517 (closed e-BH); Xu and Ramdas,
"Online multiple testing with e-values" (e-LOND); Xu, Fischer and Ramdas, "Improving online FDR
procedures via online analogs of e-closure and compound e-values", arXiv 2603.24792.
"""

import math
from collections.abc import Iterable, Mapping, Sequence

_SHARES = 0.29518
"""Scales 1 / (j log^2(j + 1)) so that the shares of all candidates add up to at most 1."""

_ROUNDING = 1e-9


def e_bh(log_e: Sequence[float], alpha: float) -> list[int]:
    """Give the positions that e-BH promotes: the k greatest, for the greatest k it can afford.

    The k-th greatest e-value must reach m / (k alpha), m their number.
    """
    ranked, m = _ranked(log_e), len(log_e)
    for k in range(m, 0, -1):
        if log_e[ranked[k - 1]] >= math.log(m / (k * alpha)):
            return sorted(ranked[:k])
    return []


def closed_e_bh(log_e: Sequence[float], alpha: float) -> list[int]:
    """Give the positions that closed e-BH promotes: all that e-BH does, and often more.

    A set R passes if every set A of candidates has a mean e-value of at least
    |A and R| / (alpha |R|). The set of true nulls is one of them, and its mean e-value has mean at
    most 1, so the mean share of nulls in R is at most alpha. That holds for whichever passing set
    one picks; this is the largest, in O(m^2).
    """
    m = len(log_e)
    # What suffices alone, twice over, suffices: greater e-values change no verdict.
    cap = math.log(2 * max(m, 1) / alpha)
    ranked = _ranked(log_e)
    values = [math.exp(min(log_e[position], cap)) for position in ranked]
    for size in range(m, 0, -1):
        if _passes(values[:size], values[size:], alpha):
            return sorted(ranked[:size])
    return []


def _passes(promoted: Sequence[float], rest: Sequence[float], alpha: float) -> bool:
    """Say whether every mixture of the least promoted and the least of the rest has its mean."""
    total, taken = 0.0, 0
    for k in range(1, len(promoted) + 1):
        total += promoted[-k]
        # Of the rest all count that lower the mean. As the mean grows with k, none falls out.
        while taken < len(rest) and rest[-taken - 1] * (k + taken) < total:
            total += rest[-taken - 1]
            taken += 1
        if total * alpha * len(promoted) < k * (k + taken):
            return False
    return True


def share(number: int) -> float:
    """Give the share of alpha that belongs to the candidate of that number, from 1.

    Proportional to 1 / (j log^2(j + 1)); the shares of all candidates there can be add up to 1.
    """
    return _SHARES / (number * math.log(number + 1) ** 2)


def spent(count: int) -> float:
    """Give the share of alpha that the first `count` candidates have taken."""
    return math.fsum(share(number) for number in range(1, count + 1))


def e_lond_level(number: int, promoted: int, alpha: float) -> float:
    """Give the level of a candidate: promote it once its e-value reaches 1 / level.

    The level may be fixed when the candidate comes, with the promotions up to then. Let P be all
    that are ever promoted up to some moment. A null in P met 1 <= level * E, and P holds it and
    the `promoted` before it, so its part in the share of false ones, 1 / |P|, is at most
    alpha * share * E. Summed over nulls its mean is at most alpha, also that of the greatest share
    of false ones there ever was.

    Args:
        number: its place in the order of arrival, from 1.
        promoted: how many were promoted before.
    """
    return alpha * share(number) * (promoted + 1)


def online_closure(
    promoted: Mapping[int, float], waiting: Mapping[int, float], alpha: float
) -> list[int]:
    """Give the numbers of the waiting that can be promoted now, never to be taken back.

    Online e-closure with one e-value for each set A of candidates: the sum, over those of A that
    were promoted, of share(rank in A) times the e-value it had then. If A is the set of all nulls,
    the mean of that sum is at most 1, and as it only grows, so is the mean of its supremum over
    time: the e-value of the r-th null at the moment it is promoted has mean at most 1, given all
    that was known when it came. A set R of promoted passes if for every A that sum is at least
    |A and R| / (alpha |R|). So the share of nulls in R is at most alpha times the sum for the
    nulls, and the mean of the greatest share there ever was is at most alpha, under any dependence
    of candidates on each other.

    What it needs of an e-value: given all that is known of all candidates, its next factor has
    mean at most 1. A candidate that looks at its own outcomes only, and once, needs less: that its
    e-value then has mean at most 1.

    Of the sets A that hold the same promoted ones, the worst holds all that were not. So a set R
    is judged by the least, over subsets K of R, of the sum over K of share(i - those of R before i
    that are not in K) * E_i - 1 / (alpha |R|): a recursion over R by number, O(|R|^2). A set whose
    members each meet share(i) * E_i >= 1 / (alpha |R|) passes, and a passing set stays so when
    more of the kind join. Hence all that e-LOND promotes is promoted here.

    Args:
        promoted: number -> log of the e-value it had when it was promoted; all there is to keep.
        waiting: number -> log of the e-value it has now.
        alpha: the bound on the false discovery rate.
    """
    hopeful = dict(waiting)
    while hopeful:
        # A set's every member must pass alone. What cannot in the largest set cannot in a smaller.
        everyone = sorted([*promoted, *hopeful])
        kept = {
            number: hopeful[number]
            for before, number in enumerate(everyone)
            if number in hopeful
            and hopeful[number] + math.log(share(number - before) * alpha * len(everyone)) >= 0
        }
        if len(kept) == len(hopeful):
            break
        hopeful = kept
    ranked = sorted(
        hopeful, key=lambda number: (-hopeful[number] - math.log(share(number)), number)
    )
    for size in range(len(ranked), 0, -1):
        chosen = {number: hopeful[number] for number in ranked[:size]}
        if _stands({**promoted, **chosen}, alpha):
            return sorted(chosen)
    return []


def _stands(log_e: Mapping[int, float], alpha: float) -> bool:
    size = len(log_e)
    # least[k]: the least sum over the candidates seen so far of which k are left out of A.
    least = [0.0]
    for number in sorted(log_e):
        following = [math.inf] * (len(least) + 1)
        for left_out, so_far in enumerate(least):
            log_part = log_e[number] + math.log(share(number - left_out) * alpha * size)
            # One that makes up for all the others needs no greater surplus.
            part = math.exp(min(log_part, math.log(size + 1))) - 1
            following[left_out] = min(following[left_out], so_far + part)
            following[left_out + 1] = min(following[left_out + 1], so_far)
        least = following
    return min(least) >= -_ROUNDING


def _ranked(log_e: Iterable[float]) -> list[int]:
    pairs = sorted((-value, position) for position, value in enumerate(log_e))
    return [position for _, position in pairs]
