"""The portfolio-optimizer: weighs equities against crude, and lightens the book in rough times."""

from sharpwave.infra.demo.scene import Claim, Decided, Scene, lore
from sharpwave.producers import Agent, Delivery

AGENT_ID = "portfolio-optimizer"
SUBSCRIPTIONS = ("MARKET_CLOSE",)

#: Nobody's own: it belongs to the domain, and counts whoever decides.
PATTERNS = [
    lore("pattern_oil_shock_reverses", "ALLOCATION", None, ("inputs.oil_return_1d", "ge", 0.02))
]


def on_market_close(agent: Agent, delivery: Delivery, scene: Scene) -> Decided | None:
    """Prefer equities to crude for a week; without a quote of crude there is no choice."""
    if scene.today.oil_return_1d is None:
        delivery.ack(reason="crude was not quoted")
        return None
    claim = Claim("beats_crude", horizon=5)
    inputs = {name: delivery.data[name] for name in ("oil_return_1d", "return_1d")}
    decision = delivery.decide(
        "ALLOCATION", **scene.facts(agent, "ALLOCATION", claim, inputs, selected=["equities"])
    )
    return decision, claim


def on_volatility_regime(agent: Agent, delivery: Delivery, scene: Scene) -> Decided:
    """Lighten the book when it turns rough, and tell who trades and who looks for sources."""
    rough = delivery.data["regime"] == "turbulent"
    weight = 0.5 if rough else 1.0
    claim = Claim("falls" if rough else "rises", horizon=5)
    agent.signal(
        "PORTFOLIO_SHIFT",
        to=["trade-executor", "market-hunter"],
        data={"equity_weight": weight},
        severity="low",
        event_time=scene.today.day,
    )
    inputs = {name: delivery.data[name] for name in ("volatility_ratio", "regime")}
    decision = delivery.decide(
        "REBALANCE",
        **scene.facts(
            agent,
            "REBALANCE",
            claim,
            inputs,
            selected=["reduce" if rough else "restore"],
            equity_weight=weight,
        ),
    )
    return decision, claim


HANDLERS = {"MARKET_CLOSE": on_market_close, "VOLATILITY_REGIME": on_volatility_regime}
