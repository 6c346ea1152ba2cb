"""The least that two hops take: put, stream, queue, queue, receive, by plain loops.

`role` is `stream` (reads the table's stream and sends each record on), `hop` (receives it and sends
it to each target) or `ends` (puts and receives).
"""

import json
import time
from typing import Any

import boto3
from flow import ORDERS, TARGETS, Flow, drive, in_background  # type: ignore[import-not-found]

TABLE = ORDERS["table"]
SQS: Any = boto3.client("sqs")
FLOW = Flow()


def _url(queue: str) -> str:
    return str(SQS.get_queue_url(QueueName=queue)["QueueUrl"])


def read_stream() -> None:
    """Send the stream's records to the first queue, ten a call."""
    streams, url = boto3.client("dynamodbstreams"), _url(ORDERS["queue"])
    arn = boto3.client("dynamodb").describe_table(TableName=TABLE)["Table"]["LatestStreamArn"]
    shard = streams.describe_stream(StreamArn=arn)["StreamDescription"]["Shards"][0]["ShardId"]
    iterator = streams.get_shard_iterator(
        StreamArn=arn, ShardId=shard, ShardIteratorType="TRIM_HORIZON"
    )["ShardIterator"]
    while True:
        page = streams.get_records(ShardIterator=iterator, Limit=1000)
        iterator = page["NextShardIterator"]
        bodies = [json.dumps(record["dynamodb"]["NewImage"]) for record in page["Records"]]
        for at in range(0, len(bodies), 10):
            entries = [{"Id": str(n), "MessageBody": b} for n, b in enumerate(bodies[at : at + 10])]
            SQS.send_message_batch(QueueUrl=url, Entries=entries)
        if not bodies:
            time.sleep(ORDERS["pump_wait_s"])


def hop() -> None:
    """Send what comes to the first queue on to each target's."""
    url = _url(ORDERS["queue"])
    urls = {target: _url(f"{TABLE}-{target}") for target in TARGETS}
    while True:
        for message in _receive(url):
            for target in TARGETS:
                SQS.send_message(QueueUrl=urls[target], MessageBody=message["Body"])
            SQS.delete_message(QueueUrl=url, ReceiptHandle=message["ReceiptHandle"])


def _receive(url: str) -> Any:
    answer = SQS.receive_message(QueueUrl=url, MaxNumberOfMessages=10, WaitTimeSeconds=20)
    return answer.get("Messages", ())


def _listen(target: str) -> None:
    url = _url(f"{TABLE}-{target}")
    while True:
        for message in _receive(url):
            FLOW.received(int(json.loads(message["Body"])["number"]["N"]), target)
            SQS.delete_message(QueueUrl=url, ReceiptHandle=message["ReceiptHandle"])


def ends() -> None:
    """Put items, and receive as the targets."""
    dynamodb = boto3.client("dynamodb")

    def send(number: int, targets: list[str]) -> None:
        text = {"S": "x" * ORDERS["bytes"]}
        item = {"PK": {"S": "floor"}, "SK": {"S": str(number)}, "number": {"N": str(number)}}
        dynamodb.put_item(TableName=TABLE, Item={**item, "text": text})

    for target in TARGETS:
        in_background(_listen, target)
    drive(FLOW, send)


if __name__ == "__main__":
    {"stream": read_stream, "hop": hop, "ends": ends}[ORDERS["role"]]()
