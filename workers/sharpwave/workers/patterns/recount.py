"""Counts recomputed from archived decision states, without ledgers, elements or sets.

It is the check of `ledger` and `learn`, so it shares no code with them: only what a decision's
content is, and the formulas of figures. `verify` holds the stored counts against these; `replay`
answers what they would have been. States come in any order and any number of times, and are kept
in a temporary file: memory grows with the number of ledgers and days, not of decisions.
"""

import math
import sqlite3
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from decimal import Decimal
from fractions import Fraction
from hashlib import blake2b
from itertools import groupby
from typing import Any, NamedTuple, Protocol, Self

from msgspec import json as fast_json

from sharpwave.schemas import keys
from sharpwave.schemas.numbers import item_from_wire
from sharpwave.schemas.patterns import PatternVersion, epoch_of
from sharpwave.schemas.times import day_and_hour
from sharpwave.workers.patterns.counts import (
    Arms,
    Counts,
    Days,
    base_subjects,
    content_digest,
    total,
)
from sharpwave.workers.patterns.sources import Used, code_of
from sharpwave.workers.patterns.stated import Confidences, Weights
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

# `rank` says which state of one content stands; see `rank_of`. `matched` holds what patterns count,
# with its evidence unit; of a key's contents on one day the smallest digest counts.
_SCHEMA = """
CREATE TABLE archived (
    key BLOB, content BLOB, day TEXT, ledgers BLOB, rank INTEGER,
    confidence INTEGER, selection_prob INTEGER, named BLOB, PRIMARY KEY (key, content)
) WITHOUT ROWID;
CREATE TABLE matched (
    ledger INTEGER, digest BLOB, content BLOB, key BLOB, unit BLOB, applied INTEGER,
    PRIMARY KEY (ledger, digest, content)
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
_UNITS = """
SELECT ledger, unit, day, applied, rank FROM matched JOIN archived USING (key, content)
WHERE NOT EXISTS (
    SELECT 1 FROM matched AS other JOIN archived AS its USING (key, content)
    WHERE other.ledger = matched.ledger AND other.digest = matched.digest
    AND other.content < matched.content AND its.day = archived.day
)
ORDER BY ledger, unit, digest, content
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
        #: What agents' codes of buckets and sources stand for.
        self.names: dict[tuple[str, int], str] = {}
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
        place, rank = place_of(state), rank_of(state)
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
            stated = _confidence(state), _selection_prob(state)
            bucket, sources = _named(state)
            codes = [code_of(name) if name else 0 for name in (bucket, *sources)]
            for name, code in zip((bucket, *sources), codes, strict=True):
                if name:
                    self.names.setdefault((agent, code), name)
            named = fast_json.encode(codes) if any(codes) else None
            if named:
                name = keys.sources_subject(agent, kind)
                ledgers.append((numbers.setdefault(name, len(numbers)), False))
            row = (*place, day, fast_json.encode(ledgers), rank, *stated, named)
            self._file.execute("INSERT INTO archived VALUES (?, ?, ?, ?, ?, ?, ?, ?)", row)
            digest, unit = _evidence(state)
            of_patterns = ledgers[1 : len(counting)]
            self._file.executemany(
                "INSERT INTO matched VALUES (?, ?, ?, ?, ?, ?)",
                [
                    (ledger, digest, place[1], place[0], unit, applied)
                    for ledger, applied in of_patterns
                ],
            )
        elif rank > found[0]:
            self._file.execute(
                "UPDATE archived SET rank = ? WHERE key = ? AND content = ?", (rank, *place)
            )

    def refuse(self, state: Decision) -> None:
        """Take one state that was refused: it counts nowhere, but it was seen."""
        try:
            refused = (_key_of(state), content_digest(state), _revision(rank_of(state)))
        except _NO_STATE:
            # Too malformed to be taken for a sound record, so nobody will ask for it.
            return
        self._file.execute(_REFUSE, refused)

    def note_stored(self, item: Decision) -> None:
        """Note what a table holds, to ask later whether the archive saw it."""
        revision = _revision(rank_of(item))
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
            "SELECT key, day, ledgers, rank, confidence, selection_prob, named FROM archived "
            "ORDER BY key, content"
        )
        used: dict[tuple[str, str], dict[tuple[int, int], list[int]]] = {}
        of_base = [keys.split_base_subject(name) is not None for name in names]
        of_sources = [keys.split_sources_subject(name) is not None for name in names]
        for _, contents in groupby(rows, key=lambda row: row[0]):
            counted = set()
            for _, day, ledgers, rank, confidence, selection_prob, named in contents:
                for ledger, applied in fast_json.decode(ledgers):
                    if (ledger, day) not in counted:
                        counted.add((ledger, day))
                        days = result.setdefault(names[ledger], {})
                        stated = confidence if of_base[ledger] else selection_prob
                        if of_sources[ledger]:
                            stated = None
                        one = _one(rank, applied, stated, of_pattern=not of_base[ledger])
                        days[day] = days.get(day, Counts()) + one
                        if of_sources[ledger]:
                            bucket, *sources = fast_json.decode(named)
                            told = one.pending, one.n, one.s, one.q_sum, one.q_n
                            sums = used.setdefault((names[ledger], day), {})
                            for source in {*sources, 0} if bucket else sources:
                                held = sums.get((bucket, source), [0] * len(told))
                                sums[bucket, source] = [*map(sum, zip(held, told, strict=True))]
        for (subject, day), sums in used.items():
            found = Used(tuple((*pair, *sums[pair]) for pair in sorted(sums)))  # type: ignore[misc]
            result[subject][day] = replace(result[subject][day], used=found)
        return result

    def standing(self) -> Iterator[tuple[bytes, bytes, str, Counts]]:
        """Give each decision that counts: digests of key and content, day, it alone as counts."""
        rows = self._file.execute(
            "SELECT key, min(content), day, rank FROM archived GROUP BY key, day"
        )
        for key, content, day, rank in rows:
            yield key, content, day, _one(rank, False, None, of_pattern=False)

    def arms(self) -> dict[str, dict[str, Arms]]:
        """Count units of evidence by day of the ledgers of patterns.

        Of what an agent decided in one cycle, as far as a pattern matched it, the decision with
        the smallest key digest is the unit; it counts once it has an outcome.
        """
        names = list(self._ledgers)
        result: dict[str, dict[str, Arms]] = {}
        rows = self._file.execute(_UNITS)
        for (ledger, _), members in groupby(rows, key=lambda row: row[:2]):
            _, _, day, applied, rank = next(members)
            if _revision(rank):
                success = not rank >> 17 & 1
                days = result.setdefault(names[ledger], {})
                one = Arms(1, int(success), int(applied), int(applied and success))
                days[day] = days.get(day, Arms()) + one
        return {subject: dict(sorted(days.items())) for subject, days in result.items()}

    def _number(self, query: str) -> int:
        return int(self._file.execute(query).fetchone()[0])


