"""A middleware that fails after an actor does not lose the message."""

from collections.abc import Callable
from typing import Any

import dramatiq
import pytest
from dramatiq.middleware import SkipMessage

from sharpwave.workers.sqs import SQSBroker, VisibilityRetries
from tests.world.sqs import MemorySqs
from tests.world.waiting import eventually


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
