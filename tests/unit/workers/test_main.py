"""Put together, a pump and a Lambda heal a gap, park what fails alone, and send the rest."""

import threading
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import pytest

from sharpwave.schemas import keys, tables
from sharpwave.schemas.numbers import item_to_wire, parse_json
from sharpwave.schemas.queues import WORK_QUEUE_NAMES
from sharpwave.schemas.times import now
from sharpwave.workers.aws.clients import Clients
from sharpwave.workers.aws.meter import Meter
from sharpwave.workers.main import build_handler, build_pump, worth_retrying
from sharpwave.workers.pump import Hooks, Pump
from sharpwave.workers.router.lambda_handler import Handler
from sharpwave.workers.router.router import Router
from sharpwave.workers.settings import Settings
from sharpwave.workers.signals.refusals import park_in_passing
from sharpwave.workers.work.ports import CallRefused, Refusal, TryAgain, Unfinished
from tests.world.records import signal
from tests.world.sqs import MemorySqs

ARN = "arn:aws:dynamodb:us-east-1:1:table/agent_signals/stream/1"


class Tables:
    """DynamoDB: shows one signal to a scan, and notes what is inserted by statements."""

    def __init__(self, *items: Mapping[str, Any]) -> None:
        self.items = items
        self.inserted: list[dict[str, Any]] = []

    def get_paginator(self, operation: str) -> Any:
        assert operation == "scan"
        return self

    def paginate(self, **_: Any) -> Iterator[dict[str, Any]]:
        yield {"Items": [item_to_wire(item) for item in self.items]}

    def batch_get_item(self, **_: Any) -> dict[str, Any]:
        return {"Responses": {}}

    def query(self, **_: Any) -> dict[str, Any]:
        return {"Items": []}

    def batch_execute_statement(self, *, Statements: Sequence[Any], **_: Any) -> dict[str, Any]:
        self.inserted += Statements
        return {"Responses": [{} for _ in Statements]}


def record(item: Mapping[str, Any]) -> dict[str, Any]:
    image = item_to_wire(item)
    change = {
        "Keys": {"PK": image["PK"], "SK": image["SK"]},
        "NewImage": image,
        "SequenceNumber": "1",
        "ApproximateCreationDateTime": item["timestamp"],
    }
    return {
        "eventID": "e1",
        "eventName": "INSERT",
        "eventSourceARN": ARN,
        "dynamodb": change,
    }


@pytest.fixture
def sent() -> dict[str, Any]:
    return signal(to=["bob"], at=now())


@pytest.fixture
def queues() -> MemorySqs:
    memory = MemorySqs()
    for name in WORK_QUEUE_NAMES:
        memory.add_queue(name)
    return memory


@pytest.fixture
def dynamodb(sent: dict[str, Any]) -> Tables:
    return Tables(sent)


@pytest.fixture
def made(dynamodb: Tables, queues: MemorySqs) -> Clients:
    return Clients(dynamodb, None, queues, None)


@pytest.fixture
def hooks(made: Clients) -> Hooks:
    stop = threading.Event()
    pump: Pump = build_pump(Settings(), made, stop=stop, meter=Meter())
    return pump._tables[0]._hooks


@pytest.fixture
def handler(made: Clients) -> Handler:
    return build_handler(Settings(), made)


def parked(dynamodb: Tables) -> list[str]:
    return [str(each) for each in dynamodb.inserted if "parked" in str(each)]


def test_after_a_gap_the_table_is_read_and_its_signals_are_delivered(
    hooks: Hooks, queues: MemorySqs, sent: dict[str, Any], caplog: pytest.LogCaptureFixture
) -> None:
    hooks.on_trimmed(tables.SIGNALS, "shard-1")

    work = parse_json(queues.messages("deliver")[0].body)
    assert work["kwargs"]["entries"][0]["key"] == [sent["PK"], sent["SK"]]
    assert {"stream_trimmed", "reconciled"} <= set(caplog.messages)


def test_a_record_the_router_fails_on_is_parked_with_whatever_it_holds(
    hooks: Hooks, dynamodb: Tables, sent: dict[str, Any]
) -> None:
    odd = record({**sent, "data": {"raw": b"\xff\x00", "tags": {"a", "b"}}})

    hooks.on_unroutable(tables.SIGNALS, odd, ValueError("odd"))

    (row,) = parked(dynamodb)
    assert "unroutable" in row
    assert "ValueError('odd')" in row


@pytest.mark.parametrize("fault", ["router", "queue"])
def test_a_lambda_parks_what_fails_for_good_and_reports_nothing(
    handler: Handler,
    dynamodb: Tables,
    queues: MemorySqs,
    sent: dict[str, Any],
    fault: str,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    if fault == "queue":
        queues.refuse("send_message_batch", lambda _: ("InvalidMessageContents", True))
    else:
        monkeypatch.setattr(Router, "__call__", _fail)

    answer = handler({"Records": [record(sent)]}, None)

    assert answer == {"batchItemFailures": []}
    reason = "unroutable" if fault == "router" else "SQS refused its work message"
    assert reason in parked(dynamodb)[0]


def _fail(*_: Any, **__: Any) -> Any:
    raise ValueError("odd")


@pytest.mark.parametrize(
    ("error", "most"), [(TryAgain("away"), 18), (CallRefused("odd"), 4), (KeyError("bug"), 4)]
)
def test_what_the_world_refused_is_tried_longer_than_what_we_cannot_handle(
    error: Exception, most: int
) -> None:
    assert worth_retrying(most - 1, error)
    assert not worth_retrying(most, error)


def test_an_owner_who_cannot_be_told_does_not_hold_up_the_stream(
    caplog: pytest.LogCaptureFixture,
) -> None:
    key = keys.Key("signal#ALERT#ann", "2025-10-18T14:30:00.000Z#s1")

    class Untold:
        def park(self, refusals: Sequence[Refusal]) -> None:
            raise Unfinished({key}, "its inbox takes nothing")

    park_in_passing(Untold(), Refusal(tables.SIGNALS, key, "e1", [], "{}"))

    assert "owner_not_told" in caplog.messages
