"""A market made up for the tests, and a pipeline in memory that can be told to misbehave."""

import itertools
import queue
import random
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import date, timedelta
from types import SimpleNamespace
from typing import Any, Self, cast

import pytest

from sharpwave.infra.demo.agents import AGENTS, CAST, MarketHunter
from sharpwave.infra.demo.market import Bar, MarketDay
from sharpwave.infra.demo.replay import Pipeline
from sharpwave.infra.demo.scene import Claim, Scene
from sharpwave.producers import Choice, Recalled
from sharpwave.producers.choosing import choose
from sharpwave.producers.operations.decisions import with_choice
from sharpwave.schemas import keys
from sharpwave.schemas.messages import SignalMessage, message_of
from sharpwave.schemas.patterns import PatternDefinition, PatternRow, PatternVersion
from sharpwave.schemas.records import DecisionRecord, Outcome, SignalRecord
from sharpwave.schemas.times import iso_ms

FIRST_DAY = date(2001, 1, 1)


def made_up(count: int, seed: int) -> list[MarketDay]:
    """Give a random walk of `count` days."""
    chance = random.Random(seed)
    sp500, nasdaq, wti = 1000.0, 2000.0, 50.0
    days = []
    for offset in range(count):
        sp500 *= 1 + chance.gauss(0, 0.012)
        nasdaq *= 1 + chance.gauss(0, 0.018)
        wti *= 1 + chance.gauss(0, 0.02)
        days.append(
            MarketDay(
                day=FIRST_DAY + timedelta(days=offset),
                sp500=_bar(sp500, chance),
                nasdaq=_bar(nasdaq, chance),
                wti=None if chance.random() < 0.05 else wti,
                vix=chance.uniform(10, 40) if offset > count // 2 else None,
            )
        )
    return days


def _bar(close: float, chance: random.Random) -> Bar:
    low, high = close * chance.uniform(0.97, 1), close * chance.uniform(1, 1.03)
    volume = None if chance.random() < 0.02 else int(chance.lognormvariate(20, 0.25))
    return Bar((low + high) / 2, high, low, close, volume)


@dataclass
class Hub:
    """A pipeline in memory: it delivers at once and counts patterns when asked.

    `copies` says how many times a signal is put into its target's inbox, `slip` by how much a
    pattern's count is off, `keeps` from which importance on memories are kept for good, and
    `promises` what it says about that. A pattern is proven from `proven_from` outcomes on;
    `asked` is told who recalls patterns, and `told` which decision gets an outcome.
    """

    copies: Callable[[SignalRecord, str], int] = lambda signal, target: 1
    slip: int = 0
    keeps: float = 0.0
    promises: float = 0.0
    proven_from: int = 1_000_000
    asked: Callable[[str], None] = lambda agent_id: None
    told: Callable[[DecisionRecord], None] = lambda decision: None
    begun: Iterator[int] = field(default_factory=lambda: itertools.count(1))
    third_day: threading.Event = field(default_factory=threading.Event)
    sent: dict[tuple[str, str], str] = field(default_factory=dict)
    inboxes: dict[str, "queue.Queue[SignalMessage]"] = field(
        default_factory=lambda: {name: queue.Queue() for name in AGENTS}
    )
    subscriptions: dict[str, Sequence[str]] = field(default_factory=dict)
    processed: dict[str, list[str]] = field(default_factory=lambda: {name: [] for name in AGENTS})
    decisions: dict[str, DecisionRecord] = field(default_factory=dict)
    facts: dict[str, list[object]] = field(default_factory=lambda: {name: [] for name in AGENTS})
    definitions: Sequence[PatternDefinition] = ()
    serial: Iterator[int] = field(default_factory=itertools.count)
    lock: threading.Lock = field(default_factory=threading.Lock)

    def agents(self) -> dict[str, "FakeAgent"]:
        return {name: FakeAgent(name, self) for name in AGENTS}

    def pipeline(self) -> Pipeline:
        return Pipeline(import_patterns=self._import, promote_importance=self.promises)

    def send(self, signal: SignalRecord) -> None:
        for target in self._audience(signal):
            self.sent[target, signal.signal_id] = signal.event_time or ""
            body = message_of(signal.model_dump(), target, "agent_signals")
            for _ in range(self.copies(signal, target)):
                self.inboxes[target].put(SignalMessage.model_validate(body))

    def open_days(self) -> list[str]:
        """Name the days of the signals that somebody has not processed yet."""
        done = {(name, one) for name, those in self.processed.items() for one in list(those)}
        return [day for place, day in list(self.sent.items()) if day and place not in done]

    def store(self, decision: DecisionRecord) -> None:
        with self.lock:
            self.decisions[decision.decision_id] = decision

    def _import(self, definitions: Sequence[PatternDefinition]) -> float:
        self.definitions = definitions
        return int(time.time())

    def _audience(self, signal: SignalRecord) -> list[str]:
        targets = signal.target_agents
        if targets not in (["*"], ["@subscribers"]):
            return targets
        others = [name for name in AGENTS if name != signal.source_agent]
        everyone = targets == ["*"]
        return [n for n in others if everyone or signal.signal_type in self.subscriptions[n]]


