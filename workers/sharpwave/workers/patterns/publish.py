"""The figures of patterns, computed from counts and written where readers look.

Learning marks each day of a ledger that it has changed. Publishing takes the marks, sums up what
they name and recomputes only the patterns that this can concern, so it costs what changed and not
what exists. A mark goes last, and only if nobody has raised it since it was read.
"""

import logging
from collections.abc import Callable, Iterable, Mapping, Sequence
from decimal import Decimal
from types import MappingProxyType
from typing import Any, NamedTuple

from sharpwave.schemas import keys, tables
from sharpwave.schemas.patterns import PatternVersion, versions_of
from sharpwave.schemas.times import Clock
from sharpwave.workers.patterns.catalogue import Catalogue, Known
from sharpwave.workers.patterns.counts import Counts, base_subjects, summed_days_of, total
from sharpwave.workers.patterns.evidence import inverse_propensity
from sharpwave.workers.patterns.keeper import Keeper
from sharpwave.workers.patterns.ledger import MalformedElement
from sharpwave.workers.patterns.life import rounded
from sharpwave.workers.patterns.metrics import Metrics
from sharpwave.workers.patterns.seats import days_in, places_of, summed
from sharpwave.workers.patterns.sharing import place_of_copy
from sharpwave.workers.patterns.statistics import Figures, figures_of
from sharpwave.workers.patterns.units import Units
from sharpwave.workers.work.ports import (
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


def publish(
    begin: Position,
    *,
    catalogue: Catalogue,
    reads: Reads,
    writes: Writes,
    ledger: Ledger,
    units: Units,
    metrics: Metrics,
    clock: Clock,
    keeper: Keeper,
    horizons: Mapping[str, int] = MappingProxyType({}),
    refresh: Refresh = lambda agent_id, decision_type, day, known: None,
    spread: Spread = map,
) -> tuple[int, Position | None]:
    """Bring sums, the rows of patterns and their lives up to date with one round of marks.

    Safe to repeat and to race: sums are replaced only by later ones, a row changes only if nobody
    changed it since it was read, and figures are a pure function of the counts and the units.
    Units may be newer than the sums they are read by, never older; what is newer has its own mark.

    Returns:
        The number of rows whose figures changed; and where the next round begins, None if no
        marks are left.
    """
    marks, following = _read_marks(begin, reads)
    if not marks:
        return 0, following
    # After the marks: who marked a ledger of some version or epoch had read of it in the list.
    known = catalogue.fresh()

    def sum_day(mark: Mark) -> bool:
        """Sum a day up, and say whether anything was counted on it."""
        # Slots are read one after the other, while others are raised. Revisions only grow, so a
        # sum with a greater one never says less; and what it missed was marked after it began.
        pk, after, until = keys.ledger_heads_span(mark.subject, mark.day)
        heads = reads.query(tables.PIPELINE, pk, after=after, until=until)
        rows = [head["c"] for head in heads]
        if rows:
            place = Location(tables.PIPELINE, keys.ledger_day(mark.subject, mark.day))
            ledger.raise_counts(place, summed(rows))
        return bool(rows)

    def sum_total(subject: str) -> None:
        row = total(summed_days_of(subject, reads).values()).summed().to_row()
        ledger.raise_counts(Location(tables.PIPELINE, keys.ledger_total(subject)), row)

    # Slots into days, then days into totals: each is summed from what the one before stored.
    has_counts = dict(zip(marks, spread(sum_day, marks), strict=True))
    list(spread(sum_total, sorted({mark.subject for mark in marks})))
    concerned = _concerned(marks, known)
    versions = {version.subject: version for each in concerned.values() for version in each}
    latest: dict[str, str] = {}
    for mark, each in concerned.items():
        # What only asks for a look, after a grant say, names a day on which nobody need decide.
        for version in each if has_counts[mark] else ():
            latest[version.subject] = max(mark.day, latest.get(version.subject, ""))
    changed, unsettled = _write_rows(
        keeper.numbered(versions.values()),
        known,
        latest,
        reads=reads,
        writes=writes,
        units=units,
        keeper=keeper,
        clock=clock,
        horizons=horizons,
        spread=spread,
    )
    days: set[tuple[str, str, str]] = set()
    for mark in marks:
        if base := keys.split_base_subject(mark.subject):
            agent_id, decision_type, _ = base
            if known.is_readable(agent_id, decision_type):
                days.add((agent_id, decision_type, mark.day))
            else:
                # Which ledgers make up the day only a newer release can tell.
                unsettled.add(mark.subject)
    for agent_id, decision_type, day in sorted(days):
        refresh(agent_id, decision_type, day, known)
    pairs = filter(None, (keys.split_sources_subject(mark.subject) for mark in marks))
    unsettled |= {keys.sources_subject(*pair) for pair in metrics.publish(pairs)}
    done = [
        mark
        for mark, each in concerned.items()
        if not unsettled & {mark.subject, *(version.subject for version in each)}
    ]
    # A mark that was raised meanwhile has another revision, and stays for the next round.
    writes.apply([Delete(mark.place, {"rev": mark.revision}) for mark in done])
    if unsettled:
        log.warning("figures_wait", extra={"subjects": sorted(unsettled)})
    return changed, following


def _read_marks(begin: Position, reads: Reads) -> tuple[list[Mark], Position | None]:
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
    versions: Sequence[PatternVersion],
    known: Known,
    latest: Mapping[str, str],
    *,
    reads: Reads,
    writes: Writes,
    keeper: Keeper,
    units: Units,
    clock: Clock,
    horizons: Mapping[str, int],
    spread: Spread,
) -> tuple[int, set[str]]:
    """Write the figures of versions; gives how many rows changed and which have to wait."""
    places: dict[str, list[Location]] = {}
    for version in versions:
        # A pattern's figures stand in its own row, and in the copies of its readers.
        pattern_id = version.definition.pattern_id
        own = Location(tables.MEMORY, keys.Key(version.pk, pattern_id))
        copies = [place_of_copy(version, reader) for reader in version.definition.shared_with]
        places[version.subject] = [own, *copies]
    # Rows before counts: a row that somebody changes in between was changed with later ones.
    rows = reads.get([place for each in places.values() for place in each])
    writers: dict[str, dict[str, list[int]]] = {}
    for version in versions:
        name = version.definition.decision_type
        if version.definition.agent_id is None and name not in writers:
            listed = reads.query(tables.MEMORY, keys.writers_pk(name))
            writers[name] = {entry["SK"]: entry.get("epochs", []) for entry in listed}

    # Totals and accounts that several versions share are read once, for all of them.
    bases = {
        each.subject: base_subjects(
            each, known.versions, writers.get(each.definition.decision_type, {})
        )
        for each in versions
    }
    names = sorted({name for each in bases.values() for name in each})
    at = {name: Location(tables.PIPELINE, keys.ledger_total(name)) for name in names}
    found = reads.get(list(at.values())) if at else {}
    totals = {
        name: Counts.from_row(found[place]["c"]) for name, place in at.items() if place in found
    }
    together = keeper.round(versions)

    def updates_of(version: PatternVersion) -> list[Update] | None:
        definition = version.definition
        if not known.is_readable(definition.agent_id, definition.decision_type):
            return None
        base = bases[version.subject]
        everyone = total(totals[each] for each in base if each in totals)
        counted = places_of(version, known.versions)
        days = days_in(counted, together.rows_of)
        try:
            arms = units.arms_in(counted, together.days_of)
        except MalformedElement:
            # A newer release wrote into a set what this one cannot read.
            return None
        figures = figures_of(version, days, everyone, arms=arms, horizons=horizons)
        own, *copies = places[version.subject]
        seen = keeper.look(
            version,
            rows.get(own),
            together=together,
            counted=counted,
            days=days,
            arms=arms,
            figures=figures,
            everyone=everyone.n,
            bases=base,
            latest=latest.get(version.subject, ""),
            attributes=attributes,
        )
        if not seen.is_settled:
            return None
        values = {**attributes(figures), **seen.figures}
        # What it stands at is written to its own row along with its history, and nowhere else.
        current = [] if seen.row is None else [(own, seen.row, values)]
        told = {**values, **seen.life.attributes()}
        lack = {
            reader: rows.get(place)
            for reader, place in zip(definition.shared_with, copies, strict=True)
            if rows.get(place, {}).get("version") != version.version
        }
        if lack and seen.row is not None:
            row = {**seen.row, **told}
            if not keeper.grant(version, row, lack):
                return None
        current += [(place, rows[place], told) for place in copies if place in rows]
        updates = (
            _update(place, row, shown, int(clock()))
            for place, row, shown in current
            if row.get("version") == version.version
        )
        return [update for update in updates if update is not None]

    unsettled: set[str] = set()
    changes: list[Write] = []
    subjects: list[str] = []
    for version, updates in zip(versions, spread(updates_of, versions), strict=True):
        if updates is None:
            unsettled.add(version.subject)
            continue
        changes += updates
        subjects += [version.subject] * len(updates)
    verdicts = writes.apply(changes) if changes else []
    # Somebody else wrote the row, perhaps from older counts: the next tick will tell.
    unsettled |= {name for name, done in zip(subjects, verdicts, strict=True) if not done}
    return sum(verdicts), unsettled


