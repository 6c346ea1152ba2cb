"""A checkpoint that was saved is the one that is loaded, from memory and from DynamoDB."""

from typing import Any

import pytest

from sharpwave.workers.pump import Checkpoint, Checkpoints, DynamoCheckpoints
from sharpwave.workers.pump.checkpoints import CLOSED, TRIM_HORIZON
from tests.world.stores import MemoryCheckpoints

ARN = "arn:aws:dynamodb:eu-west-1:1:table/agent_signals/stream/1"


class FakeTable:
    """The four calls that checkpoints need, with one item to a page."""

    def __init__(self) -> None:
        self.items: dict[tuple[str, str], dict[str, Any]] = {}

    def put_item(self, *, TableName: str, Item: dict[str, Any], **_: Any) -> None:
        self.items[Item["PK"]["S"], Item["SK"]["S"]] = Item

    def delete_item(self, *, TableName: str, Key: dict[str, Any], **_: Any) -> None:
        self.items.pop((Key["PK"]["S"], Key["SK"]["S"]), None)

    def get_paginator(self, operation: str) -> "FakeTable":
        assert operation == "query"
        return self

    def paginate(self, *, ExpressionAttributeValues: dict[str, Any], **_: Any) -> Any:
        pk = ExpressionAttributeValues[":pk"]["S"]
        return [{"Items": [item]} for key, item in self.items.items() if key[0] == pk]


@pytest.fixture(params=["memory", "dynamodb"])
def checkpoints(request: pytest.FixtureRequest) -> Checkpoints:
    if request.param == "memory":
        return MemoryCheckpoints()
    return DynamoCheckpoints(FakeTable(), "pipeline")


def test_a_table_has_none_at_first(checkpoints: Checkpoints) -> None:
    assert checkpoints.load("agent_signals") == []


def test_what_was_saved_last_is_loaded(checkpoints: Checkpoints) -> None:
    checkpoints.save("agent_signals", Checkpoint("a", ARN, TRIM_HORIZON))
    checkpoints.save("agent_signals", Checkpoint("b", ARN, CLOSED))
    checkpoints.save("agent_signals", Checkpoint("a", ARN, "100"))

    loaded = sorted(checkpoints.load("agent_signals"), key=lambda c: c.shard_id)

    assert loaded == [Checkpoint("a", ARN, "100"), Checkpoint("b", ARN, CLOSED)]


def test_tables_do_not_share_checkpoints(checkpoints: Checkpoints) -> None:
    checkpoints.save("agent_signals", Checkpoint("a", ARN, "1"))

    assert checkpoints.load("agent_decisions") == []


def test_a_forgotten_checkpoint_is_gone_and_may_be_forgotten_twice(
    checkpoints: Checkpoints,
) -> None:
    checkpoints.save("agent_signals", Checkpoint("a", ARN, "1"))

    checkpoints.forget("agent_signals", "a")
    checkpoints.forget("agent_signals", "a")

    assert checkpoints.load("agent_signals") == []


def test_an_item_carries_its_position_and_time_in_plain_sight() -> None:
    table = FakeTable()

    DynamoCheckpoints(table, "pipeline").save("agent_signals", Checkpoint("a", ARN, "7"))

    item = table.items["checkpoint#agent_signals", "a"]
    assert item["position"] == {"S": "7"}
    assert item["updated_at"]["S"].endswith("Z")
