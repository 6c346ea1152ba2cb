"""How agents do, by day: from what is counted and stored anyway, so no event costs more for it.

Volumes, success and quality are the ledgers', of sources and of the buckets they are compared in
too. How long acknowledgements took is in the rows of inboxes, and how long signals took to their
queues in the mirrors. How long outcomes took is in the archive alone. All is recomputed whole
whenever it is asked for, so nothing that comes late or twice can spoil it.
"""

import json
import sqlite3
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, fields, replace
from itertools import islice
from typing import Any, Literal, Self

from sharpwave.infra.connection import Deployment
from sharpwave.infra.errors import Misused
from sharpwave.infra.items import Item, Items
from sharpwave.infra.operate.verify import archive_at, known_patterns, stored_ledgers
from sharpwave.producers.operations.timings import acknowledged_after, delivered_after
from sharpwave.schemas import keys
from sharpwave.schemas.numbers import item_from_wire
from sharpwave.schemas.sketch import Sketch
from sharpwave.schemas.tables import PIPELINE, SIGNALS
from sharpwave.schemas.times import is_day
from sharpwave.workers.aws.tables import TableReads
from sharpwave.workers.patterns.counts import QUALITY_SCALE, Counts, Days, total
from sharpwave.workers.patterns.metrics import unnamed
from sharpwave.workers.patterns.recount import Damage, Parts, Recount, place_of
from sharpwave.workers.patterns.sources import names_in
from sharpwave.workers.router.router import MAX_CHUNK_NAME
from sharpwave.workers.signals.mirror import Holder, look

Kind = Literal["type", "pattern", "source", "bucket", "inbox", "delivery"]
#: Rows whose mirrors are read at once.
_PAGE = 1_000
_SCHEMA = """
CREATE TABLE told (
    key BLOB, content BLOB, agent TEXT, type TEXT, named TEXT, timestamp REAL, outcome_at REAL,
    PRIMARY KEY (key, content)
) WITHOUT ROWID
"""
_TELL = """
INSERT INTO told VALUES (?, ?, ?, ?, ?, ?, ?) ON CONFLICT DO UPDATE SET
    outcome_at = ifnull(
        min(outcome_at, excluded.outcome_at), ifnull(outcome_at, excluded.outcome_at)
    )
"""


@dataclass(frozen=True, kw_only=True, order=True)
class Subject:
    """Whose figures of which period.

    Attributes:
        kind: `type` and `pattern` of decisions, `source` of those that selected a source, `bucket`
            of those that were made in one; `inbox` of signals received, `delivery` of their way.
        agent_id: who decided or received; of a pattern its owner.
        type_name: of decisions or signals; of a pattern that of its decisions.
        name: of the pattern, with its version, of the source or bucket; the sender of signals.
        day: of the decision, or on which the signal was written; "" for all that were asked for.
    """

    kind: Kind
    agent_id: str
    type_name: str
    name: str
    day: str


@dataclass(frozen=True, kw_only=True)
class Tally:
    """What was counted; `times` are of outcomes, acknowledgements or deliveries."""

    volume: int = 0
    outcomes: int = 0
    successes: int = 0
    q_sum: int = 0
    q_n: int = 0
    times: Sketch = field(default_factory=Sketch)

    def __add__(self, more: "Tally") -> "Tally":
        """Merge what was counted of disjoint events."""
        mine = (getattr(self, each.name) + getattr(more, each.name) for each in fields(self))
        return Tally(**dict(zip((each.name for each in fields(self)), mine, strict=True)))


