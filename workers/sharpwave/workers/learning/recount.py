"""Counts recomputed from archived decision states, without ledgers, elements or sets.

`verify` holds the stored counts against these; `replay` answers what they would have been.
"""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, NamedTuple

from sharpwave.schemas import keys
from sharpwave.schemas.patterns import PatternVersion
from sharpwave.schemas.times import day_and_hour
from sharpwave.workers.learning.counts import Counts

Decision = Mapping[str, Any]


class Standing(NamedTuple):
    """Where a decision stands after its last revision."""

    decision: Decision
    revision: int
    success: bool | None
    quality: int | None


def standings(states: Iterable[Decision]) -> list[Standing]:
    """Reduce archived states to the last revision of each decision, in any order."""
    last: dict[tuple[str, str], Standing] = {}
    for state in states:
        standing = _standing(state)
        held = last.get((state["PK"], state["SK"]))
        if held is None or _rank(standing) > _rank(held):
            last[state["PK"], state["SK"]] = standing
    return list(last.values())


def recount(
    decisions: Sequence[Standing], versions: Sequence[PatternVersion]
) -> dict[str, dict[str, Counts]]:
    """Count decisions by ledger subject and day: base ledgers, and versions that count them.

    `size` and `units` are left 0: they belong to how ledgers are stored.
    """
    result: dict[str, dict[str, Counts]] = {}
    for standing in decisions:
        decision = standing.decision
        day, _ = day_and_hour(int(decision["timestamp"]), decision.get("event_time"))
        base = keys.base_subject(decision["agent_id"], decision["decision_type"])
        counted = {base: _one(standing, applied=False)}
        for version in versions:
            if version.counts(decision):
                counted[version.subject] = _one(standing, applied=version.applied(decision))
        for subject, one in counted.items():
            days = result.setdefault(subject, {})
            days[day] = days.get(day, Counts()) + one
    return result


def _standing(state: Decision) -> Standing:
    outcome = state.get("outcome")
    if not isinstance(outcome, Mapping):
        return Standing(state, 0, None, None)
    quality = outcome.get("quality_score")
    scaled = None if quality is None else round(float(quality) * 10_000)
    revision = int(state.get("outcome_rev") or 1)
    return Standing(state, revision, bool(outcome["success"]), scaled)


def _rank(standing: Standing) -> tuple[int, bool, int]:
    # Two outcomes of one revision are a writer's fault; failure stands, then higher quality.
    quality = 65_535 if standing.quality is None else standing.quality
    return standing.revision, standing.success is False, quality


def _one(standing: Standing, *, applied: bool) -> Counts:
    if standing.success is None:
        return Counts(pending=1)
    return Counts(
        n=1,
        s=int(standing.success),
        q_sum=standing.quality or 0,
        q_n=int(standing.quality is not None),
        applied=int(applied),
        applied_s=int(applied and standing.success),
    )
