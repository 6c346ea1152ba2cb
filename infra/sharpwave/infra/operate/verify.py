"""Whether the stored counts agree with a recount of the archive, and if not, why not.

What could make a wrong system pass is looked for too: an archive that is empty, damaged or of
another deployment, records that neither side saw, and work that is still on its way.
"""

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from sharpwave.infra.connection import Deployment
from sharpwave.infra.operate.items import Items
from sharpwave.infra.operate.mailbox import Mailbox
from sharpwave.infra.operate.reconciling import scan
from sharpwave.infra.operate.verdict import EXAMPLES, Evidence, Verified, judge
from sharpwave.schemas import keys
from sharpwave.schemas.numbers import item_from_wire
from sharpwave.schemas.patterns import PatternVersion
from sharpwave.schemas.queues import DLQ_SUFFIX
from sharpwave.schemas.tables import DECISIONS, MEMORY, PIPELINE
from sharpwave.workers.aws.archive import FolderArchive, S3Archive, open_archive
from sharpwave.workers.aws.tables import TableReads
from sharpwave.workers.patterns.catalogue import Known, listed
from sharpwave.workers.patterns.counts import Counts, total
from sharpwave.workers.patterns.publish import attributes
from sharpwave.workers.patterns.recount import Days, Recount, figures
from sharpwave.workers.router.admission import is_admissible
from sharpwave.workers.settings import Settings

#: What counts and archives decisions.
QUEUES = ("learn", "archive")
#: How long work may be on its way: more than the minute between two publications of figures, and
#: by which SQS's counts of messages may trail at AWS.
WAIT_S = 90.0
#: Seconds for what no queue shows any more and is not done yet.
_GRACE_S = 5.0
_POLL_S, _LONGEST_POLL_S = 0.25, 4.0


def verify(deployment: Deployment, archive_url: str, *, wait_s: float = WAIT_S) -> Verified:
    """Recount the archive and compare every day of every ledger, in bounded memory.

    The table of decisions is read first: what it holds then must have reached the archive in the
    end, whatever clocks say. While work is on its way it looks again, at most for `wait_s`
    seconds; later looks read new parts of the archive only.
    """
    began = time.monotonic()
    archive = archive_at(deployment, archive_url)
    known, event_ahead = known_patterns(deployment), Settings().event_ahead
    pause = _POLL_S
    with Recount(known.versions) as recount:
        for item in map(item_from_wire, scan(deployment, DECISIONS)):
            if is_admissible("decision", item, event_ahead=event_ahead):
                recount.note_stored(item)
        while True:
            # Depths first: a message that leaves its queue afterwards has already had its effect.
            depths = {name: Mailbox(deployment, name).depth().total for name in _queues()}
            unpublished = _unpublished(deployment)
            damages = recount.read(archive)
            recounted = recount.counts()
            ledgers = stored_ledgers(deployment)
            evidence = Evidence(
                archive_url=archive_url,
                damages=damages,
                decisions=recount.decisions,
                patterns=len(known.versions),
                unreadable=len(known.unreadable),
                recounted=recounted,
                ledgers=ledgers.counts,
                missummed=ledgers.missummed(),
                unlisted=_unlisted(deployment, ledgers.counts),
                misfigured=_misfigured(deployment, known.versions, recounted),
                stored=recount.stored,
                unseen=recount.unseen,
                unseen_keys=recount.unseen_keys(EXAMPLES),
                depths=depths,
                pump=Items(deployment).get(PIPELINE, keys.presence(f"pump:{DECISIONS}")),
                unpublished=unpublished,
                now=time.time(),
            )
            verified = judge(evidence)
            patience_s = wait_s if verified.may_pass else min(wait_s, _GRACE_S)
            if verified.ok or time.monotonic() - began > patience_s:
                return verified
            time.sleep(pause)
            pause = min(2 * pause, _LONGEST_POLL_S)


def archive_at(deployment: Deployment, archive_url: str) -> FolderArchive | S3Archive:
    """Open the archive of a deployment."""
    s3: Any = deployment.session.client("s3", endpoint_url=deployment.endpoint("s3"))
    return open_archive(archive_url, s3=s3)


def known_patterns(deployment: Deployment) -> Known:
    """Read every pattern version that counts decisions, or did."""
    return listed(TableReads(deployment.dynamodb, prefix=deployment.prefix))


@dataclass(frozen=True)
class Stored:
    """What the ledgers hold.

    Attributes:
        counts: as learning left them, by subject and day, of ledgers too that nothing should fill.
        days: as publishing summed them up by day.
        totals: as publishing summed them up.
    """

    counts: dict[str, Days] = field(default_factory=dict)
    days: dict[str, Days] = field(default_factory=dict)
    totals: dict[str, Counts] = field(default_factory=dict)

    def missummed(self) -> list[str]:
        """Name the ledgers whose sums are not those of their counts."""
        return sorted(
            subject
            for subject in self.counts.keys() | self.days.keys() | self.totals.keys()
            if self.counts.get(subject) != self.days.get(subject)
            or total(self.counts.get(subject, {}).values()) != self.totals.get(subject)
        )


def stored_ledgers(deployment: Deployment) -> Stored:
    """Read the counts of every ledger."""
    request = {
        "FilterExpression": "begins_with(PK, :ledger) AND attribute_exists(c)",
        "ExpressionAttributeValues": {":ledger": {"S": keys.ledger_pk("")}},
        "ConsistentRead": True,
    }
    stored = Stored()
    for page in Items(deployment).pages("scan", PIPELINE, request):
        for row in map(item_from_wire, page["Items"]):
            subject, counts = row["PK"].removeprefix(keys.ledger_pk("")), Counts.from_row(row["c"])
            kind, _, rest = row["SK"].partition("#")
            day = rest.partition("#")[0]
            if kind == "H":
                days = stored.counts.setdefault(subject, {})
                days[day] = days.get(day, Counts()) + counts
            elif kind == "D":
                stored.days.setdefault(subject, {})[day] = counts
            else:
                stored.totals[subject] = counts
    return stored


def _queues() -> list[str]:
    return [*QUEUES, *(name + DLQ_SUFFIX for name in QUEUES)]


def _unpublished(deployment: Deployment) -> int:
    items = Items(deployment)
    return sum(1 for pk in keys.changed_pks() for _ in items.query(PIPELINE, pk))


def _unlisted(deployment: Deployment, ledgers: Mapping[str, Days]) -> list[str]:
    """Name the writers whose decisions are counted, but who are on no list of writers."""
    items = Items(deployment)
    writers: dict[str, set[str]] = {}
    for base in filter(None, map(keys.split_base_subject, ledgers)):
        writers.setdefault(base[1], set()).add(base[0])
    return [
        f"{agent} of {decision_type}"
        for decision_type, agents in sorted(writers.items())
        for agent in sorted(
            agents - {row["SK"] for row in items.query(MEMORY, keys.writers_pk(decision_type))}
        )
    ]


def _misfigured(
    deployment: Deployment, versions: Sequence[PatternVersion], recounted: Mapping[str, Days]
) -> list[str]:
    """Name the current patterns whose published figures are not those of the archive."""
    items = Items(deployment)
    expected = figures(versions, recounted)
    wrong = []
    for version in versions:
        if version.effective_to is not None or version.subject not in recounted:
            continue
        row = items.get(MEMORY, keys.Key(version.pk, version.definition.pattern_id)) or {}
        values = attributes(expected[version.subject])
        if row.get("version") == version.version and any(
            row.get(name) != value for name, value in values.items() if not name.startswith("GSI")
        ):
            wrong.append(version.subject)
    return wrong
