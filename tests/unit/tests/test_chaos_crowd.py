"""Plain agents work what their queues hold, acknowledge on their rows, and misbehave by plan."""

import json
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from botocore.exceptions import ClientError

from sharpwave.schemas import keys
from sharpwave.schemas.ids import delivery_id
from sharpwave.schemas.messages import SignalBody
from sharpwave.schemas.numbers import from_wire
from tests.chaos import crowd, drafts
from tests.chaos.history import Event, History, read
from tests.world.records import signal

FAR, NEAR = 86_400, 5


class Queue:
    """Holds messages as SQS does, without hiding them."""

    def __init__(self) -> None:
        self.bodies: dict[str, str] = {}
        self.receives = 1
        self.is_there = True

    def get_queue_url(self, **_: Any) -> dict[str, Any]:
        return {"QueueUrl": "http://queue"}

    def receive_message(self, **_: Any) -> dict[str, Any]:
        if not self.is_there:
            raise refused("ReceiveMessage", "QueueDoesNotExist")
        return {
            "Messages": [
                {
                    "ReceiptHandle": handle,
                    "Body": body,
                    "Attributes": {"ApproximateReceiveCount": str(self.receives)},
                }
                for handle, body in self.bodies.items()
            ]
        }

    def delete_message_batch(self, *, Entries: list[dict[str, str]], **_: Any) -> None:
        for entry in Entries:
            del self.bodies[entry["ReceiptHandle"]]


class Rows:
    """Keeps rows and checks the condition of an acknowledgement."""

    def __init__(self) -> None:
        self.rows: dict[str, dict[str, Any]] = {}

    def update_item(self, **request: Any) -> None:
        row = self.rows.get(request["Key"]["SK"]["S"])
        names, values = request["ExpressionAttributeNames"], request["ExpressionAttributeValues"]
        if row is None or row["status"] == "PROCESSED":
            raise refused("UpdateItem", "ConditionalCheckFailedException", Item=row or {})
        row |= {name: from_wire(values[f":{mark[1:]}"]) for mark, name in names.items()}

    def transact_write_items(self, *, TransactItems: list[dict[str, Any]]) -> None:
        updates = [each["Update"] for each in TransactItems]
        found = [self.rows.get(update["Key"]["SK"]["S"], {}) for update in updates]
        if any(row.get("status") != "PENDING" for row in found):
            raise refused("TransactWriteItems", "TransactionCanceledException")
        for update in updates:
            self.update_item(**update)

    def delete_item(self, *, Key: dict[str, dict[str, str]], **_: Any) -> None:
        self.rows.pop(Key["SK"]["S"], None)


def refused(operation: str, code: str, **more: Any) -> ClientError:
    answer: Any = {"Error": {"Code": code, "Message": ""}, **more}
    return ClientError(answer, operation)


class Fixture:
    """One plain agent, its queue and its rows."""

    def __init__(self, folder: Path, **habits: bool) -> None:
        self.folder = folder
        self.history = History(folder, "crowd")
        self.queue, self.rows = Queue(), Rows()
        process = crowd.Crowd(
            self.history, sqs=self.queue, dynamodb=self.rows, visibility_s=4, dies=0.0, **habits
        )
        self.agent = crowd.PlainAgent("plain-001", process)

    def deliver(self, number: int, *, ttl_s: int = FAR) -> str:
        """Put a signal into the queue, with its row; gives the delivery's id."""
        now = time.time()
        more: dict[str, Any] = {"data": {"number": number}, "ttl": int(now) + ttl_s}
        item = signal("scout", f"s{number}", to=["plain-001"], at=now, kind="PRICE_MOVE", **more)
        body, _ = SignalBody(item, "table").to("plain-001")
        name: str = json.loads(body)["delivery_id"]
        self.queue.bodies[name] = body
        self.rows.rows[json.loads(body)["row"]["SK"]] = {"status": "PENDING"}
        return name

    def noted(self, what: str) -> list[Event]:
        return [event for event in read(self.folder) if event.what == what]

    def statuses(self) -> list[str]:
        return sorted(row["status"] for row in self.rows.rows.values())


