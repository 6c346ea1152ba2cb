"""A raw agent on plain boto3: decide, signal, poll the own queue, acknowledge, delete.

    pip install boto3
    AWS_ENDPOINT_URL=http://127.0.0.1:4566 python raw_agent.py

It registers nothing; an operator added it once with `sharpwave agents add raw-agent`. The signal
goes to the agent itself, so that one agent shows the whole round.
"""

import json
import os
import time
import uuid
from datetime import UTC, datetime

import boto3

AGENT = os.environ.get("AGENT_ID", "raw-agent")
if "AWS_ENDPOINT_URL" in os.environ:  # A local backend takes any credentials.
    os.environ.setdefault("AWS_ACCESS_KEY_ID", "test")
    os.environ.setdefault("AWS_SECRET_ACCESS_KEY", "test")
    os.environ.setdefault("AWS_DEFAULT_REGION", "us-east-1")
dynamodb, sqs = boto3.client("dynamodb"), boto3.client("sqs")


def put(table, pk, record_id, attributes):
    """Write a record once: a repeat under the same key changes nothing."""
    now = datetime.now(UTC)
    iso = now.isoformat(timespec="milliseconds").replace("+00:00", "Z")
    item = {
        "PK": {"S": pk},
        "SK": {"S": f"{iso}#{record_id}"},
        "timestamp": {"N": str(int(now.timestamp()))},
        "iso_timestamp": {"S": iso},
        "ttl": {"N": str(int(now.timestamp()) + 86_400)},
        **attributes,
    }
    dynamodb.put_item(TableName=table, Item=item, ConditionExpression="attribute_not_exists(PK)")


decision_id, signal_id = f"dec_{uuid.uuid4().hex}", f"sig_{uuid.uuid4().hex}"
decision = {
    "agent_id": {"S": AGENT},
    "decision_id": {"S": decision_id},
    "decision_type": {"S": "SOURCE_SELECTION"},
    "context": {"M": {"trend": {"S": "bullish"}}},
}
put("agent_decisions", f"agent:{AGENT}#decision#SOURCE_SELECTION", decision_id, decision)
signal = {
    "signal_id": {"S": signal_id},
    "signal_type": {"S": "WHALE_ACTIVITY"},
    "source_agent": {"S": AGENT},
    "target_agents": {"L": [{"S": AGENT}]},
    "data": {"M": {"whale_count": {"N": "5"}}},
}
# With the sender at its end, IAM can bind the key to the sender; signal#WHALE_ACTIVITY works too.
put("agent_signals", f"signal#WHALE_ACTIVITY#{AGENT}", signal_id, signal)

queue_url = sqs.get_queue_url(QueueName=f"inbox-{AGENT}")["QueueUrl"]
worked = None
while worked is None:
    found = sqs.receive_message(QueueUrl=queue_url, MaxNumberOfMessages=10, WaitTimeSeconds=20)
    for message in found.get("Messages", []):
        body = json.loads(message["Body"])
        if body["kind"] == "signal":  # Other kinds tell of refused records; here they are dropped.
            row = body["row"]
            dynamodb.update_item(
                TableName=row["table"],
                Key={"PK": {"S": row["PK"]}, "SK": {"S": row["SK"]}},
                UpdateExpression="SET #status = :status, processed_at = :now, decision_id = :id",
                ConditionExpression="attribute_exists(PK)",
                ExpressionAttributeNames={"#status": "status"},
                ExpressionAttributeValues={
                    ":status": {"S": "PROCESSED"},
                    ":now": {"N": str(int(time.time()))},
                    ":id": {"S": decision_id},
                },
            )
            worked = body
        # Only after the acknowledgement: a crash in between hands the message out again.
        sqs.delete_message(QueueUrl=queue_url, ReceiptHandle=message["ReceiptHandle"])

print(f"acknowledged {worked['delivery_id']} with {decision_id}: {worked['data']}")
