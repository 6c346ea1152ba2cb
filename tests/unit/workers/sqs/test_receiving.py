"""Polling adapts to the load and survives SQS; what cannot run does not hold up what can."""

import json
import threading
import time
from collections.abc import Callable
from typing import Any

import dramatiq
import pytest

from sharpwave.workers.main import worth_retrying
from sharpwave.workers.sqs import SQSBroker, UnknownActor, VisibilityRetries
from tests.world.sqs import Latencies, MemorySqs
from tests.world.waiting import eventually

Brokers = Callable[..., SQSBroker]
Workers = Callable[..., dramatiq.Worker]


@pytest.fixture
def noop(broker_on: Callable[..., SQSBroker]) -> Any:
    """Make a no-op actor that counts its runs."""

    def make(**options: Any) -> Any:
        broker = broker_on(**options)
        ran: list[Any] = []
        act = dramatiq.actor(actor_name="act", broker=broker, queue_name="work")(ran.append)
        return broker, act, ran

    return make


def test_an_idle_queue_has_one_poller(
    sqs: MemorySqs, noop: Any, work_on: Callable[..., dramatiq.Worker]
) -> None:
    broker, _, _ = noop()

    work_on(broker)

    eventually(lambda: sqs.calls["receive_message"] == 1, "the long poll is under way")
    eventually(lambda: broker.snapshot("work").pollers == 1, "its poller is counted")


def test_a_backlog_has_more_pollers_and_they_leave_when_it_is_gone(
    noop: Any, work_on: Callable[..., dramatiq.Worker]
) -> None:
    slow = MemorySqs(Latencies(receive=0.01, batch=0.005))
    slow.add_queue("work")
    broker, act, ran = noop(client=slow)
    broker.enqueue_many([act.message(n) for n in range(2000)])

    work_on(broker, threads=40)

    eventually(lambda: broker.snapshot("work").pollers >= 3, "pollers were added")
    eventually(lambda: len(ran) == 2000, "the backlog is done")
    eventually(lambda: broker.snapshot("work").pollers == 1, "one poller is left")


def test_throttling_never_reaches_dramatiq(
    sqs: MemorySqs,
    noop: Any,
    work_on: Callable[..., dramatiq.Worker],
    caplog: pytest.LogCaptureFixture,
) -> None:
    sqs.fail("receive_message", code="RequestThrottled", times=4)
    broker, act, ran = noop()

    act.send(1)
    work_on(broker)

    eventually(lambda: ran == [1], "the message ran once SQS answered")
    assert broker.snapshot("work").counts.receive_errors == 4
    assert "Restarting consumer" not in caplog.text


def test_a_message_whose_receive_was_lost_comes_again(
    sqs: MemorySqs, noop: Any, work_on: Callable[..., dramatiq.Worker]
) -> None:
    sqs.lose_replies("receive_message")
    broker, act, ran = noop(visibility_timeout_s=1)

    act.send(1)
    work_on(broker)

    eventually(lambda: ran == [1], "it ran after the visibility timeout")


def test_a_buffered_message_is_handed_out_at_once_and_an_empty_wait_is_bounded(
    sqs: MemorySqs, noop: Any
) -> None:
    broker, act, _ = noop()
    act.send(1)
    consumer = broker.consume("work", prefetch=2, timeout=100)

    assert next(consumer).args == (1,)
    began = time.monotonic()
    assert next(consumer) is None
    assert 0.05 < time.monotonic() - began < 1
    consumer.close()


