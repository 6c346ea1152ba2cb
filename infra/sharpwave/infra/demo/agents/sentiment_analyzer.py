"""The sentiment-analyzer: calls tomorrow's direction, and tells of moods and shocks."""

from sharpwave.infra.demo.scene import Claim, Decided, Scene, known, lore
from sharpwave.producers import Agent, Delivery

AGENT_ID = "sentiment-analyzer"
SUBSCRIPTIONS = ("MARKET_CLOSE",)

#: A move of this many times the usual one is a shock.
STRESS = 4.0

PATTERNS = [
    lore("pattern_buy_the_dip", "SENTIMENT_CALL", AGENT_ID, ("inputs.return_1d", "le", -0.005))
]


def on_market_close(agent: Agent, delivery: Delivery, scene: Scene) -> Decided:
    """Call tomorrow's direction; a mood that has just turned, or a shock, is told first."""
    today = scene.today
    if today.mood not in ("neutral", scene.yesterday.mood):
        agent.signal(
            "SENTIMENT_SHIFT",
            to=["risk-manager", "market-hunter"],
            data=known(mood=today.mood, vix_change=today.vix_change),
            severity="low",
            event_time=today.day,
        )
    if abs(today.return_1d) >= STRESS * today.usual_move:
        times = round(abs(today.return_1d) / today.usual_move, 2)
        agent.signal(
            "MARKET_STRESS",
            to="*",
            data={"return_1d": today.return_1d, "times_usual": times},
            severity="high",
            event_time=today.day,
        )
    inputs = known(
        return_1d=delivery.data["return_1d"],
        close_position=today.close_position,
        vix=today.vix,
        vix_change=today.vix_change,
    )
    claim = Claim("rises", horizon=1)
    selected = "buy_the_dip" if delivery.data["return_1d"] < 0 else "hold"
    decision = delivery.decide(
        "SENTIMENT_CALL",
        **scene.facts(agent, "SENTIMENT_CALL", claim, inputs, mood=today.mood, selected=[selected]),
    )
    return decision, claim


HANDLERS = {"MARKET_CLOSE": on_market_close}
