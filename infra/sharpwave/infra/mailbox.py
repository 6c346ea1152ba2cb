"""One SQS queue as an operator sees it: its attributes, its depth and its messages."""

import json
from collections.abc import Iterator, Mapping, Sequence
from functools import cached_property
from typing import Any, NamedTuple

from sharpwave.infra.connection import Deployment
from sharpwave.infra.errors import Missing, Rejected, translated
from sharpwave.schemas.queues import DLQ_SUFFIX, INBOX_PREFIX, MAX_BATCH, batches

#: Below the 256 KiB that older emulators allow for all bodies of a request.
_BATCH_BYTES = 240_000
_FIELDS = ("DataType", "StringValue", "BinaryValue")


class Depth(NamedTuple):
    """Approximate numbers of messages; at AWS they trail by up to a minute."""

    ready: int
    in_flight: int
    delayed: int

    @property
    def total(self) -> int:
        """Count every message that is not deleted."""
        return sum(self)


class Received(NamedTuple):
    """A message held for a while: its body, its attributes and how to give it back."""

    message_id: str
    handle: str
    body: str
    attributes: Mapping[str, Any]
    system: Mapping[str, str]

    @property
    def receives(self) -> int:
        """Count how often it was received, this time included."""
        return int(self.system.get("ApproximateReceiveCount", 0))

    @property
    def sent_at(self) -> float:
        """Give when it was sent, in epoch seconds."""
        return int(self.system.get("SentTimestamp", 0)) / 1000


class Mailbox:
    """One queue, by its logical name such as `deliver` or `inbox-risk-manager_dlq`."""

    def __init__(self, deployment: Deployment, name: str) -> None:
        self._client: Any = deployment.sqs
        self.name = name
        self.physical = deployment.name(name)
        self._thing = f"queue {self.physical}"

    @cached_property
    def url(self) -> str:
        """The queue's URL.

        Raises:
            Missing: there is no such queue.
        """
        with translated(self._thing):
            return str(self._client.get_queue_url(QueueName=self.physical)["QueueUrl"])

    def attributes(self) -> dict[str, str]:
        """Read all attributes."""
        with translated(self._thing):
            answer = self._client.get_queue_attributes(QueueUrl=self.url, AttributeNames=["All"])
        return dict(answer.get("Attributes", {}))

    def depth(self) -> Depth:
        """Read the numbers of messages."""
        return depth_of(self.attributes())

    def receive(self, *, limit: int = MAX_BATCH, hold_s: int, wait_s: int = 0) -> list[Received]:
        """Take up to `limit` messages, at most 10, out of sight for `hold_s` seconds."""
        with translated(self._thing):
            answer = self._client.receive_message(
                QueueUrl=self.url,
                MaxNumberOfMessages=min(limit, MAX_BATCH),
                VisibilityTimeout=hold_s,
                WaitTimeSeconds=wait_s,
                MessageAttributeNames=["All"],
                MessageSystemAttributeNames=["All"],
            )
        return [
            Received(
                message["MessageId"],
                message["ReceiptHandle"],
                message["Body"],
                message.get("MessageAttributes", {}),
                message.get("Attributes", {}),
            )
            for message in answer.get("Messages", [])
        ]

    def drain(self, *, limit: int, hold_s: int) -> Iterator[list[Received]]:
        """Take messages in batches until the queue is empty or `limit` were taken."""
        left = limit
        # A short poll asks only some of SQS's servers and may find nothing in a full queue.
        while left > 0 and (batch := self.receive(limit=left, hold_s=hold_s, wait_s=1)):
            left -= len(batch)
            yield batch

    def send(self, messages: Sequence[Received]) -> list[Received]:
        """Send copies of messages with body and attributes as they are.

        Returns:
            Those which SQS accepted.
        """
        accepted: list[Received] = []
        for part in batches(messages, size=lambda m: len(m.body.encode()), max_bytes=_BATCH_BYTES):
            entries: list[dict[str, Any]] = []
            for number, message in enumerate(part):
                entry: dict[str, Any] = {"Id": str(number), "MessageBody": message.body}
                entries.append(entry)
                # An answer names empty lists beside the value, which a request may not hold.
                attributes = {
                    name: {field: value[field] for field in _FIELDS if field in value}
                    for name, value in message.attributes.items()
                }
                if attributes:
                    entry["MessageAttributes"] = attributes
                if group := message.system.get("MessageGroupId"):
                    entry["MessageGroupId"] = group
                # The only system attribute that a sender may set.
                if traced := message.system.get("AWSTraceHeader"):
                    header = {"DataType": "String", "StringValue": traced}
                    entry["MessageSystemAttributes"] = {"AWSTraceHeader": header}
            with translated(self._thing):
                answer = self._client.send_message_batch(QueueUrl=self.url, Entries=entries)
            accepted += [part[int(done["Id"])] for done in answer.get("Successful", [])]
        return accepted

    def delete(self, messages: Sequence[Received]) -> None:
        """Delete up to 10 held messages.

        Raises:
            Rejected: SQS did not delete all of them.
        """
        if not messages:
            return
        entries = _handles(messages)
        with translated(self._thing):
            answer = self._client.delete_message_batch(QueueUrl=self.url, Entries=entries)
        if failed := answer.get("Failed", []):
            reason = f"{failed[0].get('Code')}: {failed[0].get('Message', '')}"
            raise Rejected(f"{self._thing} kept {len(failed)} of {len(entries)}: {reason}")

    def release(self, messages: Sequence[Received]) -> None:
        """Make held messages visible again at once; one whose hold ran out already is."""
        for start in range(0, len(messages), MAX_BATCH):
            held = _handles(messages[start : start + MAX_BATCH])
            entries = [{**entry, "VisibilityTimeout": 0} for entry in held]
            with translated(self._thing):
                self._client.change_message_visibility_batch(QueueUrl=self.url, Entries=entries)

    def drop(self) -> None:
        """Delete the queue and what is in it; SQS keeps its name from reuse for a minute."""
        with translated(self._thing):
            self._client.delete_queue(QueueUrl=self.url)


