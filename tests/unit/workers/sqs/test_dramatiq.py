"""To the rest of Dramatiq a retry in place is a retry, and only the last attempt a rejection."""

import json
import os
import threading
from collections.abc import Callable, Iterator
from typing import Any

import dramatiq
import pytest
from dramatiq.middleware import (
    Callbacks,
    CurrentMessage,
    GroupCallbacks,
    Middleware,
    ShutdownNotifications,
    SkipMessage,
)
from dramatiq.rate_limits.backends import StubBackend as StubLimits
from dramatiq.results import ResultFailure, Results
from dramatiq.results.backends import StubBackend

from sharpwave.workers.sqs import SQSBroker, VisibilityRetries
from tests.world.sqs import MemorySqs
from tests.world.waiting import eventually

Brokers = Callable[..., SQSBroker]
Workers = Callable[..., dramatiq.Worker]


def at_once(**options: Any) -> VisibilityRetries:
    return VisibilityRetries(**{"max_retries": 2, "min_backoff": 0, **options})


def keeping(backend: StubBackend) -> Any:
    return Results(backend=backend, store_results=True)  # type: ignore[no-untyped-call]


class Signals(Middleware):
    """Notes what a middleware hears of messages."""

    def __init__(self) -> None:
        self.heard: list[str] = []

    def before_enqueue(self, broker: Any, message: Any, delay: Any) -> None:
        self.heard.append(f"enqueue {message.options.get('retries', '-')} {delay}")

    def after_ack(self, broker: Any, message: Any) -> None:
        self.heard.append("ack")

    def after_nack(self, broker: Any, message: Any) -> None:
        self.heard.append("nack")


@pytest.fixture
def attempts(
    sqs: MemorySqs, broker_on: Brokers, work_on: Workers
) -> Callable[..., tuple[list[Any], list[str]]]:
    """Let an actor fail so often; give the `retries` it saw each time, and what was heard."""

    def run(failures: int, body: Any = None, **options: Any) -> tuple[list[Any], list[str]]:
        signals, seen = Signals(), list[Any]()
        broker = broker_on(middleware=[signals, CurrentMessage(), at_once()])

        @dramatiq.actor(broker=broker, queue_name="work", **options)
        def act() -> None:
            message: Any = CurrentMessage.get_current_message()
            seen.append(message.options.get("retries"))
            if len(seen) <= failures:
                raise OSError("no")

        message = act.message()
        if body is None:
            broker.enqueue(message)
        else:
            body = json.dumps({**message.asdict(), **body})
            sqs.send_message(QueueUrl="memory://sqs/work", MessageBody=body)
        work_on(broker)
        eventually(lambda: seen and not sqs.messages("work"), "it is over")
        return seen, signals.heard

    return run


def test_an_actor_sees_which_attempt_it_is(attempts: Any) -> None:
    assert attempts(2)[0] == [None, 1, 2]


def test_attempts_that_dramatiq_sqs_counted_go_on_counting(sqs: MemorySqs, attempts: Any) -> None:
    assert attempts(9, {"options": {"retries": 1}})[0] == [1, 2]
    assert len(sqs.messages("work_dlq")) == 1


def test_a_count_that_nobody_wrote_is_not_used(attempts: Any) -> None:
    assert attempts(0, {"options": {"retries": "many"}})[0] == ["many"]


def test_a_retry_is_heard_as_an_enqueue_and_only_the_last_attempt_as_a_nack(attempts: Any) -> None:
    first, second = "enqueue 1 0", "enqueue 2 0"

    assert attempts(9)[1] == ["enqueue - None", first, "ack", second, "ack", "nack"]


def test_a_retry_that_succeeds_is_never_heard_as_a_nack(attempts: Any) -> None:
    assert attempts(1)[1] == ["enqueue - None", "enqueue 1 0", "ack", "ack"]


