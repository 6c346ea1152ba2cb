"""Whether the stored counts agree with a recount of the archive, and if not, why not.

What could make a wrong system pass is looked for too: an archive that is empty, damaged or of
another deployment, records that neither side saw, and work that is still on its way. `verify`
gathers the evidence; `judge` says what it means: each thing that is wrong, and its remedy.
"""

import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import zip_longest
from typing import Any

from sharpwave.infra.connection import Deployment
from sharpwave.infra.errors import Misused
from sharpwave.infra.items import Items
from sharpwave.infra.mailbox import Mailbox
from sharpwave.infra.operate import plural
from sharpwave.infra.operate.digest import digest_of
from sharpwave.schemas import keys
from sharpwave.schemas.numbers import item_from_wire
from sharpwave.schemas.patterns import PatternVersion
from sharpwave.schemas.queues import DLQ_SUFFIX
from sharpwave.schemas.tables import DECISIONS, MEMORY, PIPELINE, STATE
from sharpwave.workers.aws.archive import FolderArchive, S3Archive, open_archive
from sharpwave.workers.aws.tables import TableReads
from sharpwave.workers.patterns.catalogue import Known, listed
from sharpwave.workers.patterns.counts import Arms, Counts, Days, Row, seats_in, total
from sharpwave.workers.patterns.life import rest_of, weigh, weighed_attributes
from sharpwave.workers.patterns.metrics import content_of
from sharpwave.workers.patterns.publish import attributes
from sharpwave.workers.patterns.recount import Damage, Recount, bases_of, figures
from sharpwave.workers.patterns.seats import days_in, places_of
from sharpwave.workers.patterns.statistics import Figures
from sharpwave.workers.patterns.units import stored_arms
from sharpwave.workers.router.admission import is_admissible
from sharpwave.workers.settings import Settings
from sharpwave.workers.work.ports import Item, Reads

Ledgers = Mapping[str, Days]
Units = Mapping[str, Mapping[str, Arms]]

#: What counts and archives decisions.
QUEUES = ("learn", "archive")
#: How long work may be on its way: more than the minute between two publications of figures, and
#: by which SQS's counts of messages may trail at AWS.
WAIT_S = 90.0
#: Seconds for what no queue shows any more and is not done yet.
_GRACE_S = 5.0
_POLL_S, _LONGEST_POLL_S = 0.25, 4.0
#: A pump that last reported longer ago than this, in seconds, is taken for dead.
PUMP_SILENT_S = 30.0
#: A stream that is read later than this, in seconds, is called late.
PUMP_LATE_S = 10.0
#: How many examples a finding names.
EXAMPLES = 5

#: Kinds of findings that say that work is on its way, and those that may pass by themselves.
_MOVING = frozenset({"pending", "pump_late", "unpublished"})
_PASSING = _MOVING | {"unseen"}
_RESTORE = "restore it from the bucket's versions or a backup"
_ANOTHER = "--archive URL, or set SHARPWAVE_ARCHIVE as the workers of archive have it"
_FED = f"sharpwave dlq redrive learn, then sharpwave reconcile {DECISIONS}"
#: What of a day's counts says how many decisions and outcomes there are.
_BASIC = ("n", "s", "q_sum", "q_n", "applied", "applied_s", "pending")
#: What is told of disagreeing days by their kind, and what mends it.
_KINDS = {
    "not_archived": (
        "count decisions that the archive lacks",
        "the archive is not all of it: sharpwave dlq redrive archive, or restore its parts",
    ),
    "not_counted": ("lack decisions that are archived", _FED),
    "outcomes": ("count other outcomes than are archived", _FED),
    "moved": (
        "count decisions of other days",
        "keep the archive and the ledgers, and report it: days are the decisions' own",
    ),
    "stated": (
        "add up other squares, confidences, lots or sources than are archived",
        "an older release counted some of them without: " + _FED,
    ),
}


@dataclass(frozen=True, kw_only=True)
class Disagreement:
    """One day of a ledger whose stored counts differ from the recount."""

    subject: str
    day: str
    stored: Mapping[str, Any]
    recounted: Mapping[str, Any]


@dataclass(frozen=True)
class Finding:
    """One thing that is wrong: its kind, what it is in plain words, and what mends it."""

    kind: str
    what: str
    remedy: str


