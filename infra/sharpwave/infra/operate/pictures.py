"""What pictures of a pattern show: the numbers, without any drawing.

All of it follows from the ledgers: the days of a pattern's family, looked at one after the other
as `walk` does, and what agents stated of their confidence.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from sharpwave.infra.connection import Deployment
from sharpwave.infra.errors import Missing
from sharpwave.infra.operate.patterns import show_pattern
from sharpwave.infra.operate.verify import known_patterns, stored_units
from sharpwave.infra.operate.walk import Budget, Told, Turn, walk
from sharpwave.schemas import keys
from sharpwave.schemas.patterns import PatternVersion
from sharpwave.schemas.tables import MEMORY
from sharpwave.workers.aws.tables import TableReads
from sharpwave.workers.patterns.counts import Counts, Days, base_subjects, summed_rows_of
from sharpwave.workers.patterns.evidence import Calibration, calibration
from sharpwave.workers.patterns.policy import Policy
from sharpwave.workers.patterns.seats import days_in, places_of

Row = Sequence[Any]


@dataclass(frozen=True, kw_only=True)
class Picture:
    """One picture as data.

    Attributes:
        name: what it is of: `confidence`, `evidence`, `reliability` or `budget`.
        title: what it shows, in words.
        columns: names of the numbers, with their units.
        rows: the numbers, in order.
        turns: the days on which the pattern came into another state.
    """

    name: str
    title: str
    columns: Sequence[str]
    rows: Sequence[Row]
    turns: Sequence[Turn] = ()


def pictures_of(
    deployment: Deployment,
    pattern_id: str,
    owner: str | None,
    policy: Policy,
    *,
    number: int | None = None,
) -> list[Picture]:
    """Gather what the pictures of a version of a pattern show; reads its family's ledgers.

    Without a `number` it is the current version.

    The one of reliability is left out where no decision stated a confidence.

    Raises:
        Missing: there is no such pattern or version, or no decision of its agents is counted.
        Misused: several owners have one of that name.
    """
    there_are = show_pattern(deployment, pattern_id, owner).versions
    chosen = [each for each in there_are if number in (None, each.version)]
    if not chosen:
        numbers = ", ".join(str(each.version) for each in there_are)
        raise Missing(f"{pattern_id} has no version {number}; there are: {numbers}")
    version = chosen[-1]
    reads = TableReads(deployment.dynamodb, prefix=deployment.prefix)
    versions = known_patterns(deployment).versions
    family = [each for each in versions if each.owner == version.owner]
    rows: dict[str, Mapping[str, Row]] = {}
    counts: dict[str, Days] = {}
    bases: dict[str, list[str]] = {}
    for each in family:
        entries = reads.query(MEMORY, keys.writers_pk(each.definition.decision_type))
        writers = {entry["SK"]: entry.get("epochs", []) for entry in entries}
        bases[each.subject] = base_subjects(each, versions, writers)
        places = places_of(each, versions)
        for subject in {*places, *bases[each.subject]} - rows.keys():
            rows[subject] = summed_rows_of(subject, reads)
            counts[subject] = {day: Counts.from_row(row) for day, row in rows[subject].items()}
        counts[each.subject] = days_in(places, rows.__getitem__)
    # Sums by day are what publishing wrote; a ledger counts before that.
    if not any(counts[subject] for subject in bases[version.subject]):
        earlier = "; --version N draws an earlier version" if version.version > 1 else ""
        raise Missing(
            f"no decision that {version.name} could match is summed up yet, so there is nothing to "
            f"draw; workers sum up once a minute{earlier}"
        )
    told, budgets = walk(versions, counts, stored_units(reads, versions, wanted=family), policy)
    # Of all that the version's agents decided: what one states is not about a pattern.
    days = (day for subject in bases[version.subject] for day in counts[subject].values())
    everyone = sum(days, start=Counts()).confidences
    stated = calibration(everyone.dense(), everyone.squared_error)
    return [
        confidence_picture(told[version.subject], policy),
        evidence_picture(told[version.subject]),
        *([] if stated is None else [reliability_picture(version, stated)]),
        budget_picture(version.owner, budgets[version.owner], policy),
    ]


def confidence_picture(told: Told, policy: Policy) -> Picture:
    """Show success rate, its interval and confidence over time."""
    return Picture(
        name="confidence",
        title=f"{told.version.name}: how sure its outcomes make us",
        columns=(
            "day",
            "outcomes",
            "success_rate",
            "interval_low",
            "interval_high",
            "base_rate",
            "confidence",
            "confidence_asked",
            "state",
        ),
        rows=[
            (
                each.day,
                each.n,
                each.rate,
                *each.interval,
                each.base_rate,
                each.confidence,
                policy.min_confidence,
                each.state,
            )
            for each in told.standings
        ],
        turns=told.turns,
    )


def evidence_picture(told: Told) -> Picture:
    """Show the evidence over time and how much of it suffices for a promotion."""
    return Picture(
        name="evidence",
        title=f"{told.version.name}: evidence, and what suffices for a promotion",
        columns=("day", "units", "log10_evidence", "log10_bar", "anytime_low", "anytime_high"),
        rows=[
            (
                each.day,
                each.units,
                None if each.evidence is None else each.evidence / math.log(10),
                each.bar / math.log(10),
                *each.anytime,
            )
            for each in told.standings
        ],
        turns=told.turns,
    )


def reliability_picture(version: PatternVersion, stated: Calibration) -> Picture:
    """Show how often came true what agents stated with a confidence."""
    definition = version.definition
    of = definition.agent_id or "all agents"
    return Picture(
        name="reliability",
        title=(
            f"{definition.decision_type} of {of}: stated confidence and what came of it "
            f"(Brier {stated.brier:.3f}, ECE {stated.ece:.3f}, n {stated.n})"
        ),
        columns=("bin_from", "outcomes", "mean_stated_confidence", "success_rate"),
        rows=[(each.low, each.n, each.stated, each.came_true) for each in stated.bins],
    )


def budget_picture(owner: str, budgets: Sequence[Budget], policy: Policy) -> Picture:
    """Show what a family has taken of its false discovery budget."""
    return Picture(
        name="budget",
        title=f"{owner}: false discovery budget taken by candidates",
        columns=("day", "candidates", "promoted", "alpha_spent", "alpha"),
        rows=[
            (each.day, each.candidates, each.promoted, each.spent, policy.alpha) for each in budgets
        ],
    )
