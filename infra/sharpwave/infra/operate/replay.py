"""What patterns would say, counted from the archive: at an earlier time, or before they existed."""

from collections.abc import Mapping, Sequence
from typing import Any

from sharpwave.infra.connection import Deployment
from sharpwave.infra.errors import Misused, Rejected
from sharpwave.infra.operate.verify import archive_at, known_patterns
from sharpwave.schemas.patterns import PatternDefinition, PatternVersion
from sharpwave.schemas.times import day_and_hour, is_event_time
from sharpwave.workers.patterns.recount import Recount, figures
from sharpwave.workers.patterns.statistics import Figures
from sharpwave.workers.settings import Settings


def replay(
    deployment: Deployment,
    archive_url: str,
    *,
    until: str | None = None,
    definitions: Sequence[PatternDefinition] | None = None,
) -> dict[str, Figures]:
    """Compute the figures of patterns from the archive alone; writes nothing.

    They are computed as those are that workers publish, base rates too.

    Args:
        deployment: where the known patterns are listed.
        archive_url: `file:///folder` or `s3://bucket/prefix`.
        until: count only decisions up to this day or UTC time, by event time.
        definitions: count these instead, as if they had held from the beginning.

    Returns:
        Figures by the name of the pattern's ledger.

    Raises:
        Misused: `until` is no day and no UTC time.
        Rejected: a part of the archive cannot be read, or a pattern was imported by a newer
            release; figures without it would be wrong.
    """
    if until is not None and not is_event_time(until):
        raise Misused(f"{until!r} is no day and no UTC time; write 2008-10-10")

    def is_meant(decision: Mapping[str, Any]) -> bool:
        if until is None:
            return True
        if len(until) == len("2008-10-10"):
            return day_and_hour(int(decision["timestamp"]), decision.get("event_time"))[0] <= until
        return str(decision.get("event_time") or decision["iso_timestamp"]) <= until

    versions: Sequence[PatternVersion]
    if definitions is None:
        known = known_patterns(deployment)
        if known.unreadable:
            raise Rejected("a newer release imported patterns here; replay with that one")
        versions = known.versions
    else:
        versions = [
            PatternVersion(definition=definition, version=1, effective_from=0, learned_at=0)
            for definition in definitions
        ]
    with Recount(versions, accepts=is_meant) as recount:
        for damage in recount.read(archive_at(deployment, archive_url)):
            raise Rejected(f"the archive at {archive_url} is damaged: {damage.reason}")
        return figures(
            versions,
            recount.counts(),
            arms=recount.arms(),
            horizons=Settings.read().outcome_horizon,
        )
