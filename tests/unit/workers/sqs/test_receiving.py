"""Polling adapts to the load, holds what threads can use, and survives every error of SQS."""

import itertools
import threading
import time
from collections.abc import Callable
from typing import Any

import dramatiq
import pytest

from sharpwave.workers.sqs import SQSBroker
from sharpwave.workers.sqs.held import Held, HeldSet
from sharpwave.workers.sqs.pace import Pace
from sharpwave.workers.sqs.slots import Slots
from tests.world.sqs import Latencies, MemorySqs
from tests.world.waiting import eventually


def held() -> Any:
    return Held("h", "{}", 1, 0.0, 0.0, 0.0)


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


# The arithmetic of slots.


def test_the_store_covers_twice_what_is_under_way_and_one_batch() -> None:
    now = itertools.count(0.0, 0.02)
    pace = Pace(threads=8, visibility_s=60, clock=lambda: next(now))

    for total in range(100, 20_001, 100):
        pace.finished(total)
        pace.received(0.010)

    assert 110 <= pace.bound() <= 8 + 10 + 2 * 5000 * 0.010


def test_a_slow_rate_holds_one_second_of_work_beyond_the_threads() -> None:
    now = itertools.count(0.0, 1.0)
    pace = Pace(threads=2, visibility_s=60, clock=lambda: next(now))
    assert pace.bound() == 2

    for total in range(4, 400, 4):
        pace.finished(total)

    assert pace.bound() in (5, 6)


def test_a_poller_waits_for_a_worthwhile_number_of_slots_but_not_for_long() -> None:
    held_set = HeldSet()
    pace = Pace(threads=10, visibility_s=60)
    slots = Slots(held_set, pace)
    slots.admit([held() for _ in range(8)])
    began = time.monotonic()

    asked = slots.take(threading.Event(), most=10, patience_s=None)

    assert asked.count == 2
    assert time.monotonic() - began >= 0.1


def test_slots_are_not_promised_twice() -> None:
    slots = Slots(HeldSet(), Pace(threads=10, visibility_s=60))
    stopping = threading.Event()

    all_of_them = slots.take(stopping, most=10, patience_s=None)
    assert all_of_them.count == 10
    assert slots.take(stopping, most=10, patience_s=0).count == 0
    slots.give_back(all_of_them, received=0)
    assert slots.take(stopping, most=10, patience_s=0).count == 10


def test_deletes_that_lag_far_behind_hold_pollers_back() -> None:
    held_set = HeldSet()
    slots = Slots(held_set, Pace(threads=10, visibility_s=60))
    held_set.settling.update(held() for _ in range(1010))

    assert slots.take(threading.Event(), most=10, patience_s=0).count == 0
