"""The meter counts calls and sums what replies tell; it changes no request and no reply."""

import threading
from copy import deepcopy
from typing import Any

import pytest
from botocore.awsrequest import AWSResponse
from botocore.exceptions import ClientError, EndpointConnectionError

from sharpwave.schemas import keys
from sharpwave.schemas.numbers import item_to_wire, to_wire
from sharpwave.workers.aws.meter import Meter, statement_key
from sharpwave.workers.aws.writes import statement
from sharpwave.workers.work.ports import Delete, Insert, Location, Update
from tests.unit.cost.conftest import LOCAL, Answered, client

METER = Meter(prefix="demo")
DECISIONS, SIGNALS = "demo-agent_decisions", "demo-agent_signals"
ROW = item_to_wire({"PK": "agent:risk#inbox", "SK": "2026#uid", "data": "x" * 1500})
KEY = {"PK": ROW["PK"], "SK": ROW["SK"]}
SIGNAL = item_to_wire({"PK": "signal#ALERT#hunter", "SK": "2026#sig_1"})
DECISION = item_to_wire({"PK": "agent:hunter#decision#SELECT", "SK": "2026#dec_1"})
UPDATE = {
    "TableName": "agent_signals",
    "Key": KEY,
    "UpdateExpression": "SET seen = :seen",
    "ExpressionAttributeValues": {":seen": to_wire(1)},
}


def charged(
    operation: str, request: dict[str, Any], reply: dict[str, Any] | None = None
) -> dict[str, tuple[int, float]]:
    found = METER.charges(operation, request, reply or {})
    return {charge.what: (charge.number, charge.units) for charge in found}


def key(item: dict[str, Any]) -> dict[str, Any]:
    return {"PK": item["PK"], "SK": item["SK"]}


def told(table: str, units: float, **indexes: float) -> dict[str, Any]:
    return {
        "TableName": table,
        "CapacityUnits": units + sum(indexes.values()),
        "Table": {"CapacityUnits": units},
        "GlobalSecondaryIndexes": {name: {"CapacityUnits": n} for name, n in indexes.items()},
    }


def test_what_dynamodb_tells_is_summed_and_nothing_is_asked_or_hidden() -> None:
    meter = Meter()
    answer = {"Attributes": ROW, "ConsumedCapacity": told("agent_signals", 7.0)}
    backend = Answered(answer)

    reply = client(backend, meter).update_item(**deepcopy(UPDATE))

    assert backend.sent == [UPDATE]
    assert reply["Attributes"] == ROW
    assert reply["ConsumedCapacity"]["CapacityUnits"] == 7.0
    assert meter.used() == {"write:row": (1, 7.0)}


def test_an_indexs_units_stand_apart_from_the_tables() -> None:
    reply = {"ConsumedCapacity": told(DECISIONS, 5.0, by_id=4.0)}

    used = charged("dynamodb.PutItem", {"TableName": DECISIONS, "Item": DECISION}, reply)

    assert used == {"write:decision": (1, 5.0), "index:decision": (1, 4.0)}


def test_a_reply_without_capacity_is_counted_as_untold() -> None:
    used = charged("dynamodb.PutItem", {"TableName": DECISIONS, "Item": DECISION})

    assert used == {"write:decision": (1, 0.0), "untold:decision": (1, 0)}


def test_a_failed_condition_is_counted_and_still_raised() -> None:
    meter = Meter()
    error = {"__type": "com.amazonaws.dynamodb.v20120810#ConditionalCheckFailedException"}
    table = client(Answered(error, status=400), meter)

    with pytest.raises(ClientError, match="ConditionalCheckFailed"):
        table.put_item(TableName="agent_signals", Item=ROW)

    assert meter.used() == {"refused:row": (1, 0.0), "untold:row": (1, 0.0)}


def test_an_error_that_is_not_billed_costs_nothing() -> None:
    error = {"Error": {"Code": "ValidationException"}}

    assert charged("dynamodb.PutItem", {"TableName": DECISIONS, "Item": DECISION}, error) == {}


def test_the_statements_of_a_batch_share_what_their_table_consumed() -> None:
    writes = [
        Update(
            Location("agent_signals", keys.Key(*(part["S"] for part in key(item).values()))),
            {"status": "DELIVERED"},
        )
        for item in (ROW, ROW, SIGNAL)
    ]
    request = {"Statements": [statement(write, "demo") for write in writes]}
    refused = {"Error": {"Code": "ConditionalCheckFailed"}}
    reply = {
        "Responses": [{}, refused, {}],
        "ConsumedCapacity": [{"TableName": SIGNALS, "CapacityUnits": 6.0}],
    }

    used = charged("dynamodb.BatchExecuteStatement", request, reply)

    assert used == {"write:row": (1, 2.0), "refused:row": (1, 2.0), "write:signal": (1, 2.0)}


