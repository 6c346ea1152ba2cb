"""What evidence about counts and their archive means: each thing that is wrong, and its remedy."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from sharpwave.infra.cli.output import plural
from sharpwave.schemas import keys
from sharpwave.schemas.queues import DLQ_SUFFIX
from sharpwave.schemas.tables import DECISIONS
from sharpwave.workers.patterns.counts import Counts, Days, total
from sharpwave.workers.patterns.recount import Damage

Ledgers = Mapping[str, Days]

#: A pump that last reported longer ago than this, in seconds, is taken for dead.
PUMP_SILENT_S = 30.0
#: A stream that is read later than this, in seconds, is called late.
PUMP_LATE_S = 10.0
#: How many examples a finding names.
EXAMPLES = 5

#: Kinds of findings that may pass by themselves.
_PASSING = frozenset({"pending", "pump_late", "unpublished", "unseen"})
_RESTORE = "restore it from the bucket's versions or a backup"
_ANOTHER = "--archive URL, or set SHARPWAVE_ARCHIVE as the workers of archive have it"
_FED = f"sharpwave dlq redrive learn, then sharpwave reconcile {DECISIONS}"
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
}


@dataclass(frozen=True, kw_only=True)
class Disagreement:
    """One day of a ledger whose stored counts differ from the recount."""

    subject: str
    day: str
    stored: Mapping[str, int]
    recounted: Mapping[str, int]


@dataclass(frozen=True, kw_only=True)
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
    disagreements: Sequence[Disagreement]
    findings: Sequence[Finding]

    @property
    def ok(self) -> bool:
        """Say whether everything that was written is counted, and counted right."""
        return not self.findings and not self.disagreements

    @property
    def may_pass(self) -> bool:
        """Say whether something of what was found is work that may only be on its way."""
        return any(each.kind in _PASSING for each in self.findings)


@dataclass(frozen=True, kw_only=True)
class Evidence:
    """What is known about a deployment and its archive at one moment.

    Attributes:
        archive_url: where the archive is.
        damages: parts of the archive that cannot be read.
        decisions: decisions that are archived.
        patterns: versions of patterns that count, or did.
        unreadable: versions among them that this release cannot read.
        recounted: counts by the archive.
        ledgers: counts by the ledgers.
        missummed: ledgers whose published sums are not those of their counts.
        unlisted: writers whose decisions count, but who are on no list of writers.
        misfigured: current patterns whose published figures are not those of the archive.
        stored: admissible decisions in their table, before anything else was looked at.
        unseen: those whose present state the archive does not hold.
        unseen_keys: some of them.
        depths: messages that queues and dead-letter queues hold.
        pump: what the pump of the decisions' stream last reported, if there ever was one.
        unpublished: ledger days that changed since figures were last published.
        now: epoch seconds.
    """

    archive_url: str
    damages: Sequence[Damage] = ()
    decisions: int = 0
    patterns: int = 0
    unreadable: int = 0
    recounted: Ledgers = field(default_factory=dict)
    ledgers: Ledgers = field(default_factory=dict)
    missummed: Sequence[str] = ()
    unlisted: Sequence[str] = ()
    misfigured: Sequence[str] = ()
    stored: int = 0
    unseen: int = 0
    unseen_keys: Sequence[keys.Key] = ()
    depths: Mapping[str, int] = field(default_factory=dict)
    pump: Mapping[str, Any] | None = None
    unpublished: int = 0
    now: float = 0.0


def judge(evidence: Evidence) -> Verified:
    """Say what evidence means."""
    subjects = evidence.recounted.keys() | evidence.ledgers.keys()
    disagreements = list(_disagreements(evidence))
    findings = [
        *_on_its_way(evidence),
        *_archive_faults(evidence, disagreements),
        *_published(evidence),
    ]
    return Verified(
        decisions=evidence.decisions,
        patterns_checked=evidence.patterns,
        ledgers_checked=len(subjects),
        disagreements=disagreements,
        findings=findings,
    )


def _on_its_way(evidence: Evidence) -> Iterator[Finding]:
    """Name what may still be on its way, so that a comparison would mean nothing."""
    for name, count in evidence.depths.items():
        queue = name.removesuffix(DLQ_SUFFIX)
        if count and queue != name:
            what = f"{name} holds {plural(count, 'dead letter')}, which nobody counted or archived"
            yield Finding(kind="dead_letters", what=what, remedy=f"sharpwave dlq redrive {queue}")
        elif count:
            what = f"queue {name} still holds {plural(count, 'message')}, delayed ones included"
            remedy = "wait until it is empty, or give --wait; sharpwave workers ls"
            yield Finding(kind="pending", what=what, remedy=remedy)
    yield from _pump(evidence)
    if evidence.unpublished:
        what = f"{plural(evidence.unpublished, 'ledger day')} changed after figures were published"
        remedy = "wait for the next tick; a pump and a worker of learn must run"
        yield Finding(kind="unpublished", what=what, remedy=remedy)


def _pump(evidence: Evidence) -> Iterator[Finding]:
    # Without a row no pump ever ran here: at AWS a mapping reads the stream, and says nothing.
    report = evidence.pump
    if report is None:
        return
    silent_s, lag_s = evidence.now - float(report["at"]), float(report["lag_s"])
    if silent_s > PUMP_SILENT_S:
        what = f"the pump of {DECISIONS} last reported {silent_s:.0f} s ago"
        yield Finding(kind="pump_silent", what=what, remedy="sharpwave up, or sharpwave pump")
    elif lag_s > PUMP_LATE_S:
        what = f"the pump of {DECISIONS} reads {lag_s:.0f} s behind its stream"
        yield Finding(kind="pump_late", what=what, remedy="wait, and look at sharpwave doctor")
    if report.get("failing_shards"):
        what = (
            f"the pump of {DECISIONS} fails on {report['failing_shards']} of "
            f"{report['open_shards']} shards"
        )
        remedy = "read its log; it goes on by itself once the cause is gone"
        yield Finding(kind="pump_failing", what=what, remedy=remedy)


def _archive_faults(evidence: Evidence, disagreements: Sequence[Disagreement]) -> Iterator[Finding]:
    """Name what is wrong with the archive, or else with single days and records."""
    for damage in evidence.damages[:EXAMPLES]:
        what = f"part {damage.part} of the archive cannot be read: {damage.reason}"
        yield Finding(kind="damaged_archive", what=what, remedy=_RESTORE)
    if len(evidence.damages) > EXAMPLES:
        what = f"{len(evidence.damages) - EXAMPLES} more parts of the archive cannot be read"
        yield Finding(kind="damaged_archive", what=what, remedy=_RESTORE)
    at = evidence.archive_url
    if not evidence.decisions and (evidence.ledgers or evidence.stored):
        what = (
            f"nothing is archived at {at}, but there are {plural(len(evidence.ledgers), 'ledger')} "
            f"and {plural(evidence.stored, 'decision')} in {DECISIONS}"
        )
        yield Finding(kind="empty_archive", what=what, remedy=_ANOTHER)
    elif _is_foreign(evidence):
        what = (
            f"the archive at {at} is another deployment's, or older than these tables: of its "
            f"{plural(evidence.decisions, 'decision')} none is here"
        )
        yield Finding(kind="foreign_archive", what=what, remedy=_ANOTHER)
    else:
        yield from _differences(evidence, disagreements)


def _published(evidence: Evidence) -> Iterator[Finding]:
    """Name what readers are told otherwise than it is."""
    if evidence.unreadable:
        what = f"{plural(evidence.unreadable, 'pattern version')} cannot be read by this release"
        remedy = "verify with the newer release that imported them; their decisions wait for it"
        yield Finding(kind="unreadable", what=what, remedy=remedy)
    # What waits for the next tick is told as that, and need not be right before it.
    missummed, misfigured = evidence.missummed, evidence.misfigured
    if evidence.unpublished:
        missummed = misfigured = ()
    kinds = (
        ("not_summed", "ledger", "published sums other than their counts", missummed),
        ("unlisted", "writer", "decisions that count, and no base rate knows", evidence.unlisted),
        ("misfigured", "pattern", "other figures than the archive gives", misfigured),
    )
    for kind, noun, what, names in kinds:
        if names:
            named = ", ".join(names[:EXAMPLES]) + _more(len(names), EXAMPLES)
            text = f"{plural(len(names), noun)} with {what}: {named}"
            yield Finding(kind=kind, what=text, remedy=f"sharpwave reconcile {DECISIONS}")


def _is_foreign(evidence: Evidence) -> bool:
    """Say whether archive and tables have nothing in common: no record, and no ledger's day."""
    return (
        evidence.decisions > 0
        and evidence.unseen == evidence.stored
        and not any(
            _comparable(stored) == recounted
            for _, _, stored, recounted in _days(evidence)
            if recounted != Counts()
        )
    )


