"""A backend with tables and queues, and the part of the pipeline that agents meet."""

import asyncio
import inspect
import itertools
import os
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import Future
from contextlib import closing
from typing import Any

import boto3
import pytest
from aiobotocore.session import get_session  # type: ignore[import-untyped]

from sharpwave.infra.local import Backend
from sharpwave.producers import Agent, AsyncAgent
from sharpwave.schemas import keys, messages, queues, tables
from sharpwave.schemas.ids import signal_uid
from sharpwave.schemas.numbers import item_from_wire, item_to_wire, plain_json
from sharpwave.schemas.times import DAY_S

_prefixes = itertools.count()


@pytest.fixture
def endpoint(backend: Backend) -> str:
    """Where tables and queues are."""
    return backend.endpoint_url


@pytest.fixture(autouse=True)
def credentials(monkeypatch: pytest.MonkeyPatch, endpoint: str) -> None:
    """Point AWS's own settings at the backend and at nothing else."""
    for name in [name for name in os.environ if name.startswith("AWS_")]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("AWS_ENDPOINT_URL", endpoint)
    monkeypatch.setenv("AWS_CONFIG_FILE", os.devnull)
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", os.devnull)


class Pipeline:
    """Tables, queues and the one thing agents see of the workers: rows and messages."""

    def __init__(self, session: boto3.Session, endpoint: str, prefix: str) -> None:
        self.session, self.prefix = session, prefix
        self.dynamodb: Any = session.client("dynamodb", endpoint_url=endpoint)
        self.sqs: Any = session.client("sqs", endpoint_url=endpoint)

    def create(self) -> None:
        for table in tables.TABLES:
            self.dynamodb.create_table(**tables.create_request(table, self.prefix))

    def add_queue(self, agent_id: str) -> str:
        name = tables.physical(queues.inbox(agent_id).name, self.prefix)
        return str(self.sqs.create_queue(QueueName=name)["QueueUrl"])

    def deliver(self, signal: keys.Key, target: str, *, times: int = 1, fit: bool = True) -> str:
        """Do what a worker does for one target; without `fit` the payload stays in the row."""
        item, table = self.item(tables.SIGNALS, signal), tables.physical("agent_signals", "")
        message = messages.message_of(item, target, tables.physical(table, self.prefix))
        row = {
            **message["row"],
            "signal_pk": signal.pk,
            "signal_sk": signal.sk,
            "status": "PENDING",
            "ttl": message["expires_at"] + 7 * DAY_S,
        }
        del row["table"]
        copied = ("signal_id", "signal_type", "source_agent", "timestamp")
        row |= {name: message[name] for name in (*copied, "provenance", "expires_at")}
        if messages.is_answer(item):
            row |= {name: item[name] for name in ("in_reply_to", "data", "context") if name in item}
        if not fit:
            row["data"] = message.pop("data")
            message["omitted"] = ["data"]
        self.put(tables.SIGNALS, row)
        for _ in range(times):
            self.send(target, plain_json(message))
        return str(message["delivery_id"])

    def send(self, agent_id: str, body: str) -> None:
        self.sqs.send_message(QueueUrl=self.add_queue(agent_id), MessageBody=body)

    def put(self, table: str, item: dict[str, Any]) -> None:
        name = tables.physical(table, self.prefix)
        self.dynamodb.put_item(TableName=name, Item=item_to_wire(item))

    def item(self, table: str, key: keys.Key) -> dict[str, Any]:
        name = tables.physical(table, self.prefix)
        reply = self.dynamodb.get_item(TableName=name, Key=key.wire(), ConsistentRead=True)
        return item_from_wire(reply.get("Item", {}))

    def row(self, signal: keys.Key, target: str) -> dict[str, Any]:
        return self.item(tables.SIGNALS, keys.inbox_row(target, signal, signal_uid(*signal)))

    def count(self, table: str) -> int:
        name = tables.physical(table, self.prefix)
        return int(self.dynamodb.scan(TableName=name, Select="COUNT", ConsistentRead=True)["Count"])

    def waiting(self, agent_id: str, kind: str = "ApproximateNumberOfMessages") -> int:
        url = self.add_queue(agent_id)
        found = self.sqs.get_queue_attributes(QueueUrl=url, AttributeNames=[kind])
        return int(found["Attributes"][kind])

    def hidden(self, agent_id: str) -> int:
        return self.waiting(agent_id, "ApproximateNumberOfMessagesNotVisible")


@pytest.fixture(scope="session")
def session() -> boto3.Session:
    """One session for all tests: its models take longer to load than a test to run."""
    return boto3.Session("test", "test", region_name="us-east-1")


@pytest.fixture(scope="session")
def async_session() -> Any:
    shared = get_session()
    shared.set_credentials("test", "test")
    shared.set_config_variable("region", "us-east-1")
    return shared


@pytest.fixture
def pipeline(session: boto3.Session, endpoint: str) -> Pipeline:
    made = Pipeline(session, endpoint, f"c{os.getpid()}-{next(_prefixes)}")
    made.create()
    return made


class InLoop:
    """An asynchronous object, called from a test that does not await."""

    def __init__(self, target: Any, loop: asyncio.AbstractEventLoop) -> None:
        self._target, self._loop = target, loop

    def __getattr__(self, name: str) -> Any:
        value = getattr(self._target, name)
        if inspect.isasyncgenfunction(value):
            return lambda *args, **kwargs: self._iterate(value(*args, **kwargs))
        if inspect.iscoroutinefunction(value):
            return lambda *args, **kwargs: self._wait(value(*args, **kwargs))
        return value

    def __enter__(self) -> "InLoop":
        self._wait(self._target.__aenter__())
        return self

    def __exit__(self, *failure: Any) -> None:
        self._wait(self._target.__aexit__(*failure))

    def _wait(self, coroutine: Any) -> Any:
        done: Future[Any] = asyncio.run_coroutine_threadsafe(coroutine, self._loop)
        return done.result(timeout=30)

    def _iterate(self, source: Any) -> Iterator["InLoop"]:
        try:
            while True:
                try:
                    found = self._wait(source.__anext__())
                except StopAsyncIteration:
                    return
                yield InLoop(found, self._loop)
                del found
        finally:
            self._wait(source.aclose())


@pytest.fixture
def loop() -> Iterator[asyncio.AbstractEventLoop]:
    with closing(asyncio.new_event_loop()) as loop:
        thread = threading.Thread(target=loop.run_forever)
        thread.start()
        yield loop
        loop.call_soon_threadsafe(loop.stop)
        thread.join()


@pytest.fixture(params=["sync", "async"])
def connect(
    request: pytest.FixtureRequest,
    pipeline: Pipeline,
    loop: asyncio.AbstractEventLoop,
    async_session: Any,
) -> Iterator[Callable[..., Any]]:
    """Connect agents of either surface, closed at the end of the test."""
    opened: list[Any] = []

    def connect(agent_id: str, **arguments: Any) -> Any:
        arguments = {"prefix": pipeline.prefix, **arguments}
        agent: Any
        if request.param == "sync":
            agent = Agent(agent_id, session=pipeline.session, **arguments)
        else:
            agent = InLoop(AsyncAgent(agent_id, session=async_session, **arguments), loop)
        opened.append(agent.__enter__())
        return opened[-1]

    yield connect
    for agent in opened:
        agent.__exit__(None, None, None)
