"""The market-hunter: looks at each market day, and tells the others what it saw."""

from collections.abc import Collection

from sharpwave.infra.demo.drafts import (
    MARKET_CLOSE,
    PORTFOLIO_OPTIMIZER,
    RISK_MANAGER,
    TRADE_EXECUTOR,
    TREND_CHANGE,
    WHALE_ACTIVITY,
    Choice,
    Memory,
    Reaction,
    Scene,
    Signal,
    known,
)
from sharpwave.infra.demo.features import Features
from sharpwave.infra.demo.outcomes import Rule

#: What the hunter asks its own memory about, and how near the two indices must be for it to count.
NASDAQ_MOVES_MORE = "pattern_nasdaq_moves_more"
NEAR = 0.1
#: Volume of this many times its usual counts as large buyers or sellers at work.
WHALE_RATIO = 1.25


def hunt(scene: Scene, trusted: Collection[str] = ()) -> Reaction:
    """Choose the index to watch tomorrow, and tell the others what the market did.

    Args:
        scene: the day.
        trusted: the patterns that have proved themselves so far; where the indices moved almost
            alike, one of them decides.
    """
    today = scene.today
    leads = today.nasdaq_activity >= today.sp500_activity
    is_near = today.nasdaq_activity >= (1 - NEAR) * today.sp500_activity
    is_influenced = not leads and is_near and NASDAQ_MOVES_MORE in trusted
    follows_nasdaq = leads or is_influenced
    selected = "nasdaq" if follows_nasdaq else "sp500"
    choice = Choice(
        decision_type="SOURCE_SELECTION",
        inputs={"nasdaq_lead": today.nasdaq_lead, "volatility_ratio": today.volatility_ratio},
        reasoning={
            "scores": {"sp500": today.sp500_activity, "nasdaq": today.nasdaq_activity},
            "selected": [selected],
            "patterns_applied": [NASDAQ_MOVES_MORE] if follows_nasdaq else [],
        },
        rule=Rule("nasdaq_leads" if follows_nasdaq else "sp500_leads", horizon=1),
        is_influenced=is_influenced,
    )
    signals = (*_whales(today), *_turn(scene), _close(today))
    return Reaction(choice=choice, signals=signals, memory=_turning_point(scene))


def _close(today: Features) -> Signal:
    data = {
        "return_1d": today.return_1d,
        "trend_20d": today.trend_20d,
        "volume_ratio": today.volume_ratio,
        "volatility_ratio": today.volatility_ratio,
        "oil_return_1d": today.oil_return_1d,
    }
    return Signal(signal_type=MARKET_CLOSE, to="@subscribers", data=known(data))


def _whales(today: Features) -> tuple[Signal, ...]:
    ratios = known({"sp500": today.volume_ratio, "nasdaq": today.nasdaq_volume_ratio})
    ratio = max(ratios.values(), default=0.0)
    if ratio < WHALE_RATIO:
        return ()
    direction = "accumulation" if today.return_1d > 0 else "distribution"
    return (
        Signal(
            signal_type=WHALE_ACTIVITY,
            to=(RISK_MANAGER, TRADE_EXECUTOR),
            data={"volume_ratio": ratio, "direction": direction, "exchanges": sorted(ratios)},
            severity="high" if ratio >= 1.5 else "medium",
            confidence=round(min(0.99, ratio / 2), 2),
            recommended_action="MONITOR_CLOSELY",
        ),
    )


def _turn(scene: Scene) -> tuple[Signal, ...]:
    trend = scene.today.trend
    if trend in ("sideways", scene.yesterday.trend):
        return ()
    return (
        Signal(
            signal_type=TREND_CHANGE,
            to=(TRADE_EXECUTOR, PORTFOLIO_OPTIMIZER),
            data={"trend": trend, "trend_20d": scene.today.trend_20d},
            severity="medium",
            recommended_action="FOLLOW",
        ),
    )


def _turning_point(scene: Scene) -> Memory | None:
    today = scene.today
    if today.trend == scene.yesterday.trend:
        return None
    importance = 0.9 if today.trend == "bearish" else 0.5
    return Memory(
        memory_type="CONTEXT",
        data={"from": scene.yesterday.trend, "to": today.trend, "day": today.day},
        importance=importance,
    )
