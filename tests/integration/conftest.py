"""How a running system is reached: how a test writes to it and looks at what came of it."""

import json
import os
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any, Self, TypeVar
from uuid import uuid4

import pytest

from sharpwave.infra.cli import main
from sharpwave.infra.items import Item, Items
from sharpwave.infra.local import Backend
from sharpwave.infra.local.stack import Stack, StackOptions
from sharpwave.infra.mailbox import Mailbox
from sharpwave.infra.operate.agents import Wishes, add_agent
from sharpwave.infra.operate.patterns import known_versions
from sharpwave.producers import Agent
from sharpwave.schemas import keys
from sharpwave.schemas.ids import signal_uid
from sharpwave.schemas.messages import expires_at
from sharpwave.schemas.numbers import to_wire
from sharpwave.schemas.patterns import boundaries
from sharpwave.schemas.tables import DECISIONS, PIPELINE, SIGNALS, STATE
from sharpwave.schemas.times import DAY_S
from sharpwave.workers.aws.queues import QueueUrls, SqsWorkQueues
from sharpwave.workers.aws.tables import TableReads
from sharpwave.workers.main import build_router
from sharpwave.workers.patterns.counts import Counts, days_of, total
from sharpwave.workers.settings import Settings
from sharpwave.workers.signals.expiry import EXPIRE, Partition, due_minute
from sharpwave.workers.work.envelope import Entry, ascii_json, pack
from sharpwave.workers.work.outgoing import WorkMessage
from tests.world import records
from tests.world.hosts import HOST
from tests.world.waiting import eventually

T = TypeVar("T")
MakeWorld = Callable[[Stack], "World"]
OURS = ("AWS_", "SHARPWAVE_")
DECISION_TYPE = "SOURCE_SELECTION"

PATIENCE_S = 30.0
#: Memory is short here, so that a test sees what takes a day elsewhere.
PROMOTE_AFTER_S = 4
SETTINGS = {
    "SHARPWAVE_PROMOTE_AFTER_S": str(PROMOTE_AFTER_S),
    "SHARPWAVE_PATTERN_CACHE_S": "0.5",
    "SHARPWAVE_CLOCK_SKEW_S": "0.5",
    "SHARPWAVE_REGISTRATION_CACHE_S": "0.5",
    "SHARPWAVE_ARCHIVE_LINGER_S": "0.05",
    "SHARPWAVE_VISIBILITY_TIMEOUT_S": "4",
    "SHARPWAVE_HEARTBEAT_S": "1",
}


class Borrowed(Backend):
    """The session's backend for a stack that shall not stop it; endpoints may be overridden."""

    endpoint_url = ""

    def __init__(self, backend: Backend) -> None:
        self.name, self.endpoint_url = backend.name, backend.endpoint_url
        self._variables = dict(backend.environment)

    @property
    def environment(self) -> dict[str, str]:
        return self._variables

    def start(self) -> Self:
        return self

    def stop(self) -> None: ...

    def restart(self) -> None:
        raise NotImplementedError("the backend is shared")

    def alive(self) -> bool:
        return True


