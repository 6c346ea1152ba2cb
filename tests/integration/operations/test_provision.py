"""Provisioning makes what is missing, mends what it can, and leaves the rest alone."""

from typing import Any

import pytest

from sharpwave.infra.connection import Deployment
from sharpwave.infra.mailbox import Mailbox, redrive_of
from sharpwave.infra.provision.structure import Difference, destroy, provision, survey
from sharpwave.schemas import queues, tables


def described(deployment: Deployment, table: str) -> dict[str, Any]:
    name = deployment.name(table)
    return dict(deployment.dynamodb.describe_table(TableName=name)["Table"])


def test_the_first_run_makes_everything_and_the_second_has_nothing_to_do(bare: Deployment) -> None:
    first = provision(bare)

    second = provision(bare)

    made = {step.name for step in first.steps if step.action == "create"}
    names = [table.name for table in tables.TABLES]
    names += [name for queue in queues.WORK_QUEUES for name in (queue.name, queue.dlq)]
    assert made == {bare.name(name) for name in names}
    assert (second.steps, second.differences) == ((), ())


def test_a_dry_run_says_the_same_and_makes_nothing(bare: Deployment) -> None:
    planned = provision(bare, dry_run=True)

    again = provision(bare, dry_run=True)
    done = provision(bare)

    assert [step.view() for step in planned.steps] == [step.view() for step in done.steps]
    assert len(again.steps) == len(planned.steps)


@pytest.mark.parametrize("table", tables.TABLES, ids=lambda table: table.name)
def test_a_table_has_its_keys_indexes_stream_and_ttl(
    deployment: Deployment, table: tables.Table
) -> None:
    found = described(deployment, table.name)

    wanted = tables.create_request(table, deployment.prefix)
    indexes = {index["IndexName"] for index in found.get("GlobalSecondaryIndexes", [])}
    ttl = deployment.dynamodb.describe_time_to_live(TableName=found["TableName"])
    assert found["KeySchema"] == wanted["KeySchema"]
    assert indexes == {index.name for index in table.indexes}
    assert found.get("StreamSpecification") == wanted.get("StreamSpecification")
    assert ttl["TimeToLiveDescription"]["AttributeName"] == "ttl"


@pytest.mark.parametrize("queue", queues.WORK_QUEUES, ids=lambda queue: queue.name)
def test_a_work_queue_sends_what_fails_to_its_dead_letters(
    deployment: Deployment, queue: queues.Queue
) -> None:
    attributes = Mailbox(deployment, queue.name).attributes()
    dead = Mailbox(deployment, queue.dlq).attributes()

    assert redrive_of(attributes) == (dead["QueueArn"], queue.max_receive_count)
    assert int(dead["MessageRetentionPeriod"]) > int(attributes["MessageRetentionPeriod"])


@pytest.mark.deviates("localstack", "streams-once")
@pytest.mark.deviates("moto", "stream-again")
def test_what_was_switched_off_is_switched_on_again(deployment: Deployment) -> None:
    signals, deliver = deployment.name("agent_signals"), Mailbox(deployment, "deliver")
    deployment.dynamodb.update_time_to_live(
        TableName=signals, TimeToLiveSpecification={"Enabled": False, "AttributeName": "ttl"}
    )
    deployment.dynamodb.update_table(
        TableName=signals, StreamSpecification={"StreamEnabled": False}
    )
    deployment.sqs.set_queue_attributes(QueueUrl=deliver.url, Attributes={"RedrivePolicy": ""})

    mended = provision(deployment)

    assert {(step.action, step.name) for step in mended.steps} == {
        ("mend", signals),
        ("mend", deliver.physical),
    }
    assert described(deployment, "agent_signals")["StreamSpecification"]["StreamEnabled"]
    assert redrive_of(deliver.attributes()) is not None
    assert provision(deployment).steps == ()


