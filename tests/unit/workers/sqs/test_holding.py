"""Work runs once however long it takes: a process holds what it can begin, and keeps what runs."""

import threading
import time
from collections.abc import Callable
from typing import Any

import dramatiq
import pytest
from dramatiq.middleware import TimeLimit

from sharpwave.workers.sqs import SQSBroker, VisibilityRetries
from sharpwave.workers.sqs.held import Held, HeldSet
from sharpwave.workers.sqs.pace import Pace
from sharpwave.workers.sqs.slots import Crew, Slots
from tests.world.sqs import MemorySqs
from tests.world.waiting import eventually

Brokers = Callable[..., SQSBroker]
Workers = Callable[..., dramatiq.Worker]

SHORT: dict[str, Any] = {"visibility_timeout_s": 1, "hold_limit_s": 0.5}


def held() -> Held:
    return Held("h", "{}", 1, 0.0, 0.0, 0.0)


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
        time.sleep(2.5)

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
    held_set, pace = HeldSet(), Pace(threads=2, visibility_s=60, clock=lambda: now[0])
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
        slots = Slots(HeldSet(), Pace(threads=threads, visibility_s=60), crew)
        slots.admit([held() for _ in range(count)])
        queues.append(slots)
    return crew, queues


def asked(slots: Slots, *, is_busy: bool = True) -> int:
    """Make a queue one that has messages, or not, and ask for what it may take."""
    slots._is_idle = not is_busy
    return slots.take(threading.Event(), most=10, patience_s=0).count


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

    second = Slots(HeldSet(), Pace(threads=8, visibility_s=60), crew)

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
    channel = broker._channel("work", threads=1)
    now = time.monotonic()
    old = Held("h", "{}", 1, now - 43_200 + 100, 0.0, now + 100, began_at=now)

    channel._extend([old])

    assert timeouts in ([99], [100])
