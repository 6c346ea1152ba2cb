"""Who takes part in a run: agents, what they subscribe to, and the patterns they are counted by."""

from collections.abc import Mapping
from typing import Any

from sharpwave.infra.operate.agents import Wishes
from sharpwave.schemas.patterns import PatternDefinition

PREFIX = "chaos"
SUBSCRIBED = "RUMOUR"
SIGNAL_TYPES = ("WHALE_ACTIVITY", "PRICE_MOVE", "RISK_ALERT")
DECISION_TYPES = ("TRADE", "ASSESSMENT")
NOBODY = "nobody"
"""An agent that signals are sent to and that never registered."""

#: Agents on the SDK.
AGENTS: dict[str, Wishes] = {
    "scout": Wishes(may_broadcast=True),
    "hunter": Wishes(may_broadcast=True),
    "analyst": Wishes(subscriptions=[SUBSCRIBED]),
    "auditor": Wishes(subscriptions=[SUBSCRIBED]),
    "trader": Wishes(),
    "keeper": Wishes(),
    "warden": Wishes(),
    "broker": Wishes(),
    "courier": Wishes(),
}
BROADCASTERS = tuple(name for name, wishes in AGENTS.items() if wishes.may_broadcast)
STRANGERS = ("drifter", "hermit")
"""Agents that write decisions and memories and never register."""

STEADY, FLOOD = "steady", "flood"
#: Sources with a limit, in signals per minute: one stays below it, one never does.
LIMITS: Mapping[str, int] = {STEADY: 40, FLOOD: 10}

HUNCH, CALM, LATECOMER = "hunch", "calm_market", "latecomer"


def plain(number: int) -> str:
    """Name a plain agent: one without the SDK, of which there are many."""
    return f"plain-{number:03d}"


def joiner(number: int) -> str:
    """Name an agent that registers in mid-run."""
    return f"joiner-{number:03d}"


def registered(crowd: int, *, limits: bool) -> dict[str, Wishes]:
    """Give everyone who is registered before a run begins; each tenth plain agent subscribes."""
    every_tenth = {
        plain(n): Wishes(subscriptions=[SUBSCRIBED]) if n % 10 == 0 else Wishes()
        for n in range(crowd)
    }
    limited = {name: Wishes(signals_per_minute=most) for name, most in LIMITS.items()}
    return {**AGENTS, **every_tenth, **(limited if limits else {})}


def plain_agents(crowd: int, joiners: int, *, limits: bool) -> list[str]:
    """List all agents that one process drains, those that have yet to register too."""
    names = [name for name in registered(crowd, limits=limits) if name not in AGENTS]
    return [*names, *(joiner(number) for number in range(joiners))]


def patterns() -> list[PatternDefinition]:
    """Give one pattern of an agent's own, by name, and one of a domain, by a condition."""
    return [_pattern(HUNCH), _pattern(CALM, mood="calm")]


def edits() -> list[PatternDefinition]:
    """Give what operators import in mid-run, in order: changed, new, and changed again."""
    return [_pattern(CALM, mood="wild"), _pattern(LATECOMER, mood="calm"), _pattern(CALM)]


def _pattern(pattern_id: str, *, mood: str = "") -> PatternDefinition:
    said: dict[str, Any] = {"pattern_id": pattern_id}
    if mood:
        said["conditions"] = [{"path": "context.mood", "op": "eq", "value": mood}]
    if pattern_id == CALM:
        said |= {"decision_type": "TRADE", "domain": "chaos", "shared_with": ["keeper"]}
    else:
        said |= {"decision_type": "ASSESSMENT", "agent_id": "trader"}
    return PatternDefinition.model_validate(said)