def test_the_idle_long_poll_is_20_s_whatever_the_workers_timeout(
    sqs: MemorySqs,
    noop: Any,
    work_on: Callable[..., dramatiq.Worker],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    waits, receive = [], sqs.receive_message

    def noting(**request: Any) -> Any:
        waits.append(request["WaitTimeSeconds"])
        return receive(**request)

    monkeypatch.setattr(sqs, "receive_message", noting)
    broker, act, ran = noop()

    work_on(broker)
    eventually(lambda: waits == [20], "the long poll is under way")
    act.send(1)

    eventually(lambda: ran == [1] and waits == [20, 20], "the poll under way brought it")


def test_a_fifo_queue_keeps_the_order_of_a_group(
    sqs: MemorySqs,
    broker_on: Callable[..., SQSBroker],
    work_on: Callable[..., dramatiq.Worker],
) -> None:
    sqs.add_queue("line.fifo")
    broker = broker_on(queue_places={"line": "line.fifo"})
    ran: list[Any] = []
    act = dramatiq.actor(actor_name="act", broker=broker, queue_name="line")(ran.append)
    broker.enqueue_many([act.message_with_options(args=(n,), group_id="g") for n in range(25)])

    work_on(broker, threads=4)

    eventually(lambda: not sqs.messages("line.fifo"), "all ran")
    assert ran == list(range(25))


def test_a_message_with_a_time_of_its_own_is_hidden_until_then(
    sqs: MemorySqs, noop: Any, work_on: Callable[..., dramatiq.Worker]
) -> None:
    broker, act, ran = noop()
    now_ms = time.time() * 1000

    act.send_with_options(args=("later",), eta=now_ms + 600_000)
    act.send_with_options(args=("now",), eta=now_ms - 1)
    work_on(broker)

    eventually(lambda: ran == ["now"], "the one that is due ran")
    eventually(lambda: broker.snapshot("work").counts.given_back == 1, "the other waits")
    eventually(lambda: len(sqs.messages("work")) == 1, "the one that ran is deleted")
    [stored] = sqs.messages("work")
    assert 590 < stored.visible_at - time.monotonic() < 610
    assert sqs.calls["send_message"] == 2


@pytest.mark.parametrize("eta", ["soon", None])
def test_a_time_that_is_none_does_not_keep_a_message(
    sqs: MemorySqs,
    noop: Any,
    work_on: Callable[..., dramatiq.Worker],
    caplog: pytest.LogCaptureFixture,
    eta: Any,
) -> None:
    broker, act, ran = noop()

    act.send_with_options(args=(1,), eta=eta)
    work_on(broker)

    eventually(lambda: ran == [1], "it ran")
    assert ("Invalid eta value for message" in caplog.messages) == (eta is not None)


def test_a_fifo_group_has_one_message_under_way(
    sqs: MemorySqs,
    broker_on: Callable[..., SQSBroker],
    work_on: Callable[..., dramatiq.Worker],
) -> None:
    sqs.add_queue("line.fifo")
    broker, finish = broker_on(queue_places={"line": "line.fifo"}), threading.Event()
    began: list[int] = []

    @dramatiq.actor(broker=broker, queue_name="line")
    def act(n: int) -> None:
        began.append(n)
        finish.wait(20)

    broker.enqueue_many([act.message_with_options(args=(n,), group_id="g") for n in range(5)])
    work_on(broker, threads=8)

    eventually(lambda: began, "the first is under way")
    assert broker.snapshot("line").counts.received == 1
    finish.set()
    eventually(lambda: began == [0, 1, 2, 3, 4], "the others followed")


def test_slow_tasks_are_left_to_other_workers(
    sqs: MemorySqs,
    broker_on: Callable[..., SQSBroker],
    work_on: Callable[..., dramatiq.Worker],
) -> None:
    broker, finish = broker_on(), threading.Event()
    act = dramatiq.actor(actor_name="act", broker=broker, queue_name="work")(
        lambda: finish.wait(20) and None
    )
    broker.enqueue_many([act.message() for _ in range(50)])

    work_on(broker, threads=4)

    eventually(lambda: broker.snapshot("work").in_flight == 4, "every thread is busy")
    assert broker.snapshot("work").counts.received == 4
    finish.set()


# What no worker can run goes to the dead letters with the reason, and good work flows on.


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


# Workers of different versions share a queue: what one does not know is left to the others.


NEW = json.dumps({"actor_name": "on_new_things", "message_id": "1", "args": [7]})


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
