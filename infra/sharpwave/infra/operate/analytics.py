"""How agents do, by day: from what is counted and stored anyway, so no event costs more for it.

Volumes, success and quality are the ledgers'. How long acknowledgements took is in the rows of
inboxes. What decisions selected, and how long their outcomes took, is in the archive alone. All is
recomputed whole whenever it is asked for, so nothing that comes late or twice can spoil it.
"""

import csv
import io
import json
import math
import sqlite3
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import astuple, dataclass, field, fields, replace
from datetime import date
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, Literal, Self

from sharpwave.infra.connection import Deployment
from sharpwave.infra.errors import Misused, OperationFailed
from sharpwave.infra.items import Item, Items
from sharpwave.infra.operate.verify import archive_at, known_patterns, stored_ledgers
from sharpwave.schemas import keys
from sharpwave.schemas.numbers import item_from_wire
from sharpwave.schemas.tables import PIPELINE, SIGNALS
from sharpwave.workers.patterns.counts import QUALITY_SCALE, Counts, Days, total
from sharpwave.workers.patterns.recount import Damage, Parts, Recount, place_of

Kind = Literal["type", "pattern", "source", "inbox"]
#: The share by which a quantile of a sketch may be off.
ACCURACY = 0.01
_GAMMA = (1 + ACCURACY) / (1 - ACCURACY)
_ACKNOWLEDGED = ("PROCESSED", "FAILED")
_SCHEMA = """
CREATE TABLE told (
    key BLOB, content BLOB, agent TEXT, type TEXT, selected TEXT, timestamp REAL, outcome_at REAL,
    PRIMARY KEY (key, content)
) WITHOUT ROWID
"""
_TELL = """
INSERT INTO told VALUES (?, ?, ?, ?, ?, ?, ?) ON CONFLICT DO UPDATE SET
    outcome_at = ifnull(
        min(outcome_at, excluded.outcome_at), ifnull(outcome_at, excluded.outcome_at)
    )
"""


@dataclass
class Sketch:
    """Durations by the logarithm of their length: quantiles within `ACCURACY`, sums exact.

    Source: Masson, Rim and Lee, "DDSketch", PVLDB 12 (2019), section 2.
    """

    buckets: Counter[int | None] = field(default_factory=Counter)

    def add(self, seconds: float) -> None:
        """Take one duration; what clocks that differ make negative counts as none."""
        index = math.ceil(math.log(seconds, _GAMMA)) if seconds > 0 else None
        self.buckets[index] += 1

    def __add__(self, more: "Sketch") -> "Sketch":
        """Merge the sketches of disjoint durations."""
        return Sketch(self.buckets + more.buckets)

    def quantile(self, share: float) -> float | None:
        """Give the duration in seconds that a share of all do not exceed; None without any."""
        rank = math.ceil(share * self.buckets.total())
        # None is for durations of 0, the shortest.
        for index in sorted(self.buckets, key=lambda each: -math.inf if each is None else each):
            rank -= self.buckets[index]
            if rank <= 0:
                return 0.0 if index is None else round(2 * _GAMMA**index / (_GAMMA + 1), 3)
        return None


@dataclass(frozen=True, kw_only=True, order=True)
class Subject:
    """Whose figures of which period.

    Attributes:
        kind: `type` and `pattern` of decisions by the ledgers, `source` of those that selected a
            source, `inbox` of signals received.
        agent_id: who decided or received; of a pattern its owner.
        type_name: of decisions or signals; of a pattern that of its decisions.
        name: of the pattern, with its version, or of the source; the sender of signals.
        day: of the decision, or on which the signal was written; "" for all that were asked for.
    """

    kind: Kind
    agent_id: str
    type_name: str
    name: str
    day: str


