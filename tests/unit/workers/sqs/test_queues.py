"""A queue is found by name, URL or ARN, once; it is never created; its redrive is checked."""

from collections.abc import Callable
from typing import Any

import dramatiq
import pytest
from dramatiq.errors import BrokerConnectionError, QueueJoinTimeout

from sharpwave.workers.sqs import QueueUnavailable, RedriveMissing, SQSBroker
from sharpwave.workers.sqs.queues import Queues, dead_letter_name
from tests.world.sqs import MemorySqs


def test_a_queue_is_looked_up_once(sqs: MemorySqs) -> None:
    queues = Queues(sqs)

    assert {queues.get("work").url for _ in range(5)} == {"memory://sqs/work"}
    assert sqs.calls["get_queue_url"] == 1


def test_a_prefix_goes_before_the_name(sqs: MemorySqs) -> None:
    sqs.add_queue("prod-work")

    assert Queues(sqs, prefix="prod").get("work").url == "memory://sqs/prod-work"


@pytest.mark.parametrize(
    ("place", "url"),
    [
        (
            "https://sqs.eu-west-1.amazonaws.com/1/jobs",
            "https://sqs.eu-west-1.amazonaws.com/1/jobs",
        ),
        ("arn:aws:sqs:us-east-1:000000000000:jobs", "memory://sqs/jobs"),
        ("jobs", "memory://sqs/jobs"),
    ],
)
def test_a_place_is_a_url_an_arn_or_a_name_and_takes_no_prefix(
    sqs: MemorySqs, place: Any, url: Any
) -> None:
    sqs.add_queue("jobs")

    assert Queues(sqs, prefix="prod", places={"work": place}).get("work").url == url


def test_a_missing_queue_is_an_error_that_dramatiq_retries(sqs: MemorySqs) -> None:
    with pytest.raises(QueueUnavailable, match="provision it first") as caught:
        Queues(sqs).get("nowhere")

    assert isinstance(caught.value, BrokerConnectionError)


def test_the_dead_letters_are_where_the_redrive_policy_points(sqs: MemorySqs) -> None:
    sqs.add_queue("graveyard", dlq=False)
    policy = '{"deadLetterTargetArn": "arn:aws:sqs:us-east-1:0:graveyard", "maxReceiveCount": 5}'
    sqs.create_queue(QueueName="jobs", Attributes={"RedrivePolicy": policy})

    assert Queues(sqs).dead_letters_of("jobs").url == "memory://sqs/graveyard"


@pytest.mark.parametrize(("name", "dlq"), [("work", "work_dlq"), ("a.fifo", "a_dlq.fifo")])
def test_a_dead_letter_queue_is_named_after_its_queue(name: Any, dlq: Any) -> None:
    assert dead_letter_name(name) == dlq


def test_verifying_names_the_queue_without_a_redrive_policy(
    sqs: MemorySqs, broker_on: Callable[..., SQSBroker]
) -> None:
    sqs.add_queue("bare", dlq=False)
    broker = broker_on()
    broker.declare_queue("work")
    broker.verify()
    broker.declare_queue("bare")

    with pytest.raises(RedriveMissing, match="'bare' has no RedrivePolicy"):
        broker.verify()


def test_a_worker_on_a_queue_without_a_redrive_policy_warns(
    sqs: MemorySqs, broker_on: Callable[..., SQSBroker], caplog: pytest.LogCaptureFixture
) -> None:
    sqs.add_queue("bare", dlq=False)
    broker = broker_on()

    broker.consume("bare").close()

    assert "'bare' has no RedrivePolicy" in caplog.text


def test_declaring_a_queue_asks_sqs_for_nothing(
    sqs: MemorySqs, broker_on: Callable[..., SQSBroker]
) -> None:
    broker_on().declare_queue("work")

    assert not sqs.calls


def test_flushing_deletes_every_message(
    sqs: MemorySqs, broker_on: Callable[..., SQSBroker]
) -> None:
    broker = broker_on()
    act = dramatiq.actor(actor_name="act", broker=broker, queue_name="work")(lambda: None)
    act.send()

    broker.flush_all()

    assert not sqs.messages("work")


def test_joining_waits_until_the_queue_is_empty(
    sqs: MemorySqs, broker_on: Callable[..., SQSBroker], work_on: Callable[..., dramatiq.Worker]
) -> None:
    broker = broker_on()
    ran: list[Any] = []
    act = dramatiq.actor(actor_name="act", broker=broker, queue_name="work")(ran.append)
    broker.enqueue_many([act.message(n) for n in range(30)])
    work_on(broker)

    broker.join("work", timeout=10_000)

    assert len(ran) == 30


def test_joining_a_queue_that_nobody_works_on_times_out(
    sqs: MemorySqs, broker_on: Callable[..., SQSBroker]
) -> None:
    broker = broker_on()
    dramatiq.actor(actor_name="act", broker=broker, queue_name="work")(lambda: None).send()

    with pytest.raises(QueueJoinTimeout):
        broker.join("work", timeout=200)