def test_a_middleware_cannot_skip_a_retry(
    sqs: MemorySqs, broker_on: Brokers, work_on: Workers, caplog: pytest.LogCaptureFixture
) -> None:
    class Stopping(Middleware):
        def before_enqueue(self, broker: Any, message: Any, delay: Any) -> None:
            if "retries" in message.options:
                raise SkipMessage("not again")

    broker, ran = broker_on(middleware=[Stopping(), at_once()]), list[int]()

    @dramatiq.actor(broker=broker, queue_name="work")
    def act() -> None:
        ran.append(1)
        if len(ran) == 1:
            raise OSError("no")

    sent = act.send()
    work_on(broker)

    eventually(lambda: not sqs.messages("work"), "it is done")
    assert len(ran) == 2
    [record] = [each for each in caplog.records if each.name.endswith(".retries")]
    assert (record.levelname, record.getMessage()) == ("WARNING", "a retry is not skipped")
    assert record.__dict__["message_id"] == sent.message_id


@pytest.fixture
def results(broker_on: Brokers) -> tuple[SQSBroker, StubBackend]:
    """Make a broker with a store of results, and give both."""
    backend: Any = StubBackend()
    broker = broker_on(middleware=[at_once()])
    broker.add_middleware(keeping(backend))
    broker.add_middleware(GroupCallbacks(StubLimits()))  # type: ignore[no-untyped-call]
    return broker, backend


def test_a_result_waits_for_the_last_attempt(
    sqs: MemorySqs, results: Any, work_on: Workers
) -> None:
    broker, backend = results
    ran: list[int] = []

    @dramatiq.actor(broker=broker, queue_name="work")
    def act() -> str:
        ran.append(1)
        if len(ran) < 3:
            raise OSError("no")
        return "done"

    message = act.send()
    work_on(broker)

    assert message.get_result(backend=backend, block=True) == "done"
    assert len(ran) == 3


def test_a_failure_is_a_result_after_the_last_attempt(results: Any, work_on: Workers) -> None:
    broker, backend = results
    ran: list[int] = []

    @dramatiq.actor(broker=broker, queue_name="work")
    def act() -> None:
        ran.append(1)
        raise OSError("no")

    message = act.send()
    work_on(broker)

    with pytest.raises(ResultFailure, match="OSError"):
        message.get_result(backend=backend, block=True)
    assert len(ran) == 3


def test_a_group_is_complete_when_the_last_of_its_retries_is(
    results: Any, work_on: Workers
) -> None:
    broker, _ = results
    ran: list[int] = []
    told: list[str] = []

    @dramatiq.actor(broker=broker, queue_name="work")
    def act(n: int) -> int:
        ran.append(n)
        if ran.count(n) <= n:
            raise OSError("no")
        return n

    @dramatiq.actor(broker=broker, queue_name="work")
    def tell() -> None:
        told.append("complete")

    make: Any = dramatiq.group
    group = make([act.message(n) for n in range(3)], broker=broker)
    group.add_completion_callback(tell.message())
    group.run()
    work_on(broker)

    assert list(group.get_results(block=True)) == [0, 1, 2]
    eventually(lambda: told == ["complete"], "it was told once")
    assert sorted(ran) == [0, 1, 1, 2, 2, 2]


