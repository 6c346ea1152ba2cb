"""The figures of patterns, computed from counts and written where readers look.

Learning marks each day of a ledger that it has changed. Publishing takes the marks, sums up what
they name and recomputes only the patterns that this can concern, so it costs what changed and not
what exists. A mark goes last, and only if nobody has raised it since it was read.
"""

import logging
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal
from typing import Any, NamedTuple

from sharpwave.schemas import keys, tables
from sharpwave.schemas.patterns import PatternVersion, boundaries, versions_of
from sharpwave.schemas.times import Clock
from sharpwave.workers.patterns.catalogue import Catalogue, Known
from sharpwave.workers.patterns.counts import Counts, total
from sharpwave.workers.patterns.statistics import DEFAULT_BASE_RATE, BaseRate, Report, report
from sharpwave.workers.ports import (
    Delete,
    Item,
    Ledger,
    Location,
    Reads,
    Spread,
    Update,
    Write,
    Writes,
)

log = logging.getLogger(__name__)

#: `GSI1_SK` moves in steps of this size, so that an index entry is not rewritten at each outcome.
RANK_STEP = Decimal("0.05")
#: Marks of one round; what is left is another message's, so that no round nears the time limit.
MOST_MARKS = 200
_PLACES = Decimal("0.000001")

Days = dict[str, Counts]
Refresh = Callable[[str, str, str, Known], object]
"""Told agent, type and day whose base ledgers changed, and the versions that divide them."""


class Position(NamedTuple):
    """Where the marks of a round begin: a partition of them, and after which sort key."""

    shard: int = 0
    after: str = ""


class Mark(NamedTuple):
    """A day of a ledger that changed, and the mark's revision when it was read."""

    place: Location
    subject: str
    day: str
    revision: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Publishing:
    """What publishing needs of the world."""

    catalogue: Catalogue
    reads: Reads
    writes: Writes
    ledger: Ledger
    clock: Clock
    refresh: Refresh = lambda agent_id, decision_type, day, known: None
    spread: Spread = map


def publish(begin: Position, to: Publishing) -> tuple[int, Position | None]:
    """Bring sums and the rows of patterns up to date with one round of marks.

    Safe to repeat and to race: sums are replaced only by later ones, a row changes only if nobody
    changed it since it was read, and figures are a pure function of the counts.

    Returns:
        The number of rows whose figures changed; and where the next round begins, None if no
        marks are left.
    """
    marks, following = _marks(begin, to.reads)
    if not marks:
        return 0, following
    # After the marks: who marked a ledger of some version or epoch had read of it in the list.
    known = to.catalogue.fresh()
    list(to.spread(lambda mark: _sum_day(mark, to), marks))
    list(to.spread(lambda subject: _sum_total(subject, to), sorted({m.subject for m in marks})))
    concerned = _concerned(marks, known)
    versions = {v.subject: v for each in concerned.values() for v in each}
    changed, unsettled = _write_rows(list(versions.values()), known, to)
    days: set[tuple[str, str, str]] = set()
    for mark in marks:
        base = keys.split_base_subject(mark.subject)
        if base is None:
            continue
        if known.is_readable(base[0], base[1]):
            days.add((base[0], base[1], mark.day))
        else:
            # Which ledgers make up the day only a newer release can tell.
            unsettled.add(mark.subject)
    for agent_id, decision_type, day in sorted(days):
        to.refresh(agent_id, decision_type, day, known)
    done = [
        mark
        for mark, each in concerned.items()
        if not unsettled & {mark.subject, *(version.subject for version in each)}
    ]
    to.writes.apply([Delete(mark.place, {"rev": mark.revision}) for mark in done])
    if unsettled:
        log.warning("figures_wait", extra={"subjects": sorted(unsettled)})
    return changed, following


def figures_of(version: PatternVersion, days: Mapping[str, Counts], base: Counts) -> Report:
    """Compute the figures of a version from its counts by day and from those of all decisions.

    Args:
        version: the version.
        days: what its own ledger counts.
        base: what the base ledgers count that `base_subjects` names.
    """
    definition = version.definition
    rate = (
        BaseRate(definition.base_rate)
        if definition.base_rate
        else BaseRate.of_complement(base, total(days.values()), stored=DEFAULT_BASE_RATE)
    )
    return report(
        days, base=rate, half_life_days=definition.half_life_days, min_lift=definition.min_lift
    )


