"""No verdict without evidence, and none that the evidence at rest does not bear out.

Units, e-values and the detector are counted here by their definitions in docs/PATTERNS.md, from
what agents wrote: a mixture is a sum over a grid, and a window is walked from each of its days.
"""

import math
from collections.abc import Iterable, Iterator, Mapping
from datetime import date
from decimal import Decimal
from functools import lru_cache
from hashlib import blake2b
from typing import Any, NamedTuple

from sharpwave.schemas import keys, tables
from sharpwave.schemas.times import iso_ms
from sharpwave.workers.patterns.policy import Policy
from sharpwave.workers.work.ports import Item
from tests.simulation.book import Decided, Listed
from tests.simulation.checking.counting import day_of
from tests.simulation.checking.following import chain_of, subject_of
from tests.simulation.scene import Scene
from tests.simulation.seasons import PLANTED

_PROMOTED = ("active", "shared")
_NEARLY, _GRID = 1e-5, 600
_SKEW_S, _JUDGED = 3, 7
_IDLE, _BY_HAND = "nothing matched", "somebody said so"
_HORIZON_DAYS = 1
#: What candidates share, in the order in which they come.
_SHARE = 0.29518

Days = dict[str, tuple[int, int]]
"""Outcomes and successes by day."""


def verdicts(scene: Scene) -> Iterator[str]:
    """Judge every version that says what it has to beat, its history and where it stands."""
    rows = scene.tables.items(tables.MEMORY)
    for listed in scene.book.versions:
        if listed.base is None or listed.owner is None:
            continue
        mine = [each for each in scene.book.decisions.values() if _is_of(listed, each)]
        for item in chain_of(scene, subject_of(listed)):
            yield from _transition(scene, listed, item, mine)
        row = rows.get(keys.Key(keys.pattern_pk(listed.owner), listed.name), {})
        if listed.ends is None and row.get("version") == listed.number:
            yield from _at_rest(scene, listed, row, mine)
    yield from _accounts(scene)
    yield from _copies(scene, rows)


# -- what happened -------------------------------------------------------------------------------


def _transition(scene: Scene, listed: Listed, item: Item, mine: list[Decided]) -> Iterator[str]:
    """Judge a transition by the most that could have been known at its moment."""
    policy, figures, at = scene.settings.policy, item["figures"], int(item["at"]) + _SKEW_S
    name = f"{listed.name}@{listed.number}, {item['from']} to {item['to']}: "
    # Who gives up a candidate before it is any pattern says nothing of what it did.
    if item["reason"] == _BY_HAND or (item["from"] == "candidate" and not figures):
        return
    if item["from"] == "retired":
        yield f"{name}nobody took back that it was retired"
    known = [each for each in mine if any(_is_told(state, at) for state in each.states)]
    n, s = int(figures["sample_size"]), int(figures["successes"])
    succeeded = sum(_ever(each, True, at) for each in known)
    failed = sum(_ever(each, False, at) for each in known)
    if n > len(known) or s > succeeded or n - s > failed:
        yield f"{name}{s} of {n} succeeded, {succeeded} and {failed} of {len(known)} ever could"
    units = len({_unit(each) for each in known})
    if int(figures["evidence_n"]) > units:
        yield f"{name}it has {figures['evidence_n']} units, and there were {units} cycles"
    if item["from"] == "candidate" and item["to"] in _PROMOTED:
        yield from (name + said for said in _promotion(listed, figures, policy))
    elif item["from"] == item["to"]:
        if item["promised"] > min(figures["anytime"][0], figures["success_rate"]):
            yield f"{name}it promises {item['promised']} by {s} of {n}"
    elif item["to"] == "degraded" and item["from"] in _PROMOTED:
        worst = _worst(scene, mine, item, policy)
        if worst < policy.degraded_at:
            yield f"{name}the most that could be held against it was {worst:.3g}"
    elif item["to"] == "retired":
        worst = _worst(scene, mine, item, policy)
        if worst < policy.retired_at:
            yield f"{name}the most that could be held against it was {worst:.3g}"
    elif item["from"] == "degraded" and item["to"] in _PROMOTED:
        least = _least(scene, listed, mine, item)
        if least > policy.recovered_at * (1 + _NEARLY):
            yield f"{name}the least that could be held against it was {least:.3g}"
    elif item["to"] == "dormant" or item["from"] == "dormant":
        yield from (name + said for said in _sleep(scene, listed, item, mine))


