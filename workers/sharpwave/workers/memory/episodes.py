"""Decisions older than a day fold into one summary per agent, type and day.

What a summary counts is what the base ledger counts of its day, all epochs together: admitted
states, once each, in sets that only grow. So it is right however late an outcome comes, and stays
right when time removes the decisions. Only the sources that decisions used are in no ledger. They
are kept by the hour in which decisions were written: each time an hour is read whole, and the
greater numbers stand, so what is gone from the table takes nothing away.
"""

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from decimal import Decimal
from itertools import chain, groupby, islice
from typing import NamedTuple, TypeVar

from sharpwave.schemas import keys, tables
from sharpwave.schemas.numbers import item_to_wire
from sharpwave.schemas.patterns import boundaries
from sharpwave.schemas.times import (
    AS_A_RULE,
    Clock,
    EventAhead,
    bound,
    day_and_hour,
    epoch_of,
    is_event_time,
)
from sharpwave.workers.memory.low_water import INDEX_TRAILS_S, LOTS, LowWater
from sharpwave.workers.patterns.catalogue import Catalogue, Known
from sharpwave.workers.patterns.counts import Counts, base_day
from sharpwave.workers.ports import Insert, Item, Location, Reads, TryAgain, Update, Write, Writes
from sharpwave.workers.router.admission import is_admissible
from sharpwave.workers.signals.refused import RefusedBefore

T = TypeVar("T")

_ATTEMPTS = 8
#: Writes and reads of one call; and marks after which a sweep notes how far it came.
_PAGE, _MARKS = 100, 2_000
#: Sources kept of an hour and of a day, those used most.
_SOURCES_KEPT = 20
_HOUR = len("2026-11-22T14")
_HOUR_S = 3_600
#: Seconds after which a sweep leaves the rest to the next one.
SWEEP_S = 20


@dataclass(frozen=True, slots=True, kw_only=True)
class Folding:
    """What summing up days needs of the world.

    Attributes:
        reads: strong reads.
        writes: conditional writes.
        catalogue: the patterns, whose versions divide base ledgers into epochs.
        clock: the time.
        event_ahead: how far ahead the event time of decisions may lie, by their type.
    """

    reads: Reads
    writes: Writes
    catalogue: Catalogue
    clock: Clock
    event_ahead: EventAhead = field(default_factory=lambda: AS_A_RULE)


class Day(NamedTuple):
    """One agent's decisions of one type on one day."""

    agent_id: str
    decision_type: str
    day: str

    @property
    def place(self) -> Location:
        """Say where its summary is."""
        return Location(tables.MEMORY, keys.episode(*self))


class Span(NamedTuple):
    """One agent's decisions of one type that were written in one hour, such as 2026-11-22T14."""

    agent_id: str
    decision_type: str
    hour: str


