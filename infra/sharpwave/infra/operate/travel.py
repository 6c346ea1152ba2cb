"""Time travel: what the tables of patterns held at a moment, made anew from the archive alone.

The workers' own code counts and publishes, day by day, over archived states in one order that
depends on what they say alone. Nothing asks for the time: the clock stands at the latest decision
so far. So equal archives give equal tables, item by item and byte by byte, however their lines are
divided into parts and however often one is repeated.
"""

import sqlite3
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from hashlib import blake2b
from itertools import groupby, islice
from typing import Any, Self

from sharpwave.infra.connection import Deployment
from sharpwave.infra.errors import Misused, Rejected
from sharpwave.infra.items import Items
from sharpwave.infra.operate.digest import digest_of
from sharpwave.infra.operate.patterns import restore_versions
from sharpwave.infra.operate.replay import end_of, is_up_to, rows_of, versions_meant
from sharpwave.infra.operate.verify import archive_at, stored_ledgers, stored_units
from sharpwave.infra.provision.structure import carry_out, describe, table_findings
from sharpwave.schemas.numbers import canonical_json, item_from_wire, parse_json
from sharpwave.schemas.patterns import PatternDefinition, PatternVersion
from sharpwave.schemas.tables import TABLES
from sharpwave.schemas.times import Clock, day_and_hour
from sharpwave.workers.aws.tables import TableLedger, TableReads
from sharpwave.workers.aws.writes import SingleWrites, TableTransactions
from sharpwave.workers.main import compose
from sharpwave.workers.patterns.counts import Days
from sharpwave.workers.patterns.recount import Parts
from sharpwave.workers.settings import Settings
from sharpwave.workers.work import ticks
from sharpwave.workers.work.outgoing import WorkMessage
from sharpwave.workers.work.ports import Fate, InboxMessage, Spread, TryAgain

#: States that are counted at a time.
_BATCH = 1_000
_AT_ONCE = 8
_SCHEMA = """
CREATE TABLE states (
    day TEXT, moment INTEGER, pk TEXT, sk TEXT, digest BLOB, image TEXT,
    UNIQUE (day, moment, pk, sk, digest)
)
"""
_IN_ORDER = "SELECT day, moment, image FROM states ORDER BY day, moment, pk, sk, digest"


@dataclass(frozen=True, kw_only=True)
class Travelled:
    """What was written under the other prefix, or with a dry run would be.

    Attributes:
        prefix: that prefix.
        states: archived states of decisions that were counted, each once.
        versions: versions of patterns that there were.
        ledgers: ledgers that count something.
        digest: of their counts, as `verify` gives it.
    """

    prefix: str
    states: int
    versions: int
    ledgers: int
    digest: str


def travel(
    deployment: Deployment,
    archive_url: str,
    *,
    into: Deployment,
    until: str | None = None,
    definitions: Sequence[PatternDefinition] | None = None,
    dry_run: bool = False,
) -> Travelled:
    """Write what the tables of patterns held into tables of another prefix.

    They get the list of versions, the ledgers and who wrote decisions, and the rows of patterns
    with their figures. Decisions stay in the archive, and what agents told each other is in none.

    Args:
        deployment: where the known patterns are listed.
        archive_url: `file:///folder` or `s3://bucket/prefix`.
        into: the same place under another prefix; its tables are made if there are none.
        until: count only decisions up to this day or UTC time, by event time; versions that began
            later, by the clock of the latest of these decisions, are left out.
        definitions: count these instead, as if they had held from the beginning.
        dry_run: look, and write nothing.

    Raises:
        Misused: `until` is no day and no UTC time, or tables of `into` hold something.
        Rejected: nothing is archived, a part of the archive cannot be read, a newer release
            imported a pattern, or the tables did not take what was written.
    """
    accepts, versions = is_up_to(until), versions_meant(deployment, definitions)
    _refuse_used(deployment, into)
    with _States(accepts) as states:
        states.read(archive_at(deployment, archive_url), archive_url)
        if until is not None:
            # As the list held them then: what began later is not in it, what ended later goes on.
            at = max(states.latest, end_of(until))
            versions = [
                version
                if version.effective_to is None or version.effective_to <= at
                else version.model_copy(update={"effective_to": None})
                for version in versions
                if version.effective_from <= at
            ]
        counts, digest = dict[str, Days](), ""
        if not dry_run:
            findings = [each for table in TABLES for each in table_findings(into, table)]
            carry_out(findings, dry_run=False)
            _count(into, states, versions)
            counts = stored_ledgers(Items(into)).of(versions)
            reads = TableReads(into.dynamodb, prefix=into.prefix)
            digest = digest_of(counts, stored_units(reads, versions))
        return Travelled(
            prefix=into.prefix,
            states=states.number,
            versions=len(versions),
            ledgers=len(counts),
            digest=digest,
        )


def _refuse_used(deployment: Deployment, into: Deployment) -> None:
    if into.prefix == deployment.prefix:
        raise Misused(f"prefix {into.prefix!r} is that of the deployment itself; choose another")
    items = Items(into)
    for table in TABLES:
        name = into.name(table.name)
        if describe(into, name) is None:
            continue
        for _ in items.scan(table.name, Limit=1):
            raise Misused(
                f"table {name} holds something, and time travel begins in empty tables; choose "
                f"another prefix, or `sharpwave destroy --prefix {into.prefix}` first"
            )


