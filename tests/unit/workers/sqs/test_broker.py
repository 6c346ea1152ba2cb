"""The broker between Dramatiq and its queues: settings, middleware, shutdown."""

import threading
from collections.abc import Callable, Iterator
from typing import Any

import dramatiq
import pytest
from dramatiq.middleware import SkipMessage

from sharpwave.workers.sqs import SQSBroker, VisibilityRetries
from sharpwave.workers.sqs.holding import Prefetch
from tests.world.sqs import MemorySqs
from tests.world.waiting import eventually


@pytest.mark.parametrize(
    ("name", "value", "bounds"),
    [
        ("visibility_timeout_s", 0, "between 1 and 43200"),
        ("visibility_timeout_s", 43_201, "between 1 and 43200"),
        ("hold_limit_s", -1, "0 or more"),
        ("max_pollers", 0, "1 or more"),
        ("max_body_bytes", 0, "1 or more"),
        ("max_batch_bytes", 0, "1 or more"),
        ("claim_over_bytes", -1, "0 or more"),
    ],
)
def test_a_broker_refuses_nonsense(sqs: MemorySqs, name: str, value: Any, bounds: str) -> None:
    with pytest.raises(ValueError, match=f"{name} is {value}; it must be {bounds}"):
        SQSBroker(client=sqs, **{name: value})


# A middleware that fails after an actor does not lose the message.


@pytest.fixture
def failing_once(
    sqs: MemorySqs, broker_on: Callable[..., SQSBroker], work_on: Callable[..., dramatiq.Worker]
) -> Any:
    """Run one message beside a middleware whose hook of the given name fails once."""

    def run(hook: Any) -> Any:
        def fail(self: Any, broker: Any, *args: Any, **kwargs: Any) -> None:
            if not calls:
                calls.append(hook)
                raise OSError("cannot send")

        calls: list[str] = []
        ran: list[int] = []
        watch = type("Failing", (dramatiq.Middleware,), {hook: fail})()
        broker = broker_on(middleware=[watch, VisibilityRetries(min_backoff=0)])
        act = dramatiq.actor(actor_name="act", broker=broker, queue_name="work")(
            lambda: ran.append(1)
        )
        act.send()
        work_on(broker)
        return broker, ran, calls

    return run


def test_a_failure_after_the_actor_makes_the_message_run_again(
    sqs: MemorySqs, failing_once: Any
) -> None:
    _, ran, _ = failing_once("after_process_message")

    eventually(lambda: not sqs.messages("work"), "the second run was acknowledged")
    assert len(ran) == 2


def test_a_failure_elsewhere_is_only_logged(
    sqs: MemorySqs, failing_once: Any, caplog: pytest.LogCaptureFixture
) -> None:
    _, ran, _ = failing_once("before_ack")

    eventually(lambda: not sqs.messages("work"), "the run was acknowledged")
    assert len(ran) == 1
    assert "middleware failed before ack" in caplog.text


def test_the_next_message_of_a_pipeline_is_never_lost(
    sqs: MemorySqs,
    broker_on: Callable[..., SQSBroker],
    work_on: Callable[..., dramatiq.Worker],
) -> None:
    broker = broker_on()
    ran: list[Any] = []

    @dramatiq.actor(broker=broker, queue_name="work")
    def first() -> Any:
        ran.append("first")
        return 1

    @dramatiq.actor(broker=broker, queue_name="work")
    def second(n: Any) -> None:
        ran.append("second")

    both: list[Any] = [first.message(), second.message_with_options()]
    pipeline: Any = dramatiq.pipeline(both, broker=broker)
    pipeline.run()
    sqs.fail("send_message", code="RequestThrottled")
    work_on(broker)

    eventually(lambda: not sqs.messages("work"), "the pipeline is done")
    assert ran == ["first", "first", "second"]


def test_a_middleware_added_late_is_called(
    sqs: MemorySqs,
    broker_on: Callable[..., SQSBroker],
    work_on: Callable[..., dramatiq.Worker],
) -> None:
    broker = broker_on()
    seen: list[Any] = []

    class Watch(dramatiq.Middleware):
        def before_process_message(self, broker: Any, message: Any) -> None:
            seen.append(message.message_id)

    act = dramatiq.actor(actor_name="act", broker=broker, queue_name="work")(lambda: None)
    work_on(broker)
    act.send()
    eventually(lambda: not sqs.messages("work"), "a message ran without the middleware")
    broker.add_middleware(Watch())

    sent = act.send()

    eventually(lambda: seen == [sent.message_id], "the late middleware saw the message")


