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
    """Go long for a week; on heavy volume the position is marked after a day already."""
    ratio = delivery.data.get("volume_ratio")
    inputs = known(volume_ratio=ratio, return_1d=delivery.data["return_1d"])
    decision = delivery.decide(
        "TRADE_ENTRY",
        context=scene.context,
        inputs=inputs,
        reasoning=scene.reasoning(
            "TRADE_ENTRY", inputs, selected=["sp500"], close_position=scene.today.close_position
        ),
        event_time=scene.today.day,
    )
    heavy = ratio is not None and ratio >= WHALE_RATIO
    return decision, Claim("rises", horizon=5, mark=1 if heavy else None)


def on_trend_change(agent: Agent, delivery: Delivery, scene: Scene) -> Decided:
    """Trade a new trend in its direction."""
    rises = delivery.data["trend"] == "bullish"
    inputs = {
        "trend_20d": delivery.data["trend_20d"],
        "volatility_ratio": scene.today.volatility_ratio,
    }
    decision = delivery.decide(
        "TREND_TRADE",
        context=scene.context,
        inputs=inputs,
        reasoning=scene.reasoning("TREND_TRADE", inputs, selected=["long" if rises else "short"]),
        event_time=scene.today.day,
    )
    return decision, Claim("rises" if rises else "falls", horizon=5)


HANDLERS = {"MARKET_CLOSE": on_market_close, "TREND_CHANGE": on_trend_change}
