"""Who takes part in a run: agents, what they subscribe to, and the patterns they are counted by."""

from sharpwave.infra.agents_admin import Wishes
from sharpwave.schemas.patterns import PatternDefinition

PREFIX = "chaos"
SUBSCRIBED = "RUMOUR"
SIGNAL_TYPES = ("WHALE_ACTIVITY", "PRICE_MOVE", "RISK_ALERT")
DECISION_TYPES = ("TRADE", "ASSESSMENT")
NOBODY = "nobody"
"""An agent that signals are sent to and that never registered."""

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
SUBSCRIBERS = tuple(name for name, wishes in AGENTS.items() if wishes.subscriptions)

HUNCH, CALM = "hunch", "calm_market"


def patterns() -> list[PatternDefinition]:
    """Give one pattern of an agent's own, by name, and one of a domain, by a condition."""
    condition = {"path": "context.mood", "op": "eq", "value": "calm"}
    own = {"pattern_id": HUNCH, "agent_id": "trader", "decision_type": "ASSESSMENT"}
    shared = {"pattern_id": CALM, "decision_type": "TRADE", "conditions": [condition]}
    return [
        PatternDefinition.model_validate(each)
        for each in (own, {**shared, "domain": "chaos", "shared_with": ["keeper"]})
    ]
