"""The agents send signals on what they saw, decide on what they were told, and come to rest."""

from collections.abc import Callable
from dataclasses import replace
from decimal import Decimal
from types import SimpleNamespace
from typing import Any

import pytest

from sharpwave.infra.demo.agents import (
    AGENTS,
    CAST,
    MAY_BROADCAST,
    PATTERNS,
    MarketHunter,
    PortfolioOptimizer,
    RiskManager,
    SentimentAnalyzer,
    audience,
)
from sharpwave.infra.demo.agents.market_hunter import NASDAQ_MOVES_MORE
from sharpwave.infra.demo.market import WINDOW, Features, MarketDay, features
from sharpwave.infra.demo.scene import Claim, Scene
from tests.unit.infra.demo.conftest import Reaction, hunted, reacted

MARKET_HUNTER, RISK_MANAGER = MarketHunter.agent_id, RiskManager.agent_id
CLOSE = {
    "return_1d": Decimal("0.001"),
    "trend_20d": Decimal("0.01"),
    "volatility_ratio": Decimal("1.1"),
    "volume_ratio": Decimal("1.0"),
    "oil_return_1d": Decimal("0.01"),
}


@pytest.fixture(scope="module")
def calm(history: Callable[[int, int], list[MarketDay]]) -> Features:
    return replace(
        features(history(WINDOW, 7)),
        return_1d=0.001,
        usual_move=0.005,
        trend="sideways",
        regime="normal",
        mood="neutral",
        volume_ratio=1.0,
        nasdaq_volume_ratio=1.0,
        oil_return_1d=0.01,
    )


def named(reaction: Reaction) -> dict[str, Any]:
    return {signal.signal_type: signal for signal in reaction.signals}


@pytest.mark.parametrize(
    ("counts", "claim", "is_influenced"),
    [
        ({"nasdaq": (300, 290), "sp500": (300, 100)}, "nasdaq_leads", True),
        ({"nasdaq": (300, 100), "sp500": (300, 290)}, "sp500_leads", False),
    ],
)
def test_the_hunter_chooses_by_what_each_index_was_worth(
    calm: Features, counts: dict[str, tuple[int, int]], claim: str, is_influenced: bool
) -> None:
    today = replace(calm, sp500_activity=0.01, nasdaq_activity=0.005)

    found = hunted(Scene(calm, today, 1), **counts)

    assert found.claim is not None
    assert found.claim.what == claim
    assert found.decision is not None
    assert found.decision.reasoning["selection_prob"] == 0.975
    assert found.decision.reasoning["memory_influenced"] is is_influenced
    applied = found.decision.reasoning["patterns_applied"]
    assert applied == ([NASDAQ_MOVES_MORE] if claim == "nasdaq_leads" else [])


def recalled(name: str, decision_type: str, **more: Any) -> SimpleNamespace:
    whole = {"pattern_id": name, "decision_type": decision_type, "avoid": False, **more}
    return SimpleNamespace(**{"is_proven": True, **whole})


@pytest.mark.parametrize(
    ("found", "weight", "applied"),
    [
        ([], 1, []),
        ([recalled("pump", "TRADE_ENTRY", is_proven=False)], 1, []),
        ([recalled("pump", "TRADE_ENTRY")], 2, ["pump"]),
        ([recalled("pump", "SENTIMENT_CALL")], 1, []),
        ([recalled("pump", "TRADE_ENTRY", avoid=True)], 0, ["pump"]),
        (
            [recalled("pump", "TRADE_ENTRY"), recalled("drops", "RISK_ASSESSMENT")],
            0,
            ["drops", "pump"],
        ),
    ],
    ids=["nothing", "not proven", "proven", "of something else", "to avoid", "against it"],
)
def test_what_is_proven_changes_what_is_at_stake_and_not_the_claim(
    calm: Features, found: list[SimpleNamespace], weight: int, applied: list[str]
) -> None:
    scene = Scene(calm, calm, 1)
    plain = reacted("trade-executor", "MARKET_CLOSE", scene, CLOSE)

    acted = reacted("trade-executor", "MARKET_CLOSE", scene, CLOSE, found)

    assert acted.decision is not None
    reasons = acted.decision.reasoning
    assert (reasons["weight"], reasons["patterns_applied"]) == (weight, applied)
    assert reasons["memory_influenced"] is (weight != 1)
    assert acted.claim == plain.claim


def test_claims_about_a_week_count_once_a_week(calm: Features) -> None:
    week, day = Claim("rises", horizon=5), Claim("rises", horizon=1)
    scenes = [Scene(calm, calm, index) for index in range(4, 11)]

    assert [each.context(week)["cycle"] for each in scenes] == [0, 1, 1, 1, 1, 1, 2]
    assert [each.context(day)["cycle"] for each in scenes] == list(range(4, 11))


