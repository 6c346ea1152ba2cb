"""How an agent's sources do, written where the agent reads it: one item for each decision type.

It says what their ledger of sources sums up, so it is exact whatever came twice, late or was
corrected, and costs a write when they are published, however many decisions changed.
"""

from collections.abc import Iterable, Mapping, Sequence
from decimal import Decimal
from threading import Lock
from typing import Any

from sharpwave.schemas import keys, tables
from sharpwave.schemas.times import Clock
from sharpwave.workers.patterns.counts import QUALITY_SCALE, Counts
from sharpwave.workers.patterns.sources import Sum, Used
from sharpwave.workers.work.ports import Insert, Item, Location, Reads, Update, Write, Writes

_PLACES = 4
#: Names that a process remembers.
_REMEMBERED = 50_000

Pair = tuple[str, str]
"""An agent and a type of its decisions."""


class Metrics:
    """Publishes how sources do; safe to share between threads."""

    def __init__(self, *, reads: Reads, writes: Writes, clock: Clock) -> None:
        """Read sums and names through `reads`, write items through `writes`."""
        self._reads, self._writes, self._clock = reads, writes, clock
        self._names: dict[tuple[str, int], str] = {}
        self._lock = Lock()

    def publish(self, pairs: Iterable[Pair]) -> list[Pair]:
        """Bring the items of agents and types up to date with the sums of their ledgers.

        Safe to repeat and to race: an item is read before what it sums up, and replaced only if
        nobody has replaced it since.

        Args:
            pairs: those whose ledgers of sources were summed up.

        Returns:
            Those whose item somebody else replaced; it may say less than the sums.
        """
        at = {each: Location(tables.STATE, keys.metrics(*each)) for each in sorted(set(pairs))}
        if not at:
            return []
        stored = self._reads.get(list(at.values()))
        sums = {
            each: Location(tables.PIPELINE, keys.ledger_total(keys.sources_subject(*each)))
            for each in at
        }
        rows = self._reads.get(list(sums.values()))
        changes: dict[Pair, Write] = {}
        for (agent_id, kind), place in at.items():
            row, held = rows.get(sums[agent_id, kind]), stored.get(place)
            if row is None:
                # It went with its agent's data.
                continue
            used = Counts.from_row(row["c"]).used
            codes = {code for bucket, source, *_ in used.sums for code in (bucket, source) if code}
            content = content_of(used, self._names_of(agent_id, codes))
            if held and all(held.get(name) == value for name, value in content.items()):
                continue
            version = held.get("version") if held else None
            values: Item = {
                "schema_version": 1,
                "agent_id": agent_id,
                "decision_type": kind,
                **content,
                "updated_at": int(self._clock()),
                "version": int(version or 0) + 1,
            }
            if held is None:
                changes[agent_id, kind] = Insert(place.table, {**place.key.item(), **values})
            elif version is None:
                changes[agent_id, kind] = Update(place, values, missing=("version",))
            else:
                changes[agent_id, kind] = Update(place, values, equals={"version": version})
        done = self._writes.apply(list(changes.values())) if changes else []
        return [pair for pair, ok in zip(changes, done, strict=True) if not ok]

    def _names_of(self, agent_id: str, codes: Iterable[int]) -> dict[int, str]:
        """Give the names of codes; they never change, so each is read once."""
        wanted = sorted(codes)
        with self._lock:
            lacking = [code for code in wanted if (agent_id, code) not in self._names]
        at = {code: Location(tables.PIPELINE, keys.source_name(agent_id, code)) for code in lacking}
        found = self._reads.get(list(at.values())) if at else {}
        with self._lock:
            if len(self._names) > _REMEMBERED:
                self._names.clear()
            for code, place in at.items():
                if place in found:
                    self._names[agent_id, code] = found[place]["name"]
            return {code: self._names.get((agent_id, code), unnamed(code)) for code in wanted}


def unnamed(code: int) -> str:
    """Give what a code is called whose name is not known."""
    return f"#{code:08x}"


def content_of(used: Used, names: Mapping[int, str]) -> dict[str, Any]:
    """Give the attributes `source_metrics` and `context_performance` of an item.

    Args:
        used: sums over all days.
        names: what the codes stand for.
    """
    sources: dict[int, list[Sum]] = {}
    buckets: dict[int, dict[int, Sum]] = {}
    for each in used.sums:
        bucket, source, *_ = each
        if source:
            sources.setdefault(source, []).append(each)
        if bucket:
            buckets.setdefault(bucket, {})[source] = each
    return {
        "source_metrics": {
            names.get(code, unnamed(code)): _figures(sums) for code, sums in sources.items()
        },
        "context_performance": {
            names.get(code, unnamed(code)): {
                **_figures([sums[0]] if 0 in sums else []),
                "sources": {
                    names.get(source, unnamed(source)): _share(each[4], each[3])
                    for source, each in sums.items()
                    if source
                },
            }
            for code, sums in buckets.items()
        },
    }


def _figures(sums: Sequence[Sum]) -> dict[str, Any]:
    _, _, pending, n, s, q_sum, q_n = map(sum, zip(*sums, strict=True)) if sums else [0] * 7
    return {
        "total_calls": pending + n,
        "outcomes": n,
        "successes": s,
        "success_rate": _share(s, n),
        "quality_score": _share(q_sum, q_n * QUALITY_SCALE),
    }


def _share(part: int, whole: int) -> Decimal | None:
    return round(Decimal(part) / whole, _PLACES) if whole else None
