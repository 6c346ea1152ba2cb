"""Whether the stored counts agree with a recount of the archive."""

import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from sharpwave.infra.connection import Deployment
from sharpwave.infra.items import Items
from sharpwave.infra.mailbox import Mailbox
from sharpwave.schemas import keys
from sharpwave.schemas.numbers import item_from_wire
from sharpwave.schemas.patterns import PatternVersion
from sharpwave.schemas.tables import PIPELINE
from sharpwave.workers.adapters.archives import open_archive
from sharpwave.workers.adapters.tables import TableReads
from sharpwave.workers.archive import admitted
from sharpwave.workers.learning.catalogue import parse
from sharpwave.workers.learning.counts import Counts, total
from sharpwave.workers.learning.publish import days_of
from sharpwave.workers.learning.recount import Standing, recount, standings

_DRAINED = ("learn", "archive")
_POLL_S = 0.25


@dataclass(frozen=True, kw_only=True)
class Disagreement:
    """A ledger whose stored counts differ from the recount."""

    subject: str
    stored: Mapping[str, int]
    recounted: Mapping[str, int]


@dataclass(frozen=True, kw_only=True)
class Verified:
    """What was compared; `pending` says why the cut was not drained, if it was not."""

    decisions: int
    patterns_checked: int
    ledgers_checked: int
    disagreements: Sequence[Disagreement]
    pending: Mapping[str, int]

    @property
    def ok(self) -> bool:
        """Say whether every ledger agrees, at a drained cut."""
        return not self.disagreements and not self.pending


def verify(deployment: Deployment, archive_url: str, *, wait_s: float = 30.0) -> Verified:
    """Recount the archive and compare every ledger.

    The comparison means something only while nothing is on its way, so it first waits, at most
    `wait_s` seconds, for the queues that count and archive to be empty.
    """
    pending = wait_drained(deployment, wait_s=wait_s)
    reads = TableReads(deployment.dynamodb, prefix=deployment.prefix)
    versions = known_versions(deployment)
    decisions = archived(deployment, archive_url)
    expected = {
        subject: total(days.values()) for subject, days in recount(decisions, versions).items()
    }
    subjects = expected.keys() | {version.subject for version in versions}
    pairs = [
        (subject, total(days_of(subject, reads).values()), expected.get(subject, Counts()))
        for subject in sorted(subjects)
    ]
    return Verified(
        decisions=len(decisions),
        patterns_checked=len(versions),
        ledgers_checked=len(subjects),
        disagreements=_disagreements(pairs),
        pending=pending,
    )


def wait_drained(deployment: Deployment, *, wait_s: float) -> dict[str, int]:
    """Wait for the queues that count and archive; gives what they still hold at the end."""
    deadline = time.monotonic() + wait_s
    while True:
        held = {name: _held(deployment, name) for name in _DRAINED}
        pending = {name: count for name, count in held.items() if count}
        if not pending or time.monotonic() > deadline:
            return pending
        time.sleep(_POLL_S)


def known_versions(deployment: Deployment) -> list[PatternVersion]:
    """Read every pattern version that counts decisions, or did."""
    return parse(list(Items(deployment).query(PIPELINE, keys.known_pattern("").pk)))


def archived(deployment: Deployment, archive_url: str) -> list[Standing]:
    """Read where every archived decision stands."""
    s3: Any = deployment.session.client("s3", endpoint_url=deployment.endpoint("s3"))
    lines = open_archive(archive_url, s3=s3).lines()
    return standings(item_from_wire(line["image"]) for line in admitted(lines))


def _held(deployment: Deployment, name: str) -> int:
    depth = Mailbox(deployment, name).depth()
    return depth.total


def _disagreements(pairs: Iterable[tuple[str, Counts, Counts]]) -> list[Disagreement]:
    return [
        Disagreement(subject=subject, stored=_shown(stored), recounted=_shown(recounted))
        for subject, stored, recounted in pairs
        if _comparable(stored) != recounted
    ]


def _comparable(counts: Counts) -> Counts:
    return replace(counts, revision=0, units=0)


def _shown(counts: Counts) -> dict[str, int]:
    names = ("n", "s", "q_sum", "q_n", "applied", "applied_s", "pending")
    return {name: getattr(counts, name) for name in names}
