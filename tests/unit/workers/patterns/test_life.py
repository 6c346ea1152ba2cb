"""The state of a pattern follows from its evidence, the rules and the state before."""

import math
from collections.abc import Sequence
from dataclasses import replace
from datetime import date, timedelta
from random import Random
from typing import Any

import pytest

from sharpwave.schemas.patterns import FrozenBase, PatternDefinition, PatternVersion, TrailingBase
from sharpwave.workers.patterns.counts import Arms, Counts, Days
from sharpwave.workers.patterns.evidence import (
    frozen_base,
    frozen_base_below,
    log_evidence,
    trailing_rate,
)
from sharpwave.workers.patterns.life import (
    Facts,
    Life,
    Step,
    base_at_once,
    base_of_rest,
    lacking,
    needed,
    next_step,
    trailing_bases,
    watch,
    weigh,
    weighed_attributes,
)
from sharpwave.workers.patterns.policy import Policy
from sharpwave.workers.patterns.statistics import figures_of

POLICY = Policy()
BASE = FrozenBase(p0=0.5)
RULE = TrailingBase(days=90, lag=7, least=100)


def version(base: FrozenBase | None = BASE, **more: Any) -> PatternVersion:
    definition = PatternDefinition.model_validate(
        {"pattern_id": "up", "agent_id": "ann", "decision_type": "TRADE", **more}
    )
    return PatternVersion(
        definition=definition, version=1, effective_from=0, learned_at=0, base=base
    )


def day(number: int) -> str:
    return (date(2025, 1, 1) + timedelta(days=number)).isoformat()


def arms(*days: tuple[int, int], start: int = 0) -> dict[str, Arms]:
    """Give units by day from (units, successes) a day."""
    return {day(start + number): Arms(n, s) for number, (n, s) in enumerate(days)}


