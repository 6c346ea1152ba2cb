"""The trade-executor: goes long each day, and trades new trends in their direction."""

from typing import ClassVar

from sharpwave.infra.demo.agents.market_hunter import WHALE_RATIO
from sharpwave.infra.demo.agents.risk_manager import RISK_ASSESSMENT
from sharpwave.infra.demo.scene import Claim, Intent, MarketAgent, Reactions, Scene, known, lore
from sharpwave.producers import Delivery


class TradeExecutor(MarketAgent):
    """Decides daily, and on a new trend; what the risk-manager shares can keep it out."""

    agent_id = "trade-executor"
    subscriptions = ("MARKET_CLOSE",)
    patterns = (
        lore(
            "pattern_whale_pump",
            "TRADE_ENTRY",
            agent_id,
            ("inputs.volume_ratio", "ge", 1.1),
            ("context.market.trend", "eq", "bullish"),
        ),
        lore(
            "pattern_capitulation_rebounds",
            "TRADE_ENTRY",
            agent_id,
            ("inputs.volume_ratio", "ge", 1.1),
            ("context.market.trend", "eq", "bearish"),
        ),
    )

    def on_market_close(self, delivery: Delivery, scene: Scene) -> Intent:
        """Go long for a week; on heavy volume the position is marked after a day already.

        What the risk-manager learnt of drops and shares keeps the executor out of the market.
        """
        ratio = delivery.data.get("volume_ratio")
        heavy = ratio is not None and ratio >= WHALE_RATIO
        return Intent(
            decision_type="TRADE_ENTRY",
            claim=Claim("rises", horizon=5, mark=1 if heavy else None),
            inputs=known(volume_ratio=ratio, return_1d=delivery.data["return_1d"]),
            reasons={"selected": ["sp500"], "close_position": scene.today.close_position},
            against=RISK_ASSESSMENT,
        )

    def on_trend_change(self, delivery: Delivery, scene: Scene) -> Intent:
        """Trade a new trend in its direction."""
        rises = delivery.data["trend"] == "bullish"
        return Intent(
            decision_type="TREND_TRADE",
            claim=Claim("rises" if rises else "falls", horizon=5),
            inputs={
                "trend_20d": delivery.data["trend_20d"],
                "volatility_ratio": scene.today.volatility_ratio,
            },
            reasons={"selected": ["long" if rises else "short"]},
        )

    reactions: ClassVar[Reactions] = {
        "MARKET_CLOSE": on_market_close,
        "TREND_CHANGE": on_trend_change,
    }
