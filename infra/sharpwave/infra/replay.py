"""What patterns would say, counted from the archive: at an earlier time, or before they existed."""

from collections.abc import Sequence

from sharpwave.infra.connection import Deployment
from sharpwave.infra.errors import Misused
from sharpwave.infra.verify import archived, known_versions
from sharpwave.schemas import keys
from sharpwave.schemas.patterns import PatternDefinition, PatternVersion
from sharpwave.schemas.times import day_and_hour, is_event_time
from sharpwave.workers.learning.counts import Counts, total
from sharpwave.workers.learning.recount import Standing, recount
from sharpwave.workers.learning.statistics import DEFAULT_BASE_RATE, BaseRate, Report, report


def replay(
    deployment: Deployment,
    archive_url: str,
    *,
    until: str | None = None,
    definitions: Sequence[PatternDefinition] | None = None,
) -> dict[str, Report]:
    """Compute the figures of patterns from the archive alone; writes nothing.

    Args:
        deployment: where the known patterns are listed.
        archive_url: `file:///folder` or `s3://bucket/prefix`.
        until: count only decisions up to this day or UTC time, by event time.
        definitions: count these instead, as if they had held from the beginning.

    Returns:
        Figures by the name of the pattern's ledger.

    Raises:
        Misused: `until` is no day and no UTC time.
    """
    if until is not None and not is_event_time(until):
        raise Misused(f"{until!r} is no day and no UTC time; write 2008-10-10")
    decisions = [each for each in archived(deployment, archive_url) if _is_before(each, until)]
    versions = (
        known_versions(deployment)
        if definitions is None
        else [_from_the_beginning(definition) for definition in definitions]
    )
    counts = recount(decisions, versions)
    return {version.subject: _figures(version, counts) for version in versions}


def _is_before(standing: Standing, until: str | None) -> bool:
    if until is None:
        return True
    decision = standing.decision
    moment = decision.get("event_time") or decision["iso_timestamp"]
    if len(until) == len("2008-10-10"):
        return day_and_hour(int(decision["timestamp"]), decision.get("event_time"))[0] <= until
    return str(moment) <= until


def _from_the_beginning(definition: PatternDefinition) -> PatternVersion:
    return PatternVersion(definition=definition, version=1, effective_from=0, learned_at=0)


def _figures(version: PatternVersion, counts: dict[str, dict[str, Counts]]) -> Report:
    definition = version.definition
    days = counts.get(version.subject, {})
    if definition.base_rate:
        base = BaseRate(definition.base_rate)
    else:
        everyone = total(_base(version, counts))
        stored = DEFAULT_BASE_RATE
        base = BaseRate.of_complement(everyone, total(days.values()), stored=stored)
    return report(
        days, base=base, half_life_days=definition.half_life_days, min_lift=definition.min_lift
    )


def _base(version: PatternVersion, counts: dict[str, dict[str, Counts]]) -> list[Counts]:
    definition = version.definition
    if definition.agent_id:
        subject = keys.base_subject(definition.agent_id, definition.decision_type)
        return list(counts.get(subject, {}).values())
    ending = f":{definition.decision_type}"
    return [
        each
        for subject, days in counts.items()
        if subject.startswith("base:") and subject.endswith(ending)
        for each in days.values()
    ]
