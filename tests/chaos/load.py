"""The agents' and operators' side of the load: what is written, and what goes wrong with it."""

import random
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any, NamedTuple

from sharpwave.infra.connection import Deployment
from sharpwave.infra.errors import Conflict, Missing
from sharpwave.infra.items import Items
from sharpwave.infra.mailbox import Mailbox
from sharpwave.infra.operate.patterns import Timing, import_patterns
from sharpwave.producers import Agent
from sharpwave.schemas import keys
from sharpwave.schemas.ids import EVERYONE, SUBSCRIBERS
from sharpwave.schemas.numbers import item_to_wire
from sharpwave.schemas.patterns import PatternDefinition
from sharpwave.schemas.records import SIGNAL_TTL_S, DecisionRecord, SignalRecord
from sharpwave.schemas.tables import DECISIONS, SIGNALS
from sharpwave.schemas.times import now
from tests.chaos import drafts, roster
from tests.chaos.history import History
from tests.chaos.plan import CHANGES_FROM, CHANGES_UNTIL, EARLY, NEAR_S, Draw, Plan, agent_clocks
from tests.chaos.stack import CACHE_S, SKEW_S
from tests.world import records

WRITERS = 4
#: More work under way than this, and writers wait: a queue's depth is not what is tested.
MAX_BACKLOG = 600
#: The same of messages for plain agents, who take ten at a time.
_CROWDS_BACKLOG = 10 * MAX_BACKLOG
_LOOK_EVERY_S = 0.5
_ATTEMPTS = 8
#: Plain agents' queues are too many to look at each time; so many stand for all.
_SAMPLED = 6
#: Shares of the signals: one target unknown, short-lived, too large for a message.
_UNKNOWN, _BRIEF, _LARGE = 0.02, 0.04, 0.005
_DECISIONS, _MEMORIES, _BAD, _FLOOD = 0.15, 0.1, 0.005, 0.1
#: Of signals changed while they are under way: those to many, and those to few.
_CHANGED_WIDE, _CHANGED, _REWRITTEN = 0.5, 0.05, 0.15
_BRIEF_S = 4
#: Deadlines are looked at by the minute, so what nobody acknowledged ends within two of them.
_EXPIRED_WITHIN_S, _NEGLECTED_UNTIL = 130, 0.6
_LARGE_TEXT = "x" * 100_000
_BURST_DAY = "2026-01-05"
#: Source: AWS, BatchWriteItem, most items of a request.
_BATCH = 25
#: No decision type here allows event times as far ahead as this.
_ABSURD_DAY = "2999-12-31"
#: Half of what the source may send in a minute.
_STEADY_BURST = roster.LIMITS[roster.STEADY] // 2

#: How operators' imports and workers' caches are timed in a run.
TIMING = Timing(clock_skew_s=SKEW_S, cache_s=CACHE_S)


class _Shares(NamedTuple):
    """How often a signal goes to everyone, to subscribers, and to a long list of names."""

    everyone: float
    subscribers: float
    many: float


_AMONG_FEW, _AMONG_MANY = _Shares(0.3, 0.15, 0.0), _Shares(0.055, 0.07, 0.03)

Act = Callable[[], None]


