"""The portfolio-optimizer: weighs equities against crude, and lightens the book in rough times."""

from typing import ClassVar

from sharpwave.infra.demo.scene import Claim, Intent, MarketAgent, Reactions, Scene, lore
from sharpwave.producers import Delivery


class PortfolioOptimizer(MarketAgent):
    """Decides weekly, and when the risk-manager tells of another regime."""

    agent_id = "portfolio-optimizer"
    subscriptions = ("MARKET_CLOSE",)
    #: Nobody's own: it belongs to the domain, and counts whoever decides.
    patterns = (
        lore(
            "pattern_oil_shock_reverses", "ALLOCATION", None, ("inputs.oil_return_1d", "ge", 0.02)
        ),
    )

    def on_market_close(self, delivery: Delivery, scene: Scene) -> Intent | None:
        """Prefer equities to crude for a week; without a quote of crude there is no choice."""
        if scene.today.oil_return_1d is None:
            delivery.ack(reason="crude was not quoted")
            return None
        return Intent(
            decision_type="ALLOCATION",
            claim=Claim("beats_crude", horizon=5),
            inputs={name: delivery.data[name] for name in ("oil_return_1d", "return_1d")},
            reasons={"selected": ["equities"]},
        )

    def on_volatility_regime(self, delivery: Delivery, scene: Scene) -> Intent:
        """Lighten the book when it turns rough, and tell who trades and who looks for sources."""
        rough = delivery.data["regime"] == "turbulent"
        weight = 0.5 if rough else 1.0
        self.agent.signal(
            "PORTFOLIO_SHIFT",
            to=["trade-executor", "market-hunter"],
            data={"equity_weight": weight},
            severity="low",
            event_time=scene.today.day,
        )
        return Intent(
            decision_type="REBALANCE",
            claim=Claim("falls" if rough else "rises", horizon=5),
            inputs={name: delivery.data[name] for name in ("volatility_ratio", "regime")},
            reasons={"selected": ["reduce" if rough else "restore"], "equity_weight": weight},
        )

    reactions: ClassVar[Reactions] = {
        "MARKET_CLOSE": on_market_close,
        "VOLATILITY_REGIME": on_volatility_regime,
    }