@pytest.fixture
def prometheus(tmp_path: Any, monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    """Give dramatiq's middleware for Prometheus with counters that can be read here."""
    monkeypatch.setenv("dramatiq_prom_db", str(tmp_path))
    from dramatiq.middleware.prometheus import Prometheus

    class Counter:
        def __init__(self) -> None:
            self.value = 0

        def labels(self, *_: str) -> "Counter":
            return self

        def inc(self) -> None:
            self.value += 1

        def dec(self) -> None:
            self.value -= 1

        def observe(self, _: float) -> None:
            pass

    made = Prometheus()
    for name in (
        *("total_messages", "total_errored_messages", "total_retried_messages"),
        *("total_rejected_messages", "inprogress_messages", "message_durations"),
    ):
        setattr(made, name, Counter())
    yield made
    os.environ.pop("PROMETHEUS_MULTIPROC_DIR", None)


def test_prometheus_counts_retries_as_retries_and_the_end_as_a_rejection(
    sqs: MemorySqs, prometheus: Any, broker_on: Brokers, work_on: Workers
) -> None:
    broker = broker_on(middleware=[prometheus, at_once()])

    @dramatiq.actor(broker=broker, queue_name="work")
    def act() -> None:
        raise OSError("no")

    act.send()
    work_on(broker)

    eventually(lambda: not sqs.messages("work"), "it is dead")
    eventually(lambda: prometheus.total_rejected_messages.value, "it is counted")
    counted = {
        "messages": prometheus.total_messages.value,
        "errors": prometheus.total_errored_messages.value,
        "retries": prometheus.total_retried_messages.value,
        "rejected": prometheus.total_rejected_messages.value,
        "running": prometheus.inprogress_messages.value,
    }
    assert counted == {"messages": 3, "errors": 3, "retries": 2, "rejected": 1, "running": 0}


@pytest.fixture
def exhausting(sqs: MemorySqs, broker_on: Brokers, work_on: Workers) -> Callable[..., list[Any]]:
    """Run an actor that always fails; give what the actor `told` was told."""

    def run(error: Any = None, message: Any = None, **options: Any) -> list[Any]:
        broker, told = broker_on(middleware=[at_once()]), list[Any]()
        sqs.add_queue("told")
        dramatiq.actor(broker=broker, queue_name="told", actor_name="told")(
            lambda *args: told.append(args)
        )

        @dramatiq.actor(broker=broker, queue_name="work", **options)
        def act() -> None:
            raise error or OSError("no")

        act.send_with_options(**(message or {}))
        work_on(broker)
        eventually(lambda: sqs.messages("work_dlq"), "it is dead")
        eventually(lambda: not sqs.messages("told"), "whoever is told was told")
        return told

    return run


def test_on_retry_exhausted_is_sent_the_message_and_the_numbers(exhausting: Any) -> None:
    [(message, numbers)] = exhausting(on_retry_exhausted="told")

    assert (message["actor_name"], message["options"]["retries"]) == ("act", 3)
    assert "OSError: no" in message["options"]["traceback"]
    assert numbers == {"retries": 2, "max_retries": 2}


def test_a_message_may_say_itself_who_is_told(exhausting: Any) -> None:
    [(_, numbers)] = exhausting(message={"on_retry_exhausted": "told", "max_retries": 1})

    assert numbers == {"retries": 1, "max_retries": 1}


def test_a_predicate_exhausts_retries_too(exhausting: Any) -> None:
    assert exhausting(on_retry_exhausted="told", retry_when=lambda retries, error: False)


def test_what_is_never_retried_is_not_exhausted(exhausting: Any) -> None:
    assert not exhausting(ValueError("bad"), on_retry_exhausted="told", throws=ValueError)


def test_a_dead_letter_says_that_nobody_could_be_told(
    sqs: MemorySqs, exhausting: Any, caplog: pytest.LogCaptureFixture
) -> None:
    assert not exhausting(on_retry_exhausted="nobody")

    [stored] = sqs.messages("work_dlq")
    reason = stored.attributes["dead_letter_reason"]["StringValue"]
    assert (
        reason
        == "retries exceeded (3 receives): OSError: no; nobody was not told: ActorNotFound: nobody"
    )
    [record] = [each for each in caplog.records if each.levelname == "CRITICAL"]
    assert record.getMessage() == "on_retry_exhausted not sent"
    assert (record.__dict__["actor"], bool(record.exc_info)) == ("nobody", True)


def test_the_callback_of_a_failure_is_told_of_each_attempt(
    sqs: MemorySqs, broker_on: Brokers, work_on: Workers
) -> None:
    broker, told = broker_on(middleware=[Callbacks(), at_once()]), list[Any]()
    dramatiq.actor(broker=broker, queue_name="work", actor_name="told")(
        lambda message, error: told.append((message["options"].get("retries"), error["message"]))
    )

    @dramatiq.actor(broker=broker, queue_name="work", on_failure="told")
    def act() -> None:
        raise OSError("no")

    act.send()
    work_on(broker)

    eventually(lambda: not sqs.messages("work"), "it is over")
    assert sorted(told) == [(1, "no"), (2, "no"), (3, "no")]


def test_a_missing_actor_is_rejected_through_the_middleware(
    sqs: MemorySqs, broker_on: Brokers, work_on: Workers
) -> None:
    signals = Signals()
    backend: Any = StubBackend()
    middleware = [signals, keeping(backend), at_once(max_retries=1)]
    broker = broker_on(middleware=middleware)
    broker.declare_queue("work")
    body = json.dumps({"actor_name": "missing", "message_id": "1"})
    sqs.send_message(QueueUrl="memory://sqs/work", MessageBody=body)

    work_on(broker)

    eventually(lambda: not sqs.messages("work"), "it is dead")
    assert signals.heard == ["nack"]
    [stored] = sqs.messages("work_dlq")
    reason = stored.attributes["dead_letter_reason"]["StringValue"]
    assert (
        reason == "retries exceeded (2 receives): UnknownActor: no actor 'missing' in this worker"
    )


def test_a_message_given_back_is_the_same_one_when_it_comes_again(
    sqs: MemorySqs, broker_on: Brokers
) -> None:
    broker = broker_on()
    act = dramatiq.actor(broker=broker, queue_name="work", actor_name="act")(lambda n: None)
    sent: Any = act.send(1)
    consumer = broker.consume("work", timeout=500)
    first = next(consumer)
    assert first is not None
    consumer.requeue([first])

    again = next(consumer)

    assert again is not None
    assert (first, first, again.options) == (again, sent, {"retries": 1})
    assert again != act.message(2)
    consumer.close()


def test_a_zero_backoff_is_none_and_any_other_is_a_whole_second(
    sqs: MemorySqs, broker_on: Brokers
) -> None:
    broker, asked = broker_on(), list[int]()
    note: Any = lambda entry: asked.append(entry["VisibilityTimeout"])  # noqa: E731
    sqs.refuse("change_message_visibility_batch", note)
    for backoff in (0, 1, 100):
        name = f"act-{backoff}"
        act = dramatiq.actor(
            broker=broker, queue_name="work", actor_name=name, min_backoff=backoff
        )(lambda: None)
        act.send()
    consumer = broker.consume("work", timeout=500)
    for _ in range(3):
        message: Any = next(consumer)
        broker._retries.fail(broker, message, OSError("no"))
        consumer.ack(message)

    consumer.close()

    assert asked == [0, 1, 1]


def test_what_a_process_holds_is_begun_by_priority(
    sqs: MemorySqs,
    broker_on: Brokers,
    work_on: Workers,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("sharpwave.workers.sqs.holding.Prefetch.bound", lambda self: 20)
    broker, finish, ran = broker_on(), threading.Event(), list[str]()

    def act(name: str) -> None:
        ran.append(name)
        finish.wait(20)

    low, high = (
        dramatiq.actor(broker=broker, queue_name="work", actor_name=name, priority=priority)(act)
        for name, priority in (("low", 9), ("high", 1))
    )
    low.send("first")
    work_on(broker, threads=1)
    eventually(lambda: ran, "the thread is taken")
    broker.enqueue_many([low.message("low"), high.message("high")])
    eventually(lambda: broker.snapshot("work").in_flight == 3, "both wait")

    finish.set()

    eventually(lambda: len(ran) == 3, "all ran")
    assert ran == ["first", "high", "low"]


def test_an_actor_that_a_shutdown_interrupts_is_given_back_and_not_taken_again(
    sqs: MemorySqs, broker_on: Brokers, work_on: Workers
) -> None:
    broker, ran = broker_on(middleware=[ShutdownNotifications(), at_once()]), list[int]()

    @dramatiq.actor(broker=broker, queue_name="work", notify_shutdown=True, max_retries=0)
    def act() -> None:
        ran.append(1)
        for _ in range(500):
            threading.Event().wait(0.01)

    act.send()
    worker = work_on(broker, threads=2)
    eventually(lambda: ran, "it runs")

    worker.stop()

    [stored] = sqs.messages("work")
    assert (stored.is_ready, stored.receives, len(ran)) == (True, 1, 1)
    assert not sqs.messages("work_dlq")