def figures(
    versions: Sequence[PatternVersion],
    counts: Mapping[str, Days],
    *,
    arms: Mapping[str, Mapping[str, Arms]],
    horizons: Mapping[str, int],
) -> dict[str, Figures]:
    """Compute the figures of versions from a recount for them, by ledger subject.

    Args:
        versions: the versions.
        counts: `Recount.counts`.
        arms: `Recount.arms`.
        horizons: after how many seconds a decision without an outcome is overdue, by its type.
    """
    result = {}
    for version, bases in zip(versions, bases_of(versions, counts), strict=True):
        everyone = total(one for days in bases for one in days.values())
        result[version.subject] = figures_of(
            version,
            counts.get(version.subject, {}),
            everyone,
            arms=arms.get(version.subject, {}),
            horizons=horizons,
        )
    return result


def bases_of(versions: Sequence[PatternVersion], counts: Mapping[str, Days]) -> list[list[Days]]:
    """Give, for each version, the counts of the ledgers that it is held against."""
    writers: dict[str, dict[str, tuple[int, ...]]] = {}
    for base in filter(None, map(keys.split_base_subject, counts)):
        agent_id, decision_type, _ = base
        writers.setdefault(decision_type, {})[agent_id] = ()
    return [
        [
            counts.get(subject, {})
            for subject in base_subjects(
                version, versions, writers.get(version.definition.decision_type, {})
            )
        ]
        for version in versions
    ]


