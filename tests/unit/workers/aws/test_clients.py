"""Bodies written and read at once are what botocore makes of them, and everybody else sees them."""

import json
from types import SimpleNamespace
from typing import Any

import boto3
import msgspec
import pytest
from botocore.awsrequest import AWSResponse
from botocore.config import Config
from botocore.exceptions import ClientError

from sharpwave.schemas.numbers import item_to_wire
from sharpwave.workers.aws.clients import written_at_once
from sharpwave.workers.aws.meter import Meter
from sharpwave.workers.work.incoming import page_of, streamed

ITEM = item_to_wire(
    {
        "PK": "agent:risk#inbox",
        "SK": 'quoted " and \\ and \n',
        "text": "Zürich, 東京, \U0001f980",
        "number": 10**37,
        "yes": True,
        "nothing": None,
        "bytes": b"\x00\xff>",
        "sets": {"many": {b"\x00", b"\x01"}, "texts": {"b", "a"}, "numbers": {1, 2}},
        "list": [1, "two", {"three": [b"3"]}],
    }
)
URL = "http://127.0.0.1:1/0/inbox-risk"
STATEMENTS = [{"Statement": "INSERT INTO \"t\" VALUE {'PK': ?}", "Parameters": [ITEM["bytes"]]}]
CALLS: list[tuple[str, str, dict[str, Any]]] = [
    ("dynamodb", "put_item", {"TableName": "t", "Item": ITEM}),
    ("dynamodb", "batch_execute_statement", {"Statements": STATEMENTS}),
    ("dynamodb", "batch_get_item", {"RequestItems": {"t": {"Keys": [{"PK": ITEM["PK"]}]}}}),
    (
        "dynamodb",
        "query",
        {"TableName": "t", "Limit": 3, "ConsistentRead": True, "ExclusiveStartKey": ITEM},
    ),
    (
        "sqs",
        "send_message_batch",
        {
            "QueueUrl": URL,
            "Entries": [
                {
                    "Id": "0",
                    "MessageBody": "{}",
                    "DelaySeconds": 3,
                    "MessageAttributes": {
                        "raw": {"DataType": "Binary", "BinaryValue": b"\x00"},
                        "text": {"DataType": "String", "StringValue": "a"},
                    },
                }
            ],
        },
    ),
    ("dynamodbstreams", "get_records", {"ShardIterator": "i", "Limit": 1000}),
    ("sqs", "receive_message", {"QueueUrl": URL, "MessageSystemAttributeNames": ["All"]}),
]


class Answered:
    """A backend that answers in turn, with the last status for ever, and keeps its requests."""

    def __init__(self, *statuses: int, body: bytes = b"{}") -> None:
        self.statuses, self.body = [*(statuses or (200,))], body
        self.sent: list[Any] = []

    def __call__(self, request: Any, **_: Any) -> AWSResponse:
        self.sent.append(request)
        status = self.statuses.pop(0) if len(self.statuses) > 1 else self.statuses[0]
        raw: Any = SimpleNamespace(stream=lambda: iter([self.body]))
        headers: Any = {}
        return AWSResponse(request.url, status, headers, raw)

    @property
    def bodies(self) -> list[Any]:
        return [json.loads(request.body) for request in self.sent]


def client(service: str, answers: Answered) -> Any:
    session: Any = boto3.session.Session("test", "test", region_name="us-east-1")
    config = Config(parameter_validation=False, retries={"mode": "standard"})
    made = session.client(service, endpoint_url="http://127.0.0.1:1", config=config)
    made.meta.events.register("before-send", answers)
    return made


@pytest.mark.parametrize(
    ("service", "operation", "request_"), CALLS, ids=[call[1] for call in CALLS]
)
def test_a_request_is_what_botocore_makes_of_it(
    service: str, operation: str, request_: dict[str, Any]
) -> None:
    plain, quick = Answered(), Answered()

    getattr(client(service, plain), operation)(**request_)
    getattr(written_at_once(client(service, quick)), operation)(**request_)

    assert quick.bodies == plain.bodies
    kept = ("X-Amz-Target", "Content-Type")
    assert [quick.sent[0].headers[name] for name in kept] == [
        plain.sent[0].headers[name] for name in kept
    ]
    assert int(quick.sent[0].headers["Content-Length"]) == len(quick.sent[0].body)


REFUSED = {"Code": "DuplicateItem", "Message": "no", "Item": {"PK": {"S": "é"}}}
SENT = {"Id": "0", "MessageId": "m", "MD5OfMessageBody": "d"}
FAILED = {"Id": "1", "Code": "c", "Message": "no", "SenderFault": True}
REPLIES: list[tuple[str, str, dict[str, Any], bytes]] = [
    (
        "dynamodb",
        "batch_execute_statement",
        {"Statements": STATEMENTS},
        json.dumps({"Responses": [{"TableName": "t"}, {}, {"Error": REFUSED}]}).encode(),
    ),
    (
        "sqs",
        "send_message_batch",
        {"QueueUrl": URL, "Entries": []},
        json.dumps({"Successful": [SENT], "Failed": [FAILED]}).encode(),
    ),
    ("sqs", "delete_message_batch", {"QueueUrl": URL, "Entries": []}, b""),
    ("sqs", "send_message_batch", {"QueueUrl": URL, "Entries": []}, b"<html>"),
    (
        "dynamodbstreams",
        "get_records",
        {"ShardIterator": "i"},
        json.dumps({"Records": [], "NextShardIterator": "n"}).encode(),
    ),
]


