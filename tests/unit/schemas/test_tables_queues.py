"""Tables and queues are data that AWS takes as it stands."""

import json

import pytest
from botocore.session import Session
from botocore.validate import validate_parameters

from sharpwave.schemas import queues, tables

LONGEST_PREFIX = "p" * 20
LONGEST_AGENT = "a" * 40


@pytest.mark.parametrize("table", tables.TABLES, ids=lambda table: table.name)
def test_a_table_is_a_valid_request_and_defines_every_key_attribute(table: tables.Table) -> None:
    request = tables.create_request(table, "test")

    model = Session().get_service_model("dynamodb").operation_model("CreateTable")
    assert model.input_shape is not None
    validate_parameters(request, model.input_shape)
    schemas = [request["KeySchema"]]
    schemas += [index["KeySchema"] for index in request.get("GlobalSecondaryIndexes", [])]
    keyed = {part["AttributeName"] for schema in schemas for part in schema}
    assert keyed == {part["AttributeName"] for part in request["AttributeDefinitions"]}
    assert request["TableName"] == f"test-{table.name}"


def test_only_what_agents_write_has_a_stream() -> None:
    streamed = {
        table.name
        for table in tables.TABLES
        if "StreamSpecification" in tables.create_request(table)
    }

    assert streamed == {"agent_decisions", "agent_signals", "agent_state"} == set(tables.STREAMED)


def test_a_stream_shows_both_images() -> None:
    request = tables.create_request(tables.TABLES[0])

    assert request["StreamSpecification"]["StreamViewType"] == "NEW_AND_OLD_IMAGES"


def test_a_prefix_goes_before_a_name_and_none_leaves_it() -> None:
    assert tables.physical("deliver", "dev") == "dev-deliver"
    assert tables.physical("deliver", "") == "deliver"


def test_the_longest_names_fit_a_queue() -> None:
    for queue in queues.of_agent(LONGEST_AGENT):
        assert len(tables.physical(queue.dlq, LONGEST_PREFIX)) <= queues.MAX_QUEUE_NAME


def test_a_queue_says_whose_it_is() -> None:
    owners = {name: queues.owner_of_queue(name) for name in ("inbox-a", "inbox-a_urgent")}

    assert owners == {"inbox-a": "a", "inbox-a_urgent": "a"}
    for other in (
        "deliver",
        "a",
        "inbox-",
        "inbox-A",
        "inbox-a_urgent_dlq",
        "inbox-a_urgent_urgent",
    ):
        assert queues.owner_of_queue(other) is None


@pytest.mark.parametrize("agent_id", ["", "A", "-a", "a_b", "a#b", "a" * 41])
def test_no_inbox_has_the_name_of_something_else(agent_id: str) -> None:
    with pytest.raises(ValueError, match="cannot name an agent"):
        queues.inbox(agent_id)


@pytest.mark.parametrize(
    "queue", [*queues.WORK_QUEUES, *queues.of_agent("risk-manager")], ids=lambda queue: queue.name
)
def test_spent_messages_go_to_a_queue_that_keeps_them_longer(queue: queues.Queue) -> None:
    attributes = queue.attributes("arn:aws:sqs:us-east-1:1:dead")

    policy = json.loads(attributes["RedrivePolicy"])
    assert policy["deadLetterTargetArn"] == "arn:aws:sqs:us-east-1:1:dead"
    assert policy["maxReceiveCount"] > 1
    kept_s = int(queues.DLQ_ATTRIBUTES["MessageRetentionPeriod"])
    assert int(attributes["MessageRetentionPeriod"]) < kept_s
    assert all(isinstance(value, str) for value in attributes.values())
