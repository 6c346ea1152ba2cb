"""An acknowledged message is deleted in a batch, whatever fails on the way, and never stalls."""

import threading
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import dramatiq
import pytest
from dramatiq.middleware import TimeLimit

from sharpwave.workers.sqs import SQSBroker, VisibilityRetries, acknowledging
from sharpwave.workers.sqs.acknowledging import Lane
from sharpwave.workers.sqs.holding import Received, Refusal
from sharpwave.workers.sqs.metrics import Metrics
from tests.world.sqs import MemorySqs
from tests.world.waiting import eventually


@pytest.fixture
def counted(broker_on: Callable[..., SQSBroker], work_on: Callable[..., dramatiq.Worker]) -> Any:
    """Run `count` messages through a no-op actor; give the broker and how often each ran."""

    def run(sqs: MemorySqs, count: Any, *, threads: Any = 4) -> Any:
        broker = broker_on()
        ran: dict[int, int] = {}
        lock = threading.Lock()

        @dramatiq.actor(broker=broker, queue_name="work")
        def act(n: Any) -> None:
            with lock:
                ran[n] = ran.get(n, 0) + 1

        broker.enqueue_many([act.message(n) for n in range(count)])
        work_on(broker, threads=threads)
        return broker, ran

    return run


def is_done(sqs: MemorySqs, broker: SQSBroker) -> bool:
    return not sqs.messages("work") and not broker.snapshot("work").settling


def test_every_message_runs_once_and_is_deleted(sqs: MemorySqs, counted: Any) -> None:
    broker, ran = counted(sqs, 300)

    eventually(lambda: is_done(sqs, broker), "the queue is empty")
    assert ran == dict.fromkeys(range(300), 1)


def test_receives_and_deletes_go_by_ten(sqs: MemorySqs, counted: Any) -> None:
    broker, _ = counted(sqs, 1000)

    eventually(lambda: is_done(sqs, broker), "the queue is empty")
    counts = broker.snapshot("work").counts
    assert counts.received == 1000
    assert counts.receives + counts.delete_calls <= 0.4 * 1000
    assert sqs.calls["delete_message_batch"] == counts.delete_calls


def test_an_entry_that_fails_is_deleted_later_and_runs_once(sqs: MemorySqs, counted: Any) -> None:
    tries: dict[Any, int] = {}

    def refuse(entry: Any) -> Any:
        handle = entry["ReceiptHandle"]
        tries[handle] = tries.get(handle, 0) + 1
        return ("InternalError", False) if tries[handle] <= 2 else None

    sqs.refuse("delete_message_batch", refuse)

    broker, ran = counted(sqs, 50)

    eventually(lambda: is_done(sqs, broker), "the queue is empty")
    assert ran == dict.fromkeys(range(50), 1)
    assert broker.snapshot("work").counts.ack_retries == 100


def test_a_delete_call_that_fails_as_a_whole_is_tried_again(sqs: MemorySqs, counted: Any) -> None:
    sqs.fail("delete_message_batch", code="ServiceUnavailable", times=5)

    broker, ran = counted(sqs, 30)

    eventually(lambda: is_done(sqs, broker), "the queue is empty")
    assert set(ran.values()) == {1}


def test_a_delete_whose_reply_is_lost_does_no_harm(sqs: MemorySqs, counted: Any) -> None:
    sqs.lose_replies("delete_message_batch", times=3)

    broker, ran = counted(sqs, 30)

    eventually(lambda: is_done(sqs, broker), "the queue is empty")
    assert set(ran.values()) == {1}


def test_deletes_that_never_succeed_do_not_stall_the_queue(sqs: MemorySqs, counted: Any) -> None:
    sqs.refuse("delete_message_batch", lambda entry: ("ReceiptHandleIsInvalid", True))

    broker, ran = counted(sqs, 200, threads=2)

    eventually(lambda: len(ran) == 200, "every message ran although no delete worked")
    eventually(lambda: broker.snapshot("work").counts.deletes_lost == 200, "all are given up")
    assert broker.snapshot("work").in_flight == 0


def test_a_slot_is_free_at_the_acknowledgement_and_not_at_the_delete(
    sqs: MemorySqs, counted: Any
) -> None:
    sqs.refuse("delete_message_batch", lambda entry: ("InternalError", False))

    broker, ran = counted(sqs, 200, threads=2)

    eventually(lambda: len(ran) == 200, "every message ran although no delete worked yet")
    assert broker.snapshot("work").settling == 200
    sqs.refuse("delete_message_batch", None)
    eventually(lambda: not sqs.messages("work"), "they are deleted at last")


