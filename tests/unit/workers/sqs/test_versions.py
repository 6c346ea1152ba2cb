"""Workers of different versions share a queue: what one does not know is left to the others."""

import json
from collections.abc import Callable
from typing import Any

import dramatiq
import pytest

from sharpwave.workers.main import worth_retrying
from sharpwave.workers.sqs import SQSBroker, UnknownActor, VisibilityRetries
from tests.world.sqs import MemorySqs
from tests.world.waiting import eventually

Brokers = Callable[..., SQSBroker]
Workers = Callable[..., dramatiq.Worker]

NEW = json.dumps({"actor_name": "on_new_things", "message_id": "1", "args": [7]})


def put(sqs: MemorySqs, body: str) -> None:
    sqs.send_message(QueueUrl="memory://sqs/work", MessageBody=body)


@pytest.fixture
def old_worker(broker_on: Brokers, work_on: Workers) -> Callable[..., SQSBroker]:
    """Start a worker that has no actor of the name in `NEW`."""

    def start(**retries: Any) -> SQSBroker:
        broker = broker_on(middleware=[VisibilityRetries(**{"min_backoff": 0, **retries})])
        dramatiq.actor(actor_name="on_things", broker=broker, queue_name="work")(lambda: None)
        work_on(broker)
        return broker

    return start


def test_a_message_for_an_unknown_actor_stays_in_its_queue(sqs: MemorySqs, old_worker: Any) -> None:
    broker = old_worker(min_backoff=60_000)

    put(sqs, NEW)

    eventually(lambda: broker.snapshot("work").counts.given_back, "it was given back")
    assert [(s.body, s.receives) for s in sqs.messages("work")] == [(NEW, 1)]
    assert not sqs.messages("work_dlq")
    assert broker.snapshot("work").counts.poison == 0


def test_a_newer_worker_takes_what_an_older_one_gave_back(
    sqs: MemorySqs,
    old_worker: Any,
    broker_on: Brokers,
    work_on: Workers,
) -> None:
    old = old_worker(max_retries=None)
    put(sqs, NEW)
    eventually(lambda: old.snapshot("work").counts.given_back, "the older one had it first")
    newer, ran = broker_on(), list[int]()
    dramatiq.actor(actor_name="on_new_things", broker=newer, queue_name="work")(ran.append)

    work_on(newer)

    eventually(lambda: ran == [7], "the newer one ran it")
    assert not sqs.messages("work_dlq")


def test_what_nobody_knows_ends_among_the_dead_letters_with_the_reason(
    sqs: MemorySqs, old_worker: Any
) -> None:
    old_worker(max_retries=3)

    put(sqs, NEW)

    eventually(lambda: sqs.messages("work_dlq"), "the message is dead")
    [stored] = sqs.messages("work_dlq")
    reason = stored.attributes["dead_letter_reason"]["StringValue"]
    assert reason == (
        "retries exceeded (4 receives): UnknownActor: no actor 'on_new_things' in this worker"
    )
    eventually(lambda: not sqs.messages("work"), "the original is deleted")


def test_the_redrive_policy_has_the_last_word(sqs: MemorySqs, old_worker: Any) -> None:
    old_worker(max_retries=None)

    put(sqs, NEW)

    eventually(lambda: sqs.messages("work_dlq"), "SQS moved it")


def test_options_of_an_unknown_message_that_nobody_can_read_only_delay_it(
    sqs: MemorySqs, old_worker: Any
) -> None:
    broker = old_worker()

    put(sqs, json.dumps({**json.loads(NEW), "options": {"min_backoff": "soon"}}))

    eventually(lambda: broker.snapshot("work").counts.given_back, "it was given back")
    assert not sqs.messages("work_dlq")


def test_this_product_waits_for_a_newer_worker_as_long_as_for_the_world() -> None:
    assert worth_retrying(17, UnknownActor("on_new_things"))
    assert not worth_retrying(18, UnknownActor("on_new_things"))
    assert not worth_retrying(4, ValueError())
