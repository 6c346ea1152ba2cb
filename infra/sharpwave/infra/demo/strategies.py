"""How each of the five agents thinks; pure functions of the past and of the signal received.

Signals flow one way, so that no signal can set off another of its own kind:
market-hunter -> sentiment-analyzer -> risk-manager -> portfolio-optimizer -> trade-executor.
What runs against it (SENTIMENT_SHIFT and PORTFOLIO_SHIFT to market-hunter) only informs.
"""

from collections.abc import Callable, Mapping
from typing import Any

from sharpwave.infra.demo.drafts import (
    MARKET_CLOSE,
    MARKET_HUNTER,
    MARKET_STRESS,
    PORTFOLIO_OPTIMIZER,
    PORTFOLIO_SHIFT,
    READY_CHECK,
    RISK_MANAGER,
    SENTIMENT_ANALYZER,
    SENTIMENT_SHIFT,
    TRADE_EXECUTOR,
    TREND_CHANGE,
    VOLATILITY_REGIME,
    WHALE_ACTIVITY,
    Choice,
    Memory,
    Reaction,
    Scene,
    Signal,
    known,
)
from sharpwave.infra.demo.features import Features
from sharpwave.infra.demo.hunting import WHALE_RATIO
from sharpwave.infra.demo.outcomes import Rule

STRESS = 4.0
DROP = 0.02

Data = Mapping[str, Any]
Strategy = Callable[[Scene, Data], Reaction]

#: What each agent asks to receive when a signal goes to subscribers.
SUBSCRIPTIONS: Mapping[str, tuple[str, ...]] = {
    MARKET_HUNTER: (READY_CHECK,),
    RISK_MANAGER: (MARKET_CLOSE, READY_CHECK),
    TRADE_EXECUTOR: (MARKET_CLOSE, READY_CHECK),
    PORTFOLIO_OPTIMIZER: (MARKET_CLOSE, READY_CHECK),
    SENTIMENT_ANALYZER: (MARKET_CLOSE, READY_CHECK),
}
MAY_BROADCAST = frozenset({SENTIMENT_ANALYZER})


def _feel(scene: Scene, data: Data) -> Reaction:
    """Call tomorrow's direction, and tell of a mood that has just turned."""
    today = scene.today
    choice = Choice(
        decision_type="SENTIMENT_CALL",
        inputs=known(
            {
                "return_1d": data["return_1d"],
                "close_position": today.close_position,
                "vix": today.vix,
                "vix_change": today.vix_change,
            }
        ),
        reasoning={"mood": today.mood, "selected": ["buy_the_dip" if _fell(data) else "hold"]},
        rule=Rule("rises", horizon=1),
    )
    return Reaction(choice=choice, signals=(*_shift(scene), *_stress(today)))


def _fell(data: Data) -> bool:
    return bool(data["return_1d"] < 0)


def _shift(scene: Scene) -> tuple[Signal, ...]:
    mood = scene.today.mood
    if mood in ("neutral", scene.yesterday.mood):
        return ()
    data = known({"mood": mood, "vix_change": scene.today.vix_change})
    return (Signal(signal_type=SENTIMENT_SHIFT, to=(RISK_MANAGER, MARKET_HUNTER), data=data),)


def _stress(today: Features) -> tuple[Signal, ...]:
    if abs(today.return_1d) < STRESS * today.usual_move:
        return ()
    data = {
        "return_1d": today.return_1d,
        "times_usual": round(abs(today.return_1d) / today.usual_move, 2),
    }
    return (Signal(signal_type=MARKET_STRESS, to="*", data=data, severity="high"),)


def _assess(scene: Scene, data: Data) -> Reaction:
    """Judge whether the book needs cover for a week, and tell of a new volatility regime."""
    today = scene.today
    choice = Choice(
        decision_type="RISK_ASSESSMENT",
        inputs={
            "volatility_ratio": data["volatility_ratio"],
            "trend_20d": data["trend_20d"],
            "close_position": today.close_position,
        },
        reasoning={"selected": ["hedge"], "regime": today.regime},
        rule=Rule("drops", horizon=5, threshold=DROP),
    )
    if today.regime == scene.yesterday.regime:
        return Reaction(choice=choice)
    return Reaction(choice=choice, signals=(_regime(today),), memory=_regime_memory(scene))


def _regime(today: Features) -> Signal:
    return Signal(
        signal_type=VOLATILITY_REGIME,
        to=(TRADE_EXECUTOR, PORTFOLIO_OPTIMIZER),
        data={"regime": today.regime, "volatility_ratio": today.volatility_ratio},
        severity="high" if today.regime == "turbulent" else "low",
        recommended_action="REDUCE" if today.regime == "turbulent" else "KEEP",
    )


