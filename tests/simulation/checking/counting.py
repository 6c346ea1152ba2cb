"""A pattern's figures are what the agents' own decisions add up to, whoever looked when."""

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from datetime import date
from decimal import Decimal
from hashlib import blake2b
from itertools import product
from statistics import stdev
from typing import Any

from sharpwave.schemas import keys, tables
from sharpwave.schemas.times import iso_ms
from sharpwave.workers.work.ports import Item
from tests.simulation.book import Decided, Listed, State
from tests.simulation.scene import Scene

#: Outcomes below which no base rate is measured, and the rate that stands in for it.
_FEWEST, _DEFAULT = 20, 0.5
_NEARLY = 2e-6
#: What stands for a figure that there is none of.
_NONE = -1.0
_COUNTED = ("sample_size", "successes", "unresolved", "applied", "n_eff", "units", "overdue")
_OWN = (*_COUNTED, "quality_sd", "applied_drawn", "applied_rate", "other_drawn", "other_rate")

Story = tuple[Item, State]
"""A decision's content, and the state of it that counts."""


def figures(scene: Scene) -> Iterator[str]:
    """Count every current version by hand, and its base rate, and compare what is published."""
    rows = scene.tables.items(tables.MEMORY)
    for version in scene.book.versions:
        if version.ends is not None:
            continue
        pk = keys.pattern_pk(version.owner) if version.owner else keys.shared_pattern_pk("general")
        row = rows.get(keys.Key(pk, version.name), {})
        said = _said(row)
        if row.get("version") != version.number:
            yield f"pattern {version.name} stands at {row.get('version')}, not {version.number}"
            continue
        wanted = [_figures(version, told) for told in tellings(scene.book.decisions.values())]
        # A ledger sees only the contents that belong to it, so each may have taken another one.
        own = any(_agree(said, each, _OWN) for each in wanted)
        rates = [_base_rate(one, other) for one, other in product(wanted, wanted)]
        if version.base is not None:
            rates = [version.base]
        if not own or not any(abs(said["base_rate"] - rate) < _NEARLY for rate in rates):
            yield f"pattern {version.name}@{version.number} says {said}, the agents {wanted[0]}"


def tellings(decisions: Iterable[Decided]) -> Iterator[list[Story]]:
    """Tell what was decided, once for each way in which rewritten keys may have been taken.

    Of several contents of one key one stands; which one is nobody's promise.
    """
    fixed: list[Story] = []
    several: list[list[Story]] = []
    for each in decisions:
        choice = [(each.item, each.last), *each.others]
        if len(choice) == 1:
            fixed += choice
        else:
            several.append(choice)
    for chosen in product(*several):
        yield [*fixed, *chosen]


def day_of(item: Item) -> str:
    """Give the day that a decision counts on."""
    return str(item.get("event_time") or iso_ms(item["timestamp"]))[:10]


def _figures(version: Listed, told: list[Story]) -> dict[str, Any]:
    mine: list[Story] = []
    everything: list[State] = []
    for item, state in told:
        if version.owner not in (None, item["agent_id"]) or item["decision_type"] != version.kind:
            continue
        if item["timestamp"] < version.begins:
            continue
        if _matches(version, item):
            mine.append((item, state))
        if state.success is not None:
            everything.append(state)
    resolved = [(item, state) for item, state in mine if state.success is not None]
    return {
        "sample_size": len(resolved),
        "successes": sum(state.success is True for _, state in resolved),
        "unresolved": len(mine) - len(resolved),
        "applied": sum(_names(version, item) for item, _ in resolved),
        "n_eff": _decayed(mine, resolved, version.half_life),
        "units": _units(mine),
        "overdue": _overdue(mine),
        "quality_sd": _spread([state.quality for _, state in resolved]),
        **_drawn("applied", [each for each in resolved if _names(version, each[0])]),
        **_drawn("other", [each for each in resolved if not _names(version, each[0])]),
        "everything": len(everything),
        "all_successes": sum(state.success is True for state in everything),
    }


