"""Counts recomputed from archived decision states, without ledgers, elements or sets.

It is the check of `ledger` and `learn`, so it shares no code with them: only what a decision's
content is, and the formulas of figures. `verify` holds the stored counts against these; `replay`
answers what they would have been. States come in any order and any number of times, and are kept
in a temporary file: memory grows with the number of ledgers and days, not of decisions.
"""

import sqlite3
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from hashlib import blake2b
from itertools import groupby
from typing import Any, NamedTuple, Protocol, Self

from msgspec import json as fast_json

from sharpwave.schemas import keys
from sharpwave.schemas.numbers import item_from_wire
from sharpwave.schemas.patterns import PatternVersion, epoch_of
from sharpwave.schemas.times import day_and_hour
from sharpwave.workers.patterns.counts import Counts, Days, base_subjects, content_digest, total
from sharpwave.workers.patterns.statistics import Figures, figures_of

Decision = Mapping[str, Any]

#: The file's pages that are kept in memory, in KiB.
_CACHE_KIB = 8_192
_NO_QUALITY = 65_535
#: What a line raises that is no archived state of a decision.
_NO_STATE = (
    ValueError,
    LookupError,
    TypeError,
    AttributeError,
    ArithmeticError,
    RecursionError,
)

# `rank` says which state of one content stands; see `_rank`.
_SCHEMA = """
CREATE TABLE archived (
    key BLOB, content BLOB, day TEXT, ledgers BLOB, rank INTEGER, PRIMARY KEY (key, content)
) WITHOUT ROWID;
CREATE TABLE refused (
    key BLOB, content BLOB, revision INTEGER, PRIMARY KEY (key, content)
) WITHOUT ROWID;
CREATE TABLE stored (
    key BLOB PRIMARY KEY, content BLOB, revision INTEGER, pk TEXT, sk TEXT
) WITHOUT ROWID;
"""
_REFUSE = """
INSERT INTO refused VALUES (?, ?, ?) ON CONFLICT DO UPDATE SET
    revision = max(revision, excluded.revision)
"""
_UNSEEN = """
FROM stored LEFT JOIN archived USING (key, content) LEFT JOIN refused USING (key, content)
WHERE max(ifnull(rank >> 18, -1), ifnull(refused.revision, -1)) < stored.revision
"""


class Parts(Protocol):
    """An archive as it is read: parts that never change, each with its lines."""

    def part_names(self) -> Iterable[str]:
        """Name every part, days in order."""

    def read(self, name: str) -> Iterator[Mapping[str, Any]]:
        """Read the lines of one part.

        Raises:
            ValueError: it is damaged, or no part of an archive.
        """


class Damage(NamedTuple):
    """A part of the archive that cannot be read, and why."""

    part: str
    reason: str