@pytest.mark.parametrize(("service", "operation", "request_", "body"), REPLIES)
def test_a_reply_is_what_botocore_makes_of_it(
    service: str, operation: str, request_: dict[str, Any], body: bytes
) -> None:
    plain = getattr(client(service, Answered(body=body)), operation)(**request_)
    quick = getattr(written_at_once(client(service, Answered(body=body))), operation)(**request_)

    assert quick == plain


@pytest.mark.parametrize("moment", [1_760_797_800, 1_760_797_800.25])
def test_stream_records_are_read_but_for_their_images(moment: float) -> None:
    key = {"PK": {"S": "é"}, "SK": {"S": "1"}}
    image = {**key, "raw": {"B": "AP8+"}, "sets": {"BS": ["AA=="]}, "n": {"N": "1E+2"}}
    change = {"Keys": key, "NewImage": image, "SequenceNumber": "1"}
    change |= {"ApproximateCreationDateTime": moment}
    records = [{"eventID": "1", "eventName": "INSERT", "dynamodb": change}]
    body = json.dumps({"Records": records, "NextShardIterator": "next"}).encode()

    reply = written_at_once(client("dynamodbstreams", Answered(body=body))).get_records(
        ShardIterator="this"
    )

    (record,) = reply["Records"]
    assert json.loads(bytes(record.change.new)) == image
    assert msgspec.structs.replace(record.change, new=msgspec.UNSET) == msgspec.structs.replace(
        streamed(records[0]).change, new=msgspec.UNSET
    )
    assert reply["NextShardIterator"] == "next"


@pytest.mark.parametrize(
    "image",
    [b'{"PK":{"S":"\xff"}}', b'{"PK":{"S":"\\ud800"}}', b'{"PK":{"S":"1}', b'{"PK" {"S":"1"}}'],
)
def test_what_is_no_json_is_left_to_botocore(image: bytes) -> None:
    body = b'{"Records":[{"eventID":"1","dynamodb":{"Keys":{"PK":{"S":"1"},"SK":{"S":"1"}},'
    body += b'"NewImage":' + image + b"}}]}"

    with pytest.raises(ValueError, match=r".+"):
        page_of(body)


def test_a_time_in_words_is_left_to_botocore() -> None:
    key = {"PK": {"S": "1"}, "SK": {"S": "1"}}
    moment = {"Keys": key, "ApproximateCreationDateTime": "2025-10-18T14:30:00Z"}
    body = json.dumps({"Records": [{"eventID": "1", "dynamodb": moment}]}).encode()

    reply = written_at_once(client("dynamodbstreams", Answered(body=body))).get_records(
        ShardIterator="this"
    )

    (record,) = reply["Records"]
    assert record["dynamodb"]["ApproximateCreationDateTime"].timestamp() == 1_760_797_800


def test_a_retry_sends_the_same_again(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("botocore.endpoint.time.sleep", lambda _: None)
    answers = Answered(500, 200)

    written_at_once(client("dynamodb", answers)).put_item(TableName="t", Item=ITEM)

    assert [set(body) for body in answers.bodies] == [{"TableName", "Item"}] * 2


def test_half_of_a_surrogate_pair_is_left_to_botocore() -> None:
    answers = Answered()

    item = {"PK": {"S": "\ud800"}}
    written_at_once(client("dynamodb", answers)).put_item(TableName="t", Item=item)

    assert answers.bodies == [{"TableName": "t", "Item": item}]


def test_a_refused_call_raises_as_ever() -> None:
    body = b'{"__type": "com.amazonaws#ValidationException", "message": "no"}'
    quick = written_at_once(client("dynamodb", Answered(400, body=body)))

    with pytest.raises(ClientError, match=r"\(ValidationException\).*: no"):
        quick.batch_execute_statement(Statements=STATEMENTS)


@pytest.mark.parametrize("is_metered_first", [True, False])
def test_a_meter_sees_the_request(is_metered_first: bool) -> None:
    answers, meter = Answered(), Meter()
    made = client("dynamodb", answers)
    steps = [meter.watch, written_at_once]
    for step in steps if is_metered_first else reversed(steps):
        step(made)

    made.put_item(TableName="t", Item=ITEM)

    assert meter.snapshot() == {"dynamodb.PutItem": 1}
    # By the request it knows what was written.
    assert meter.used()["write:row"][0] == 1
