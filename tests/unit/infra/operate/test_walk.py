"""Rules applied at the end of each day tell what became of a pattern, and what would have."""

import math
from collections.abc import Mapping, Sequence
from datetime import date, timedelta
from random import Random
from typing import Any

import pytest

from sharpwave.infra.operate.walk import Budget, Told, walk
from sharpwave.schemas import keys
from sharpwave.schemas.patterns import FrozenBase, PatternDefinition, PatternVersion
from sharpwave.workers.patterns.counts import Arms, Counts, Days, total
from sharpwave.workers.patterns.life import needed, weigh
from sharpwave.workers.patterns.policy import Policy
from sharpwave.workers.patterns.statistics import figures_of

POLICY = Policy()
BASE = keys.base_subject("ann", "TRADE")
Outcomes = Sequence[tuple[int, int]]


def day(number: int) -> str:
    return (date(2025, 1, 1) + timedelta(days=number)).isoformat()


def version(name: str = "up", p0: float | None = 0.5, **more: Any) -> PatternVersion:
    definition = {"pattern_id": name, "agent_id": "ann", "decision_type": "TRADE", **more}
    return PatternVersion(
        definition=PatternDefinition.model_validate(definition),
        version=1,
        effective_from=0,
        learned_at=0,
        base=None if p0 is None else FrozenBase(p0=p0),
    )


def told(
    patterns: Mapping[str, Outcomes], policy: Policy = POLICY, *, p0: float | None = 0.5
) -> tuple[dict[str, Told], list[Budget]]:
    """Walk through days of (outcomes, successes) of patterns, beside 10 others a day, half won."""
    versions = [version(name, p0) for name in patterns]
    length = max(len(outcomes) for outcomes in patterns.values())
    counts: dict[str, Days] = {BASE: {day(number): Counts(n=10, s=5) for number in range(length)}}
    arms: dict[str, dict[str, Arms]] = {}
    for made, outcomes in zip(versions, patterns.values(), strict=True):
        counts[made.subject] = {day(k): Counts(n=n, s=s) for k, (n, s) in enumerate(outcomes)}
        arms[made.subject] = {day(k): Arms(n=n, s=s) for k, (n, s) in enumerate(outcomes) if n}
        for name, found_there in counts[made.subject].items():
            counts[BASE][name] += found_there
    found, budgets = walk(versions, counts, arms, policy)
    return {each.version.definition.pattern_id: each for each in found.values()}, budgets["ann"]


GOOD, PLAIN = [(4, 4)] * 20, [(4, 2)] * 20


def test_a_pattern_is_promoted_on_the_first_day_that_the_rules_say_so() -> None:
    found, _ = told({"up": GOOD, "plain": PLAIN})

    up = found["up"]
    assert found["plain"].turns == []
    promoted_on = up.first("promoted")
    assert promoted_on is not None
    states = {each.day: each for each in up.standings}
    the_day = states[promoted_on]
    assert (the_day.state, up.turns[0].state) == ("active", "active")
    assert the_day.evidence is not None
    assert the_day.evidence >= the_day.bar
    assert the_day.units >= POLICY.min_units
    before = [each for each in up.standings if each.day < promoted_on]
    assert {each.state for each in before} == {"candidate"}
    assert all(
        each.units < POLICY.min_units
        or (each.evidence or 0) < each.bar
        or each.confidence < POLICY.min_confidence
        for each in before
    )


def test_the_last_day_says_what_the_sums_say() -> None:
    made = version()
    outcomes = [(Random(k).randint(0, 5), 0) for k in range(30)]
    outcomes = [(n, Random(k).randint(0, n)) for k, (n, _) in enumerate(outcomes)]

    last = told({"up": outcomes})[0]["up"].standings[-1]

    days = {day(k): Counts(n=n, s=s) for k, (n, s) in enumerate(outcomes)}
    arms = {day(k): Arms(n=n, s=s) for k, (n, s) in enumerate(outcomes) if n}
    everyone = total(days.values()) + Counts(n=300, s=150)
    figures, weighed = figures_of(made, days, everyone), weigh(made, arms)
    assert (last.n, last.confidence, last.interval) == (
        figures.n,
        figures.confidence,
        figures.interval,
    )
    assert (last.evidence, last.units) == (weighed.log_evidence, weighed.n)
    assert last.bar == needed(1, 0, POLICY)


