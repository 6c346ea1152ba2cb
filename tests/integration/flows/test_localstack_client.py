"""A developer who is used to LocalStack's own client needs nothing else."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from localstack_client.session import Session  # type: ignore[import-untyped]

from sharpwave.schemas.numbers import item_to_wire

if TYPE_CHECKING:
    from tests.integration.conftest import World


def test_localstacks_client_writes_a_signal_and_receives_it(world: World, raw: Any) -> None:
    hunter, manager = world.agent("hunter"), world.agent("manager")
    place = urlsplit(world.stack.backend.endpoint_url).netloc
    session = Session(aws_access_key_id="test", aws_secret_access_key="test", localstack_host=place)
    dynamodb, sqs = session.client("dynamodb"), session.client("sqs")
    signal = raw["signal"](hunter, [manager], data={"whale_count": 5})

    table = world.stack.deployment.name("agent_signals")
    dynamodb.put_item(TableName=table, Item=item_to_wire(signal))

    name = world.stack.deployment.name(f"inbox-{manager}")
    url = sqs.get_queue_url(QueueName=name)["QueueUrl"]
    (message,) = sqs.receive_message(QueueUrl=url, WaitTimeSeconds=20)["Messages"]
    body = json.loads(message["Body"])
    assert (body["signal_id"], body["data"]) == (signal["signal_id"], {"whale_count": 5})
