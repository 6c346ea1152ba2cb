"""The replay: one driver walks the market's days while five agents receive and react.

Whatever the agents write is noted in books of its own, and at the end the pipeline has to agree
with them: every delivery once, every outcome counted, every memory promoted.
"""

import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, cast

from sharpwave.infra.demo.agents import (
    AGENTS,
    CAST,
    MAY_BROADCAST,
    PATTERNS,
    MarketHunter,
    audience,
)
from sharpwave.infra.demo.books import Decisions, Deliveries, Patterns, Sample
from sharpwave.infra.demo.market import WINDOW, Market, MarketDay, starting_at
from sharpwave.infra.demo.scene import Claim, Scene
from sharpwave.infra.demo.worth import acted, choices
from sharpwave.infra.errors import OperationFailed
from sharpwave.producers import Agent, Delivery
from sharpwave.schemas.patterns import PatternDefinition, PatternRow
from sharpwave.schemas.records import DecisionRecord

#: Deliveries under way at most; about three market days, so that a latency is not a queue's depth.
MAX_IN_FLIGHT = 16
MAX_BACKLOG, BACKLOG_EVERY = 60, 5
CHECK_S, AGAIN_S, PACE_S, READY_S, SETTLE_S = 0.2, 1.0, 0.5, 30.0, 60.0
#: Longest wait of one receive, in seconds: a stop takes this long.
WAIT_S = 2
SAMPLES = 25
#: Asks who is there before the replay starts; no part of it.
READY_CHECK = "READY_CHECK"
_EVERYTHING = 1_000_000


class AgentFailed(OperationFailed):
    """An agent raised while it handled a signal."""