@dataclass(frozen=True, kw_only=True)
class Row:
    """The figures of one subject, flat: a line of the table, of CSV and of Parquet alike.

    Attributes:
        kind: as are the next four, see `Subject`.
        volume: decisions made, or signals received.
        outcomes: those with an outcome, or that ended: acknowledged or expired; of deliveries
            those of which it is known when they were handed to the target's queue.
        successes: those that succeeded, were acknowledged as `PROCESSED`, or were handed over.
        success_rate: successes / outcomes.
        quality: mean quality of those outcomes that state one, 0 to 1.
        p50_s: seconds until outcome, acknowledgement or hand-over that half do not exceed.
        p95_s: likewise 95 %.
        p99_s: likewise 99 %.
    """

    kind: Kind
    agent_id: str
    type_name: str
    name: str
    day: str
    volume: int
    outcomes: int
    successes: int
    success_rate: float | None
    quality: float | None
    p50_s: float | None
    p95_s: float | None
    p99_s: float | None

    @classmethod
    def of(cls, subject: Subject, tally: Tally) -> Self:
        """Compute the figures of what was counted."""
        q = tally.q_sum / tally.q_n / QUALITY_SCALE if tally.q_n else None
        return cls(
            **vars(subject),
            volume=tally.volume,
            outcomes=tally.outcomes,
            successes=tally.successes,
            success_rate=round(tally.successes / tally.outcomes, 4) if tally.outcomes else None,
            quality=None if q is None else round(q, 4),
            p50_s=tally.times.quantile(0.5),
            p95_s=tally.times.quantile(0.95),
            p99_s=tally.times.quantile(0.99),
        )


@dataclass(frozen=True, kw_only=True)
class Wanted:
    """Which figures are asked for; days are `YYYY-MM-DD`, both included."""

    agent_id: str | None = None
    type_name: str | None = None
    since: str = ""
    until: str = "~"

    def __post_init__(self) -> None:
        for day in (self.since, self.until):
            if day not in ("", "~") and not is_day(day):
                raise Misused(f"{day!r} is no day; write it as 2026-11-22")

    def takes(self, subject: Subject) -> bool:
        """Say whether a subject is asked for."""
        return (
            self.agent_id in (None, subject.agent_id)
            and self.type_name in (None, subject.type_name)
            and self.since <= subject.day <= self.until
        )


@dataclass(frozen=True, kw_only=True)
class Analytics:
    """Figures, and what a recount of the archive says of them.

    Attributes:
        rows: the figures in order.
        times: the sketches behind the quantiles, of those subjects that have some.
        differing: days whose ledgers and archive disagree; empty too where none was asked.
        damages: parts of the archive that cannot be read.
    """

    rows: Sequence[Row]
    times: Mapping[Subject, Sketch] = field(default_factory=dict)
    differing: Sequence[Subject] = ()
    damages: Sequence[Damage] = ()

    @property
    def ok(self) -> bool:
        """Say whether nothing disagrees."""
        return not self.differing and not self.damages


def analyse(
    deployment: Deployment,
    wanted: Wanted,
    *,
    archive_url: str | None = None,
    whole: bool = False,
    deliveries: bool = False,
) -> Analytics:
    """Gather figures; reads the table `pipeline` and inboxes, and the archive if one is named.

    Args:
        deployment: whose.
        wanted: which.
        archive_url: recount this archive too: it knows how long outcomes took, and its counts are
            held against the ledgers'.
        whole: one row for all days instead of one for each.
        deliveries: read the mirror of each signal received too, while there is one.
    """
    items, versions = Items(deployment), known_patterns(deployment).versions
    types = {version.subject: version.definition.decision_type for version in versions}
    names = _Names(items)
    found = _of_ledgers(stored_ledgers(items).of(versions), types, wanted, names)
    differing: list[Subject] = []
    damages: list[Damage] = []
    if archive_url:
        with Recount(versions) as recount, _Told(archive_at(deployment, archive_url)) as told:
            damages = recount.read(told)
            archived = _of_ledgers(recount.counts(), types, wanted, names)
            differing = sorted(
                subject
                for subject in found.keys() | archived.keys()
                if found.get(subject, Tally()) != archived.get(subject, Tally())
            )
            for subject, tally in told.tallies(recount):
                if wanted.takes(subject):
                    # The ledgers have counted it; its time is what they do not know.
                    found[subject] = found.get(subject, Tally()) + Tally(times=tally.times)
    mirrors = TableReads(deployment.dynamodb, prefix=deployment.prefix) if deliveries else None
    for subject, tally in _of_inboxes(items, wanted, mirrors):
        found[subject] = found.get(subject, Tally()) + tally
    if whole:
        merged: dict[Subject, Tally] = {}
        for subject, tally in found.items():
            ever = replace(subject, day="")
            merged[ever] = merged.get(ever, Tally()) + tally
        found = merged
    rows = [Row.of(subject, found[subject]) for subject in sorted(found)]
    times = {subject: found[subject].times for subject in sorted(found)}
    times = {subject: sketch for subject, sketch in times.items() if sketch.buckets}
    return Analytics(rows=rows, times=times, differing=differing, damages=damages)


