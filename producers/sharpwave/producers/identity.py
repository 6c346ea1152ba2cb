"""Who an agent is, where its tables and queue are, and what it counted."""

import logging
import re
from collections import Counter
from dataclasses import dataclass, field

from sharpwave.schemas import queues, tables
from sharpwave.schemas.ids import NAME_PREFIX
from sharpwave.schemas.times import Clock, now

log = logging.getLogger("sharpwave.producers")


@dataclass(frozen=True)
class Identity:
    """What every operation knows about the agent that runs it.

    `counters` counts what was dropped or taken from elsewhere: `forged`, `unreadable`,
    `deduplicated`, `undecodable`, `skipped`, `dax_reads` and `dax_fallbacks`.
    """

    agent_id: str
    prefix: str = ""
    strict: bool = True
    agent_version: str | None = None
    clock: Clock = now
    counters: Counter[str] = field(default_factory=Counter)

    def __post_init__(self) -> None:
        queues.inbox(self.agent_id)
        if re.fullmatch(NAME_PREFIX, self.prefix) is None:
            raise ValueError(f"{self.prefix!r} is no prefix; use at most 20 of a-z, 0-9 and '-'")

    def table(self, name: str) -> str:
        """Give the name a table has at AWS."""
        return tables.physical(name, self.prefix)

    @property
    def inbox_name(self) -> str:
        """Give the name the agent's inbox queue has at AWS."""
        return tables.physical(queues.inbox(self.agent_id).name, self.prefix)

    def now(self) -> int:
        """Give the time in whole epoch seconds."""
        return int(self.clock())
