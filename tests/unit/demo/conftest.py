"""A market made up for the tests, and a pipeline in memory that can be told to misbehave."""

import itertools
import queue
import random
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import date, timedelta
from typing import Any, Self

import pytest

from sharpwave.infra.demo.drafts import AGENTS
from sharpwave.infra.demo.market import Bar, MarketDay
from sharpwave.infra.demo.ports import Pipeline
from sharpwave.schemas import keys
from sharpwave.schemas.ids import EVERYONE, SUBSCRIBERS
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
    `promises` what it says about that.
    """

    copies: Callable[[SignalRecord, str], int] = lambda signal, target: 1
    slip: int = 0
    keeps: float = 0.0
    promises: float = 0.0
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
            body = message_of(signal.model_dump(), target, "agent_signals")
            for _ in range(self.copies(signal, target)):
                self.inboxes[target].put(SignalMessage.model_validate(body))

    def store(self, decision: DecisionRecord) -> None:
        with self.lock:
            self.decisions[decision.decision_id] = decision

    def _import(self, definitions: Sequence[PatternDefinition]) -> float:
        self.definitions = definitions
        return int(time.time())

    def _audience(self, signal: SignalRecord) -> list[str]:
        targets = signal.target_agents
        if targets not in ([EVERYONE], [SUBSCRIBERS]):
            return targets
        others = [name for name in AGENTS if name != signal.source_agent]
        everyone = targets == [EVERYONE]
        return [n for n in others if everyone or signal.signal_type in self.subscriptions[n]]


@dataclass
class FakeDelivery:
    message: SignalMessage
    agent: "FakeAgent"

    def ack(self, *, reason: str | None = None) -> None:
        self.agent.hub.processed[self.agent.name].append(self.message.signal_id)

    def decide(self, decision_type: str, /, **parts: Any) -> DecisionRecord:
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
    name: str
    hub: Hub

    def register(self, *, subscriptions: Sequence[str], may_broadcast: bool) -> None:
        self.hub.subscriptions[self.name] = subscriptions

    def inbox(self, *, wait_s: int, until: Callable[[], bool]) -> Iterator[FakeDelivery]:
        while not until():
            try:
                yield FakeDelivery(self.hub.inboxes[self.name].get(timeout=0.02), self)
            except queue.Empty:
                continue

    def signal(self, signal_type: str, /, *, to: str | Sequence[str], **parts: Any) -> SignalRecord:
        name = f"sig_{next(self.hub.serial)}"
        sent = SignalRecord(
            PK=keys.signal_pk(signal_type, self.name),
            signal_id=name,
            signal_type=signal_type,
            source_agent=self.name,
            target_agents=[to] if isinstance(to, str) else list(to),
            **self._dated(name),
            **parts,
        )
        self.hub.send(sent)
        return sent

    def decide(self, decision_type: str, /, **parts: Any) -> DecisionRecord:
        name = f"dec_{next(self.hub.serial)}"
        decision = DecisionRecord(
            PK=keys.decision_pk(self.name, decision_type),
            agent_id=self.name,
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
            self.hub.facts[self.name].append(data)

    def get_signals_for_agent(self, *, status: str, limit: int) -> Sequence[Row]:
        return [Row(name) for name in self.hub.processed[self.name]]

    def recall(self, *, limit: int) -> Sequence[object]:
        return self.hub.facts[self.name]

    def patterns(self, *, domain: str) -> Sequence[PatternRow]:
        mine = (None, self.name)
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
        )

    def _set_outcome(self, decision: DecisionRecord, outcome: Mapping[str, Any]) -> None:
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


@pytest.fixture(scope="session")
def history() -> Callable[[int, int], list[MarketDay]]:
    """Make up a market of so many days from a seed."""
    return made_up


@pytest.fixture
def hub() -> Hub:
    """A pipeline that does as it should."""
    return Hub()
