"""What the replay needs of an agent, of a delivery and of the pipeline.

`sharpwave.producers.Agent` and its deliveries have it; a test brings its own.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from types import TracebackType
from typing import Any, Literal, Protocol, Self

from sharpwave.schemas.messages import SignalMessage
from sharpwave.schemas.patterns import PatternDefinition, PatternRow
from sharpwave.schemas.records import DecisionRecord, SignalRecord
from sharpwave.schemas.status import Status

Content = Mapping[str, Any]
MemoryType = Literal["CONTEXT", "QUERY", "SIGNAL", "NOTE"]


class Row(Protocol):
    """One inbox row, as its agent reads it back."""

    @property
    def signal_id(self) -> str:
        """Name the signal."""


class Delivery(Protocol):
    """One signal in an agent's inbox."""

    @property
    def message(self) -> SignalMessage:
        """Give the signal."""

    def ack(self, *, reason: str | None = None) -> object:
        """Acknowledge the signal."""

    def decide(
        self,
        decision_type: str,
        /,
        *,
        context: Content,
        inputs: Content,
        reasoning: Content,
        event_time: str | None,
    ) -> DecisionRecord:
        """Write a decision and acknowledge: both or neither."""

    def __enter__(self) -> Self: ...

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
        /,
    ) -> None: ...


class Agent(Protocol):
    """One agent, connected to the pipeline."""

    def register(self, *, subscriptions: Sequence[str], may_broadcast: bool) -> object:
        """Say what the agent may send and wants to receive."""

    def inbox(self, *, wait_s: int, until: Callable[[], bool]) -> Iterator[Delivery]:
        """Give signals as they come, until told to stop."""

    def signal(
        self,
        signal_type: str,
        /,
        *,
        to: str | Sequence[str],
        data: Content,
        severity: str | None = None,
        confidence: float | None = None,
        recommended_action: str | None = None,
        event_time: str | None = None,
    ) -> SignalRecord:
        """Send a signal."""

    def decide(
        self,
        decision_type: str,
        /,
        *,
        context: Content,
        inputs: Content,
        reasoning: Content,
        event_time: str | None,
    ) -> DecisionRecord:
        """Write a decision."""

    def record_outcome(
        self, decision: DecisionRecord, /, *, success: bool, quality_score: float, move: float
    ) -> object:
        """Write what came of a decision."""

    def correct_outcome(
        self, decision: DecisionRecord, /, *, success: bool, quality_score: float, move: float
    ) -> object:
        """Write that something else came of a decision."""

    def remember(self, memory_type: MemoryType, data: Content, /, *, importance: float) -> object:
        """Write an entry of short-term memory."""

    def get_signals_for_agent(self, *, status: Status, limit: int) -> Sequence[Row]:
        """Read the agent's inbox rows."""

    def recall(self, *, limit: int) -> Sequence[object]:
        """Read facts in long-term memory."""

    def patterns(self, *, domain: str) -> Sequence[PatternRow]:
        """Read patterns with their figures."""


#: Imports definitions; gives the epoch seconds from which they count decisions.
Import = Callable[[Sequence[PatternDefinition]], float]


@dataclass(frozen=True, slots=True, kw_only=True)
class Pipeline:
    """What the replay may ask of the pipeline beside its agents.

    Attributes:
        import_patterns: imports definitions.
        backlog: messages waiting in the work queues.
        agent_calls: AWS calls made by the agents so far.
        worker_calls: AWS calls that workers and pump have reported so far.
        promote_importance: memory entries from this importance on are promoted within the replay;
            at 0 it is every entry.
    """

    import_patterns: Import
    backlog: Callable[[], int] = lambda: 0
    agent_calls: Callable[[], int] = lambda: 0
    worker_calls: Callable[[], int] = lambda: 0
    promote_importance: float = 0.0
