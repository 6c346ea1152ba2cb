"""The life of a pattern: what its evidence is worth, and which state follows from it.

All of it is pure: counts, the stored base, the rules and the state before give the figures and the
state after. Who calls it keeps what is stored once: base, number, promise, and state.

candidate -> active -> shared, by evidence and by grants; -> degraded, once drift is suspected, and
back if it passes; -> retired, once it is plain, and a new version begins; any but retired
-> dormant, while it matches nothing or too little is left to judge it by, and back to what it was.
"""

import math
from bisect import bisect_left
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from datetime import date, timedelta
from decimal import ROUND_FLOOR, Decimal
from functools import lru_cache
from types import MappingProxyType
from typing import Any, get_args

from sharpwave.schemas.patterns import FrozenBase, PatternVersion, State
from sharpwave.workers.patterns.counts import Arms, Counts, Days
from sharpwave.workers.patterns.evidence import (
    Drift,
    Uplift,
    anytime_interval,
    drift,
    frozen_base,
    frozen_base_below,
    in_thousandths,
    log_evidence,
    log_evidence_along,
    log_evidence_below,
    trailing_rate,
    uplift,
)
from sharpwave.workers.patterns.multiplicity import e_lond_level
from sharpwave.workers.patterns.policy import Policy
from sharpwave.workers.patterns.statistics import Figures

#: Outcomes of its scope from which a base is frozen when the version is made.
MIN_BASE = 100
#: Attributes of a row that say where a pattern stands.
LIFE = (
    "state",
    "state_since",
    "state_seq",
    "state_was",
    "promised",
    "promoted_on",
    "watched_from",
    "shared_once",
    "drifted",
)
STATES: tuple[State, ...] = get_args(State)
_PROMOTED: frozenset[State] = frozenset({"active", "shared", "degraded"})
#: Days with outcomes that each look judges for drift; what comes later yet counts for days after.
_JUDGED = 7
_PLACES = Decimal("0.000001")
_LEAST, _MOST = 0.001, 0.999
# Found by halving. Most patterns that a round looks at have the counts that they had before.
_anytime = lru_cache(4096)(anytime_interval)
_uplift = lru_cache(4096)(uplift)


# -- the base ------------------------------------------------------------------------------------


def base_at_once(version: PatternVersion, scope: Counts, policy: Policy) -> FrozenBase | None:
    """Freeze a version's base when it is made, if enough is known; None if not.

    Args:
        version: the version.
        scope: counts of all decisions of its agent, or of all writers, and its type.
        policy: how the rest is measured later.
    """
    if version.definition.base_rate is not None:
        return FrozenBase(p0=version.definition.base_rate)
    if scope.n < MIN_BASE:
        return None
    return _frozen(version, scope.n, scope.s, since="", policy=policy)


def rest_of(days: Days, bases: Iterable[Days]) -> dict[str, tuple[int, int]]:
    """Count outcomes and successes, by day, of the decisions that a version does not match.

    Args:
        days: what its own ledger counts.
        bases: what the ledgers count that `counts.base_subjects` names.
    """
    everyone: dict[str, tuple[int, int]] = {}
    for ledger in bases:
        for day, counts in ledger.items():
            n, s = everyone.get(day, (0, 0))
            everyone[day] = n + counts.n, s + counts.s
    rest = {}
    for day, (n, s) in everyone.items():
        mine = days.get(day, Counts())
        # A base ledger may lag behind the version's own.
        outcomes = max(0, n - mine.n)
        rest[day] = outcomes, min(outcomes, max(0, s - mine.s))
    return rest


def base_of_rest(
    version: PatternVersion, days: Days, bases: Iterable[Days], policy: Policy
) -> FrozenBase | None:
    """Freeze a version's base from the decisions it does not match, if enough of them are known.

    Args:
        version: the version.
        days: what its own ledger counts.
        bases: what the ledgers count that `counts.base_subjects` names.
        policy: how much is enough.
    """
    if version.definition.base_rate is not None:
        return FrozenBase(p0=version.definition.base_rate)
    rest = rest_of(days, bases)
    n, s = (sum(each) for each in zip((0, 0), *rest.values(), strict=True))
    seen = sum(outcomes > 0 for outcomes, _ in rest.values())
    if n < policy.min_base or seen < policy.min_base_days:
        return None
    return _frozen(version, n, s, since=max((*rest, *days)), policy=policy)


def _frozen(version: PatternVersion, n: int, s: int, *, since: str, policy: Policy) -> FrozenBase:
    freeze = frozen_base_below if version.definition.is_avoid else frozen_base
    return FrozenBase(p0=freeze(n, s), n=n, s=s, since=since, trailing=policy.trailing)


