"""A replay accounts for every signal and every count, and notices when one is wrong."""

import threading
from collections import Counter
from collections.abc import Callable
from typing import Any

import pytest

from sharpwave.infra.demo.agents import AGENTS, RiskManager
from sharpwave.infra.demo.agents.market_hunter import lately
from sharpwave.infra.demo.market import WINDOW, MarketDay
from sharpwave.infra.demo.replay import (
    READY_CHECK,
    AgentFailed,
    Outcome,
    PipelineNotReady,
    Progress,
    Replay,
    RollCall,
)
from sharpwave.infra.demo.report import is_ok
from sharpwave.schemas.records import DecisionRecord, SignalRecord

DAYS = 15
DAILY = ("SOURCE_SELECTION", "SENTIMENT_CALL", "FLOW_REVIEW")


@pytest.fixture(scope="module")
def days(history: Callable[[int, int], list[MarketDay]]) -> list[MarketDay]:
    return history(WINDOW + DAYS, 3)


def replayed(hub: Any, days: list[MarketDay], **limits: float) -> tuple[Outcome, list[Progress]]:
    seen: list[Progress] = []
    made = Replay(
        days, agents=hub.agents(), pipeline=hub.pipeline(), observe=seen.append, count=DAYS
    )
    return made.run(**{"deadline_s": 20.0, "settle_s": 20.0, **limits}), seen


def but_for(number: int, copies: int) -> Callable[[SignalRecord, str], int]:
    """Treat the risk-manager's delivery of that number in another way; checks are not counted."""
    lock, seen = threading.Lock(), Counter[str]()

    def decide(signal: SignalRecord, target: str) -> int:
        if signal.signal_type == READY_CHECK:
            return 1
        with lock:
            seen[target] += 1
            return copies if (target, seen[target]) == (RiskManager.agent_id, number) else 1

    return decide


def test_all_is_accounted_for_where_nothing_goes_wrong(hub: Any, days: list[MarketDay]) -> None:
    outcome, _ = replayed(hub, days)

    assert is_ok(outcome, verified=True)
    assert outcome.disagreements == []
    assert outcome.days == outcome.planned_days == DAYS
    assert outcome.written == outcome.delivered == outcome.processed >= 4 * DAYS
    assert len(outcome.latencies_ms) == outcome.delivered
    assert outcome.records["decisions"] == len(hub.decisions)
    assert outcome.events == sum(outcome.records.values())


def test_records_carry_the_market_day_and_no_outcome_comes_early(
    hub: Any, days: list[MarketDay]
) -> None:
    outcome, _ = replayed(hub, days)

    last = [day.day.isoformat() for day in days[-DAYS:]]
    resolved = [one for one in hub.decisions.values() if one.outcome]
    assert {one.event_time for one in hub.decisions.values()} == set(last)
    assert {one.event_time for one in resolved if one.decision_type == "TRADE_ENTRY"} <= set(last)
    assert outcome.unresolved == len(hub.decisions) - len(resolved) > 0
    assert not [one for one in resolved if one.event_time == last[-1]]
    chosen = [one.reasoning for one in hub.decisions.values() if "scores" in one.reasoning]
    assert len(chosen) == DAYS
    assert outcome.choices["n"] == DAYS - 1
    for one in chosen:
        assert one["memory_influenced"] is (one["selected"] != [lately(one["scores"])])


def test_nobody_at_work_on_a_day_can_know_what_came_after_it(
    hub: Any, days: list[MarketDay]
) -> None:
    place = {day.day.isoformat(): index for index, day in enumerate(days)}
    early: list[str] = []

    def asked(agent_id: str) -> None:
        # Nothing of the first day is done before the third one is begun.
        if agent_id == RiskManager.agent_id:
            assert hub.third_day.wait(20)

    def told(decision: DecisionRecord) -> None:
        horizon = 1 if decision.decision_type in DAILY else 5
        known_on = place[decision.event_time or ""] + horizon
        early.extend(day for day in hub.open_days() if place[day] < known_on)

    # A trade's first outcome may be an early mark.
    hub.asked = asked
    hub.told = lambda one: None if one.decision_type == "TRADE_ENTRY" else told(one)
    outcome, _ = replayed(hub, days)

    assert outcome.records["outcomes"] > DAYS
    assert early == []