def _units(mine: list[Story]) -> int:
    """Count cycles once each: those of which the decision with the smallest digest is resolved."""
    cycles: dict[Any, list[tuple[bytes, bool]]] = {}
    for item, state in mine:
        identity = f"{item['PK']}\0{item['SK']}"
        cycle = item.get("context", {}).get("cycle")
        unit = identity if cycle is None else (item["agent_id"], Decimal(cycle))
        digest = blake2b(identity.encode(), digest_size=8).digest()
        cycles.setdefault(unit, []).append((digest, state.success is not None))
    return sum(min(decisions)[1] for decisions in cycles.values())


def _overdue(mine: list[Story]) -> int:
    """Count the decisions that still have no outcome though a day has passed since their day."""
    last = max((date.fromisoformat(day_of(item)) for item, _ in mine), default=date.min)
    waiting = [date.fromisoformat(day_of(item)) for item, state in mine if state.success is None]
    return sum((last - day).days > 1 for day in waiting)


def _spread(qualities: list[float | None]) -> float:
    rated = [quality for quality in qualities if quality is not None]
    return stdev(rated) if len(rated) > 1 else _NONE


def _drawn(arm: str, told: list[Story]) -> dict[str, float]:
    """Weigh by the lots that agents logged, as far as they make sense to four decimals."""
    lots = []
    for item, state in told:
        said = item.get("reasoning", {}).get("selection_prob")
        if type(said) in (int, Decimal) and round(Decimal(said), 4) > 0 and said <= 1:
            lots.append((round(1 / float(said), 4), state.success))
    weight = sum(each for each, _ in lots)
    rate = sum(each for each, success in lots if success) / weight if lots else _NONE
    return {f"{arm}_drawn": len(lots), f"{arm}_rate": rate}


def _base_rate(all_of: Mapping[str, Any], own: Mapping[str, Any]) -> float:
    """Give the rate of what one telling holds, and another does not count as the pattern's."""
    outside = all_of["everything"] - own["sample_size"]
    if outside < _FEWEST:
        return _DEFAULT
    return float((all_of["all_successes"] - own["successes"] + 1) / (outside + 2))


def _decayed(mine: list[Story], resolved: list[Story], half_life: int) -> float:
    """Weigh outcomes: half for each half-life back, of a gap without evidence at most one."""
    if not mine:
        return 0.0
    by_day = Counter(day_of(item) for item, _ in resolved)
    later, age, weighed = max(day_of(item) for item, _ in mine), 0.0, 0.0
    for day in sorted(by_day, reverse=True):
        gap = (date.fromisoformat(later) - date.fromisoformat(day)).days
        age, later = age + min(gap, half_life), day
        weighed += by_day[day] * 0.5 ** (age / half_life)
    return weighed


def _matches(version: Listed, item: Item) -> bool:
    if version.market is None:
        return _names(version, item)
    return bool(item["context"]["market"] == version.market)


def _names(version: Listed, item: Item) -> bool:
    listed = item.get("reasoning", {}).get("patterns_applied", [])
    return version.name in listed or f"{version.name}@{version.number}" in listed


def _said(row: Item) -> dict[str, Any]:
    counts = {name: int(row.get(name, 0)) for name in ("sample_size", "successes", "unresolved")}
    base = float(row.get("base_rate", Decimal(str(_DEFAULT))))
    more = {name: float(row.get(name) or 0) for name in ("applied", "n_eff", "units", "overdue")}
    spread, lots = row.get("quality_sd"), row.get("propensity") or {}
    more["quality_sd"] = _NONE if spread is None else float(spread)
    for arm in ("applied", "other"):
        more[f"{arm}_drawn"] = float(lots.get(arm, {}).get("n", 0))
        more[f"{arm}_rate"] = float(lots.get(arm, {}).get("rate", _NONE))
    return {**counts, **more, "base_rate": base}


def _agree(said: Mapping[str, Any], wanted: Mapping[str, Any], names: Iterable[str]) -> bool:
    return all(abs(said[name] - wanted[name]) < _NEARLY for name in names)
