"""No fault of a call, a callback or the machine ends what others wait for, or hides itself."""

import logging
import os
import threading
import time
from collections.abc import Callable, Sequence
from typing import Any

import dramatiq
import pytest
from botocore.exceptions import ClientError
from dramatiq.middleware import Middleware, SkipMessage

from sharpwave.workers.sqs import DieWithMaster, QueueUnavailable, SQSBroker, Unsendable
from sharpwave.workers.sqs.acknowledging import Channel, Lane
from sharpwave.workers.sqs.holding import Crew, HeldSet, Lease, Received, Refusal
from sharpwave.workers.sqs.metrics import Metrics
from sharpwave.workers.sqs.queues import Queues
from tests.world.sqs import Latencies, MemorySqs
from tests.world.waiting import eventually


def held(receives: int = 1) -> Received:
    now = time.monotonic()
    return Received("no such handle", "{}", receives, now, now, now + 60)


def channel_on(sqs: MemorySqs) -> Channel:
    queues = Queues(sqs)
    return Channel(
        sqs,
        queues,
        queue=queues.get("work"),
        metrics=Metrics(),
        crew=Crew(1),
        recall=lambda waiting: (),
    )


@pytest.fixture
def no_threads(monkeypatch: pytest.MonkeyPatch) -> Callable[[int], None]:
    """Let the next starts of threads fail, as where a container has as many as it may."""
    start = threading.Thread.start

    def refuse(times: int) -> None:
        left = [RuntimeError("can't start new thread")] * times

        def starting(thread: threading.Thread) -> None:
            if left:
                raise left.pop()
            start(thread)

        monkeypatch.setattr(threading.Thread, "start", starting)

    return refuse


class Settling:
    """What a lane calls: notes what was done or given up; each step may raise first."""

    def __init__(self, **faults: list[Exception]) -> None:
        self.done: list[Received] = []
        self.given_up: list[tuple[Received, str]] = []
        self.faults = faults
        self.refusals: list[bool] = []

    def lane(self) -> Lane:
        return Lane(
            "lane",
            call=self._call,
            done=self._done,
            gave_up=self._gave_up,
            metrics=Metrics(),
        )

    def _call(self, batch: Sequence[Received]) -> Sequence[Refusal]:
        self._fail("call")
        return [Refusal(each, "Code", self.refusals.pop()) for each in batch if self.refusals]

    def _done(self, batch: Sequence[Received]) -> None:
        self._fail("done")
        self.done += batch

    def _gave_up(self, message: Received, code: str) -> None:
        self._fail("gave_up")
        self.given_up.append((message, code))

    def _fail(self, step: str) -> None:
        if faults := self.faults.get(step):
            raise faults.pop()


@pytest.mark.parametrize("step", ["call", "done", "gave_up"])
def test_a_lane_outlives_whatever_its_steps_raise(step: str) -> None:
    settling = Settling(**{step: [Exception("broken")]})
    settling.refusals = [True] if step == "gave_up" else []
    lane, first, second = settling.lane(), held(), held()

    lane.put(first)
    eventually(lambda: not settling.faults[step], "the step failed")
    lane.put(second)

    eventually(lambda: second in settling.done, "the lane goes on")
    if step == "call":
        eventually(lambda: first in settling.done, "a call that raised is made again")
    lane.close()


def test_a_lane_without_a_thread_gets_one_with_the_next_message(
    no_threads: Callable[[int], None],
) -> None:
    settling = Settling()
    lane, first, second = settling.lane(), held(), held()
    no_threads(1)

    lane.put(first)
    lane.put(second)

    eventually(lambda: set(settling.done) == {first, second}, "both are settled")
    lane.close()