def sweep_decisions(agent_id: str, to: Folding, *, promote_after_s: float) -> int:
    """Fold an agent's decisions that have come of age; gives the number of days that changed.

    Hour by hour: an hour's days are brought up to date, its decisions marked, and then the
    low-water mark is raised, so a sweep that ends anywhere is taken up there by the next one.
    """
    low = LowWater("episode", agent_id, reads=to.reads, writes=to.writes)
    swept = int(epoch_of(low.mark + "Z")) if low.mark else 0
    # Folding reads an hour whole, so decisions come of age in lots; by then the router sees to
    # those stored late, whatever its clock.
    lot = max(1, int(promote_after_s) // LOTS)
    began = to.clock()
    until = int(began - promote_after_s - min(INDEX_TRAILS_S, lot)) // lot * lot - 1
    changed = 0
    due = to.reads.by_agent(agent_id, after=swept, until=until)
    for number, entries in groupby(due, key=lambda entry: int(entry["timestamp"]) // _HOUR_S):
        end = min(until, (number + 1) * _HOUR_S - 1)
        spans: dict[Span, set[Day]] = {}
        for entry in entries:
            if _is_readable(entry, agent_id):
                spans.setdefault(_span(entry), set()).add(_day(entry))
        for span, listed in sorted(spans.items()):
            days = set(_count_sources(span, (), to, until=bound(end)))
            # What a decision says now may be refused, and it may have been counted before that.
            known = to.catalogue.fresh()
            doubtful = [day for day in listed - days if _is_counted(day, known, to.reads)]
            changed += _refresh_all(sorted(days.union(doubtful)), known, to)
        marking = _mark_all(agent_id, swept, end, to)
        for swept in marking:
            if not low.raise_to(bound(swept), at_once=True) or to.clock() - began > SWEEP_S:
                # Another sweep is at it, or the rest has to wait.
                return changed
    if until > swept:
        low.raise_to(bound(until))
    return changed


def fold_decisions(decisions: Sequence[Item], to: Folding) -> int:
    """Bring the days of some decisions up to date, and mark the decisions promoted.

    Args:
        decisions: admitted ones, whole; time may have removed them since.
        to: the world.

    Returns:
        The number of days that changed.
    """
    days = {_day(decision) for decision in decisions}
    spans: dict[Span, list[Item]] = {}
    for decision in decisions:
        if _sources(decision):
            spans.setdefault(_span(decision), []).append(decision)
    for span, given in sorted(spans.items(), key=lambda pair: pair[0]):
        _count_sources(span, given, to)
    changed = _refresh_all(sorted(days), to.catalogue.fresh(), to) if days else 0
    _mark_page(decisions, to)
    return changed


def refresh(day: Day, known: Known, to: Folding, *, folds: bool = False) -> bool:
    """Make a day's summary say what its base ledgers, and its sources, say now.

    The summary is read before what it sums up: if nobody wrote it since, nobody knew better. Who
    changes a ledger refreshes its day afterwards, but leaves a day alone that has no summary yet.
    So after making one, its maker looks once more.

    Args:
        day: whose summary.
        known: the versions of patterns, for they divide base ledgers into epochs. If others have
            summed up more epochs than these make, the list is read anew.
        to: the world.
        folds: make the summary if there is none, and sum up its sources. Who changed nothing but
            counts leaves both to whoever folds the day.

    Returns:
        Whether it changed.

    Raises:
        TryAgain: the summary kept changing, or a newer release wrote a version that divides the
            day's ledgers; a worker of that release sums it up.
    """
    changed = False
    for attempt in range(_ATTEMPTS):
        stored = to.reads.get([day.place]).get(day.place)
        if stored is None and not folds:
            return changed
        if not known.is_readable(day.agent_id, day.decision_type):
            raise TryAgain(f"a newer release divides the ledgers of {day.decision_type}")
        epochs = boundaries(known.versions, day.agent_id, day.decision_type)
        if stored and stored.get("epochs", 0) > len(epochs) and attempt < _ATTEMPTS // 2:
            # If the list keeps saying so, somebody took versions out of it.
            known = to.catalogue.fresh()
            continue
        counts = base_day(*day, known.versions, to.reads)
        sources = Counter(stored["sources"]) if stored and not folds else _sources_of(day, to.reads)
        content = {**summary(day, counts, sources), "epochs": len(epochs)}
        if stored and all(stored.get(name) == value for name, value in content.items()):
            return changed
        done = to.writes.apply([_store(day.place, stored, content, int(to.clock()))])[0]
        changed = changed or done
        if done and stored is not None:
            return True
    raise TryAgain(f"the episode {day.place.key.sk} kept changing")


def _refresh_all(days: Sequence[Day], known: Known, to: Folding) -> int:
    return sum(refresh(day, known, to, folds=True) for day in days)


def _is_counted(day: Day, known: Known, reads: Reads) -> bool:
    if not known.is_readable(day.agent_id, day.decision_type):
        return True
    counts = base_day(*day, known.versions, reads)
    return counts.n + counts.pending > 0


def summary(day: Day, counts: Counts, sources: Counter[str]) -> Item:
    """Sum up a day: its counts, its mean quality, and the sources used most."""
    result: Item = {
        "memory_type": "EPISODE",
        **day._asdict(),
        "sample_size": counts.n,
        "successes": counts.s,
        "pending": counts.pending,
        "sources": _most_used(sources),
    }
    if counts.q_n:
        result["quality_mean"] = round(Decimal(counts.q_sum) / counts.q_n / 10_000, 4)
    return result


def _count_sources(
    span: Span, given: Sequence[Item], to: Folding, *, until: str = "~"
) -> list[Day]:
    """Count the sources of an hour's decisions, whole; gives the days of those up to `until`.

    `given` are decisions of that hour, whether the table still holds them or not.
    """
    found: dict[Day, Counter[str]] = {}
    due: set[Day] = set()
    for decision in chain(given, _stored(span, {each["SK"] for each in given}, to)):
        day = _day(decision)
        found.setdefault(day, Counter()).update(_sources(decision))
        if decision["SK"][: len(until)] <= until:
            due.add(day)
    parts = {_part(day, span.hour): sources for day, sources in found.items() if sources}
    for page in pages(parts, _PAGE):
        _merge({place: parts[place] for place in page}, to)
    return sorted(due)


def _stored(span: Span, but: set[str], to: Folding) -> Iterator[Item]:
    pk = keys.decision_pk(span.agent_id, span.decision_type)
    refused = RefusedBefore(to.reads)
    for item in to.reads.query(tables.DECISIONS, pk, after=span.hour, until=span.hour + "~"):
        if item["SK"] in but:
            continue
        is_fine = is_admissible("decision", item, event_ahead=to.event_ahead)
        if is_fine and not refused.holds(tables.DECISIONS, item_to_wire(item)):
            yield item


def _part(day: Day, hour: str) -> Location:
    return Location(tables.MEMORY, keys.episode_sources(*day, hour))


def _merge(parts: Mapping[Location, Counter[str]], to: Folding) -> None:
    """Raise the stored numbers of some parts to what was counted now."""
    todo = dict(parts)
    for _ in range(_ATTEMPTS):
        stored = to.reads.get(list(todo))
        changes: dict[Location, Write] = {}
        for place, fresh in todo.items():
            held = stored.get(place, {})
            known: Counter[str] = Counter(held.get("sources", {}))
            merged = _most_used(known | fresh)
            if merged != known:
                changes[place] = _sized(place, held, merged)
        done = to.writes.apply(list(changes.values())) if changes else []
        todo = {place: todo[place] for place, ok in zip(changes, done, strict=True) if not ok}
        if not todo:
            return
    raise TryAgain(f"the sources {next(iter(todo)).key} kept changing")


def _sized(place: Location, held: Item, sources: Mapping[str, int]) -> Write:
    if not held:
        return Insert(place.table, {**place.key.item(), "sources": sources, "version": 1})
    version = held["version"]
    return Update(place, {"sources": sources, "version": version + 1}, equals={"version": version})


def _sources_of(day: Day, reads: Reads) -> Counter[str]:
    key = keys.episode_sources(*day, "")
    total: Counter[str] = Counter()
    for part in reads.query(tables.MEMORY, key.pk, after=key.sk, until=key.sk + "~"):
        total.update({name: int(number) for name, number in part["sources"].items()})
    return total


def _most_used(sources: Counter[str]) -> dict[str, int]:
    """Keep the sources used most; of those used as often, the first by name."""
    ranked = sorted(sources.items(), key=lambda pair: (-pair[1], pair[0]))
    return dict(sorted(ranked[:_SOURCES_KEPT]))


def _store(place: Location, stored: Item | None, content: Item, moment: int) -> Write:
    values = {**content, "updated_at": moment}
    if stored is None:
        return Insert(place.table, {**place.key.item(), **values, "version": 1})
    version = stored["version"]
    return Update(place, {**values, "version": version + 1}, equals={"version": version})


def _mark_all(agent_id: str, after: int, until: int, to: Folding) -> Iterator[int]:
    """Mark an agent's decisions; gives, now and then, the second up to which all are marked."""
    entries = to.reads.by_agent(agent_id, after=after, until=until)
    readable = (entry for entry in entries if _is_readable(entry, agent_id))
    for page in pages(readable, _MARKS):
        _mark_page(page, to)
        # Others of the last one's second may be on the next page.
        whole = int(page[-1]["timestamp"]) - 1
        if whole > after:
            yield (after := whole)
    yield until


def _mark_page(decisions: Sequence[Item], to: Folding) -> None:
    values = {"promoted_at": int(to.clock()), "is_stm": False}
    places = dict.fromkeys(
        Location(tables.DECISIONS, keys.Key(each["PK"], each["SK"])) for each in decisions
    )
    marks: list[Write] = [Update(place, values, missing=("promoted_at",)) for place in places]
    if marks:
        to.writes.apply(marks)


def _day(decision: Item) -> Day:
    day, _ = day_and_hour(int(decision["timestamp"]), decision.get("event_time"))
    return Day(*keys.split_decision_pk(decision["PK"]), day)


def _span(decision: Item) -> Span:
    return Span(*keys.split_decision_pk(decision["PK"]), decision["SK"][:_HOUR])


def _is_readable(entry: Item, agent_id: str) -> bool:
    """Say whether an index entry is not forged, and has a day."""
    parsed = keys.parse(tables.DECISIONS, entry["PK"], entry["SK"])
    moment = entry.get("event_time")
    dated = moment is None or (isinstance(moment, str) and is_event_time(moment))
    return parsed is not None and parsed.owner == agent_id and dated


def _sources(decision: Item) -> list[str]:
    reasoning = decision.get("reasoning")
    selected = reasoning.get("selected") if isinstance(reasoning, dict) else None
    return [str(name)[:64] for name in selected] if isinstance(selected, list) else []


def pages(items: Iterable[T], size: int) -> Iterator[list[T]]:
    """Split items into lists of at most `size`."""
    waiting = iter(items)
    while page := list(islice(waiting, size)):
        yield page
