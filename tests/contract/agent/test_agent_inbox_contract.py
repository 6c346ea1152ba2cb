"""An agent is handed a delivery again only while no acknowledgement of it is recorded."""

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

from sharpwave.producers.errors import AlreadySettled, RecordMissing
from sharpwave.schemas import keys, queues, tables
from sharpwave.schemas.numbers import plain_json
from sharpwave.schemas.sketch import ACCURACY

Connect = Callable[..., Any]
TRACE = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"


@pytest.fixture
def sent(connect: Connect, pipeline: Any) -> Any:
    """A signal on its way from `hunter` to `risk`, who has a queue."""
    pipeline.add_queue("risk")
    return connect("hunter").signal("WHALE", to="risk", data={"btc": 0.5}, traceparent=TRACE)


def test_an_acknowledgement_reaches_the_row_and_removes_the_message(
    connect: Connect, pipeline: Any, sent: Any
) -> None:
    delivery_id = pipeline.deliver(sent.key, "risk")

    for delivery in connect("risk").inbox(limit=1):
        delivery.ack(decision="dec_1", reason="seen")

    row = pipeline.row(sent.key, "risk")
    assert (delivery.delivery_id, delivery.data, delivery.provenance) == (
        delivery_id,
        sent.data,
        "bound",
    )
    assert (row["status"], row["decision_id"], row["reason"]) == ("PROCESSED", "dec_1", "seen")
    assert row["processed_at"] > 0
    assert pipeline.waiting("risk") == pipeline.hidden("risk") == 0


def test_a_block_acknowledges_and_an_exception_leaves_the_message(
    connect: Connect, pipeline: Any, sent: Any
) -> None:
    risk = connect("risk")
    pipeline.deliver(sent.key, "risk")

    with (
        pytest.raises(ZeroDivisionError),
        next(risk.inbox(visibility_timeout_s=1)),
    ):
        raise ZeroDivisionError
    assert pipeline.row(sent.key, "risk")["status"] == "PENDING"
    with next(risk.inbox(visibility_timeout_s=1)) as again:
        assert again.receive_count == 2

    assert pipeline.row(sent.key, "risk")["status"] == "PROCESSED"
    assert pipeline.waiting("risk") == pipeline.hidden("risk") == 0


def test_a_failure_is_final_and_a_delivery_is_settled_once(
    connect: Connect, pipeline: Any, sent: Any
) -> None:
    pipeline.deliver(sent.key, "risk", times=2)
    risk = connect("risk")

    with next(risk.inbox()) as delivery:
        delivery.fail("no such market")
    with pytest.raises(AlreadySettled, match="is failed already"):
        delivery.ack()

    assert list(risk.inbox(wait_s=0)) == []
    row = pipeline.row(sent.key, "risk")
    assert (row["status"], row["reason"]) == ("FAILED", "no such market")


def test_a_copy_of_an_acknowledged_delivery_is_dropped(
    connect: Connect, pipeline: Any, sent: Any
) -> None:
    pipeline.deliver(sent.key, "risk", times=3)
    risk = connect("risk")

    handed = []
    for delivery in risk.inbox(wait_s=0):
        handed.append(delivery)
        delivery.ack()

    assert (len(handed), risk.counters["deduplicated"]) == (1, 2)
    assert pipeline.waiting("risk") == pipeline.hidden("risk") == 0


def test_leaving_the_loop_gives_back_what_was_not_handed_out(
    connect: Connect, pipeline: Any, sent: Any
) -> None:
    risk = connect("risk")
    others = [connect("hunter").signal("WHALE", to="risk") for _ in range(4)]
    for signal in (sent, *others):
        pipeline.deliver(signal.key, "risk")

    inbox = risk.inbox()
    next(inbox).ack()
    inbox.close()

    assert (pipeline.waiting("risk"), pipeline.hidden("risk")) == (4, 0)
    assert len(list(risk.inbox(limit=2))) == 2


def test_a_delivery_stays_hidden_while_it_is_worked(
    connect: Connect, pipeline: Any, sent: Any
) -> None:
    risk, rival = connect("risk"), connect("risk")
    pipeline.deliver(sent.key, "risk")
    delivery = next(risk.inbox(visibility_timeout_s=2))

    deadline = risk._subject.clock() + 3
    stolen = list(rival.inbox(wait_s=1, until=deadline, limit=1))

    assert stolen == []
    delivery.release()
    assert next(rival.inbox()).delivery_id == delivery.delivery_id


