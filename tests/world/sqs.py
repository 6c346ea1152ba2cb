"""SQS in memory: for tests, and for measuring a broker without HTTP.

`MemorySqs` has the methods of a boto3 client that a broker uses, with visibility,
long polling, receive counts, redrive, FIFO groups, a latency per call and faults.
"""

from __future__ import annotations

import heapq
import itertools
import json
import threading
import time
from collections import Counter, deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from botocore.exceptions import ClientError

_URL = "memory://sqs/"
_ARN = "arn:aws:sqs:us-east-1:000000000000:"

Fault = Callable[[Mapping[str, Any]], None]
EntryFault = Callable[[Mapping[str, Any]], tuple[str, bool] | None]


@dataclass(frozen=True, slots=True, kw_only=True)
class Latencies:
    """Seconds that each kind of call takes before it does anything."""

    receive: float = 0.0
    send: float = 0.0
    delete: float = 0.0
    batch: float = 0.0


@dataclass(slots=True, eq=False)
class Stored:
    """One message in a queue."""

    sqs_id: str
    body: str
    attributes: Mapping[str, Any]
    group_id: str | None
    visible_at: float
    receives: int = 0
    handle: str = ""
    is_ready: bool = False
    is_deleted: bool = False


@dataclass(slots=True)
class _Box:
    name: str
    settings: dict[str, str]
    ready: deque[Stored] = field(default_factory=deque)
    hidden: list[tuple[float, int, Stored]] = field(default_factory=list)
    by_handle: dict[str, Stored] = field(default_factory=dict)
    seen_ids: set[str] = field(default_factory=set)
    stored: int = 0
    changed: threading.Condition = field(default_factory=threading.Condition)


