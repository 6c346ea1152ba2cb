"""Queues: the client that reaches them, and what their names stand for."""

from __future__ import annotations

import json
import threading
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Protocol, cast

from sharpwave.workers.sqs.errors import QueueMissing, QueueUnavailable

_FIFO = ".fifo"


class SqsClient(Protocol):
    """The calls the broker makes; boto3's low-level client has them."""

    def get_queue_url(self, *args: Any, **kwargs: Any) -> Any:
        """Find a queue by name."""

    def get_queue_attributes(self, *args: Any, **kwargs: Any) -> Any:
        """Read a queue's settings and counts."""

    def purge_queue(self, *args: Any, **kwargs: Any) -> Any:
        """Delete every message."""

    def send_message(self, *args: Any, **kwargs: Any) -> Any:
        """Add one message."""

    def send_message_batch(self, *args: Any, **kwargs: Any) -> Any:
        """Add up to ten messages."""

    def receive_message(self, *args: Any, **kwargs: Any) -> Any:
        """Take up to ten messages."""

    def delete_message_batch(self, *args: Any, **kwargs: Any) -> Any:
        """Delete up to ten messages."""

    def change_message_visibility_batch(self, *args: Any, **kwargs: Any) -> Any:
        """Hide up to ten messages for a time."""

    def close(self) -> None:
        """Close the connections."""


def default_client(*, connections: int) -> SqsClient:
    """Make a boto3 client from AWS's own environment variables.

    Args:
        connections: how many calls may be under way at once.
    """
    import boto3
    from botocore.config import Config

    # One low-level client for all threads: boto3 allows that for clients, not for resources.
    config = Config(
        max_pool_connections=connections,
        connect_timeout=5,
        read_timeout=30,  # must outlive a long poll, which SQS holds for 20 s
        tcp_keepalive=True,
        retries={"mode": "standard", "max_attempts": 3},
        parameter_validation=False,
    )
    return cast(SqsClient, boto3.client("sqs", config=config))


def code_of(error: BaseException) -> str:
    """Return AWS's error code, or the class name of any other error."""
    response = getattr(error, "response", None)
    code = response.get("Error", {}).get("Code") if isinstance(response, dict) else None
    return str(code or type(error).__name__)


@dataclass(frozen=True, slots=True)
class QueueAddress:
    """One queue as SQS knows it."""

    name: str
    url: str

    @property
    def is_fifo(self) -> bool:
        """Tell whether SQS keeps order per message group in this queue."""
        return self.url.endswith(_FIFO)


class Queues:
    """Resolves the queue names of actors; looks each up once and never creates one.

    Args:
        client: an SQS client.
        prefix: put before every physical name, as `<prefix>-<name>`.
        places: queue name to URL, ARN or physical name, for queues of another
            account or with names of their own; the prefix does not apply.
    """

    def __init__(
        self, client: SqsClient, *, prefix: str = "", places: Mapping[str, str] | None = None
    ) -> None:
        self._client = client
        self._prefix = f"{prefix}-" if prefix else ""
        self._places = dict(places or {})
        self._known: dict[str, QueueAddress] = {}
        self._lock = threading.Lock()

    def get(self, name: str) -> QueueAddress:
        """Return a queue; asks SQS the first time only.

        Raises:
            QueueUnavailable: it does not exist or SQS did not answer.
        """
        if (queue := self._known.get(name)) is not None:
            return queue
        place = self._places.get(name, "")
        request = {"QueueName": place or f"{self._prefix}{name}"}
        if place.startswith("arn:"):
            *_, account, physical = place.split(":")
            request = {"QueueName": physical, "QueueOwnerAWSAccountId": account}
        # Under the lock, so that threads which start together ask once.
        with self._lock:
            if name in self._known:
                return self._known[name]
            try:
                is_url = place.startswith(("https://", "http://"))
                url = place if is_url else str(self._client.get_queue_url(**request)["QueueUrl"])
            except Exception as error:
                code = code_of(error)
                # SQS's query protocol and its JSON protocol spell the same fault differently.
                is_missing = code.endswith(("NonExistentQueue", "QueueDoesNotExist"))
                kind = QueueMissing if is_missing else QueueUnavailable
                raise kind(name, f"{code}: {request['QueueName']}") from error
            return self._known.setdefault(name, QueueAddress(name, url))

    def dead_letters_of(self, name: str) -> QueueAddress:
        """Return the target of a queue's redrive policy, else `<name>_dlq`.

        Raises:
            QueueUnavailable: neither exists.
        """
        dlq = dead_letter_name(name)
        if dlq not in (self._known | self._places) and (target := self.redrive_target(name)):
            self._places[dlq] = target
        return self.get(dlq)

    def redrive_target(self, name: str) -> str | None:
        """Read where SQS itself moves what fails too often, an ARN; None without a policy.

        Raises:
            QueueUnavailable: the queue does not exist or its attributes cannot be read.
        """
        policy = self._attributes(name, "RedrivePolicy").get("RedrivePolicy")
        return str(json.loads(policy)["deadLetterTargetArn"]) if policy else None

    def depth(self, name: str) -> int:
        """Count the messages that are not deleted; SQS only knows it approximately."""
        names = [f"ApproximateNumberOfMessages{kind}" for kind in ("", "NotVisible", "Delayed")]
        found = self._attributes(name, *names)
        return sum(int(found[each]) for each in names)

    def _attributes(self, name: str, *attributes: str) -> Mapping[str, str]:
        queue = self.get(name)
        try:
            answer = self._client.get_queue_attributes(
                QueueUrl=queue.url, AttributeNames=list(attributes)
            )
        except Exception as error:
            raise QueueUnavailable(name, f"{code_of(error)}: {error}") from error
        found: Mapping[str, str] = answer.get("Attributes", {})
        return found


def dead_letter_name(name: str) -> str:
    """Return the name of a queue's dead-letter queue: `<queue>_dlq`."""
    if name.endswith(_FIFO):
        return f"{name.removesuffix(_FIFO)}_dlq{_FIFO}"
    return f"{name}_dlq"
