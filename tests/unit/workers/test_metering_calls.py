"""The meter on real botocore clients, whose answers are written in the test."""

import json
import threading
from types import SimpleNamespace
from typing import Any

import boto3
import pytest
from botocore.awsrequest import AWSResponse
from botocore.config import Config
from botocore.exceptions import ClientError, EndpointConnectionError

from sharpwave.schemas.numbers import item_to_wire, to_wire
from sharpwave.workers.calls import CallMeter
from sharpwave.workers.metering.observing import EVERY, FIRST

LOCAL, AWS = "http://127.0.0.1:1", "https://dynamodb.us-east-1.amazonaws.com"
ROW = item_to_wire({"PK": "agent:risk#inbox", "SK": "2026#uid", "data": "x" * 1500})
KEY = {"PK": ROW["PK"], "SK": ROW["SK"]}
UPDATE = {
    "TableName": "agent_signals",
    "Key": KEY,
    "UpdateExpression": "SET seen = :seen",
    "ExpressionAttributeValues": {":seen": to_wire(1)},
}


class Answered:
    """A backend that gives one answer to everything and keeps what it was sent."""

    def __init__(self, answer: dict[str, Any], status: int = 200) -> None:
        self.answer, self.status = answer, status
        self.sent: list[dict[str, Any]] = []

    def __call__(self, request: Any, **_: Any) -> AWSResponse:
        self.sent.append(json.loads(request.body))
        return answered(request.url, self.status, json.dumps(self.answer).encode())


def answered(url: str, status: int, body: bytes) -> AWSResponse:
    raw: Any = SimpleNamespace(stream=lambda: iter([body]))
    headers: Any = {}
    return AWSResponse(url, status, headers, raw)


def client(endpoint_url: str, answers: Any, meter: CallMeter, service: str = "dynamodb") -> Any:
    session: Any = boto3.session.Session()
    made = session.client(
        service,
        endpoint_url=endpoint_url,
        region_name="us-east-1",
        aws_access_key_id="test",
        aws_secret_access_key="test",
        config=Config(retries={"total_max_attempts": 1}),
    )
    made.meta.events.register("before-send", answers)
    return meter.watch(made)


def test_a_local_backend_is_asked_for_the_old_item_and_the_caller_never_sees_it() -> None:
    meter, backend = CallMeter(), Answered({"Attributes": ROW})

    reply = client(LOCAL, backend, meter).update_item(**UPDATE)

    assert backend.sent[0]["ReturnValues"] == "ALL_OLD"
    assert "Attributes" not in reply
    assert meter.used() == {"write:row": (1, 2.0)}
    assert meter.snapshot() == {"dynamodb.UpdateItem": 1}


def test_changes_not_seen_cost_what_those_seen_cost() -> None:
    """After the first few only a sample of the old items is asked for."""
    meter, backend = CallMeter(), Answered({"Attributes": ROW})
    table = client(LOCAL, backend, meter)

    for _ in range(200):
        table.update_item(**UPDATE)

    asked = sum("ReturnValues" in request for request in backend.sent)
    assert FIRST <= asked <= FIRST + 200 / EVERY
    assert meter.used() == {"write:row": (200, 400.0)}


def test_what_the_caller_asked_for_stays_its_own() -> None:
    meter, backend = CallMeter(), Answered({"Attributes": ROW})

    reply = client(LOCAL, backend, meter).update_item(**UPDATE, ReturnValues="ALL_NEW")

    assert backend.sent[0]["ReturnValues"] == "ALL_NEW"
    assert reply["Attributes"] == ROW
    assert meter.used() == {"write:row": (1, 2.0)}


def test_a_statement_returns_the_old_item_to_the_meter_only() -> None:
    meter, backend = CallMeter(), Answered({"Responses": [{"TableName": "t", "Item": ROW}]})
    text = 'UPDATE "agent_signals" SET "seen" = ? WHERE PK = ? AND SK = ?'
    statements = [{"Statement": text, "Parameters": [to_wire(1), *KEY.values()]}]

    reply = client(LOCAL, backend, meter).batch_execute_statement(Statements=statements)

    assert backend.sent[0]["Statements"][0]["Statement"] == f"{text} RETURNING ALL OLD *"
    assert statements[0]["Statement"] == text
    assert reply["Responses"] == [{"TableName": "t"}]
    assert meter.used() == {"write:row": (1, 2.0)}


def test_aws_is_asked_what_it_consumed_and_nothing_else() -> None:
    meter = CallMeter()
    backend = Answered({"ConsumedCapacity": {"TableName": "agent_signals", "CapacityUnits": 7.0}})

    client(AWS, backend, meter).update_item(**UPDATE)

    assert backend.sent[0]["ReturnConsumedCapacity"] == "INDEXES"
    assert "ReturnValues" not in backend.sent[0]
    assert meter.used() == {"write:row": (1, 7.0)}


def test_a_failed_condition_is_charged_and_still_raised() -> None:
    meter = CallMeter()
    error = {"__type": "com.amazonaws.dynamodb.v20120810#ConditionalCheckFailedException"}
    table = client(LOCAL, Answered(error, status=400), meter)

    with pytest.raises(ClientError, match="ConditionalCheckFailed"):
        table.put_item(TableName="agent_signals", Item=ROW)

    assert meter.used() == {"refused:row": (1, 2.0)}


def test_a_call_that_got_no_answer_counts_and_costs_nothing() -> None:
    meter = CallMeter()

    def unreachable(request: Any, **_: Any) -> AWSResponse:
        raise EndpointConnectionError(endpoint_url=request.url)

    with pytest.raises(EndpointConnectionError):
        client(LOCAL, unreachable, meter).get_item(TableName="agent_signals", Key=KEY)

    assert meter.snapshot() == {"dynamodb.GetItem": 1}
    assert meter.used() == {}


def test_an_answer_that_the_meter_cannot_read_still_reaches_the_caller(
    caplog: pytest.LogCaptureFixture,
) -> None:
    item = {"odd": {}, "bulk": to_wire("x" * 5000)}
    meter, backend = CallMeter(), Answered({"Item": item})

    reply = client(LOCAL, backend, meter).get_item(TableName="agent_signals", Key=KEY)

    assert reply["Item"] == item
    assert meter.snapshot() == {"dynamodb.GetItem": 1}
    assert [record.message for record in caplog.records] == ["call_not_metered"]


def test_names_are_read_without_the_prefix() -> None:
    meter = CallMeter(prefix="demo")
    send = client(LOCAL, Answered({"MessageId": "1", "MD5OfMessageBody": ""}), meter, "sqs")

    send.send_message(QueueUrl=f"{LOCAL}/0/demo-inbox-risk", MessageBody="{}")

    assert meter.used() == {"send:inbox": (1, 1.0)}


def test_threads_that_share_a_meter_lose_no_count() -> None:
    meter, backend = CallMeter(), Answered({"Item": ROW})
    table = client(LOCAL, backend, meter)

    def work() -> None:
        for _ in range(50):
            table.get_item(TableName="agent_signals", Key=KEY)

    threads = [threading.Thread(target=work) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert meter.snapshot() == {"dynamodb.GetItem": 400}
    assert meter.used() == {"read:row": (400, 200.0)}
    assert meter.total == 400
