"""Doubles of a stream with many shards, of SQS and of time."""

import threading
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import pytest
from botocore.exceptions import ClientError

from sharpwave.workers.pump import Hooks, PumpSettings, TablePump
from sharpwave.workers.pump.shards import StreamSource
from sharpwave.workers.work.incoming import Streamed, StreamRecord, streamed
from sharpwave.workers.work.outgoing import WorkMessage
from tests.world import Crash, VirtualClock
from tests.world.stores import MemoryCheckpoints

TABLE = "agent_signals"


def client_error(code: str, operation: str = "Operation") -> ClientError:
    return ClientError({"Error": {"Code": code, "Message": code}}, operation)


@dataclass
class FakeShard:
    parent_id: str | None = None
    records: list[Streamed] = field(default_factory=list)
    trimmed: int = 0
    is_closed: bool = False


class FakeStreams:
    """One table's stream: shards with lineage, opaque iterators, faults on demand."""

    def __init__(self, *, page_size: int = 1000, listed_per_page: int = 2) -> None:
        self.stream_arn = f"arn:aws:dynamodb:eu-west-1:1:table/{TABLE}/stream/1"
        self.shards: dict[str, FakeShard] = {}
        self.page_size = page_size
        self.listed_per_page = listed_per_page
        self.empty_pages = 0
        self.faults: list[Exception] = []
        self.calls: list[str] = []
        self.granted: list[str] = []
        self.used: list[str] = []
        self._iterators: dict[str, tuple[str, str, int, int]] = {}
        self._expired: set[str] = set()
        self._sequence = 0

    def add_shard(self, shard_id: str, parent_id: str | None = None) -> None:
        self.shards[shard_id] = FakeShard(parent_id)

    def put(self, shard_id: str, count: int = 1, *, created: float = 0.0) -> list[str]:
        numbers = []
        for _ in range(count):
            self._sequence += 1
            numbers.append(f"{self._sequence:021d}")
            change = {
                "Keys": {"PK": {"S": shard_id}, "SK": {"S": numbers[-1]}},
                "SequenceNumber": numbers[-1],
                "ApproximateCreationDateTime": created,
            }
            record = {"eventID": f"{shard_id}/{self._sequence}", "dynamodb": change}
            self.shards[shard_id].records.append(streamed(record))
        return numbers

    def close(self, shard_id: str, *children: str) -> None:
        self.shards[shard_id].is_closed = True
        for child in children:
            self.add_shard(child, shard_id)

    def trim(self, shard_id: str) -> None:
        shard = self.shards[shard_id]
        shard.trimmed += len(shard.records)
        shard.records.clear()

    def expire_iterators(self) -> None:
        self._expired |= self._iterators.keys()

    def restart_empty(self) -> None:
        """Lose every record but keep answering old iterators, as ministack does."""
        for shard in self.shards.values():
            shard.records.clear()
            shard.trimmed = 0

    def reopen_as(self, label: str) -> None:
        self.stream_arn = self.stream_arn.rpartition("/")[0] + "/" + label
        self.shards.clear()

    def describe_table(self, *, TableName: str) -> dict[str, Any]:
        self._enter("describe_table")
        return {"Table": {"TableName": TableName, "LatestStreamArn": self.stream_arn}}

    def describe_stream(
        self, *, StreamArn: str, ExclusiveStartShardId: str | None = None
    ) -> dict[str, Any]:
        self._enter("describe_stream", StreamArn)
        names = list(self.shards)
        start = names.index(ExclusiveStartShardId) + 1 if ExclusiveStartShardId else 0
        page = names[start : start + self.listed_per_page]
        listed = [self._describe(name) for name in page]
        more = len(names) > start + len(page)
        last = {"LastEvaluatedShardId": page[-1]} if more else {}
        return {"StreamDescription": {"Shards": listed, **last}}

    def get_shard_iterator(
        self, *, StreamArn: str, ShardId: str, ShardIteratorType: str, SequenceNumber: str = ""
    ) -> dict[str, str]:
        self._enter("get_shard_iterator", StreamArn)
        if ShardId not in self.shards:
            raise client_error("ResourceNotFoundException")
        shard = self.shards[ShardId]
        position = shard.trimmed
        if ShardIteratorType == "AFTER_SEQUENCE_NUMBER":
            numbers = [r.change.sequence_number for r in shard.records]
            if SequenceNumber not in numbers:
                raise client_error("TrimmedDataAccessException")
            position += numbers.index(SequenceNumber) + 1
        self.granted.append(self._iterator(ShardId, position, self.empty_pages))
        return {"ShardIterator": self.granted[-1]}

    def get_records(self, *, ShardIterator: str, Limit: int) -> dict[str, Any]:
        self._enter("get_records")
        self.used.append(ShardIterator)
        arn, shard_id, position, empties = self._iterators[ShardIterator]
        if ShardIterator in self._expired or arn != self.stream_arn:
            raise client_error("ExpiredIteratorException")
        if shard_id not in self.shards:
            raise client_error("ResourceNotFoundException")
        shard = self.shards[shard_id]
        if position < shard.trimmed:
            raise client_error("TrimmedDataAccessException")
        if empties:
            return self._page([], self._iterator(shard_id, position, empties - 1))
        start = position - shard.trimmed
        page = shard.records[start : start + min(Limit, self.page_size)]
        after = position + len(page)
        if shard.is_closed and after >= shard.trimmed + len(shard.records):
            return {"Records": page}
        return self._page(page, self._iterator(shard_id, after, self.empty_pages))

    def _enter(self, call: str, stream_arn: str | None = None) -> None:
        self.calls.append(call)
        if self.faults:
            raise self.faults.pop(0)
        if stream_arn not in (None, self.stream_arn):
            raise client_error("ResourceNotFoundException")

    def _describe(self, shard_id: str) -> dict[str, Any]:
        parent = self.shards[shard_id].parent_id
        return {"ShardId": shard_id, **({"ParentShardId": parent} if parent else {})}

    def _iterator(self, shard_id: str, position: int, empties: int) -> str:
        token = f"iterator-{len(self._iterators)}"
        self._iterators[token] = (self.stream_arn, shard_id, position, empties)
        return token

    @staticmethod
    def _page(records: list[Streamed], iterator: str) -> dict[str, Any]:
        return {"Records": records, "NextShardIterator": iterator}


