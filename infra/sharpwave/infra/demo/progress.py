"""How far a replay is, and what came of it."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from sharpwave.infra.demo.knowledge import Sample, Standing


@dataclass(frozen=True, slots=True, kw_only=True)
class Progress:
    """The live counters.

    Attributes:
        phase: `getting ready`, `replaying` or `settling`.
        day: the market day reached; None before the first.
        done_days: market days replayed.
        total_days: market days to replay.
        written: deliveries that the signals written ask for.
        delivered: deliveries that reached their agent.
        processed: deliveries acknowledged.
        records: records written, by kind.
        p50_ms: median time from write to receipt; None before the first receipt.
        standings: the patterns as last recalled.
    """

    phase: str
    day: str | None = None
    done_days: int = 0
    total_days: int = 0
    written: int = 0
    delivered: int = 0
    processed: int = 0
    records: Mapping[str, int]
    p50_ms: float | None = None
    standings: Sequence[Standing] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """What a replay found, from its own books and from what the pipeline stored.

    Attributes:
        first_day: first market day replayed.
        last_day: last market day replayed.
        days: market days replayed; fewer than `planned_days` when time ran out.
        planned_days: market days that were to be replayed.
        seconds: from the first write to the last acknowledgement and outcome.
        records: records written, by kind: signals, decisions, outcomes, corrections, memories.
        written: deliveries that the signals written ask for.
        delivered: deliveries that reached their agent.
        processed: inbox rows that say PROCESSED, as the agents read them back.
        lost: deliveries that never came.
        doubled: deliveries handed over more than once.
        unresolved: decisions whose outcome lies beyond the last day.
        promoted: memory entries found in long-term memory.
        latencies_ms: from write to receipt, sorted.
        agent_calls: AWS calls made by the agents.
        worker_calls: AWS calls made by workers and pump.
        standings: the patterns as the pipeline has them.
        samples: the patterns as they stood along the way.
        disagreements: where the pipeline and the replay's own books differ, in words.
    """

    first_day: str
    last_day: str
    days: int
    planned_days: int
    seconds: float
    records: Mapping[str, int]
    written: int
    delivered: int
    processed: int
    lost: int
    doubled: int
    unresolved: int
    promoted: int
    latencies_ms: Sequence[float]
    agent_calls: int
    worker_calls: int
    standings: Sequence[Standing]
    samples: Sequence[Sample]
    disagreements: Sequence[str]

    @property
    def events(self) -> int:
        """Count the records the agents wrote."""
        return sum(self.records.values())
