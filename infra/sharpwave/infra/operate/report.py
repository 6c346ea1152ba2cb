"""Which patterns stand out at this moment, however many were tried: a report, not a promotion."""

from collections.abc import Sequence
from dataclasses import dataclass

from sharpwave.infra.connection import Deployment
from sharpwave.infra.operate.patterns import PatternView, list_patterns
from sharpwave.workers.patterns.multiplicity import closed_e_bh


@dataclass(frozen=True, kw_only=True)
class Reported:
    """What one owner's evidence comes to.

    Attributes:
        owner: an agent, or `shared#<domain>`.
        tried: all of its patterns, without evidence too: each was a chance to find something.
        reported: those that stand out, the strongest first; of these the share that is nothing
            has a mean of at most alpha.
    """

    owner: str
    tried: int
    reported: Sequence[PatternView]


def report(
    deployment: Deployment,
    *,
    alpha: float,
    agent_id: str | None = None,
    domain: str | None = None,
) -> list[Reported]:
    """Judge each owner's current versions by closed e-BH, with the evidence that is published."""
    by_owner: dict[str, list[PatternView]] = {}
    for view in list_patterns(deployment, agent_id=agent_id, domain=domain):
        by_owner.setdefault(view.owner, []).append(view)
    found = []
    for owner, views in sorted(by_owner.items()):
        # Without a base there is no evidence yet: an e-value of 1.
        evidence = [float(view.row.get("evidence") or 0) for view in views]
        chosen = closed_e_bh(evidence, alpha)
        ranked = sorted(chosen, key=lambda number: (-evidence[number], views[number].pattern_id))
        reported = [views[number] for number in ranked]
        found.append(Reported(owner=owner, tried=len(views), reported=reported))
    return found
