"""What the agents know of their patterns: recalled now and then, sampled for the picture."""

import threading
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from sharpwave.infra.demo.ports import Agent
from sharpwave.schemas.patterns import PatternDefinition, PatternRow

#: An agent follows a pattern from this confidence on.
FOLLOWED = 0.5


@dataclass(frozen=True, slots=True)
class Standing:
    """A pattern's figures at one moment; shares from 0 to 1, None before the first outcome.

    `as_of` is the latest market day that they count.
    """

    pattern_id: str
    n: int
    successes: int
    rate: float | None
    interval: tuple[float, float] | None
    confidence: float | None
    base_rate: float | None
    as_of: str | None = None


@dataclass(frozen=True, slots=True)
class Sample:
    """A pattern's figures as they stood when its counts had reached `day`."""

    day: str
    standing: Standing


class Knowledge:
    """The patterns each agent has recalled, with their confidence; safe from several threads."""

    def __init__(self, definitions: Sequence[PatternDefinition]) -> None:
        self.definitions = {one.pattern_id: one for one in definitions}
        self.domain = definitions[0].domain if definitions else "general"
        self.samples: list[Sample] = []
        self.standings: dict[str, Standing] = {}
        self._lock = threading.Lock()
        self._confidence: dict[str, dict[str, float]] = {}

    def recall(self, agents: Mapping[str, Agent], day: str) -> None:
        """Ask every agent for the patterns it can read, and keep what they say."""
        for agent_id, agent in agents.items():
            found = [_standing(row) for row in agent.patterns(domain=self.domain)]
            ours = [one for one in found if one.pattern_id in self.definitions]
            with self._lock:
                self._confidence[agent_id] = {
                    one.pattern_id: one.confidence for one in ours if one.confidence is not None
                }
                self.standings.update(
                    (one.pattern_id, one) for one in ours if self._speaks_for(agent_id, one)
                )
        with self._lock:
            self.samples.extend(Sample(one.as_of or day, one) for one in self.standings.values())

    def trusted(self, agent_id: str) -> list[str]:
        """Name the patterns that an agent follows, by what it last recalled."""
        with self._lock:
            known = self._confidence.get(agent_id, {})
            return [name for name, confidence in known.items() if confidence >= FOLLOWED]

    def applied(self, agent_id: str, decision: Mapping[str, Any]) -> list[str]:
        """Name the trusted patterns that an agent's decision falls under."""
        return sorted(name for name in self.trusted(agent_id) if self._covers(name, decision))

    def _covers(self, pattern_id: str, decision: Mapping[str, Any]) -> bool:
        definition = self.definitions[pattern_id]
        return (
            definition.conditions is not None
            and definition.decision_type == decision["decision_type"]
            and definition.conditions.matches(decision)
        )

    def _speaks_for(self, agent_id: str, standing: Standing) -> bool:
        """Prefer the owner's own row to the copy which others were given."""
        owner = self.definitions[standing.pattern_id].agent_id
        return owner in (None, agent_id)


def _standing(row: PatternRow) -> Standing:
    interval = row.interval
    return Standing(
        pattern_id=row.pattern_id,
        n=row.sample_size,
        successes=row.successes,
        rate=_float(row.success_rate),
        interval=None if interval is None else (float(interval[0]), float(interval[1])),
        confidence=_float(row.confidence),
        base_rate=_float(row.base_rate),
        as_of=row.as_of,
    )


def _float(value: Any) -> float | None:
    return None if value is None else float(value)
