"""An agent asks and is answered, or told that it is not; and waits for the end of what it sent."""

from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from typing import Any

import pytest

from sharpwave.producers.errors import AlreadySettled, InvalidRequest, NoAnswer, TimedOut
from sharpwave.schemas import keys, tables
from sharpwave.schemas.numbers import item_from_wire
from tests.world.waiting import eventually

Connect = Callable[..., Any]


def stored(pipeline: Any, signal_type: str, source: str) -> list[dict[str, Any]]:
    found = pipeline.dynamodb.query(
        TableName=tables.physical(tables.SIGNALS, pipeline.prefix),
        KeyConditionExpression="PK = :pk",
        ExpressionAttributeValues={":pk": {"S": keys.signal_pk(signal_type, source)}},
        ConsistentRead=True,
    )
    return [item_from_wire(item) for item in found["Items"]]


def key_of(item: dict[str, Any]) -> keys.Key:
    return keys.Key(item["PK"], item["SK"])


@contextmanager
def asked(pipeline: Any, hunter: Any, **more: Any) -> Iterator[tuple[Future[Any], keys.Key]]:
    """Have `hunter` ask `risk` and wait, the question being in the inbox of `risk`."""
    with ThreadPoolExecutor(1) as pool:
        waiting = pool.submit(hunter.ask, "risk", "PRICE", {"of": "btc"}, **more)
        question = eventually(lambda: stored(pipeline, "PRICE", "hunter"), "the question is stored")
        pipeline.deliver(key_of(question[0]), "risk")
        yield waiting, key_of(question[0])


def mark(pipeline: Any, signal: keys.Key, statuses: dict[str, Any]) -> None:
    """Say beside a signal what workers say of its deliveries."""
    marks = {"processing_status": statuses, "status_v": 1}
    pipeline.put(tables.SIGNALS, {**keys.mirror(signal).item(), **marks})


def test_an_answer_is_given_to_who_asked_and_all_else_stays_in_the_inbox(
    connect: Connect, pipeline: Any
) -> None:
    hunter, risk, other = connect("hunter"), connect("risk"), connect("other")
    noise = other.signal("NOISE", to="hunter")
    pipeline.deliver(noise.key, "hunter")

    with asked(pipeline, hunter) as (waiting, question):
        (delivery,) = risk.inbox(limit=1)
        # A stranger knows the id too, and was not asked.
        forged = other.signal("ANSWER", to="hunter", in_reply_to=delivery.signal_id)
        pipeline.deliver(forged.key, "hunter")
        sent = delivery.reply({"usd": 0.5})
        pipeline.deliver(sent.key, "hunter", times=2)
        answer = waiting.result(timeout=20)

    assert (answer.source_agent, answer.provenance, answer.data) == ("risk", "bound", sent.data)
    assert sent.correlation_id == delivery.signal_id
    assert pipeline.row(question, "risk")["status"] == "PROCESSED"
    assert pipeline.row(sent.key, "hunter")["status"] == "PROCESSED"
    left = {delivery.signal_id for delivery in hunter.inbox(wait_s=0)}
    assert left == {noise.signal_id, forged.signal_id}


def test_who_polls_while_an_answer_is_awaited_is_not_handed_it(
    connect: Connect, pipeline: Any
) -> None:
    hunter, risk = connect("hunter"), connect("risk")

    with asked(pipeline, hunter, timeout_s=20) as (waiting, _):
        (delivery,) = risk.inbox(limit=1)
        sent = delivery.reply({"usd": 1})
        key = pipeline.item(tables.SIGNALS, sent.key)
        # The message alone, as if its row were read a moment later.
        pipeline.deliver(sent.key, "hunter")
        assert list(hunter.inbox(wait_s=0)) == []
        assert waiting.result(timeout=20).signal_id == key["signal_id"]


