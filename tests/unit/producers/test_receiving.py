"""A message becomes a delivery only if there is still something to work."""

from collections.abc import Callable
from typing import Any

import pytest

from sharpwave.producers.call import Identity
from sharpwave.producers.errors import Unreachable
from sharpwave.producers.operations.receiving import Inbox, Lease, Polling, admit
from sharpwave.schemas import keys, messages
from sharpwave.schemas.numbers import item_to_wire, plain_json

Play = Callable[..., Any]
SIGNAL = {
    "PK": "signal#WHALE#hunter",
    "SK": "2027-01-15T08:00:00.000Z#sig_1",
    "signal_id": "sig_1",
    "signal_type": "WHALE",
    "source_agent": "hunter",
    "timestamp": 1_800_000_000,
    "iso_timestamp": "2027-01-15T08:00:00.000Z",
    "data": {"btc": 0.5},
}


def received(body: str | None = None, *, count: int = 1, **changed: Any) -> Lease:
    message = {**messages.message_of(SIGNAL, "risk", "agent_signals"), **changed}
    return Lease(body or plain_json(message), f"r{count}", count, "http://q/inbox-risk", 60)


def row(**attributes: Any) -> dict[str, Any]:
    return {"Item": item_to_wire({"PK": "p", "SK": "s", **attributes})}


@pytest.fixture
def inbox(me: Identity) -> Inbox:
    return Inbox(me)


def test_an_open_delivery_is_handed_out_after_one_read(play: Play, inbox: Inbox) -> None:
    played = play(admit(inbox, received()), row(status="PENDING"))

    assert played.result.message.signal_id == "sig_1"
    assert played.operations == ["get_item"]


@pytest.mark.parametrize("count", [1, 2])
def test_what_another_process_acknowledged_is_dropped_even_at_its_copys_first_receive(
    play: Play, inbox: Inbox, count: int
) -> None:
    again = received(count=count)

    played = play(admit(inbox, again), row(status="PROCESSED"), {})

    assert (played.result, played.operations) == (None, ["get_item", "delete_message"])
    assert played.calls[0].params["ConsistentRead"] is True
    assert inbox.me.counters["deduplicated"] == 1
    assert not again.held


@pytest.mark.parametrize(
    "stored",
    [
        row(status="PENDING"),
        row(status="EXPIRED", reason="unacknowledged"),
        row(status="FAILED", reason="dead_lettered"),
        {},
    ],
)
def test_what_the_agent_did_not_end_is_handed_out_again(
    play: Play, inbox: Inbox, stored: dict[str, Any]
) -> None:
    played = play(admit(inbox, received(count=2)), stored)

    assert played.result is not None


def test_a_failure_that_the_agent_declared_is_an_end(play: Play, inbox: Inbox) -> None:
    played = play(admit(inbox, received()), row(status="FAILED", processed_at=5), {})

    assert played.operations == ["get_item", "delete_message"]


def test_an_omitted_payload_takes_the_form_of_a_message(play: Play, inbox: Inbox) -> None:
    short = received(omitted=["data"], data={})

    played = play(admit(inbox, short), row(data={"raw": b"\1", "set": {"b", "a"}}))

    assert played.result.message.data == {"raw": "AQ==", "set": ["a", "b"]}


def test_a_payload_whose_row_is_gone_is_left_to_redrive(play: Play, inbox: Inbox) -> None:
    short = received(omitted=["data"])

    played = play(admit(inbox, short), {})

    assert (played.result, short.held) == (None, False)
    assert inbox.me.counters["undecodable"] == 1


@pytest.mark.parametrize(
    "body", ["", "[]", "{}", '{"v":1,"kind":"signal"}', "[" * 100_000, '{"v":1,"kind":"notice"}']
)
def test_a_body_that_cannot_be_read_is_left_to_redrive(play: Play, inbox: Inbox, body: str) -> None:
    odd = received()
    odd.body = body

    played = play(admit(inbox, odd))

    assert (played.result, played.calls, odd.held) == (None, [], False)


def test_a_message_for_another_agents_row_is_never_worked(play: Play, inbox: Inbox) -> None:
    foreign = messages.message_of(SIGNAL, "other", "agent_signals")

    played = play(admit(inbox, received(row=foreign["row"])))

    assert played.result is None
    assert inbox.me.counters["undecodable"] == 1


def test_a_failed_delete_waits_for_the_next_receive(play: Play, inbox: Inbox) -> None:
    played = play(admit(inbox, received('{"v":2,"kind":"signal"}')), Unreachable("gone"))

    assert played.result is None
    assert inbox.me.counters["skipped"] == 1


def test_polling_stops_at_its_limit(me: Identity) -> None:
    polling = Polling(me, wait_s=20, limit=12, until=None)

    asked = polling.next()
    for _ in range(11):
        polling.delivered()

    assert asked == (20, 10)
    assert polling.next() == (20, 1)
    polling.delivered()
    assert polling.next() is None


def test_polling_stops_at_its_moment_and_never_waits_past_it() -> None:
    moment = [100.0]
    polling = Polling(Identity("risk", clock=lambda: moment[0]), wait_s=20, limit=None, until=107.5)

    first, moment[0] = polling.next(), 107.5

    assert first == (8, 10)
    assert polling.next() is None


def test_polling_without_waiting_stops_at_an_empty_answer(me: Identity) -> None:
    polling = Polling(me, wait_s=0, limit=None, until=None)

    polling.answered(3)
    more = polling.next()
    polling.answered(0)

    assert more == (0, 10)
    assert polling.next() is None


def test_waits_that_sqs_does_not_know_are_refused(me: Identity) -> None:
    with pytest.raises(ValueError, match="SQS waits 0 to 20 s"):
        Polling(me, wait_s=21, limit=None, until=None)


def test_a_row_key_is_read_from_the_agents_own_partition(play: Play, inbox: Inbox) -> None:
    played = play(admit(inbox, received(count=2)), row(status="PROCESSED"), {})

    assert played.calls[0].params["Key"]["PK"] == {"S": keys.inbox_pk("risk")}
