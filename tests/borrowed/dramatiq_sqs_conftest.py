"""Stands for the conftest.py of dramatiq-sqs's tests: its SQSBroker is our broker here.

`Moved` takes dramatiq-sqs's arguments and makes the queues, as ours never does: each thing in it is
one that a user changes when moving over, and nothing else is.
"""

import sys
import types
import uuid
from collections.abc import Iterator, Sequence
from types import SimpleNamespace
from typing import Any

import dramatiq
import pytest
from dramatiq.middleware import AgeLimit, Callbacks, Middleware, Pipelines, Retries, TimeLimit
from stand_in import MANY_RECEIVES, ours

from sharpwave.workers.sqs import SQSBroker, Unsendable
from sharpwave.workers.sqs.receiving import SqsConsumer
from tests.world.sqs import MemorySqs


class Counted(SqsConsumer):
    """Gives what their tests look at in a consumer: what it buffers, and what is held at all."""

    @property
    def messages(self) -> Sequence[None]:
        # The end of the buffer is marked when the consumer closes.
        return [None] * (self._ready.qsize() - self._stopping.is_set())

    @property
    def message_refc(self) -> int:
        return len(self._channel.held.active)


class Moved(SQSBroker):
    """Our broker under dramatiq-sqs's name and arguments."""

    def __init__(
        self,
        *,
        namespace: str = "",
        middleware: list[Middleware] | None = None,
        dead_letter: bool = False,
        max_message_size: int = 1_048_576,
        **options: Any,
    ) -> None:
        self.memory = MemorySqs()
        self._namespace = namespace
        super().__init__(
            client=self.memory,
            queue_prefix=namespace,
            max_body_bytes=max_message_size,
            middleware=None if middleware is None else [ours(each) for each in middleware],
        )

    @property
    def max_message_size(self) -> int:
        return self._bodies._max_bytes

    @max_message_size.setter
    def max_message_size(self, value: int) -> None:
        self._bodies._max_bytes = value

    def consume(self, *args: Any, **options: Any) -> SqsConsumer:
        consumer = super().consume(*args, **options)
        consumer.__class__ = Counted
        return consumer

    @property
    def dead_letter_queues(self) -> Any:
        def read(queue_name: str) -> Any:
            found = self.memory.messages(f"{self._namespace}-{queue_name}_dlq")
            return SimpleNamespace(receive_messages=lambda **_: found)

        return {name: read(name) for name in self.queues}

    @property
    def sqs(self) -> Any:
        return self.memory

    def declare_queue(self, queue_name: str) -> None:
        self.memory.add_queue(f"{self._namespace}-{queue_name}", max_receives=MANY_RECEIVES)
        super().declare_queue(queue_name)


def _module(name: str, **members: Any) -> None:
    module = types.ModuleType(name)
    vars(module).update(members)
    sys.modules[name] = module


_module("dramatiq_sqs", SQSBroker=Moved)
_module("dramatiq_sqs.exceptions", MessageDelayTooLong=Unsendable, MessageTooLarge=Unsendable)


@pytest.fixture
def broker(namespace: str, dead_letter: bool, tags: dict[str, str]) -> Iterator[Moved]:
    broker = Moved(
        namespace=namespace,
        dead_letter=dead_letter,
        tags=tags,
        middleware=[
            AgeLimit(),
            TimeLimit(),
            Callbacks(),
            Pipelines(),
            Retries(min_backoff=1000, max_backoff=900000, max_retries=96),
        ],
    )
    dramatiq.set_broker(broker)
    yield broker
    broker.close()


@pytest.fixture
def namespace() -> str:
    return "pytest"


@pytest.fixture
def tags() -> dict[str, str]:
    return {"owner": "pytest"}


@pytest.fixture
def dead_letter() -> bool:
    return False


@pytest.fixture
def sqs(broker: Moved) -> Any:
    return broker.sqs


@pytest.fixture
def queue_name() -> str:
    return f"queue_{uuid.uuid4()}"


@pytest.fixture
def worker(broker: Moved) -> Iterator[dramatiq.Worker]:
    worker = dramatiq.Worker(broker)
    worker.start()
    yield worker
    worker.stop()
