"""Decisions older than a day fold into one summary per agent, type and day.

A summary keeps a part for each hour in which its decisions were written. An hour is always
recomputed whole from the decisions themselves, so a late outcome simply runs its hour again, and
nothing is ever counted twice; the day is the sum of its hours.
"""

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from decimal import Decimal
from typing import NamedTuple

from sharpwave.schemas import keys, tables
from sharpwave.schemas.times import Clock, bound, day_and_hour, epoch_of, is_event_time
from sharpwave.workers.admission import is_admissible
from sharpwave.workers.low_water import CLOCKS_APART_S, LowWater
from sharpwave.workers.ports import Change, Insert, Item, Location, Reads, TryAgain, Write, Writes
from sharpwave.workers.promote import pages

#: In how many lots the decisions of one `promote_after_s` come of age.
LOTS = 24
_ATTEMPTS = 8
#: Decisions folded together; below it, each is read once.
_CHUNK = 5_000
#: Sources kept of an hour and of a day, those used most.
_SOURCES_KEPT = 20
_HOUR = len("2026-11-22T14")


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
    # Folding reads an hour whole, so decisions come of age an hour at a time; by then the router
    # sees to those stored late, whatever its clock.
    lot = max(1, int(promote_after_s) // LOTS)
    until = int(clock() - promote_after_s - min(CLOCKS_APART_S, lot)) // lot * lot - 1
    if until <= swept:
        return 0
    due = reads.by_agent(agent_id, after=swept, until=until)
    found = folded = 0
    for chunk in pages((entry for entry in due if _is_readable(entry, agent_id)), _CHUNK):
        found += len(chunk)
        folded += fold_decisions(chunk, reads=reads, writes=writes, clock=clock)
    low.raise_to(bound(until), at_once=found > 0)
    return folded


def fold_decisions(decisions: Sequence[Item], *, reads: Reads, writes: Writes, clock: Clock) -> int:
    """Recompute the hours of some decisions and mark the decisions promoted.

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


def hour(decisions: Iterable[Item]) -> Item:
    """Sum up decisions: counts, qualities and the sources used most."""
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
    return {
        "sample_size": n,
        "successes": successes,
        "pending": pending,
        "qualities": len(qualities),
        "quality_sum": sum(qualities, Decimal(0)),
        "sources": _most_used(sources),
    }


def summary(day: Day, hours: Mapping[str, Item]) -> Item:
    """Add up a day's hours."""
    parts = list(hours.values())
    sources: Counter[str] = Counter()
    for part in parts:
        sources.update(part["sources"])
    counts = {
        name: sum(part[name] for part in parts)
        for name in ("sample_size", "successes", "pending", "qualities")
    }
    qualities = counts.pop("qualities")
    result: Item = {**day._asdict(), **counts, "sources": _most_used(sources)}
    if qualities:
        total = sum((part["quality_sum"] for part in parts), Decimal(0))
        result["quality_mean"] = round(total / qualities, 4)
    return result


def _recompute(day: Day, sks: list[str], reads: Reads, writes: Writes, clock: Clock) -> bool:
    place = Location(tables.MEMORY, keys.episode(*day))
    for _ in range(_ATTEMPTS):
        stored = reads.get([place]).get(place)
        hours = dict(stored["hours"]) if stored else {}
        for name, span in _by_hour(sks).items():
            hours[name] = _read_hour(day, span, hours.get(name), reads)
        content = {"memory_type": "EPISODE", **summary(day, hours), "hours": hours}
        if stored and all(stored.get(name) == value for name, value in content.items()):
            return False
        if writes.apply([_store(place, stored, content, int(clock()))])[0]:
            return True
    raise TryAgain(f"the episode {place.key.sk} kept changing")


def _by_hour(sks: list[str]) -> dict[str, list[str]]:
    spans: dict[str, list[str]] = {}
    for sk in sks:
        spans.setdefault(sk[:_HOUR], []).append(sk)
    return spans


def _read_hour(day: Day, sks: list[str], stored: Item | None, reads: Reads) -> Item:
    first = min([*sks, *([stored["first_sk"]] if stored else [])])
    last = max([*sks, *([stored["last_sk"]] if stored else [])])
    pk = keys.decision_pk(day.agent_id, day.decision_type)
    found = reads.query(tables.DECISIONS, pk, after=first[:-1], until=last)
    counted = hour(item for item in found if _belongs(item, day))
    return {"first_sk": first, "last_sk": last, **counted}


def _most_used(sources: Counter[str]) -> dict[str, int]:
    return dict(sorted(sources.most_common(_SOURCES_KEPT)))


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