def _update(place: Location, row: Item, figures: Mapping[str, Any], moment: int) -> Update | None:
    """Bring a row's figures up to date, unless somebody changes it meanwhile; None if they are."""
    # An index key belongs only where the row is in the index.
    values = {
        name: value
        for name, value in figures.items()
        if name not in ("GSI1_SK", "GSI2_SK") or f"{name[:4]}_PK" in row
    }
    if all(row.get(name) == value for name, value in values.items()):
        return None
    revision = row.get("figures_rev")
    values |= {"figures_rev": (revision or 0) + 1, "updated_at": moment}
    if revision is None:
        return Update(place, values, missing=("figures_rev",))
    return Update(place, values, equals={"figures_rev": revision})


def attributes(figures: Figures) -> dict[str, Any]:
    """Give the figures as attributes of a pattern's row."""
    confidence = rounded(figures.confidence)
    rank = (confidence / RANK_STEP).to_integral_value() * RANK_STEP
    # The rates under "always apply" and "never apply", as far as lots tell them.
    propensity: dict[str, Any] = {}
    for name, weights in (
        ("applied", figures.applied_weights),
        ("other", figures.other_weights),
    ):
        estimate = inverse_propensity(weights) if weights.n else None
        if estimate is not None:
            propensity[name] = {"rate": rounded(estimate.rate), "n": estimate.n}
            if estimate.n_eff is not None:
                propensity[name]["n_eff"] = rounded(estimate.n_eff)
    return {
        "sample_size": figures.n,
        "successes": figures.successes,
        "success_rate": None if figures.rate is None else rounded(figures.rate),
        "interval": [rounded(bound) for bound in figures.interval],
        "confidence": confidence,
        "base_rate": rounded(figures.base_rate),
        "n_eff": rounded(figures.n_eff),
        "applied": figures.applied,
        "unresolved": figures.unresolved,
        "overdue": figures.overdue,
        "units": figures.units,
        "quality_sd": None if figures.quality_sd is None else rounded(figures.quality_sd),
        "propensity": propensity or None,
        "as_of": figures.as_of,
        "GSI1_SK": rank,
        "GSI2_SK": rank,
    }