@dataclass(frozen=True, kw_only=True)
class Verified:
    """What was compared, and what was found."""

    decisions: int
    patterns_checked: int
    ledgers_checked: int
    archived_digest: str  # of the counts by the archive
    stored_digest: str  # of the counts by the ledgers
    disagreements: Sequence[Disagreement]
    findings: Sequence[Finding]

    @property
    def ok(self) -> bool:
        """Say whether everything that was written is counted, and counted right."""
        return not self.findings and not self.disagreements

    @property
    def miscounts(self) -> int | None:
        """Count the findings; None while work is on its way, when they mean nothing yet."""
        is_moving = any(each.kind in _MOVING for each in self.findings)
        return None if is_moving else len(self.findings)

    @property
    def may_pass(self) -> bool:
        """Say whether something of what was found is work that may only be on its way."""
        return any(each.kind in _PASSING for each in self.findings)


@dataclass(frozen=True, kw_only=True)
class Evidence:
    """What is known about a deployment and its archive at one moment."""

    archive_url: str
    damages: Sequence[Damage] = ()  # parts of the archive that cannot be read
    decisions: int = 0  # decisions that are archived
    patterns: int = 0  # versions of patterns that count, or did
    unreadable: int = 0  # versions among them that this release cannot read
    recounted: Ledgers = field(default_factory=dict)  # counts by the archive
    ledgers: Ledgers = field(default_factory=dict)  # counts by the ledgers
    # Units of evidence of patterns' ledgers by day, of the archive and of the ledgers' sets
    recounted_units: Units = field(default_factory=dict)
    units: Units = field(default_factory=dict)
    missummed: Sequence[str] = ()  # ledgers whose published sums are not those of their counts
    unlisted: Sequence[str] = ()  # writers whose decisions count, but who are on no list of writers
    # Current patterns whose published figures are not those of the archive
    misfigured: Sequence[str] = ()
    # Agents and types whose `source_metrics` are not those of the archive
    mismetered: Sequence[str] = ()
    stored: int = 0  # admissible decisions in their table, before anything else was looked at
    unseen: int = 0  # those whose present state the archive does not hold
    unseen_keys: Sequence[keys.Key] = ()  # some of them
    # Messages that queues and dead-letter queues hold
    depths: Mapping[str, int] = field(default_factory=dict)
    # What the pump of the decisions' stream last reported, if there ever was one
    pump: Mapping[str, Any] | None = None
    unpublished: int = 0  # ledger days that changed since figures were last published
    now: float = 0.0  # epoch seconds


