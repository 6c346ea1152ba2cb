"""Finding other agents: what they registered for, and whether they are alive."""

from dataclasses import dataclass

from sharpwave.producers.call import Identity, Operation
from sharpwave.producers.operations import storage
from sharpwave.producers.operations.storage import Item
from sharpwave.schemas import keys, tables

_MOST = 10_000


@dataclass(frozen=True, kw_only=True)
class Peer:
    """A registered agent.

    Attributes:
        agent_id: its id.
        capabilities: what it says others may ask of it.
        registered_at: in epoch seconds.
        last_seen: when it last did anything by the SDK, in epoch seconds and to the minute; None
            if never, or not within a month.
    """

    agent_id: str
    capabilities: tuple[str, ...]
    registered_at: int
    last_seen: int | None


def agents(
    me: Identity, /, *, capability: str | None = None, alive_within_s: float | None = None
) -> Operation[list[Peer]]:
    """Find registered agents, the one seen last first; this one is among them.

    Workers list an agent moments after it registered, and a removed one no more. Reads the whole
    list, at a read unit for about 60 agents, and a sign of life of each that has the capability.

    Args:
        capability: only agents that registered with it.
        alive_within_s: only agents seen within so many seconds; a living one leaves a sign each
            minute, so ask for no less than 120.
    """
    table = me.table(tables.MEMORY)
    request = storage.query(table, ("PK", keys.REGISTRY_PK), newest_first=False)

    def pick(item: Item) -> Item | None:
        return item if capability is None or capability in item.get("capabilities", ()) else None

    found = yield from storage.select(request, pick, limit=_MOST)
    signs = yield from storage.fetch(table, [keys.seen(item["SK"]) for item in found])
    peers = []
    for item in found:
        sign = signs.get(keys.seen(item["SK"]))
        peers.append(
            Peer(
                agent_id=item["SK"],
                capabilities=tuple(item.get("capabilities", ())),
                registered_at=int(item["registered_at"]),
                last_seen=None if sign is None else int(sign["last_seen"]),
            )
        )
    since = None if alive_within_s is None else me.clock() - alive_within_s
    living = [each for each in peers if since is None or (each.last_seen or 0) >= since]
    return sorted(living, key=lambda each: (-(each.last_seen or 0), each.agent_id))