def test_an_acknowledgement_cannot_be_skipped(
    sqs: MemorySqs,
    broker_on: Callable[..., SQSBroker],
    work_on: Callable[..., dramatiq.Worker],
) -> None:
    class Skipping(dramatiq.Middleware):
        def before_ack(self, broker: Any, message: Any) -> None:
            raise SkipMessage("not now")

    broker = broker_on(middleware=[Skipping()])
    dramatiq.actor(broker=broker, queue_name="work", actor_name="act")(lambda: None).send()

    work_on(broker)

    eventually(lambda: not sqs.messages("work"), "it is deleted")


@pytest.fixture
def failing_always(
    sqs: MemorySqs, broker_on: Callable[..., SQSBroker], work_on: Callable[..., dramatiq.Worker]
) -> Any:
    """Run a message beside a middleware that always fails after the actor; give its runs."""

    class Failing(dramatiq.Middleware):
        def after_process_message(self, broker: Any, message: Any, **_: Any) -> None:
            raise ConnectionError("store is down")

    def run(*middleware: Any, **options: Any) -> list[int]:
        ran = list[int]()
        broker = broker_on(
            middleware=[*middleware, VisibilityRetries(max_retries=2, min_backoff=0)]
        )
        broker.add_middleware(Failing())

        @dramatiq.actor(broker=broker, queue_name="work", **options)
        def act() -> None:
            ran.append(1)

        act.send()
        work_on(broker)
        return ran

    return run


def reason(sqs: MemorySqs) -> str:
    [stored] = sqs.messages("work_dlq")
    return str(stored.attributes["dead_letter_reason"]["StringValue"])


def test_a_hook_that_always_fails_does_not_run_an_actor_for_ever(
    sqs: MemorySqs, failing_always: Any
) -> None:
    ran = failing_always()

    eventually(lambda: sqs.messages("work_dlq"), "the message is dead")
    assert len(ran) == 3
    assert reason(sqs) == "retries exceeded (3 receives): ConnectionError: store is down"