class _Names:
    """What agents' codes of sources and buckets stand for, each agent's read when it is met."""

    def __init__(self, items: Items) -> None:
        self._items = items
        self._names: dict[str, dict[str, str]] = {}

    def of(self, agent_id: str, code: int) -> str:
        pk, sk = keys.source_name(agent_id, code)
        if agent_id not in self._names:
            found = self._items.query(PIPELINE, pk)
            self._names[agent_id] = {each["SK"]: each["name"] for each in found}
        return self._names[agent_id].get(sk, unnamed(code))


def _of_ledgers(
    ledgers: Mapping[str, Days], types: Mapping[str, str], wanted: Wanted, names: _Names
) -> dict[Subject, Tally]:
    """Sum up ledgers by what they count; epochs of one agent and type are one."""
    counts: dict[Subject, list[Counts]] = {}
    for name, days in ledgers.items():
        if pair := keys.split_sources_subject(name):
            for day, one in days.items():
                whole = Subject(
                    kind="source", agent_id=pair[0], type_name=pair[1], name="", day=day
                )
                if not wanted.takes(whole):
                    continue
                for bucket, source, pending, n, s, q_sum, q_n in one.used.sums:
                    # The bucket as a whole has no source; each source counts over all buckets.
                    subject = replace(
                        whole,
                        kind="source" if source else "bucket",
                        name=names.of(pair[0], source or bucket),
                    )
                    part = Counts(n=n, s=s, q_sum=q_sum, q_n=q_n, pending=pending)
                    counts.setdefault(subject, []).append(part)
            continue
        base = keys.split_base_subject(name)
        owner, _, pattern = name.partition(":")[2].partition(":")
        for day, one in days.items():
            subject = (
                Subject(kind="type", agent_id=base[0], type_name=base[1], name="", day=day)
                if base
                else Subject(
                    kind="pattern",
                    agent_id=owner,
                    type_name=types.get(name, ""),
                    name=pattern,
                    day=day,
                )
            )
            if wanted.takes(subject):
                counts.setdefault(subject, []).append(one)
    return {subject: _tally(total(found)) for subject, found in counts.items()}


def _tally(counts: Counts) -> Tally:
    volume = counts.n + counts.pending
    return Tally(
        volume=volume, outcomes=counts.n, successes=counts.s, q_sum=counts.q_sum, q_n=counts.q_n
    )


def _of_inboxes(
    items: Items, wanted: Wanted, mirrors: TableReads | None
) -> Iterator[tuple[Subject, Tally]]:
    """Give what became of each signal, by the rows of who received it, and how it got there."""
    agents = (
        [entry["SK"] for entry in items.query(PIPELINE, keys.KNOWN_AGENTS_PK)]
        if wanted.agent_id is None
        else [wanted.agent_id]
    )
    # A row's key begins with the time of its signal; "~" is behind all times of the last day.
    between = (wanted.since or " ", wanted.until.removesuffix("~") + "~")
    for agent in agents:
        rows = items.query(SIGNALS, keys.inbox_pk(agent), between=between)
        while page := list(islice(rows, _PAGE)):
            told = [(row, found) for row in page if (found := _of_row(agent, row))]
            told = [(row, found) for row, found in told if wanted.takes(found[0])]
            yield from (found for _, found in told)
            if mirrors is not None:
                yield from _of_mirrors(agent, told, mirrors)


