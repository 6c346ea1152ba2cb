"""The few methods of boto3's SQS resource that dramatiq-sqs calls, over a client in memory."""

from typing import Any


class Resource:
    """Stands for `boto3.resource("sqs")`."""

    def __init__(self, client: Any) -> None:
        self._client = client

    def get_queue_by_name(self, *, QueueName: str) -> "QueueResource":
        """Find a queue."""
        return QueueResource(self._client, self._client.get_queue_url(QueueName=QueueName))


class QueueResource:
    """Stands for a queue."""

    def __init__(self, client: Any, found: Any) -> None:
        self._client, self.url = client, found["QueueUrl"]

    def send_message(self, **fields: Any) -> Any:
        """Send one message."""
        return self._client.send_message(QueueUrl=self.url, **fields)

    def receive_messages(self, **fields: Any) -> list["MessageResource"]:
        """Receive messages."""
        answer = self._client.receive_message(QueueUrl=self.url, **fields)
        return [MessageResource(self._client, self.url, m) for m in answer.get("Messages", ())]

    def change_message_visibility_batch(self, **fields: Any) -> Any:
        """Give messages back."""
        return self._client.change_message_visibility_batch(QueueUrl=self.url, **fields)


class MessageResource:
    """Stands for a received message."""

    def __init__(self, client: Any, url: str, message: Any) -> None:
        self._client, self._url = client, url
        self.body, self.receipt_handle = message["Body"], message["ReceiptHandle"]

    def delete(self) -> Any:
        """Delete it."""
        return self._client.delete_message(QueueUrl=self._url, ReceiptHandle=self.receipt_handle)