def verify(deployment: Deployment, archive_url: str, *, wait_s: float = WAIT_S) -> Verified:
    """Recount the archive and compare every day of every ledger, in bounded memory.

    The table of decisions is read first: what it holds then must have reached the archive in the
    end, whatever clocks say. While work is on its way it looks again, at most for `wait_s`
    seconds; later looks read new parts of the archive only.
    """
    began = time.monotonic()
    items, archive = Items(deployment), archive_at(deployment, archive_url)
    reads, known = (
        TableReads(deployment.dynamodb, prefix=deployment.prefix),
        known_patterns(deployment),
    )
    settings = Settings.read()
    event_ahead, horizons = settings.event_ahead, settings.outcome_horizon
    names = [*QUEUES, *(name + DLQ_SUFFIX for name in QUEUES)]
    pause = _POLL_S
    with Recount(known.versions) as recount:
        for item in map(item_from_wire, items.scan(DECISIONS)):
            if is_admissible("decision", item, event_ahead=event_ahead):
                recount.note_stored(item)
        while True:
            # Depths first: a message that leaves its queue afterwards has already had its effect.
            depths = {name: Mailbox(deployment, name).depth().total for name in names}
            # Marks before sums: what is published meanwhile must not look missummed unmarked.
            unpublished = sum(1 for pk in keys.changed_pks() for _ in items.query(PIPELINE, pk))
            damages = recount.read(archive)
            recounted, ledgers = recount.counts(), stored_ledgers(items)
            recounted_units = recount.arms()
            evidence = Evidence(
                archive_url=archive_url,
                damages=damages,
                decisions=recount.decisions,
                patterns=len(known.versions),
                unreadable=len(known.unreadable),
                recounted=recounted,
                ledgers=ledgers.of(known.versions),
                recounted_units=recounted_units,
                units=stored_units(reads, known.versions),
                missummed=ledgers.missummed(),
                unlisted=_unlisted(items, ledgers.counts),
                misfigured=_misfigured(
                    items,
                    known.versions,
                    recounted,
                    figures(known.versions, recounted, arms=recounted_units, horizons=horizons),
                    recounted_units,
                ),
                mismetered=_mismetered(items, recounted, recount.names),
                stored=recount.stored,
                unseen=recount.unseen,
                unseen_keys=recount.unseen_keys(EXAMPLES),
                depths=depths,
                pump=items.get(PIPELINE, keys.pump_presence(DECISIONS)),
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
    """Open the archive of a deployment.

    Raises:
        Misused: the URL names none.
    """
    try:
        return open_archive(archive_url, s3=deployment.s3)
    except ValueError as error:
        raise Misused(str(error)) from error


def known_patterns(deployment: Deployment) -> Known:
    """Read every pattern version that counts decisions, or did."""
    return listed(TableReads(deployment.dynamodb, prefix=deployment.prefix))


@dataclass(frozen=True)
class Stored:
    """What the ledgers hold."""

    # As learning left them, by subject and day, of ledgers too that nothing should fill
    counts: dict[str, Days] = field(default_factory=dict)
    days: dict[str, Days] = field(default_factory=dict)  # as publishing summed them up by day
    totals: dict[str, Counts] = field(default_factory=dict)  # as publishing summed them up
    # What base ledgers count of their seats, by number: as learning left it, and as summed up
    seats: dict[str, dict[str, list[Counts]]] = field(default_factory=dict)
    day_seats: dict[str, dict[str, list[Counts]]] = field(default_factory=dict)

    def of(self, versions: Sequence[PatternVersion]) -> dict[str, Days]:
        """Give the counts of each ledger, and those of versions that are seated by their subject.

        Args:
            versions: all of them. Counts of a seat that is none of theirs are those of a pattern
                that went with its agent's data, from a ledger that stayed.
        """
        found = dict(self.counts)

        def rows_of(subject: str) -> dict[str, Row]:
            seats = self.seats.get(subject, {})
            days = self.counts.get(subject, {})
            return {day: one.to_row(seats.get(day, ())) for day, one in days.items()}

        for version in versions:
            if version.is_seated:
                # Its own ledger comes first: nothing should fill it, and what does is shown.
                places = {version.subject: None, **places_of(version, versions)}
                if days := days_in(places, rows_of):
                    found[version.subject] = days
        return found

    def missummed(self) -> list[str]:
        """Name the ledgers whose sums are not those of their counts."""
        return sorted(
            subject
            for subject in self.counts.keys() | self.days.keys() | self.totals.keys()
            if not self._is_summed(subject)
        )

    def _is_summed(self, subject: str) -> bool:
        # A pattern that has counted nothing yet has a total of nothing, and no day.
        counts, days = self.counts.get(subject, {}), self.days.get(subject, {})
        seats = self.seats.get(subject, {})
        if counts.keys() != days.keys() or seats != self.day_seats.get(subject, {}):
            return False
        # Of sources a sum keeps those used most, so a total is that of its days as they are kept.
        # A repeated attempt raises the revision of a head whose counts stay as they are.
        wanted = {day: replace(one.summed(), revision=0) for day, one in counts.items()}
        pairs = [(wanted[day], days[day]) for day in wanted]
        pairs.append((total(wanted.values()).summed(), self.totals.get(subject, Counts())))
        pairs = [(one, replace(summed, revision=0)) for one, summed in pairs]
        # A worker of an older release may have summed up last, and kept less.
        return all(summed in (one, Counts.from_row(one.to_row()[:9])) for one, summed in pairs)


def stored_ledgers(items: Items) -> Stored:
    """Read the counts of every ledger."""
    # A scan: nothing lists the ledgers, and one that should not be there is on no list anyway.
    found = items.scan(
        PIPELINE,
        FilterExpression="begins_with(PK, :ledger) AND attribute_exists(c)",
        ExpressionAttributeValues={":ledger": {"S": keys.ledger_pk("")}},
    )
    return stored_in(map(item_from_wire, found))


def stored_in(rows: Iterable[Item]) -> Stored:
    """Sort rows of ledgers that hold counts, of whatever ledgers."""
    stored, seats = Stored(), dict[tuple[str, str], list[list[Counts]]]()
    for row in rows:
        subject, counts = keys.ledger_subject(row["PK"]) or "", Counts.from_row(row["c"])
        kind, day = keys.split_ledger_sk(row["SK"])
        if kind == "H":
            days = stored.counts.setdefault(subject, {})
            days[day] = days.get(day, Counts()) + counts
            if seated := seats_in(row["c"]):
                seats.setdefault((subject, day), []).append(seated)
        elif kind == "D":
            stored.days.setdefault(subject, {})[day] = counts
            if seated := seats_in(row["c"]):
                stored.day_seats.setdefault(subject, {})[day] = seated
        else:
            stored.totals[subject] = counts
    for (subject, day), lists in seats.items():
        by_seat = zip_longest(*lists, fillvalue=Counts())
        stored.seats.setdefault(subject, {})[day] = [total(each) for each in by_seat]
    return stored


def stored_units(
    reads: Reads,
    versions: Sequence[PatternVersion],
    *,
    wanted: Iterable[PatternVersion] | None = None,
) -> Units:
    """Count the units of evidence that the sets of ledgers hold, by subject and day.

    Args:
        reads: strong reads.
        versions: all versions.
        wanted: some of them; else it counts for all.
    """
    counted = {
        version.subject: stored_arms(places_of(version, versions), reads)
        for version in (versions if wanted is None else wanted)
    }
    return {subject: days for subject, days in counted.items() if days}


def _unlisted(items: Items, ledgers: Ledgers) -> list[str]:
    """Name the writers whose decisions are counted, but who are on no list of writers."""
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
    items: Items,
    versions: Sequence[PatternVersion],
    recounted: Ledgers,
    expected: Mapping[str, Figures],
    arms: Mapping[str, Mapping[str, Arms]],
) -> list[str]:
    """Name the current patterns whose published figures are not those of the archive."""
    wrong = []
    for version, bases in zip(versions, bases_of(versions, recounted), strict=True):
        if version.effective_to is not None or version.subject not in recounted:
            continue
        row = items.get(MEMORY, keys.Key(version.pk, version.definition.pattern_id)) or {}
        # Its base may have been frozen since the list was read; it is stored once and never again.
        entry = items.get(PIPELINE, keys.known_pattern(version.subject))
        based = version if entry is None else PatternVersion.of_entry(entry)
        rest = rest_of(recounted[version.subject], bases)
        weighed = weigh(based, arms.get(version.subject, {}), rest)
        values = {**attributes(expected[version.subject]), **weighed_attributes(weighed)}
        if row.get("version") == version.version and any(
            row.get(name) != value for name, value in values.items() if not name.startswith("GSI")
        ):
            wrong.append(version.subject)
    return wrong