def base_subjects(
    version: PatternVersion,
    versions: Sequence[PatternVersion],
    writers: Mapping[str, Iterable[int]],
) -> list[str]:
    """Name the base ledgers that count every decision a version is held against.

    They are those of the epochs in which it is in effect: of its agent, or of every writer of its
    type.

    Args:
        version: the version.
        versions: all of them, for they divide the epochs.
        writers: the agents that wrote decisions of its type, each with the epochs that versions
            divided which are gone.
    """
    agent_id, decision_type = version.definition.agent_id, version.definition.decision_type
    return [
        keys.base_subject(each, decision_type, epoch)
        for each, kept in ({agent_id: ()} if agent_id else writers).items()
        for epoch in sorted({*boundaries(versions, each, decision_type), *kept})
        if version.covers(epoch)
    ]


def days_of(subject: str, reads: Reads) -> Days:
    """Read a ledger's counts as learning left them, summed by day."""
    days: Days = {}
    for head in reads.query(tables.PIPELINE, keys.ledger_pk(subject), after="H#", until="H~"):
        day = head["SK"].split("#")[1]
        days[day] = days.get(day, Counts()) + Counts.from_row(head["c"])
    return days


def summed_days_of(subject: str, reads: Reads) -> Days:
    """Read a ledger's counts by day as they were last summed up: a page for about 1,000 days."""
    rows = reads.query(tables.PIPELINE, keys.ledger_pk(subject), after="D#", until="D~")
    return {row["SK"][2:]: Counts.from_row(row["c"]) for row in rows}


def base_day(
    agent_id: str,
    decision_type: str,
    day: str,
    versions: Sequence[PatternVersion],
    reads: Reads,
) -> Counts:
    """Read the counts of all of an agent's decisions of one type and day, as last summed up."""
    subjects = [
        keys.base_subject(agent_id, decision_type, epoch)
        for epoch in boundaries(versions, agent_id, decision_type)
    ]
    places = [Location(tables.PIPELINE, keys.ledger_day(subject, day)) for subject in subjects]
    return total(Counts.from_row(row["c"]) for row in reads.get(places).values())


def _marks(begin: Position, reads: Reads) -> tuple[list[Mark], Position | None]:
    marks: list[Mark] = []
    after = begin.after
    partitions = keys.changed_pks()
    for shard in range(begin.shard, len(partitions)):
        most = MOST_MARKS - len(marks)
        for item in reads.query(tables.PIPELINE, partitions[shard], after=after, limit=most):
            place = Location(tables.PIPELINE, keys.Key(item["PK"], item["SK"]))
            marks.append(Mark(place, *keys.split_changed(item["SK"]), item["rev"]))
        if len(marks) == MOST_MARKS:
            return marks, Position(shard, marks[-1].place.key.sk)
        after = ""
    return marks, None


def _sum_day(mark: Mark, to: Publishing) -> None:
    """Sum up a day's slots.

    Slots are read one after the other, while others are raised. Revisions only grow, so a sum
    with a greater one never says less; and what it missed was marked after it began to read.
    """
    pk, start = keys.ledger_pk(mark.subject), keys.ledger_head(mark.subject, mark.day).sk
    heads = to.reads.query(tables.PIPELINE, pk, after=start, until=start + "$")
    counts = [Counts.from_row(head["c"]) for head in heads]
    if counts:
        place = Location(tables.PIPELINE, keys.ledger_day(mark.subject, mark.day))
        to.ledger.raise_counts(place, total(counts).to_row())


def _sum_total(subject: str, to: Publishing) -> None:
    row = total(summed_days_of(subject, to.reads).values()).to_row()
    to.ledger.raise_counts(Location(tables.PIPELINE, keys.ledger_total(subject)), row)


def _concerned(marks: Iterable[Mark], known: Known) -> dict[Mark, list[PatternVersion]]:
    """Give the current versions whose figures the ledger of each mark is part of."""
    by_subject: dict[str, list[PatternVersion]] = {}
    by_type: dict[str, list[PatternVersion]] = {}
    for version in known.versions:
        if version.effective_to is None:
            by_subject[version.subject] = [version]
            by_type.setdefault(version.definition.decision_type, []).append(version)
    found = {}
    for mark in marks:
        found[mark] = by_subject.get(mark.subject, [])
        if base := keys.split_base_subject(mark.subject):
            agent_id, decision_type, epoch = base
            those = versions_of(by_type.get(decision_type, ()), agent_id, decision_type)
            found[mark] = [version for version in those if version.covers(epoch)]
    return found


