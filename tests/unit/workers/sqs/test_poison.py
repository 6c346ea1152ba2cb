"""What no worker can run goes to the dead letters with the reason, and good work flows on."""

from collections.abc import Callable
from typing import Any

import dramatiq
import pytest

from sharpwave.workers.sqs import SQSBroker
from tests.world.sqs import MemorySqs
from tests.world.waiting import eventually


@pytest.fixture
def good_work(broker_on: Callable[..., SQSBroker], work_on: Callable[..., dramatiq.Worker]) -> Any:
    """Start a worker whose actor notes what it was given."""

    def start(**options: Any) -> Any:
        broker = broker_on(**options)
        ran: list[Any] = []

        @dramatiq.actor(broker=broker, queue_name="work")
        def act(n: Any) -> None:
            ran.append(n)

        work_on(broker)
        return broker, act, ran

    return start


def put(sqs: MemorySqs, body: Any, **fields: Any) -> None:
    sqs.send_message(QueueUrl="memory://sqs/work", MessageBody=body, **fields)


def reasons(sqs: MemorySqs) -> Any:
    return {s.attributes["dead_letter_reason"]["StringValue"] for s in sqs.messages("work_dlq")}


def test_poison_is_dead_with_its_body_and_good_messages_run(sqs: MemorySqs, good_work: Any) -> None:
    _, act, ran = good_work()

    for n in range(20):
        put(sqs, f"not a message {n}")
        act.send(n)

    eventually(lambda: not sqs.messages("work"), "the queue is empty")
    assert sorted(ran) == list(range(20))
    assert {s.body for s in sqs.messages("work_dlq")} == {f"not a message {n}" for n in range(20)}
    assert reasons(sqs) == {"body is neither JSON nor base64 of JSON"}


def test_attributes_of_the_sender_survive_beside_the_reason(sqs: MemorySqs, good_work: Any) -> None:
    good_work()
    trace = {"DataType": "String", "StringValue": "00-abc-def-01"}

    put(sqs, "junk", MessageAttributes={"traceparent": trace})

    eventually(lambda: sqs.messages("work_dlq"), "the message is dead")
    [stored] = sqs.messages("work_dlq")
    assert stored.attributes["traceparent"] == trace


def test_poison_is_not_deleted_before_its_copy_is_accepted(sqs: MemorySqs, good_work: Any) -> None:
    sqs.fail("send_message_batch", code="ServiceUnavailable", times=3)
    good_work()

    put(sqs, "junk")

    eventually(lambda: sqs.messages("work_dlq"), "the copy was accepted at last")
    eventually(lambda: not sqs.messages("work"), "the original is deleted")
    assert len(sqs.messages("work_dlq")) == 1


def test_poison_without_a_dead_letter_queue_is_kept(sqs: MemorySqs, good_work: Any) -> None:
    sqs.add_queue("lonely-work", dlq=False)
    broker, _, _ = good_work(queue_prefix="lonely")

    sqs.send_message(QueueUrl="memory://sqs/lonely-work", MessageBody="junk")

    eventually(lambda: broker.snapshot("work").counts.given_back, "it was given back")
    assert [s.body for s in sqs.messages("lonely-work")] == ["junk"]


def test_a_message_a_middleware_rejects_is_dead(
    sqs: MemorySqs,
    broker_on: Callable[..., SQSBroker],
    work_on: Callable[..., dramatiq.Worker],
) -> None:
    class Reject(dramatiq.Middleware):
        def before_process_message(self, broker: Any, message: Any) -> None:
            message.fail()

    broker = broker_on(middleware=[Reject()])
    act = dramatiq.actor(actor_name="act", broker=broker, queue_name="work")(lambda: None)

    act.send()
    work_on(broker)

    eventually(lambda: sqs.messages("work_dlq"), "the message is dead")
    assert reasons(sqs) == {"rejected by a middleware"}


def test_a_claim_store_that_fails_delays_the_message_and_does_not_kill_it(
    sqs: MemorySqs,
    broker_on: Callable[..., SQSBroker],
    work_on: Callable[..., dramatiq.Worker],
) -> None:
    class Flaky:
        body = ""
        gets = 0

        def put(self, body: Any) -> Any:
            self.body = body
            return "ref"

        def get(self, reference: Any) -> Any:
            self.gets += 1
            if self.gets == 1:
                raise OSError("store is down")
            return self.body

    broker = broker_on(claims=Flaky(), claim_over_bytes=10)
    ran: list[Any] = []
    act = dramatiq.actor(actor_name="act", broker=broker, queue_name="work")(ran.append)

    act.send("x" * 100)
    work_on(broker)

    eventually(lambda: ran == ["x" * 100], "the message ran once the store answered")
    assert not sqs.messages("work_dlq")