def _mismetered(
    items: Items, recounted: Ledgers, names: Mapping[tuple[str, int], str]
) -> list[str]:
    """Name the agents and types whose published sources did otherwise by the archive."""
    wrong = []
    for subject, days in recounted.items():
        if pair := keys.split_sources_subject(subject):
            used = total(one.summed() for one in days.values()).summed().used
            own = {code: name for (agent, code), name in names.items() if agent == pair[0]}
            stored = items.get(STATE, keys.metrics(*pair)) or {}
            if any(stored.get(name) != said for name, said in content_of(used, own).items()):
                wrong.append(" of ".join(reversed(pair)))
    return sorted(wrong)


def judge(evidence: Evidence) -> Verified:
    """Say what evidence means."""
    disagreements = [
        Disagreement(subject=subject, day=day, stored=_shown(stored), recounted=_shown(recounted))
        for subject, day, stored, recounted in _days(evidence)
        if _comparable(stored, recounted) != recounted
    ]
    return Verified(
        decisions=evidence.decisions,
        patterns_checked=evidence.patterns,
        ledgers_checked=len(evidence.recounted.keys() | evidence.ledgers.keys()),
        archived_digest=digest_of(evidence.recounted, evidence.recounted_units),
        stored_digest=digest_of(evidence.ledgers, evidence.units),
        disagreements=disagreements,
        findings=[
            *_on_its_way(evidence),
            *_archive_faults(evidence, disagreements),
            *_published(evidence),
        ],
    )


