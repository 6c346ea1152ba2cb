"""What an agent remembers, short-term and long-term."""

from collections.abc import Iterator
from itertools import islice

from sharpwave.infra.connection import Deployment
from sharpwave.infra.errors import Misused
from sharpwave.infra.operate.agents import check_agent_id
from sharpwave.infra.operate.items import Item, Items
from sharpwave.schemas import keys
from sharpwave.schemas.tables import MEMORY, STATE

KINDS = ("recent", "patterns", "shared", "facts", "episodes", "strategies")


def recall(
    deployment: Deployment, agent_id: str, *, kinds: tuple[str, ...] = KINDS, limit: int = 20
) -> dict[str, list[Item]]:
    """Read what an agent remembers, newest first, at most `limit` of each kind.

    `recent` is short-term memory; `shared` are copies of others' patterns.

    Raises:
        Misused: the agent's id or a kind cannot be.
    """
    check_agent_id(agent_id)
    unknown = [kind for kind in kinds if kind not in KINDS]
    if unknown:
        raise Misused(f"{unknown[0]!r} is no kind of memory; there are {', '.join(KINDS)}")
    items = Items(deployment)
    return {kind: list(islice(_kind(items, agent_id, kind), limit)) for kind in kinds}


def _kind(items: Items, agent_id: str, kind: str) -> Iterator[Item]:
    if kind == "recent":
        partitions = [keys.memory_pk(agent_id, name) for name in keys.MEMORY_TYPES]
        entries = [entry for pk in partitions for entry in items.query(STATE, pk)]
        return iter(sorted(entries, key=lambda entry: str(entry["SK"]), reverse=True))
    partition = {
        "patterns": keys.pattern_pk(agent_id),
        "shared": keys.shared_with_pk(agent_id),
        "facts": keys.fact_pk(agent_id),
        "episodes": keys.episode_pk(agent_id),
        "strategies": keys.strategy_pk(agent_id),
    }[kind]
    found = items.query(MEMORY, partition, newest_first=True)
    return (item for item in found if item.get("memory_type") != "PATTERN_VERSION")