def facts(
    found: dict[str, Arms],
    of: PatternVersion | None = None,
    *,
    latest: str = "",
    promoted: float | None = None,
    has_readers: bool = False,
    pending: int = 0,
) -> Facts:
    of = of or version()
    counts = {name: Counts(n=each.n, s=each.s, units=each.n) for name, each in found.items()}
    if pending:
        last = max(counts)
        counts[last] = replace(counts[last], pending=pending)
    n = sum(each.n for each in counts.values())
    everyone = Counts(n=2 * n + 200, s=sum(each.s for each in counts.values()) + (n + 200) // 2)
    return Facts(
        weighed=weigh(of, found),
        figures=figures_of(of, counts, everyone),
        latest=latest or max(found, default=day(0)),
        promoted=promoted,
        has_readers=has_readers,
        began=day(0),
    )


def step(life: Life, known: Facts, of: PatternVersion | None = None) -> Step | None:
    return next_step(life, of or version(), known, POLICY, 1_000)


GOOD = arms(*[(8, 7)] * 5)


# -- the base ------------------------------------------------------------------------------------


def test_a_base_is_frozen_at_once_where_enough_is_known() -> None:
    assert base_at_once(version(None), Counts(n=99, s=50), POLICY) is None
    frozen = base_at_once(version(None), Counts(n=100, s=50), POLICY)
    assert frozen == FrozenBase(p0=frozen_base(100, 50), n=100, s=50, trailing=RULE)
    avoid = base_at_once(version(None, kind="avoid"), Counts(n=100, s=50), POLICY)
    assert avoid is not None
    assert avoid.p0 == frozen_base_below(100, 50)


def test_what_the_author_says_is_the_base_without_any_outcome() -> None:
    assert base_at_once(version(None, base_rate=0.4), Counts(), POLICY) == FrozenBase(p0=0.4)
    assert base_of_rest(version(None, base_rate=0.4), {}, [], POLICY) == FrozenBase(p0=0.4)


def test_else_it_waits_for_outcomes_of_the_rest_on_several_days() -> None:
    mine: Days = {day(5): Counts(n=10, s=9)}
    two = {day(0): Counts(n=60, s=30), day(1): Counts(n=60, s=30)}
    assert base_of_rest(version(None), mine, [two], POLICY) is None
    few = {day(number): Counts(n=36, s=18) for number in range(3)}
    few[day(5)] = Counts(n=1, s=1)
    assert base_of_rest(version(None), {day(2): Counts(n=10, s=9)}, [few], POLICY) is None

    three = {day(number): Counts(n=40, s=20) for number in range(3)} | {day(5): Counts(n=10, s=9)}
    frozen = base_of_rest(version(None), mine, [three], POLICY)
    asked = FrozenBase(p0=frozen_base(120, 60), n=120, s=60, since=day(5), trailing=RULE)
    assert frozen == asked
    still = Policy(base_days=0)
    assert base_of_rest(version(None), mine, [three], still) == asked.model_copy(
        update={"trailing": None}
    )


# -- evidence ------------------------------------------------------------------------------------


def test_evidence_counts_days_after_the_base_only() -> None:
    late = weigh(version(FrozenBase(p0=0.5, since=day(1))), GOOD)
    assert (late.n, late.s, late.days, late.units) == (24, 21, 3, 40)
    assert 0 < late.log_evidence < weigh(version(), GOOD).log_evidence


@pytest.mark.parametrize("kind", ["promote", "avoid"])
def test_a_trailing_base_is_that_of_days_before_and_no_later_one_changes_it(kind: str) -> None:
    of = version(FrozenBase(p0=0.6, n=100, s=50, trailing=RULE), kind=kind)
    rest = {day(number): (10, 5) for number in range(60)}
    rest |= {day(number): (10, 8) for number in range(60, 200)}
    asked = [day(number) for number in (5, 67, 74, 150)]

    found = trailing_bases(of, asked, rest)

    hits = {"promote": (300, 240), "avoid": (300, 60)}[kind]
    frozen = {"promote": 0.6, "avoid": 0.4}[kind]
    # Days 60 to 66 came with day 74, and are 7 of the latest 30: these bound the rate from above.
    lately = {"promote": (300, 23 * 5 + 7 * 8), "avoid": (300, 23 * 5 + 7 * 2)}[kind]
    whole = (670, 300 + 70 * 8 // 10 if kind == "promote" else 300 + 70 * 2 // 10)
    assert found[day(5)] == frozen
    assert found[day(67)] == trailing_rate(300, 150)
    assert found[day(74)] == max(trailing_rate(*lately), trailing_rate(*whole))
    both = trailing_rate(*hits), trailing_rate(900, _between(kind))
    assert found[day(150)] == max(both)
    early = {name: counts for name, counts in rest.items() if name < day(67)}
    assert trailing_bases(of, asked[:3], early) == {name: found[name] for name in asked[:3]}


def _between(kind: str) -> int:
    """Count what days 53 to 142 have: 7 of the first kind, 83 of the second."""
    return 7 * 5 + 83 * (8 if kind == "promote" else 2)


@pytest.mark.parametrize(("n", "s"), [(1, 1), (40, 30), (400, 260)])
def test_evidence_against_equal_bases_is_that_against_one(n: int, s: int) -> None:
    of = version(FrozenBase(p0=0.5, n=100, s=50, trailing=RULE))
    assert weigh(of, arms((n, s))).log_evidence == pytest.approx(log_evidence(n, s, 0.5), abs=0.02)


def test_without_a_base_there_is_no_evidence_and_no_promotion() -> None:
    weighed = weigh(version(None), GOOD)
    assert weighed_attributes(weighed)["evidence"] is None
    assert "a frozen base" in lacking(weighed, facts(GOOD).figures, POLICY)


def test_a_pattern_to_avoid_gathers_evidence_from_failures() -> None:
    of = version(kind="avoid")
    bad = arms(*[(8, 1)] * 5)
    assert weigh(of, bad).log_evidence == pytest.approx(weigh(version(), GOOD).log_evidence)
    assert not lacking(weigh(of, bad), facts(bad, of).figures, POLICY)


def test_an_unknown_uplift_is_said() -> None:
    assert weighed_attributes(weigh(version(), GOOD))["uplift"] == "unknown"
    both = {day(0): Arms(40, 28, applied_n=20, applied_s=18)}
    found = weighed_attributes(weigh(version(), both))
    assert float(found["uplift"]["difference"]) == pytest.approx(0.4)
    assert found["not_applied"] == 20


@pytest.mark.parametrize(
    ("known", "said"),
    [
        (facts(arms((6, 6), (6, 6), (6, 6))), "20 units"),
        (facts(arms((20, 18), (20, 18))), "3 days"),
        (facts(arms(*[(8, 4)] * 5)), "confidence"),
        (facts(GOOD, pending=30), "outcomes: 43% of its decisions have none"),
    ],
)
def test_each_rule_is_asked_and_named(known: Facts, said: str) -> None:
    assert any(said in each for each in lacking(known.weighed, known.figures, POLICY))


@pytest.mark.parametrize("kind", ["promote", "avoid"])
def test_what_is_overdue_counts_against_a_promotion(kind: str) -> None:
    """Were failures the ones that are missing, the rest would only look good."""
    of = version(kind=kind)
    good = arms(*[(8, 7 if kind == "promote" else 1)] * 5)
    assert lacking(weigh(of, good), facts(good, of).figures, POLICY) == []
    counts = {name: Counts(n=each.n, s=each.s, units=each.n) for name, each in good.items()}
    late, early = ({**counts, day(at): replace(counts[day(at)], pending=9)} for at in (4, 0))

    for held, lacks in ((late, 0), (early, 1)):
        figures = figures_of(of, held, Counts(n=240, s=120))
        said = lacking(weigh(of, good), figures, POLICY)
        assert len(said) == lacks
        assert all("overdue" in each for each in said)


def test_the_bar_rises_with_the_candidates_that_came_before_and_falls_with_promotions() -> None:
    assert needed(1, 0, POLICY) < needed(10, 0, POLICY)
    assert needed(10, 3, POLICY) < needed(10, 0, POLICY)


# -- the state -----------------------------------------------------------------------------------


def test_nothing_is_promoted_that_the_account_does_not_promote() -> None:
    assert step(Life(), facts(GOOD)) is None


def test_a_promotion_freezes_what_it_promises() -> None:
    known = facts(GOOD, promoted=5.0)
    found = step(Life(), known)
    assert found is not None
    life = found.life
    assert (life.state, life.seq, life.since) == ("active", 1, 1_000)
    assert life.promised == pytest.approx(max(0.5, known.weighed.anytime[0]), abs=1e-6)
    assert life.promoted_on == day(4)
    assert "35 of 40 units succeeded against a base of 0.500" in found.reason
    assert step(life, known) is None


def test_readers_make_it_shared_and_their_loss_active() -> None:
    known = facts(GOOD, promoted=5.0, has_readers=True)
    shared = step(Life(), known)
    assert shared is not None
    assert shared.life.state == "shared"
    active = step(shared.life, replace(known, has_readers=False))
    assert active is not None
    assert active.life.state == "active"


def active_life() -> Life:
    found = step(Life(), facts(GOOD, promoted=5.0))
    assert found is not None
    return found.life


def test_a_pattern_that_breaks_its_promise_is_degraded_then_retired() -> None:
    life, states, counted = active_life(), [], dict(GOOD)
    for number in range(5, 60):
        counted[day(number)] = Arms(4, 1)
        if found := step(life, facts(counted, promoted=5.0)):
            life = found.life
            states.append(life.state)
    assert states == ["degraded", "retired"]
    assert step(life, facts(counted, promoted=5.0)) is None


def test_what_keeps_its_promise_again_is_believed_again() -> None:
    life, counted, number = active_life(), dict(GOOD), 5
    while life.state != "degraded":
        counted[day(number)] = Arms(4, 2)
        found = step(life, facts(counted, promoted=5.0))
        life, number = (found.life if found else life), number + 1
    while life.state == "degraded":
        counted[day(number)] = Arms(8, 8)
        found = step(life, facts(counted, promoted=5.0))
        life, number = (found.life if found else life), number + 1
    assert life.state == "active"
    # The alarm that passed is not raised again by the days that raised it.
    counted[day(number)] = Arms(8, 7)
    assert step(life, facts(counted, promoted=5.0)) is None


def test_a_promise_grows_with_what_kept_it_and_judges_later_days_only() -> None:
    life, counted, number = active_life(), dict(GOOD), 5
    while (found := step(life, facts(counted, promoted=5.0))) is None:
        counted[day(number)] = Arms(8, 7)
        number += 1
    grown, units = found.life, sum(each.n for each in counted.values())

    assert grown.state == life.state == "active"
    # Twice the 40 units of its promotion, of days that had their time; below its rate by ten points
    # and an error.
    assert 80 + 2 * 8 <= units < 80 + 4 * 8
    assert life.promised is not None
    assert grown.promised is not None
    assert life.promised < grown.promised < min(0.875 - 0.1, facts(counted).weighed.anytime[0])
    assert "its promise rises" in found.reason
    assert grown.promoted_on == grown.watched_from == day(number - 1)
    # Whatever comes of the days that it was made by, they are not held against it.
    later = {name: Arms(each.n, 0) if name in GOOD else each for name, each in counted.items()}
    assert watch(grown, version(), facts(later, promoted=5.0), POLICY) is None


def test_no_promise_grows_while_it_is_in_doubt_nor_ever_falls() -> None:
    life, counted = active_life(), dict(GOOD)
    for number in range(5, 25):
        counted[day(number)] = Arms(4, 2)
        if found := step(life, facts(counted, promoted=5.0)):
            assert found.life.promised == life.promised
            life = found.life


@pytest.mark.parametrize("state", ["candidate", "active", "shared", "degraded"])
def test_what_matches_nothing_sleeps_and_becomes_what_it_was(state: Any) -> None:
    life = replace(active_life(), state=state) if state != "candidate" else Life()
    readers = state == "shared"
    asleep = step(life, facts(GOOD, latest=day(4 + 60), promoted=5.0, has_readers=readers))
    assert asleep is not None
    assert asleep.life.state == "dormant"
    assert "60 days" in asleep.reason
    awake = step(asleep.life, facts(GOOD, latest=day(10), promoted=5.0, has_readers=readers))
    assert awake is not None
    assert awake.life.state == state


def test_a_decision_that_still_has_its_time_breaks_no_promise() -> None:
    """Failures may be known sooner than successes."""
    life, counted = active_life(), {**GOOD, day(5): Arms(12, 0)}
    doubted = step(life, facts(counted, promoted=5.0))
    assert doubted is not None
    assert doubted.life.state in ("degraded", "retired")

    assert step(life, facts(counted, promoted=5.0, pending=28)) is None


def test_an_agent_that_rests_puts_nothing_to_sleep() -> None:
    assert step(active_life(), facts(GOOD, promoted=5.0)) is None


def test_life_is_the_same_after_it_was_stored() -> None:
    for life in (Life(), active_life(), replace(active_life(), state="dormant", was="shared")):
        assert Life.of_row(life.attributes()) == life


# -- error rates ---------------------------------------------------------------------------------


def lives(rates: Sequence[float], *, days: int, a_day: int, seed: int) -> list[list[str]]:
    """Live patterns that are looked at after every day; each rate is one pattern's, alone."""
    chance, found = Random(seed), []
    for rate in rates:
        life, counted, states = Life(), dict[str, Arms](), list[str]()
        for number in range(days):
            s = sum(chance.random() < rate for _ in range(a_day))
            counted[day(number)] = Arms(a_day, s)
            known = facts(counted)
            enough = known.weighed.log_evidence >= needed(1, 0, POLICY)
            if enough and not lacking(known.weighed, known.figures, POLICY):
                known = replace(known, promoted=known.weighed.log_evidence)
            if found_step := step(life, known):
                life = found_step.life
                states.append(life.state)
        found.append(states)
    return found


def test_what_is_no_better_than_the_base_is_seldom_promoted_however_often_one_looks() -> None:
    histories = lives([0.5] * 60, days=30, a_day=6, seed=11)
    promoted = sum("active" in states for states in histories)
    # alpha is 0.1, of which the first candidate owns six tenths; two standard errors on top.
    bound = 0.1 * 0.62
    assert promoted / 60 <= bound + 2 * math.sqrt(bound * (1 - bound) / 60)


def test_what_is_better_is_promoted_and_hardly_ever_doubted() -> None:
    # A few: how many of hundreds are doubted, and how soon, test_error_rates asks.
    histories = lives([0.75] * 4, days=60, a_day=4, seed=12)
    assert all("active" in states for states in histories)
    assert sum("degraded" in states or "retired" in states for states in histories) <= 1
