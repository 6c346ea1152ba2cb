"""After the last day: wait for what is under way, then compare the pipeline with our own books."""

import threading
import time
from collections.abc import Callable, Sequence

from sharpwave.infra.demo.acting import Stage
from sharpwave.infra.demo.knowledge import Standing
from sharpwave.infra.demo.market import MarketDay
from sharpwave.infra.demo.ports import Pipeline
from sharpwave.infra.demo.progress import Outcome
from sharpwave.infra.demo.receivers import Receivers

PACE_S = 0.5
_EVERYTHING = 1_000_000


class Meter:
    """Time and AWS calls of the replay; the agents' reads for the comparison are not counted."""

    def __init__(self, pipeline: Pipeline) -> None:
        self._pipeline = pipeline
        self._began = time.monotonic()
        self._agents, self._workers = pipeline.agent_calls(), pipeline.worker_calls()
        self.seconds, self.agent_calls, self.worker_calls = 0.0, 0, 0

    def agents_are_done(self) -> None:
        """Stop the clock, and the count of the agents' calls."""
        self.seconds = time.monotonic() - self._began
        self.agent_calls = self._pipeline.agent_calls() - self._agents

    def workers_are_done(self) -> None:
        """Stop the count of the workers' calls."""
        self.worker_calls = self._pipeline.worker_calls() - self._workers


class Settling:
    """Waits for the pipeline to come to rest, up to `deadline` on the monotonic clock."""

    def __init__(
        self,
        stage: Stage,
        *,
        since: float,
        promote_importance: float,
        deadline: float,
        observe: Callable[[], None],
    ) -> None:
        self._stage = stage
        self._ripe_from = promote_importance
        self._since = since
        self._deadline = deadline
        self._observe = observe
        self._processed = 0
        self._promoted = 0
        self._last_day = ""

    def drain(self, known: Sequence[MarketDay], receivers: Receivers) -> None:
        """Wait until every delivery is acknowledged, then write the outcomes still owed.

        Raises:
            AgentFailed: an agent's own code raised.
        """
        self._last_day = known[-1].day.isoformat()
        while time.monotonic() < self._deadline:
            receivers.check()
            self._observe()
            if self._stage.deliveries.wait_until_open(0, PACE_S):
                break
        for resolution in self._stage.book.resolve(known):
            self._stage.record(resolution)

    def settle(self, receivers: Receivers) -> None:
        """Wait until the pipeline's figures equal our own.

        Raises:
            AgentFailed: an agent's own code raised.
        """
        pause = threading.Event()
        while True:
            receivers.check()
            self._read_back()
            self._observe()
            if not self._disagreements() or time.monotonic() > self._deadline:
                return
            pause.wait(PACE_S)

    def outcome(self, start: int, done: int, meter: Meter) -> Outcome:
        """Sum the replay up; `start` and `done` are the first index and the one after the last."""
        stage, days = self._stage, self._stage.market.days
        return Outcome(
            first_day=days[start].day.isoformat(),
            last_day=self._last_day,
            days=done - start,
            planned_days=len(days) - start,
            seconds=meter.seconds,
            records=stage.written,
            written=stage.deliveries.due,
            delivered=stage.deliveries.delivered,
            processed=self._processed,
            lost=len(stage.deliveries.lost),
            doubled=len(stage.deliveries.doubled),
            unresolved=stage.book.unresolved,
            promoted=self._promoted,
            latencies_ms=stage.deliveries.latencies_ms(),
            agent_calls=meter.agent_calls,
            worker_calls=meter.worker_calls,
            standings=self._standings(),
            samples=list(stage.knowledge.samples),
            disagreements=self._disagreements(),
        )

    def _read_back(self) -> None:
        agents = self._stage.agents
        self._stage.knowledge.recall(agents, self._last_day)
        self._promoted = sum(len(agent.recall(limit=_EVERYTHING)) for agent in agents.values())
        if self._processed < self._stage.deliveries.due:
            self._processed = sum(
                self._stage.deliveries.is_due(view.signal_id, agent_id)
                for agent_id, agent in agents.items()
                for view in agent.get_signals_for_agent(status="PROCESSED", limit=_EVERYTHING)
            )

    def _standings(self) -> list[Standing]:
        known = self._stage.knowledge.standings
        return [known[name] for name in self._stage.knowledge.definitions if name in known]

    def _disagreements(self) -> list[str]:
        """Say in words where the pipeline and our own books differ."""
        deliveries = self._stage.deliveries
        ripe = self._stage.remembered(self._ripe_from)
        found = [f"{one.signal_id} reached {one.target} unasked" for one in deliveries.strays]
        if self._processed != deliveries.due:
            found.append(f"{self._processed} of {deliveries.due} inbox rows say PROCESSED")
        if self._promoted != ripe:
            found.append(f"{ripe} memories became {self._promoted} facts")
        return found + self._miscounts()

    def _miscounts(self) -> list[str]:
        found = []
        for name, definition in self._stage.knowledge.definitions.items():
            ours = self._stage.book.expected(definition, since=self._since)
            theirs = self._stage.knowledge.standings.get(name)
            stored = (theirs.n, theirs.successes) if theirs else (0, 0)
            if stored != ours:
                found.append(
                    f"{name} has {stored[1]} successes of {stored[0]}; the agents recorded"
                    f" {ours[1]} of {ours[0]}"
                )
        return found