def test_a_delivery_that_was_dropped_comes_again(
    connect: Connect, pipeline: Any, sent: Any
) -> None:
    risk = connect("risk")
    delivery_id = pipeline.deliver(sent.key, "risk")
    next(risk.inbox(visibility_timeout_s=1))

    again = next(risk.inbox())

    assert (again.delivery_id, again.receive_count) == (delivery_id, 2)


def test_a_payload_too_large_for_the_message_is_read_from_the_row(
    connect: Connect, pipeline: Any, sent: Any
) -> None:
    pipeline.deliver(sent.key, "risk", fit=False)

    delivery = next(connect("risk").inbox())

    assert delivery.message.omitted == ["data"]
    assert delivery.data == sent.data


def test_a_decision_and_its_acknowledgement_are_stored_together(
    connect: Connect, pipeline: Any, sent: Any
) -> None:
    risk = connect("risk")
    delivery_id = pipeline.deliver(sent.key, "risk")

    with next(risk.inbox()) as delivery:
        made = delivery.decide("ASSESS", context={"level": 0.5})

    row = pipeline.row(sent.key, "risk")
    assert (row["status"], row["decision_id"]) == ("PROCESSED", made.decision_id)
    assert row["processed_at"] == made.timestamp
    assert risk.decisions() == [made]
    assert made.model_extra == {"caused_by": delivery_id, "traceparent": TRACE}


def test_handlers_at_once_decide_once(connect: Connect, pipeline: Any, sent: Any) -> None:
    pipeline.deliver(sent.key, "risk", times=6)
    agents = [connect("risk") for _ in range(6)]
    deliveries = [next(agent.inbox(limit=1)) for agent in agents]

    with ThreadPoolExecutor() as pool:
        made = list(pool.map(lambda d: d.decide("ASSESS"), deliveries))

    assert len({decision.key for decision in made}) == 1
    assert pipeline.count(tables.DECISIONS) == 1
    assert pipeline.waiting("risk") == pipeline.hidden("risk") == 0


def test_another_choice_of_type_still_decides_once(
    connect: Connect, pipeline: Any, sent: Any
) -> None:
    pipeline.deliver(sent.key, "risk", times=2)
    first, second = (next(connect("risk").inbox(limit=1)) for _ in range(2))

    made = first.decide("ASSESS")

    assert second.decide("IGNORE") == made
    assert pipeline.count(tables.DECISIONS) == 1


def test_a_copy_that_another_process_acknowledged_is_not_handed_out(
    connect: Connect, pipeline: Any, sent: Any
) -> None:
    pipeline.deliver(sent.key, "risk")
    first = next(connect("risk").inbox(visibility_timeout_s=1))
    pipeline.send("risk", plain_json(first.message.model_dump()))
    first.decide("ASSESS")

    handed = list(connect("risk").inbox(wait_s=0))

    assert handed == []
    assert pipeline.count(tables.DECISIONS) == 1
    assert pipeline.waiting("risk") == pipeline.hidden("risk") == 0


def test_nothing_is_decided_without_a_row_or_beside_another_acknowledgement(
    connect: Connect, pipeline: Any, sent: Any
) -> None:
    pipeline.deliver(sent.key, "risk", times=2)
    first, second = (next(connect("risk").inbox(limit=1)) for _ in range(2))
    first.ack()

    with pytest.raises(AlreadySettled, match="without a decision"):
        second.decide("ASSESS")
    row = second.message.row
    table = tables.physical(tables.SIGNALS, pipeline.prefix)
    pipeline.dynamodb.delete_item(TableName=table, Key=keys.Key(row.PK, row.SK).wire())
    with pytest.raises(RecordMissing, match=r"row of .* is gone"):
        second.decide("ASSESS")

    assert pipeline.count(tables.DECISIONS) == 0


