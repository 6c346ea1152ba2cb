"""The agents' side of the load: signals, decisions with outcomes, memories, and bad records."""

import random
import threading
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from sharpwave.infra.chaos import roster
from sharpwave.infra.chaos.history import History
from sharpwave.infra.chaos.plan import Scale
from sharpwave.infra.connection import Deployment
from sharpwave.infra.items import Items
from sharpwave.infra.mailbox import Mailbox
from sharpwave.producers import Agent
from sharpwave.schemas import keys
from sharpwave.schemas.records import SIGNAL_TTL_S, DecisionRecord
from sharpwave.schemas.tables import SIGNALS
from sharpwave.schemas.times import iso_ms

WRITERS = 4
#: More work under way than this, and writers wait: a queue's depth is not what is tested.
MAX_BACKLOG = 600
_LOOK_EVERY_S = 0.5
#: Shares of the signals: to everyone, to subscribers, one target unknown, short-lived, too large
#: for a message.
_BROADCAST, _SUBSCRIBED, _UNKNOWN, _BRIEF, _LARGE = 0.3, 0.15, 0.02, 0.03, 0.005
_DECISIONS, _MEMORIES, _BAD = 0.15, 0.1, 0.005
_BRIEF_S = 4
_LARGE_TEXT = "x" * 100_000


class Load:
    """Writes records for all agents from several threads, straight to the backend.

    Args:
        deployment: the backend, not through the fault proxy.
        history: where writes are noted.
        seed: decides, with its number, what each signal is.
        scale: how many signals, and for how long.
    """

    def __init__(
        self, deployment: Deployment, history: History, *, seed: int, scale: Scale
    ) -> None:
        self._deployment, self._history = deployment, history
        self._seed, self._scale = seed, scale
        self._agents = {
            name: Agent(name, prefix=deployment.prefix, session=deployment.session)
            for name in roster.AGENTS
        }
        self._items = Items(deployment)
        self._lock = threading.Lock()
        self._next = 0
        self._began = time.monotonic()
        self._stop, self._calm = threading.Event(), threading.Event()

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
        queues = [Mailbox(self._deployment, name) for name in ("deliver", "learn", "archive")]
        queues += [Mailbox(self._deployment, f"inbox-{name}") for name in roster.AGENTS]
        watcher = threading.Thread(target=self._watch, args=(queues,), daemon=True)
        watcher.start()
        try:
            with ThreadPoolExecutor(WRITERS) as pool:
                for done in [pool.submit(self._write) for _ in range(WRITERS)]:
                    done.result()
        finally:
            self._stop.set()
            watcher.join()
            for agent in self._agents.values():
                agent.close()

    def _watch(self, queues: Sequence[Mailbox]) -> None:
        while not self._stop.is_set():
            backlog = sum(queue.depth().total for queue in queues)
            self._calm.set() if backlog < MAX_BACKLOG else self._calm.clear()
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

    def _send(self, number: int) -> None:
        rng = random.Random(f"{self._seed} {number}")
        self._noted(rng, number, self._signal)
        for share, write in (
            (_DECISIONS, self._decision),
            (_MEMORIES, self._memory),
            (_BAD, self._bad_record),
        ):
            if rng.random() < share:
                self._noted(rng, number, write)

    def _noted(
        self, rng: random.Random, number: int, write: Callable[[random.Random, int], None]
    ) -> None:
        self._history.note("load", "intends", kind=write.__name__, number=number)
        write(rng, number)

    def _signal(self, rng: random.Random, number: int) -> None:
        source, to, kind = _address(rng)
        data: dict[str, Any] = {"number": number}
        if rng.random() < _LARGE:
            data["text"] = _LARGE_TEXT
        ttl_s = _BRIEF_S if rng.random() < _BRIEF else SIGNAL_TTL_S
        sent = self._agents[source].signal(kind, to=to, data=data, ttl_s=ttl_s)
        self._wrote(source, "signal", sent.key, expires_at=sent.ttl, targets=sent.target_agents)

    def _decision(self, rng: random.Random, number: int) -> None:
        name = rng.choice(list(roster.AGENTS))
        agent = self._agents[name]
        kind = rng.choice(roster.DECISION_TYPES)
        made = agent.decide(
            kind,
            context={"mood": rng.choice(("calm", "wild")), "number": number},
            reasoning={"patterns_applied": [roster.HUNCH]} if rng.random() < 0.5 else None,
        )
        self._wrote(name, "decision", made.key)
        if rng.random() < 0.85:
            judge(agent, made, rng, self._history)

    def _memory(self, rng: random.Random, number: int) -> None:
        name = rng.choice(list(roster.AGENTS))
        kept = self._agents[name].remember(
            rng.choice(("NOTE", "CONTEXT")), {"number": number}, importance=rng.choice((0.2, 0.9))
        )
        self._wrote(name, "memory", kept.key)

    def _bad_record(self, rng: random.Random, number: int) -> None:
        moment, source = time.time(), rng.choice(list(roster.AGENTS))
        iso, record_id = iso_ms(moment), f"bad-{self._seed}-{number}"
        key = keys.Key(keys.signal_pk("BAD_ONE", source), keys.dated_sk(iso, record_id))
        item = {
            **key.item(),
            "signal_id": record_id,
            "signal_type": "BAD_ONE",
            "source_agent": source,
            "target_agents": "somebody",
            "timestamp": int(moment),
            "iso_timestamp": iso,
            "ttl": int(moment) + 3600,
        }
        self._items.put(SIGNALS, item)
        self._wrote(source, "bad record", key)

    def _wrote(self, agent: str, record: str, key: keys.Key, **details: Any) -> None:
        self._history.note(agent, "wrote", record=record, pk=key.pk, sk=key.sk, **details)


def judge(agent: Agent, made: DecisionRecord, rng: random.Random, history: History) -> None:
    """Record what came of a decision, and correct it now and then; each step is noted."""
    revision = 1
    for step in range(2):
        success, quality = rng.random() < 0.6, round(rng.random(), 3)
        verdict = {"success": success, "quality": quality}
        history.note(agent.agent_id, "intends", kind="outcome", pk=made.key.pk, sk=made.key.sk)
        if step == 0:
            agent.record_outcome(made, success=success, quality_score=quality)
        else:
            revision = agent.correct_outcome(made, success=success, quality_score=quality)
        history.note(
            agent.agent_id,
            "wrote",
            record="outcome",
            pk=made.key.pk,
            sk=made.key.sk,
            revision=revision,
            **verdict,
        )
        if rng.random() > 0.2:
            return


def _address(rng: random.Random) -> tuple[str, Any, str]:
    """Draw who signals whom, and about what."""
    draw = rng.random()
    kind = rng.choice(roster.SIGNAL_TYPES)
    if draw < _BROADCAST:
        return rng.choice(roster.BROADCASTERS), "*", kind
    source = rng.choice(list(roster.AGENTS))
    if draw < _BROADCAST + _SUBSCRIBED:
        return source, "@subscribers", roster.SUBSCRIBED
    others = [name for name in roster.AGENTS if name != source]
    targets = rng.sample(others, rng.randint(1, 3))
    if rng.random() < _UNKNOWN:
        targets.append(roster.NOBODY)
    return source, targets, kind
