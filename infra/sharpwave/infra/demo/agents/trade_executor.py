"""The trade-executor: goes long each day, and trades new trends in their direction."""

from sharpwave.infra.demo.agents.market_hunter import WHALE_RATIO
from sharpwave.infra.demo.scene import Claim, Decided, Scene, known, lore
from sharpwave.producers import Agent, Delivery

AGENT_ID = "trade-executor"
SUBSCRIPTIONS = ("MARKET_CLOSE",)

PATTERNS = [
    lore(
        "pattern_whale_pump",
        "TRADE_ENTRY",
        AGENT_ID,
        ("inputs.volume_ratio", "ge", 1.1),
        ("context.market.trend", "eq", "bullish"),
    ),
    lore(
        "pattern_capitulation_rebounds",
        "TRADE_ENTRY",
        AGENT_ID,
        ("inputs.volume_ratio", "ge", 1.1),
        ("context.market.trend", "eq", "bearish"),
    ),
]


def on_market_close(agent: Agent, delivery: Delivery, scene: Scene) -> Decided:
    """Go long for a week; on heavy volume the position is marked after a day already.

    What the risk-manager learnt of drops and shares keeps the executor out of the market.
    """
    ratio = delivery.data.get("volume_ratio")
    heavy = ratio is not None and ratio >= WHALE_RATIO
    claim = Claim("rises", horizon=5, mark=1 if heavy else None)
    inputs = known(volume_ratio=ratio, return_1d=delivery.data["return_1d"])
    decision = delivery.decide(
        "TRADE_ENTRY",
        **scene.facts(
            agent,
            "TRADE_ENTRY",
            claim,
            inputs,
            against="RISK_ASSESSMENT",
            selected=["sp500"],
            close_position=scene.today.close_position,
        ),
    )
    return decision, claim


def on_trend_change(agent: Agent, delivery: Delivery, scene: Scene) -> Decided:
    """Trade a new trend in its direction."""
    rises = delivery.data["trend"] == "bullish"
    claim = Claim("rises" if rises else "falls", horizon=5)
    inputs = {
        "trend_20d": delivery.data["trend_20d"],
        "volatility_ratio": scene.today.volatility_ratio,
    }
    decision = delivery.decide(
        "TREND_TRADE",
        **scene.facts(agent, "TREND_TRADE", claim, inputs, selected=["long" if rises else "short"]),
    )
    return decision, claim


HANDLERS = {"MARKET_CLOSE": on_market_close, "TREND_CHANGE": on_trend_change}
