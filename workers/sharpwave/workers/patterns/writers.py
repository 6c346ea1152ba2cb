"""Who has written, registered or not: who is swept, and who is in a base rate."""

from collections.abc import Iterable, Sequence
from math import inf
from threading import Lock

from sharpwave.schemas import keys, tables
from sharpwave.schemas.times import Clock
from sharpwave.workers.ports import Insert, Location, Update, Write, Writes

#: An entry that was removed with an agent's data is there again so soon after its next decision.
_REMEMBERED_S = 600.0
#: On the list of agents, the attribute of those who wrote a decision or a memory.
_WRITES = "writes"


class Writers:
    """Keeps the lists of agents that wrote something, by type those of decisions; safe to share."""

    def __init__(self, *, writes: Writes, clock: Clock) -> None:
        """Write to the lists through `writes`."""
        self._writes, self._clock = writes, clock
        self._noted: dict[Location, float] = {}
        self._lock = Lock()

    def note(self, writers: Iterable[tuple[str, str]]) -> None:
        """Put agents on the lists, each as (type, agent), that this process has not put there."""
        found = sorted(set(writers))
        entries = [
            Insert(
                tables.MEMORY,
                {**keys.writer(*each).item(), "decision_type": each[0], "agent_id": each[1]},
            )
            for each in found
        ]
        self._put([*entries, *map(_agent, sorted({agent for _, agent in found}))])

    def note_agents(self, agent_ids: Iterable[str]) -> None:
        """Put agents on the list of all that this process has not put there."""
        self._put([_agent(name) for name in sorted(set(agent_ids))])

    def _put(self, entries: Sequence[Insert]) -> None:
        now = self._clock()
        with self._lock:
            new = [e for e in entries if now - self._noted.get(e.location, -inf) > _REMEMBERED_S]
        if not new:
            return
        fresh = self._writes.apply(new)
        # Who registered before it wrote is on the list of agents, but not as one who writes.
        registered: list[Write] = [
            Update(entry.location, {_WRITES: True}, missing=(_WRITES,))
            for entry, is_new in zip(new, fresh, strict=True)
            if not is_new and _WRITES in entry.item
        ]
        if registered:
            self._writes.apply(registered)
        with self._lock:
            self._noted = {k: at for k, at in self._noted.items() if now - at <= _REMEMBERED_S}
            self._noted |= {entry.location: now for entry in new}


def _agent(agent_id: str) -> Insert:
    entry = {**keys.known_agent(agent_id).item(), "agent_id": agent_id, _WRITES: True}
    return Insert(tables.PIPELINE, entry)