@pytest.fixture
def made(tmp_path: Path) -> Iterator[Fixture]:
    fixture = Fixture(tmp_path, neglects=True)
    yield fixture
    fixture.history.close()


def test_a_batch_is_handed_out_acknowledged_and_deleted(made: Fixture) -> None:
    names = {made.deliver(number) for number in range(7)}

    assert made.agent.serve() == 7

    assert made.statuses() == ["PROCESSED"] * 7
    assert made.queue.bodies == {}
    for what in ("handed", "settled"):
        assert {event.details["delivery"] for event in made.noted(what)} == names
    assert made.noted("handed")[0].details["token"] == drafts.token({"number": 0})


def test_a_delivery_acknowledged_before_is_dropped(made: Fixture) -> None:
    made.deliver(1)
    again = dict(made.queue.bodies)
    made.agent.serve()

    made.queue.bodies = again
    made.agent.serve()

    assert (len(made.noted("settled")), len(made.noted("dropped"))) == (1, 1)
    assert made.queue.bodies == {}


def test_a_message_whose_row_is_gone_stays_in_the_queue(made: Fixture) -> None:
    made.deliver(1)
    made.rows.rows.clear()

    made.agent.serve()

    assert len(made.queue.bodies) == 1
    assert made.noted("settled") == []


def test_some_signals_that_expire_soon_are_read_and_left_alone(made: Fixture) -> None:
    for number in range(40):
        made.deliver(number, ttl_s=NEAR)

    made.agent.serve()

    assert {"PENDING", "PROCESSED"} == set(made.statuses())
    assert made.queue.bodies == {}


def test_a_queue_that_is_not_there_yet_is_asked_again_later(made: Fixture) -> None:
    made.queue.is_there = False

    assert made.agent.serve() == 0


def test_a_notice_is_noted_with_the_record_it_speaks_of(made: Fixture) -> None:
    record = {"table": "t", "PK": "signal#PRICE_MOVE#plain-001", "SK": "s"}
    notice = {"kind": "notice", "code": "expired", "notice_id": "n1", "record": record}
    made.queue.bodies["h"] = json.dumps(notice)

    made.agent.serve()

    (told,) = made.noted("told")
    assert told.details == {"code": "expired", "notice": "n1", "pk": record["PK"], "sk": "s"}
    assert made.queue.bodies == {}


def test_an_agent_that_spoils_deletes_rows_and_writes_what_is_not_its_own(tmp_path: Path) -> None:
    fixture = Fixture(tmp_path, spoils=True)
    for number in range(600):
        fixture.deliver(number)
    before = len(fixture.rows.rows)

    fixture.agent.serve()

    left = fixture.queue.bodies
    written = {name for row in fixture.rows.rows.values() for name in row}
    # Rows deleted before the acknowledgement keep their message, those deleted after it do not.
    assert 0 < len(left) < before - len(fixture.rows.rows)
    assert written & {"signal_sk", "chunk", "expires_at", "worker_rev"}
    assert {"PROCESSED"} == set(fixture.statuses())
    fixture.history.close()


def test_an_agent_that_deleted_its_row_at_the_end_drops_a_message_that_was_sent_twice(
    tmp_path: Path,
) -> None:
    fixture = Fixture(tmp_path, spoils=True)
    for number in range(600):
        fixture.deliver(number)
    sent = dict(fixture.queue.bodies)
    fixture.agent.serve()
    settled = {event.details["delivery"] for event in fixture.noted("settled")}

    fixture.queue.bodies = {name: body for name, body in sent.items() if name in settled}
    fixture.agent.serve()

    assert len(fixture.rows.rows) < len(settled)
    assert fixture.queue.bodies == {}
    assert {event.details["delivery"] for event in fixture.noted("settled")} == settled
    fixture.history.close()


def test_a_delivery_names_its_row(made: Fixture) -> None:
    name = made.deliver(3)
    message = crowd.Message("h", 1, json.loads(made.queue.bodies[name]))

    assert message.row.pk == keys.inbox_pk("plain-001")
    assert name == delivery_id(name.partition(".")[0], "plain-001")