@pytest.mark.parametrize(
    "write",
    [
        Insert("pipeline", {"v": 1, "PK": "p", "it's": 2, "SK": "s"}),
        Update(Location("pipeline", keys.Key("p", "s")), {"a": 1, 'b"c': 2}, {"d": 3}, ("e",)),
        Delete(Location("pipeline", keys.Key("p", "s")), {"a": 1}),
    ],
)
def test_a_statement_of_ours_shows_its_table_and_its_key(write: Any) -> None:
    made = statement(write, "demo")

    found = statement_key(made["Statement"], made["Parameters"])

    assert found == ("demo-pipeline", {"PK": {"S": "p"}, "SK": {"S": "s"}})


def test_a_transaction_shares_by_table() -> None:
    items = [
        {"Put": {"TableName": DECISIONS, "Item": DECISION}},
        {"Update": {"TableName": SIGNALS, "Key": KEY}},
    ]
    reply = {"ConsumedCapacity": [told(DECISIONS, 2.0, by_id=2.0), told(SIGNALS, 4.0)]}

    used = charged("dynamodb.TransactWriteItems", {"TransactItems": items}, reply)

    assert used == {
        "write:decision": (1, 2.0),
        "index:decision": (1, 2.0),
        "write:row": (1, 4.0),
    }


def test_what_a_query_consumed_is_a_read_in_an_index_too() -> None:
    request = {"TableName": DECISIONS, "IndexName": "by_agent"}
    reply = {"Items": [DECISION] * 3, "ConsumedCapacity": told(DECISIONS, 0.0, by_agent=0.5)}

    assert charged("dynamodb.Query", request, reply) == {"read:decision": (3, 0.5)}


def test_a_batch_read_that_finds_nothing_costs_too() -> None:
    request = {"RequestItems": {SIGNALS: {"Keys": [KEY, KEY]}}}
    reply = {"Responses": {SIGNALS: []}, "ConsumedCapacity": [told(SIGNALS, 2.0)]}

    assert charged("dynamodb.BatchGetItem", request, reply) == {"read:row": (2, 2.0)}


def test_a_call_that_got_no_answer_counts_and_costs_nothing() -> None:
    meter = Meter()

    def unreachable(request: Any, **_: Any) -> AWSResponse:
        raise EndpointConnectionError(endpoint_url=request.url)

    with pytest.raises(EndpointConnectionError):
        client(unreachable, meter).get_item(TableName="agent_signals", Key=KEY)

    assert meter.snapshot() == {"dynamodb.GetItem": 1}
    assert meter.used() == {}


def test_an_answer_that_the_meter_cannot_read_still_reaches_the_caller(
    caplog: pytest.LogCaptureFixture,
) -> None:
    meter, backend = Meter(), Answered({"Item": ROW, "ConsumedCapacity": {"CapacityUnits": 1}})

    reply = client(backend, meter).get_item(TableName="agent_signals", Key=KEY)

    assert reply["Item"] == ROW
    assert meter.snapshot() == {"dynamodb.GetItem": 1}
    assert [record.message for record in caplog.records] == ["call_not_metered"]


def test_names_are_read_without_the_prefix() -> None:
    meter = Meter(prefix="demo")
    send = client(Answered({"MessageId": "1", "MD5OfMessageBody": ""}), meter, "sqs")

    send.send_message(QueueUrl=f"{LOCAL}/0/demo-inbox-risk", MessageBody="{}")

    assert meter.used() == {"send:inbox": (1, 1.0)}


def test_threads_that_share_a_meter_lose_no_count() -> None:
    answer = {"Item": ROW, "ConsumedCapacity": told("agent_signals", 0.5)}
    meter, backend = Meter(), Answered(answer)
    table = client(backend, meter)

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


def test_messages_are_billed_by_64_kilobytes_of_a_whole_call() -> None:
    url = "http://localhost/000000000000/demo-deliver"
    entries = [{"Id": str(number), "MessageBody": "x" * 10_000} for number in range(10)]
    messages = [{"Body": "x"}] * 10

    assert charged("sqs.SendMessageBatch", {"QueueUrl": url, "Entries": entries}) == {
        "send:deliver": (10, 2)
    }
    assert charged("sqs.ReceiveMessage", {"QueueUrl": url}, {"Messages": messages}) == {
        "receive:deliver": (10, 1)
    }
    assert charged("sqs.DeleteMessageBatch", {"QueueUrl": url, "Entries": entries}) == {
        "delete:deliver": (10, 1)
    }


def test_a_receive_that_brings_nothing_is_a_poll() -> None:
    used = charged("sqs.ReceiveMessage", {"QueueUrl": "http://q/0/demo-inbox-risk"})

    assert used == {"poll:inbox": (0, 1)}


