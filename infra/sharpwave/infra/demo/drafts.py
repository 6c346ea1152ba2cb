"""What an agent wants to do, before anything is written."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

from sharpwave.infra.demo.features import Features
from sharpwave.infra.demo.outcomes import Rule
from sharpwave.infra.demo.ports import MemoryType

MARKET_HUNTER = "market-hunter"
RISK_MANAGER = "risk-manager"
TRADE_EXECUTOR = "trade-executor"
PORTFOLIO_OPTIMIZER = "portfolio-optimizer"
SENTIMENT_ANALYZER = "sentiment-analyzer"
AGENTS = (MARKET_HUNTER, RISK_MANAGER, TRADE_EXECUTOR, PORTFOLIO_OPTIMIZER, SENTIMENT_ANALYZER)

MARKET_CLOSE = "MARKET_CLOSE"
WHALE_ACTIVITY = "WHALE_ACTIVITY"
TREND_CHANGE = "TREND_CHANGE"
VOLATILITY_REGIME = "VOLATILITY_REGIME"
SENTIMENT_SHIFT = "SENTIMENT_SHIFT"
MARKET_STRESS = "MARKET_STRESS"
PORTFOLIO_SHIFT = "PORTFOLIO_SHIFT"
#: Asks who is there before the replay starts; no part of it.
READY_CHECK = "READY_CHECK"

Severity = Literal["low", "medium", "high"]
Targets = tuple[str, ...] | Literal["*", "@subscribers"]


@dataclass(frozen=True, slots=True)
class Scene:
    """What an agent sees: the day before, the day, and how many days into the history it is."""

    yesterday: Features
    today: Features
    cycle: int

    def context(self) -> dict[str, Any]:
        """Give what a decision records about its surroundings."""
        market = {"trend": self.today.trend, "volatility": self.today.regime}
        return {"market": market, "cycle": self.cycle, "trading_hours": "american"}


@dataclass(frozen=True, slots=True, kw_only=True)
class Signal:
    """A signal to send."""

    signal_type: str
    to: Targets
    data: Mapping[str, Any]
    severity: Severity = "low"
    confidence: float | None = None
    recommended_action: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Choice:
    """A decision to take, with the claim that its outcome is judged by.

    `mark` is an early claim: its verdict is recorded first, and corrected if `rule` disagrees.
    `is_influenced` says that without what the agent recalled it would have been another one.
    """

    decision_type: str
    inputs: Mapping[str, Any]
    reasoning: Mapping[str, Any]
    rule: Rule
    mark: Rule | None = None
    is_influenced: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Memory:
    """An entry for the agent's short-term memory; from an importance of 0.8 it is kept early."""

    memory_type: MemoryType
    data: Mapping[str, Any]
    importance: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Reaction:
    """Everything an agent does about one signal, or about one market day."""

    choice: Choice | None = None
    signals: tuple[Signal, ...] = ()
    memory: Memory | None = None
    reason: str | None = field(default=None)


def known(values: Mapping[str, Any]) -> dict[str, Any]:
    """Leave out what is not known."""
    return {name: value for name, value in values.items() if value is not None}