class Stop(threading.Event):
    """An event whose waits take no time but move the clock; set after `patience` waits."""

    def __init__(self, clock: VirtualClock, *, patience: int = 1_000) -> None:
        super().__init__()
        self._clock = clock
        self._patience = patience
        self.waits: list[float] = []

    def wait(self, timeout: float | None = None) -> bool:
        self._clock.advance(timeout or 0.0)
        self.waits.append(timeout or 0.0)
        if len(self.waits) >= self._patience:
            self.set()
        return self.is_set()


class Sent:
    """Accepts everything and remembers it; `before` may raise."""

    def __init__(self) -> None:
        self.messages: list[WorkMessage] = []
        self.before: Callable[[], None] = lambda: None
        self.after: Callable[[], None] = lambda: None

    def send(self, messages: Any) -> None:
        self.before()
        self.messages += messages
        self.after()

    @property
    def numbers(self) -> list[str]:
        return [number for message in self.messages for number in message.sequence_numbers]


class Told:
    """Collects what the hooks are told."""

    def __init__(self) -> None:
        self.trimmed: list[tuple[str, str]] = []
        self.unroutable: list[tuple[str, StreamRecord, Exception]] = []
        self.progress: list[Any] = []
        self.hooks = Hooks(
            on_trimmed=lambda table, shard_id: self.trimmed.append((table, shard_id)),
            on_unroutable=lambda *told: self.unroutable.append(told),
            on_progress=self.progress.append,
        )


def route_each(table: str, records: Any) -> list[WorkMessage]:
    return [
        WorkMessage("deliver", record.event_id, (record.change.sequence_number,))
        for record in records
    ]


class Bench:
    """A stream, a pump for it, and everything around; `restart` is a new process."""

    def __init__(self, *, settings: PumpSettings | None = None, page_size: int = 1000) -> None:
        self.streams = FakeStreams(page_size=page_size)
        self.checkpoints = MemoryCheckpoints()
        self.sent = Sent()
        self.told = Told()
        self.clock = VirtualClock(1_000.0)
        self.settings = settings or PumpSettings()
        self.route: Any = route_each
        self.pump = self.restart()

    def restart(self, kind: type[TablePump] = TablePump) -> TablePump:
        self.pump = kind(
            TABLE,
            source=StreamSource(self.streams, self.streams, TABLE),
            streams=self.streams,
            route=lambda table, records: self.route(table, records),
            sender=self.sent,
            checkpoints=self.checkpoints,
            hooks=self.told.hooks,
            settings=self.settings,
            clock=self.clock,
            now=self.clock,
        )
        return self.pump

    def settle(self, passes: int = 30, *, every_s: float = 0.3) -> None:
        """Let the pump pass over its shards until nothing new can happen."""
        for _ in range(passes):
            self.pump.step()
            self.clock.advance(every_s)

    def positions(self) -> dict[str, str]:
        return {saved.shard_id: saved.position for saved in self.checkpoints.load(TABLE)}


@pytest.fixture(scope="session")
def make_bench() -> type[Bench]:
    return Bench


@pytest.fixture
def bench() -> Bench:
    return Bench()


@pytest.fixture
def streams() -> FakeStreams:
    return FakeStreams()


@pytest.fixture
def clock() -> VirtualClock:
    return VirtualClock()


@pytest.fixture(scope="session")
def make_stop() -> type[Stop]:
    return Stop


@pytest.fixture(scope="session")
def crash() -> type[Crash]:
    return Crash


@pytest.fixture(scope="session")
def fault() -> Callable[[str], ClientError]:
    return client_error
