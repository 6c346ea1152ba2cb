"""What unit tests of the SQS broker share: SQS in memory, a broker on it, and workers."""

from collections.abc import Callable, Iterator
from typing import Any

import dramatiq
import pytest

from sharpwave.workers.sqs import SQSBroker
from tests.world.sqs import MemorySqs


@pytest.fixture
def sqs() -> Iterator[MemorySqs]:
    """SQS with a queue `work` and its dead-letter queue `work_dlq`."""
    memory = MemorySqs()
    memory.add_queue("work")
    yield memory
    # A long poll outlives its worker, and what it received then would be settled in another test.
    for name in memory._boxes:
        memory.purge_queue(QueueUrl=f"memory://sqs/{name}")


@pytest.fixture
def broker_on(sqs: MemorySqs) -> Iterator[Callable[..., SQSBroker]]:
    """Make brokers on `sqs`, closed after the test."""
    made: list[SQSBroker] = []

    def make(**options: Any) -> SQSBroker:
        made.append(SQSBroker(**{"client": sqs, "visibility_timeout_s": 30, **options}))
        return made[-1]

    yield make
    for broker in made:
        broker.close()


@pytest.fixture
def work_on() -> Iterator[Callable[..., dramatiq.Worker]]:
    """Start workers on a broker, stopped after the test."""
    started: list[dramatiq.Worker] = []

    def start(broker: SQSBroker, *, threads: int = 4) -> dramatiq.Worker:
        worker = dramatiq.Worker(broker, worker_timeout=20, worker_threads=threads)
        worker.start()
        started.append(worker)
        return worker

    yield start
    for worker in started:
        worker.stop(timeout=5000)