@dataclass(frozen=True, kw_only=True)
class Tally:
    """What was counted; `times` are of outcomes or of acknowledgements."""

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
        outcomes: those with an outcome, or that ended: acknowledged or expired.
        successes: those that succeeded, or were acknowledged as `PROCESSED`.
        success_rate: successes / outcomes.
        quality: mean quality of those outcomes that state one, 0 to 1.
        p50_s: seconds until the outcome or acknowledgement that half of them do not exceed.
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
            if day not in ("", "~") and not _is_day(day):
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
        differing: days whose ledgers and archive disagree; empty too where none was asked.
        damages: parts of the archive that cannot be read.
    """

    rows: Sequence[Row]
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
) -> Analytics:
    """Gather figures; reads the table `pipeline` and inboxes, and the archive if one is named.

    Args:
        deployment: whose.
        wanted: which.
        archive_url: recount this archive too: it knows sources and how long outcomes took, and its
            counts are held against the ledgers'.
        whole: one row for all days instead of one for each.
    """
    items, versions = Items(deployment), known_patterns(deployment).versions
    types = {version.subject: version.definition.decision_type for version in versions}
    found = _of_ledgers(stored_ledgers(items).of(versions), types, wanted)
    differing: list[Subject] = []
    damages: list[Damage] = []
    if archive_url:
        with Recount(versions) as recount, _Told(archive_at(deployment, archive_url)) as told:
            damages = recount.read(told)
            archived = _of_ledgers(recount.counts(), types, wanted)
            differing = sorted(
                subject
                for subject in found.keys() | archived.keys()
                if found.get(subject, Tally()) != archived.get(subject, Tally())
            )
            for subject, tally in told.tallies(recount):
                if not wanted.takes(subject):
                    continue
                if subject.kind == "type":
                    # The ledgers have counted it; its time is what they do not know.
                    tally = Tally(times=tally.times)
                found[subject] = found.get(subject, Tally()) + tally
    for subject, tally in _of_inboxes(items, wanted):
        found[subject] = found.get(subject, Tally()) + tally
    if whole:
        merged: dict[Subject, Tally] = {}
        for subject, tally in found.items():
            ever = replace(subject, day="")
            merged[ever] = merged.get(ever, Tally()) + tally
        found = merged
    rows = [Row.of(subject, found[subject]) for subject in sorted(found)]
    return Analytics(rows=rows, differing=differing, damages=damages)


def _of_ledgers(
    ledgers: Mapping[str, Days], types: Mapping[str, str], wanted: Wanted
) -> dict[Subject, Tally]:
    """Sum up ledgers by what they count; epochs of one agent and type are one."""
    counts: dict[Subject, list[Counts]] = {}
    for name, days in ledgers.items():
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


def _of_inboxes(items: Items, wanted: Wanted) -> Iterator[tuple[Subject, Tally]]:
    """Give what became of each signal, by the rows of who received it."""
    agents = (
        [entry["SK"] for entry in items.query(PIPELINE, keys.KNOWN_AGENTS_PK)]
        if wanted.agent_id is None
        else [wanted.agent_id]
    )
    # A row's key begins with the time of its signal; "~" is behind all times of the last day.
    between = (wanted.since or " ", wanted.until.removesuffix("~") + "~")
    for agent in agents:
        for row in items.query(SIGNALS, keys.inbox_pk(agent), between=between):
            told = _of_row(agent, row)
            if told and wanted.takes(told[0]):
                yield told


def _of_row(agent_id: str, row: Item) -> tuple[Subject, Tally] | None:
    # A row is its agent's to write over: what says too little of itself counts for nothing.
    kind, source, status = row.get("signal_type"), row.get("source_agent"), row.get("status")
    if not (isinstance(kind, str) and isinstance(source, str)):
        return None
    times = Sketch()
    try:
        if status in _ACKNOWLEDGED and "processed_at" in row:
            times.add(float(row["processed_at"]) - float(row["timestamp"]))
    except (ArithmeticError, LookupError, TypeError, ValueError):
        times = Sketch()
    day = keys.time_and_id(row["SK"])[0][:10]
    return (
        Subject(kind="inbox", agent_id=agent_id, type_name=kind, name=source, day=day),
        Tally(
            volume=1,
            outcomes=int(status != "PENDING"),
            successes=int(status == "PROCESSED"),
            times=times,
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
            if line["state"] != "refusal":
                self._note(item_from_wire(line["image"]), float(line["stored_at"]))

    def _note(self, state: Item, stored_at: float) -> None:
        reasoning = state.get("reasoning")
        selected = reasoning.get("selected") if isinstance(reasoning, Mapping) else None
        names = {str(name)[:64] for name in selected} if isinstance(selected, list) else ()
        is_resolved = isinstance(state.get("outcome"), Mapping)
        row = (
            *place_of(state),
            state["agent_id"],
            state["decision_type"],
            json.dumps(sorted(names)),
            float(state["timestamp"]),
            # Of the times it was stored with an outcome the first: a correction, or a reconcile
            # that feeds it again, comes later.
            stored_at if is_resolved else None,
        )
        self._file.execute(_TELL, row)

    def tallies(self, recount: Recount) -> Iterator[tuple[Subject, Tally]]:
        """Give each decision that counts, once for its type and once for each of its sources."""
        for key, content, day, one in recount.standing():
            noted = self._file.execute(
                "SELECT agent, type, selected, timestamp, outcome_at FROM told"
                " WHERE key = ? AND content = ?",
                (key, content),
            ).fetchone()
            if noted is None:
                continue  # its line is damaged, which is said of its part
            agent, kind, selected, made_at, outcome_at = noted
            times = Sketch()
            if one.n and outcome_at is not None:
                times.add(outcome_at - made_at)
            tally = replace(_tally(one), times=times)
            of_type = Subject(kind="type", agent_id=agent, type_name=kind, name="", day=day)
            yield of_type, tally
            for name in json.loads(selected):
                yield replace(of_type, kind="source", name=name), tally


COLUMNS = tuple(each.name for each in fields(Row))


def written(path: Path) -> Callable[[Sequence[Row]], None]:
    """Give what writes rows to a file in the form that its name says.

    Raises:
        Misused: the name ends in neither `.csv` nor `.parquet`.
        ModuleNotFoundError: the extra that writes Parquet is not installed.
    """
    if path.suffix == ".csv":
        contents = to_csv
    elif path.suffix == ".parquet":
        import duckdb  # noqa: F401 - before hours of reading, not after

        contents = to_parquet
    else:
        raise Misused(f"{path} says no form; let it end in .csv or .parquet")

    def write(rows: Sequence[Row]) -> None:
        try:
            path.write_bytes(contents(rows))
        except OSError as error:
            raise OperationFailed(f"{path} cannot be written: {error}") from error

    return write


def to_csv(rows: Sequence[Row]) -> bytes:
    """Give rows as CSV; what is not known is empty."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(COLUMNS)
    writer.writerows(map(astuple, rows))
    return text.getvalue().encode()


def to_parquet(rows: Sequence[Row]) -> bytes:
    """Give rows as Parquet, of the same columns whatever is known: text, int64 and float64."""
    import duckdb

    types: dict[Any, str] = {int: "BIGINT", float | None: "DOUBLE"}
    columns = ", ".join(f"{each.name} {types.get(each.type, 'VARCHAR')}" for each in fields(Row))
    with TemporaryDirectory() as scratch, duckdb.connect() as engine:
        engine.execute(f"CREATE TABLE figures ({columns})")
        marks = ", ".join("?" * len(COLUMNS))
        if rows:
            engine.executemany(f"INSERT INTO figures VALUES ({marks})", list(map(astuple, rows)))
        path = Path(scratch) / "figures"
        engine.execute(f"COPY figures TO '{path}' (FORMAT parquet)")
        return path.read_bytes()


def _is_day(text: str) -> bool:
    try:
        return len(text) == 10 and date.fromisoformat(text).isoformat() == text
    except ValueError:
        return False
