"""What patterns would say, counted from the archive: at an earlier time, or before they existed."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, TypeVar

from sharpwave.infra.connection import Deployment
from sharpwave.infra.errors import Misused, Rejected
from sharpwave.infra.operate.verify import archive_at, known_patterns
from sharpwave.infra.operate.walk import Told, walk
from sharpwave.schemas.patterns import PatternDefinition, PatternVersion
from sharpwave.schemas.times import DAY_S, day_and_hour, event_begin, is_event_time
from sharpwave.workers.patterns.counts import Arms, Days
from sharpwave.workers.patterns.policy import Policy
from sharpwave.workers.patterns.recount import Parts, Recount, figures
from sharpwave.workers.patterns.statistics import Figures
from sharpwave.workers.settings import Settings

T = TypeVar("T")

_DAY_LENGTH = len("2008-10-10")


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
        Rejected: nothing is archived, a part of the archive cannot be read, or a pattern was
            imported by a newer release; figures without it would be wrong.
    """
    versions, counts, arms, begun = _recounted(deployment, archive_url, until, definitions)
    found = figures(versions, counts, arms=arms, horizons=Settings.read().outcome_horizon)
    return {subject: found[subject] for subject in found if subject in begun}


def replay_rules(
    deployment: Deployment,
    archive_url: str,
    policies: Sequence[Policy],
    *,
    until: str | None = None,
    definitions: Sequence[PatternDefinition] | None = None,
) -> list[dict[str, Told]]:
    """Tell what rules would have made of patterns, day by day; writes nothing.

    The other parameters and errors are those of `replay`.

    Args:
        policies: the rules to hold against each other.

    Returns:
        For each of the policies, lives by the name of the pattern's ledger.
    """
    versions, counts, arms, begun = _recounted(deployment, archive_url, until, definitions)
    lives = []
    for policy in policies:
        ruled = []
        for version in versions:
            # How the rest is measured anew each day is stored with a base; here the policy says it.
            # One that is not frozen yet, or that its author gave, is not measured anew.
            if version.base is not None and version.base.n:
                base = version.base.model_copy(update={"trailing": policy.trailing})
                version = version.model_copy(update={"base": base})
            ruled.append(version)
        told, _ = walk(ruled, counts, arms, policy)
        lives.append({subject: told[subject] for subject in told if subject in begun})
    return lives


def _recounted(
    deployment: Deployment,
    archive_url: str,
    until: str | None,
    definitions: Sequence[PatternDefinition] | None,
) -> tuple[Sequence[PatternVersion], dict[str, Days], dict[str, dict[str, Arms]], set[str]]:
    """Recount what is meant; also names the ledgers of the versions that had begun by then."""
    is_meant = is_up_to(until)
    versions = versions_meant(deployment, definitions)
    latest = 0

    def accepts(decision: Mapping[str, Any]) -> bool:
        nonlocal latest
        if not is_meant(decision):
            return False
        latest = max(latest, int(decision["timestamp"]))
        return True

    with Recount(versions, accepts=accepts) as recount:
        for damage in recount.read(archive_at(deployment, archive_url)):
            raise Rejected(f"the archive at {archive_url} is damaged: {damage.reason}")
        if not recount.parts:
            raise nothing_at(archive_url)
        at = None if until is None else max(latest, end_of(until))
        begun = {each.subject for each in versions if at is None or each.effective_from <= at}
        return versions, recount.counts(), recount.arms(), begun


def nothing_at(archive_url: str) -> Rejected:
    """Say that an archive is empty: figures of nothing would be taken for an answer."""
    return Rejected(
        f"nothing is archived at {archive_url}; give --archive URL, or set SHARPWAVE_ARCHIVE as "
        "the workers of archive have it"
    )


def rows_of(
    archive: Parts, archive_url: str, row_of: Callable[[Mapping[str, Any]], T | None]
) -> Iterator[list[T]]:
    """Give, for each part of an archive, what `row_of` makes of lines that were admitted.

    Lines of which it makes None are left out.

    Raises:
        Rejected: a part cannot be read, `row_of` fails on a line, or there is no part.
    """
    is_empty = True
    for name in archive.part_names():
        is_empty = False
        try:
            lines = (line for line in archive.read(name) if line["state"] != "refusal")
            rows = [row for line in lines if (row := row_of(line)) is not None]
        except (ValueError, LookupError, TypeError, AttributeError, ArithmeticError) as error:
            text = f"the archive at {archive_url} is damaged: {type(error).__name__}: {error}"
            raise Rejected(text) from error
        yield rows
    if is_empty:
        raise nothing_at(archive_url)


def is_up_to(until: str | None) -> Callable[[Mapping[str, Any]], bool]:
    """Tell decisions up to a day or UTC time, by event time; without it, any are meant.

    Raises:
        Misused: it is neither.
    """
    if until is not None and not is_event_time(until):
        raise Misused(f"{until!r} is no day and no UTC time; write 2008-10-10")

    def is_meant(decision: Mapping[str, Any]) -> bool:
        if until is None:
            return True
        if len(until) == _DAY_LENGTH:
            return day_and_hour(int(decision["timestamp"]), decision.get("event_time"))[0] <= until
        return str(decision.get("event_time") or decision["iso_timestamp"]) <= until

    return is_meant


def end_of(until: str) -> int:
    """Give the last epoch second of a day, or that of a UTC time."""
    is_day = len(until) == _DAY_LENGTH
    return int(event_begin(until)) + (DAY_S - 1 if is_day else 0)


def versions_meant(
    deployment: Deployment, definitions: Sequence[PatternDefinition] | None
) -> Sequence[PatternVersion]:
    """Give the known versions, or instead those of definitions that held from the beginning.

    Raises:
        Rejected: a newer release imported one.
    """
    if definitions is not None:
        return [
            PatternVersion(definition=definition, version=1, effective_from=0, learned_at=0)
            for definition in definitions
        ]
    known = known_patterns(deployment)
    if known.unreadable:
        raise Rejected("a newer release imported patterns here; replay with that one")
    return known.versions
