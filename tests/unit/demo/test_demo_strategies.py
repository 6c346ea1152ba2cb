"""The agents send signals on what they saw, decide on what they were told, and come to rest."""

from collections.abc import Callable
from dataclasses import replace
from decimal import Decimal

import pytest

from sharpwave.infra.demo.acting import audience
from sharpwave.infra.demo.drafts import (
    AGENTS,
    MARKET_CLOSE,
    MARKET_HUNTER,
    MARKET_STRESS,
    PORTFOLIO_OPTIMIZER,
    RISK_MANAGER,
    SENTIMENT_ANALYZER,
    TRADE_EXECUTOR,
    TREND_CHANGE,
    VOLATILITY_REGIME,
    WHALE_ACTIVITY,
    Scene,
    Signal,
)
from sharpwave.infra.demo.features import WINDOW, Features, features
from sharpwave.infra.demo.hunting import NASDAQ_MOVES_MORE, hunt
from sharpwave.infra.demo.market import MarketDay
from sharpwave.infra.demo.patterns import imported
from sharpwave.infra.demo.strategies import MAY_BROADCAST, REACTIONS, react

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


def named(signals: tuple[Signal, ...]) -> dict[str, Signal]:
    return {signal.signal_type: signal for signal in signals}


@pytest.mark.parametrize(
    ("activity", "trusted", "rule", "is_influenced"),
    [
        (0.0095, [], "sp500_leads", False),
        (0.0095, [NASDAQ_MOVES_MORE], "nasdaq_leads", True),
        (0.0095, ["pattern_whale_pump"], "sp500_leads", False),
        (0.005, [NASDAQ_MOVES_MORE], "sp500_leads", False),
        (0.02, [NASDAQ_MOVES_MORE], "nasdaq_leads", False),
    ],
    ids=["no memory", "memory decides", "another memory", "not near", "the same without it"],
)
def test_memory_influenced_a_choice_only_where_it_would_have_been_another_one(
    calm: Features, activity: float, trusted: list[str], rule: str, is_influenced: bool
) -> None:
    today = replace(calm, sp500_activity=0.01, nasdaq_activity=activity)

    choice = hunt(Scene(calm, today, 1), trusted).choice

    assert choice is not None
    assert (choice.rule.claim, choice.is_influenced) == (rule, is_influenced)


def test_an_ordinary_day_only_tells_the_close(calm: Features) -> None:
    found = hunt(Scene(calm, calm, 1))

    assert list(named(found.signals)) == [MARKET_CLOSE]
    assert found.memory is None


@pytest.mark.parametrize("name", ["volume_ratio", "nasdaq_volume_ratio"])
def test_heavy_volume_on_either_index_is_whale_activity(calm: Features, name: str) -> None:
    heavy = replace(calm, **{name: 1.6})  # type: ignore[arg-type]

    whale = named(hunt(Scene(calm, heavy, 1)).signals)[WHALE_ACTIVITY]

    assert whale.data["volume_ratio"] == 1.6
    assert (whale.severity, whale.to) == ("high", (RISK_MANAGER, TRADE_EXECUTOR))


def test_a_volume_that_was_not_reported_is_no_whale(calm: Features) -> None:
    silent = replace(calm, volume_ratio=None, nasdaq_volume_ratio=None)

    assert WHALE_ACTIVITY not in named(hunt(Scene(calm, silent, 1)).signals)


def test_a_trend_is_told_when_it_begins_and_not_while_it_lasts(calm: Features) -> None:
    bearish = replace(calm, trend="bearish", trend_20d=-0.04)

    begun, lasting = hunt(Scene(calm, bearish, 1)), hunt(Scene(bearish, bearish, 2))

    assert named(begun.signals)[TREND_CHANGE].data["trend"] == "bearish"
    assert begun.memory is not None
    assert begun.memory.importance >= 0.8
    assert TREND_CHANGE not in named(lasting.signals)


def test_a_new_volatility_regime_is_told_by_the_risk_manager(calm: Features) -> None:
    rough = replace(calm, regime="turbulent", volatility_ratio=1.4)

    found = react(RISK_MANAGER, MARKET_CLOSE, Scene(calm, rough, 1), CLOSE)

    signal = named(found.signals)[VOLATILITY_REGIME]
    assert signal.recommended_action == "REDUCE"
    assert found.choice is not None
    assert found.choice.inputs["volatility_ratio"] == CLOSE["volatility_ratio"]


def test_a_shock_is_broadcast_by_an_agent_that_may(calm: Features) -> None:
    shock = replace(calm, return_1d=-0.03)

    found = react(SENTIMENT_ANALYZER, MARKET_CLOSE, Scene(calm, shock, 1), CLOSE)

    stress = named(found.signals)[MARKET_STRESS]
    assert stress.to == "*"
    assert SENTIMENT_ANALYZER in MAY_BROADCAST
    assert set(audience(SENTIMENT_ANALYZER, stress)) == set(AGENTS) - {SENTIMENT_ANALYZER}


def test_without_a_quote_of_crude_nothing_is_allocated(calm: Features) -> None:
    closed = replace(calm, oil_return_1d=None)

    found = react(PORTFOLIO_OPTIMIZER, MARKET_CLOSE, Scene(calm, closed, 1), CLOSE)

    assert found.choice is None
    assert found.reason == "crude was not quoted"


def test_a_signal_nobody_has_a_use_for_is_only_acknowledged(calm: Features) -> None:
    found = react(MARKET_HUNTER, MARKET_STRESS, Scene(calm, calm, 1), {})

    assert (found.choice, found.signals, found.memory) == (None, (), None)


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
    waiting = [(start, hunt(scene))]
    paths: dict[tuple[str, str], tuple[tuple[str, str], ...]] = {start: (start,)}

    while waiting:
        node, reaction = waiting.pop()
        for signal in reaction.signals:
            for target in audience(node[0], signal):
                after = (target, signal.signal_type)
                assert after not in paths[node], f"{after} sets itself off: {paths[node]}"
                paths[after] = (*paths[node], after)
                waiting.append((after, react(target, signal.signal_type, scene, signal.data)))

    assert paths.keys() >= set(REACTIONS)


def test_every_pattern_is_about_decisions_that_are_taken(calm: Features) -> None:
    scene = Scene(calm, calm, 1)
    taken = {(MARKET_HUNTER, choice.decision_type) for choice in [hunt(scene).choice] if choice}
    for agent_id in AGENTS:
        choice = react(agent_id, MARKET_CLOSE, scene, CLOSE).choice
        taken |= {(agent_id, choice.decision_type)} if choice else set()

    types = {decision_type for _, decision_type in taken}
    assert 5 <= len(imported()) <= 8
    for pattern in imported():
        assert pattern.decision_type in types
        assert pattern.agent_id is None or (pattern.agent_id, pattern.decision_type) in taken
