"""The replay: one driver walks the market's days while five agents receive and react."""

import threading
import time
from collections.abc import Callable, Mapping, Sequence

from sharpwave.infra.demo import patterns as lore
from sharpwave.infra.demo.acting import Stage
from sharpwave.infra.demo.drafts import AGENTS, MARKET_HUNTER
from sharpwave.infra.demo.errors import PipelineNotReady
from sharpwave.infra.demo.features import WINDOW, Market
from sharpwave.infra.demo.knowledge import Knowledge
from sharpwave.infra.demo.market import MarketDay, starting_at
from sharpwave.infra.demo.ports import Agent, Pipeline
from sharpwave.infra.demo.progress import Outcome, Progress
from sharpwave.infra.demo.receivers import Receivers
from sharpwave.infra.demo.settling import Meter, Settling
from sharpwave.infra.demo.strategies import MAY_BROADCAST, SUBSCRIPTIONS

#: Deliveries under way at most; about three market days, so that a latency is not a queue's depth.
MAX_IN_FLIGHT = 16
MAX_BACKLOG = 60
BACKLOG_EVERY = 5
CHECK_S = 0.2
READY_S = 30.0
SETTLE_S = 60.0
SAMPLES = 25

Observe = Callable[[Progress], None]


def replay(
    days: Sequence[MarketDay],
    *,
    agents: Mapping[str, Agent],
    pipeline: Pipeline,
    observe: Observe,
    deadline_s: float,
    settle_s: float = SETTLE_S,
    count: int | None = None,
) -> Outcome:
    """Replay the latest `count` market days; every day with enough past when it is None.

    The agents register themselves; their queues are made if they are missing. After the last
    day, or when the time is up, it waits until every delivery is acknowledged, every outcome is
    counted and every memory is promoted, at most `settle_s` seconds beyond the deadline.

    Args:
        days: the history, oldest first.
        agents: the five agents by their id.
        pipeline: the running pipeline.
        observe: told how far it is, at least once a day.
        deadline_s: seconds after which no further day is begun.
        settle_s: how long what is under way may take.
        count: days to replay.

    Raises:
        PipelineNotReady: the patterns or the agents were not known in time.
        AgentFailed: an agent's own code raised.
        ValueError: the history is too short, or an agent is missing.
    """
    start = starting_at(days, count, warmup=WINDOW)
    if start >= len(days) or set(agents) != set(AGENTS):
        raise ValueError(f"a replay needs {', '.join(AGENTS)} and more than {WINDOW} days")
    return _Replay(days, agents, pipeline, observe).run(start, deadline_s, settle_s)


class _Replay:
    def __init__(
        self,
        days: Sequence[MarketDay],
        agents: Mapping[str, Agent],
        pipeline: Pipeline,
        observe: Observe,
    ) -> None:
        self.agents, self.pipeline, self.observe = agents, pipeline, observe
        self.market = Market(days)
        self.knowledge = Knowledge(lore.imported())
        self.stage = Stage(self.market, agents, self.knowledge)

    def run(self, start: int, deadline_s: float, settle_s: float) -> Outcome:
        stage, deadline = self.stage, time.monotonic() + deadline_s
        self.observe(Progress(phase="getting ready", records=stage.written))
        with Receivers(self.agents, stage.receive) as receivers:
            since = self._get_ready()
            meter = Meter(self.pipeline)
            done = self._walk(start, deadline, receivers)
            settling = Settling(
                stage,
                since=since,
                promote_importance=self.pipeline.promote_importance,
                deadline=deadline + settle_s,
                observe=lambda: self._report("settling", start, done),
            )
            settling.drain(self.market.days[:done], receivers)
            meter.agents_are_done()
            settling.settle(receivers)
            meter.workers_are_done()
        return settling.outcome(start, done, meter)

    def _get_ready(self) -> float:
        """Register everyone and import the patterns; gives the epoch seconds they count from."""
        for agent_id, agent in self.agents.items():
            agent.register(
                subscriptions=SUBSCRIPTIONS[agent_id], may_broadcast=agent_id in MAY_BROADCAST
            )
        since = self.pipeline.import_patterns(lore.imported())
        self.stage.roll.hold(self.agents, deadline_s=READY_S)
        wait_s = since - time.time()
        if wait_s > READY_S:
            raise PipelineNotReady("the imported patterns count no decision yet", waited_s=READY_S)
        if wait_s > 0:
            threading.Event().wait(wait_s)
        return since

    def _walk(self, start: int, deadline: float, receivers: Receivers) -> int:
        """Replay day after day; gives the index after the last day replayed."""
        days = self.market.days
        every = max(1, (len(days) - start) // SAMPLES)
        for index in range(start, len(days)):
            if not self._await_turn(index, deadline, receivers):
                return index
            for resolution in self.stage.book.resolve(days[: index + 1]):
                self.stage.record(resolution)
            self.stage.open_day(MARKET_HUNTER, index)
            if (index - start) % every == 0:
                self.knowledge.recall(self.agents, days[index].day.isoformat())
            self._report("replaying", start, index + 1)
        return len(days)

    def _await_turn(self, index: int, deadline: float, receivers: Receivers) -> bool:
        """Wait until the pipeline has caught up enough for one more day; False when time is up."""
        while time.monotonic() < deadline:
            receivers.check()
            if not self.stage.deliveries.wait_until_open(MAX_IN_FLIGHT, CHECK_S):
                continue
            if index % BACKLOG_EVERY or self.pipeline.backlog() <= MAX_BACKLOG:
                return True
            threading.Event().wait(CHECK_S)
        return False

    def _report(self, phase: str, start: int, done: int) -> None:
        deliveries = self.stage.deliveries
        self.observe(
            Progress(
                phase=phase,
                day=self.market.days[done - 1].day.isoformat(),
                done_days=done - start,
                total_days=len(self.market.days) - start,
                written=deliveries.due,
                delivered=deliveries.delivered,
                processed=deliveries.processed,
                records=self.stage.written,
                p50_ms=deliveries.recent_p50_ms(),
                standings=list(self.knowledge.standings.values()),
            )
        )