def _differences(evidence: Evidence, disagreements: Sequence[Disagreement]) -> Iterator[Finding]:
    by_kind: dict[str, list[Disagreement]] = {}
    for each in disagreements:
        by_kind.setdefault(_kind_of(each, evidence), []).append(each)
    for kind, (what, remedy) in _KINDS.items():
        if found := by_kind.get(kind):
            text = f"{plural(len(found), 'day')} of ledgers {what}: {_examples(found)}"
            yield Finding(kind=kind, what=text, remedy=remedy)
    if evidence.unseen:
        named = ", ".join(f"{key.pk} {key.sk}" for key in evidence.unseen_keys)
        what = (
            f"{plural(evidence.unseen, 'decision')} in {DECISIONS} never reached the archive as "
            f"they are now: {named}{_more(evidence.unseen, len(evidence.unseen_keys))}"
        )
        yield Finding(kind="unseen", what=what, remedy=f"sharpwave reconcile {DECISIONS}")


def _kind_of(each: Disagreement, evidence: Evidence) -> str:
    ledger = total(evidence.ledgers.get(each.subject, {}).values())
    if _comparable(ledger) == total(evidence.recounted.get(each.subject, {}).values()):
        return "moved"
    stored, recounted = (side["n"] + side["pending"] for side in (each.stored, each.recounted))
    if stored == recounted:
        return "outcomes"
    return "not_archived" if stored > recounted else "not_counted"