def _on_its_way(evidence: Evidence) -> Iterator[Finding]:
    """Name what may still be on its way, so that a comparison would mean nothing."""
    for name, count in evidence.depths.items():
        queue = name.removesuffix(DLQ_SUFFIX)
        if count and queue != name:
            what = f"{name} holds {plural(count, 'dead letter')}, which nobody counted or archived"
            yield Finding("dead_letters", what, f"sharpwave dlq redrive {queue}")
        elif count:
            what = f"queue {name} still holds {plural(count, 'message')}, delayed ones included"
            remedy = "wait until it is empty, or give --wait; sharpwave workers ls"
            yield Finding("pending", what, remedy)
    # Without a row no pump ever ran here: at AWS a mapping reads the stream, and says nothing.
    if (report := evidence.pump) is not None:
        pump = f"the pump of {DECISIONS}"
        silent_s, lag_s = evidence.now - float(report["at"]), float(report["lag_s"])
        if silent_s > PUMP_SILENT_S:
            what = f"{pump} last reported {silent_s:.0f} s ago"
            yield Finding("pump_silent", what, "sharpwave up, or sharpwave pump")
        elif lag_s > PUMP_LATE_S:
            what = f"{pump} reads {lag_s:.0f} s behind its stream"
            yield Finding("pump_late", what, "wait, and look at sharpwave doctor")
        if report.get("failing_shards"):
            what = f"{pump} fails on {report['failing_shards']} of {report['open_shards']} shards"
            remedy = "read its log; it goes on by itself once the cause is gone"
            yield Finding("pump_failing", what, remedy)
    if evidence.unpublished:
        what = f"{plural(evidence.unpublished, 'ledger day')} changed after figures were published"
        remedy = "wait for the next tick; a pump and a worker of learn must run"
        yield Finding("unpublished", what, remedy)


def _archive_faults(evidence: Evidence, disagreements: Sequence[Disagreement]) -> Iterator[Finding]:
    """Name what is wrong with the archive, or else with single days and records."""
    for damage in evidence.damages[:EXAMPLES]:
        what = f"part {damage.part} of the archive cannot be read: {damage.reason}"
        yield Finding("damaged_archive", what, _RESTORE)
    if len(evidence.damages) > EXAMPLES:
        what = f"{len(evidence.damages) - EXAMPLES} more parts of the archive cannot be read"
        yield Finding("damaged_archive", what, _RESTORE)
    at = evidence.archive_url
    # Nothing in common with the tables: every day and record would differ, for one cause.
    if not evidence.decisions and (evidence.ledgers or evidence.stored):
        what = (
            f"nothing is archived at {at}, but there are {plural(len(evidence.ledgers), 'ledger')} "
            f"and {plural(evidence.stored, 'decision')} in {DECISIONS}"
        )
        yield Finding("empty_archive", what, _ANOTHER)
    elif (
        evidence.decisions
        and evidence.unseen == evidence.stored
        and not any(
            _comparable(stored, recounted) == recounted != Counts()
            for _, _, stored, recounted in _days(evidence)
        )
    ):
        what = (
            f"the archive at {at} is another deployment's, or older than these tables: of its "
            f"{plural(evidence.decisions, 'decision')} none is here"
        )
        yield Finding("foreign_archive", what, _ANOTHER)
    else:
        yield from _differences(evidence, disagreements)


def _differences(evidence: Evidence, disagreements: Sequence[Disagreement]) -> Iterator[Finding]:
    by_kind: dict[str, list[Disagreement]] = {}
    for each in disagreements:
        ledger = total(evidence.ledgers.get(each.subject, {}).values())
        stored, recounted = (side["n"] + side["pending"] for side in (each.stored, each.recounted))
        # In sum the two agree, so what differs is only the day that something was counted on.
        archived = total(evidence.recounted.get(each.subject, {}).values())
        if _comparable(ledger, archived) == archived:
            kind = "moved"
        elif all(each.stored[name] == each.recounted[name] for name in _BASIC):
            kind = "stated"
        elif stored == recounted:
            kind = "outcomes"
        else:
            kind = "not_archived" if stored > recounted else "not_counted"
        by_kind.setdefault(kind, []).append(each)
    for kind, (what, remedy) in _KINDS.items():
        if found := by_kind.get(kind):
            named = "; ".join(
                f"{each.subject} on {each.day} has stored {_words(each.stored)}, "
                f"recounted {_words(each.recounted)}"
                for each in found[:EXAMPLES]
            )
            text = f"{plural(len(found), 'day')} of ledgers {what}: {named}"
            yield Finding(kind, text + _more(len(found), EXAMPLES), remedy)
    if not disagreements:
        # Else they follow from the days that differ.
        yield from _other_units(evidence)
    if evidence.unseen:
        named = ", ".join(f"{key.pk} {key.sk}" for key in evidence.unseen_keys)
        text = (
            f"{plural(evidence.unseen, 'decision')} in {DECISIONS} never reached the archive as "
            f"they are now: {named}{_more(evidence.unseen, len(evidence.unseen_keys))}"
        )
        yield Finding("unseen", text, f"sharpwave reconcile {DECISIONS}")