def attributes_of(deployment: Deployment, name: str) -> dict[str, str] | None:
    """Read a queue's attributes; None if there is no such queue."""
    try:
        return Mailbox(deployment, name).attributes()
    except Missing:
        return None


def depth_at(deployment: Deployment, name: str) -> Depth | None:
    """Read a queue's numbers of messages; None if there is no such queue."""
    attributes = attributes_of(deployment, name)
    return None if attributes is None else depth_of(attributes)


def inbox_names(deployment: Deployment) -> list[str]:
    """List the logical names of all queues of agents, without dead-letter queues, sorted."""
    start = deployment.name(INBOX_PREFIX)
    lead = len(start) - len(INBOX_PREFIX)
    with translated("the list of queues"):
        # Without a page size SQS answers with at most 1000 queues and no token for the others.
        pages = deployment.sqs.get_paginator("list_queues").paginate(
            QueueNamePrefix=start, PaginationConfig={"PageSize": 1000}
        )
        urls = [url for page in pages for url in page.get("QueueUrls", [])]
    names = (url.rpartition("/")[2][lead:] for url in urls)
    return sorted(name for name in names if not name.endswith(DLQ_SUFFIX))


def depth_of(attributes: Mapping[str, str]) -> Depth:
    """Read the numbers of messages out of a queue's attributes."""
    kinds = ("", "NotVisible", "Delayed")
    return Depth(*(int(attributes.get(f"ApproximateNumberOfMessages{kind}", 0)) for kind in kinds))


def redrive_of(attributes: Mapping[str, str]) -> tuple[str, int] | None:
    """Read where spent messages go and after how many receives, or None without a policy."""
    policy = json.loads(attributes.get("RedrivePolicy") or "{}")
    if "deadLetterTargetArn" not in policy:
        return None
    return str(policy["deadLetterTargetArn"]), int(policy.get("maxReceiveCount", 0))


def _handles(messages: Sequence[Received]) -> list[dict[str, Any]]:
    return [
        {"Id": str(number), "ReceiptHandle": message.handle}
        for number, message in enumerate(messages)
    ]
