"""Tables and queues as a CloudFormation template, from the same data that provisioning reads."""

from typing import Any

from sharpwave.schemas.queues import DLQ_ATTRIBUTES, WORK_QUEUES, inbox
from sharpwave.schemas.tables import TABLES, TTL_ATTRIBUTE, create_request, physical


def template(*, prefix: str = "", agents: tuple[str, ...] = ()) -> dict[str, Any]:
    """Give a template of all tables, the work queues and the inboxes of some agents.

    Tables are kept when the stack is deleted, and so is what they hold.

    Raises:
        ValueError: an agent's id cannot name an agent.
    """
    queues = [*WORK_QUEUES, *(inbox(agent) for agent in agents)]
    tags = [{"Key": "sharpwave", "Value": prefix or "default"}]
    kept = {"DeletionPolicy": "Retain", "UpdateReplacePolicy": "Retain"}
    retention = int(DLQ_ATTRIBUTES["MessageRetentionPeriod"])
    resources: dict[str, dict[str, Any]] = {}
    for table in TABLES:
        properties = create_request(table, prefix)
        if stream := properties.pop("StreamSpecification", None):
            properties["StreamSpecification"] = {"StreamViewType": stream["StreamViewType"]}
        properties |= {
            "TimeToLiveSpecification": {"AttributeName": TTL_ATTRIBUTE, "Enabled": True},
            "PointInTimeRecoverySpecification": {"PointInTimeRecoveryEnabled": True},
            "Tags": tags,
        }
        made = {"Type": "AWS::DynamoDB::Table", **kept, "Properties": properties}
        resources[_logical(table.name)] = made
    for queue in queues:
        dlq = _logical(queue.dlq)
        spent = {"QueueName": physical(queue.dlq, prefix), "MessageRetentionPeriod": retention}
        properties = {
            "QueueName": physical(queue.name, prefix),
            "VisibilityTimeout": queue.visibility_timeout_s,
            "MessageRetentionPeriod": queue.retention_s,
            "ReceiveMessageWaitTimeSeconds": 20,
            "RedrivePolicy": {
                "deadLetterTargetArn": {"Fn::GetAtt": [dlq, "Arn"]},
                "maxReceiveCount": queue.max_receive_count,
            },
        }
        for name, described in ((dlq, spent), (_logical(queue.name), properties)):
            made = {"Type": "AWS::SQS::Queue", "Properties": {**described, "Tags": tags}}
            resources[name] = made
    return {
        "AWSTemplateFormatVersion": "2010-09-09",
        "Description": "Sharpwave: tables and queues",
        "Resources": resources,
        "Outputs": {
            f"{name}Arn": {"Value": {"Fn::GetAtt": [name, "Arn"]}, "Description": body["Type"]}
            for name, body in resources.items()
        },
    }


def _logical(name: str) -> str:
    """Give a resource's id in the template: letters and digits only."""
    return "".join(part.capitalize() for part in name.replace("-", "_").split("_"))