def test_what_is_proven_is_acted_on_and_what_that_was_worth_is_said(
    hub: Any, days: list[MarketDay]
) -> None:
    hub.proven_from = 0

    outcome, _ = replayed(hub, days)

    doubled = [one for one in hub.decisions.values() if one.reasoning.get("weight", 1) != 1]
    assert doubled
    assert all(one.reasoning["patterns_applied"] for one in doubled)
    assert outcome.acted
    assert all(one["gain"] is None for one in outcome.acted if one["n"] < 5)


def test_the_counters_only_grow_and_end_where_the_outcome_says(
    hub: Any, days: list[MarketDay]
) -> None:
    outcome, seen = replayed(hub, days)

    assert [seen[0].phase, seen[-1].phase] == ["getting ready", "settling"]
    assert [one.done_days for one in seen] == sorted(one.done_days for one in seen)
    assert seen[-1].records == outcome.records
    assert seen[-1].processed == outcome.written


def test_a_lost_signal_is_named(hub: Any, days: list[MarketDay]) -> None:
    hub.copies = but_for(2, copies=0)

    outcome, _ = replayed(hub, days, deadline_s=1.0, settle_s=0.0)

    assert outcome.lost == 1
    assert not is_ok(outcome, verified=True)


def test_a_doubled_signal_is_noticed(hub: Any, days: list[MarketDay]) -> None:
    hub.copies = but_for(2, copies=2)

    outcome, _ = replayed(hub, days, deadline_s=5.0, settle_s=-4.0)

    assert outcome.doubled == 1
    assert not is_ok(outcome, verified=True)


def test_a_pattern_that_counts_otherwise_is_named(hub: Any, days: list[MarketDay]) -> None:
    hub.slip = 1

    outcome, _ = replayed(hub, days, deadline_s=2.0, settle_s=0.0)

    assert len(outcome.disagreements) == len(outcome.standings) == 8
    assert "pattern_buy_the_dip has" in " ".join(outcome.disagreements)
    assert not is_ok(outcome, verified=True)


@pytest.mark.parametrize(("promises", "is_kept"), [(0.55, True), (0.0, False)])
def test_every_memory_that_was_to_be_promoted_is_accounted_for(
    hub: Any, days: list[MarketDay], promises: float, is_kept: bool
) -> None:
    hub.keeps, hub.promises = 0.55, promises

    outcome, _ = replayed(hub, days, deadline_s=2.0, settle_s=0.0)

    assert 0 < outcome.promoted < outcome.records["memories"]
    assert is_ok(outcome, verified=True) is is_kept
    assert ("facts" in " ".join(outcome.disagreements)) is not is_kept


def test_a_replay_that_runs_out_of_time_stops_early_and_still_adds_up(
    hub: Any, days: list[MarketDay]
) -> None:
    outcome, _ = replayed(hub, days, deadline_s=0.0)

    assert outcome.days < outcome.planned_days
    assert outcome.written == outcome.delivered == outcome.processed


def test_what_an_agent_raises_ends_the_replay(hub: Any, days: list[MarketDay]) -> None:
    hub.facts[RiskManager.agent_id] = None

    with pytest.raises(AgentFailed, match="risk-manager failed with"):
        replayed(hub, days)


def test_no_replay_begins_before_every_agent_is_reached(hub: Any) -> None:
    agents = hub.agents()
    for name, agent in agents.items():
        agent.register(subscriptions=(), may_broadcast=False)
        assert name in AGENTS

    with pytest.raises(PipelineNotReady, match="no signal has reached market-hunter, portfolio"):
        RollCall().hold(agents, deadline_s=1.0)
