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
from sharpwave.workers.patterns.catalogue import Catalogue, Known
from sharpwave.workers.patterns.counts import Counts, base_day
from sharpwave.workers.router.admission import is_admissible
from sharpwave.workers.signals.refusals import RefusedBefore
from sharpwave.workers.work.low_water import INDEX_TRAILS_S, LOTS, LowWater
from sharpwave.workers.work.ports import (
    Insert,
    Item,
    Location,
    Reads,
    TryAgain,
    Update,
    Write,
    Writes,
)

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


@dataclass(frozen=True, slots=True, kw_only=True)
class Episodes:
    """Folds decisions into the summaries of their days.

    Attributes:
        reads: strong reads.
        writes: conditional writes.
        catalogue: the patterns, whose versions divide base ledgers into epochs.
        clock: the time.
        promote_after_s: the age at which decisions are folded.
        event_ahead: how far ahead the event time of decisions may lie, by their type.
    """

    reads: Reads
    writes: Writes
    catalogue: Catalogue
    clock: Clock
    promote_after_s: float
    event_ahead: EventAhead = field(default_factory=lambda: AS_A_RULE)

    def sweep(self, agent_id: str) -> int:
        """Fold an agent's decisions that have come of age; gives the number of days that changed.

        Hour by hour: an hour's days are brought up to date, its decisions marked, and then the
        low-water mark is raised, so a sweep that ends anywhere is taken up there by the next one.
        """
        low = LowWater("episode", agent_id, reads=self.reads, writes=self.writes)
        swept = int(epoch_of(low.mark + "Z")) if low.mark else 0
        # Folding reads an hour whole, so decisions come of age in lots; by then the router sees to
        # those stored late, whatever its clock.
        lot = max(1, int(self.promote_after_s) // LOTS)
        began = self.clock()
        # Behind the index's lag: what it does not show yet would never be looked at again.
        come_of_age = began - self.promote_after_s - min(INDEX_TRAILS_S, lot)
        until = int(come_of_age) // lot * lot - 1
        changed = 0
        due = self.reads.by_agent(agent_id, after=swept, until=until)
        for number, entries in groupby(due, key=lambda entry: int(entry["timestamp"]) // _HOUR_S):
            end = min(until, (number + 1) * _HOUR_S - 1)
            spans: dict[Span, set[Day]] = {}
            for entry in entries:
                if _is_readable(entry, agent_id):
                    spans.setdefault(_span(entry), set()).add(_day(entry))
            for span, listed in sorted(spans.items()):
                days = set(self._count_sources(span, (), until=bound(end)))
                # What a decision says now may be refused, and it may have been counted before.
                known = self.catalogue.fresh()
                doubtful = [day for day in listed - days if self._is_counted(day, known)]
                changed += self._refresh_all(sorted(days.union(doubtful)), known)
            marking = self._mark_all(agent_id, swept, end)
            for swept in marking:
                if not low.raise_to(bound(swept), at_once=True) or self.clock() - began > SWEEP_S:
                    # Another sweep is at it, or the rest has to wait.
                    return changed
        if until > swept:
            low.raise_to(bound(until))
        return changed

    def fold(self, decisions: Sequence[Item]) -> int:
        """Bring the days of some decisions up to date, and mark the decisions promoted.

        Args:
            decisions: admitted ones, whole; time may have removed them since.

        Returns:
            The number of days that changed.
        """
        days = {_day(decision) for decision in decisions}
        spans: dict[Span, list[Item]] = {}
        for decision in decisions:
            if _sources(decision):
                spans.setdefault(_span(decision), []).append(decision)
        # Sources, then days, then marks: a day sums up the sources, and what time removes without
        # a mark comes here again by its last image.
        for span, given in sorted(spans.items(), key=lambda pair: pair[0]):
            self._count_sources(span, given)
        changed = self._refresh_all(sorted(days), self.catalogue.fresh()) if days else 0
        self._mark(decisions)
        return changed

    def refresh(self, day: Day, known: Known, *, folds: bool = False) -> bool:
        """Make a day's summary say what its base ledgers, and its sources, say now.

        Who changes a ledger refreshes its day afterwards, but leaves a day alone that has no
        summary yet. So after making one, its maker looks once more.

        Args:
            day: whose summary.
            known: the versions of patterns, for they divide base ledgers into epochs. If others
                have summed up more epochs than these make, the list is read anew.
            folds: make the summary if there is none, and sum up its sources. Who changed nothing
                but counts leaves both to whoever folds the day.

        Returns:
            Whether it changed.

        Raises:
            TryAgain: the summary kept changing, or a newer release wrote a version that divides
                the day's ledgers; a worker of that release sums it up.
        """
        changed = False
        for attempt in range(_ATTEMPTS):
            # The summary before what it sums up: if nobody wrote it since, nobody knew better.
            stored = self.reads.get([day.place]).get(day.place)
            if stored is None and not folds:
                return changed
            if not known.is_readable(day.agent_id, day.decision_type):
                raise TryAgain(f"a newer release divides the ledgers of {day.decision_type}")
            epochs = boundaries(known.versions, day.agent_id, day.decision_type)
            if stored and stored.get("epochs", 0) > len(epochs) and attempt < _ATTEMPTS // 2:
                # If the list keeps saying so, somebody took versions out of it.
                known = self.catalogue.fresh()
                continue
            counts = base_day(*day, known.versions, self.reads)
            sources = Counter[str](stored["sources"] if stored and not folds else ())
            if folds or not stored:
                part = keys.episode_sources(*day, "")
                hours = self.reads.query(tables.MEMORY, part.pk, after=part.sk, until=part.sk + "~")
                for hour in hours:
                    sources.update({name: int(n) for name, n in hour["sources"].items()})
            content = {**summary(day, counts, sources), "epochs": len(epochs)}
            if stored and all(stored.get(name) == value for name, value in content.items()):
                return changed
            values = {**content, "updated_at": int(self.clock())}
            done = self.writes.apply([_versioned(day.place, stored, values)])[0]
            changed = changed or done
            if done and stored is not None:
                return True
        raise TryAgain(f"the episode {day.place.key.sk} kept changing")

    def _refresh_all(self, days: Sequence[Day], known: Known) -> int:
        return sum(self.refresh(day, known, folds=True) for day in days)

    def _is_counted(self, day: Day, known: Known) -> bool:
        if not known.is_readable(day.agent_id, day.decision_type):
            return True
        counts = base_day(*day, known.versions, self.reads)
        return counts.n + counts.pending > 0

    def _count_sources(self, span: Span, given: Sequence[Item], *, until: str = "~") -> list[Day]:
        """Count the sources of an hour's decisions, whole; gives the days of those up to `until`.

        `given` are decisions of that hour, whether the table still holds them or not.
        """
        found: dict[Day, Counter[str]] = {}
        due: set[Day] = set()
        for decision in chain(given, self._stored(span, {each["SK"] for each in given})):
            day = _day(decision)
            found.setdefault(day, Counter()).update(_sources(decision))
            if decision["SK"][: len(until)] <= until:
                due.add(day)
        parts = {
            Location(tables.MEMORY, keys.episode_sources(*day, span.hour)): sources
            for day, sources in found.items()
            if sources
        }
        for page in pages(parts, _PAGE):
            self._merge({place: parts[place] for place in page})
        return sorted(due)

    def _stored(self, span: Span, but: set[str]) -> Iterator[Item]:
        pk = keys.decision_pk(span.agent_id, span.decision_type)
        refused = RefusedBefore(self.reads)
        hour = self.reads.query(tables.DECISIONS, pk, after=span.hour, until=span.hour + "~")
        for item in hour:
            if item["SK"] in but:
                continue
            is_fine = is_admissible("decision", item, event_ahead=self.event_ahead)
            if is_fine and not refused.holds(tables.DECISIONS, item_to_wire(item)):
                yield item

    def _merge(self, parts: Mapping[Location, Counter[str]]) -> None:
        """Raise the stored numbers of some parts to what was counted now."""
        todo = dict(parts)
        for _ in range(_ATTEMPTS):
            stored = self.reads.get(list(todo))
            changes: dict[Location, Write] = {}
            for place, fresh in todo.items():
                held = stored.get(place)
                known: Counter[str] = Counter(held.get("sources", {}) if held else {})
                # The greater numbers: of an hour counted twice, time removed some in between.
                merged = _most_used(known | fresh)
                if merged != known:
                    changes[place] = _versioned(place, held, {"sources": merged})
            done = self.writes.apply(list(changes.values()))
            todo = {place: todo[place] for place, ok in zip(changes, done, strict=True) if not ok}
            if not todo:
                return
        raise TryAgain(f"the sources {next(iter(todo)).key} kept changing")

    def _mark_all(self, agent_id: str, after: int, until: int) -> Iterator[int]:
        """Mark an agent's decisions; gives, now and then, the second up to which all are marked."""
        entries = self.reads.by_agent(agent_id, after=after, until=until)
        readable = (entry for entry in entries if _is_readable(entry, agent_id))
        for page in pages(readable, _MARKS):
            self._mark(page)
            # Others of the last one's second may be on the next page.
            whole = int(page[-1]["timestamp"]) - 1
            if whole > after:
                yield (after := whole)
        yield until

    def _mark(self, decisions: Sequence[Item]) -> None:
        values = {"promoted_at": int(self.clock()), "is_stm": False}
        places = dict.fromkeys(
            Location(tables.DECISIONS, keys.Key(each["PK"], each["SK"])) for each in decisions
        )
        self.writes.apply([Update(place, values, missing=("promoted_at",)) for place in places])


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


def _versioned(place: Location, stored: Item | None, values: Item) -> Write:
    """Give a write of an item that stands only if nobody wrote the item since it was read."""
    if not stored:
        return Insert(place.table, {**place.key.item(), **values, "version": 1})
    version = stored["version"]
    return Update(place, {**values, "version": version + 1}, equals={"version": version})


def _most_used(sources: Counter[str]) -> dict[str, int]:
    """Keep the sources used most; of those used as often, the first by name."""
    ranked = sorted(sources.items(), key=lambda pair: (-pair[1], pair[0]))
    return dict(sorted(ranked[:_SOURCES_KEPT]))


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