def _of_mirrors(
    agent_id: str, told: Sequence[tuple[Item, tuple[Subject, Tally]]], mirrors: TableReads
) -> Iterator[tuple[Subject, Tally]]:
    """Give how long signals took to the queue, by the mirrors of those that are still there."""
    holders: dict[str, Holder] = {}
    for row, _ in told:
        # What an agent wrote over may name any key, even one that no request may hold.
        signal = keys.Key(str(row.get("signal_pk")), str(row.get("signal_sk")))
        chunk = row.get("chunk")
        parsed = keys.parse(SIGNALS, *signal)
        if parsed is not None and parsed.kind == "signal":
            is_chunk = isinstance(chunk, str) and 0 < len(chunk) <= MAX_CHUNK_NAME
            holders[row["SK"]] = Holder(signal, chunk if is_chunk else None)
    found = look(dict.fromkeys(holders.values()), mirrors, strong=False)
    for row, (subject, _) in told:
        holder = holders.get(row["SK"])
        held = found.get(holder) if holder is not None else None
        entry = ((held and held.entries) or {}).get(agent_id, {})
        times = Sketch.of([delivered_after(row["SK"], entry)])
        tally = Tally(volume=1, outcomes=times.count, successes=times.count, times=times)
        yield replace(subject, kind="delivery"), tally


def _of_row(agent_id: str, row: Item) -> tuple[Subject, Tally] | None:
    # A row is its agent's to write over: what says too little of itself counts for nothing.
    kind, source, status = row.get("signal_type"), row.get("source_agent"), row.get("status")
    if not (isinstance(kind, str) and isinstance(source, str)):
        return None
    day = keys.time_and_id(row["SK"])[0][:10]
    return (
        Subject(kind="inbox", agent_id=agent_id, type_name=kind, name=source, day=day),
        Tally(
            volume=1,
            outcomes=int(status != "PENDING"),
            successes=int(status == "PROCESSED"),
            times=Sketch.of([acknowledged_after(row)]),
        ),
    )


class _Told:
    """An archive that notes, while a recount reads it, what the recount does not count.

    As the recount's, its notes are in a file: states come in any order, any number of times.
    """

    def __init__(self, archive: Parts) -> None:
        self._archive = archive
        self._file = sqlite3.connect("", isolation_level=None)
        self._file.execute("PRAGMA journal_mode = OFF")
        self._file.execute(_SCHEMA)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._file.close()

    def part_names(self) -> Iterable[str]:
        """Name every part."""
        return self._archive.part_names()

    def read(self, name: str) -> Iterator[Mapping[str, Any]]:
        """Read the lines of one part, and note them."""
        for line in self._archive.read(name):
            yield line
            # Afterwards: what the recount stumbles over ends this here.
            if line["state"] == "refusal":
                continue
            state, stored_at = item_from_wire(line["image"]), float(line["stored_at"])
            row = (
                *place_of(state),
                state["agent_id"],
                state["decision_type"],
                json.dumps(names_in(state)),
                float(state["timestamp"]),
                # Of the times it was stored with an outcome the first: a correction, or a
                # reconcile that feeds it again, comes later.
                stored_at if isinstance(state.get("outcome"), Mapping) else None,
            )
            self._file.execute(_TELL, row)

    def tallies(self, recount: Recount) -> Iterator[tuple[Subject, Tally]]:
        """Give each decision that counts for its type, its bucket and each of its sources."""
        for key, content, day, one in recount.standing():
            noted = self._file.execute(
                "SELECT agent, type, named, timestamp, outcome_at FROM told"
                " WHERE key = ? AND content = ?",
                (key, content),
            ).fetchone()
            if noted is None:
                continue  # its line is damaged, which is said of its part
            agent, kind, named, made_at, outcome_at = noted
            times = Sketch()
            if one.n and outcome_at is not None:
                times.add(outcome_at - made_at)
            tally = replace(_tally(one), times=times)
            of_type = Subject(kind="type", agent_id=agent, type_name=kind, name="", day=day)
            yield of_type, tally
            bucket, sources = json.loads(named)
            if bucket:
                yield replace(of_type, kind="bucket", name=bucket), tally
            for name in sources:
                yield replace(of_type, kind="source", name=name), tally
