"""Who has written decisions, registered or not: who is swept, and who is in a base rate."""

from collections.abc import Iterable
from threading import Lock

from sharpwave.schemas import keys, tables
from sharpwave.schemas.times import Clock
from sharpwave.workers.ports import Insert, Write, Writes

#: An entry that was removed with an agent's data is there again so soon after its next decision.
_REMEMBERED_S = 600.0


class Writers:
    """Keeps the list of agents that wrote decisions of each type; safe to share."""

    def __init__(self, *, writes: Writes, clock: Clock) -> None:
        """Write to the lists through `writes`."""
        self._writes, self._clock = writes, clock
        self._noted: dict[tuple[str, str], float] = {}
        self._lock = Lock()

    def note(self, writers: Iterable[tuple[str, str]]) -> None:
        """Put agents on the lists, each as (type, agent), that this process has not put there."""
        now = self._clock()
        with self._lock:
            new = [
                each for each in set(writers) if now - self._noted.get(each, -1e9) > _REMEMBERED_S
            ]
        if not new:
            return
        entries: list[Write] = [
            Insert(
                tables.MEMORY,
                {**keys.writer(*each).item(), "decision_type": each[0], "agent_id": each[1]},
            )
            for each in sorted(new)
        ]
        entries += [
            Insert(tables.PIPELINE, {**keys.known_agent(agent).item(), "agent_id": agent})
            for agent in sorted({agent for _, agent in new})
        ]
        self._writes.apply(entries)
        with self._lock:
            self._noted = {k: at for k, at in self._noted.items() if now - at <= _REMEMBERED_S}
            self._noted |= dict.fromkeys(new, now)