def _promotion(listed: Listed, figures: Item, policy: Policy) -> Iterator[str]:
    n, s, base = int(figures["evidence_n"]), int(figures["evidence_s"]), float(listed.base or 0)
    found = math.log(_mixture(n, s, base))
    if abs(found - float(figures["evidence"])) > _NEARLY:
        yield f"its evidence was {figures['evidence']}, {s} of {n} units are worth {found:.6f}"
    if n < policy.min_units or figures["confidence"] < policy.min_confidence:
        yield f"it had {n} units and confidence {figures['confidence']}"
    # Units of days that had their time are at most all successes; what is overdue, failures.
    missing = math.ceil(int(figures["overdue"]) * n / max(1, int(figures["sample_size"])))
    if _mixture(s + missing, s, base) < 1 / policy.alpha - _NEARLY:
        yield f"{missing} units were overdue, and {s} successes do not outweigh them"


def _sleep(scene: Scene, listed: Listed, item: Item, mine: list[Decided]) -> Iterator[str]:
    """Judge why a pattern fell asleep, or woke."""
    policy, figures, at = scene.settings.policy, item["figures"], int(item["at"])
    as_of = str(figures["as_of"] or iso_ms(listed.begins)[:10])
    if item["from"] == "dormant":
        chain = list(chain_of(scene, subject_of(listed)))
        slept = next(each for each in reversed(chain[: chain.index(item)]) if "figures" in each)
        if slept["reason"].startswith(_IDLE) and str(slept["figures"]["as_of"] or "") >= as_of:
            yield f"it slept for want of a match, and the latest is that of {as_of} still"
    elif item["reason"].startswith(_IDLE):
        handled = _handled_by(scene, at)
        matched = [day_of(each.item) for each in mine if each.states[0].second < handled]
        if as_of < max(matched, default=""):
            yield f"its latest match counts as of {as_of}, and was on {max(matched)}"
        others = [each for each in _of_agent(scene, listed) if _is_written(each, at + _SKEW_S)]
        latest = max([as_of, *(day_of(each.item) for each in others)])
        if _between(as_of, latest) < policy.dormant_days:
            yield f"it was matched on {as_of}, and its agent decided last on {latest}"
    elif figures["n_eff"] >= policy.dormant_n_eff:
        yield f"{figures['n_eff']} outcomes are left after decay"


def _worst(scene: Scene, mine: list[Decided], item: Item, policy: Policy) -> float:
    """Bound what a detector could have said by a moment: whatever ever failed counts as failed.

    Of what succeeded, only what was known by then counts for it. A sum may begin on any day with
    a decision: what has no outcome yet may be taken for kept.
    """
    at, known = int(item["at"]) + _SKEW_S, _known_by(scene, mine, item)
    failed, succeeded = dict[Any, str](), dict[Any, str]()
    days: Days = {}
    for each in mine:
        if _is_written(each, at):
            days[day_of(each.item)] = 0, 0
        if _ever(each, False, at):
            failed[_unit(each)] = max(day_of(each.item), failed.get(_unit(each), ""))
        elif _ever(each, True, known - 1):
            succeeded[_unit(each)] = day_of(each.item)
    for unit, day in {**succeeded, **failed}.items():
        n, s = days[day]
        days[day] = n + 1, s + (unit not in failed)
    values = [0.0]
    for day in days:
        ended = {start: _from(days, start, day, item) for start in days if start <= day}
        late = [each for at, each in ended.items() if _between(at, day) < policy.window_days]
        values += [sum(late), *ended.values()]
    return max(values)