class MemorySqs:
    """An SQS client without SQS.

    Attributes:
        calls: how often each operation was called.
    """

    def __init__(self, latencies: Latencies | None = None) -> None:
        self.calls: Counter[str] = Counter()
        self.latencies = latencies or Latencies()
        self._boxes: dict[str, _Box] = {}
        self._numbers = itertools.count(1)
        self._faults: dict[str, deque[Fault]] = {}
        self._entry_faults: dict[str, EntryFault] = {}

    # What tests set up and look at.

    def add_queue(self, name: str, *, max_receives: int = 20, dlq: bool = True) -> str:
        """Create a queue, with a dead-letter queue unless told otherwise; return its URL."""
        settings = {}
        if dlq:
            dead = f"{name.removesuffix('.fifo')}_dlq" + (".fifo" if ".fifo" in name else "")
            self.create_queue(QueueName=dead)
            policy = {"deadLetterTargetArn": _ARN + dead, "maxReceiveCount": max_receives}
            settings = {"RedrivePolicy": json.dumps(policy)}
        return str(self.create_queue(QueueName=name, Attributes=settings)["QueueUrl"])

    def messages(self, name: str) -> Sequence[Stored]:
        """Return every message of a queue that is not deleted."""
        box = self._boxes[name]
        with box.changed:
            waiting = [*box.ready, *(stored for _, _, stored in box.hidden)]
            return [*dict.fromkeys(s for s in waiting if not s.is_deleted)]

    def fail(self, operation: str, *, code: str, times: int = 1) -> None:
        """Make the next calls of an operation raise, before it has an effect."""

        def raise_it(_: Mapping[str, Any]) -> None:
            raise client_error(code, operation)

        self._faults.setdefault(operation, deque()).extend([raise_it] * times)

    def lose_replies(self, operation: str, *, times: int = 1) -> None:
        """Let the next calls of an operation take effect, and then raise."""
        self.fail(f"{operation}!", code="RequestTimeout", times=times)

    def refuse(self, operation: str, fault: EntryFault | None) -> None:
        """Refuse entries of a batch operation for which `fault` gives (code, sender_fault)."""
        if fault is None:
            self._entry_faults.pop(operation, None)
        else:
            self._entry_faults[operation] = fault

    # The client's methods.

    def create_queue(self, *, QueueName: str, Attributes: Any = None, **_: Any) -> Any:
        """Create a queue, if there is none of that name."""
        self._boxes.setdefault(QueueName, _Box(QueueName, dict(Attributes or {})))
        return {"QueueUrl": _URL + QueueName}

    def get_queue_url(self, *, QueueName: str, **_: Any) -> Any:
        """Return the URL of a queue."""
        self._enter("get_queue_url")
        self._box(_URL + QueueName)
        return {"QueueUrl": _URL + QueueName}

    def get_queue_attributes(self, *, QueueUrl: str, **_: Any) -> Any:
        """Return the settings and the exact counts of a queue."""
        self._enter("get_queue_attributes")
        box = self._box(QueueUrl)
        with box.changed:
            _surface(box)
            ready = len(box.ready)
            counts = {"": ready, "NotVisible": box.stored - ready, "Delayed": 0}
            named = {f"ApproximateNumberOfMessages{k}": str(v) for k, v in counts.items()}
            return {"Attributes": {**box.settings, **named}}

    def purge_queue(self, *, QueueUrl: str) -> Any:
        """Delete every message of a queue."""
        self._enter("purge_queue")
        box = self._box(QueueUrl)
        with box.changed:
            box.ready.clear()
            box.hidden.clear()
            box.by_handle.clear()
            box.stored = 0
        return {}

    def send_message(self, *, QueueUrl: str, **fields: Any) -> Any:
        """Add one message."""
        with self._call("send_message", self.latencies.send):
            return {"MessageId": self._store(self._box(QueueUrl), fields)}

    def send_message_batch(self, *, QueueUrl: str, Entries: Sequence[Any]) -> Any:
        """Add up to ten messages."""
        box = self._box(QueueUrl)
        return self._batch("send_message_batch", Entries, lambda e: self._store(box, e) and None)

    def delete_message(self, *, QueueUrl: str, ReceiptHandle: str) -> Any:
        """Delete one message."""
        with self._call("delete_message", self.latencies.delete):
            self._delete(self._box(QueueUrl), {"ReceiptHandle": ReceiptHandle})
        return {}

    def delete_message_batch(self, *, QueueUrl: str, Entries: Sequence[Any]) -> Any:
        """Delete up to ten messages."""
        box = self._box(QueueUrl)
        return self._batch("delete_message_batch", Entries, lambda e: self._delete(box, e))

    def change_message_visibility_batch(self, *, QueueUrl: str, Entries: Sequence[Any]) -> Any:
        """Set how long up to ten messages stay hidden."""
        box = self._box(QueueUrl)
        operation = "change_message_visibility_batch"
        return self._batch(operation, Entries, lambda e: self._hide(box, e))

    def receive_message(
        self,
        *,
        QueueUrl: str,
        MaxNumberOfMessages: int = 1,
        WaitTimeSeconds: int = 0,
        VisibilityTimeout: int = 30,
        **_: Any,
    ) -> Any:
        """Receive messages, waiting for the first."""
        with self._call("receive_message", self.latencies.receive):
            box = self._box(QueueUrl)
            until = time.monotonic() + WaitTimeSeconds
            with box.changed:
                while not (taken := list(self._take(box, MaxNumberOfMessages, VisibilityTimeout))):
                    now = time.monotonic()
                    if now >= until:
                        return {}
                    next_at = box.hidden[0][0] if box.hidden else until
                    box.changed.wait(max(0.001, min(until, next_at) - now))
            return {"Messages": [_received(stored) for stored in taken]}

    def close(self) -> None:
        """Do nothing, as there is no connection."""

    # How it works.

    def _box(self, url: str) -> _Box:
        box = self._boxes.get(url.removeprefix(_URL))
        if box is None:
            raise client_error("AWS.SimpleQueueService.NonExistentQueue", "GetQueueUrl")
        return box

    def _enter(self, operation: str) -> None:
        self.calls[operation] += 1
        if faults := self._faults.get(operation):
            faults.popleft()({})

    def _call(self, operation: str, latency_s: float) -> _Call:
        self._enter(operation)
        if latency_s:
            time.sleep(latency_s)
        return _Call(self._faults.get(f"{operation}!"))

    def _batch(self, operation: str, entries: Sequence[Any], act: Callable[[Any], Any]) -> Any:
        if not 1 <= len(entries) <= 10:
            raise client_error("AWS.SimpleQueueService.TooManyEntriesInBatchRequest", operation)
        with self._call(operation, self.latencies.batch):
            refuse = self._entry_faults.get(operation)
            failed = []
            for entry in entries:
                refusal = (refuse(entry) if refuse else None) or act(entry)
                if refusal is not None:
                    code, is_sender = refusal
                    failed.append({"Id": entry["Id"], "Code": code, "SenderFault": is_sender})
            refused = {entry["Id"] for entry in failed}
            done = [{"Id": entry["Id"]} for entry in entries if entry["Id"] not in refused]
            return {"Successful": done, **({"Failed": failed} if failed else {})}

    def _store(self, box: _Box, fields: Mapping[str, Any]) -> str:
        number = next(self._numbers)
        dedup_id = fields.get("MessageDeduplicationId")
        with box.changed:
            if dedup_id in box.seen_ids:
                return str(number)
            if dedup_id:
                box.seen_ids.add(dedup_id)
            stored = Stored(
                sqs_id=str(number),
                body=fields["MessageBody"],
                attributes=fields.get("MessageAttributes", {}),
                group_id=fields.get("MessageGroupId"),
                visible_at=time.monotonic() + fields.get("DelaySeconds", 0),
            )
            box.stored += 1
            self._place(box, stored)
        return stored.sqs_id

    def _place(self, box: _Box, stored: Stored) -> None:
        if stored.visible_at <= time.monotonic():
            stored.is_ready = True
            box.ready.append(stored)
            box.changed.notify()
        else:
            heapq.heappush(box.hidden, (stored.visible_at, next(self._numbers), stored))
            box.changed.notify()

    def _take(self, box: _Box, most: int, visibility_s: float) -> Iterator[Stored]:
        _surface(box)
        is_fifo = box.name.endswith(".fifo")
        busy = {s.group_id for _, _, s in box.hidden if not s.is_deleted} if is_fifo else set()
        skipped: list[Stored] = []
        taken = 0
        while box.ready and taken < most:
            stored = box.ready.popleft()
            if is_fifo and stored.group_id in busy:
                skipped.append(stored)
                busy.add(stored.group_id)
                continue
            stored.is_ready = False
            if self._redrive(box, stored):
                continue
            taken += 1
            stored.receives += 1
            box.by_handle.pop(stored.handle, None)
            stored.handle = f"{stored.sqs_id}#{stored.receives}"
            box.by_handle[stored.handle] = stored
            stored.visible_at = time.monotonic() + visibility_s
            heapq.heappush(box.hidden, (stored.visible_at, next(self._numbers), stored))
            yield stored
        box.ready.extendleft(reversed(skipped))

    def _redrive(self, box: _Box, stored: Stored) -> bool:
        if "RedrivePolicy" not in box.settings:
            return False
        policy = json.loads(box.settings["RedrivePolicy"])
        if stored.receives < int(policy["maxReceiveCount"]):
            return False
        dead = self._boxes[policy["deadLetterTargetArn"].removeprefix(_ARN)]
        box.stored -= 1
        fields = {"MessageBody": stored.body, "MessageAttributes": stored.attributes}
        self._store(dead, fields)
        return True

    def _delete(self, box: _Box, entry: Mapping[str, Any]) -> tuple[str, bool] | None:
        with box.changed:
            stored = box.by_handle.pop(entry["ReceiptHandle"], None)
            if stored is not None and not stored.is_deleted:
                stored.is_deleted = True
                box.stored -= 1
                if stored.group_id:
                    box.changed.notify()
        return None

    def _hide(self, box: _Box, entry: Mapping[str, Any]) -> tuple[str, bool] | None:
        with box.changed:
            stored = box.by_handle.get(entry["ReceiptHandle"])
            if stored is None or stored.is_deleted or stored.is_ready:
                return "ReceiptHandleIsInvalid", True
            stored.visible_at = time.monotonic() + entry["VisibilityTimeout"]
            self._place(box, stored)
        return None


