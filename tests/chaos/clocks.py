"""Clocks that are wrong: each agent's, and each worker service's.

A history always tells true time; what an agent stamps on its records is its own affair.
"""

import random
from collections.abc import Mapping, Sequence

from tests.chaos import roster
from tests.chaos.plan import Plan

#: What a record from the future makes the pipeline wait for must end with the run, so only what is
#: written early in it may lie further ahead than this.
NEAR_S, EARLY = 20.0, 0.15
#: Workers' clocks are kept by their operators, but not to the second.
WORKER_OFF_S = 1.5

#: Seconds by which a clock is ahead, negative if it is behind, by who has it.
Offsets = Mapping[str, float]


def of_agents(plan: Plan) -> Offsets:
    """Draw how wrong the clock of each agent is that stamps records of its own."""
    names = [*roster.AGENTS, *roster.STRANGERS]
    if "clocks" not in plan.draws:
        return dict.fromkeys(names, 0.0)
    rng = random.Random(f"clocks {plan.seed}")
    near, far = min(NEAR_S, plan.scale.ahead_s), plan.scale.ahead_s
    drawn = [rng.choice((0.0, 0.0, rng.uniform(1, near), -rng.uniform(1, 600))) for _ in names]
    # One agent that writes all kinds of records is as fast as a record may be.
    drawn[rng.randrange(2, len(roster.AGENTS))] = far
    return dict(zip(names, (round(each, 3) for each in drawn), strict=True))


def of_workers(plan: Plan, services: Sequence[str]) -> Offsets:
    """Draw how wrong the clocks of worker services are."""
    if "clocks" not in plan.draws:
        return {}
    rng = random.Random(f"worker clocks {plan.seed}")
    return {name: round(rng.uniform(-WORKER_OFF_S, WORKER_OFF_S), 3) for name in services}
