"""How agents and patterns did, and how signals fared, day by day.

Nothing is kept for it. Decisions are read off the ledgers, which are exact under any repetition,
order and correction, and can be counted again from the archive; deliveries off the inbox rows,
which say when each was acknowledged, and live a week beyond their deadline.
"""

import csv
import io
import math
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple, Self

from sharpwave.infra.connection import Deployment
from sharpwave.infra.errors import Misused, OperationFailed
from sharpwave.infra.items import Items
from sharpwave.infra.operate.agents import known_agents
from sharpwave.infra.operate.replay import recounted
from sharpwave.infra.operate.verify import stored_ledgers
from sharpwave.schemas import keys
from sharpwave.schemas.tables import SIGNALS
from sharpwave.schemas.times import day_and_hour, is_event_time
from sharpwave.workers.patterns.counts import QUALITY_SCALE, Counts, Days

#: What decisions are told apart by.
BY = ("agent", "type", "day")


_Place = tuple[str, str, str, str]


class Span(NamedTuple):
    """Days to look at, the first and the last, as 2026-11-29; None is open."""

    since: str | None = None
    until: str | None = None

    @classmethod
    def of(cls, since: str | None, until: str | None) -> Self:
        """Make one of what somebody wrote.

        Raises:
            Misused: it is no day.
        """
        for name, day in (("since", since), ("until", until)):
            if day is not None and not (len(day) == len("2026-11-29") and is_event_time(day)):
                raise Misused(f"--{name} {day!r} is no day; write 2026-11-29")
        return cls(since, until)

    def holds(self, day: str) -> bool:
        """Say whether a day is among them."""
        return (self.since or "") <= day <= (self.until or "~")


class Decisions(NamedTuple):
    """Decisions of one agent and type, or those that one version of a pattern matched, of a day.

    Attributes:
        agent: whose; of a pattern, its owner.
        type: of decision; empty for a pattern.
        pattern: `<id>@<version>`, or empty.
        day: by event time.
        pending: decisions without an outcome.
        quality: mean of 0 to 1 over those that have one.
    """

    agent: str
    type: str
    pattern: str
    day: str
    decisions: int
    resolved: int
    successes: int
    pending: int
    rate: float | None
    quality: float | None


class Deliveries(NamedTuple):
    """Deliveries to one agent of one type from one source, of a day.

    Attributes:
        day: on which the signals were sent.
        open: not acknowledged yet.
        p50_s: seconds from the signal's time to the acknowledgement, of those that have one; exact.
    """

    agent: str
    type: str
    source: str
    day: str
    signals: int
    processed: int
    failed: int
    expired: int
    open: int
    p50_s: float | None
    p95_s: float | None
    slowest_s: float | None


def decisions(
    deployment: Deployment,
    span: Span,
    *,
    agent_id: str | None = None,
    by: Sequence[str] = BY,
    patterns: bool = False,
    archive_url: str | None = None,
) -> list[Decisions]:
    """Read how agents or patterns did.

    Args:
        deployment: where.
        span: which days.
        agent_id: only this one's.
        by: of `BY`, what is told apart; over the rest it is summed up, and named "".
        patterns: those that versions of patterns matched, instead of agents' own.
        archive_url: count the archive anew instead of reading the ledgers; a drained system gives
            the same.

    Raises:
        Misused: `by` names something else.
        Rejected: the archive is empty or damaged.
    """
    for unknown in set(by) - set(BY):
        raise Misused(f"--by {unknown!r} is none of: {', '.join(BY)}")
    ledgers: Mapping[str, Days]
    if archive_url is None:
        ledgers = stored_ledgers(Items(deployment)).counts
    else:
        _, ledgers, _ = recounted(deployment, archive_url, None, None)
    found: dict[_Place, Counts] = {}
    for subject, days in ledgers.items():
        named = _named(subject)
        if not named or bool(named[2]) is not patterns or agent_id not in (None, named[0]):
            continue
        for day, counts in days.items():
            if span.holds(day):
                agent, kind, pattern = named
                place = (
                    agent if "agent" in by else "",
                    kind if "type" in by else "",
                    pattern,
                    day if "day" in by else "",
                )
                # Epochs of one base ledger lie beside each other.
                found[place] = found.get(place, Counts()) + counts
    return [
        Decisions(
            *place,
            decisions=counts.n + counts.pending,
            resolved=counts.n,
            successes=counts.s,
            pending=counts.pending,
            rate=counts.s / counts.n if counts.n else None,
            quality=counts.q_sum / counts.q_n / QUALITY_SCALE if counts.q_n else None,
        )
        for place, counts in sorted(found.items())
        if counts.n or counts.pending
    ]