def test_a_missing_index_is_added(bare: Deployment) -> None:
    request = tables.create_request(tables.TABLES[0], bare.prefix)
    dropped = request["GlobalSecondaryIndexes"].pop()
    gone = {part["AttributeName"] for part in dropped["KeySchema"]}
    request["AttributeDefinitions"] = [
        part for part in request["AttributeDefinitions"] if part["AttributeName"] not in gone
    ]
    bare.dynamodb.create_table(**request)

    provision(bare)

    found = described(bare, tables.TABLES[0].name)["GlobalSecondaryIndexes"]
    assert dropped["IndexName"] in {index["IndexName"] for index in found}
    assert provision(bare).steps == ()


def test_an_index_that_nothing_reads_is_named(bare: Deployment) -> None:
    """A partition per type throttles the puts of a whole fleet; an older table may have it."""
    request = tables.create_request(tables.TABLES[0], bare.prefix)
    request["AttributeDefinitions"].append({"AttributeName": "old", "AttributeType": "S"})
    key = [{"AttributeName": "old", "KeyType": "HASH"}]
    index = {"IndexName": "by_old", "KeySchema": key, "Projection": {"ProjectionType": "ALL"}}
    request["GlobalSecondaryIndexes"].append(index)
    bare.dynamodb.create_table(**request)

    found = provision(bare)

    assert [each.what for each in found.differences if "by_old" in each.what]


def test_what_an_operator_tuned_is_reported_and_left(deployment: Deployment) -> None:
    deliver = Mailbox(deployment, "deliver")
    deployment.sqs.set_queue_attributes(
        QueueUrl=deliver.url, Attributes={"VisibilityTimeout": "90"}
    )

    done = provision(deployment)

    assert done.steps == ()
    assert done.works
    what = "VisibilityTimeout is 90, 60 by definition"
    assert done.differences == (Difference("queue", deliver.physical, what, breaks=False),)
    assert deliver.attributes()["VisibilityTimeout"] == "90"


def test_a_foreign_table_of_the_same_name_is_reported_as_unusable(
    bare: Deployment, sharpwave: Any
) -> None:
    name = bare.name("pipeline")
    bare.dynamodb.create_table(
        TableName=name,
        BillingMode="PAY_PER_REQUEST",
        AttributeDefinitions=[{"AttributeName": "id", "AttributeType": "S"}],
        KeySchema=[{"AttributeName": "id", "KeyType": "HASH"}],
    )

    code, answer = sharpwave("provision")

    assert code == 1
    assert [each["name"] for each in answer["differences"] if each["breaks"]] == [name]
    assert described(bare, "pipeline")["KeySchema"][0]["AttributeName"] == "id"


def test_destroy_takes_only_what_was_made_here(bare: Deployment) -> None:
    foreign = tables.create_request(tables.TABLES[-1], bare.prefix)
    bare.dynamodb.create_table(**foreign)
    bare.sqs.create_queue(QueueName=bare.name("learn"))
    provision(bare)

    planned = destroy(bare, dry_run=True)
    done = destroy(bare)

    kept = {bare.name("learn"), bare.name("pipeline")}
    assert {each.name for each in done.kept} == kept
    assert {step.name for step in done.steps} == {step.name for step in planned.steps}
    assert not kept & {step.name for step in done.steps}
    assert destroy(bare).steps == ()
    assert described(bare, "pipeline")["TableStatus"] == "ACTIVE"


def test_destroy_leaves_other_prefixes_alone(deployment: Deployment, bare: Deployment) -> None:
    other = Deployment(
        bare.session, prefix=f"{bare.prefix[:9]}-o", endpoint_url=bare.endpoint_url, is_local=True
    )
    provision(other)

    destroy(other)

    assert survey(deployment) == []


def test_the_command_asks_before_it_destroys(deployment: Deployment, sharpwave: Any) -> None:
    dry, planned = sharpwave("destroy", "--dry-run")
    refused, error = sharpwave("destroy")
    done, answer = sharpwave("destroy", "--yes")

    assert (dry, refused, done) == (0, 2, 0)
    assert "--yes" in error["error"]
    assert len(planned["deleted"]) == len(answer["deleted"]) == 15
    assert sharpwave("destroy", "--yes") == (0, {"deleted": [], "kept": [], "dry_run": False})