def place_of(state: Decision) -> tuple[bytes, bytes]:
    """Give digests of a decision's key and content, which tell it from all others."""
    return _key_of(state), content_digest(state)


def _key_of(state: Decision) -> bytes:
    return blake2b(f"{state['PK']}\0{state['SK']}".encode(), digest_size=16).digest()


def rank_of(state: Decision) -> int:
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


def _evidence(state: Decision) -> tuple[bytes, bytes]:
    """Give what orders a decision among those of its unit, and the unit, in digests."""
    identity = f"{state['PK']}\0{state['SK']}".encode()
    context, said = state.get("context"), identity
    cycle = context.get("cycle") if isinstance(context, Mapping) else None
    if isinstance(cycle, str):
        said = f"{state['agent_id']}\0{cycle}".encode()
    elif isinstance(cycle, int | float | Decimal) and not isinstance(cycle, bool):
        said = f"{state['agent_id']}\0{Decimal(str(cycle)).normalize():f}".encode()
    return blake2b(identity, digest_size=8).digest(), blake2b(said, digest_size=4).digest()


def _named(state: Decision) -> tuple[str, list[str]]:
    """Give the bucket that a decision names, "" for none, and the first eight of its sources."""
    reasoning = state.get("reasoning")
    said = reasoning if isinstance(reasoning, Mapping) else {}
    listed = said["selected"] if isinstance(said.get("selected"), list) else []
    texts = {text[:64] for text in listed if isinstance(text, str)} - {""}
    bucket = said.get("bucket")
    return bucket[:64] if isinstance(bucket, str) else "", sorted(texts)[:8]


def _confidence(state: Decision) -> int | None:
    reasoning = state.get("reasoning")
    nearer = _share(reasoning.get("confidence")) if isinstance(reasoning, Mapping) else None
    return _share(state.get("confidence")) if nearer is None else nearer


def _selection_prob(state: Decision) -> int | None:
    reasoning = state.get("reasoning")
    found = _share(reasoning.get("selection_prob")) if isinstance(reasoning, Mapping) else None
    return found if found else None


def _share(said: object) -> int | None:
    """Give a number from 0 to 1 in units of 10^-4, half to even; None if it is no such number."""
    if isinstance(said, bool) or not isinstance(said, int | float | Decimal):
        return None
    if not math.isfinite(said) or not 0 <= said <= 1:
        return None
    return round(Fraction(str(said)) * 10_000)


def _one(rank: int, applied: bool, stated: int | None, *, of_pattern: bool) -> Counts:
    if not _revision(rank):
        return Counts(pending=1)
    success, quality = not rank >> 17 & 1, rank & 0x1FFFF
    has_quality = quality != _NO_QUALITY
    weights, confidences = Weights(), Confidences()
    if stated is not None and of_pattern:
        weight = math.floor(Fraction(10**8, stated) + Fraction(1, 2))
        weights = Weights(1, weight, weight if success else 0, weight**2)
    elif stated is not None:
        error = 10_000 - stated if success else stated
        share = min(stated // 1_000, 9), 1, int(success), stated
        confidences = Confidences(error**2, (share,))
    return Counts(
        n=1,
        s=int(success),
        q_sum=quality if has_quality else 0,
        q_n=int(has_quality),
        applied=int(applied),
        applied_s=int(applied and success),
        q_sq=quality**2 if has_quality else 0,
        applied_weights=weights if applied else Weights(),
        other_weights=Weights() if applied else weights,
        confidences=confidences,
    )
