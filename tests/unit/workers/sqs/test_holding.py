"""What a process holds stays hidden while it lives, and is no more than it can begin."""

import itertools
import threading
import time
from collections.abc import Callable, Iterator
from typing import Any

import dramatiq
import pytest
from dramatiq.middleware import TimeLimit

from sharpwave.workers.sqs import SQSBroker, VisibilityRetries
from sharpwave.workers.sqs.holding import Crew, HeldSet, Lease, Prefetch, Received, Refusal, Slots
from sharpwave.workers.sqs.metrics import Metrics
from tests.world.sqs import MemorySqs
from tests.world.waiting import eventually

Brokers = Callable[..., SQSBroker]
Workers = Callable[..., dramatiq.Worker]


pytestmark = pytest.mark.longest

SHORT: dict[str, Any] = {"visibility_timeout_s": 1, "hold_limit_s": 0.5}


def held() -> Received:
    return Received("h", "{}", 1, 0.0, 0.0, 0.0)


@pytest.mark.parametrize(
    ("middleware", "actor", "message"),
    [
        ([TimeLimit(time_limit=60_000)], {}, {}),
        ([TimeLimit(time_limit=100)], {"time_limit": 60_000}, {}),
        ([TimeLimit(time_limit=100)], {}, {"time_limit": 60_000}),
        ([TimeLimit(time_limit=100)], {"time_limit": float("inf")}, {}),
        ([TimeLimit(time_limit=100)], {}, {"time_limit": "soon"}),
        ([], {}, {}),
    ],
    ids=["middleware", "actor", "message", "infinite", "unreadable", "none"],
)
def test_a_task_within_the_time_limit_that_applies_runs_once(
    sqs: MemorySqs,
    broker_on: Brokers,
    work_on: Workers,
    middleware: Any,
    actor: Any,
    message: Any,
) -> None:
    broker, ran = broker_on(middleware=[*middleware, VisibilityRetries()], **SHORT), list[int]()

    @dramatiq.actor(broker=broker, queue_name="work", **actor)
    def act() -> None:
        ran.append(1)
        # Each extension is half a timeout after the last: the third is past `hold_limit_s`, and
        # the message would have come again before it.
        eventually(lambda: broker.snapshot("work").counts.kept_hidden >= 3, "it is kept hidden")

    act.send_with_options(**message)
    work_on(broker, threads=2)

    eventually(lambda: not sqs.messages("work"), "it is done")
    assert len(ran) == 1


def test_slow_tasks_of_several_queues_run_once_each(
    sqs: MemorySqs, broker_on: Brokers, work_on: Workers
) -> None:
    broker, ran = broker_on(**SHORT), list[tuple[str, int]]()
    names = ["one", "two", "three"]
    most: list[int] = []
    for name in names:
        sqs.add_queue(name)

        def act(n: int, name: str = name) -> None:
            ran.append((name, n))
            most.append(sum(broker.snapshot(each).in_flight for each in names))
            time.sleep(1.3)

        actor = dramatiq.actor(broker=broker, queue_name=name, actor_name=name)(act)
        broker.enqueue_many([actor.message(n) for n in range(3)])

    work_on(broker, threads=2)

    eventually(lambda: not any(sqs.messages(name) for name in names), "all are done")
    assert sorted(ran) == sorted((name, n) for name in names for n in range(3))
    # Two run; polls may have been under way when they began, but not for everything at once.
    assert max(most) < len(ran)


def test_what_fast_tasks_left_in_the_buffer_is_given_back_when_slow_ones_follow(
    sqs: MemorySqs, broker_on: Brokers, work_on: Workers
) -> None:
    broker, finish, ran = broker_on(**SHORT), threading.Event(), list[int]()

    @dramatiq.actor(broker=broker, queue_name="work")
    def act(n: int) -> None:
        ran.append(n)
        if n >= 300:
            finish.wait(20)

    broker.enqueue_many([act.message(n) for n in range(300)])
    work_on(broker, threads=2)
    eventually(lambda: len(ran) > 100, "fast tasks have set the pace")
    broker.enqueue_many([act.message(n) for n in range(300, 400)])

    eventually(lambda: len([n for n in ran if n >= 300]) == 2, "slow ones have every thread")
    eventually(lambda: broker.snapshot("work").in_flight == 2, "nothing waits for them")
    begun = set(ran)
    eventually(
        lambda: len([stored for stored in sqs.messages("work") if stored.is_ready]) == 98,
        "the others wait in the queue",
    )
    finish.set()

    eventually(lambda: not sqs.messages("work"), "all are done")
    assert sorted(ran) == list(range(400))
    assert len(begun) == 302


def test_messages_given_back_do_not_pass_for_finished_ones() -> None:
    now = [0.0]
    held_set, pace = HeldSet(), Prefetch(threads=2, visibility_s=60, clock=lambda: now[0])
    slots = Slots(held_set, pace)
    waiting = [held() for _ in range(100)]
    slots.admit(waiting)

    with slots.returning(100):
        for each in waiting:
            held_set.settle(each)
    now[0] += 1.0
    slots.learn()

    assert pace.bound() == 2


def crew_of(*held_by: int, threads: int = 8) -> tuple[Crew, list[Slots]]:
    """Make queues that share some threads, each with so many messages held."""
    crew, queues = Crew(threads), []
    for count in held_by:
        slots = Slots(HeldSet(), Prefetch(threads=threads, visibility_s=60), crew)
        slots.admit([held() for _ in range(count)])
        queues.append(slots)
    return crew, queues


