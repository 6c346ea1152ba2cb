"""Decisions older than a day fold into one summary per agent, type and day.

A day is always recomputed whole from the decisions themselves, so a late outcome simply runs its
day again, and nothing is ever counted twice.
"""

from collections import Counter
from collections.abc import Iterable, Sequence
from decimal import Decimal
from typing import Any, NamedTuple

from sharpwave.schemas import keys, tables
from sharpwave.schemas.times import Clock, bound, day_and_hour, epoch_of, is_event_time
from sharpwave.workers.admission import is_admissible
from sharpwave.workers.low_water import CLOCKS_APART_S, LowWater
from sharpwave.workers.ports import Change, Insert, Item, Location, Reads, TryAgain, Write, Writes
from sharpwave.workers.promote import pages

#: In how many lots the decisions of one `promote_after_s` come of age.
LOTS = 24
_ATTEMPTS = 8
_SOURCES_KEPT = 20


class Day(NamedTuple):
    """One agent's decisions of one type on one day."""

    agent_id: str
    decision_type: str
    day: str


def sweep_decisions(
    agent_id: str, *, promote_after_s: float, reads: Reads, writes: Writes, clock: Clock
) -> int:
    """Fold an agent's decisions that have come of age; gives the number of days recomputed."""
    low = LowWater("episode", agent_id, reads=reads, writes=writes)
    swept = int(epoch_of(low.mark + "Z")) if low.mark else 0
    # Folding reads a day whole, so decisions come of age in lots, a few dozen to a day.
    lot = max(1, int(promote_after_s) // LOTS)
    until = int(clock() - promote_after_s) // lot * lot
    if until <= swept:
        return 0
    due = reads.by_agent(agent_id, after=swept - CLOCKS_APART_S, until=until)
    found = folded = 0
    for page in pages(entry for entry in due if _is_readable(entry, agent_id)):
        found += len(page)
        folded += fold_decisions(page, reads=reads, writes=writes, clock=clock)
    low.raise_to(bound(until), at_once=found > 0)
    return folded


def fold_decisions(decisions: Sequence[Item], *, reads: Reads, writes: Writes, clock: Clock) -> int:
    """Recompute the days of some decisions and mark the decisions promoted.

    The items need at least PK, SK, timestamp and, if present, event_time.
    """
    spans: dict[Day, list[str]] = {}
    for decision in decisions:
        spans.setdefault(_day(decision), []).append(decision["SK"])
    changed = sum(_recompute(day, sks, reads, writes, clock) for day, sks in spans.items())
    moment = int(clock())
    marks: list[Write] = [_mark(decision, moment) for decision in decisions]
    if marks:
        writes.apply(marks)
    return changed


def summary(day: Day, decisions: Iterable[Item]) -> dict[str, Any]:
    """Summarise one day's decisions: counts, mean quality and the sources used most."""
    n = successes = pending = 0
    qualities: list[Decimal] = []
    sources: Counter[str] = Counter()
    for decision in decisions:
        outcome = decision.get("outcome")
        sources.update(_sources(decision))
        if not isinstance(outcome, dict):
            pending += 1
            continue
        n += 1
        successes += bool(outcome.get("success"))
        if outcome.get("quality_score") is not None:
            qualities.append(Decimal(outcome["quality_score"]))
    result: dict[str, Any] = {
        **day._asdict(),
        "sample_size": n,
        "successes": successes,
        "pending": pending,
        "sources": dict(sorted(sources.most_common(_SOURCES_KEPT))),
    }
    if qualities:
        result["quality_mean"] = round(sum(qualities, Decimal(0)) / len(qualities), 4)
    return result


def _recompute(day: Day, sks: list[str], reads: Reads, writes: Writes, clock: Clock) -> bool:
    place = Location(tables.MEMORY, keys.episode(*day))
    for _ in range(_ATTEMPTS):
        stored = reads.get([place]).get(place)
        first = min([*sks, *([stored["first_sk"]] if stored else [])])
        last = max([*sks, *([stored["last_sk"]] if stored else [])])
        pk = keys.decision_pk(day.agent_id, day.decision_type)
        found = reads.query(tables.DECISIONS, pk, after=first[:-1], until=last)
        content = summary(day, (item for item in found if _belongs(item, day)))
        content |= {"memory_type": "EPISODE", "first_sk": first, "last_sk": last}
        if stored and all(stored.get(name) == value for name, value in content.items()):
            return False
        if writes.apply([_store(place, stored, content, int(clock()))])[0]:
            return True
    raise TryAgain(f"the episode {place.key.sk} kept changing")


def _store(place: Location, stored: Item | None, content: Item, moment: int) -> Write:
    values = {**content, "updated_at": moment}
    if stored is None:
        return Insert(place.table, {**place.key.item(), **values, "version": 1})
    version = stored["version"]
    return Change(place, {**values, "version": version + 1}, equals={"version": version})


def _day(decision: Item) -> Day:
    owner = keys.owner_of(decision["PK"]) or ""
    day, _ = day_and_hour(int(decision["timestamp"]), decision.get("event_time"))
    return Day(owner, decision["PK"].rpartition("#")[2], day)


def _is_readable(entry: Item, agent_id: str) -> bool:
    """Say whether an index entry is not forged, and has a day."""
    parsed = keys.parse(tables.DECISIONS, entry["PK"], entry["SK"])
    moment = entry.get("event_time")
    dated = moment is None or (isinstance(moment, str) and is_event_time(moment))
    return parsed is not None and parsed.owner == agent_id and dated


def _belongs(decision: Item, day: Day) -> bool:
    return is_admissible("decision", decision) and _day(decision) == day


def _sources(decision: Item) -> list[str]:
    reasoning = decision.get("reasoning")
    selected = reasoning.get("selected") if isinstance(reasoning, dict) else None
    return [str(name)[:64] for name in selected] if isinstance(selected, list) else []


def _mark(decision: Item, moment: int) -> Change:
    place = Location(tables.DECISIONS, keys.Key(decision["PK"], decision["SK"]))
    values = {"promoted_at": moment, "is_stm": False}
    return Change(place, values, missing=("promoted_at",))