class PipelineNotReady(OperationFailed):
    """The first signals did not arrive, or the patterns do not count yet."""

    def __init__(self, what: str, *, waited_s: float) -> None:
        """Say what was waited for, and for how long."""
        super().__init__(
            f"{what} after {waited_s:.0f} s; see `sharpwave queues` and `sharpwave doctor`"
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Pipeline:
    """What the replay may ask of the pipeline beside its agents."""

    # Imports definitions; gives the epoch seconds from which they count
    import_patterns: Callable[[Sequence[PatternDefinition]], float]
    backlog: Callable[[], int] = lambda: 0  # messages waiting in the work queues
    agent_calls: Callable[[], int] = lambda: 0  # AWS calls made by the agents so far
    # AWS calls that workers and pump have reported so far
    worker_calls: Callable[[], int] = lambda: 0
    # Memory entries from this importance on are promoted within the replay; at 0 it is every
    # entry
    promote_importance: float = 0.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Progress:
    """The live counters; `written`, `delivered` and `processed` count deliveries.

    `phase` is `getting ready`, `replaying` or `settling`; `day` is the market day reached.
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
    standings: Sequence[PatternRow] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """What a replay found, from its own books and from what the pipeline stored."""

    first_day: str
    last_day: str
    days: int  # market days replayed; fewer than planned when time ran out
    planned_days: int
    seconds: float  # from the first write to the last acknowledgement and outcome
    records: Mapping[str, int]  # signals, decisions, outcomes, corrections, memories written
    written: int  # deliveries that the signals written ask for
    delivered: int  # deliveries that reached their agent
    processed: int  # inbox rows that say PROCESSED, as the agents read them back
    lost: int  # deliveries that never came
    doubled: int  # deliveries handed over more than once
    unresolved: int  # decisions whose outcome lies beyond the last day
    promoted: int  # memory entries found in long-term memory
    latencies_ms: Sequence[float]  # from write to receipt, sorted
    agent_calls: int  # to AWS
    worker_calls: int  # to AWS, by workers and pump
    standings: Sequence[PatternRow]  # as the pipeline has them
    samples: Sequence[Sample]  # as they stood along the way
    choices: Mapping[str, Any]  # what choosing by memory was worth; see `worth`
    acted: Sequence[Mapping[str, Any]]  # what acting on proven patterns was worth
    disagreements: Sequence[str]  # between the pipeline and the replay's own books, in words

    @property
    def events(self) -> int:
        """Count the records the agents wrote."""
        return sum(self.records.values())


class RollCall:
    """Before the replay starts: every agent is registered, and every worker knows it.

    A signal to everyone, or to the subscribers, reaches whom the workers know at that moment. So
    one of each is sent until all have answered. Safe from several threads.
    """

    def __init__(self) -> None:
        self._answered = threading.Condition()
        (self._caller,) = MAY_BROADCAST
        others = [name for name in AGENTS if name != self._caller]
        self._missing = {(asked, name) for asked in ("*", "@subscribers") for name in others}

    def answer(self, agent_id: str, asked: str) -> None:
        """Note that a check addressed to `asked` reached an agent."""
        with self._answered:
            self._missing.discard((asked, agent_id))
            self._answered.notify_all()

    def hold(self, agents: Mapping[str, Agent], *, deadline_s: float) -> None:
        """Ask until every agent has answered both kinds of check.

        Raises:
            PipelineNotReady: somebody has not within `deadline_s` seconds.
        """
        for _ in range(max(1, int(deadline_s / AGAIN_S))):
            with self._answered:
                unanswered = sorted({asked for asked, _ in self._missing})
            for asked in unanswered:
                agents[self._caller].signal(READY_CHECK, to=asked, data={"to": asked})
            with self._answered:
                if self._answered.wait_for(lambda: not self._missing, AGAIN_S):
                    return
        silent = ", ".join(sorted({name for _, name in self._missing}))
        raise PipelineNotReady(f"no signal has reached {silent}", waited_s=deadline_s)


class _Watched:
    """An agent whose signals and memories the replay notes; in all else the agent itself."""

    def __init__(self, agent: Agent, notes: "Replay") -> None:
        self._agent, self._notes = agent, notes

    def __getattr__(self, name: str) -> Any:
        return getattr(self._agent, name)

    def signal(self, signal_type: str, *, to: Any, **fields: Any) -> Any:
        # Taken before the write: the target may have the signal before its sender has the answer.
        began = _now_ms()
        sent = self._agent.signal(signal_type, to=to, **fields)
        targets = audience(self._agent.agent_id, signal_type, to)
        index = self._notes.market.index_of(fields["event_time"])
        self._notes.deliveries.wrote(sent.signal_id, targets, began, index)
        self._notes.wrote("signals")
        return sent

    def remember(self, memory_type: Any, data: Any, *, importance: float) -> Any:
        kept = self._agent.remember(memory_type, data, importance=importance)
        self._notes.wrote("memories", importance)
        return kept


class Replay:
    """One replay of the latest `count` market days; every day with enough past when it is None.

    Args:
        days: the history, oldest first.
        agents: the five agents by their id.
        pipeline: the running pipeline.
        observe: told how far it is, at least once a day.
        count: days to replay.

    Raises:
        ValueError: the history is too short, or an agent is missing.
    """

    def __init__(
        self,
        days: Sequence[MarketDay],
        *,
        agents: Mapping[str, Agent],
        pipeline: Pipeline,
        observe: Callable[[Progress], None],
        count: int | None = None,
    ) -> None:
        start = starting_at(days, count, warmup=WINDOW)
        if start >= len(days) or set(agents) != set(AGENTS):
            raise ValueError(f"a replay needs {', '.join(AGENTS)} and more than {WINDOW} days")
        self.market, self.start, self.done = Market(days), start, start
        self.agents, self.pipeline, self.observe = agents, pipeline, observe
        self.cast = {
            name: CAST[name](cast(Agent, _Watched(one, self)), self._shown)
            for name, one in agents.items()
        }
        self.deliveries, self.decisions = Deliveries(), Decisions()
        self.patterns, self.roll = Patterns(PATTERNS), RollCall()
        self.processed = self.promoted = 0
        self._lock = threading.Lock()
        self._written: Counter[str] = Counter()
        self._importances: list[float] = []
        self._stop = threading.Event()
        self._failures: list[AgentFailed] = []

    def run(self, *, deadline_s: float, settle_s: float = SETTLE_S) -> Outcome:
        """Replay, then wait until the pipeline agrees with the books.

        The agents register themselves; their queues are made if they are missing.

        Args:
            deadline_s: seconds after which no further day is begun.
            settle_s: how long beyond it what is under way may take, until every delivery is
                acknowledged, every outcome counted and every memory promoted.

        Raises:
            PipelineNotReady: the patterns or the agents were not known in time.
            AgentFailed: an agent's own code raised.
        """
        deadline, pipeline = time.monotonic() + deadline_s, self.pipeline
        self.observe(Progress(phase="getting ready", records=self.written))
        with self._receiving():
            since = self._get_ready()
            began, by_agents = time.monotonic(), pipeline.agent_calls()
            by_workers = pipeline.worker_calls()
            self._walk(deadline)
            # Until every delivery is acknowledged; then the outcomes still owed are written.
            while time.monotonic() < deadline + settle_s:
                self._check()
                self._report("settling")
                if self.deliveries.wait_until_open(0, PACE_S):
                    break
            self._write_outcomes(self.done)
            # The reads for the comparison are neither the agents' work nor its time.
            seconds = time.monotonic() - began
            agent_calls = pipeline.agent_calls() - by_agents
            self._settle(since, deadline + settle_s)
            worker_calls = pipeline.worker_calls() - by_workers
        days, deliveries, stored = self.market.days, self.deliveries, self.patterns.standings
        return Outcome(
            first_day=days[self.start].day.isoformat(),
            last_day=self._last_day,
            days=self.done - self.start,
            planned_days=len(days) - self.start,
            seconds=seconds,
            records=self.written,
            written=deliveries.due,
            delivered=deliveries.delivered,
            processed=self.processed,
            lost=len(deliveries.lost),
            doubled=len(deliveries.doubled),
            unresolved=self.decisions.unresolved,
            promoted=self.promoted,
            latencies_ms=deliveries.latencies_ms(),
            agent_calls=agent_calls,
            worker_calls=worker_calls,
            standings=[stored[name] for name in self.patterns.definitions if name in stored],
            samples=list(self.patterns.samples),
            choices=choices(self.decisions.resolved()),
            acted=acted(self.decisions.resolved()),
            disagreements=self._disagreements(since),
        )

    @property
    def written(self) -> dict[str, int]:
        """Count the records written, by kind: signals, decisions, outcomes ..."""
        with self._lock:
            return dict(self._written)

    def wrote(self, kind: str, importance: float | None = None) -> None:
        """Count a record; a memory with its importance."""
        with self._lock:
            self._written[kind] += 1
            if importance is not None:
                self._importances.append(importance)

    # The agents, each in a thread of its own

    @contextmanager
    def _receiving(self) -> Iterator[None]:
        threads = [
            threading.Thread(target=self._serve, args=(name,), name=name, daemon=True)
            for name in self.agents
        ]
        for thread in threads:
            thread.start()
        try:
            yield
        finally:
            self._stop.set()
            for thread in threads:
                thread.join(WAIT_S * 5)

    def _serve(self, agent_id: str) -> None:
        try:
            for delivery in self.agents[agent_id].inbox(wait_s=WAIT_S, until=self._stop.is_set):
                with delivery:
                    self._receive(agent_id, delivery)
        except Exception as error:
            failed = AgentFailed(
                f"{agent_id} failed with {type(error).__name__}: {error};"
                " the signal it had in hand stays in its queue"
            )
            failed.__cause__ = error
            self._failures.append(failed)

    def _receive(self, agent_id: str, delivery: Delivery) -> None:
        if delivery.signal_type == READY_CHECK:
            self.roll.answer(agent_id, str(delivery.data["to"]))
            delivery.ack(reason="present")
            return
        self.deliveries.handed(delivery.signal_id, agent_id, _now_ms())
        one = self.cast[agent_id]
        record = one.work(delivery)
        if record is not None and one.intent is not None:
            self._note(record, one.intent.claim, self._shown(delivery).index)
        # Settled by now: the book must not say it before the row does.
        self.deliveries.acknowledged(delivery.signal_id, agent_id)

    def _shown(self, delivery: Delivery) -> Scene:
        return self._scene(self.market.index_of(delivery.message.event_time or ""))

    def _scene(self, index: int) -> Scene:
        return Scene(self.market.at(index - 1), self.market.at(index), index)

    def _note(self, record: DecisionRecord, claim: Claim, index: int) -> None:
        self.decisions.add(record, claim, index)
        self.wrote("decisions")

    def _check(self) -> None:
        if self._failures:
            raise self._failures[0]

    # The driver

    def _get_ready(self) -> float:
        """Register everyone and import the patterns; gives the epoch seconds they count from."""
        for agent_id, agent in self.agents.items():
            agent.register(
                subscriptions=[*CAST[agent_id].subscriptions, READY_CHECK],
                may_broadcast=agent_id in MAY_BROADCAST,
            )
        since = self.pipeline.import_patterns(PATTERNS)
        self.roll.hold(self.agents, deadline_s=READY_S)
        wait_s = since - time.time()
        if wait_s > READY_S:
            raise PipelineNotReady("the imported patterns count no decision yet", waited_s=READY_S)
        threading.Event().wait(max(0.0, wait_s))
        return since

    def _walk(self, deadline: float) -> None:
        """Replay day after day until the last one, or until the time is up."""
        days, every = self.market.days, max(1, (len(self.market.days) - self.start) // SAMPLES)
        for index in range(self.start, len(days)):
            if not self._await_turn(index, deadline):
                return
            # Whoever is still at work on an earlier day must not learn from a later one.
            self._write_outcomes(self.deliveries.earliest_open(index) + 1)
            hunter = cast(MarketHunter, self.cast[MarketHunter.agent_id])
            self._note(*hunter.open_day(self._scene(index)), index)
            if (index - self.start) % every == 0:
                self.patterns.read(self.agents, days[index].day.isoformat())
            self.done = index + 1
            self._report("replaying")

    def _await_turn(self, index: int, deadline: float) -> bool:
        """Wait until the pipeline has caught up enough for one more day; False when time is up."""
        while time.monotonic() < deadline:
            self._check()
            if not self.deliveries.wait_until_open(MAX_IN_FLIGHT, CHECK_S):
                continue
            if index % BACKLOG_EVERY or self.pipeline.backlog() <= MAX_BACKLOG:
                return True
            threading.Event().wait(CHECK_S)
        return False

    def _write_outcomes(self, known: int) -> None:
        """Write the outcomes that the first `known` days decide, and nothing later."""
        for record, verdict, corrects in self.decisions.resolve(self.market.days[:known]):
            agent = self.agents[record.agent_id]
            write = agent.correct_outcome if corrects else agent.record_outcome
            write(record, success=verdict.success, quality_score=verdict.quality, move=verdict.move)
            self.wrote("corrections" if corrects else "outcomes")

    def _report(self, phase: str) -> None:
        self.observe(
            Progress(
                phase=phase,
                day=self._last_day,
                done_days=self.done - self.start,
                total_days=len(self.market.days) - self.start,
                written=self.deliveries.due,
                delivered=self.deliveries.delivered,
                processed=self.deliveries.processed,
                records=self.written,
                p50_ms=self.deliveries.recent_p50_ms(),
                standings=list(self.patterns.standings.values()),
            )
        )

    @property
    def _last_day(self) -> str:
        return self.market.days[self.done - 1].day.isoformat()

    # After the last day

    def _settle(self, since: float, deadline: float) -> None:
        """Read back what the pipeline stored until it equals our own books."""
        agents = self.agents
        while True:
            self._check()
            self.patterns.read(agents, self._last_day)
            self.promoted = sum(len(one.recall(limit=_EVERYTHING)) for one in agents.values())
            if self.processed < self.deliveries.due:
                self.processed = sum(
                    self.deliveries.is_due(row.signal_id, agent_id)
                    for agent_id, agent in agents.items()
                    for row in agent.get_signals_for_agent(status="PROCESSED", limit=_EVERYTHING)
                )
            self._report("settling")
            if not self._disagreements(since) or time.monotonic() > deadline:
                return
            threading.Event().wait(PACE_S)

    def _disagreements(self, since: float) -> list[str]:
        """Say in words where the pipeline and our own books differ."""
        with self._lock:
            ripe = sum(one >= self.pipeline.promote_importance for one in self._importances)
        found = [f"{one.signal_id} reached {one.target} unasked" for one in self.deliveries.strays]
        if self.processed != self.deliveries.due:
            found.append(f"{self.processed} of {self.deliveries.due} inbox rows say PROCESSED")
        if self.promoted != ripe:
            found.append(f"{ripe} memories became {self.promoted} facts")
        for name, definition in self.patterns.definitions.items():
            n, successes = self.decisions.expected(definition, since=since)
            theirs = self.patterns.standings.get(name)
            stored = (theirs.sample_size, theirs.successes) if theirs else (0, 0)
            if stored != (n, successes):
                found.append(
                    f"{name} has {stored[1]} successes of {stored[0]}; the agents recorded"
                    f" {successes} of {n}"
                )
        return found


def _now_ms() -> float:
    """Give the time of one steady clock, in milliseconds."""
    return time.monotonic() * 1000