def test_notices_are_kept_and_handed_on_and_foreign_messages_left(
    connect: Connect, pipeline: Any, sent: Any
) -> None:
    heard: list[str] = []
    risk = connect("risk", on_notice=lambda notice: heard.append(notice.code))
    notice = {"v": 1, "kind": "notice", "notice_id": "n1", "target_agent": "risk", "timestamp": 1}
    notice |= {"code": "missing", "reasons": [{"code": "missing", "where": "SK", "message": "no"}]}
    for body in (plain_json(notice), '{"v": 1, "kind": "newer"}', "not json"):
        pipeline.send("risk", body)

    assert list(risk.inbox(wait_s=0)) == []

    assert heard == ["missing"] == [notice.code for notice in risk.notices]
    assert (risk.counters["skipped"], risk.counters["undecodable"]) == (1, 1)
    assert pipeline.hidden("risk") == 1


def test_rows_show_what_was_sent_and_what_became_of_it(
    connect: Connect, pipeline: Any, sent: Any
) -> None:
    hunter, risk = connect("hunter"), connect("risk")
    worked, gone = sent, hunter.signal("WHALE", to="risk")
    for signal in (worked, gone):
        pipeline.deliver(signal.key, "risk")
    table = tables.physical(tables.SIGNALS, pipeline.prefix)
    for delivery in risk.inbox(limit=2):
        if delivery.signal_id == worked.signal_id:
            delivery.ack()
    pipeline.dynamodb.delete_item(TableName=table, Key=gone.key.wire())

    views = {view.signal_id: view for view in risk.get_signals_for_agent()}
    (pending,) = hunter.get_signals_for_agent("risk", status="PENDING")

    assert views[worked.signal_id].status == "PROCESSED"
    assert views[worked.signal_id].payload["data"] == sent.data
    assert pending.signal_id == gone.signal_id
    assert pending.payload is None


def test_the_queue_of_a_registered_agent_has_its_dead_letters(
    connect: Connect, pipeline: Any
) -> None:
    connect("fresh").register()

    url = pipeline.add_queue("fresh")

    wanted = ["RedrivePolicy", "VisibilityTimeout"]
    found = pipeline.sqs.get_queue_attributes(QueueUrl=url, AttributeNames=wanted)["Attributes"]
    assert f"{pipeline.prefix}-{queues.inbox('fresh').dlq}" in found["RedrivePolicy"]
    assert found["VisibilityTimeout"] == "60"


def test_an_agent_reads_how_long_signals_took_to_it_and_it_to_acknowledge_them(
    connect: Connect, pipeline: Any
) -> None:
    sent_at = 1_800_000_000.25
    moment = [sent_at]
    hunter, risk = (connect(name, clock=lambda: moment[0]) for name in ("hunter", "risk"))
    whales = [hunter.signal("WHALE", to="risk") for _ in range(3)]
    note = hunter.signal("NOTE", to="risk")
    own = risk.signal("NOTE", to="risk")
    for signal in (*whales, note, own):
        pipeline.deliver(signal.key, "risk")
    for signal, after_s in zip(whales[:2], (2, 6), strict=True):
        status = {"risk": {"status": "DELIVERED", "delivered_ms": int(1000 * (sent_at + after_s))}}
        mirror = {**keys.mirror(signal.key).item(), "status_v": "1", "processing_status": status}
        pipeline.put(tables.SIGNALS, mirror)
    moment[0] += 8
    ended = {whales[0].signal_id: "ack", note.signal_id: "fail"}
    for delivery in risk.inbox(wait_s=0):
        if how := ended.get(delivery.signal_id):
            getattr(delivery, how)(reason="seen")

    found = risk.timings(deliveries=True)

    day = whales[0].iso_timestamp[:10]
    assert [(each.signal_type, each.source, each.day) for each in found] == [
        ("NOTE", "hunter", day),
        ("NOTE", "risk", day),
        ("WHALE", "hunter", day),
    ]
    way = found[-1]
    assert (way.received, way.acknowledgement.count, way.delivery.count) == (3, 1, 2)
    assert way.untimed == {"unknown": 1}
    assert way.acknowledgement.p99_s == pytest.approx(8, rel=ACCURACY)
    assert way.delivery.p50_s == pytest.approx(2, rel=ACCURACY)
    assert way.delivery.p99_s == pytest.approx(6, rel=ACCURACY)
    assert (found[0].acknowledgement + way.acknowledgement).count == 2
    (alone,) = risk.timings("WHALE", source="hunter", since=day, until=day)
    assert (alone.acknowledgement, alone.untimed) == (way.acknowledgement, {"not_asked": 3})
    assert risk.timings(until="2026-01-01") == hunter.timings() == []