def test_stricter_rules_promote_later_or_never() -> None:
    days = [
        told({"up": GOOD}, policy)[0]["up"].first("promoted")
        for policy in (
            Policy(alpha=0.5, min_units=4, min_days=1),
            POLICY,
            Policy(alpha=1e-6),
            Policy(min_units=1_000),
        )
    ]

    assert days[-1] is None
    assert days[:-1] == sorted(each or "never" for each in days[:-1])
    assert len(set(days)) == 4


def test_a_promise_that_is_broken_is_degraded_and_then_retired() -> None:
    found = told({"up": [*GOOD[:12], *[(4, 2)] * 40]})[0]["up"]

    promoted, degraded, retired = map(found.first, ("promoted", "degraded", "retired"))
    assert day(0) < str(promoted) < day(12) <= str(degraded) <= str(retired) < day(60)
    assert found.standings[-1].state == "retired"


def test_without_a_stored_base_one_is_frozen_when_enough_is_known() -> None:
    found = told({"up": GOOD}, p0=None)[0]["up"]

    base = found.version.base
    assert base is not None
    assert (base.n, base.s, base.since) == (100, 50, day(9))
    without = [each.day for each in found.standings if each.evidence is None]
    assert without == [day(number) for number in range(9)]
    assert found.standings[9].units == 0


def test_a_family_never_spends_more_than_it_has() -> None:
    _, budgets = told({f"p{number}": GOOD if number % 2 else PLAIN for number in range(12)})

    assert [each.day for each in budgets] == [day(number) for number in range(20)]
    assert all(0 < each.spent < POLICY.alpha for each in budgets)
    assert budgets[-1].candidates == 12
    promoted = [each.promoted for each in budgets]
    assert promoted == sorted(promoted)
    assert promoted[-1] == 6


def test_where_too_many_wait_e_lond_decides_and_promotes_no_sooner() -> None:
    patterns = {f"p{number}": GOOD for number in range(6)}
    closure, lond = (told(patterns, Policy(closure_most=most))[0] for most in (500, 0))

    for name in patterns:
        assert str(closure[name].first("promoted")) <= (lond[name].first("promoted") or "never")


@pytest.mark.parametrize("seed", range(3))
def test_it_depends_on_counts_alone_and_not_on_their_order(seed: int) -> None:
    patterns: dict[str, Outcomes] = {"up": GOOD, "plain": PLAIN, "down": [(2, 0)] * 20}
    mixed = list(patterns)
    Random(seed).shuffle(mixed)

    first, again = told(patterns), told({name: patterns[name] for name in mixed})

    assert first[1] == again[1]
    assert first[0] == {name: again[0][name] for name in first[0]}


def test_a_pattern_to_avoid_is_promoted_by_failures() -> None:
    made = version("bad", kind="avoid")
    days = {day(number): Counts(n=4, s=0) for number in range(20)}
    everyone = {name: Counts(n=14, s=7) for name in days}
    arms = {made.subject: {name: Arms(n=4) for name in days}}

    found, _ = walk([made], {BASE: everyone, made.subject: days}, arms, POLICY)

    assert found[made.subject].first("promoted")
    assert math.isclose(found[made.subject].standings[-1].rate or 0, 0)


def test_nothing_counted_is_no_life() -> None:
    found, budgets = walk([version()], {}, {}, POLICY)

    assert [(each.standings, each.turns) for each in found.values()] == [([], [])]
    assert budgets == {"ann": []}
