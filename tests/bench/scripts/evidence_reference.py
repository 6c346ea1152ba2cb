"""The figures of `patterns/evidence` by scipy, from their definitions, and by savvi.

Averages are integrals here and intervals are roots, so no closed form of ours takes part.
"""

import json
import math
import sys
from collections.abc import Callable
from importlib import import_module
from itertools import pairwise
from typing import Any

numpy: Any = import_module("numpy")
integrate: Any = import_module("scipy.integrate")
optimize: Any = import_module("scipy.optimize")
special: Any = import_module("scipy.special")
beta: Any = import_module("scipy.stats").beta
Multinomial: Any = import_module("savvi.multinomial").Multinomial


def main() -> None:
    """Answer each list of cases that the orders hold."""
    orders = json.loads(sys.argv[1])
    print(json.dumps({name: [FIGURES[name](*case) for case in orders[name]] for name in orders}))


def evidence(n: int, s: int, base_rate: float) -> list[float]:
    """Average the likelihood over Beta(1, 3) beyond the least lift."""
    low = base_rate + 0.25 * base_rate * (1 - base_rate)
    best = min(max(s / n, low), 1 - 1e-12)
    peak = _log_likelihood(n, s, best)
    spread = math.sqrt(0.25 / n)
    ends = sorted({low, *(min(1, max(low, best + k * spread)) for k in (-8, 0, 8)), 1.0})

    def weighed(rate: float) -> float:
        weight = 3 * (1 - rate) ** 2 / (1 - low) ** 3
        return float(weight * math.exp(_log_likelihood(n, s, rate) - peak))

    parts = [
        integrate.quad(weighed, start, end, epsabs=0, epsrel=1e-13, limit=400)[0]
        for start, end in pairwise(ends)
    ]
    return [math.log(sum(parts)) + peak - _log_likelihood(n, s, base_rate)]


def base(n: int, s: int) -> list[float]:
    """Give the exact upper 90 % bound."""
    return [float(beta.ppf(0.9, s + 1, n - s))]


def interval(n: int, s: int, alpha: float) -> list[float]:
    """Find where the likelihood falls below alpha times its average."""
    return _ends(lambda rate: beta.logpdf(rate, 1 + s, 1 + n - s), s / n, alpha, (0, 1))


def uplift(n: int, s: int, m: int, t: int) -> list[float]:
    """Give P(greater), the evidence, and the interval at alpha 0.1."""

    def both(rate: float) -> float:
        return float(beta.pdf(rate, 1 + t, 1 + m - t) * beta.sf(rate, 1 + s, 1 + n - s))

    greater = integrate.quad(both, 0, 1, epsabs=0, epsrel=1e-12, limit=500, points=[t / m])[0]
    pair = (s / n, t / m) if s * m <= t * n else ((s + t) / (n + m),) * 2
    average = special.betaln(1 + s, 1 + n - s) + special.betaln(1 + t, 1 + m - t)
    null = _log_likelihood(n, s, pair[0]) + _log_likelihood(m, t, pair[1])

    def profile(difference: float) -> float:
        found = optimize.minimize_scalar(
            lambda rate: (
                -(
                    beta.logpdf(rate + difference, 1 + s, 1 + n - s)
                    + beta.logpdf(rate, 1 + t, 1 + m - t)
                )
            ),
            bounds=(max(0, -difference), min(1, 1 - difference)),
            method="bounded",
            options={"xatol": 1e-12},
        )
        return float(-found.fun)

    ends = _ends(profile, s / n - t / m, 0.1, (-1, 1))
    return [greater, float(average + math.log(2 * greater) - null), *ends]


def savvi(n: int, s: int) -> list[float]:
    """Give savvi's log odds against 1/2 under Dirichlet(1, 1), and its interval at alpha 0.1."""
    inference = Multinomial(0.1, numpy.array([0.5, 0.5]), k=2)
    inference.update(numpy.array([s, n - s]))
    ends = inference.calculate_conf_int(solver="CLARABEL")[0]
    return [float(numpy.log(inference.odds)), float(ends[0]), float(ends[1])]


def pattern(base_rate: float, half_life: float, *flat: float) -> list[float]:
    """Give what a row shows of a pattern, from triples of a day's number, outcomes and successes.

    The decayed 90 % interval and confidence by scipy's Beta, the evidence by quadrature, and the
    interval that holds at all times by savvi.
    """
    days = sorted(zip(flat[::3], flat[1::3], flat[2::3], strict=True), reverse=True)
    later, age, n_eff, s_eff = days[0][0], 0.0, 0.0, 0.0
    for day, n, s in days:
        age += min(later - day, half_life)
        later = day
        n_eff += n * 0.5 ** (age / half_life)
        s_eff += s * 0.5 ** (age / half_life)
    belief = beta(4 * base_rate + s_eff, 4 * (1 - base_rate) + n_eff - s_eff)
    n, s = (int(sum(day[column] for day in days)) for column in (1, 2))
    low, high = belief.ppf(0.05), belief.ppf(0.95)
    sure = belief.sf(base_rate + 0.05)
    return [float(low), float(high), float(sure), *evidence(n, s, base_rate), *savvi(n, s)[1:]]


FIGURES: dict[str, Callable[..., list[float]]] = {
    "evidence": evidence,
    "base": base,
    "interval": interval,
    "uplift": uplift,
    "savvi": savvi,
    "pattern": pattern,
}


def _log_likelihood(n: int, s: int, rate: float) -> float:
    return float(special.xlogy(s, rate) + special.xlog1py(n - s, -rate))


def _ends(
    log_of: Callable[[float], float], best: float, alpha: float, within: tuple[float, float]
) -> list[float]:
    bar = math.log(alpha)
    return [
        float(end)
        if best == end
        else float(
            optimize.brentq(
                lambda at: log_of(at) - bar, *sorted((best, end + (best - end) * 1e-9)), xtol=1e-13
            )
        )
        for end in within
    ]


if __name__ == "__main__":
    main()