def _named(subject: str) -> tuple[str, str, str] | None:
    """Give agent, type and pattern of a ledger; None of one that is neither."""
    if base := keys.split_base_subject(subject):
        return base[0], base[1], ""
    kind, _, rest = subject.partition(":")
    owner, _, pattern = rest.rpartition(":")
    return (owner, "", pattern) if kind == "pattern" else None


def deliveries(
    deployment: Deployment, span: Span, *, agent_id: str | None = None
) -> list[Deliveries]:
    """Read how signals fared at their targets; one query for each agent."""
    items = Items(deployment)
    agents = [agent_id] if agent_id else [entry["agent_id"] for entry in known_agents(items)]
    low, high = span.since or "0", (span.until or "") + "~"
    took: defaultdict[_Place, list[float]] = defaultdict(list)
    ends: defaultdict[_Place, Counter[str]] = defaultdict(Counter)
    for agent in agents:
        for row in items.query(SIGNALS, keys.inbox_pk(agent), between=(low, high)):
            sent_at = int(row.get("timestamp", 0))
            day, _ = day_and_hour(sent_at, None)
            place = (agent, str(row.get("signal_type")), str(row.get("source_agent")), day)
            status = str(row.get("status"))
            ends[place][status] += 1
            if status in ("PROCESSED", "FAILED") and "processed_at" in row:
                took[place].append(max(0.0, float(row["processed_at"]) - sent_at))
    return [
        Deliveries(
            *place,
            signals=counts.total(),
            processed=counts["PROCESSED"],
            failed=counts["FAILED"],
            expired=counts["EXPIRED"],
            open=counts["PENDING"],
            p50_s=_quantile(took[place], 0.5),
            p95_s=_quantile(took[place], 0.95),
            slowest_s=max(took[place], default=None),
        )
        for place, counts in sorted(ends.items())
    ]


def _quantile(values: Iterable[float], share: float) -> float | None:
    """Give the value that `share` of them do not exceed, by nearest rank."""
    ranked = sorted(values)
    return ranked[max(0, math.ceil(share * len(ranked)) - 1)] if ranked else None


def export(rows: Sequence[NamedTuple], path: Path) -> None:
    """Write rows as CSV, or as Parquet where the file is called so.

    Raises:
        Misused: the name has another ending.
        ModuleNotFoundError: the extra that writes Parquet is not installed.
        OperationFailed: the file cannot be written.
    """
    if path.suffix not in (".csv", ".parquet"):
        raise Misused(f"{path} is neither .csv nor .parquet, the forms that are written")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        if path.suffix == ".csv":
            path.write_text(_csv(rows))
        else:
            _parquet(rows, path)
    except OSError as error:
        raise OperationFailed(f"{path} cannot be written: {error}") from error


def _csv(rows: Sequence[NamedTuple]) -> str:
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    if rows:
        writer.writerow(rows[0]._fields)
    writer.writerows(rows)
    return text.getvalue()


def _parquet(rows: Sequence[NamedTuple], path: Path) -> None:
    import duckdb

    if not rows:
        raise Misused("there is nothing to write")
    columns = ", ".join(
        f'"{name}" {kind}' for name, kind in zip(rows[0]._fields, _kinds(rows), strict=True)
    )
    with duckdb.connect() as engine:
        engine.execute(f"CREATE TABLE figures ({columns})")
        marks = ", ".join("?" * len(rows[0]))
        engine.executemany(f"INSERT INTO figures VALUES ({marks})", [list(row) for row in rows])
        target = str(path).replace("'", "''")
        engine.execute(f"COPY figures TO '{target}' (FORMAT parquet)")


def _kinds(rows: Sequence[NamedTuple]) -> Iterator[str]:
    names: dict[type[Any], str] = {int: "BIGINT", float: "DOUBLE", str: "VARCHAR"}
    for column in zip(*rows, strict=True):
        found = {type(value) for value in column if value is not None}
        yield "DOUBLE" if float in found or not found else names[found.pop()]
