"""Five agents on the SDK, to be read as examples: what each subscribes to, and what it does.

Each has a method for every type of signal that it acts on. It writes what it has to say first and
decides last: the decision acknowledges the signal, so nothing is left undone after it.

Signals flow one way, so that no signal can set off another of its own kind:
market-hunter -> sentiment-analyzer -> risk-manager -> portfolio-optimizer -> trade-executor.
What runs against it (SENTIMENT_SHIFT and PORTFOLIO_SHIFT to market-hunter) only informs.
"""

from sharpwave.infra.demo.agents.market_hunter import MarketHunter
from sharpwave.infra.demo.agents.portfolio_optimizer import PortfolioOptimizer
from sharpwave.infra.demo.agents.risk_manager import RiskManager
from sharpwave.infra.demo.agents.sentiment_analyzer import SentimentAnalyzer
from sharpwave.infra.demo.agents.trade_executor import TradeExecutor
from sharpwave.infra.demo.scene import MarketAgent

__all__ = [
    "AGENTS",
    "CAST",
    "MAY_BROADCAST",
    "PATTERNS",
    "MarketHunter",
    "PortfolioOptimizer",
    "RiskManager",
    "SentimentAnalyzer",
    "TradeExecutor",
    "audience",
]

CAST: dict[str, type[MarketAgent]] = {
    one.agent_id: one
    for one in (RiskManager, TradeExecutor, SentimentAnalyzer, MarketHunter, PortfolioOptimizer)
}
AGENTS = tuple(CAST)
MAY_BROADCAST = frozenset({SentimentAnalyzer.agent_id})
#: What the agents start with.
PATTERNS = [pattern for one in CAST.values() for pattern in one.patterns]


def audience(source: str, signal_type: str, to: object) -> tuple[str, ...]:
    """Give the agents that must receive a signal addressed to `to`, as `signal` takes it."""
    others = tuple(name for name in AGENTS if name != source)
    if to == "*":
        return others
    if to == "@subscribers":
        return tuple(name for name in others if signal_type in CAST[name].subscriptions)
    return (to,) if isinstance(to, str) else tuple(to)  # type: ignore[arg-type]
