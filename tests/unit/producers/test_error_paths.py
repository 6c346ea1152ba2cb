"""What an agent asks for and cannot have is said with the reason, and costs it nothing else."""

import asyncio
from collections.abc import Callable
from datetime import datetime
from typing import Any

import pytest

from sharpwave.producers import Agent, AsyncAgent
from sharpwave.producers import errors as err
from sharpwave.producers.call import Identity
from sharpwave.producers.leases import AsyncRenewals
from sharpwave.producers.operations import (
    decisions,
    memory,
    receiving,
    registration,
    settling,
    signals,
    state,
    storage,
)
from sharpwave.producers.operations.receiving import Ask, Inbox, Lease, Received
from sharpwave.schemas import keys, messages
from sharpwave.schemas.faults import RecordRefused
from sharpwave.schemas.messages import SignalMessage
from sharpwave.schemas.numbers import item_to_wire
from sharpwave.schemas.times import iso_ms

NOW = 1_800_000_000
KEY = keys.Key(keys.decision_pk("risk", "ASSESS"), f"{iso_ms(NOW)}#dec_1")
CONDITION = err.ConditionFailed("met", reasons=["ConditionalCheckFailed"])
GONE = err.QueueMissing("gone")

Play = Callable[..., Any]


def item(**attributes: Any) -> dict[str, Any]:
    return {"Item": item_to_wire({"PK": KEY.pk, "SK": KEY.sk, **attributes})}


def page(*items: dict[str, Any]) -> dict[str, Any]:
    return {"Items": [item_to_wire(each) for each in items]}


@pytest.fixture
def received(me: Identity) -> Received:
    signal = {
        "PK": "signal#WHALE#hunter",
        "SK": f"{iso_ms(NOW)}#sig_1",
        "signal_id": "sig_1",
        "signal_type": "WHALE",
        "source_agent": "hunter",
        "timestamp": NOW,
        "iso_timestamp": iso_ms(NOW),
        "data": {},
    }
    message = SignalMessage.model_validate(messages.message_of(signal, "risk", "agent_signals"))
    return Received(me, Lease("", "receipt", 1, "http://q/inbox-risk", 60), message)


def deep(levels: int) -> dict[str, Any]:
    value: dict[str, Any] = {}
    for _ in range(levels):
        value = {"in": value}
    return value


@pytest.mark.parametrize(
    ("operation", "answers", "error", "text"),
    [
        (lambda me: decisions.correct_outcome(me, KEY, success=True), [item()], err.OutcomeConflict,
         "no outcome to correct"),
        (lambda me: decisions.record_outcome(me, KEY, success=True, gain=float("nan")), [],
         RecordRefused, "not a number"),
        (lambda me: signals.signal_status(me, KEY), [{}, {}], err.RecordMissing, "no signal"),
        (lambda me: state.checkpoint(me), [{}], err.RecordMissing, "no state to keep"),
        (lambda me: decisions.decisions(me, since=datetime(2027, 1, 1)), [], ValueError,
         "no time zone"),
        (lambda me: memory.remember(me, "NOTE", deep(40)), [], RecordRefused, "deep"),
        (lambda me: receiving.receive(Inbox(me), Ask(0, 1), 0), [], ValueError,
         "visibility_timeout_s is 0"),
        (lambda me: storage.fetch("t", [KEY]), [{"UnprocessedKeys": {"t": {}}}] * 8,
         err.Throttled, "left reads out 8 times"),
        (lambda me: registration.register(me), [{}, GONE, err.AccessDenied("no")],
         err.QueueMissing, "sharpwave agents add risk"),
        (lambda me: registration.register(me), [{}, GONE, err.ServiceFailed("deleted recently")],
         err.ServiceFailed, "deleted recently"),
    ],
)  # fmt: skip
def test_what_cannot_be_done_is_said_with_the_reason(
    play: Play,
    me: Identity,
    operation: Callable[[Identity], Any],
    answers: list[Any],
    error: type[Exception],
    text: str,
) -> None:
    with pytest.raises(error, match=text):
        play(operation(me), *answers)


