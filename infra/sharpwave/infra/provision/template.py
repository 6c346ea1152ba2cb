"""Tables and queues as a CloudFormation template, from the same data that provisioning reads."""

from collections.abc import Iterator
from typing import Any

from sharpwave.schemas.queues import DLQ_ATTRIBUTES, WORK_QUEUES, Queue, inbox
from sharpwave.schemas.tables import TABLES, TTL_ATTRIBUTE, Table, create_request, physical

Resources = dict[str, dict[str, Any]]


def template(*, prefix: str = "", agents: tuple[str, ...] = ()) -> dict[str, Any]:
    """Give a template of all tables, the work queues and the inboxes of some agents.

    Tables are kept when the stack is deleted, and so is what they hold.

    Raises:
        ValueError: an agent's id cannot name an agent.
    """
    queues = [*WORK_QUEUES, *(inbox(agent) for agent in agents)]
    resources: Resources = {}
    for table in TABLES:
        resources[_logical(table.name)] = _table(table, prefix)
    for queue in queues:
        resources |= dict(_queue(queue, prefix))
    return {
        "AWSTemplateFormatVersion": "2010-09-09",
        "Description": "Sharpwave: tables and queues",
        "Resources": resources,
        "Outputs": {
            f"{name}Arn": {"Value": {"Fn::GetAtt": [name, "Arn"]}, "Description": body["Type"]}
            for name, body in resources.items()
        },
    }


def _table(table: Table, prefix: str) -> dict[str, Any]:
    properties = create_request(table, prefix)
    if stream := properties.pop("StreamSpecification", None):
        properties["StreamSpecification"] = {"StreamViewType": stream["StreamViewType"]}
    properties |= {
        "TimeToLiveSpecification": {"AttributeName": TTL_ATTRIBUTE, "Enabled": True},
        "PointInTimeRecoverySpecification": {"PointInTimeRecoveryEnabled": True},
        "Tags": [{"Key": "sharpwave", "Value": prefix or "default"}],
    }
    kept = {"DeletionPolicy": "Retain", "UpdateReplacePolicy": "Retain"}
    return {"Type": "AWS::DynamoDB::Table", **kept, "Properties": properties}


def _queue(queue: Queue, prefix: str) -> Iterator[tuple[str, dict[str, Any]]]:
    dlq = _logical(queue.dlq)
    tags = {"Tags": [{"Key": "sharpwave", "Value": prefix or "default"}]}
    retention = int(DLQ_ATTRIBUTES["MessageRetentionPeriod"])
    spent = {"QueueName": physical(queue.dlq, prefix), "MessageRetentionPeriod": retention}
    yield dlq, {"Type": "AWS::SQS::Queue", "Properties": {**spent, **tags}}
    properties = {
        "QueueName": physical(queue.name, prefix),
        "VisibilityTimeout": queue.visibility_timeout_s,
        "MessageRetentionPeriod": queue.retention_s,
        "ReceiveMessageWaitTimeSeconds": 20,
        "RedrivePolicy": {
            "deadLetterTargetArn": {"Fn::GetAtt": [dlq, "Arn"]},
            "maxReceiveCount": queue.max_receive_count,
        },
        **tags,
    }
    yield _logical(queue.name), {"Type": "AWS::SQS::Queue", "Properties": properties}


def _logical(name: str) -> str:
    """Give a resource's id in the template: letters and digits only."""
    return "".join(part.capitalize() for part in name.replace("-", "_").split("_"))
