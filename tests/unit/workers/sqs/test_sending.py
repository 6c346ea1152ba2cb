"""Messages are sent in tens, and whatever is not accepted is named."""

from collections.abc import Callable
from typing import Any

import dramatiq
import pytest

from sharpwave.workers.sqs import EnqueueFailed, QueueUnavailable, SQSBroker, Unsendable
from tests.world.sqs import Latencies, MemorySqs


@pytest.fixture
def act(broker_on: Callable[..., SQSBroker]) -> Any:
    """An actor on queue `work`."""
    broker = broker_on()
    return dramatiq.actor(actor_name="act", broker=broker, queue_name="work")(lambda n: None)


def entries_of(sqs: MemorySqs, monkeypatch: pytest.MonkeyPatch) -> Any:
    """Note the entries of every batch sent."""
    batches, send = [], sqs.send_message_batch

    def noting(*, QueueUrl: Any, Entries: Any) -> Any:
        batches.append(Entries)
        return send(QueueUrl=QueueUrl, Entries=Entries)

    monkeypatch.setattr(sqs, "send_message_batch", noting)
    return batches


def test_many_messages_go_by_ten(sqs: MemorySqs, act: Any) -> None:
    act.broker.enqueue_many(act.message(n) for n in range(95))

    assert sqs.calls["send_message_batch"] == 10
    assert len(sqs.messages("work")) == 95
    assert act.broker.snapshot("work").send_fill == 9.5


def test_a_batch_never_exceeds_its_limit_of_bytes(
    sqs: MemorySqs, broker_on: Callable[..., SQSBroker], monkeypatch: pytest.MonkeyPatch
) -> None:
    broker = broker_on(max_batch_bytes=5000)
    act = dramatiq.actor(actor_name="act", broker=broker, queue_name="work")(lambda n: None)
    batches = entries_of(sqs, monkeypatch)

    broker.enqueue_many([act.message("x" * size) for size in (10, 4000, 4000, 20, 30, 4500)])

    sizes = [sum(len(entry["MessageBody"]) for entry in batch) for batch in batches]
    assert max(sizes) <= 5000
    assert sum(map(len, batches)) == 6


def test_messages_go_to_the_queue_of_each_actor(sqs: MemorySqs, act: Any) -> None:
    sqs.add_queue("other")
    other = dramatiq.actor(actor_name="o", broker=act.broker, queue_name="other")(lambda: None)

    act.broker.enqueue_many([act.message(1), other.message(), act.message(2)])

    assert (len(sqs.messages("work")), len(sqs.messages("other"))) == (2, 1)


def test_a_refused_entry_is_named_and_the_others_are_sent(sqs: MemorySqs, act: Any) -> None:
    sqs.refuse(
        "send_message_batch",
        lambda e: ("InvalidMessageContents", True) if '"args":[7]' in e["MessageBody"] else None,
    )
    messages = [act.message(n) for n in range(20)]

    with pytest.raises(EnqueueFailed, match=messages[7].message_id) as caught:
        act.broker.enqueue_many(messages)

    assert [(f.message, f.code) for f in caught.value.failed] == [
        (messages[7], "InvalidMessageContents")
    ]
    assert len(caught.value.sent) == len(sqs.messages("work")) == 19


@pytest.mark.parametrize(
    "refusal", [("InternalError", False), ("RequestThrottled", True), ("KmsThrottled", True)]
)
def test_an_entry_that_sqs_may_accept_later_is_sent_again(
    sqs: MemorySqs, act: Any, refusal: tuple[str, bool]
) -> None:
    tries: list[Any] = []

    def refuse_twice(entry: Any) -> Any:
        tries.append(entry["Id"])
        return refusal if len(tries) <= 2 else None

    sqs.refuse("send_message_batch", refuse_twice)

    act.broker.enqueue_many([act.message(1)])

    assert len(sqs.messages("work")) == 1


def test_a_batch_that_fails_as_a_whole_names_its_messages_only(sqs: MemorySqs, act: Any) -> None:
    sqs.fail("send_message_batch", code="RequestThrottled")

    with pytest.raises(EnqueueFailed, match=r"10 of 15 messages.*RequestThrottled") as caught:
        act.broker.enqueue_many([act.message("x" * 10) for _ in range(15)])

    assert len(sqs.messages("work")) == 5
    assert {f.code for f in caught.value.failed} == {"RequestThrottled"}


def test_one_message_that_cannot_be_sent_is_named(sqs: MemorySqs, act: Any) -> None:
    sqs.fail("send_message", code="RequestThrottled")

    with pytest.raises(EnqueueFailed, match=r"act\(.*RequestThrottled"):
        act.send(1)


def test_a_message_that_is_not_json_does_not_stop_the_others(sqs: MemorySqs, act: Any) -> None:
    with pytest.raises(EnqueueFailed, match="not JSON"):
        act.broker.enqueue_many([act.message(1), act.message(object()), act.message(2)])

    assert len(sqs.messages("work")) == 2