def _least(scene: Scene, listed: Listed, mine: list[Decided], item: Item) -> float:
    """Bound from below what the detector said of the latest day at a moment.

    Only what was known to have failed by then, and never was said to have succeeded, counts as
    failed; all else that was decided counts as kept. What is before a promise is not held to it.
    """
    at, known = int(item["at"]) + _SKEW_S, _known_by(scene, mine, item)
    promises = [
        str(each["figures"].get("as_of") or "")
        for each in chain_of(scene, subject_of(listed))
        if each["at"] <= item["at"] and (each["from"] in ("candidate", each["to"]))
    ]
    units: dict[Any, list[Decided]] = {}
    for each in mine:
        if _is_written(each, at) and day_of(each.item) > max(promises, default=""):
            units.setdefault(_unit(each), []).append(each)
    days, begun = Days(), set[str]()
    for decisions in units.values():
        day = max(day_of(each.item) for each in decisions)
        n, s = days.get(day, (0, 0))
        if all(_ever(each, False, known - 1) and not _ever(each, True, at) for each in decisions):
            begun.add(day)
            days[day] = n + 1, s
        else:
            days[day] = n + len(decisions), s + len(decisions)
    last, width = max(days, default=""), scene.settings.policy.window_days
    return sum(_from(days, day, last, item) for day in begun if _between(day, last) < width)


def _from(days: Days, start: str, end: str, item: Item) -> float:
    """Give the e-value of the days from one to another against what an item says was promised."""
    n, s = _summed(each for at, each in days.items() if start <= at <= end)
    return _mixture(n, n - s, 1 - float(item["promised"]))


# -- where it stands -----------------------------------------------------------------------------


class Facts(NamedTuple):
    """What agents' decisions come to at rest: see `_facts`."""

    units: Days
    waiting: Days
    overdue: int
    resolved: int
    as_of: str
    latest: str


def _at_rest(scene: Scene, listed: Listed, row: Item, mine: list[Decided]) -> Iterator[str]:
    """Hold a row at rest against what its decisions come to."""
    name, policy = f"{listed.name}@{listed.number} ", scene.settings.policy
    base, facts = float(listed.base or 0), _facts(scene, listed, mine)
    n, s = _summed(facts.units.values())
    found = math.log(_mixture(n, s, base))
    if abs(float(row["evidence"]) - found) > _NEARLY or row["evidence_n"] != n:
        yield f"{name}has evidence {row['evidence']} of {row['evidence_n']}, not {found:.6f} of {n}"
    state = row.get("state", "candidate")
    if state == "retired":
        return  # by hand, or followed
    if state in _PROMOTED and (state == "shared") != bool(scene.book.granted.get(listed.name)):
        yield f"{name}is {state}, and granted to {scene.book.granted.get(listed.name)}"
    was = row.get("state_was") if state == "dormant" else state
    last = facts.as_of or iso_ms(listed.begins)[:10]
    is_idle = _between(last, max(last, facts.latest)) >= policy.dormant_days
    is_faint = was in (*_PROMOTED, "degraded") and row["n_eff"] < policy.dormant_n_eff
    if (state == "dormant") != (is_idle or is_faint):
        why = f"its latest match of {last}, {facts.latest} the latest decision"
        yield f"{name}is {state} at {why}, {row['n_eff']} outcomes left"
    elif state == "candidate":
        yield from _unpromoted(scene, listed, row, facts, found)
    elif state != "dormant":
        yield from _undoubted(name, row, facts, policy)


def _undoubted(name: str, row: Item, facts: Facts, policy: Policy) -> Iterator[str]:
    if row.get("promised") is None:
        yield f"{name}is {row['state']}, and promised nothing"
        return
    promised, days = float(row["promised"]), dict(facts.units)
    for day, (count, _) in facts.waiting.items():
        n, s = days.get(day, (0, 0))
        days[day] = n + count, s + count
    days = {day: each for day, each in days.items() if day > row["promoted_on"] and each[0]}
    judged = [day for day in sorted(days)[-_JUDGED:] if day > row["watched_from"]]
    values = [_detector(days, day, promised, policy) for day in judged]
    n, s = _summed(days.values())
    whole = _mixture(n, n - s, 1 - promised) if judged else 0.0
    said = f"{row['state']} at {[round(each, 3) for each in values]} against its {promised}"
    if max([whole, *values]) > policy.retired_at * (1 + _NEARLY):
        yield f"{name}is {said}, and not retired"
    elif row["state"] == "degraded":
        if not values or values[-1] < policy.recovered_at * (1 - _NEARLY):
            yield f"{name}is {said}, and did not recover"
    elif max(values, default=0) > policy.degraded_at * (1 + _NEARLY):
        yield f"{name}is {said}"