@dataclass
class FakeDelivery:
    message: SignalMessage
    agent: "FakeAgent"
    is_settled: bool = False

    @property
    def signal_id(self) -> str:
        return self.message.signal_id

    @property
    def signal_type(self) -> str:
        return self.message.signal_type

    @property
    def data(self) -> Mapping[str, Any]:
        return self.message.data

    def ack(self, *, reason: str | None = None) -> None:
        self.is_settled = True
        self.agent.hub.processed[self.agent.agent_id].append(self.message.signal_id)

    def decide(self, decision_type: str, **parts: Any) -> DecisionRecord:
        self.ack()
        return self.agent.decide(decision_type, **parts)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        pass


@dataclass
class Row:
    signal_id: str


@dataclass
class FakeAgent:
    agent_id: str
    hub: Hub

    def register(self, *, subscriptions: Sequence[str], may_broadcast: bool) -> None:
        self.hub.subscriptions[self.agent_id] = subscriptions

    def inbox(self, *, wait_s: int, until: Callable[[], bool]) -> Iterator[FakeDelivery]:
        while not until():
            try:
                yield FakeDelivery(self.hub.inboxes[self.agent_id].get(timeout=0.02), self)
            except queue.Empty:
                continue

    def signal(self, signal_type: str, /, *, to: str | Sequence[str], **parts: Any) -> SignalRecord:
        name = f"sig_{next(self.hub.serial)}"
        sent = SignalRecord(
            PK=keys.signal_pk(signal_type, self.agent_id),
            signal_id=name,
            signal_type=signal_type,
            source_agent=self.agent_id,
            target_agents=[to] if isinstance(to, str) else list(to),
            **self._dated(name),
            **parts,
        )
        self.hub.send(sent)
        return sent

    def decide(self, decision_type: str, /, **parts: Any) -> DecisionRecord:
        name = f"dec_{next(self.hub.serial)}"
        parts["reasoning"] = with_choice(parts["reasoning"], parts.pop("choice", None))
        decision = DecisionRecord(
            PK=keys.decision_pk(self.agent_id, decision_type),
            agent_id=self.agent_id,
            decision_id=name,
            decision_type=decision_type,
            **self._dated(name),
            **parts,
        )
        self.hub.store(decision)
        return decision

    def record_outcome(self, decision: DecisionRecord, /, **outcome: Any) -> None:
        assert self.hub.decisions[decision.decision_id].outcome is None
        self._set_outcome(decision, outcome)

    def correct_outcome(self, decision: DecisionRecord, /, **outcome: Any) -> None:
        assert self.hub.decisions[decision.decision_id].outcome is not None
        self._set_outcome(decision, outcome)

    def remember(self, memory_type: str, data: Mapping[str, Any], /, *, importance: float) -> None:
        if importance >= self.hub.keeps:
            self.hub.facts[self.agent_id].append(data)

    def get_signals_for_agent(self, *, status: str, limit: int) -> Sequence[Row]:
        return [Row(name) for name in self.hub.processed[self.agent_id]]

    def recall(self, *, limit: int = 0, **decision: Any) -> Sequence[object]:
        if not decision:
            return self.hub.facts[self.agent_id]
        self.hub.asked(self.agent_id)
        rows = self.patterns(domain=decision["domain"])
        found = [Recalled.of(row) for row in rows if row.conditions]
        return [one for one in found if one.matches(decision)]

    def choose(self, sources: Sequence[str], *, chance: random.Random, **asked: Any) -> Choice:
        if next(self.hub.begun) == 3:
            self.hub.third_day.set()
        with self.hub.lock:
            stored = list(self.hub.decisions.values())
        counts = {}
        for source in sources:
            drawn = [
                one.outcome.success
                for one in stored
                if one.outcome and (one.reasoning or {}).get("selected") == [source]
            ]
            counts[source] = (len(drawn), sum(drawn))
        return choose(counts, chance)

    def patterns(self, *, domain: str) -> Sequence[PatternRow]:
        mine = (None, self.agent_id)
        return [self._row(one) for one in self.hub.definitions if one.agent_id in mine]

    def _row(self, definition: PatternDefinition) -> PatternRow:
        version = PatternVersion(definition=definition, version=1, effective_from=0, learned_at=0)
        with self.hub.lock:
            stored = list(self.hub.decisions.values())
        counted = [one for one in stored if one.outcome and version.counts(one.model_dump())]
        n = len(counted) + self.hub.slip
        s = sum(one.outcome.success for one in counted if one.outcome)
        return PatternRow(
            PK=version.pk,
            SK=definition.pattern_id,
            pattern_id=definition.pattern_id,
            decision_type=definition.decision_type,
            version=1,
            learned_at=0,
            effective_from=0,
            sample_size=n,
            successes=s,
            confidence=(s + 1) / (n + 2),
            conditions=definition.model_dump(mode="json")["conditions"],
            state="active" if n >= self.hub.proven_from else "candidate",
        )

    def _set_outcome(self, decision: DecisionRecord, outcome: Mapping[str, Any]) -> None:
        self.hub.told(decision)
        stored = self.hub.decisions[decision.decision_id]
        self.hub.store(stored.model_copy(update={"outcome": Outcome(**outcome)}))

    @staticmethod
    def _dated(name: str) -> dict[str, Any]:
        now = time.time()
        return {
            "SK": keys.dated_sk(iso_ms(now), name),
            "timestamp": int(now),
            "iso_timestamp": iso_ms(now),
        }


