"""The sentiment-analyzer: calls tomorrow's direction, and tells of moods and shocks."""

from typing import ClassVar

from sharpwave.infra.demo.scene import Claim, Intent, MarketAgent, Reactions, Scene, known, lore
from sharpwave.producers import Delivery

#: A move of this many times the usual one is a shock.
STRESS = 4.0


class SentimentAnalyzer(MarketAgent):
    """Decides daily; a shock it tells everyone."""

    agent_id = "sentiment-analyzer"
    subscriptions = ("MARKET_CLOSE",)
    patterns = (
        lore("pattern_buy_the_dip", "SENTIMENT_CALL", agent_id, ("inputs.return_1d", "le", -0.005)),
    )

    def on_market_close(self, delivery: Delivery, scene: Scene) -> Intent:
        """Call tomorrow's direction; a mood that has just turned, or a shock, is told first."""
        today = scene.today
        if today.mood not in ("neutral", scene.yesterday.mood):
            self.agent.signal(
                "SENTIMENT_SHIFT",
                to=["risk-manager", "market-hunter"],
                data=known(mood=today.mood, vix_change=today.vix_change),
                severity="low",
                event_time=today.day,
            )
        if abs(today.return_1d) >= STRESS * today.usual_move:
            times = round(abs(today.return_1d) / today.usual_move, 2)
            self.agent.signal(
                "MARKET_STRESS",
                to="*",
                data={"return_1d": today.return_1d, "times_usual": times},
                severity="high",
                event_time=today.day,
            )
        selected = "buy_the_dip" if delivery.data["return_1d"] < 0 else "hold"
        return Intent(
            decision_type="SENTIMENT_CALL",
            claim=Claim("rises", horizon=1),
            inputs=known(
                return_1d=delivery.data["return_1d"],
                close_position=today.close_position,
                vix=today.vix,
                vix_change=today.vix_change,
            ),
            reasons={"mood": today.mood, "selected": [selected]},
        )

    reactions: ClassVar[Reactions] = {"MARKET_CLOSE": on_market_close}
