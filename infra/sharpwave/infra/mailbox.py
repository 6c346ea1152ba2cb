"""One SQS queue: its depth and its messages."""

import json
from collections.abc import Iterator, Mapping, Sequence
from functools import cached_property
from typing import Any, NamedTuple

from sharpwave.infra.connection import Deployment
from sharpwave.infra.errors import Rejected, translated

#: Most messages one request carries. Source: AWS, "Amazon SQS message quotas", batch size.
BATCH = 10
#: Below the 256 KiB that older emulators allow for all bodies of a request.
_BATCH_BYTES = 240_000
_COUNTS = ("", "NotVisible", "Delayed")
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


class Letter(NamedTuple):
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

    def receive(self, *, limit: int = BATCH, hold_s: int, wait_s: int = 0) -> list[Letter]:
        """Take up to `limit` messages, at most 10, out of sight for `hold_s` seconds."""
        with translated(self._thing):
            answer = self._client.receive_message(
                QueueUrl=self.url,
                MaxNumberOfMessages=min(limit, BATCH),
                VisibilityTimeout=hold_s,
                WaitTimeSeconds=wait_s,
                MessageAttributeNames=["All"],
                MessageSystemAttributeNames=["All"],
            )
        return [_letter(message) for message in answer.get("Messages", [])]

    def drain(self, *, limit: int, hold_s: int) -> Iterator[list[Letter]]:
        """Take messages in batches until the queue is empty or `limit` were taken."""
        left = limit
        # A short poll asks only some of SQS's servers and may find nothing in a full queue.
        while left > 0 and (letters := self.receive(limit=left, hold_s=hold_s, wait_s=1)):
            left -= len(letters)
            yield letters

    def send(self, letters: Sequence[Letter]) -> list[Letter]:
        """Send copies of up to 10 messages with body and attributes as they are.

        Returns:
            Those which SQS accepted.
        """
        accepted: list[Letter] = []
        for part in _portions(letters):
            entries = [
                {"Id": str(number), "MessageBody": letter.body, **_extras(letter)}
                for number, letter in enumerate(part)
            ]
            with translated(self._thing):
                answer = self._client.send_message_batch(QueueUrl=self.url, Entries=entries)
            accepted += [part[int(done["Id"])] for done in answer.get("Successful", [])]
        return accepted

    def delete(self, letters: Sequence[Letter]) -> None:
        """Delete up to 10 held messages.

        Raises:
            Rejected: SQS did not delete all of them.
        """
        if not letters:
            return
        entries = _handles(letters)
        with translated(self._thing):
            answer = self._client.delete_message_batch(QueueUrl=self.url, Entries=entries)
        failed = answer.get("Failed", [])
        if failed:
            reason = f"{failed[0].get('Code')}: {failed[0].get('Message', '')}"
            raise Rejected(f"{self._thing} kept {len(failed)} of {len(entries)}: {reason}")

    def release(self, letters: Sequence[Letter]) -> None:
        """Make held messages visible again at once; one whose hold ran out already is."""
        for start in range(0, len(letters), BATCH):
            entries = _handles(letters[start : start + BATCH])
            for entry in entries:
                entry["VisibilityTimeout"] = 0
            with translated(self._thing):
                self._client.change_message_visibility_batch(QueueUrl=self.url, Entries=entries)


def depth_of(attributes: Mapping[str, str]) -> Depth:
    """Read the numbers of messages out of a queue's attributes."""
    names = (f"ApproximateNumberOfMessages{kind}" for kind in _COUNTS)
    return Depth(*(int(attributes.get(name, 0)) for name in names))


def redrive_of(attributes: Mapping[str, str]) -> tuple[str, int] | None:
    """Read where spent messages go and after how many receives, or None without a policy."""
    policy = json.loads(attributes.get("RedrivePolicy") or "{}")
    if "deadLetterTargetArn" not in policy:
        return None
    return str(policy["deadLetterTargetArn"]), int(policy.get("maxReceiveCount", 0))


def _letter(message: Mapping[str, Any]) -> Letter:
    return Letter(
        message["MessageId"],
        message["ReceiptHandle"],
        message["Body"],
        message.get("MessageAttributes", {}),
        message.get("Attributes", {}),
    )


def _portions(letters: Sequence[Letter]) -> Iterator[list[Letter]]:
    portion: list[Letter] = []
    size = 0
    for letter in letters:
        extent = len(letter.body.encode())
        if portion and size + extent > _BATCH_BYTES:
            yield portion
            portion, size = [], 0
        portion.append(letter)
        size += extent
    if portion:
        yield portion


def _extras(letter: Letter) -> dict[str, Any]:
    extras: dict[str, Any] = {}
    attributes = {
        name: {field: value[field] for field in _FIELDS if field in value}
        for name, value in letter.attributes.items()
    }
    if attributes:
        extras["MessageAttributes"] = attributes
    if letter.system.get("MessageGroupId"):
        extras["MessageGroupId"] = letter.system["MessageGroupId"]
    if letter.system.get("AWSTraceHeader"):
        header = {"DataType": "String", "StringValue": letter.system["AWSTraceHeader"]}
        extras["MessageSystemAttributes"] = {"AWSTraceHeader": header}
    return extras


def _handles(letters: Sequence[Letter]) -> list[dict[str, Any]]:
    return [
        {"Id": str(number), "ReceiptHandle": letter.handle} for number, letter in enumerate(letters)
    ]
