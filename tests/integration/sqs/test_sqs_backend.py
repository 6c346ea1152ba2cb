"""The SQS broker keeps its promises on a real backend, over HTTP."""

import json
import uuid
from base64 import b64encode
from collections.abc import Callable, Iterator
from typing import Any

import dramatiq
import pytest

from sharpwave.workers.sqs import SQSBroker, VisibilityRetries
from sharpwave.workers.sqs.acknowledging import Channel
from sharpwave.workers.sqs.holding import Crew, Received
from sharpwave.workers.sqs.metrics import Metrics
from sharpwave.workers.sqs.queues import QueueAddress, Queues
from tests.world.waiting import eventually


@pytest.fixture
def broker(client: Any, prefix: str) -> Iterator[Any]:
    """A broker on the queues of this test."""
    broker = SQSBroker(
        client=client,
        queue_prefix=prefix,
        visibility_timeout_s=5,
        middleware=[VisibilityRetries(min_backoff=0)],
    )
    yield broker
    broker.close()


@pytest.fixture
def working(broker: Any) -> Iterator[Any]:
    """Start a worker, stopped after the test."""
    workers: list[Any] = []

    def start() -> None:
        worker = dramatiq.Worker(broker, worker_timeout=50, worker_threads=4)
        worker.start()
        workers.append(worker)

    yield start
    for worker in workers:
        worker.stop(timeout=5000)


def received_from(client: Any, url: Any) -> Any:
    """Receive all messages of a queue."""
    messages: list[Any] = []
    while batch := client.receive_message(
        QueueUrl=url, MaxNumberOfMessages=10, MessageAttributeNames=["All"]
    ).get("Messages"):
        messages += batch
    return messages


def test_many_messages_run_once_each_and_leave_the_queue(
    broker: Any, working: Any, queue: Callable[[str], tuple[str, str]], client: Any
) -> None:
    queue("work")
    ran: list[Any] = []
    act = dramatiq.actor(actor_name="act", broker=broker, queue_name="work")(ran.append)
    broker.verify()

    broker.enqueue_many([act.message(n) for n in range(200)])
    working()
    broker.join("work", timeout=20_000)

    assert sorted(ran) == list(range(200))
    assert broker.snapshot("work").calls_per_message < 0.5


def test_bodies_of_other_writers_run_and_poison_is_dead_with_the_reason(
    broker: Any, working: Any, queue: Callable[[str], tuple[str, str]], client: Any
) -> None:
    url, dead_url = queue("work")
    ran: list[Any] = []
    dramatiq.actor(actor_name="act", broker=broker, queue_name="work")(ran.append)
    plain = json.dumps({"actor_name": "act", "args": ["plain"], "message_id": "1"})
    coded = b64encode(plain.replace("plain", "coded").encode()).decode()

    for body in (plain, coded, "junk"):
        client.send_message(QueueUrl=url, MessageBody=body)
    working()
    broker.join("work", timeout=20_000)

    assert sorted(ran) == ["coded", "plain"]
    [dead] = received_from(client, dead_url)
    assert dead["Body"] == "junk"
    assert dead["MessageAttributes"]["dead_letter_reason"]["StringValue"] == (
        "body is neither JSON nor base64 of JSON"
    )


def test_a_failed_message_is_retried_where_it_lies(
    broker: Any, working: Any, queue: Callable[[str], tuple[str, str]]
) -> None:
    queue("work")
    ran: list[Any] = []

    @dramatiq.actor(broker=broker, queue_name="work")
    def act() -> None:
        ran.append(1)
        if len(ran) < 3:
            raise OSError("not yet")

    act.send()
    working()
    broker.join("work", timeout=20_000)

    assert len(ran) == 3
    assert broker.snapshot("work").counts.sent == 1


def test_a_task_longer_than_its_visibility_timeout_runs_once(
    client: Any, queue: Callable[[str], tuple[str, str]], prefix: str
) -> None:
    queue("work")
    broker = SQSBroker(client=client, queue_prefix=prefix, visibility_timeout_s=2)
    ran: list[Any] = []

    @dramatiq.actor(broker=broker, queue_name="work")
    def act() -> None:
        ran.append(1)
        eventually(lambda: broker.snapshot("work").counts.kept_hidden >= 3, "three beats")

    act.send()
    worker = dramatiq.Worker(broker, worker_timeout=50, worker_threads=2)
    worker.start()
    broker.join("work", timeout=20_000)

    worker.stop()
    broker.close()
    assert ran == [1]


@pytest.mark.deviates("moto", "fifo-polls")
def test_a_fifo_queue_keeps_order_and_drops_duplicates(
    client: Any, queue: Callable[[str], tuple[str, str]], prefix: str
) -> None:
    url, _ = queue("line.fifo")
    broker = SQSBroker(client=client, queue_places={"line": url})
    ran: list[Any] = []
    act = dramatiq.actor(actor_name="act", broker=broker, queue_name="line")(ran.append)
    messages = [act.message_with_options(args=(n,), group_id="g") for n in range(12)]

    broker.enqueue_many(messages)
    broker.enqueue(messages[0])
    worker = dramatiq.Worker(broker, worker_timeout=50, worker_threads=4)
    worker.start()
    broker.join("line", timeout=20_000)

    worker.stop()
    broker.close()
    assert ran == list(range(12))


@pytest.mark.deviates("localstack", "dead-receipts")
def test_a_dead_handle_is_refused_for_good(
    client: Any, queue: Callable[[str], tuple[str, str]]
) -> None:
    url, _ = queue("work")
    stale = Received(f"stale-{uuid.uuid4()}", "{}", 1, 0.0, 0.0, 0.0)

    channel = Channel(
        client,
        Queues(client),
        queue=QueueAddress("work", url),
        metrics=Metrics(),
        crew=Crew(1),
        recall=lambda waiting: (),
        visibility_s=30,
    )

    [refusal] = channel._extend([stale])

    assert refusal.is_final