@pytest.mark.parametrize(
    ("name", "queue"),
    [
        ("demo-learn", "learn"),
        ("demo-learn_dlq", "dlq"),
        ("demo-inbox-learn", "inbox"),
        ("demo-inbox-risk_dlq", "dlq"),
        ("foreign", "other"),
    ],
)
def test_queues_are_named_by_their_duty(name: str, queue: str) -> None:
    assert METER.names.queue(f"http://localhost/0/{name}") == queue


def test_a_stream_read_counts_the_records_that_are_new() -> None:
    image = {"Keys": key(SIGNAL)}
    changes = [{"eventName": name, "dynamodb": image} for name in ("INSERT", "INSERT", "MODIFY")]

    used = charged("dynamodbstreams.GetRecords", {}, {"Records": changes})

    assert used == {"stream:records": (3, 1), "new:signal": (2, 0)}


def test_keys_of_every_table_have_a_family() -> None:
    known = {
        "decision": keys.Key("agent:a#decision#T", "s"),
        "row": keys.Key(keys.inbox_pk("a"), "s"),
        "signal": keys.Key(keys.signal_pk("T"), "s"),
        "state": keys.current_state("a"),
        "registration": keys.registration("a"),
        "memory": keys.Key(keys.memory_pk("a", "NOTE"), "s"),
        "fact": keys.fact("a", "NOTE", "s"),
        "episode": keys.episode("a", "T", "2026-01-01"),
        "pattern": keys.shared_pattern_copy("a", "b", "p"),
        "slot": keys.ledger_slot("base:a:T", "2026-01-01", "14"),
        "head": keys.ledger_head("base:a:T", "2026-01-01"),
        "checkpoint": keys.checkpoint("t", "s"),
        "audience": keys.audience("uid"),
        "workers": keys.presence("w"),
        "other": keys.Key("made up", "s"),
    }

    assert {keys.family(*place): family for family, place in known.items()} == {
        family: family for family in known
    }


@pytest.mark.parametrize(("size", "units"), [(0, 1), (65_536, 1), (65_537, 2), (1_048_576, 16)])
def test_a_billed_request_is_64_kilobytes_begun(size: int, units: int) -> None:
    request = {"QueueUrl": "http://q/0/demo-deliver", "MessageBody": "x" * size}

    assert charged("sqs.SendMessage", request) == {"send:deliver": (1, units)}


def test_a_read_of_one_item_and_one_that_scans_are_told_as_reads() -> None:
    found = charged(
        "dynamodb.GetItem",
        {"TableName": SIGNALS, "Key": KEY},
        {"Item": ROW, "ConsumedCapacity": told(SIGNALS, 1.0)},
    )
    scanned = charged(
        "dynamodb.Scan",
        {"TableName": SIGNALS},
        {"Items": [ROW] * 4, "ConsumedCapacity": told(SIGNALS, 2.5)},
    )

    assert found == {"read:row": (1, 1.0)}
    assert scanned == {"read:row": (4, 2.5)}


@pytest.mark.parametrize(
    ("operation", "what"),
    [("PutObject", "put:archive"), ("ListObjectsV2", "put:archive"), ("GetObject", "get:archive")],
)
def test_the_archive_is_billed_by_the_request(operation: str, what: str) -> None:
    assert charged(f"s3.{operation}", {}) == {what: (1, 1)}
    assert charged(f"s3.{operation}", {}, {"Error": {"Code": "NoSuchKey"}}) == {}


def test_a_change_of_visibility_is_a_request() -> None:
    request = {"QueueUrl": "http://q/0/demo-deliver", "Entries": [{}, {}]}

    assert charged("sqs.ChangeMessageVisibilityBatch", request) == {"hide:deliver": (2, 1)}


def test_a_statement_whose_key_is_not_seen_is_still_counted() -> None:
    request = {"Statements": [{"Statement": 'SELECT * FROM "demo-pipeline"'}]}
    reply = {
        "Responses": [{}],
        "ConsumedCapacity": [{"TableName": "demo-pipeline", "CapacityUnits": 0.5}],
    }

    used = charged("dynamodb.BatchExecuteStatement", request, reply)

    assert used == {"read:other": (1, 0.5)}


def test_a_batch_of_puts_and_removals_is_told_as_writes() -> None:
    writes = [{"PutRequest": {"Item": SIGNAL}}, {"DeleteRequest": {"Key": KEY}}]
    reply = {"ConsumedCapacity": [told(SIGNALS, 4.0)]}

    used = charged("dynamodb.BatchWriteItem", {"RequestItems": {SIGNALS: writes}}, reply)

    assert used == {"write:signal": (1, 2.0), "write:row": (1, 2.0)}