class _Call:
    """Raises after a call has taken effect, if its reply is to be lost."""

    def __init__(self, faults: deque[Fault] | None) -> None:
        self._faults = faults

    def __enter__(self) -> None:
        """Begin the call."""

    def __exit__(self, *_: object) -> None:
        """Lose the reply, if a fault says so."""
        if self._faults:
            self._faults.popleft()({})


def client_error(code: str, operation: str) -> ClientError:
    """Make the error boto3 raises for an AWS error code."""
    return ClientError({"Error": {"Code": code, "Message": code}}, operation)


def _surface(box: _Box) -> None:
    """Make visible what has been hidden long enough."""
    now = time.monotonic()
    while box.hidden and box.hidden[0][0] <= now:
        at, _, stored = heapq.heappop(box.hidden)
        # A later change of visibility has put the message here again.
        if stored.is_deleted or stored.is_ready or stored.visible_at != at:
            continue
        stored.is_ready = True
        box.ready.append(stored)


def _received(stored: Stored) -> Mapping[str, Any]:
    system = {"ApproximateReceiveCount": str(stored.receives)}
    if stored.group_id:
        system["MessageGroupId"] = stored.group_id
    return {
        "MessageId": stored.sqs_id,
        "ReceiptHandle": stored.handle,
        "Body": stored.body,
        "Attributes": system,
        "MessageAttributes": stored.attributes,
    }