def test_retries_and_new_messages_share_batches_of_ten_at_most(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("random.uniform", lambda least, most: 0.0)
    monkeypatch.setattr(acknowledging, "_MOST_CALLS", 1)
    sizes: list[int] = []
    done: set[Received] = set()

    def refuse_once(batch: Sequence[Received]) -> Sequence[Refusal]:
        sizes.append(len(batch))
        return [Refusal(held, "InternalError", False) for held in batch if not held.attempts]

    lane = Lane(
        "test",
        call=refuse_once,
        done=done.update,
        gave_up=lambda held, code: pytest.fail(code),
        metrics=Metrics(),
    )

    for _ in range(25):
        lane.put(Received("h", "{}", 1, 0.0, 0.0, 0.0))

    eventually(lambda: len(done) == 25, "all are settled at the second try")
    lane.close()
    assert max(sizes) == 10


def often_refused(settled: list[Received]) -> Lane:
    """Make a lane whose first 600 calls are refused."""
    tries = iter(range(600))

    def refuse(batch: Sequence[Received]) -> Sequence[Refusal]:
        if next(tries, None) is None:
            return []
        return [Refusal(each, "RequestThrottled", is_final=False) for each in batch]

    return Lane(
        "often-refused",
        call=refuse,
        done=settled.extend,
        gave_up=lambda received, code: None,
        metrics=Metrics(),
        lives=lambda received: True,
    )


def test_what_is_tried_again_at_once_is_tried_whatever_else_waits(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Waits of microseconds end. Many lanes are looked at often, for one that stops is rare."""
    monkeypatch.setattr(acknowledging, "_LAST_RETRY_S", 0.003)
    for _ in range(8):
        settled = [list[Received]() for _ in range(8)]
        lanes = [often_refused(each) for each in settled]
        for lane in lanes * 30:
            lane.put(Received("h", "{}", 1, 0.0, 0.0, 0.0))

        eventually(partial(all_hold, settled, 30), "all are settled")
        for lane in lanes:
            lane.close()


def all_hold(lists: Sequence[Sequence[object]], count: int) -> bool:
    return all(len(each) == count for each in lists)


@pytest.mark.parametrize("code", ["ExpiredToken", "RequestThrottled", "AccessDenied"])
def test_a_delete_is_tried_for_as_long_as_its_handle_lives(
    sqs: MemorySqs,
    counted: Any,
    monkeypatch: pytest.MonkeyPatch,
    code: str,
) -> None:
    # As many tries as ten minutes bring, in the time of a test.
    monkeypatch.setattr(acknowledging, "_LAST_RETRY_S", 0.01)
    sqs.fail("delete_message_batch", code=code, times=300)

    broker, ran = counted(sqs, 60)

    eventually(lambda: is_done(sqs, broker), "the queue is empty")
    assert ran == dict.fromkeys(range(60), 1)
    assert broker.snapshot("work").counts.deletes_lost == 0
    assert sqs.calls["delete_message_batch"] > 300


def test_a_delete_is_given_up_when_sqs_has_given_the_message_up(
    sqs: MemorySqs, counted: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("sharpwave.workers.sqs.holding.MOST_HIDDEN_S", 0.5)
    sqs.fail("delete_message_batch", code="ExpiredToken", times=1000)

    broker, _ = counted(sqs, 1)

    eventually(lambda: broker.snapshot("work").counts.deletes_lost == 1, "it is given up")
    assert not broker.snapshot("work").settling


def test_what_waits_for_its_delete_stays_hidden_past_every_limit(
    sqs: MemorySqs, broker_on: Callable[..., SQSBroker], work_on: Any
) -> None:
    limits: Any = [TimeLimit(time_limit=1)]
    broker, ran = broker_on(visibility_timeout_s=1, hold_limit_s=0, middleware=limits), list[int]()
    act = dramatiq.actor(broker=broker, queue_name="work", actor_name="act")(lambda: ran.append(1))
    sqs.refuse("delete_message_batch", lambda entry: ("InternalError", False))
    act.send()
    work_on(broker)

    eventually(lambda: broker.snapshot("work").counts.kept_hidden >= 5, "it was kept for 2.5 s")
    sqs.refuse("delete_message_batch", None)

    eventually(lambda: not sqs.messages("work"), "it is deleted at last")
    assert len(ran) == 1


def test_what_cannot_be_given_back_is_left_to_come_back_by_itself(
    sqs: MemorySqs, broker_on: Callable[..., SQSBroker], work_on: Any
) -> None:
    retries = VisibilityRetries(min_backoff=600_000)
    broker, ran = broker_on(visibility_timeout_s=1, middleware=[retries]), list[int]()
    sqs.fail("change_message_visibility_batch", code="ExpiredToken", times=8)

    @dramatiq.actor(broker=broker, queue_name="work")
    def act() -> None:
        ran.append(1)
        if len(ran) == 1:
            raise OSError("no")

    act.send()
    work_on(broker)

    eventually(lambda: len(ran) == 2, "it came back when its visibility ended")