def test_pollers_go_on_where_no_further_thread_can_be_started(
    broker_on: Callable[..., SQSBroker],
    work_on: Callable[..., dramatiq.Worker],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    slow = MemorySqs(Latencies(receive=0.01, batch=0.005))
    slow.add_queue("work")
    broker, ran, start = broker_on(client=slow), list[int](), threading.Thread.start
    act = dramatiq.actor(actor_name="act", broker=broker, queue_name="work")(ran.append)
    broker.enqueue_many([act.message(n) for n in range(1000)])
    refused: list[str] = []

    def starting(thread: threading.Thread) -> None:
        if thread.name.startswith("poll-work-") and not thread.name.endswith("-1"):
            refused.append(thread.name)
            raise RuntimeError("can't start new thread")
        start(thread)

    monkeypatch.setattr(threading.Thread, "start", starting)
    work_on(broker, threads=40)

    eventually(lambda: len(ran) == 1000, "every message ran")
    assert refused
    assert broker.snapshot("work").pollers == 1


def test_a_consumer_without_its_first_poller_is_not_taken_for_one(
    broker_on: Callable[..., SQSBroker], no_threads: Callable[[int], None]
) -> None:
    broker = broker_on()
    broker.declare_queue("work")
    no_threads(1)

    with pytest.raises(RuntimeError, match="start new thread"):
        broker.consume("work")

    assert broker.consume("work").pollers == 1


def test_a_lease_without_a_thread_gets_one_with_the_next_receive(
    no_threads: Callable[[int], None],
) -> None:
    beats, kept = list[int](), HeldSet()
    kept.admit([held()])

    def extend(batch: Sequence[Received]) -> Sequence[Refusal]:
        beats.append(len(batch))
        if len(beats) == 1:
            raise ValueError("broken")
        return ()

    lease = Lease(
        kept, extend=extend, given_back=lambda _: None, visibility_s=0.2, metrics=Metrics()
    )
    no_threads(1)
    with pytest.raises(RuntimeError, match="start new thread"):
        lease.start("lease")

    lease.start("lease")

    eventually(lambda: len(beats) >= 2, "it renews again after a try that failed")
    lease.stop()


def test_what_cannot_be_given_back_comes_back_by_itself_and_is_forgotten(
    sqs: MemorySqs, caplog: pytest.LogCaptureFixture
) -> None:
    channel, message = channel_on(sqs), held()
    channel.held.admit([message])

    channel.retry(message, 5)

    eventually(lambda: "return lost" in caplog.messages, "its loss is told")
    assert not channel.held.everything()
    channel.close(timeout_s=1)


def test_a_close_says_what_it_could_not_settle(
    sqs: MemorySqs, caplog: pytest.LogCaptureFixture
) -> None:
    channel, message = channel_on(sqs), held()
    channel.held.admit([message])
    sqs.fail("delete_message_batch", code="ServiceUnavailable", times=1000)

    channel.ack(message)
    channel.close(timeout_s=0.01)

    assert "unsettled at close" in caplog.messages


def test_a_body_nested_beyond_any_parser_is_poison(
    sqs: MemorySqs,
    broker_on: Callable[..., SQSBroker],
    work_on: Callable[..., dramatiq.Worker],
) -> None:
    broker = broker_on()
    dramatiq.actor(actor_name="act", broker=broker, queue_name="work")(lambda n: None)
    args = "[" * 100_000 + "]" * 100_000
    body = f'{{"actor_name":"act","message_id":"1","args":{args}}}'
    sqs.send_message(QueueUrl="memory://sqs/work", MessageBody=body)

    work_on(broker)

    eventually(lambda: sqs.messages("work_dlq"), "it is dead")
    label = sqs.messages("work_dlq")[0].attributes["dead_letter_reason"]["StringValue"]
    assert "recursion" in label


def test_a_middleware_may_stop_a_message_before_it_is_sent(
    sqs: MemorySqs, broker_on: Callable[..., SQSBroker]
) -> None:
    class Stopping(Middleware):
        def before_enqueue(self, broker: Any, message: Any, delay: Any) -> None:
            raise SkipMessage("not now")

    broker = broker_on()
    broker.add_middleware(Stopping())
    act = dramatiq.actor(actor_name="act", broker=broker, queue_name="work")(lambda: None)

    with pytest.raises(SkipMessage, match="not now"):
        act.send()

    assert sqs.messages("work") == []


def test_only_a_purge_under_way_is_as_good_as_a_purge(
    sqs: MemorySqs, broker_on: Callable[..., SQSBroker]
) -> None:
    broker = broker_on()
    broker.declare_queue("work")
    sqs.fail("purge_queue", code="AWS.SimpleQueueService.PurgeQueueInProgress")
    sqs.fail("purge_queue", code="AccessDenied")

    broker.flush_all()
    with pytest.raises(ClientError, match="AccessDenied"):
        broker.flush_all()


def test_a_queue_whose_attributes_cannot_be_read_is_unavailable(
    sqs: MemorySqs, broker_on: Callable[..., SQSBroker]
) -> None:
    broker = broker_on()
    broker.declare_queue("work")
    sqs.fail("get_queue_attributes", code="AccessDenied")

    with pytest.raises(QueueUnavailable, match=r"'work' is unavailable: AccessDenied"):
        broker.verify()


def test_a_fifo_message_cannot_be_delayed(
    sqs: MemorySqs, broker_on: Callable[..., SQSBroker]
) -> None:
    sqs.add_queue("work.fifo")
    broker = broker_on(queue_places={"work": "work.fifo"})
    act = dramatiq.actor(actor_name="act", broker=broker, queue_name="work")(lambda: None)
    sqs_url = broker._queues.get("work").url

    assert sqs_url.endswith(".fifo")
    with pytest.raises(Unsendable, match="FIFO"):
        broker.enqueue(act.message(), delay=1000)


def test_a_worker_whose_master_is_gone_drains_and_then_dies(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    parents, sent = iter([7, 7, 1]), list[int]()
    monkeypatch.setattr(os, "getppid", lambda: next(parents))
    monkeypatch.setattr(os, "kill", lambda pid, signal: sent.append(int(signal)))

    with caplog.at_level(logging.CRITICAL):
        DieWithMaster(grace_s=0.0, interval_s=0.0)._watch(7)

    assert sent == [15, 9]
    assert caplog.messages == ["master gone"]
