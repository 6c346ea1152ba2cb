"""The estimate on real botocore clients, whose answers are written in the test."""

import pytest
from botocore.exceptions import ClientError

from sharpwave.schemas.numbers import item_to_wire, to_wire
from tests.cost.estimate import EVERY, FIRST, Estimate
from tests.unit.cost.conftest import Answered, client

ROW = item_to_wire({"PK": "agent:risk#inbox", "SK": "2026#uid", "data": "x" * 1500})
KEY = {"PK": ROW["PK"], "SK": ROW["SK"]}
UPDATE = {
    "TableName": "agent_signals",
    "Key": KEY,
    "UpdateExpression": "SET seen = :seen",
    "ExpressionAttributeValues": {":seen": to_wire(1)},
}


def test_a_local_backend_is_asked_for_the_old_item_and_the_caller_never_sees_it() -> None:
    meter, backend = Estimate(), Answered({"Attributes": ROW})

    reply = client(backend, meter).update_item(**UPDATE)

    assert backend.sent[0]["ReturnValues"] == "ALL_OLD"
    assert "Attributes" not in reply
    assert meter.used() == {"write:row": (1, 2.0)}
    assert meter.snapshot() == {"dynamodb.UpdateItem": 1}


def test_changes_not_seen_cost_what_those_seen_cost() -> None:
    """After the first few only a sample of the old items is asked for."""
    meter, backend = Estimate(), Answered({"Attributes": ROW})
    table = client(backend, meter)

    for _ in range(200):
        table.update_item(**UPDATE)

    asked = sum("ReturnValues" in request for request in backend.sent)
    assert FIRST <= asked <= FIRST + 200 / EVERY
    assert meter.used() == {"write:row": (200, 400.0)}


def test_what_the_caller_asked_for_stays_its_own() -> None:
    meter, backend = Estimate(), Answered({"Attributes": ROW})

    reply = client(backend, meter).update_item(**UPDATE, ReturnValues="ALL_NEW")

    assert backend.sent[0]["ReturnValues"] == "ALL_NEW"
    assert reply["Attributes"] == ROW
    assert meter.used() == {"write:row": (1, 2.0)}


def test_a_statement_returns_the_old_item_to_the_meter_only() -> None:
    meter, backend = Estimate(), Answered({"Responses": [{"TableName": "t", "Item": ROW}]})
    text = 'UPDATE "agent_signals" SET "seen" = ? WHERE PK = ? AND SK = ?'
    statements = [{"Statement": text, "Parameters": [to_wire(1), *KEY.values()]}]

    reply = client(backend, meter).batch_execute_statement(Statements=statements)

    assert backend.sent[0]["Statements"][0]["Statement"] == f"{text} RETURNING ALL OLD *"
    assert statements[0]["Statement"] == text
    assert reply["Responses"] == [{"TableName": "t"}]
    assert meter.used() == {"write:row": (1, 2.0)}


def test_a_failed_condition_is_charged_and_still_raised() -> None:
    meter = Estimate()
    error = {"__type": "com.amazonaws.dynamodb.v20120810#ConditionalCheckFailedException"}
    table = client(Answered(error, status=400), meter)

    with pytest.raises(ClientError, match="ConditionalCheckFailed"):
        table.put_item(TableName="agent_signals", Item=ROW)

    assert meter.used() == {"refused:row": (1, 2.0)}