def _write_rows(
    versions: Sequence[PatternVersion], known: Known, to: Publishing
) -> tuple[int, set[str]]:
    """Write the figures of versions; gives how many rows changed and which have to wait."""
    places = {version.subject: _places(version) for version in versions}
    # Rows before counts: a row that somebody changes in between was changed with later ones.
    rows = to.reads.get([place for each in places.values() for place in each])
    writers: dict[str, dict[str, list[int]]] = {}
    for version in versions:
        name = version.definition.decision_type
        if version.definition.agent_id is None and name not in writers:
            listed = to.reads.query(tables.MEMORY, keys.writers_pk(name))
            writers[name] = {entry["SK"]: entry.get("epochs", []) for entry in listed}

    def changes_of(version: PatternVersion) -> list[Update] | None:
        definition = version.definition
        if not known.is_readable(definition.agent_id, definition.decision_type):
            return None
        base = base_subjects(version, known.versions, writers.get(definition.decision_type, {}))
        totals = to.reads.get([Location(tables.PIPELINE, keys.ledger_total(s)) for s in base])
        everyone = total(Counts.from_row(row["c"]) for row in totals.values())
        days = summed_days_of(version.subject, to.reads)
        values = attributes(figures_of(version, days, everyone))
        found = (rows[place] for place in places[version.subject] if place in rows)
        current = [row for row in found if row.get("version") == version.version]
        return [change for row in current for change in _change(row, values, int(to.clock()))]

    unsettled: set[str] = set()
    writes: list[Write] = []
    subjects: list[str] = []
    for version, changes in zip(versions, to.spread(changes_of, versions), strict=True):
        if changes is None:
            unsettled.add(version.subject)
            continue
        writes += changes
        subjects += [version.subject] * len(changes)
    verdicts = to.writes.apply(writes) if writes else []
    # Somebody else wrote the row, perhaps from older counts: the next tick will tell.
    unsettled |= {name for name, done in zip(subjects, verdicts, strict=True) if not done}
    return sum(verdicts), unsettled


def attributes(figures: Report) -> dict[str, Any]:
    """Give the figures as attributes of a pattern's row."""
    confidence = _rounded(figures.confidence)
    rank = (confidence / RANK_STEP).to_integral_value() * RANK_STEP
    return {
        "sample_size": figures.n,
        "successes": figures.successes,
        "success_rate": None if figures.rate is None else _rounded(figures.rate),
        "interval": [_rounded(bound) for bound in figures.interval],
        "confidence": confidence,
        "base_rate": _rounded(figures.base_rate),
        "n_eff": _rounded(figures.n_eff),
        "applied": figures.applied,
        "unresolved": figures.unresolved,
        "as_of": figures.as_of,
        "GSI1_SK": rank,
        "GSI2_SK": rank,
    }


def _change(row: Item, figures: Mapping[str, Any], moment: int) -> list[Update]:
    # An index key belongs only where the row is in the index.
    ranks = {name for name in ("GSI1_SK", "GSI2_SK") if f"{name[:4]}_PK" in row}
    values = {name: value for name, value in figures.items() if name[:3] != "GSI" or name in ranks}
    if all(row.get(name) == value for name, value in values.items()):
        return []
    place = Location(tables.MEMORY, keys.Key(row["PK"], row["SK"]))
    revision = row.get("figures_rev")
    values |= {"figures_rev": (revision or 0) + 1, "updated_at": moment}
    if revision is None:
        return [Update(place, values, missing=("figures_rev",))]
    return [Update(place, values, equals={"figures_rev": revision})]


def _places(version: PatternVersion) -> list[Location]:
    """Say where a pattern's figures stand: its own row, and the copies of its readers."""
    definition = version.definition
    own = keys.Key(version.pk, definition.pattern_id)
    copies = [
        keys.shared_pattern_copy(reader, version.owner, definition.pattern_id)
        for reader in definition.shared_with
    ]
    return [Location(tables.MEMORY, key) for key in (own, *copies)]


def _rounded(value: float) -> Decimal:
    return Decimal(repr(value)).quantize(_PLACES).normalize() + 0