class _States:
    """Archived states of decisions, each once, in an order that follows from what they say.

    They are kept in a temporary file, so memory does not grow with the archive.
    """

    def __init__(self, accepts: Callable[[Mapping[str, Any]], bool]) -> None:
        self._accepts = accepts
        # Without a name SQLite keeps the database in a file that it has already unlinked.
        self._file = sqlite3.connect("", isolation_level=None)
        self._file.execute("PRAGMA journal_mode = OFF")
        self._file.executescript(_SCHEMA)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._file.close()

    def read(self, archive: Parts, url: str) -> None:
        """Take all states that were admitted.

        Raises:
            Rejected: a part cannot be read, or there is none.
        """

        def row_of(line: Mapping[str, Any]) -> tuple[Any, ...] | None:
            state = item_from_wire(line["image"])
            if not self._accepts(state):
                return None
            moment = int(state["timestamp"])
            day, _ = day_and_hour(moment, state.get("event_time"))
            # Two ways to write one state are one state.
            digest = blake2b(canonical_json(state).encode(), digest_size=16).digest()
            return day, moment, state["PK"], state["SK"], digest, canonical_json(line["image"])

        for rows in rows_of(archive, url, row_of):
            self._file.executemany("INSERT OR IGNORE INTO states VALUES (?, ?, ?, ?, ?, ?)", rows)

    @property
    def number(self) -> int:
        """Count them."""
        return int(self._file.execute("SELECT count(*) FROM states").fetchone()[0])

    @property
    def latest(self) -> int:
        """Give the latest `timestamp`; -1 without any."""
        found = self._file.execute("SELECT max(moment) FROM states").fetchone()[0]
        return -1 if found is None else int(found)

    def by_day(self) -> Iterator[Iterator[tuple[int, dict[str, Any]]]]:
        """Give the states of each day, each with its `timestamp`."""
        rows = self._file.execute(_IN_ORDER)
        for _, of_day in groupby(rows, key=lambda row: row[0]):
            yield ((moment, parse_json(image)) for _, moment, image in of_day)


class _Nowhere:
    """Inboxes and an archive of a past in which nobody listens: all there is comes from it."""

    def send(self, posts: Sequence[InboxMessage]) -> list[Fate]:
        """Send nothing."""
        return [Fate.GONE] * len(posts)

    def write(self, day: str, lines: Sequence[str]) -> None:
        """Archive nothing."""


class _Workers:
    """The workers' handlers of decisions, in this process.

    It is their queues, too: what they leave to a further message of learning is done at once.
    """

    def __init__(self, into: Deployment, clock: Clock, spread: Spread) -> None:
        settings = Settings.read().model_copy(
            update={"prefix": into.prefix, "linger_s": 0.0, "threads": 1}
        )
        self._handlers = compose(
            settings,
            reads=TableReads(into.dynamodb, prefix=into.prefix),
            writes=SingleWrites(into.dynamodb, prefix=into.prefix),
            transactions=TableTransactions(into.dynamodb, prefix=into.prefix),
            ledger=TableLedger(into.dynamodb, prefix=into.prefix),
            inboxes=_Nowhere(),
            queues=self,
            archive=_Nowhere(),
            clock=clock,
            spread=spread,
        ).handlers["learn"]
        self._clock = clock
        self._due: list[tuple[str, Sequence[Mapping[str, Any]]]] = []

    def count(self, images: Sequence[Mapping[str, Any]]) -> None:
        """Count states, each as its image in typed form."""
        self._handlers["on_decisions"]([{"image": image} for image in images])
        self._finish()

    def publish(self) -> None:
        """Publish all figures that changed."""
        self.send([ticks.tick(ticks.FIGURES, clock=self._clock)])
        self._finish()

    def send(self, messages: Sequence[WorkMessage]) -> None:
        """Take messages for work queues."""
        for message in messages:
            if message.queue == "learn":
                body = parse_json(message.body)
                self._due.append((body["actor_name"], body["kwargs"]["entries"]))

    def _finish(self) -> None:
        while self._due:
            actor, entries = self._due.pop(0)
            self._handlers[actor](entries)


def _count(into: Deployment, states: _States, versions: Sequence[PatternVersion]) -> None:
    """Let the workers' code count the states and publish figures at the end of each day."""
    latest = 0
    restore_versions(Items(into), versions)
    try:
        with ThreadPoolExecutor(_AT_ONCE, thread_name_prefix="ledgers") as threads:
            workers = _Workers(into, lambda: float(latest), threads.map)
            for day in states.by_day():
                while batch := list(islice(day, _BATCH)):
                    latest = max(latest, batch[-1][0])
                    workers.count([image for _, image in batch])
                workers.publish()
            # Versions that no decision concerns get their figures too.
            workers.publish()
    except TryAgain as error:
        raise Rejected(
            f"the tables of {into.place} took only a part: {error}; destroy them with "
            f"`sharpwave destroy --prefix {into.prefix}` and run it again"
        ) from error