def test_a_question_is_answered_once_however_many_handle_it(
    connect: Connect, pipeline: Any
) -> None:
    hunter, risk = connect("hunter"), connect("risk")
    question = hunter.signal("PRICE", to="risk")
    pipeline.deliver(question.key, "risk", times=2)
    first, second = risk.inbox(limit=2, wait_s=1)

    sent = first.reply({"usd": 1})

    assert second.reply({"usd": 2}) == sent
    assert len(stored(pipeline, "ANSWER", "risk")) == 1
    with pytest.raises(AlreadySettled):
        first.reply({})


def test_what_was_acknowledged_without_an_answer_is_not_answered_any_more(
    connect: Connect, pipeline: Any
) -> None:
    hunter, risk = connect("hunter"), connect("risk")
    pipeline.deliver(hunter.signal("PRICE", to="risk").key, "risk", times=2)
    first, second = risk.inbox(limit=2, wait_s=1)
    first.ack()

    with pytest.raises(AlreadySettled, match="without such an answer"):
        second.reply({"usd": 2})
    assert stored(pipeline, "ANSWER", "risk") == []


def test_a_late_answer_is_an_ordinary_delivery_and_can_still_be_asked_for(
    connect: Connect, pipeline: Any
) -> None:
    hunter, risk = connect("hunter"), connect("risk")
    with (
        pytest.raises(NoAnswer, match="did not answer") as missed,
        asked(pipeline, hunter, timeout_s=0.2) as (waiting, _),
    ):
        waiting.result(timeout=20)
    question = hunter.signal("PRICE", to="risk")
    assert hunter.answer(question) is None
    pipeline.deliver(question.key, "risk")
    first, second = sorted(risk.inbox(limit=2, wait_s=1), key=lambda each: each.receive_count)
    for late in (first, second):
        pipeline.deliver(late.reply({"usd": 1}).key, "hunter")

    assert missed.value.signal == key_of(stored(pipeline, "PRICE", "hunter")[0])
    assert hunter.answer(question).data == {"usd": 1}
    (delivery,) = hunter.inbox(wait_s=0)
    assert delivery.in_reply_to == keys.time_and_id(missed.value.signal.sk)[1]


def test_a_failed_delivery_ends_the_wait_for_its_answer(connect: Connect, pipeline: Any) -> None:
    with asked(pipeline, connect("hunter"), timeout_s=60) as (waiting, question):
        mark(pipeline, question, {"risk": {"status": "FAILED", "reason": "unknown_target"}})
        with pytest.raises(NoAnswer, match=r"FAILED \(unknown_target\)"):
            waiting.result(timeout=20)


def test_waiting_ends_with_the_last_delivery_or_says_which_are_open(
    connect: Connect, pipeline: Any
) -> None:
    hunter = connect("hunter")
    sent = hunter.signal("WHALE", to=["risk", "trade"])
    ends = {"risk": {"status": "PROCESSED"}, "trade": {"status": "DELIVERED"}}
    mark(pipeline, sent.key, ends)

    with pytest.raises(TimedOut, match="waiting for trade") as open_still:
        hunter.wait_for(sent, timeout_s=0.1)
    ends["trade"] = {"status": "EXPIRED", "reason": "unacknowledged"}
    mark(pipeline, sent.key, ends)

    assert open_still.value.statuses["risk"] == {"status": "PROCESSED"}
    assert hunter.wait_for(sent) == ends
    nobody = hunter.signal("WHALE", to="@subscribers")
    mark(pipeline, nobody.key, {})
    assert hunter.wait_for(nobody) == {}
    crowd = hunter.signal("WHALE", to="@subscribers")
    chunks = {"audience_chunks": 2}
    pipeline.put(tables.SIGNALS, {**pipeline.item(tables.SIGNALS, crowd.key), **chunks})
    with pytest.raises(InvalidRequest, match="more than 50 targets"):
        hunter.wait_for(crowd)
    with pytest.raises(ValueError, match="timeout_s is 0"):
        hunter.wait_for(sent, timeout_s=0)