def asked(slots: Slots, *, is_busy: bool = True) -> int:
    """Make a queue one that has messages, or not, and ask for what it may take."""
    slots._is_idle = not is_busy
    return slots.take(threading.Event(), patience_s=0).count


def test_queues_share_the_threads() -> None:
    _, [first, second] = crew_of(5, 0)

    assert asked(second) == 3
    assert asked(first) == 0


def test_a_queue_that_has_nothing_is_polled_without_keeping_slots_from_others() -> None:
    _, [idle, busy] = crew_of(0, 0)

    assert asked(idle, is_busy=False) == 4
    assert asked(busy) == 8


def test_a_queue_that_joins_is_not_held_up_by_a_poll_under_way() -> None:
    crew, [first] = crew_of(0)
    assert asked(first) == 8

    second = Slots(HeldSet(), Prefetch(threads=8, visibility_s=60), crew)

    assert asked(second) == 8


def test_no_queue_is_polled_while_every_thread_is_taken() -> None:
    _, [busy, idle] = crew_of(8, 0)

    assert asked(idle, is_busy=False) == 0
    assert asked(busy) == 0


def test_a_queue_that_is_closed_takes_no_part() -> None:
    crew, [first, second] = crew_of(8, 0)

    first.leave()
    first.leave()

    assert crew.queues == [second]
    assert asked(second) == 8


def test_a_slot_that_one_queue_frees_is_another_ones(
    sqs: MemorySqs, broker_on: Brokers, work_on: Workers
) -> None:
    broker, finish, ran = broker_on(), threading.Event(), list[str]()
    sqs.add_queue("slow")
    fast = dramatiq.actor(broker=broker, queue_name="work", actor_name="fast")(ran.append)

    @dramatiq.actor(broker=broker, queue_name="slow")
    def slow() -> None:
        finish.wait(20)

    broker.enqueue_many([slow.message() for _ in range(3)])
    work_on(broker, threads=2)
    eventually(lambda: broker.snapshot("slow").in_flight >= 2, "every thread is taken")

    fast.send("ran")
    finish.set()

    eventually(lambda: ran == ["ran"], "the other queue had a thread")
    eventually(lambda: not sqs.messages("slow"), "and the first one again")


def test_twelve_hours_are_never_exceeded(sqs: MemorySqs, broker_on: Brokers) -> None:
    timeouts: list[int] = []
    note: Any = lambda entry: timeouts.append(entry["VisibilityTimeout"])  # noqa: E731
    sqs.refuse("change_message_visibility_batch", note)
    broker = broker_on(visibility_timeout_s=600)
    broker.consume("work").close()
    channel = broker._channels["work"]
    now = time.monotonic()
    old = Received("h", "{}", 1, now - 43_200 + 100, 0.0, now + 100, began_at=now)

    channel._extend([old])

    assert timeouts in ([99], [100])


# The arithmetic of slots.


def test_the_store_covers_twice_what_is_under_way_and_one_batch() -> None:
    now = itertools.count(0.0, 0.02)
    pace = Prefetch(threads=8, visibility_s=60, clock=lambda: next(now))

    for total in range(100, 20_001, 100):
        pace.finished(total)
        pace.received(0.010)

    assert 110 <= pace.bound() <= 8 + 10 + 2 * 5000 * 0.010


def test_a_slow_rate_holds_one_second_of_work_beyond_the_threads() -> None:
    now = itertools.count(0.0, 1.0)
    pace = Prefetch(threads=2, visibility_s=60, clock=lambda: next(now))
    assert pace.bound() == 2

    for total in range(4, 400, 4):
        pace.finished(total)

    assert pace.bound() in (5, 6)


def test_a_poller_waits_for_a_worthwhile_number_of_slots_but_not_for_long() -> None:
    held_set = HeldSet()
    pace = Prefetch(threads=10, visibility_s=60)
    slots = Slots(held_set, pace)
    slots.admit([held() for _ in range(8)])
    began = time.monotonic()

    asked = slots.take(threading.Event(), patience_s=None)

    assert asked.count == 2
    assert time.monotonic() - began >= 0.1


def test_slots_are_not_promised_twice() -> None:
    slots = Slots(HeldSet(), Prefetch(threads=10, visibility_s=60))
    stopping = threading.Event()

    all_of_them = slots.take(stopping, patience_s=None)
    assert all_of_them.count == 10
    assert slots.take(stopping, patience_s=0).count == 0
    slots.give_back(all_of_them, received=0)
    assert slots.take(stopping, patience_s=0).count == 10


def test_deletes_that_lag_far_behind_hold_pollers_back() -> None:
    held_set = HeldSet()
    slots = Slots(held_set, Prefetch(threads=10, visibility_s=60))
    held_set.settling.update(held() for _ in range(1010))

    assert slots.take(threading.Event(), patience_s=0).count == 0


# What a living process holds stays hidden; what a dead one held comes back soon.


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
    monkeypatch.setattr(Prefetch, "bound", lambda self: bounds[0])
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
    broker._channels["work"].lease.stop()

    eventually(lambda: len(starts) == 2, "another thread took it over")
    assert starts[1] - starts[0] < 1.5


# One beat, by hand.


def beat(held_set: Any, extend: Any, given_back: Any = None) -> Any:
    returned: list[Any] = []
    Lease(
        held_set,
        extend=extend,
        given_back=given_back or returned.append,
        visibility_s=30,
        metrics=Metrics(),
    ).renew()
    return returned


def due(**fields: Any) -> Any:
    now = time.monotonic()
    return Received("h", "{}", 1, now - 20, now - 1, now + 100, **fields)


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
