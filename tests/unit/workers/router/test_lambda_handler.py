"""A Lambda batch is accepted up to the first record of which a message was not accepted."""

import base64
from collections.abc import Callable, Sequence
from typing import Any

import pytest

from sharpwave.workers.router.lambda_handler import make_handler
from sharpwave.workers.work.incoming import StreamRecord, streamed
from sharpwave.workers.work.outgoing import WorkMessage

ARN = "arn:aws:dynamodb:eu-west-1:1:table/dev-agent_signals/stream/2026-01-01T00:00:00.000"
NOTHING: dict[str, list[dict[str, str]]] = {"batchItemFailures": []}


class FakeSender:
    """Accepts everything but the bodies in `rejects`."""

    def __init__(self, *rejects: str) -> None:
        self.rejects = rejects
        self.accepted: list[str] = []
        self.attempts: int | None = None

    def try_send(
        self, messages: Sequence[WorkMessage], *, attempts: int | None
    ) -> list[WorkMessage]:
        self.attempts = attempts
        self.accepted += [m.body for m in messages if m.body not in self.rejects]
        return [m for m in messages if m.body in self.rejects]


def record(number: int, arn: str = ARN) -> dict[str, Any]:
    """One record as Lambda shapes it."""
    return {
        "eventID": f"event-{number}",
        "eventName": "INSERT",
        "eventSource": "aws:dynamodb",
        "eventSourceARN": arn,
        "dynamodb": {
            "ApproximateCreationDateTime": 1_760_000_000.0,
            "Keys": {"PK": {"S": "signal#RISK"}, "SK": {"S": str(number)}},
            "NewImage": {
                "blob": {"B": base64.b64encode(b"\x00\x01").decode()},
                "gone": {"NULL": True},
            },
            "SequenceNumber": str(number),
            "StreamViewType": "NEW_AND_OLD_IMAGES",
        },
    }


def event(*numbers: int) -> dict[str, Any]:
    return {"Records": [record(number) for number in numbers]}


def each(table: str, records: Sequence[StreamRecord]) -> list[WorkMessage]:
    numbers = [streamed(r).change.sequence_number for r in records]
    return [WorkMessage("deliver", f"{table}/{number}", (number,)) for number in numbers]


def table_of(arn: str) -> str:
    return arn.split("/")[1].removeprefix("dev-")


def failures(*numbers: int) -> dict[str, list[dict[str, str]]]:
    return {"batchItemFailures": [{"itemIdentifier": str(number)} for number in numbers]}


def test_an_accepted_batch_reports_nothing() -> None:
    sender = FakeSender()

    answer = make_handler(each, sender, table_of)(event(7, 8), None)

    assert answer == NOTHING
    assert sender.accepted == ["agent_signals/7", "agent_signals/8"]
    assert sender.attempts == 3


def test_only_the_lowest_failing_record_is_reported() -> None:
    sender = FakeSender("agent_signals/9", "agent_signals/8")

    assert make_handler(each, sender, table_of)(event(7, 8, 9), None) == failures(8)


def test_sequence_numbers_are_compared_as_the_stream_orders_them() -> None:
    sender = FakeSender("agent_signals/9", "agent_signals/10")

    assert make_handler(each, sender, table_of)(event(9, 10), None) == failures(9)


def test_a_group_that_fails_reports_its_first_record() -> None:
    def grouped(table: str, records: Sequence[StreamRecord]) -> list[WorkMessage]:
        return [WorkMessage("deliver", "first", ("7",)), WorkMessage("learn", "group", ("9", "8"))]

    assert make_handler(grouped, FakeSender("group"), table_of)(event(7, 8, 9), None) == failures(8)


def test_a_failing_message_of_no_known_record_puts_the_whole_batch_in_doubt() -> None:
    def unknown(table: str, records: Sequence[StreamRecord]) -> list[WorkMessage]:
        return [WorkMessage("deliver", "none", ())]

    def foreign(table: str, records: Sequence[StreamRecord]) -> list[WorkMessage]:
        return [WorkMessage("deliver", "none", ("123",))]

    assert make_handler(unknown, FakeSender("none"), table_of)(event(7, 8), None) == failures(7)
    assert make_handler(foreign, FakeSender("none"), table_of)(event(7, 8), None) == failures(7)


def broken(table: str, records: Sequence[StreamRecord]) -> list[WorkMessage]:
    if any(streamed(r).change.sequence_number == "8" for r in records):
        raise ValueError("not a signal")
    return each(table, records)


def test_a_record_that_breaks_the_router_is_parked_and_the_rest_goes_on() -> None:
    sender = FakeSender()
    parked: list[tuple[str, str, str]] = []

    def park(table: str, bad: StreamRecord, error: Exception) -> None:
        parked.append((table, streamed(bad).event_id, str(error)))

    answer = make_handler(broken, sender, table_of, on_unroutable=park)(event(7, 8, 9), None)

    assert answer == NOTHING
    assert parked == [("agent_signals", "event-8", "not a signal")]
    assert sender.accepted == ["agent_signals/7", "agent_signals/9"]


def no_parking(table: str, bad: StreamRecord, error: Exception) -> None:
    raise RuntimeError("table is throttled")


@pytest.mark.parametrize("park", [None, no_parking])
def test_a_record_that_breaks_the_router_and_is_not_parked_is_reported(
    park: Callable[[str, StreamRecord, Exception], None] | None,
) -> None:
    handler = make_handler(broken, FakeSender(), table_of, on_unroutable=park)

    assert handler(event(7, 8, 9), None) == failures(8)


def test_the_router_sees_the_records_as_lambda_shaped_them() -> None:
    seen: list[StreamRecord] = []

    def look(table: str, records: Sequence[StreamRecord]) -> list[WorkMessage]:
        seen.extend(records)
        return []

    make_handler(look, FakeSender(), table_of)(event(7), None)

    assert seen == [record(7)]


def test_records_of_two_tables_are_routed_apart() -> None:
    sender = FakeSender("agent_state/8")
    mixed = {"Records": [record(7), record(8, ARN.replace("agent_signals", "agent_state"))]}

    assert make_handler(each, sender, table_of)(mixed, None) == failures(8)
    assert sender.accepted == ["agent_signals/7"]


def test_a_mapping_of_an_unknown_table_fails_loudly() -> None:
    def unknown(arn: str) -> str:
        raise LookupError(arn)

    with pytest.raises(LookupError):
        make_handler(each, FakeSender(), unknown)(event(7), None)