@dataclass
class Reaction:
    """All that an agent does about one signal, or about one market day; written nowhere."""

    agent_id: str
    signal_type: str = ""
    data: Mapping[str, Any] = field(default_factory=dict)
    signals: list[SimpleNamespace] = field(default_factory=list)
    memory: SimpleNamespace | None = None
    decision: SimpleNamespace | None = None
    claim: Claim | None = None
    reason: str | None = None
    is_settled: bool = False
    recalled: Sequence[SimpleNamespace] = ()
    counts: Mapping[str, tuple[int, int]] = field(default_factory=dict)

    # What an agent has

    def recall(self, **decision: Any) -> Sequence[SimpleNamespace]:
        return self.recalled

    def choose(self, sources: Sequence[str], *, chance: random.Random, **asked: Any) -> Choice:
        return choose({name: self.counts.get(name, (0, 0)) for name in sources}, chance)

    def signal(self, signal_type: str, **fields: Any) -> None:
        self.signals.append(SimpleNamespace(signal_type=signal_type, **fields))

    def remember(self, memory_type: str, data: Mapping[str, Any], *, importance: float) -> None:
        assert self.memory is None
        self.memory = SimpleNamespace(data=data, importance=importance)

    # What an agent or its delivery has

    def decide(self, decision_type: str, **parts: Any) -> SimpleNamespace:
        assert self.decision is None
        parts["reasoning"] = with_choice(parts["reasoning"], parts.pop("choice", None))
        self.decision = SimpleNamespace(decision_type=decision_type, **parts)
        return self.decision

    # What a delivery has

    def ack(self, *, reason: str | None = None) -> None:
        self.reason, self.is_settled = reason, True


def hunted(scene: Scene, **counts: tuple[int, int]) -> Reaction:
    """What the market-hunter does about a day, by outcomes and successes of each source."""
    found: Any = Reaction(MarketHunter.agent_id, counts=counts)
    _, found.claim = MarketHunter(found, lambda delivery: scene).open_day(scene)
    return cast(Reaction, found)


def reacted(
    agent_id: str,
    signal_type: str,
    scene: Scene,
    data: Mapping[str, Any],
    recalled: Sequence[SimpleNamespace] = (),
) -> Reaction:
    """What an agent does about a signal, with the patterns that it recalls."""
    found: Any = Reaction(agent_id, signal_type, data, recalled=recalled)
    agent = CAST[agent_id](found, lambda delivery: scene)
    agent.work(found)
    found.claim = agent.intent and agent.intent.claim
    return cast(Reaction, found)


@pytest.fixture(scope="session")
def history() -> Callable[[int, int], list[MarketDay]]:
    """Make up a market of so many days from a seed."""
    return made_up


@pytest.fixture
def hub() -> Hub:
    """A pipeline that does as it should."""
    return Hub()
