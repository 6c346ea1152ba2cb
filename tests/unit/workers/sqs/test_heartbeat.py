"""What a living process holds stays hidden; what a dead one held comes back soon."""

import threading
import time
from collections.abc import Callable, Iterator
from typing import Any

import dramatiq
import pytest
from dramatiq.middleware import TimeLimit

from sharpwave.workers.sqs import SQSBroker
from sharpwave.workers.sqs.heartbeat import Heartbeat
from sharpwave.workers.sqs.held import Held, HeldSet
from sharpwave.workers.sqs.lane import Refusal
from sharpwave.workers.sqs.metrics import Metrics
from sharpwave.workers.sqs.pace import Pace
from tests.world.sqs import MemorySqs
from tests.world.waiting import eventually


@pytest.fixture
def long_task(
    broker_on: Callable[..., SQSBroker],
    work_on: Callable[..., dramatiq.Worker],
) -> Iterator[Any]:
    """Start a task that runs until the fixture's event is set; give its start times."""
    finish = threading.Event()

    def start(*, waiting: Any = 0, threads: Any = 1, **options: Any) -> Any:
        broker = broker_on(visibility_timeout_s=1, **options)
        starts: list[Any] = []

        @dramatiq.actor(broker=broker, queue_name="work")
        def act() -> None:
            starts.append(time.monotonic())
            finish.wait(20)

        broker.enqueue_many([act.message() for _ in range(1 + waiting)])
        work_on(broker, threads=threads)
        eventually(lambda: starts, "the task began")
        return broker, starts, finish

    yield start
    finish.set()


def test_a_task_longer_than_the_visibility_timeout_runs_once(
    sqs: MemorySqs, long_task: Any
) -> None:
    broker, starts, finish = long_task()

    eventually(lambda: time.monotonic() - starts[0] > 2.2, "two timeouts have passed")
    finish.set()

    eventually(lambda: not sqs.messages("work"), "the message is deleted")
    assert len(starts) == 1
    assert broker.snapshot("work").counts.kept_hidden >= 3


def test_messages_waiting_for_a_thread_are_kept_hidden_until_they_are_given_back(
    sqs: MemorySqs, long_task: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    bounds = [4]
    monkeypatch.setattr(Pace, "bound", lambda self: bounds[0])
    broker, starts, finish = long_task(waiting=3)
    eventually(lambda: broker.snapshot("work").in_flight == 4, "the others wait")
    bounds[0] = 1

    eventually(lambda: broker.snapshot("work").counts.kept_hidden >= 4, "all are kept hidden")
    assert broker.snapshot("work").counts.given_back == 0
    eventually(lambda: broker.snapshot("work").counts.given_back == 3, "the others are given back")
    assert time.monotonic() - starts[0] > 0.8
    assert broker.snapshot("work").in_flight == 1
    assert len([s for s in sqs.messages("work") if s.is_ready]) == 3
    finish.set()

    eventually(lambda: not sqs.messages("work"), "all ran")
    assert len(starts) == 4


def test_a_task_that_does_not_stop_at_its_limit_is_given_to_another_worker(long_task: Any) -> None:
    # Nothing starts the middleware here, as if the task hung in a system call.
    limit = TimeLimit(time_limit=200)

    _, starts, _ = long_task(threads=2, hold_limit_s=0.5, middleware=[limit])

    eventually(lambda: len(starts) == 2, "the message came again")
    assert 1.2 < starts[1] - starts[0] < 3.5


def test_a_dead_workers_message_comes_back_within_the_visibility_timeout(
    sqs: MemorySqs, long_task: Any
) -> None:
    broker, starts, _ = long_task(threads=2)
    broker._channels["work"]._heartbeat.stop()

    eventually(lambda: len(starts) == 2, "another thread took it over")
    assert starts[1] - starts[0] < 1.5


# One beat, by hand.


def beat(held_set: Any, extend: Any, given_back: Any = None) -> Any:
    returned: list[Any] = []
    Heartbeat(
        held_set,
        extend=extend,
        given_back=given_back or returned.append,
        visibility_s=30,
        metrics=Metrics(),
    ).beat()
    return returned


def due(**fields: Any) -> Any:
    now = time.monotonic()
    return Held("h", "{}", 1, now - 20, now - 1, now + 100, **fields)


def holding(*messages: Any) -> Any:
    held_set = HeldSet()
    held_set.admit(messages)
    return held_set


def test_a_beat_extends_by_ten() -> None:
    held_set = holding(*(due() for _ in range(25)))
    calls: list[Any] = []

    def extend(batch: Any) -> Any:
        calls.append(len(batch))
        return []

    beat(held_set, extend)

    assert calls == [10, 10, 5]
    assert all(held.extend_at > time.monotonic() + 10 for held in held_set.active)


def test_a_dead_handle_is_left_alone() -> None:
    held = due()
    held_set = holding(held)
    calls: list[Any] = []

    def refuse(batch: Any) -> Any:
        calls.append(batch)
        return [Refusal(held, "ReceiptHandleIsInvalid", is_final=True)]

    beat(held_set, refuse)
    beat(held_set, refuse)

    assert held.is_lost
    assert len(calls) == 1


def test_a_throttled_extension_is_tried_at_the_next_beat() -> None:
    held = due()
    held_set = holding(held)
    calls: list[Any] = []

    def refuse(batch: Any) -> Any:
        calls.append(batch)
        return [Refusal(held, "RequestThrottled", is_final=False)]

    beat(held_set, refuse)
    beat(held_set, refuse)

    assert not held.is_lost
    assert len(calls) == 2


def test_a_message_given_back_during_a_beat_is_given_back_again() -> None:
    held = due()

    def extend(batch: Any) -> Any:
        held.visibility_s = 0
        return []

    assert beat(holding(held), extend) == [held]


def test_a_message_given_back_is_not_extended() -> None:
    assert beat(holding(due(visibility_s=5)), lambda batch: pytest.fail("extended")) == []


def test_a_message_whose_delete_is_still_being_tried_is_extended() -> None:
    held = due()
    held_set = holding(held)
    held_set.settle(held)
    extended: list[Any] = []

    def extend(batch: Any) -> Any:
        extended.extend(batch)
        return []

    beat(held_set, extend)

    assert extended == [held]