def trailing_bases(
    version: PatternVersion, days: Iterable[str], rest: Mapping[str, tuple[int, int]]
) -> dict[str, float]:
    """Give the base of each day of evidence, from outcomes of the rest of days before it.

    The greater of the bounds over all trailing days and over the latest third of them, so that a
    rate that rises is followed soon; where neither has enough outcomes, the frozen base. For a
    pattern to avoid they are bounds of the rate of failures, and so is what is given.
    """
    base = version.base
    assert base is not None, "a version without a base has no evidence"
    assert base.trailing is not None, "its base is frozen"
    rule, is_avoid = base.trailing, version.definition.is_avoid
    ordered = sorted((date.fromisoformat(day).toordinal(), *rest[day]) for day in rest)
    ordinals = [ordinal for ordinal, _, _ in ordered]
    sums = [(0, 0)]
    for _, n, s in ordered:
        sums.append((sums[-1][0] + n, sums[-1][1] + (n - s if is_avoid else s)))
    found = {}
    for day in days:
        end = date.fromisoformat(day).toordinal() - rule.lag
        until = sums[bisect_left(ordinals, end)]
        bounds = []
        for width in (rule.days, -(-rule.days // 3)):
            before = sums[bisect_left(ordinals, end - width)]
            n, s = until[0] - before[0], until[1] - before[1]
            if n >= rule.least:
                bounds.append(trailing_rate(n, s))
        frozen = in_thousandths(1 - base.p0 if is_avoid else base.p0)
        found[day] = max(bounds, default=frozen)
    return found


# -- what the evidence is worth ------------------------------------------------------------------


@dataclass(frozen=True, slots=True, kw_only=True)
class Weighed:
    """What the units of evidence of a version say.

    Attributes:
        base: what is stored of what it is asked against; None while none is frozen.
        asked: the base of its latest day of evidence; None without a base.
        n: units with an outcome after the base was frozen; 0 without a base.
        s: successes among `n`.
        days: days with such units.
        log_evidence: natural logarithm of the e-value; 0 without a base.
        units: units with an outcome, on all days.
        anytime: bounds of the rate of all units that hold at all times together.
        uplift: matched and applied against matched and not applied; None while unknown.
        not_applied: units matched without being applied, with an outcome.
        by_day: (day, units, successes) of all days, in order.
        is_avoid: failures are what it claims.
    """

    base: FrozenBase | None
    asked: float | None
    n: int
    s: int
    days: int
    log_evidence: float
    units: int
    anytime: tuple[float, float]
    uplift: Uplift | None
    not_applied: int
    by_day: tuple[tuple[str, int, int], ...]
    is_avoid: bool = False


def weigh(
    version: PatternVersion,
    arms: Mapping[str, Arms],
    rest: Mapping[str, tuple[int, int]] = MappingProxyType({}),
) -> Weighed:
    """Weigh the units of evidence of a version by day.

    Args:
        version: the version.
        arms: its units of evidence, by day.
        rest: as `rest_of` gives it; only a trailing base asks for it.
    """
    base = version.base
    everything = sum(arms.values(), start=Arms())
    later = {} if base is None else {day: each for day, each in arms.items() if day > base.since}
    counted = sum(later.values(), start=Arms())
    evidence, asked = 0.0, None if base is None else base.p0
    if base is not None and base.trailing is not None:
        is_avoid, groups = version.definition.is_avoid, dict[float, tuple[int, int]]()
        bases = trailing_bases(version, (day for day in later if later[day].n), rest)
        for day, rate in bases.items():
            each, (n, s) = later[day], groups.get(rate, (0, 0))
            groups[rate] = n + each.n, s + (each.n - each.s if is_avoid else each.s)
        evidence = log_evidence_along(groups)
        if bases:
            rate = bases[max(bases)]
            asked = 1 - rate if is_avoid else rate
    elif base is not None:
        ask = log_evidence_below if version.definition.is_avoid else log_evidence
        evidence = ask(counted.n, counted.s, base.p0)
    others = everything.n - everything.applied_n
    return Weighed(
        base=base,
        asked=asked,
        n=counted.n,
        s=counted.s,
        days=sum(each.n > 0 for each in later.values()),
        log_evidence=evidence,
        units=everything.n,
        anytime=_anytime(everything.n, everything.s),
        uplift=_uplift(
            everything.applied_n, everything.applied_s, others, everything.s - everything.applied_s
        ),
        not_applied=others,
        by_day=tuple((day, arms[day].n, arms[day].s) for day in sorted(arms)),
        is_avoid=version.definition.is_avoid,
    )


def weighed_attributes(weighed: Weighed) -> dict[str, Any]:
    """Give what was weighed as attributes of a pattern's row."""
    found = weighed.uplift
    return {
        "evidence": None if weighed.base is None else floored(weighed.log_evidence),
        "evidence_n": weighed.n,
        "evidence_s": weighed.s,
        "base_frozen": None if weighed.base is None else rounded(weighed.base.p0),
        "base_asked": None if weighed.asked is None else rounded(weighed.asked),
        "anytime": [rounded(bound) for bound in weighed.anytime],
        "not_applied": weighed.not_applied,
        "uplift": "unknown"
        if found is None
        else {
            "difference": rounded(found.difference),
            "interval": [rounded(bound) for bound in found.interval],
            "evidence": floored(found.log_evidence),
        },
    }


def lacking(weighed: Weighed, figures: Figures, policy: Policy) -> list[str]:
    """Say in words what a candidate lacks for a promotion, evidence aside; empty if nothing."""
    lacks = []
    if weighed.base is None:
        lacks.append("a frozen base")
    elif weighed.log_evidence <= 0:
        # The account could afford it by what others have more than they need.
        lacks.append("any evidence of its own")
    if weighed.n < policy.min_units:
        lacks.append(f"{policy.min_units} units of evidence (it has {weighed.n})")
    if weighed.days < policy.min_days:
        lacks.append(f"{policy.min_days} days with outcomes (it has {weighed.days})")
    if figures.confidence < policy.min_confidence:
        lacks.append(f"confidence {policy.min_confidence:g} (it has {figures.confidence:.3f})")
    if figures.n_eff < policy.dormant_n_eff:
        lacks.append(f"{policy.dormant_n_eff:g} outcomes after decay (it has {figures.n_eff:.1f})")
    seen = figures.n + figures.unresolved
    if seen and figures.unresolved / seen > policy.max_unresolved:
        lacks.append(
            f"outcomes: {figures.unresolved / seen:.0%} of its decisions have none, "
            f"{policy.max_unresolved:.0%} may"
        )
    if not lacks and (worst := _if_overdue_failed(weighed, figures)) < -math.log(policy.alpha):
        lacks.append(
            f"evidence of {-math.log10(policy.alpha):.1f} on days that had their time, counting all"
            f" that is overdue against it (it has {worst / math.log(10):.1f})"
        )
    return lacks


def _if_overdue_failed(weighed: Weighed, figures: Figures) -> float:
    """Give the log evidence of the days that had their time, if no missing outcome were good.

    Which outcomes come, and which come first, may depend on what they are. This asks for none that
    is missing: of the days that count all decisions count, so that it is at most the evidence of
    the whole, whatever is missing. Decisions overdue are taken for units in proportion.
    """
    base = weighed.base
    if base is None or figures.due_before is None:
        return 0.0
    counted, missing = _of_age(weighed, figures, base.since)
    n, s = sum(n for n, _ in counted), sum(s for _, s in counted)
    ask = log_evidence_below if weighed.is_avoid else log_evidence
    return ask(n + missing, s + missing * weighed.is_avoid, base.p0)


def _of_age(
    weighed: Weighed, figures: Figures, since: str = ""
) -> tuple[list[tuple[int, int]], int]:
    """Give the counts of the days after one that had their time, and the units overdue there."""
    due = figures.due_before or ""
    missing = math.ceil(figures.overdue * weighed.units / max(1, figures.n))
    return [(n, s) for day, n, s in weighed.by_day if since < day < due], missing


def needed(number: int, promoted: int, policy: Policy) -> float:
    """Give the log evidence that suffices alone for the candidate of that number."""
    return -math.log(e_lond_level(number, promoted, policy.alpha))


# -- the state -----------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True, kw_only=True)
class Life:
    """Where a version stands; what its row stores of it.

    Attributes:
        state: the state.
        since: epoch seconds of the last transition; None before the first.
        seq: transitions so far.
        was: the state before it became dormant, or was retired by hand.
        promised: the rate that it promised when it was promoted, or since; None before.
        watched_from: drift is judged on days after this one.
        promoted_on: the last day of its evidence when it last promised; "" before.
        shared_once: the rule shared it once, and does not do so again.
        drifted: it was retired for a promise that it broke, so a new version follows it.
    """

    state: State = "candidate"
    since: int | None = None
    seq: int = 0
    was: State | None = None
    promised: float | None = None
    promoted_on: str = ""
    watched_from: str = ""
    shared_once: bool = False
    drifted: bool = False

    @classmethod
    def of_row(cls, row: Mapping[str, Any]) -> "Life":
        """Read it from a pattern's row; a row without it is a candidate's."""
        promised = row.get("promised")
        since = row.get("state_since")
        return cls(
            state=row.get("state", "candidate"),
            since=None if since is None else int(since),
            seq=int(row.get("state_seq", 0)),
            was=row.get("state_was"),
            promised=None if promised is None else float(promised),
            promoted_on=row.get("promoted_on", ""),
            watched_from=row.get("watched_from", ""),
            shared_once=row.get("shared_once", False),
            drifted=row.get("drifted", False),
        )

    def attributes(self) -> dict[str, Any]:
        """Give it as attributes of a row."""
        return {
            "state": self.state,
            "state_since": self.since,
            "state_seq": self.seq,
            "state_was": self.was,
            "promised": None if self.promised is None else floored(self.promised),
            "promoted_on": self.promoted_on,
            "watched_from": self.watched_from,
            "shared_once": self.shared_once,
            "drifted": self.drifted,
        }


@dataclass(frozen=True, slots=True, kw_only=True)
class Facts:
    """What decides the next state of a version.

    Attributes:
        weighed: its evidence.
        figures: its figures.
        latest: the latest day on which its agents decided, matched or not.
        promoted: the log evidence it had when its family's account promoted it; None before.
        has_readers: it is a domain's, or agents were granted it.
        began: the day on which it began to count.
    """

    weighed: Weighed
    figures: Figures
    latest: str
    promoted: float | None
    has_readers: bool
    began: str


@dataclass(frozen=True, slots=True)
class Step:
    """A transition: what the row says after it, and why in words."""

    life: Life
    reason: str


def next_step(
    life: Life, version: PatternVersion, facts: Facts, policy: Policy, moment: int
) -> Step | None:
    """Give the next transition of a version, None if it stays as it is.

    Args:
        life: where it stands.
        version: the version.
        facts: what is known now.
        policy: the rules.
        moment: epoch seconds.
    """
    found = _next(life, version, facts, policy)
    if found is None:
        return None
    following, reason = found
    return Step(replace(following, since=moment, seq=life.seq + 1), reason)


def _next(
    life: Life, version: PatternVersion, facts: Facts, policy: Policy
) -> tuple[Life, str] | None:
    if life.state == "retired":
        return None
    sleeps = _sleeps(life, facts, policy)
    if life.state == "dormant":
        if sleeps:
            return None
        was = life.was or "candidate"
        return replace(life, state=_by_readers(was, facts), was=None), "it matches again"
    if sleeps:
        return replace(life, state="dormant", was=life.state), sleeps
    if life.state == "candidate":
        if facts.promoted is None:
            return None
        return _promoted(life, version, facts), _why_promoted(facts)
    doubt = watch(life, version, facts, policy)
    if doubt is not None and doubt.retired_on is not None:
        said = f"it broke its promise of {life.promised:.3f}: {_said(doubt, policy.retired_at)}"
        return replace(life, state="retired", was=life.state, drifted=True), said
    if life.state == "degraded":
        if doubt is not None and _last(doubt) > policy.recovered_at:
            return None
        back = replace(life, state=_by_readers("active", facts), watched_from=_last_day(facts))
        return back, f"it keeps its promise of {life.promised:.3f} again"
    if doubt is not None and doubt.degraded_on is not None:
        said = (
            f"since {doubt.degraded_on} it falls short of the {life.promised:.3f} that it promised:"
            f" {_said(doubt, policy.degraded_at)}"
        )
        return replace(life, state="degraded"), said
    if life.state != (wanted := _by_readers("active", facts)):
        said = "agents were granted it" if wanted == "shared" else "nobody is granted it any more"
        return replace(life, state=wanted), said
    if (promised := _renewed(life, version, facts, doubt, policy)) is not None:
        said = f"its promise rises from {life.promised:.3f} to {promised:.3f}, for it has kept more"
        day = _last_day(facts)
        return replace(life, promised=promised, promoted_on=day, watched_from=day), said
    return None


def _renewed(
    life: Life, version: PatternVersion, facts: Facts, doubt: Drift | None, policy: Policy
) -> float | None:
    """Give the greater promise that a pattern has grown up to, None while it has not.

    It follows from days that had their time and that it will not judge, so it is known before those
    that it will; what is overdue counts against it.
    """
    weighed, figures = facts.weighed, facts.figures
    due, missing = _of_age(weighed, figures)
    units, s = sum(n for n, _ in due) + missing, sum(s for _, s in due)
    before = sum(n for day, n, _ in weighed.by_day if day <= life.promoted_on)
    if life.promised is None or units < policy.promise_growth * max(before, policy.min_units):
        return None
    if doubt is not None and _last(doubt) > policy.recovered_at:
        return None
    low, high = weighed.anytime
    kept, bound = s / units, low
    if version.definition.is_avoid:
        kept, bound = (units - missing - s) / units, 1 - high
    # Below the rate by what is worth a doubt and by its own error: the luckier of several promises
    # would be doubted for no more than that it was lucky.
    kept -= policy.promise_below + math.sqrt(kept * (1 - kept) / units)
    found = float(floored(min(max(kept, _LEAST), bound, _MOST)))
    return found if found > life.promised else None


def watch(life: Life, version: PatternVersion, facts: Facts, policy: Policy) -> Drift | None:
    """Look for drift below the promise since the promotion; None before it, or before outcomes.

    A decision that still has its time is taken for one that keeps the promise: those that break
    it may be known sooner.
    """
    if life.promised is None:
        return None
    days = [*facts.weighed.by_day]
    if version.definition.is_avoid:
        days = [(day, n, n - s) for day, n, s in days]
    days += [(day, n, n) for day, n in facts.figures.waiting]
    days = sorted(each for each in days if each[0] > life.promoted_on)
    lately = sorted({day for day, n, _ in days if n})[-_JUDGED:]
    begin = ""
    if life.watched_from:
        begin = (date.fromisoformat(life.watched_from) + timedelta(days=1)).isoformat()
    found = drift(
        days,
        life.promised,
        judge_from=max([begin, *lately[:1]]),
        window_days=policy.window_days,
        degraded_at=policy.degraded_at,
        retired_at=policy.retired_at,
        # All the counts have to say as much as the detector: a mere 10 would retire one in ten
        # of those that keep their promise by a hair.
        alpha=1 / policy.retired_at,
    )
    return found if found.days else None


def _sleeps(life: Life, facts: Facts, policy: Policy) -> str:
    """Say why a pattern is dormant; empty if it is not."""
    last = facts.figures.as_of or facts.began
    idle = (date.fromisoformat(facts.latest) - date.fromisoformat(last)).days
    if idle >= policy.dormant_days:
        return f"nothing matched it on {idle} days, though its agents decided"
    was = life.was if life.state == "dormant" else life.state
    n_eff = facts.figures.n_eff
    if was in _PROMOTED and n_eff < policy.dormant_n_eff:
        return f"what is left of its outcomes after decay is {n_eff:.1f}: too little to judge it by"
    return ""


def _by_readers(state: State, facts: Facts) -> State:
    if state in ("active", "shared"):
        return "shared" if facts.has_readers else "active"
    return state


def _promoted(life: Life, version: PatternVersion, facts: Facts) -> Life:
    low, high = facts.weighed.anytime
    base = facts.weighed.asked
    # What it was promoted for at least: the bound that held however often somebody looked, but no
    # less than the base that it beat.
    promised = max(low, 0.0 if base is None else base)
    if version.definition.is_avoid:
        promised = 1 - min(high, 1.0 if base is None else base)
    day = _last_day(facts)
    return replace(
        life,
        state=_by_readers("active", facts),
        promised=float(floored(min(max(promised, _LEAST), _MOST))),
        promoted_on=day,
        watched_from=day,
    )


def _why_promoted(facts: Facts) -> str:
    weighed = facts.weighed
    of = f"{weighed.s} of {weighed.n} units succeeded"
    against = "" if weighed.asked is None else f" against a base of {weighed.asked:.3f}"
    if weighed.base is not None and weighed.base.trailing is not None:
        against += " at last"
    return f"{of}{against}: log evidence {facts.promoted:.2f}"


def _last_day(facts: Facts) -> str:
    days = facts.weighed.by_day
    return days[-1][0] if days else facts.began


def _last(doubt: Drift) -> float:
    return math.exp(min(doubt.days[-1][1], 700.0))


def _said(doubt: Drift, bound: float) -> str:
    found = _last(doubt)
    if found < bound:
        # The bound was reached on a day before, or by all its days together.
        return f"evidence against it reached {bound:.3g}, and is {found:.3g} now"
    return f"evidence against it is {found:.3g}, and {bound:.3g} is the bound"


def rounded(value: float) -> Decimal:
    """Round to six places for storage."""
    # `normalize` writes 20 as 2E+1; the sum with 0 writes it out again.
    return Decimal(repr(value)).quantize(_PLACES).normalize() + 0


def floored(value: float) -> Decimal:
    """Round to six places for storage, downwards."""
    # Downwards: what is stored of evidence or a promise must not say more than was found.
    return Decimal(repr(value)).quantize(_PLACES, rounding=ROUND_FLOOR).normalize() + 0