class Load:
    """Writes records for all agents from several threads, straight to the backend.

    Args:
        deployment: the backend, not through the fault proxy.
        history: where writes are noted.
        plan: its seed decides, with the number of each signal, what that is.
    """

    def __init__(self, deployment: Deployment, history: History, plan: Plan) -> None:
        self._deployment, self._history = deployment, history
        self._plan, self._scale, self._seed = plan, plan.scale, plan.seed
        self._offsets = agent_clocks(plan)
        self._agents = {
            name: Agent(
                name, prefix=deployment.prefix, session=deployment.session, clock=self._clock(name)
            )
            for name in (*self._offsets, *roster.LIMITS)
        }
        self._crowd = [roster.plain(number) for number in range(self._scale.crowd)]
        self._shares = _AMONG_MANY if self._crowd else _AMONG_FEW
        self._items = Items(deployment)
        self._lock = threading.Lock()
        self._next = 0
        self._began = time.monotonic()
        self._stop, self._calm = threading.Event(), threading.Event()
        self.latest = 0.0
        """The latest moment at which something written becomes due by itself, in epoch seconds."""

    @property
    def progress(self) -> float:
        """Say how much is written, as a share of the signals or of the time."""
        elapsed_s = time.monotonic() - self._began
        return min(1.0, max(self._next / self._scale.signals, elapsed_s / self._scale.seconds))

    def run(self) -> None:
        """Write until all is written or the time is up.

        Raises:
            AgentError: a write failed; the backend itself is not broken by a run.
        """
        self._began = time.monotonic()
        watcher = threading.Thread(target=self._watch, daemon=True)
        watcher.start()
        try:
            with ThreadPoolExecutor(WRITERS + 1) as pool:
                under_way = [pool.submit(self._write) for _ in range(WRITERS)]
                under_way.append(pool.submit(self._direct))
                for done in under_way:
                    done.result()
        finally:
            self._stop.set()
            watcher.join()
            for agent in self._agents.values():
                agent.close()

    # -- pace ------------------------------------------------------------------------------------

    def _watch(self) -> None:
        busy = ("deliver", "status", "learn", "archive", *(f"inbox-{n}" for n in roster.AGENTS))
        queues = [Mailbox(self._deployment, name) for name in busy]
        rng = random.Random(self._seed)
        sample = rng.sample(self._crowd, min(_SAMPLED, len(self._crowd)))
        plain = [Mailbox(self._deployment, f"inbox-{name}") for name in sample]
        while not self._stop.is_set():
            backlog = sum(queue.depth().total for queue in queues)
            waiting = sum(map(_depth_of_one, plain)) / max(1, len(plain)) * len(self._crowd)
            is_calm = backlog < MAX_BACKLOG and waiting < _CROWDS_BACKLOG
            self._calm.set() if is_calm else self._calm.clear()
            self._stop.wait(_LOOK_EVERY_S)

    def _write(self) -> None:
        while (number := self._take()) is not None:
            self._send(number)

    def _take(self) -> int | None:
        """Give the next number when its time has come and the pipeline keeps up."""
        while self.progress < 1:
            with self._lock:
                if self._calm.is_set() and self._wait_s() <= 0:
                    self._next += 1
                    return self._next - 1
            self._stop.wait(min(max(self._wait_s(), 0.01), _LOOK_EVERY_S))
        return None

    def _wait_s(self) -> float:
        due_s = self._next * self._scale.seconds / self._scale.signals
        return self._began + due_s - time.monotonic()

    # -- with each number --------------------------------------------------------------------------

    def _send(self, number: int) -> None:
        rng = random.Random(f"{self._seed} {number}")
        self._noted(rng, number, self._signal)
        if rng.random() < _DECISIONS:
            self._noted(rng, number, self._decision)
        if rng.random() < _MEMORIES:
            self._noted(rng, number, self._memory)
        if rng.random() < _BAD:
            self._noted(rng, number, self._bad_record)
        if self._has("quotas") and rng.random() < _FLOOD:
            self._noted(rng, number, self._flood)

    def _noted(
        self, rng: random.Random, number: int, write: Callable[[random.Random, int], None]
    ) -> None:
        self._history.note("load", "intends", kind=write.__name__, number=number)
        write(rng, number)

    def _signal(self, rng: random.Random, number: int) -> None:
        source, to, kind = self._address(rng)
        data: dict[str, Any] = {"number": number}
        if rng.random() < _LARGE:
            data["text"] = _LARGE_TEXT
        is_brief = self._may_be_brief(source) and rng.random() < _BRIEF
        # The deadline is told by the writer's clock, and comes by everybody else's.
        ttl_s = _BRIEF_S - int(self._offsets[source]) if is_brief else SIGNAL_TTL_S
        sent = self._sent(source, kind, to, data, ttl_s=ttl_s)
        if is_brief and self._scale.neglects:
            self._dated(int(time.time()) + _BRIEF_S + _EXPIRED_WITHIN_S)
        is_wide = isinstance(to, str) or len(to) > 50
        if (
            self._has("changes")
            and self._may_change
            and rng.random() < (_CHANGED_WIDE if is_wide else _CHANGED)
        ):
            self._change(rng, sent)

    def _sent(
        self, source: str, kind: str, to: Any, data: dict[str, Any], *, ttl_s: int = SIGNAL_TTL_S
    ) -> SignalRecord:
        began = time.time()
        sent = self._agents[source].signal(kind, to=to, data=data, ttl_s=ttl_s)
        item = sent.model_dump(include={"PK", "SK", "source_agent", "signal_type"})
        item |= {"target_agents": sent.target_agents, "ttl": sent.ttl, "data": data}
        self._history.note(source, "wrote", began=began, **drafts.noted(item))
        return sent

    def _change(self, rng: random.Random, sent: SignalRecord) -> None:
        """Change a signal while it is under way, which nobody may."""
        self._stop.wait(rng.choice((0.0, 0.2, 1.0)))
        name, value = rng.choice(
            (
                ("data", {"number": -1}),
                ("target_agents", [roster.NOBODY]),
                ("target_agents", ["keeper", "warden"]),
                ("source_agent", "broker"),
                ("ttl", "soon"),
            )
        )
        self._changed(sent.source_agent, "signal", sent.key, how=name)
        self._items.update(SIGNALS, sent.key, {name: value})

    def _decision(self, rng: random.Random, number: int) -> None:
        name = self._writer(rng)
        agent = self._agents[name]
        kind = rng.choice(roster.DECISION_TYPES)
        context = {"mood": rng.choice(("calm", "wild")), "number": number}
        applied = {"patterns_applied": [roster.HUNCH]} if rng.random() < 0.5 else None
        made = agent.decide(kind, context=context, reasoning=applied)
        self._dated(made.timestamp)
        self._wrote(name, "decision", made.key)
        if rng.random() < 0.85:
            drafts.judge(agent, made, rng, self._history)
        if self._has("rewrites") and self._may_change and rng.random() < _REWRITTEN:
            self._rewrite(name, made, {"context": context, "reasoning": applied})

    def _rewrite(self, name: str, made: DecisionRecord, was: dict[str, Any]) -> None:
        """Put another decision under the key of one that was made, which nobody may."""
        item = self._items.get(DECISIONS, made.key) or {}
        mood = "wild" if was["context"]["mood"] == "calm" else "calm"
        self._changed(name, "decision", made.key, was=was)
        self._items.put(DECISIONS, {**item, "context": {"mood": mood}})

    def _memory(self, rng: random.Random, number: int) -> None:
        name = self._writer(rng)
        kept = self._agents[name].remember(
            rng.choice(("NOTE", "CONTEXT")), {"number": number}, importance=rng.choice((0.2, 0.9))
        )
        self._dated(kept.timestamp)
        self._wrote(name, "memory", kept.key)

    def _bad_record(self, rng: random.Random, number: int) -> None:
        moment, source = time.time(), rng.choice(list(roster.AGENTS))
        record_id = f"bad-{self._seed}-{number}"
        if self._has("bursts") and rng.random() < 0.5:
            kind = roster.DECISION_TYPES[0]
            more: dict[str, Any] = {"context": {"mood": ""}, "event_time": _ABSURD_DAY}
            item = records.decision(source, record_id, at=moment, kind=kind, **more)
            self._items.put(DECISIONS, item)
        else:
            more = {"data": {"number": number}, "ttl": int(moment) + 3600}
            item = records.signal(source, record_id, to=[], at=moment, kind="BAD_ONE", **more)
            self._items.put(SIGNALS, {**item, "target_agents": "somebody"})
        self._wrote(source, "bad record", keys.Key(item["PK"], item["SK"]))

    def _flood(self, rng: random.Random, number: int) -> None:
        targets = rng.sample(list(roster.AGENTS), rng.randint(1, 2))
        self._sent(roster.FLOOD, "PRICE_MOVE", targets, {"flood": number})

    # -- at its time -------------------------------------------------------------------------------

    def _direct(self) -> None:
        """Do, each at its moment of the load, what a run does only a few times."""
        for at, act in sorted(self._scenes(), key=lambda scene: scene[0]):
            while self.progress < at:
                self._stop.wait(0.05)
            act()

    def _scenes(self) -> Iterator[tuple[float, Act]]:
        rng = random.Random(f"scenes {self._seed}")
        if self._has("joiners"):
            for number in range(self._scale.joiners):
                yield rng.uniform(0.05, 0.95), self._joining(number, rng.random() < 0.5)
        if self._has("imports"):
            for definition in roster.edits():
                yield rng.uniform(0.1, 0.9), self._importing(definition)
        if self._has("bursts"):
            yield rng.uniform(0.1, 0.6), self._burst
        if self._has("quotas"):
            yield rng.uniform(0.1, 0.6), self._steady_burst

    def _joining(self, number: int, subscribes: bool) -> Act:
        def join() -> None:
            name, began = roster.joiner(number), time.time()
            subscriptions = [roster.SUBSCRIBED] if subscribes else []
            session = self._deployment.session
            with Agent(name, prefix=self._deployment.prefix, session=session) as agent:
                agent.register(subscriptions=subscriptions)
            self._history.note(name, "registered", began=began, subscriptions=subscriptions)
            source = roster.BROADCASTERS[number % len(roster.BROADCASTERS)]
            to, kind = (SUBSCRIBERS, roster.SUBSCRIBED) if subscribes else (EVERYONE, "RISK_ALERT")
            self._sent(source, kind, to, {"welcome": number})

        return join

    def _importing(self, definition: PatternDefinition) -> Act:
        def bring_in() -> None:
            for attempt in range(_ATTEMPTS):
                try:
                    import_patterns(self._deployment, [definition], timing=TIMING)
                    return
                except Conflict:  # workers published figures meanwhile: it says to run it again
                    if attempt == _ATTEMPTS - 1:
                        raise

        return bring_in

    def _burst(self) -> None:
        """Write many decisions of one event day at once, by an agent that never registered."""
        name = roster.STRANGERS[0]
        rng = random.Random(f"burst {self._seed}")
        moment = self._clock(name)()
        made = [
            records.decision(
                name,
                f"burst-{self._seed}-{number}",
                at=moment + number / 1000,
                kind=roster.DECISION_TYPES[0],
                context={"mood": rng.choice(("calm", "wild"))},
                event_time=_BURST_DAY,
                outcome={"success": rng.random() < 0.5, "quality_score": 0.5},
            )
            for number in range(self._scale.burst)
        ]
        table = self._deployment.name(DECISIONS)
        for start in range(0, len(made), _BATCH):
            part = made[start : start + _BATCH]
            puts: Any = [{"PutRequest": {"Item": item_to_wire(item)}} for item in part]
            while puts:
                reply = self._deployment.dynamodb.batch_write_item(RequestItems={table: puts})
                puts = reply["UnprocessedItems"].get(table)
            self._history.note_all(
                [
                    (name, "wrote", {"record": "decision", "pk": item["PK"], "sk": item["SK"]})
                    for item in part
                ]
            )

    def _steady_burst(self) -> None:
        for number in range(_STEADY_BURST):
            self._sent(roster.STEADY, "PRICE_MOVE", ["keeper", "courier"], {"steady": number})

    # -- who, and when -----------------------------------------------------------------------------

    def _has(self, draw: Draw) -> bool:
        return draw in self._plan.draws

    @property
    def _may_change(self) -> bool:
        return CHANGES_FROM <= self.progress < CHANGES_UNTIL

    def _may_be_brief(self, source: str) -> bool:
        """Say whether a signal may end by its deadline; a fast clock cannot name one so near.

        What nobody acknowledges ends minutes later, so that it is sent early enough.
        """
        is_early = self.progress < _NEGLECTED_UNTIL or not self._scale.neglects
        return self._has("deadlines") and is_early and self._offsets[source] <= 0

    def _clock(self, name: str) -> Callable[[], float]:
        offset_s = self._offsets.get(name, 0.0)
        return lambda: now() + offset_s

    def _writer(self, rng: random.Random) -> str:
        """Draw who writes; those far ahead of everybody else write early only."""
        names = [*roster.AGENTS, *(roster.STRANGERS if self._has("strangers") else ())]
        if self.progress > EARLY:
            names = [name for name in names if self._offsets[name] <= NEAR_S]
        name: str = rng.choice(names)
        return name

    def _address(self, rng: random.Random) -> tuple[str, Any, str]:
        """Draw who signals whom, and about what."""
        draw, shares = rng.random(), self._shares
        kind: str = rng.choice(roster.SIGNAL_TYPES)
        source: str = rng.choice(list(roster.AGENTS))
        if draw < shares.everyone:
            return rng.choice(roster.BROADCASTERS), EVERYONE, kind
        if draw < shares.everyone + shares.subscribers:
            return source, SUBSCRIBERS, roster.SUBSCRIBED
        others = [name for name in roster.AGENTS if name != source]
        if draw < sum(shares):
            # As many audiences of 1 to 10 as of 10 to 100.
            count = round(len(self._crowd) ** rng.random())
            return source, rng.sample(self._crowd, count), kind
        targets = rng.sample([*others, *rng.sample(self._crowd, min(4, len(self._crowd)))], 3)
        targets = targets[: rng.randint(1, 3)]
        if rng.random() < _UNKNOWN:
            targets.append(roster.NOBODY)
        return source, targets, kind

    def _dated(self, timestamp: int) -> None:
        with self._lock:
            self.latest = max(self.latest, timestamp)

    def _wrote(self, agent: str, record: str, key: keys.Key) -> None:
        self._history.note(agent, "wrote", record=record, pk=key.pk, sk=key.sk)

    def _changed(self, agent: str, record: str, key: keys.Key, **details: Any) -> None:
        self._history.note(agent, "changed", record=record, pk=key.pk, sk=key.sk, **details)


def _depth_of_one(queue: Mailbox) -> int:
    """Count what a queue holds that may have been deleted a moment ago."""
    try:
        return queue.depth().total
    except Missing:
        return 0
