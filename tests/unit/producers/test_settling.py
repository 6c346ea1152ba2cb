"""The row is acknowledged before the message is deleted, and a decision is stored once."""

from collections.abc import Callable
from typing import Any

import pytest

from sharpwave.producers.call import Identity
from sharpwave.producers.errors import (
    AlreadySettled,
    ConditionFailed,
    InvalidRequest,
    RecordMissing,
    RecordRefused,
    Throttled,
    Unreachable,
)
from sharpwave.producers.operations import receiving, settling
from sharpwave.producers.operations.receiving import Lease, Received
from sharpwave.schemas.messages import RowReference, SignalMessage
from sharpwave.schemas.numbers import item_to_wire

Play = Callable[..., Any]
NOW = 1_800_000_000
MET = ConditionFailed("met", reasons=["ConditionalCheckFailed", "ConditionalCheckFailed"])
BUSY = ConditionFailed("busy", reasons=["None", "TransactionConflict"])


@pytest.fixture
def received(me: Identity) -> Received:
    row = RowReference(table="agent_signals", PK="agent:risk#inbox", SK="2027#uid")
    message = SignalMessage(
        v=1,
        kind="signal",
        delivery_id="uid.risk",
        signal_id="sig_1",
        signal_type="WHALE",
        source_agent="hunter",
        provenance="bound",
        target_agent="risk",
        timestamp=NOW,
        iso_timestamp="2027-01-15T08:00:00.000Z",
        expires_at=NOW + 60,
        row=row,
    )
    return Received(me, Lease("", "receipt", 1, "http://q/inbox-risk", 60), message)


def test_the_row_comes_first_and_the_message_after(play: Play, received: Received) -> None:
    played = play(settling.ack(received, decision="dec_1"), {}, {})

    update, delete = played.calls
    assert update.params["ConditionExpression"].startswith("attribute_exists(PK)")
    assert update.params["Key"] == {"PK": {"S": "agent:risk#inbox"}, "SK": {"S": "2027#uid"}}
    assert update.params["UpdateExpression"] == (
        "SET #status = :status, #processed_at = :processed_at, #decision_id = :decision_id"
    )
    assert (delete.operation, delete.params["ReceiptHandle"]) == ("delete_message", "receipt")
    assert received.settled == "acknowledged"


def test_an_acknowledgement_that_did_not_arrive_keeps_the_message(
    play: Play, received: Received
) -> None:
    with pytest.raises(Unreachable):
        play(settling.ack(received), Unreachable("gone"))

    assert received.settled is None
    assert received.lease.held


def test_an_acknowledgement_made_elsewhere_stands(play: Play, received: Received) -> None:
    stored = item_to_wire({"PK": "p", "SK": "s", "status": "PROCESSED"})

    played = play(settling.fail(received, "late"), ConditionFailed("met", item=stored), {})

    assert played.operations == ["update_item", "delete_message"]


def test_a_lost_delete_does_not_undo_a_decision(play: Play, received: Received) -> None:
    played = play(settling.decide(received, "ASSESS"), {}, Unreachable("gone"))

    assert played.result.decision_type == "ASSESS"


def test_a_delivery_is_settled_once(play: Play, received: Received) -> None:
    play(settling.release(received), {})

    for again in (settling.ack(received), settling.decide(received, "ASSESS")):
        with pytest.raises(AlreadySettled, match=r"uid\.risk is given back already"):
            play(again)


def test_a_reason_has_room_for_1024_characters(play: Play, received: Received) -> None:
    with pytest.raises(RecordRefused, match="1025 characters"):
        play(settling.fail(received, "x" * 1025))


def test_decision_and_acknowledgement_are_one_transaction(play: Play, received: Received) -> None:
    played = play(settling.decide(received, "ASSESS", context={"level": 0.5}), {}, {})

    put, update = (part for part in played.calls[0].params["TransactItems"])
    made = played.result
    assert put["Put"]["ConditionExpression"] == "attribute_not_exists(PK)"
    assert update["Update"]["ConditionExpression"] == (
        "attribute_exists(PK) AND #status <> :processed"
    )
    assert made.SK == f"2027-01-15T08:00:00.000Z#{settling.decision_id_of('uid.risk')}"
    assert put["Put"]["Item"]["caused_by"] == {"S": "uid.risk"}
    assert update["Update"]["ExpressionAttributeValues"][":processed_at"] == {"N": str(NOW)}


def test_the_id_of_a_decision_follows_from_the_delivery() -> None:
    names = {settling.decision_id_of(name) for name in ("uid.risk", "uid.risk", "uid.trade")}

    assert len(names) == 2
    assert all(len(name) == 28 and name.startswith("dec_") for name in names)


def test_a_delivery_decided_before_gives_that_decision(play: Play, received: Received) -> None:
    first = play(settling.decide(received, "ASSESS"), {}, {}).result
    received.settled = None
    row = {"status": "PROCESSED", "processed_at": NOW, "decision_id": first.decision_id}
    stored = first.model_dump(exclude_none=True)

    again = play(
        settling.decide(received, "ASSESS"),
        MET,
        {"Item": item_to_wire({"PK": "p", "SK": "s", **row})},
        {"Item": item_to_wire(stored)},
        {},
    )

    assert again.result == first
    assert again.operations == ["transact_write_items", "get_item", "get_item", "delete_message"]
    assert all(call.params["ConsistentRead"] for call in again.calls[1:3])


def test_a_conflict_with_another_writer_is_tried_again(play: Play, received: Received) -> None:
    played = play(settling.decide(received, "ASSESS"), BUSY, BUSY, {}, {})

    assert played.pauses == [0.02, 0.04]
    assert received.settled == "acknowledged"


def test_lasting_conflicts_leave_the_delivery_open(play: Play, received: Received) -> None:
    with pytest.raises(Throttled, match="handed out again"):
        play(settling.decide(received, "ASSESS"), *[BUSY] * 8)

    assert received.settled is None


def test_a_transaction_refused_for_its_content_is_not_repeated(
    play: Play, received: Received
) -> None:
    with pytest.raises(InvalidRequest):
        play(
            settling.decide(received, "ASSESS"), ConditionFailed("no", reasons=["ValidationError"])
        )


def test_without_a_row_nothing_is_decided(play: Play, received: Received) -> None:
    with pytest.raises(RecordMissing, match="nothing can be acknowledged"):
        play(settling.decide(received, "ASSESS"), MET, {})


def test_a_message_that_cannot_be_renewed_is_no_longer_held(play: Play, received: Received) -> None:
    first, second = received.lease, Lease("", "gone", 1, received.lease.url, 90)
    failed = {"Failed": [{"Id": "1", "SenderFault": True, "Code": "ReceiptHandleIsInvalid"}]}

    played = play(receiving.extend([first, second]), failed)

    entries = played.calls[0].params["Entries"]
    assert [entry["VisibilityTimeout"] for entry in entries] == [60, 90]
    assert (first.held, second.held) == (True, False)
    assert played.result == []


@pytest.mark.parametrize(
    "refused", [{"SenderFault": False}, {"SenderFault": True, "Code": "RequestThrottled"}]
)
def test_a_renewal_that_may_succeed_later_is_given_back_to_be_tried(
    play: Play, received: Received, refused: dict[str, Any]
) -> None:
    played = play(receiving.extend([received.lease]), {"Failed": [{"Id": "0", **refused}]})

    assert received.lease.held
    assert played.result == [received.lease]
