"""Signals from one agent to others, by plain boto3 on both ends, acknowledged as raw agents do."""

import json
import time
import uuid
from datetime import UTC, datetime
from typing import Any

import boto3
from flow import ORDERS, TARGETS, Flow, drive, in_background  # type: ignore[import-not-found]

DYNAMODB: Any = boto3.client("dynamodb")
SQS: Any = boto3.client("sqs")
FLOW = Flow()


def _receive(target: str) -> None:
    url = SQS.get_queue_url(QueueName=f"{ORDERS['prefix']}-inbox-{target}")["QueueUrl"]
    while True:
        found = SQS.receive_message(QueueUrl=url, MaxNumberOfMessages=10, WaitTimeSeconds=20)
        for message in found.get("Messages", ()):
            body = json.loads(message["Body"])
            FLOW.received(int(body["data"]["number"]), target)
            _acknowledge(body["row"])
            SQS.delete_message(QueueUrl=url, ReceiptHandle=message["ReceiptHandle"])


def _acknowledge(row: dict[str, str]) -> None:
    DYNAMODB.update_item(
        TableName=row["table"],
        Key={"PK": {"S": row["PK"]}, "SK": {"S": row["SK"]}},
        UpdateExpression="SET #status = :status, processed_at = :now",
        ConditionExpression="attribute_exists(PK)",
        ExpressionAttributeNames={"#status": "status"},
        ExpressionAttributeValues={
            ":status": {"S": "PROCESSED"},
            ":now": {"N": str(int(time.time()))},
        },
    )


def _send(number: int, targets: list[str]) -> None:
    now, signal_id = datetime.now(UTC), f"sig_{uuid.uuid4().hex}"
    iso = now.isoformat(timespec="milliseconds").replace("+00:00", "Z")
    item = {
        "PK": {"S": "signal#BENCH#source"},
        "SK": {"S": f"{iso}#{signal_id}"},
        "signal_id": {"S": signal_id},
        "signal_type": {"S": "BENCH"},
        "source_agent": {"S": "source"},
        "target_agents": {"L": [{"S": target} for target in targets]},
        "timestamp": {"N": str(int(now.timestamp()))},
        "iso_timestamp": {"S": iso},
        "ttl": {"N": str(int(now.timestamp()) + 86_400)},
        "data": {"M": {"number": {"N": str(number)}, "text": {"S": "x" * ORDERS["bytes"]}}},
    }
    DYNAMODB.put_item(TableName=f"{ORDERS['prefix']}-agent_signals", Item=item)


def main() -> None:
    """Receive in a thread per target, and send."""
    for target in TARGETS:
        in_background(_receive, target)
    drive(FLOW, _send)


if __name__ == "__main__":
    main()
