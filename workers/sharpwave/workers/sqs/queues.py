"""Queue names to queues: by name, URL or ARN, looked up once, never created."""

from __future__ import annotations

import json
import threading
from collections.abc import Mapping
from dataclasses import dataclass

from sharpwave.workers.sqs.client import SqsClient, code_of
from sharpwave.workers.sqs.errors import QueueMissing, QueueUnavailable

_FIFO = ".fifo"


@dataclass(frozen=True, slots=True)
class Queue:
    """One queue as SQS knows it."""

    name: str
    url: str

    @property
    def is_fifo(self) -> bool:
        """Tell whether SQS keeps order per message group in this queue."""
        return self.url.endswith(_FIFO)


@dataclass(frozen=True, slots=True)
class Redrive:
    """Where SQS itself moves what fails too often."""

    target_arn: str
    max_receives: int


@dataclass(frozen=True, slots=True)
class Depth:
    """Approximate message counts of one queue."""

    ready: int
    in_flight: int
    delayed: int

    @property
    def total(self) -> int:
        """Count every message that is not deleted."""
        return self.ready + self.in_flight + self.delayed


class Queues:
    """Resolves the queue names of actors.

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
        self._known: dict[str, Queue] = {}
        self._lock = threading.Lock()

    def get(self, name: str) -> Queue:
        """Return a queue; asks SQS the first time only.

        Raises:
            QueueUnavailable: it does not exist or SQS did not answer.
        """
        if (queue := self._known.get(name)) is not None:
            return queue
        with self._lock:
            if name not in self._known:
                self._known[name] = Queue(name, self._find(name))
            return self._known[name]

    def dead_letters_of(self, name: str) -> Queue:
        """Return where a queue's undeliverable messages go.

        That is the target of its redrive policy, else `<name>_dlq`.

        Raises:
            QueueUnavailable: neither exists.
        """
        dlq = dead_letter_name(name)
        if dlq not in self._known and dlq not in self._places:
            redrive = self.redrive_of(name)
            if redrive is not None:
                self._places[dlq] = redrive.target_arn
        return self.get(dlq)

    def redrive_of(self, name: str) -> Redrive | None:
        """Read a queue's redrive policy; None when it has none.

        Raises:
            QueueUnavailable: the queue does not exist or its attributes cannot be read.
        """
        raw = self._attributes(name, "RedrivePolicy").get("RedrivePolicy")
        if not raw:
            return None
        policy = json.loads(raw)
        return Redrive(policy["deadLetterTargetArn"], int(policy["maxReceiveCount"]))

    def depth(self, name: str) -> Depth:
        """Read a queue's approximate counts."""
        kinds = ("", "NotVisible", "Delayed")
        names = [f"ApproximateNumberOfMessages{kind}" for kind in kinds]
        found = self._attributes(name, *names)
        return Depth(*(int(found[name]) for name in names))

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

    def _find(self, name: str) -> str:
        place = self._places.get(name)
        if place is not None and place.startswith(("https://", "http://")):
            return place
        request = {"QueueName": place or f"{self._prefix}{name}"}
        if place is not None and place.startswith("arn:"):
            *_, account, physical = place.split(":")
            request = {"QueueName": physical, "QueueOwnerAWSAccountId": account}
        try:
            return str(self._client.get_queue_url(**request)["QueueUrl"])
        except Exception as error:
            code = code_of(error)
            # The code depends on the protocol that the SDK speaks.
            is_missing = code.endswith(("NonExistentQueue", "QueueDoesNotExist"))
            kind = QueueMissing if is_missing else QueueUnavailable
            raise kind(name, f"{code}: {request['QueueName']}") from error


def dead_letter_name(name: str) -> str:
    """Return the name of a queue's dead-letter queue: `<queue>_dlq`."""
    if name.endswith(_FIFO):
        return f"{name.removesuffix(_FIFO)}_dlq{_FIFO}"
    return f"{name}_dlq"