class World:
    """A running system as raw agents and operators meet it.

    Attributes:
        tag: part of the names of this test's agents, so that tests do not meet.
    """

    def __init__(self, stack: Stack, capsys: pytest.CaptureFixture[str]) -> None:
        self.stack, self.deployment = stack, stack.deployment
        self.items = Items(stack.deployment)
        self.tag = uuid4().hex[:8]
        self._capsys = capsys
        self._agents: list[str] = []

    def agent(self, name: str, **wishes: Any) -> str:
        """Register an agent of this test's own, as an operator does; gives its id."""
        agent_id = f"{name}-{self.tag}"
        add_agent(self.deployment, agent_id, Wishes(**wishes))
        self._agents.append(agent_id)
        return agent_id

    def sdk(self, agent_id: str, **options: Any) -> Agent:
        return Agent(agent_id, prefix=self.deployment.prefix, **options)

    def forget(self) -> None:
        """Withdraw this test's agents, so that neither ticks nor broadcasts meet them."""
        for agent_id in self._agents:
            self.items.delete(STATE, keys.registration(agent_id))
            self.items.delete(PIPELINE, keys.known_agent(agent_id))

    # -- what agents write, raw ------------------------------------------------------------------

    def signal(self, source: str, to: list[str], **attributes: Any) -> keys.Key:
        return self.put(SIGNALS, raw_signal(source, to, **attributes))

    def decision(self, agent_id: str, **attributes: Any) -> keys.Key:
        return self.put(DECISIONS, raw_decision(agent_id, **attributes))

    def memory(self, agent_id: str, **attributes: Any) -> keys.Key:
        return self.put(STATE, raw_memory(agent_id, **attributes))

    def put(self, table: str, item: Item) -> keys.Key:
        self.items.put(table, item)
        return keys.Key(item["PK"], item["SK"])

    def outcome(self, decision: keys.Key, *, success: bool, rev: int = 1, **details: Any) -> None:
        values = {"outcome": {"success": success, **details}, "outcome_rev": rev}
        assert self.items.update(DECISIONS, decision, values)

    def acknowledge(
        self, target: str, signal: keys.Key, status: str = "PROCESSED", **more: Any
    ) -> bool:
        """Do to a row what its agent does; says whether there is one."""
        values = {"status": status, "processed_at": int(time.time()), **more}
        return self.items.update(SIGNALS, self.row_key(target, signal), values)

    def overdue(self, signal: keys.Key) -> None:
        """Do what a tick does once a signal's deadline has passed, without waiting for it."""
        deadline = expires_at(self.items.get(SIGNALS, signal) or {})
        minute = due_minute(deadline, time.time())
        parts = [Partition(minute, shard) for shard in range(keys.DUE_SHARDS)]

        def is_noted() -> bool:
            entries = [item for part in parts for item in self.items.query(PIPELINE, part.pk)]
            return any(signal.sk in str(entry["entries"]) for entry in entries)

        self.eventually(is_noted, "the deadline is noted")
        texts = [Entry(ascii_json(part._asdict()), "") for part in parts]
        self.send([*pack(EXPIRE, texts, moment_ms=int(time.time() * 1000))])

    # -- what came of it -------------------------------------------------------------------------

    def row_key(self, target: str, signal: keys.Key) -> keys.Key:
        return keys.inbox_row(target, signal, signal_uid(*signal))

    def row(self, target: str, signal: keys.Key) -> Item:
        return self.items.get(SIGNALS, self.row_key(target, signal)) or {}

    def mirror(self, signal: keys.Key) -> dict[str, Any]:
        mirror = self.items.get(SIGNALS, keys.mirror(signal)) or {}
        return records.statuses_of(mirror)

    def statuses(self, signal: keys.Key) -> dict[str, str]:
        return {target: entry["status"] for target, entry in self.mirror(signal).items()}

    def receive(self, agent_id: str, count: int = 1) -> list[dict[str, Any]]:
        """Receive exactly this many messages, and delete them."""
        found: list[dict[str, Any]] = []

        def enough() -> bool:
            found.extend(self.letters(agent_id))
            return len(found) >= count

        self.eventually(enough, f"{agent_id} receives {count} messages")
        assert len(found) == count, found
        return found

    def letters(self, agent_id: str) -> list[dict[str, Any]]:
        """Receive what is there, or comes within a second, and delete it."""
        box = Mailbox(self.deployment, f"inbox-{agent_id}")
        letters = box.receive(hold_s=30, wait_s=1)
        box.delete(letters)
        return [json.loads(letter.body) for letter in letters]

    def waiting(self, queue: str) -> int:
        return Mailbox(self.deployment, queue).depth().total

    def parked(self, table: str, record: keys.Key) -> list[Item]:
        start = keys.parked(table, record.pk, record.sk, "")
        return list(self.items.query(PIPELINE, start.pk, begins=start.sk))

    def counts(self, agent_id: str) -> Counts:
        """Give what the ledgers of all of an agent's decisions say, epochs together."""
        reads = TableReads(self.deployment.dynamodb, prefix=self.deployment.prefix)
        epochs = boundaries(known_versions(self.items), agent_id, DECISION_TYPE)
        subjects = [keys.base_subject(agent_id, DECISION_TYPE, epoch) for epoch in epochs]
        return total(each for s in subjects for each in days_of(s, reads).values())

    def counted(self, agent_id: str, *, n: int, s: int, pending: int = 0) -> None:
        """Wait for the numbers of an agent's resolved, successful and pending decisions."""

        def holds() -> bool:
            counts = self.counts(agent_id)
            return (counts.n, counts.s, counts.pending) == (n, s, pending)

        self.eventually(holds, f"{agent_id} has {n} outcomes, {s} successes, {pending} pending")

    def eventually(self, holds: Callable[[], T], what: str, within_s: float = PATIENCE_S) -> T:
        """Wait until something holds, and give it."""
        return eventually(holds, f"{what}; the logs are in {self.stack.folder}", within_s=within_s)

    def becomes(self, signal: keys.Key, **expected: str) -> None:
        """Wait for the statuses in a signal's mirror; names stand without this test's tag."""
        wanted = {f"{name.replace('_', '-')}-{self.tag}": value for name, value in expected.items()}
        self.eventually(lambda: self.statuses(signal) == wanted, f"{signal} becomes {wanted}")

    # -- what the pipeline and its operators do ---------------------------------------------------

    def route(self, table: str, records: list[dict[str, Any]]) -> list[WorkMessage]:
        """Make work messages of stream records, as the pump does."""
        return build_router(Settings())(table, records)

    def feed(self, table: str, records: list[dict[str, Any]]) -> None:
        """Give stream records to the router, and what it makes of them to the work queues."""
        self.send(self.route(table, records))

    def send(self, messages: list[WorkMessage]) -> None:
        client = self.deployment.sqs
        SqsWorkQueues(client, urls=QueueUrls(client, prefix=self.deployment.prefix)).send(messages)

    def sharpwave(self, *argv: str) -> tuple[int, Any]:
        """Run a command; gives its exit code and its answer."""
        self._capsys.readouterr()
        code = main([*argv, "--prefix", self.deployment.prefix, "--json"])
        shown = self._capsys.readouterr()
        print(shown.err, file=sys.stderr)
        return code, json.loads(shown.out or shown.err)


