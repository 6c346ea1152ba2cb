"""A worker told to stop takes nothing more, gives back what waits, and settles the rest."""

import threading
from collections.abc import Callable, Iterator
from typing import Any

import dramatiq
import pytest

from sharpwave.workers.sqs import SQSBroker
from sharpwave.workers.sqs.pace import Pace
from tests.world.sqs import MemorySqs
from tests.world.waiting import eventually


@pytest.fixture
def busy(broker_on: Callable[..., SQSBroker], monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    """Start one thread on the first of many messages, with up to 19 waiting for it."""
    monkeypatch.setattr(Pace, "bound", lambda self: 20)
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