def _disagreements(evidence: Evidence) -> Iterator[Disagreement]:
    for subject, day, stored, recounted in _days(evidence):
        if _comparable(stored) != recounted:
            yield Disagreement(
                subject=subject, day=day, stored=_shown(stored), recounted=_shown(recounted)
            )


def _days(evidence: Evidence) -> Iterator[tuple[str, str, Counts, Counts]]:
    """Give every day of every ledger that either side has."""
    for subject in sorted(evidence.recounted.keys() | evidence.ledgers.keys()):
        stored = evidence.ledgers.get(subject, {})
        recounted = evidence.recounted.get(subject, {})
        for day in sorted(stored.keys() | recounted.keys()):
            yield subject, day, stored.get(day, Counts()), recounted.get(day, Counts())


def _examples(found: Sequence[Disagreement]) -> str:
    named = [
        f"{each.subject} on {each.day} has stored {_words(each.stored)}, "
        f"recounted {_words(each.recounted)}"
        for each in found[:EXAMPLES]
    ]
    return "; ".join(named) + _more(len(found), EXAMPLES)


def _words(counts: Mapping[str, int]) -> str:
    return f"{counts['n']} with {counts['s']} successes and {counts['pending']} pending"


def _more(count: int, named: int) -> str:
    return f", and {count - named} more" if count > named else ""


def _comparable(counts: Counts) -> Counts:
    return replace(counts, revision=0, units=0)


def _shown(counts: Counts) -> dict[str, int]:
    names = ("n", "s", "q_sum", "q_n", "applied", "applied_s", "pending")
    return {name: getattr(counts, name) for name in names}