def raw_signal(
    source: str,
    to: list[str],
    *,
    at: float | None = None,
    signal_type: str = "WHALE_ACTIVITY",
    **attributes: Any,
) -> Item:
    moment = time.time() if at is None else at
    attributes = {"ttl": int(moment) + DAY_S, **attributes}
    return records.signal(source, _id("sig"), to=to, at=moment, kind=signal_type, **attributes)


def raw_decision(
    agent_id: str, *, at: float | None = None, decision_type: str = DECISION_TYPE, **attributes: Any
) -> Item:
    moment = time.time() if at is None else at
    return records.decision(agent_id, _id("dec"), at=moment, kind=decision_type, **attributes)


def raw_memory(
    agent_id: str, *, at: float | None = None, memory_type: str = "NOTE", **attributes: Any
) -> Item:
    moment = time.time() if at is None else at
    attributes = {"expires_at": int(moment) + DAY_S, "ttl": int(moment) + 3 * DAY_S, **attributes}
    item = records.memory(agent_id, _id("mem"), at=moment, kind=memory_type, **attributes)
    if "data" not in attributes:
        del item["data"]
    return item


def _id(kind: str) -> str:
    return f"{kind}-{uuid4().hex[:12]}"


def stream_record(
    new: Item | None, *, old: Item | None = None, stored_at: float | None = None, **more: Any
) -> dict[str, Any]:
    """Write a stream record as DynamoDB does, with an event id of its own."""
    image = new or old or {}
    change: dict[str, Any] = {
        "Keys": {name: to_wire(image[name]) for name in ("PK", "SK")},
        "ApproximateCreationDateTime": time.time() if stored_at is None else stored_at,
        "SequenceNumber": str(time.time_ns()),
    }
    for name, item in (("NewImage", new), ("OldImage", old)):
        if item is not None:
            change[name] = {key: to_wire(value) for key, value in item.items()}
    kind = "REMOVE" if new is None else ("INSERT" if old is None else "MODIFY")
    return {"eventID": uuid4().hex, "eventName": kind, "dynamodb": change, **more}


@pytest.fixture(scope="session")
def raw() -> Mapping[str, Callable[..., Any]]:
    """How raw records and stream records are written."""
    return {
        "signal": raw_signal,
        "decision": raw_decision,
        "memory": raw_memory,
        "record": stream_record,
    }


@pytest.fixture(scope="session")
def options(tmp_path_factory: pytest.TempPathFactory, backend: Backend) -> StackOptions:
    """How a system under test is run; each needs a prefix and a folder of its own."""
    # moto is too slow for a sweep a second.
    tick_s = 2.0 if backend.name.startswith("moto") else 1.0
    return StackOptions(
        prefix=f"s{uuid4().hex[:8]}",
        threads=4,
        tick_s=tick_s,
        router=HOST,
        settings=SETTINGS,
        folder=tmp_path_factory.mktemp("stack"),
    )


@pytest.fixture(scope="session")
def borrowed(backend: Backend) -> Callable[[], Backend]:
    """Lend the session's backend to a stack, which would stop its own when it ends."""
    return lambda: Borrowed(backend)


@pytest.fixture
def make_world(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> Iterator[MakeWorld]:
    """Look at a running system; this process then reaches its backend and no other."""
    made: list[World] = []

    def make(stack: Stack) -> World:
        for name in [name for name in os.environ if name.startswith(OURS)]:
            monkeypatch.delenv(name)
        for name, value in stack.environment.items():
            if name.startswith(OURS):
                monkeypatch.setenv(name, value)
        made.append(World(stack, capsys))
        return made[-1]

    yield make
    for world in made:
        world.forget()


SCHEMAS = Path(__file__).parents[2] / "schemas" / "json"


@pytest.fixture(scope="session")
def schema() -> Callable[[str], Any]:
    """Read a published JSON Schema by name."""
    return lambda name: json.loads((SCHEMAS / f"{name}.json").read_text())