def _other_units(evidence: Evidence) -> Iterator[Finding]:
    """Name the ledgers whose units of evidence are others than the archive's."""
    found = []
    for subject in sorted(evidence.units.keys() | evidence.recounted_units.keys()):
        ours, theirs = (
            side.get(subject, {}) for side in (evidence.units, evidence.recounted_units)
        )
        for day in sorted(ours.keys() | theirs.keys()):
            stored, recounted = ours.get(day, Arms()), theirs.get(day, Arms())
            if stored != recounted:
                found.append(
                    f"{subject} on {day} has stored {stored.n} with {stored.s} successes, "
                    f"recounted {recounted.n} with {recounted.s}"
                )
    if found:
        what = (
            f"{plural(len(found), 'day')} of ledgers hold other units of evidence than the archive"
        )
        named = "; ".join(found[:EXAMPLES]) + _more(len(found), EXAMPLES)
        yield Finding("units", f"{what}: {named}", _FED)


def _published(evidence: Evidence) -> Iterator[Finding]:
    """Name what readers are told otherwise than it is."""
    if evidence.unreadable:
        what = f"{plural(evidence.unreadable, 'pattern version')} cannot be read by this release"
        remedy = "verify with the newer release that imported them; their decisions wait for it"
        yield Finding("unreadable", what, remedy)
    # What waits for the next tick is told as that, and need not be right before it.
    missummed, misfigured = evidence.missummed, evidence.misfigured
    mismetered = evidence.mismetered
    if evidence.unpublished:
        missummed = misfigured = mismetered = ()
    kinds = (
        ("not_summed", "ledger", "published sums other than their counts", missummed),
        ("unlisted", "writer", "decisions that count, and no base rate knows", evidence.unlisted),
        ("misfigured", "pattern", "other figures than the archive gives", misfigured),
        ("mismetered", "item", "other metrics of sources than the archive gives", mismetered),
    )
    for kind, noun, what, names in kinds:
        if names:
            named = ", ".join(names[:EXAMPLES]) + _more(len(names), EXAMPLES)
            text = f"{plural(len(names), noun)} with {what}: {named}"
            yield Finding(kind, text, f"sharpwave reconcile {DECISIONS}")


def _days(evidence: Evidence) -> Iterator[tuple[str, str, Counts, Counts]]:
    """Give every day of every ledger that either side has."""
    for subject in sorted(evidence.recounted.keys() | evidence.ledgers.keys()):
        stored = evidence.ledgers.get(subject, {})
        recounted = evidence.recounted.get(subject, {})
        for day in sorted(stored.keys() | recounted.keys()):
            yield subject, day, stored.get(day, Counts()), recounted.get(day, Counts())


def _words(counts: Mapping[str, Any]) -> str:
    return f"{counts['n']} with {counts['s']} successes and {counts['pending']} pending"


def _more(count: int, named: int) -> str:
    return f", and {count - named} more" if count > named else ""


def _comparable(counts: Counts, archived: Counts) -> Counts:
    # How often a ledger was written, and how its slots divide units, is its own affair.
    kept = replace(counts, revision=0, units=0)
    if counts.q_sq is not None:
        return kept
    # An older release wrote some of them, which kept no such sums.
    names = ("q_sq", "applied_weights", "other_weights", "confidences", "used")
    return replace(kept, **{name: getattr(archived, name) for name in names})


def _shown(counts: Counts) -> dict[str, Any]:
    shown: dict[str, Any] = {name: getattr(counts, name) for name in _BASIC}
    sums = {
        "weights": [*counts.applied_weights.numbers(), *counts.other_weights.numbers()],
        "confidences": counts.confidences.numbers(),
        "used": counts.used.numbers(),
    }
    used = {name: numbers for name, numbers in sums.items() if any(numbers)}
    return {**shown, "q_sq": counts.q_sq, **used}