class Recount:
    """What is archived, counted by ledger and day.

    Of a key that was written with several contents, a ledger counts one a day: the one with the
    smallest digest, for that is the rule of the ledgers.
    """

    def __init__(
        self,
        versions: Sequence[PatternVersion],
        *,
        accepts: Callable[[Decision], bool] = lambda decision: True,
    ) -> None:
        """Count decisions that `accepts` lets pass, for base ledgers and for `versions`."""
        self._versions, self._accepts = versions, accepts
        self._ledgers: dict[str, int] = {}
        self._parts: set[bytes] = set()
        # Without a name SQLite keeps the database in a file that it has already unlinked.
        self._file = sqlite3.connect("", isolation_level=None)
        self._file.execute(f"PRAGMA cache_size = -{_CACHE_KIB}")
        self._file.execute("PRAGMA journal_mode = OFF")
        self._file.executescript(_SCHEMA)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._file.close()

    def read(self, archive: Parts) -> list[Damage]:
        """Read the parts of an archive that were not read before; gives those that cannot be."""
        damages = []
        for name in archive.part_names():
            digest = blake2b(name.encode(), digest_size=8).digest()
            if digest in self._parts:
                continue
            try:
                for line in archive.read(name):
                    state = item_from_wire(line["image"])
                    if line["state"] == "refusal":
                        # An image that was refused may say anything; its key is the stream's.
                        self.refuse({**state, "PK": line["PK"], "SK": line["SK"]})
                    else:
                        self.add(state)
            except _NO_STATE as error:
                # Its first lines may be counted already. They are sound, and to be read twice
                # changes nothing.
                damages.append(Damage(name, f"{type(error).__name__}: {error}"[:300]))
            else:
                self._parts.add(digest)
        return damages

    @property
    def parts(self) -> int:
        """Count the parts that were read."""
        return len(self._parts)

    def add(self, state: Decision) -> None:
        """Take one state that was admitted; safe to repeat."""
        if not self._accepts(state):
            return
        place, rank = (_key_of(state), content_digest(state)), _rank(state)
        found = self._file.execute(
            "SELECT rank FROM archived WHERE key = ? AND content = ?", place
        ).fetchone()
        if found is None:
            # Which ledgers count a decision, and whether it names their pattern, follows from its
            # content alone, so it is written once; a later state only raises the rank.
            agent, kind = state["agent_id"], state["decision_type"]
            epoch = epoch_of(self._versions, agent, kind, int(state["timestamp"]))
            counting = [(keys.base_subject(agent, kind, epoch), False)]
            counting += [
                (version.subject, version.applied(state))
                for version in self._versions
                if version.counts(state)
            ]
            numbers = self._ledgers
            ledgers = [
                (numbers.setdefault(name, len(numbers)), applied) for name, applied in counting
            ]
            day, _ = day_and_hour(int(state["timestamp"]), state.get("event_time"))
            row = (*place, day, fast_json.encode(ledgers), rank)
            self._file.execute("INSERT INTO archived VALUES (?, ?, ?, ?, ?)", row)
        elif rank > found[0]:
            self._file.execute(
                "UPDATE archived SET rank = ? WHERE key = ? AND content = ?", (rank, *place)
            )

    def refuse(self, state: Decision) -> None:
        """Take one state that was refused: it counts nowhere, but it was seen."""
        try:
            refused = (_key_of(state), content_digest(state), _revision(_rank(state)))
        except _NO_STATE:
            # Too malformed to be taken for a sound record, so nobody will ask for it.
            return
        self._file.execute(_REFUSE, refused)

    def note_stored(self, item: Decision) -> None:
        """Note what a table holds, to ask later whether the archive saw it."""
        revision = _revision(_rank(item))
        self._file.execute(
            "INSERT OR REPLACE INTO stored VALUES (?, ?, ?, ?, ?)",
            (_key_of(item), content_digest(item), revision, item["PK"], item["SK"]),
        )

    @property
    def decisions(self) -> int:
        """Count the decisions that were archived."""
        return self._number("SELECT count(DISTINCT key) FROM archived")

    @property
    def stored(self) -> int:
        """Count the decisions that were noted as stored."""
        return self._number("SELECT count(*) FROM stored")

    @property
    def unseen(self) -> int:
        """Count the stored decisions whose present state the archive never saw."""
        return self._number(f"SELECT count(*) {_UNSEEN}")

    def unseen_keys(self, limit: int) -> list[keys.Key]:
        """Name the first of the stored decisions whose present state the archive never saw."""
        rows = self._file.execute(f"SELECT pk, sk {_UNSEEN} ORDER BY pk, sk LIMIT ?", (limit,))
        return [keys.Key(*row) for row in rows]

    def counts(self) -> dict[str, Days]:
        """Count decisions by ledger subject and day.

        `revision` and `units` are left 0: they belong to how ledgers are stored.
        """
        names = list(self._ledgers)
        result: dict[str, Days] = {}
        rows = self._file.execute(
            "SELECT key, day, ledgers, rank FROM archived ORDER BY key, content"
        )
        for _, contents in groupby(rows, key=lambda row: row[0]):
            counted = set()
            for _, day, ledgers, rank in contents:
                for ledger, applied in fast_json.decode(ledgers):
                    if (ledger, day) not in counted:
                        counted.add((ledger, day))
                        days = result.setdefault(names[ledger], {})
                        days[day] = days.get(day, Counts()) + _one(rank, applied=applied)
        return result

    def _number(self, query: str) -> int:
        return int(self._file.execute(query).fetchone()[0])


def figures(versions: Sequence[PatternVersion], counts: Mapping[str, Days]) -> dict[str, Figures]:
    """Compute the figures of versions from a recount for them, by ledger subject."""
    writers: dict[str, dict[str, tuple[int, ...]]] = {}
    for base in filter(None, map(keys.split_base_subject, counts)):
        agent_id, decision_type, _ = base
        writers.setdefault(decision_type, {})[agent_id] = ()
    result = {}
    for version in versions:
        agents = writers.get(version.definition.decision_type, {})
        bases = base_subjects(version, versions, agents)
        everyone = total(one for subject in bases for one in counts.get(subject, {}).values())
        result[version.subject] = figures_of(version, counts.get(version.subject, {}), everyone)
    return result


def _key_of(state: Decision) -> bytes:
    return blake2b(f"{state['PK']}\0{state['SK']}".encode(), digest_size=16).digest()


def _rank(state: Decision) -> int:
    """Order the states of one content: by revision; of one revision failure stands, then quality.

    Two outcomes of one revision are a writer's fault, and must end alike everywhere.
    """
    outcome = state.get("outcome")
    if not isinstance(outcome, Mapping):
        return 0
    quality = outcome.get("quality_score")
    scaled = _NO_QUALITY if quality is None else round(float(quality) * 10_000)
    failed = not outcome["success"]
    return max(1, int(state.get("outcome_rev") or 1)) << 18 | failed << 17 | scaled


def _revision(rank: int) -> int:
    return rank >> 18


def _one(rank: int, *, applied: bool) -> Counts:
    if not _revision(rank):
        return Counts(pending=1)
    success, quality = not rank >> 17 & 1, rank & 0x1FFFF
    has_quality = quality != _NO_QUALITY
    return Counts(
        n=1,
        s=int(success),
        q_sum=quality if has_quality else 0,
        q_n=int(has_quality),
        applied=int(applied),
        applied_s=int(applied and success),
    )
