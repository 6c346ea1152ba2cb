"""The risk-manager: judges daily whether the book needs cover, and keeps what it is warned of."""

from typing import ClassVar

from sharpwave.infra.demo.scene import Claim, Intent, MarketAgent, Reactions, Scene, lore
from sharpwave.producers import Delivery

RISK_ASSESSMENT = "RISK_ASSESSMENT"


class RiskManager(MarketAgent):
    """Tells of a new regime, and shares what it learns of drops with who trades."""

    agent_id = "risk-manager"
    subscriptions = ("MARKET_CLOSE",)
    patterns = (
        lore(
            "pattern_turbulence_persists",
            RISK_ASSESSMENT,
            agent_id,
            ("inputs.volatility_ratio", "ge", 1.25),
        ),
        lore(
            "pattern_bear_trend_drops",
            RISK_ASSESSMENT,
            agent_id,
            ("context.market.trend", "eq", "bearish"),
            shared_with=["trade-executor"],
        ),
        lore(
            "pattern_calm_before_the_storm",
            RISK_ASSESSMENT,
            agent_id,
            ("context.market.volatility", "eq", "calm"),
        ),
    )

    def on_market_close(self, delivery: Delivery, scene: Scene) -> Intent:
        """Judge whether the book needs cover for a week; a new volatility regime is told first."""
        today, before = scene.today, scene.yesterday.regime
        rough = today.regime == "turbulent"
        if today.regime != before:
            self.agent.remember(
                "CONTEXT",
                {"from": before, "to": today.regime, "day": today.day},
                importance=0.95 if rough else 0.4,
            )
            self.agent.signal(
                "VOLATILITY_REGIME",
                to=["trade-executor", "portfolio-optimizer"],
                data={"regime": today.regime, "volatility_ratio": today.volatility_ratio},
                severity="high" if rough else "low",
                recommended_action="REDUCE" if rough else "KEEP",
                event_time=today.day,
            )
        return Intent(
            decision_type=RISK_ASSESSMENT,
            claim=Claim("drops", horizon=5, threshold=0.02),
            inputs={
                "volatility_ratio": delivery.data["volatility_ratio"],
                "trend_20d": delivery.data["trend_20d"],
                "close_position": today.close_position,
            },
            reasons={"selected": ["hedge"], "regime": today.regime},
        )

    def on_whale_activity(self, delivery: Delivery, scene: Scene) -> Intent:
        """Expect an unusual day after unusual volume."""
        return Intent(
            decision_type="FLOW_REVIEW",
            claim=Claim("moves", horizon=1, threshold=scene.today.usual_move),
            inputs={name: delivery.data[name] for name in ("volume_ratio", "direction")},
            reasons={"selected": ["widen_limits"]},
        )

    def on_sentiment_shift(self, delivery: Delivery, scene: Scene) -> None:
        """Keep what another agent said; with nothing to decide, it is acknowledged."""
        self.agent.remember("SIGNAL", {**delivery.data, "day": scene.today.day}, importance=0.6)

    def on_market_stress(self, delivery: Delivery, scene: Scene) -> None:
        """Keep a shock for good."""
        self.agent.remember("NOTE", {**delivery.data, "day": scene.today.day}, importance=1.0)

    reactions: ClassVar[Reactions] = {
        "MARKET_CLOSE": on_market_close,
        "WHALE_ACTIVITY": on_whale_activity,
        "SENTIMENT_SHIFT": on_sentiment_shift,
        "MARKET_STRESS": on_market_stress,
    }
