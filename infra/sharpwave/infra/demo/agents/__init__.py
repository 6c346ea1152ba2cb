"""Five agents on the SDK, to be read as examples: what each subscribes to, and what it does.

A handler takes the agent, one delivery, and what the market shows. It writes what it has to say
first and decides last: the decision acknowledges the signal, so nothing is left undone after it.

Signals flow one way, so that no signal can set off another of its own kind:
market-hunter -> sentiment-analyzer -> risk-manager -> portfolio-optimizer -> trade-executor.
What runs against it (SENTIMENT_SHIFT and PORTFOLIO_SHIFT to market-hunter) only informs.
"""

from collections.abc import Callable, Mapping

from sharpwave.infra.demo.agents import (
    market_hunter,
    portfolio_optimizer,
    risk_manager,
    sentiment_analyzer,
    trade_executor,
)
from sharpwave.infra.demo.scene import Decided, Scene
from sharpwave.producers import Agent, Delivery

Handler = Callable[[Agent, Delivery, Scene], Decided | None]

_CAST = (market_hunter, risk_manager, trade_executor, portfolio_optimizer, sentiment_analyzer)

AGENTS = tuple(one.AGENT_ID for one in _CAST)
SUBSCRIPTIONS = {one.AGENT_ID: one.SUBSCRIPTIONS for one in _CAST}
MAY_BROADCAST = frozenset({sentiment_analyzer.AGENT_ID})
HANDLERS: Mapping[tuple[str, str], Handler] = {
    (one.AGENT_ID, signal_type): handler
    for one in (risk_manager, trade_executor, portfolio_optimizer, sentiment_analyzer)
    for signal_type, handler in one.HANDLERS.items()
}
#: What the agents start with.
PATTERNS = [
    *risk_manager.PATTERNS,
    *trade_executor.PATTERNS,
    *sentiment_analyzer.PATTERNS,
    *market_hunter.PATTERNS,
    *portfolio_optimizer.PATTERNS,
]


def audience(source: str, signal_type: str, to: object) -> tuple[str, ...]:
    """Give the agents that must receive a signal addressed to `to`, as `signal` takes it."""
    others = tuple(name for name in AGENTS if name != source)
    if to == "*":
        return others
    if to == "@subscribers":
        return tuple(name for name in others if signal_type in SUBSCRIPTIONS[name])
    return (to,) if isinstance(to, str) else tuple(to)  # type: ignore[arg-type]


def react(agent: Agent, delivery: Delivery, scene: Scene) -> Decided | None:
    """Let an agent act on one signal; one it has no use for is only acknowledged."""
    handler = HANDLERS.get((agent.agent_id, delivery.signal_type))
    if handler is None:
        delivery.ack(reason="for information")
        return None
    return handler(agent, delivery, scene)