def _regime_memory(scene: Scene) -> Memory:
    today = scene.today
    return Memory(
        memory_type="CONTEXT",
        data={"from": scene.yesterday.regime, "to": today.regime, "day": today.day},
        importance=0.95 if today.regime == "turbulent" else 0.4,
    )


def _review_flow(scene: Scene, data: Data) -> Reaction:
    """Expect an unusual day after unusual volume."""
    choice = Choice(
        decision_type="FLOW_REVIEW",
        inputs={"volume_ratio": data["volume_ratio"], "direction": data["direction"]},
        reasoning={"selected": ["widen_limits"]},
        rule=Rule("moves", horizon=1, threshold=scene.today.usual_move),
    )
    return Reaction(choice=choice)


def _enter(scene: Scene, data: Data) -> Reaction:
    """Go long for a week; on heavy volume the position is marked after a day already."""
    ratio = data.get("volume_ratio")
    heavy = ratio is not None and ratio >= WHALE_RATIO
    choice = Choice(
        decision_type="TRADE_ENTRY",
        inputs=known({"volume_ratio": ratio, "return_1d": data["return_1d"]}),
        reasoning={"selected": ["sp500"], "close_position": scene.today.close_position},
        rule=Rule("rises", horizon=5),
        mark=Rule("rises", horizon=1) if heavy else None,
    )
    return Reaction(choice=choice)


def _follow(scene: Scene, data: Data) -> Reaction:
    """Trade a new trend in its direction."""
    rises = data["trend"] == "bullish"
    choice = Choice(
        decision_type="TREND_TRADE",
        inputs={"trend_20d": data["trend_20d"], "volatility_ratio": scene.today.volatility_ratio},
        reasoning={"selected": ["long" if rises else "short"]},
        rule=Rule("rises" if rises else "falls", horizon=5),
    )
    return Reaction(choice=choice)


def _allocate(scene: Scene, data: Data) -> Reaction:
    """Prefer equities to crude for a week; without a quote of crude there is no choice."""
    if scene.today.oil_return_1d is None:
        return Reaction(reason="crude was not quoted")
    choice = Choice(
        decision_type="ALLOCATION",
        inputs={"oil_return_1d": data["oil_return_1d"], "return_1d": data["return_1d"]},
        reasoning={"selected": ["equities"]},
        rule=Rule("beats_crude", horizon=5),
    )
    return Reaction(choice=choice)


def _rebalance(scene: Scene, data: Data) -> Reaction:
    """Lighten the book when it turns rough, and tell who trades and who looks for sources."""
    rough = data["regime"] == "turbulent"
    weight = 0.5 if rough else 1.0
    choice = Choice(
        decision_type="REBALANCE",
        inputs={"volatility_ratio": data["volatility_ratio"], "regime": data["regime"]},
        reasoning={"selected": ["reduce" if rough else "restore"], "equity_weight": weight},
        rule=Rule("falls" if rough else "rises", horizon=5),
    )
    to = (TRADE_EXECUTOR, MARKET_HUNTER)
    shift = Signal(signal_type=PORTFOLIO_SHIFT, to=to, data={"equity_weight": weight})
    return Reaction(choice=choice, signals=(shift,))


def _note(scene: Scene, data: Data) -> Reaction:
    """Keep what another agent said."""
    content = {**data, "day": scene.today.day}
    return Reaction(memory=Memory(memory_type="SIGNAL", data=content, importance=0.6))


def _take_note_of_stress(scene: Scene, data: Data) -> Reaction:
    """Keep a shock for good."""
    content = {**data, "day": scene.today.day}
    return Reaction(memory=Memory(memory_type="NOTE", data=content, importance=1.0))


REACTIONS: Mapping[tuple[str, str], Strategy] = {
    (SENTIMENT_ANALYZER, MARKET_CLOSE): _feel,
    (RISK_MANAGER, MARKET_CLOSE): _assess,
    (RISK_MANAGER, WHALE_ACTIVITY): _review_flow,
    (RISK_MANAGER, SENTIMENT_SHIFT): _note,
    (RISK_MANAGER, MARKET_STRESS): _take_note_of_stress,
    (TRADE_EXECUTOR, MARKET_CLOSE): _enter,
    (TRADE_EXECUTOR, TREND_CHANGE): _follow,
    (PORTFOLIO_OPTIMIZER, MARKET_CLOSE): _allocate,
    (PORTFOLIO_OPTIMIZER, VOLATILITY_REGIME): _rebalance,
}


def react(agent_id: str, signal_type: str, scene: Scene, data: Data) -> Reaction:
    """Say what an agent does about a signal; one it has no use for is only acknowledged."""
    strategy = REACTIONS.get((agent_id, signal_type))
    return strategy(scene, data) if strategy else Reaction(reason="for information")
