"""The risk-manager: judges daily whether the book needs cover, and keeps what it is warned of."""

from sharpwave.infra.demo.scene import Claim, Decided, Scene, lore
from sharpwave.producers import Agent, Delivery

AGENT_ID = "risk-manager"
SUBSCRIPTIONS = ("MARKET_CLOSE",)

PATTERNS = [
    lore(
        "pattern_turbulence_persists",
        "RISK_ASSESSMENT",
        AGENT_ID,
        ("inputs.volatility_ratio", "ge", 1.25),
    ),
    lore(
        "pattern_bear_trend_drops",
        "RISK_ASSESSMENT",
        AGENT_ID,
        ("context.market.trend", "eq", "bearish"),
        shared_with=["trade-executor"],
    ),
    lore(
        "pattern_calm_before_the_storm",
        "RISK_ASSESSMENT",
        AGENT_ID,
        ("context.market.volatility", "eq", "calm"),
    ),
]


def on_market_close(agent: Agent, delivery: Delivery, scene: Scene) -> Decided:
    """Judge whether the book needs cover for a week; a new volatility regime is told first."""
    today, before = scene.today, scene.yesterday.regime
    rough = today.regime == "turbulent"
    if today.regime != before:
        agent.remember(
            "CONTEXT",
            {"from": before, "to": today.regime, "day": today.day},
            importance=0.95 if rough else 0.4,
        )
        agent.signal(
            "VOLATILITY_REGIME",
            to=["trade-executor", "portfolio-optimizer"],
            data={"regime": today.regime, "volatility_ratio": today.volatility_ratio},
            severity="high" if rough else "low",
            recommended_action="REDUCE" if rough else "KEEP",
            event_time=today.day,
        )
    claim = Claim("drops", horizon=5, threshold=0.02)
    inputs = {
        "volatility_ratio": delivery.data["volatility_ratio"],
        "trend_20d": delivery.data["trend_20d"],
        "close_position": today.close_position,
    }
    decision = delivery.decide(
        "RISK_ASSESSMENT",
        **scene.facts(
            agent, "RISK_ASSESSMENT", claim, inputs, selected=["hedge"], regime=today.regime
        ),
    )
    return decision, claim


def on_whale_activity(agent: Agent, delivery: Delivery, scene: Scene) -> Decided:
    """Expect an unusual day after unusual volume."""
    claim = Claim("moves", horizon=1, threshold=scene.today.usual_move)
    inputs = {name: delivery.data[name] for name in ("volume_ratio", "direction")}
    decision = delivery.decide(
        "FLOW_REVIEW", **scene.facts(agent, "FLOW_REVIEW", claim, inputs, selected=["widen_limits"])
    )
    return decision, claim


def on_sentiment_shift(agent: Agent, delivery: Delivery, scene: Scene) -> None:
    """Keep what another agent said; leaving the handler acknowledges it."""
    agent.remember("SIGNAL", {**delivery.data, "day": scene.today.day}, importance=0.6)


def on_market_stress(agent: Agent, delivery: Delivery, scene: Scene) -> None:
    """Keep a shock for good."""
    agent.remember("NOTE", {**delivery.data, "day": scene.today.day}, importance=1.0)


HANDLERS = {
    "MARKET_CLOSE": on_market_close,
    "WHALE_ACTIVITY": on_whale_activity,
    "SENTIMENT_SHIFT": on_sentiment_shift,
    "MARKET_STRESS": on_market_stress,
}