def _unpromoted(
    scene: Scene, listed: Listed, row: Item, facts: Facts, found: float
) -> Iterator[str]:
    """Look whether a candidate has all that suffices, and is none the less."""
    policy, base = scene.settings.policy, float(listed.base or 0)
    entry = scene.tables.items(tables.PIPELINE)[keys.known_pattern(subject_of(listed))]
    account = scene.tables.items(tables.PIPELINE)[keys.promotions(str(listed.owner))]
    level = policy.alpha * _share(int(entry["number"])) * (len(account["promoted"]) + 1)
    n, _ = _summed(facts.units.values())
    seen = facts.resolved + int(row["unresolved"])
    due = [each for day, each in facts.units.items() if _between(day, facts.as_of) > _HORIZON_DAYS]
    of_age, well = _summed(due)
    missing = math.ceil(facts.overdue * n / max(1, facts.resolved))
    if (
        found >= -math.log(level) + _NEARLY
        and n >= policy.min_units
        and sum(count > 0 for count, _ in facts.units.values()) >= policy.min_days
        and row["confidence"] >= policy.min_confidence
        and row["n_eff"] >= policy.dormant_n_eff
        and int(row["unresolved"]) <= policy.max_unresolved * seen
        and _mixture(of_age + missing, well, base) > (1 + _NEARLY) / policy.alpha
    ):
        yield f"{listed.name}@{listed.number} is a candidate, with evidence {found:.3f} of {n}"


def _accounts(scene: Scene) -> Iterator[str]:
    """Hold what an owner's candidates were promoted with against every set of nulls there may be.

    Whichever are nothing: among the promoted their share of the evidence has to bear them.
    """
    alpha = scene.settings.policy.alpha
    for key, account in scene.tables.items(tables.PIPELINE).items():
        if key.pk != keys.promotions("").pk:
            continue
        promoted = {int(n): math.exp(float(e)) for n, _, e in account["promoted"]}
        many = range(1, int(account["count"]) + 1)
        if len(many) > 10:
            continue  # too many sets to look at
        for chosen in range(1 << len(many)):
            nulls = [number for number in many if chosen >> (number - 1) & 1]
            ranked = list(enumerate(nulls, start=1))
            borne = sum(_share(rank) * promoted[n] for rank, n in ranked if n in promoted)
            asked = sum(n in promoted for n in nulls) / (alpha * max(1, len(promoted)))
            if borne < asked * (1 - _NEARLY):
                yield f"{sorted(promoted)} are promoted in {key.sk}, which {nulls} do not bear"
                return


def _copies(scene: Scene, rows: Mapping[keys.Key, Item]) -> Iterator[str]:
    """Hold copies against who was granted a pattern last, and against the row they are of."""
    granted = scene.book.granted.get(PLANTED)
    if granted is None:
        return
    owned = next(each.owner for each in scene.book.versions if each.name == PLANTED)
    row = rows.get(keys.Key(keys.pattern_pk(str(owned)), PLANTED), {})
    copies = {
        key.pk: item
        for key, item in rows.items()
        if key.pk.endswith("#shared") and item.get("pattern_id") == PLANTED
    }
    if copies.keys() != {keys.shared_with_pk(reader) for reader in granted}:
        yield f"{PLANTED} was granted to {sorted(granted)}, and {sorted(copies)} have copies"
    for pk, copy in copies.items():
        shown = ("version", "state", "sample_size", "evidence")
        if any(copy.get(name) != row.get(name) for name in shown):
            said = {name: (copy.get(name), row.get(name)) for name in shown}
            yield f"the copy of {pk} and the row say {said}"


# -- by definition -------------------------------------------------------------------------------