def test_a_predicate_that_fails_does_not_run_an_actor_for_ever(
    sqs: MemorySqs, failing_always: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("sharpwave.workers.sqs.retries.backoff_s", lambda *_, **__: 0.0)

    def judge(retries: int, error: BaseException) -> bool:
        raise KeyError("no such rule")

    ran = failing_always(retry_when=judge)

    eventually(lambda: sqs.messages("work_dlq"), "the message is dead")
    assert len(ran) == 3
    assert reason(sqs) == "its options cannot be used: ConnectionError: store is down"


def test_what_its_actor_raised_counts_and_not_the_hook_that_failed_with_it(
    sqs: MemorySqs,
    broker_on: Callable[..., SQSBroker],
    work_on: Callable[..., dramatiq.Worker],
) -> None:
    class Failing(dramatiq.Middleware):
        def after_process_message(self, broker: Any, message: Any, **_: Any) -> None:
            raise ConnectionError("store is down")

    broker = broker_on(middleware=[VisibilityRetries(min_backoff=0)])
    broker.add_middleware(Failing())

    @dramatiq.actor(broker=broker, queue_name="work", throws=ValueError)
    def act() -> None:
        raise ValueError("bad")

    act.send()
    work_on(broker)

    eventually(lambda: sqs.messages("work_dlq"), "the message is dead")
    assert reason(sqs) == "never retried: ValueError: bad"


# A worker told to stop takes nothing more, gives back what waits, and settles the rest.


@pytest.fixture
def busy(broker_on: Callable[..., SQSBroker], monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    """Start one thread on the first of many messages, with up to 19 waiting for it."""
    monkeypatch.setattr(Prefetch, "bound", lambda self: 20)
    started: list[Any] = []

    def start(count: Any = 30) -> Any:
        broker = broker_on()
        began, finish, ran = threading.Event(), threading.Event(), []

        @dramatiq.actor(broker=broker, queue_name="work")
        def act(n: Any) -> None:
            ran.append(n)
            began.set()
            finish.wait(20)

        broker.enqueue_many([act.message(n) for n in range(count)])
        worker = dramatiq.Worker(broker, worker_timeout=20, worker_threads=1)
        worker.start()
        began.wait(5)
        held = min(20, count)
        eventually(lambda: broker.snapshot("work").in_flight == held, "the others wait")
        stopper = threading.Thread(target=worker.stop)
        started.append((stopper, finish))
        return broker, worker, stopper, finish, ran

    yield start
    for stopper, finish in started:
        finish.set()
        if not stopper.ident:
            stopper.start()
        stopper.join(10)


def ready(sqs: MemorySqs) -> Any:
    return [stored for stored in sqs.messages("work") if stored.is_ready]


def test_waiting_messages_are_visible_before_the_running_one_ends(
    sqs: MemorySqs, busy: Any
) -> None:
    _, worker, stopper, finish, ran = busy()

    stopper.start()

    eventually(lambda: len(ready(sqs)) == 29, "all but the running message are visible")
    finish.set()
    stopper.join(10)
    assert worker.work_queue.unfinished_tasks == 0
    assert len(ran) == 1
    assert len(sqs.messages("work")) == 29


def test_nothing_is_received_after_the_stop(sqs: MemorySqs, busy: Any) -> None:
    broker, _, stopper, finish, _ = busy()
    stopper.start()
    eventually(lambda: len(ready(sqs)) == 29, "waiting messages are visible")

    received = broker.snapshot("work").counts.received
    finish.set()
    stopper.join(10)

    assert broker.snapshot("work").counts.received == received


def test_messages_that_cannot_be_given_back_at_first_are_tried_again(
    sqs: MemorySqs, busy: Any
) -> None:
    tries = set()

    def refuse_once(entry: Any) -> Any:
        is_first = entry["ReceiptHandle"] not in tries
        tries.add(entry["ReceiptHandle"])
        return ("InternalError", False) if is_first and entry["VisibilityTimeout"] == 0 else None

    _, _, stopper, finish, _ = busy()
    sqs.refuse("change_message_visibility_batch", refuse_once)

    stopper.start()

    eventually(lambda: len(ready(sqs)) == 29, "all but the running message are visible")
    finish.set()


def test_acknowledgements_are_flushed_before_the_worker_ends(sqs: MemorySqs, busy: Any) -> None:
    _, _, stopper, finish, _ = busy(count=1)

    finish.set()
    stopper.start()
    stopper.join(10)

    assert not sqs.messages("work")


def test_a_task_cut_off_by_the_timeout_is_given_back_at_close(sqs: MemorySqs, busy: Any) -> None:
    broker, worker, _, _, _ = busy(count=1)

    worker.stop(timeout=50)
    broker.close()

    assert [stored.is_ready for stored in sqs.messages("work")] == [True]


def test_closing_does_not_wait_for_the_long_poll(
    sqs: MemorySqs,
    broker_on: Callable[..., SQSBroker],
    work_on: Callable[..., dramatiq.Worker],
) -> None:
    broker = broker_on()
    broker.declare_queue("work")
    worker = work_on(broker)
    eventually(lambda: sqs.calls["receive_message"], "the long poll is under way")

    def stop() -> None:
        worker.stop()
        broker.close()

    stopper = threading.Thread(target=stop)
    stopper.start()
    stopper.join(3)

    assert not stopper.is_alive()


def test_what_an_abandoned_long_poll_brings_is_visible_again(
    sqs: MemorySqs,
    broker_on: Callable[..., SQSBroker],
    work_on: Callable[..., dramatiq.Worker],
) -> None:
    broker = broker_on()
    act = dramatiq.actor(actor_name="act", broker=broker, queue_name="work")(lambda: None)
    worker = work_on(broker)
    eventually(lambda: sqs.calls["receive_message"], "the long poll is under way")
    worker.stop()
    broker.close()

    act.send()

    eventually(lambda: [s.receives for s in ready(sqs)] == [1], "it was received and given back")


def test_a_paused_worker_keeps_what_it_holds_and_goes_on_after(
    sqs: MemorySqs, busy: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("dramatiq.worker.CONSUMER_RESTART_DELAY_SECS", 0.01)
    broker, worker, _, finish, ran = busy(count=3)
    pauser = threading.Thread(target=worker.pause)
    pauser.start()

    finish.set()
    pauser.join(10)
    worker.resume()

    eventually(lambda: not sqs.messages("work"), "every message ran after the pause")
    assert sorted(set(ran)) == [0, 1, 2]
    assert not broker.snapshot("work").in_flight
