"""What it was worth to act on what was learnt, as far as the agents' own decisions tell."""

from collections import defaultdict
from collections.abc import Sequence
from typing import Any

from sharpwave.infra.demo.agents.market_hunter import lately
from sharpwave.infra.demo.books import Entry
from sharpwave.workers.patterns.evidence import anytime_interval, inverse_propensity, uplift
from sharpwave.workers.patterns.stated import SCALE, Weights
from sharpwave.workers.patterns.statistics import Beta, interval

_LEAST = 5


def choices(resolved: Sequence[Entry]) -> dict[str, Any]:
    """Judge the choices drawn by memory, as plain values.

    `always` estimates by inverse propensity what each source would have brought if it had always
    been chosen; its interval is that of as many equal decisions as its weights amount to. `other`
    are the choices that an agent without memory would have made otherwise: where they failed, the
    other choice would have succeeded. An interval is None below five outcomes.
    """
    drawn: dict[str, Weights] = defaultdict(Weights)
    other, successes = [], 0
    for each in resolved:
        reasons, success = each.record.reasoning or {}, bool(each.success)
        if "selection_prob" in reasons:
            source = reasons["selected"][0]
            drawn[source] += Weights.of(round(reasons["selection_prob"] * SCALE), success)
            successes += success
            other += [success] if source != lately(reasons["scores"]) else []
    always = {}
    for source, weights in sorted(drawn.items()):
        found = inverse_propensity(weights)
        assert found is not None
        assert found.n_eff is not None
        belief = Beta(1 + found.rate * found.n_eff, 1 + (1 - found.rate) * found.n_eff)
        bounds = interval(belief) if found.n >= _LEAST else None
        always[source] = {"n": found.n, "rate": round(found.rate, 4), "interval": _rounded(bounds)}
    n, s = len(other), sum(other)
    bounds = anytime_interval(n, s) if n >= _LEAST else None
    return {
        "n": sum(each.n for each in drawn.values()),
        "successes": successes,
        "always": always,
        "other": {"n": n, "successes": s, "interval": _rounded(bounds)},
    }


def acted(resolved: Sequence[Entry]) -> list[dict[str, Any]]:
    """Hold decisions that proven patterns gave another weight against the rest of their kind.

    Of each agent and type from the first of them on, and only such as share no day of the market,
    chosen without a look at how they came out. `gain` is by how much the success rate was better
    for it, with bounds that hold at all times together; None while too few tell.
    """
    kinds: dict[tuple[str, str], list[Entry]] = defaultdict(list)
    for each in resolved:
        if "weight" in (each.record.reasoning or {}):
            kinds[each.record.agent_id, each.record.decision_type].append(each)
    found = []
    for (agent_id, decision_type), entries in sorted(kinds.items()):
        for weight, did in ((2, "doubled"), (0, "left")):
            begins = [each.index for each in entries if _weight(each) == weight]
            if not begins:
                continue
            arms: dict[int, list[bool]] = {weight: [], 1: []}
            free = begins[0]
            for each in entries:
                if each.index >= free and _weight(each) in arms:
                    free = each.index + each.claim.horizon
                    arms[_weight(each)].append(bool(each.success))
            (n, s), (other_n, other_s) = ((len(arms[w]), sum(arms[w])) for w in (weight, 1))
            gain = uplift(n, s, other_n, other_s) if weight else uplift(other_n, other_s, n, s)
            found.append(
                {
                    "agent": agent_id,
                    "decision_type": decision_type,
                    "did": did,
                    "n": n,
                    "successes": s,
                    "other_n": other_n,
                    "other_successes": other_s,
                    "gain": round(gain.difference, 4) if gain else None,
                    "interval": _rounded(gain.interval if gain else None),
                }
            )
    return found


def _rounded(bounds: tuple[float, float] | None) -> list[float] | None:
    return None if bounds is None else [round(bound, 4) for bound in bounds]


def _weight(each: Entry) -> int:
    return int((each.record.reasoning or {})["weight"])
