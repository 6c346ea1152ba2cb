"""Carries out what the strategies say: through an agent, and into the replay's own books."""

import threading
import time
from collections import Counter
from collections.abc import Mapping
from typing import Any

from sharpwave.infra.demo import strategies
from sharpwave.infra.demo.decisions import Book, Resolution
from sharpwave.infra.demo.deliveries import Deliveries
from sharpwave.infra.demo.drafts import AGENTS, READY_CHECK, Choice, Memory, Reaction, Scene, Signal
from sharpwave.infra.demo.features import Market
from sharpwave.infra.demo.hunting import hunt
from sharpwave.infra.demo.knowledge import Knowledge
from sharpwave.infra.demo.ports import Agent, Delivery
from sharpwave.infra.demo.roll_call import RollCall
from sharpwave.schemas.ids import EVERYONE, SUBSCRIBERS


class Stage:
    """The five agents with the market before them; every method is safe from several threads."""

    def __init__(self, market: Market, agents: Mapping[str, Agent], knowledge: Knowledge) -> None:
        self.market = market
        self.agents = agents
        self.knowledge = knowledge
        self.deliveries = Deliveries()
        self.book = Book()
        self.roll = RollCall()
        self._lock = threading.Lock()
        self._written: Counter[str] = Counter()
        self._importances: list[float] = []

    @property
    def written(self) -> dict[str, int]:
        """Count the records written, by kind: signals, decisions, outcomes ..."""
        with self._lock:
            return dict(self._written)

    def remembered(self, importance: float) -> int:
        """Count the memory entries of at least this importance."""
        with self._lock:
            return sum(one >= importance for one in self._importances)

    def scene(self, index: int) -> Scene:
        """Show the day at `index`."""
        return Scene(self.market.at(index - 1), self.market.at(index), index)

    def open_day(self, agent_id: str, index: int) -> None:
        """Let an agent start a day by itself: decide first, then tell the others."""
        scene = self.scene(index)
        reaction = hunt(scene, self.knowledge.trusted(agent_id))
        if reaction.choice is not None:
            parts = self._parts(agent_id, reaction.choice, scene)
            record = self.agents[agent_id].decide(reaction.choice.decision_type, **parts)
            self._note(record, reaction.choice, index)
        self._tell(agent_id, reaction, scene)

    def receive(self, agent_id: str, delivery: Delivery) -> None:
        """Let an agent react to one signal and acknowledge it.

        What the agent writes beside its decision comes first, so that nothing is left undone
        once the signal is acknowledged.
        """
        message = delivery.message
        if message.signal_type == READY_CHECK:
            self.roll.answer(agent_id, str(message.data["to"]))
            delivery.ack(reason="present")
            return
        self.deliveries.handed(message.signal_id, agent_id, now_ms())
        index = self.market.index_of(message.event_time or "")
        scene = self.scene(index)
        reaction = strategies.react(agent_id, message.signal_type, scene, message.data)
        self._tell(agent_id, reaction, scene)
        if reaction.choice is None:
            delivery.ack(reason=reaction.reason)
        else:
            parts = self._parts(agent_id, reaction.choice, scene)
            record = delivery.decide(reaction.choice.decision_type, **parts)
            self._note(record, reaction.choice, index)
        self.deliveries.acknowledged(message.signal_id, agent_id)

    def record(self, resolution: Resolution) -> None:
        """Write an outcome, or its correction."""
        record, verdict = resolution.entry.record, resolution.verdict
        agent = self.agents[record.agent_id]
        write = agent.correct_outcome if resolution.corrects else agent.record_outcome
        write(record, success=verdict.success, quality_score=verdict.quality, move=verdict.move)
        self._wrote("corrections" if resolution.corrects else "outcomes")

    def _tell(self, agent_id: str, reaction: Reaction, scene: Scene) -> None:
        if reaction.memory is not None:
            self._remember(agent_id, reaction.memory)
        for signal in reaction.signals:
            self._send(agent_id, signal, scene.today.day)

    def _send(self, agent_id: str, signal: Signal, day: str) -> None:
        began = now_ms()
        sent = self.agents[agent_id].signal(
            signal.signal_type,
            to=signal.to if isinstance(signal.to, str) else list(signal.to),
            data=dict(signal.data),
            severity=signal.severity,
            confidence=signal.confidence,
            recommended_action=signal.recommended_action,
            event_time=day,
        )
        self.deliveries.wrote(sent.signal_id, audience(agent_id, signal), began)
        self._wrote("signals")

    def _remember(self, agent_id: str, memory: Memory) -> None:
        remember = self.agents[agent_id].remember
        remember(memory.memory_type, dict(memory.data), importance=memory.importance)
        with self._lock:
            self._importances.append(memory.importance)
        self._wrote("memories")

    def _parts(self, agent_id: str, choice: Choice, scene: Scene) -> dict[str, Any]:
        context = scene.context()
        like = {
            "agent_id": agent_id,
            "decision_type": choice.decision_type,
            "context": context,
            "inputs": choice.inputs,
            "reasoning": choice.reasoning,
        }
        named = choice.reasoning.get("patterns_applied", [])
        applied = sorted({*named, *self.knowledge.applied(agent_id, like)})
        reasoning = {**choice.reasoning, "patterns_applied": applied}
        return {
            "context": context,
            "inputs": dict(choice.inputs),
            "reasoning": {**reasoning, "memory_influenced": choice.is_influenced},
            "event_time": scene.today.day,
        }

    def _note(self, record: Any, choice: Choice, index: int) -> None:
        self.book.add(record, choice, index)
        self._wrote("decisions")

    def _wrote(self, kind: str) -> None:
        with self._lock:
            self._written[kind] += 1


def audience(source: str, signal: Signal) -> tuple[str, ...]:
    """Give the agents that must receive a signal."""
    if signal.to == EVERYONE:
        return tuple(agent_id for agent_id in AGENTS if agent_id != source)
    if signal.to == SUBSCRIBERS:
        wanted = strategies.SUBSCRIPTIONS
        return tuple(
            agent_id
            for agent_id in AGENTS
            if agent_id != source and signal.signal_type in wanted[agent_id]
        )
    return tuple(signal.to)


def now_ms() -> float:
    """Give the time of one steady clock, in milliseconds."""
    return time.monotonic() * 1000
