"""The market-hunter: looks at each market day, and tells the others what it saw.

It receives nothing that it acts on; it starts each day by itself.
"""

from sharpwave.infra.demo.scene import Claim, Decided, Scene, known, lore
from sharpwave.producers import Agent

AGENT_ID = "market-hunter"
SUBSCRIPTIONS: tuple[str, ...] = ()

#: What the hunter asks its own memory about, and how near the two indices must be for it to count.
NASDAQ_MOVES_MORE = "pattern_nasdaq_moves_more"
NEAR = 0.1
#: Volume of this many times its usual counts as large buyers or sellers at work.
WHALE_RATIO = 1.25

PATTERNS = [lore(NASDAQ_MOVES_MORE, "SOURCE_SELECTION", AGENT_ID)]


def open_day(agent: Agent, scene: Scene) -> Decided:
    """Choose the index to watch tomorrow, and tell the others what the market did.

    Where the indices moved almost alike, a pattern that has proved itself decides.
    """
    today = scene.today
    leads = today.nasdaq_activity >= today.sp500_activity
    is_near = today.nasdaq_activity >= (1 - NEAR) * today.sp500_activity
    # Memory influenced the choice only if without it the other index had been chosen.
    influenced = not leads and is_near and NASDAQ_MOVES_MORE in scene.trusted
    selected = "nasdaq" if leads or influenced else "sp500"
    inputs = {"nasdaq_lead": today.nasdaq_lead, "volatility_ratio": today.volatility_ratio}
    decision = agent.decide(
        "SOURCE_SELECTION",
        context=scene.context,
        inputs=inputs,
        reasoning=scene.reasoning(
            "SOURCE_SELECTION",
            inputs,
            applied=[NASDAQ_MOVES_MORE] if selected == "nasdaq" else [],
            influenced=influenced,
            scores={"sp500": today.sp500_activity, "nasdaq": today.nasdaq_activity},
            selected=[selected],
        ),
        event_time=today.day,
    )
    tell(agent, scene)
    return decision, Claim("nasdaq_leads" if selected == "nasdaq" else "sp500_leads", horizon=1)


def tell(agent: Agent, scene: Scene) -> None:
    """Remember a turn of the trend, and signal what others act on."""
    today, before = scene.today, scene.yesterday.trend
    if today.trend != before:
        agent.remember(
            "CONTEXT",
            {"from": before, "to": today.trend, "day": today.day},
            # From an importance of 0.8 on an entry is promoted early.
            importance=0.9 if today.trend == "bearish" else 0.5,
        )
    ratios = known(sp500=today.volume_ratio, nasdaq=today.nasdaq_volume_ratio)
    ratio = max(ratios.values(), default=0.0)
    if ratio >= WHALE_RATIO:
        direction = "accumulation" if today.return_1d > 0 else "distribution"
        agent.signal(
            "WHALE_ACTIVITY",
            to=["risk-manager", "trade-executor"],
            data={"volume_ratio": ratio, "direction": direction, "exchanges": sorted(ratios)},
            severity="high" if ratio >= 1.5 else "medium",
            confidence=round(min(0.99, ratio / 2), 2),
            recommended_action="MONITOR_CLOSELY",
            event_time=today.day,
        )
    if today.trend not in ("sideways", before):
        agent.signal(
            "TREND_CHANGE",
            to=["trade-executor", "portfolio-optimizer"],
            data={"trend": today.trend, "trend_20d": today.trend_20d},
            severity="medium",
            recommended_action="FOLLOW",
            event_time=today.day,
        )
    agent.signal(
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