@pytest.mark.parametrize(
    ("row", "found", "error", "text"),
    [
        ({"status": "PENDING"}, [], err.AlreadyExists, "its row is not acknowledged"),
        ({"status": "PROCESSED", "processed_at": NOW}, [], err.AlreadySettled,
         "without a decision"),
        ({"status": "PROCESSED", "processed_at": NOW, "decision_id": "dec_1"}, [{}, page()],
         err.AlreadySettled, "not readable"),
    ],
)  # fmt: skip
def test_a_delivery_that_others_ended_otherwise_says_how(
    play: Play,
    received: Received,
    row: dict[str, Any],
    found: list[Any],
    error: type[Exception],
    text: str,
) -> None:
    with pytest.raises(error, match=text):
        play(settling.decide(received, "ASSESS"), CONDITION, item(**row), *found)

    assert received.settled is None


def test_an_acknowledgement_without_a_row_deletes_the_message_and_says_so(
    play: Play, received: Received, caplog: pytest.LogCaptureFixture
) -> None:
    played = play(settling.ack(received), err.ConditionFailed("met"), {})

    assert played.operations == ["update_item", "delete_message"]
    assert any(line.startswith("row_gone: ") for line in caplog.messages)


@pytest.mark.parametrize(
    ("operation", "bad"),
    [
        (lambda me: decisions.decisions(me, decision_type="ASSESS"),
         {"PK": KEY.pk, "SK": KEY.sk, "agent_id": "risk"}),
        (lambda me: memory.memories(me, "NOTE"), {"PK": "agent:risk#memory#NOTE", "SK": "x"}),
        (lambda me: state.checkpoints(me), {"PK": "agent:risk", "SK": "CHECKPOINT#x"}),
    ],
    ids=["decisions", "memories", "checkpoints"],
)  # fmt: skip
def test_a_record_that_breaks_its_schema_is_left_out_and_counted(
    play: Play, me: Identity, operation: Callable[[Identity], Any], bad: dict[str, Any]
) -> None:
    assert play(operation(me), page(bad)).result == []

    assert me.counters["unreadable"] == 1


def test_a_pattern_that_cannot_be_read_fits_nothing(play: Play, me: Identity) -> None:
    row = {
        "PK": "agent:risk#pattern",
        "SK": "p1",
        "memory_type": "PATTERN",
        "pattern_id": "p1",
        "version": 1,
        "learned_at": NOW,
        "effective_from": NOW,
        "decision_type": "ASSESS",
    }
    odd = {**row, "SK": "p2", "pattern_id": "p2", "conditions": {"no such": "condition"}}
    asked = {"context": {"trend": "up"}}

    found = play(memory.patterns(me, matching=asked), page({**row, "version": "x"}, odd), page())

    assert found.result == []
    assert me.counters["unreadable"] == 1


def test_rows_are_shown_without_signals_that_may_not_be_read(play: Play, me: Identity) -> None:
    row = {
        "PK": "agent:risk#inbox",
        "SK": f"{iso_ms(NOW)}#uid",
        "signal_pk": "signal#WHALE#hunter",
        "signal_sk": "s",
        "signal_id": "sig_1",
        "signal_type": "WHALE",
        "source_agent": "hunter",
        "timestamp": NOW,
        "expires_at": NOW + 60,
    }

    played = play(signals.get_signals_for_agent(me), page(row), err.AccessDenied("no"))

    assert [(view.signal_id, view.payload) for view in played.result] == [("sig_1", None)]


@pytest.fixture
def agents() -> tuple[Agent, AsyncAgent]:
    """Two agents whose driver reaches nothing."""

    class Away:
        def run(self, operation: Any) -> Any:
            operation.close()
            raise err.Unreachable("away")

    class AsyncAway(Away):
        async def run(self, operation: Any) -> Any:
            return super().run(operation)

    nowhere = "http://127.0.0.1:1"
    agent, other = Agent("risk", endpoint_url=nowhere), AsyncAgent("risk", endpoint_url=nowhere)
    agent._driver.close()
    agent._driver, other._driver = Away(), AsyncAway()  # type: ignore[assignment]
    other._renewals = AsyncRenewals(other._driver)  # type: ignore[arg-type]
    return agent, other


def test_messages_that_cannot_be_given_back_come_back_by_themselves(
    agents: tuple[Agent, AsyncAgent], caplog: pytest.LogCaptureFixture
) -> None:
    agent, other = agents

    with pytest.raises(err.Unreachable):
        next(agent.inbox(wait_s=0))

    async def ask() -> None:
        async for _ in other.inbox(wait_s=0):
            raise AssertionError("nothing can come")

    with pytest.raises(err.Unreachable):
        asyncio.run(ask())
    assert caplog.messages == ["give_back_failed: away"] * 2