def test_an_ordinary_day_only_tells_the_close(calm: Features) -> None:
    found = hunted(Scene(calm, calm, 1))

    assert list(named(found)) == ["MARKET_CLOSE"]
    assert found.memory is None


@pytest.mark.parametrize("name", ["volume_ratio", "nasdaq_volume_ratio"])
def test_heavy_volume_on_either_index_is_whale_activity(calm: Features, name: str) -> None:
    heavy = replace(calm, **{name: 1.6})  # type: ignore[arg-type]

    whale = named(hunted(Scene(calm, heavy, 1)))["WHALE_ACTIVITY"]

    assert whale.data["volume_ratio"] == 1.6
    assert (whale.severity, whale.to) == ("high", [RISK_MANAGER, "trade-executor"])


def test_a_volume_that_was_not_reported_is_no_whale(calm: Features) -> None:
    silent = replace(calm, volume_ratio=None, nasdaq_volume_ratio=None)

    assert "WHALE_ACTIVITY" not in named(hunted(Scene(calm, silent, 1)))


def test_a_trend_is_told_when_it_begins_and_not_while_it_lasts(calm: Features) -> None:
    bearish = replace(calm, trend="bearish", trend_20d=-0.04)

    begun, lasting = hunted(Scene(calm, bearish, 1)), hunted(Scene(bearish, bearish, 2))

    assert named(begun)["TREND_CHANGE"].data["trend"] == "bearish"
    assert begun.memory is not None
    assert begun.memory.importance >= 0.8
    assert "TREND_CHANGE" not in named(lasting)


def test_a_new_volatility_regime_is_told_by_the_risk_manager(calm: Features) -> None:
    rough = replace(calm, regime="turbulent", volatility_ratio=1.4)

    found = reacted(RISK_MANAGER, "MARKET_CLOSE", Scene(calm, rough, 1), CLOSE)

    signal = named(found)["VOLATILITY_REGIME"]
    assert signal.recommended_action == "REDUCE"
    assert found.decision is not None
    assert found.decision.inputs["volatility_ratio"] == CLOSE["volatility_ratio"]


def test_a_shock_is_broadcast_by_an_agent_that_may(calm: Features) -> None:
    shock = replace(calm, return_1d=-0.03)

    found = reacted(SentimentAnalyzer.agent_id, "MARKET_CLOSE", Scene(calm, shock, 1), CLOSE)

    stress = named(found)["MARKET_STRESS"]
    assert stress.to == "*"
    assert SentimentAnalyzer.agent_id in MAY_BROADCAST
    told = audience(SentimentAnalyzer.agent_id, "MARKET_STRESS", stress.to)
    assert set(told) == set(AGENTS) - {SentimentAnalyzer.agent_id}


def test_without_a_quote_of_crude_nothing_is_allocated(calm: Features) -> None:
    closed = replace(calm, oil_return_1d=None)

    found = reacted(PortfolioOptimizer.agent_id, "MARKET_CLOSE", Scene(calm, closed, 1), CLOSE)

    assert found.decision is None
    assert found.reason == "crude was not quoted"


def test_a_signal_nobody_has_a_use_for_is_only_acknowledged(calm: Features) -> None:
    found = reacted(MARKET_HUNTER, "MARKET_STRESS", Scene(calm, calm, 1), {})

    assert (found.decision, found.signals, found.memory) == (None, [], None)


def test_no_chain_of_signals_comes_back_to_where_it_started(calm: Features) -> None:
    rough = replace(
        calm,
        regime="turbulent",
        trend="bearish",
        mood="fear",
        return_1d=-0.05,
        volume_ratio=2.0,
    )
    scene = Scene(calm, rough, 1)
    start = (MARKET_HUNTER, "start")
    waiting = [(start, hunted(scene))]
    paths: dict[tuple[str, str], tuple[tuple[str, str], ...]] = {start: (start,)}

    while waiting:
        node, reaction = waiting.pop()
        for signal in reaction.signals:
            for target in audience(node[0], signal.signal_type, signal.to):
                after = (target, signal.signal_type)
                assert after not in paths[node], f"{after} sets itself off: {paths[node]}"
                paths[after] = (*paths[node], after)
                waiting.append((after, reacted(target, signal.signal_type, scene, signal.data)))

    assert paths.keys() >= {(name, kind) for name, one in CAST.items() for kind in one.reactions}


def test_every_pattern_is_about_decisions_that_are_taken(calm: Features) -> None:
    scene = Scene(calm, calm, 1)
    found = [hunted(scene), *(reacted(name, "MARKET_CLOSE", scene, CLOSE) for name in AGENTS)]
    taken = {(one.agent_id, one.decision.decision_type) for one in found if one.decision}

    types = {decision_type for _, decision_type in taken}
    assert 5 <= len(PATTERNS) <= 8
    for pattern in PATTERNS:
        assert pattern.decision_type in types
        assert pattern.agent_id is None or (pattern.agent_id, pattern.decision_type) in taken