def test_middleware_sees_each_message_before_and_the_accepted_ones_after(
    sqs: MemorySqs, broker_on: Callable[..., SQSBroker]
) -> None:
    seen: list[Any] = []

    class Watch(dramatiq.Middleware):
        def before_enqueue(self, broker: Any, message: Any, delay: Any) -> None:
            seen.append(("before", message.args[0]))

        def after_enqueue(self, broker: Any, message: Any, delay: Any) -> None:
            seen.append(("after", message.args[0]))

    broker = broker_on(middleware=[Watch()])
    act = dramatiq.actor(actor_name="act", broker=broker, queue_name="work")(lambda n: None)
    sqs.refuse("send_message_batch", lambda e: ("No", True) if e["Id"] == "0" else None)

    with pytest.raises(EnqueueFailed):
        broker.enqueue_many([act.message(0), act.message(1)])

    assert seen == [("before", 0), ("before", 1), ("after", 1)]


def test_a_delay_is_a_delay_of_sqs_rounded_up_to_seconds(
    sqs: MemorySqs, act: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    batches = entries_of(sqs, monkeypatch)

    act.broker.enqueue_many([act.message(1)], delay=1_001)

    assert batches[0][0]["DelaySeconds"] == 2


def test_a_delay_that_sqs_does_not_know_is_refused(sqs: MemorySqs, act: Any) -> None:
    with pytest.raises(Unsendable, match="901 s: SQS delays by 900 s at most"):
        act.send_with_options(args=(1,), delay=900_001)

    assert not sqs.messages("work")


def test_a_fifo_message_has_a_group_and_its_id_against_duplicates(
    sqs: MemorySqs, broker_on: Callable[..., SQSBroker]
) -> None:
    sqs.add_queue("line.fifo")
    broker = broker_on(queue_places={"line": "line.fifo"})
    act = dramatiq.actor(actor_name="act", broker=broker, queue_name="line")(lambda: None)
    message = act.message_with_options(group_id="agent-1")

    broker.enqueue(message)
    broker.enqueue_many([message, act.message()])

    assert [s.group_id for s in sqs.messages("line.fifo")] == ["agent-1", "line"]


def test_a_fifo_queue_gets_nothing_after_a_refusal(
    sqs: MemorySqs, broker_on: Callable[..., SQSBroker]
) -> None:
    sqs.add_queue("line.fifo")
    broker = broker_on(queue_places={"line": "line.fifo"})
    act = dramatiq.actor(actor_name="act", broker=broker, queue_name="line")(lambda n: None)
    sqs.fail("send_message_batch", code="RequestThrottled")

    with pytest.raises(EnqueueFailed) as caught:
        broker.enqueue_many([act.message(n) for n in range(15)])

    assert [f.code for f in caught.value.failed] == ["RequestThrottled"] * 10 + ["NotTried"] * 5
    assert not sqs.messages("line.fifo")


def test_a_group_makes_a_standard_queue_fair(sqs: MemorySqs, act: Any) -> None:
    act.send_with_options(args=(1,), group_id="tenant-7")

    assert [s.group_id for s in sqs.messages("work")] == ["tenant-7"]


def test_a_queue_that_does_not_exist_is_named_and_not_created(
    sqs: MemorySqs, broker_on: Callable[..., SQSBroker]
) -> None:
    broker = broker_on()
    act = dramatiq.actor(actor_name="act", broker=broker, queue_name="nowhere")(lambda: None)

    with pytest.raises(QueueUnavailable, match=r"'nowhere' is unavailable.*NonExistentQueue"):
        act.send()


def test_a_missing_queue_fails_only_its_own_messages(sqs: MemorySqs, act: Any) -> None:
    lost = dramatiq.actor(actor_name="l", broker=act.broker, queue_name="nowhere")(lambda: None)

    with pytest.raises(EnqueueFailed, match="QueueUnavailable") as caught:
        act.broker.enqueue_many([lost.message(), act.message(1)])

    assert [f.message.actor_name for f in caught.value.failed] == ["l"]
    assert len(sqs.messages("work")) == 1


def test_batches_are_sent_side_by_side(
    broker_on: Callable[..., SQSBroker], monkeypatch: pytest.MonkeyPatch
) -> None:
    slow = MemorySqs(Latencies(batch=0.2))
    slow.add_queue("work")
    broker = broker_on(client=slow)
    act = dramatiq.actor(actor_name="act", broker=broker, queue_name="work")(lambda n: None)
    under_way, most = [], []
    store = slow._store

    def noting(box: Any, fields: Any) -> Any:
        under_way.append(fields)
        most.append(slow.calls["send_message_batch"])
        return store(box, fields)

    monkeypatch.setattr(slow, "_store", noting)
    broker.enqueue_many([act.message(n) for n in range(40)])

    assert most[0] == 4
