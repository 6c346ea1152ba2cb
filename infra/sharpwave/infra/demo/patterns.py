"""The patterns the agents start with: market lore, some of it true.

Nothing here knows the history. What a pattern is worth shows only as decisions get their outcomes.
"""

from typing import Any

from sharpwave.infra.demo.drafts import (
    MARKET_HUNTER,
    RISK_MANAGER,
    SENTIMENT_ANALYZER,
    TRADE_EXECUTOR,
)
from sharpwave.infra.demo.hunting import NASDAQ_MOVES_MORE
from sharpwave.schemas.patterns import PatternDefinition

DOMAIN = "markets"
#: Market regimes last for months: half of the evidence is older than half a year.
HALF_LIFE_DAYS = 180.0


def imported() -> list[PatternDefinition]:
    """Give the definitions to import."""
    return [
        _pattern(
            "pattern_turbulence_persists",
            RISK_MANAGER,
            "RISK_ASSESSMENT",
            [("inputs.volatility_ratio", "ge", 1.25)],
        ),
        _pattern(
            "pattern_bear_trend_drops",
            RISK_MANAGER,
            "RISK_ASSESSMENT",
            [("context.market.trend", "eq", "bearish")],
            shared_with=[TRADE_EXECUTOR],
        ),
        _pattern(
            "pattern_calm_before_the_storm",
            RISK_MANAGER,
            "RISK_ASSESSMENT",
            [("context.market.volatility", "eq", "calm")],
        ),
        _pattern(
            "pattern_whale_pump",
            TRADE_EXECUTOR,
            "TRADE_ENTRY",
            [("inputs.volume_ratio", "ge", 1.1), ("context.market.trend", "eq", "bullish")],
        ),
        _pattern(
            "pattern_capitulation_rebounds",
            TRADE_EXECUTOR,
            "TRADE_ENTRY",
            [("inputs.volume_ratio", "ge", 1.1), ("context.market.trend", "eq", "bearish")],
        ),
        _pattern(
            "pattern_buy_the_dip",
            SENTIMENT_ANALYZER,
            "SENTIMENT_CALL",
            [("inputs.return_1d", "le", -0.005)],
        ),
        _pattern(NASDAQ_MOVES_MORE, MARKET_HUNTER, "SOURCE_SELECTION", None),
        _pattern(
            "pattern_oil_shock_reverses",
            None,
            "ALLOCATION",
            [("inputs.oil_return_1d", "ge", 0.02)],
        ),
    ]


def _pattern(
    pattern_id: str,
    agent_id: str | None,
    decision_type: str,
    conditions: list[tuple[str, str, Any]] | None,
    **rest: Any,
) -> PatternDefinition:
    listed = [dict(zip(("path", "op", "value"), one, strict=True)) for one in conditions or ()]
    return PatternDefinition.model_validate(
        {
            "pattern_id": pattern_id,
            "agent_id": agent_id,
            "domain": DOMAIN,
            "decision_type": decision_type,
            "conditions": listed or None,
            "half_life_days": HALF_LIFE_DAYS,
            **rest,
        }
    )
