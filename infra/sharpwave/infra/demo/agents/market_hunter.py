"""The market-hunter: looks at each market day, and tells the others what it saw.

It receives nothing that it acts on; it starts each day by itself.
"""

import random
from collections.abc import Mapping
from typing import Any

from sharpwave.infra.demo.scene import FRESH_S, Claim, MarketAgent, Scene, known, lore
from sharpwave.schemas.records import DecisionRecord

#: Named by each decision for the NASDAQ; the others are what it is held against.
NASDAQ_MOVES_MORE = "pattern_nasdaq_moves_more"
#: Volume of this many times its usual counts as large buyers or sellers at work.
WHALE_RATIO = 1.25


class MarketHunter(MarketAgent):
    """Chooses what to watch, and signals what the day was like."""

    agent_id = "market-hunter"
    patterns = (lore(NASDAQ_MOVES_MORE, "SOURCE_SELECTION", agent_id),)

    def open_day(self, scene: Scene) -> tuple[DecisionRecord, Claim]:
        """Choose the index to watch tomorrow, and tell the others what the market did.

        The choice is drawn by what each index was worth in such a market so far. The one that moved
        more lately would be the choice of an agent without memory.
        """
        today = scene.today
        choice = self.agent.choose(
            ["sp500", "nasdaq"],
            decision_type="SOURCE_SELECTION",
            context={"market": {"volatility": today.regime}},
            chance=random.Random(scene.index),
            max_age_s=FRESH_S,
        )
        selected = choice.source
        scores = {"sp500": today.sp500_activity, "nasdaq": today.nasdaq_activity}
        claim = Claim("nasdaq_leads" if selected == "nasdaq" else "sp500_leads", horizon=1)
        decision = self.agent.decide(
            "SOURCE_SELECTION",
            context=scene.context(claim),
            inputs={"nasdaq_lead": today.nasdaq_lead, "volatility_ratio": today.volatility_ratio},
            reasoning={
                "scores": scores,
                "patterns_applied": [NASDAQ_MOVES_MORE] if selected == "nasdaq" else [],
                "memory_influenced": selected != lately(scores),
            },
            choice=choice,
            event_time=today.day,
        )
        self.tell(scene)
        return decision, claim

    def tell(self, scene: Scene) -> None:
        """Remember a turn of the trend, and signal what others act on."""
        today, before = scene.today, scene.yesterday.trend
        if today.trend != before:
            self.agent.remember(
                "CONTEXT",
                {"from": before, "to": today.trend, "day": today.day},
                # From an importance of 0.8 on an entry is promoted early.
                importance=0.9 if today.trend == "bearish" else 0.5,
            )
        ratios = known(sp500=today.volume_ratio, nasdaq=today.nasdaq_volume_ratio)
        ratio = max(ratios.values(), default=0.0)
        if ratio >= WHALE_RATIO:
            direction = "accumulation" if today.return_1d > 0 else "distribution"
            self.agent.signal(
                "WHALE_ACTIVITY",
                to=["risk-manager", "trade-executor"],
                data={"volume_ratio": ratio, "direction": direction, "exchanges": sorted(ratios)},
                severity="high" if ratio >= 1.5 else "medium",
                confidence=round(min(0.99, ratio / 2), 2),
                recommended_action="MONITOR_CLOSELY",
                event_time=today.day,
            )
        if today.trend not in ("sideways", before):
            self.agent.signal(
                "TREND_CHANGE",
                to=["trade-executor", "portfolio-optimizer"],
                data={"trend": today.trend, "trend_20d": today.trend_20d},
                severity="medium",
                recommended_action="FOLLOW",
                event_time=today.day,
            )
        self.agent.signal(
            "MARKET_CLOSE",
            to="@subscribers",
            data=known(
                return_1d=today.return_1d,
                trend_20d=today.trend_20d,
                volume_ratio=today.volume_ratio,
                volatility_ratio=today.volatility_ratio,
                oil_return_1d=today.oil_return_1d,
            ),
            severity="low",
            event_time=today.day,
        )


def lately(scores: Mapping[str, Any]) -> str:
    """Name the index that moved more in the last days."""
    return "nasdaq" if scores["nasdaq"] >= scores["sp500"] else "sp500"
