"""The queue itself: a loop of long polls and nothing around it, for the latency of a message."""

from typing import Any

import boto3
from gauge import ORDERS, Gauge, in_background, measure  # type: ignore[import-not-found]

from tests.world.sqs import Latencies, MemorySqs

QUEUE = ORDERS["queue"]


def main() -> None:
    """Receive, note, delete."""
    client, url = _client()
    gauge = Gauge()

    def send(number: int) -> None:
        client.send_message(QueueUrl=url, MessageBody=str(number))

    in_background(lambda: measure(gauge, send=send, calls=lambda: 0))
    while True:
        answer = client.receive_message(QueueUrl=url, MaxNumberOfMessages=10, WaitTimeSeconds=20)
        for message in answer.get("Messages", ()):
            gauge.run(int(message["Body"]))
            client.delete_message(QueueUrl=url, ReceiptHandle=message["ReceiptHandle"])


def _client() -> tuple[Any, str]:
    if ORDERS["layer"] == "memory":
        memory = MemorySqs(Latencies(**ORDERS["latencies"]))
        return memory, memory.add_queue(QUEUE)
    client = boto3.client("sqs")
    return client, client.create_queue(QueueName=QUEUE)["QueueUrl"]


if __name__ == "__main__":
    main()