def _facts(scene: Scene, listed: Listed, mine: list[Decided]) -> Facts:
    units: dict[Any, list[tuple[bytes, str, bool | None]]] = {}
    waiting: Days = {}
    as_of = max((day_of(each.item) for each in mine), default="")
    overdue = 0
    for each in mine:
        identity = f"{each.item['PK']}\0{each.item['SK']}"
        digest = blake2b(identity.encode(), digest_size=8).digest()
        day = day_of(each.item)
        units.setdefault(_unit(each), []).append((digest, day, each.last.success))
        if each.last.success is None and _between(day, as_of) > _HORIZON_DAYS:
            overdue += 1
        elif each.last.success is None:
            waiting[day] = waiting.get(day, (0, 0))[0] + 1, 0
    days: Days = {}
    for decisions in units.values():
        _, day, success = min(decisions)
        if success is not None:
            n, s = days.get(day, (0, 0))
            days[day] = n + 1, s + success
    of_agent = [day_of(each.item) for each in _of_agent(scene, listed)]
    resolved = sum(each.last.success is not None for each in mine)
    return Facts(days, waiting, overdue, resolved, as_of, max(of_agent, default=""))


def _detector(days: Days, day: str, promised: float, policy: Policy) -> float:
    """Give the sum over the starts in the window of the e-values from there to a day."""
    value = 0.0
    for start in days:
        if start <= day and _between(start, day) < policy.window_days and days[start][0]:
            n, s = _summed(each for at, each in days.items() if start <= at <= day)
            value += _mixture(n, n - s, 1 - promised)
    return value


def _summed(counts: Iterable[tuple[int, int]]) -> tuple[int, int]:
    n = s = 0
    for outcomes, successes in counts:
        n, s = n + outcomes, s + successes
    return n, s


@lru_cache(None)
def _mixture(n: int, s: int, base: float) -> float:
    """Give the e-value of `s` successes of `n` against a rate of at most `base`.

    The weighted mean of likelihood ratios over what lies above it, by Simpson's rule.
    """
    least = base + base * (1 - base) / 4
    total = weights = 0.0
    for place in range(_GRID + 1):
        rate = least + (1 - least) * place / _GRID
        weight = (1 - rate) ** 2 * (1 if place in (0, _GRID) else 2 + 2 * (place % 2))
        weights += weight
        total += weight * (rate / base) ** s * ((1 - rate) / (1 - base)) ** (n - s)
    return total / weights


def _share(rank: int) -> float:
    return _SHARE / (rank * math.log(rank + 1) ** 2)


def _is_of(listed: Listed, decided: Decided) -> bool:
    item = decided.item
    return (
        item["agent_id"] == listed.owner
        and item["decision_type"] == listed.kind
        and item["context"]["market"] == listed.market
        and item["timestamp"] >= listed.begins
        and (listed.ends is None or item["timestamp"] < listed.ends)
    )


def _unit(decided: Decided) -> Any:
    # 2, 2.0 and "2" are one cycle.
    cycle = decided.item["context"].get("cycle")
    return (decided.item["PK"], decided.item["SK"]) if cycle is None else Decimal(cycle)


def _is_told(state: Any, at: int) -> bool:
    return state.success is not None and state.second <= at


def _ever(decided: Decided, success: bool, at: int) -> bool:
    return any(_is_told(state, at) and state.success is success for state in decided.states)


def _between(day: str, later: str) -> int:
    return (date.fromisoformat(later) - date.fromisoformat(day)).days


def _of_agent(scene: Scene, listed: Listed) -> list[Decided]:
    return [
        each
        for each in scene.book.decisions.values()
        if (each.item["agent_id"], each.item["decision_type"]) == (listed.owner, listed.kind)
    ]


def _is_written(decided: Decided, at: int) -> bool:
    return decided.states[0].second <= at


def _known_by(scene: Scene, mine: list[Decided], item: Item) -> int:
    """Give the second of which all outcomes that were written before stand in an item's figures."""
    at = int(item["at"]) + _SKEW_S
    told = [each for each in mine if any(_is_told(state, at) for state in each.states)]
    is_all = int(item["figures"]["sample_size"]) == len(told)
    return at + 1 if is_all else _handled_by(scene, int(item["at"]))


def _handled_by(scene: Scene, at: int) -> int:
    """Give the latest second of which all that was written before had been handled by a moment."""
    return max((second for second in scene.book.rested if second <= at - _SKEW_S), default=0)


__all__ = ["verdicts"]
