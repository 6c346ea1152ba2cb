"""Inbox queues and work queues on SQS."""

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from threading import Lock
from typing import Any

from botocore.exceptions import ClientError

from sharpwave.schemas import queues, tables
from sharpwave.workers.adapters.calls import ATTEMPTS, calling, pause
from sharpwave.workers.outgoing import Outgoing
from sharpwave.workers.ports import Post, TryAgain

#: Limits of one SendMessageBatch. Source: AWS, "Amazon SQS message quotas".
MAX_ENTRIES, MAX_BATCH_BYTES = 10, 1024 * 1024
_GONE = frozenset({"AWS.SimpleQueueService.NonExistentQueue", "QueueDoesNotExist"})


class QueueUrls:
    """Queue URLs by logical name, looked up once."""

    def __init__(self, client: Any, *, prefix: str = "") -> None:
        """Look up through a low-level `sqs` client."""
        self._client, self._prefix = client, prefix
        self._urls: dict[str, str] = {}
        self._lock = Lock()

    def find(self, name: str) -> str | None:
        """Give a queue's URL, or None if there is no such queue."""
        with self._lock:
            known = self._urls.get(name)
        if known is not None:
            return known
        try:
            with calling(f"GetQueueUrl of {name}"):
                reply = self._client.get_queue_url(QueueName=tables.physical(name, self._prefix))
        except TryAgain as error:
            if is_gone(error.__cause__):
                return None
            raise
        with self._lock:
            return self._urls.setdefault(name, str(reply["QueueUrl"]))

    def forget(self, name: str) -> None:
        """Look a queue up anew next time."""
        with self._lock:
            self._urls.pop(name, None)


class SqsInboxes:
    """`Inboxes` on SQS: one batch per queue and ten messages, several queues at a time."""

    def __init__(self, client: Any, *, urls: QueueUrls, parallel: int = 8) -> None:
        """Send through a low-level `sqs` client, to at most `parallel` queues at once."""
        self._client, self._urls = client, urls
        self._pool = ThreadPoolExecutor(parallel, thread_name_prefix="inboxes")

    def send(self, posts: Sequence[Post]) -> list[bool]:
        """Send messages; say of each whether its queue exists."""
        by_target: dict[str, list[int]] = {}
        for index, post in enumerate(posts):
            by_target.setdefault(post.target, []).append(index)
        bodies = [[posts[index].body for index in indexes] for indexes in by_target.values()]
        found = dict(zip(by_target, self._send_each(list(by_target), bodies), strict=True))
        return [found[post.target] for post in posts]

    def _send_each(self, targets: list[str], bodies: list[list[str]]) -> list[bool]:
        if len(targets) <= 1:
            return list(map(self._send_to, targets, bodies))
        return list(self._pool.map(self._send_to, targets, bodies))

    def _send_to(self, target: str, bodies: Sequence[str]) -> bool:
        name = queues.inbox(target).name
        url = self._urls.find(name)
        if url is None:
            return False
        try:
            send_all(self._client, url, bodies)
        except TryAgain as error:
            if not is_gone(error.__cause__):
                raise
            self._urls.forget(name)
            return False
        return True


class SqsWorkQueues:
    """`WorkQueues` on SQS."""

    def __init__(self, client: Any, *, urls: QueueUrls) -> None:
        """Send through a low-level `sqs` client."""
        self._client, self._urls = client, urls

    def send(self, messages: Sequence[Outgoing]) -> None:
        """Send messages; returns once every one was accepted."""
        by_queue: dict[tuple[str, int], list[str]] = {}
        for message in messages:
            by_queue.setdefault((message.queue, message.delay_s), []).append(message.body)
        for (queue, delay_s), bodies in by_queue.items():
            url = self._urls.find(queue)
            if url is None:
                raise TryAgain(f"work queue {queue} does not exist; run `sharpwave provision`")
            send_all(self._client, url, bodies, delay_s=delay_s)


def send_all(client: Any, url: str, bodies: Sequence[str], *, delay_s: int = 0) -> None:
    """Send bodies to one queue in as few batches as the limits allow.

    Raises:
        TryAgain: the queue is gone, or did not accept them all.
    """
    todo = list(bodies)
    for attempt in range(ATTEMPTS):
        failed = [
            body for batch in _batches(todo) for body in _send_batch(client, url, batch, delay_s)
        ]
        if not failed:
            return
        todo = failed
        pause(attempt)
    raise TryAgain(f"{url} refused {len(todo)} messages {ATTEMPTS} times")


def is_gone(error: BaseException | None) -> bool:
    """Say whether an error means that the queue does not exist."""
    return isinstance(error, ClientError) and error.response["Error"]["Code"] in _GONE


def _send_batch(client: Any, url: str, batch: Sequence[str], delay_s: int) -> list[str]:
    entries: list[dict[str, Any]] = [
        {"Id": str(index), "MessageBody": body} for index, body in enumerate(batch)
    ]
    for entry in entries if delay_s else ():
        entry["DelaySeconds"] = delay_s
    with calling(f"SendMessageBatch to {url}"):
        reply = client.send_message_batch(QueueUrl=url, Entries=entries)
    return [batch[int(entry["Id"])] for entry in reply.get("Failed", ())]


def _batches(bodies: Sequence[str]) -> list[list[str]]:
    batches: list[list[str]] = []
    size = 0
    for body in bodies:
        if not batches or len(batches[-1]) == MAX_ENTRIES or size + len(body) > MAX_BATCH_BYTES:
            batches.append([])
            size = 0
        batches[-1].append(body)
        size += len(body)
    return batches
