"""Inbox queues and work queues on SQS."""

import logging
from collections.abc import Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from threading import Lock
from typing import Any

from botocore.exceptions import ClientError

from sharpwave.schemas import queues, tables
from sharpwave.workers.aws.calls import ATTEMPTS, calling, pause
from sharpwave.workers.ports import CallRefused, Fate, InboxMessage, TryAgain
from sharpwave.workers.work.outgoing import WorkMessage

log = logging.getLogger(__name__)

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

    def send(self, posts: Sequence[InboxMessage]) -> list[Fate]:
        """Send messages, and say of each what became of it."""
        by_target: dict[str, list[int]] = {}
        for index, post in enumerate(posts):
            by_target.setdefault(post.target, []).append(index)
        bodies = [[posts[index].body for index in indexes] for indexes in by_target.values()]
        spread = map if len(by_target) <= 1 else self._pool.map
        fates = [Fate.FAILED] * len(posts)
        for indexes, some in zip(
            by_target.values(), spread(self._send_to, by_target, bodies), strict=True
        ):
            for index, fate in zip(indexes, some, strict=True):
                fates[index] = fate
        return fates

    def _send_to(self, target: str, bodies: Sequence[str]) -> list[Fate]:
        name = queues.inbox(target).name
        try:
            url = self._urls.find(name)
            if url is None:
                return [Fate.GONE] * len(bodies)
            refused, error = offer(self._client, url, bodies)
        except (TryAgain, CallRefused) as unanswered:
            refused, error = range(len(bodies)), unanswered
        left = Fate.FAILED
        if error is not None and is_gone(error.__cause__):
            # Its maker may make it anew, with another URL.
            self._urls.forget(name)
            left = Fate.GONE
        elif error is not None:
            log.warning("inbox_failed", extra={"target": target, "error": str(error)})
        fates = [Fate.SENT] * len(bodies)
        for index in refused:
            fates[index] = left
        return fates


class SqsWorkQueues:
    """`WorkQueues` on SQS."""

    def __init__(self, client: Any, *, urls: QueueUrls) -> None:
        """Send through a low-level `sqs` client."""
        self._client, self._urls = client, urls

    def send(self, messages: Sequence[WorkMessage]) -> None:
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
    _, error = offer(client, url, bodies, delay_s=delay_s)
    if error is not None:
        raise error


def offer(
    client: Any, url: str, bodies: Sequence[str], *, delay_s: int = 0
) -> tuple[Sequence[int], TryAgain | CallRefused | None]:
    """Send what one queue accepts; give the indexes of the rest, and what stood in the way."""
    todo: list[int] = list(range(len(bodies)))
    for attempt in range(ATTEMPTS):
        refused: list[int] = []
        batches = _batches(bodies, todo)
        for number, batch in enumerate(batches):
            try:
                refused += _send_batch(client, url, bodies, batch, delay_s)
            except (TryAgain, CallRefused) as error:
                left = [index for later in batches[number:] for index in later]
                return [*refused, *left], error
        if not refused:
            return (), None
        todo = refused
        pause(attempt)
    return todo, TryAgain(f"{url} refused {len(todo)} messages {ATTEMPTS} times")


def is_gone(error: BaseException | None) -> bool:
    """Say whether an error means that the queue does not exist."""
    return isinstance(error, ClientError) and error.response["Error"]["Code"] in _GONE


def _send_batch(
    client: Any, url: str, bodies: Sequence[str], batch: Sequence[int], delay_s: int
) -> list[int]:
    entries: list[dict[str, Any]] = [
        {"Id": str(index), "MessageBody": bodies[index]} for index in batch
    ]
    for entry in entries if delay_s else ():
        entry["DelaySeconds"] = delay_s
    with calling(f"SendMessageBatch to {url}"):
        reply = client.send_message_batch(QueueUrl=url, Entries=entries)
    return [int(entry["Id"]) for entry in reply.get("Failed", ())]


def _batches(bodies: Sequence[str], indexes: Iterable[int]) -> list[list[int]]:
    batches: list[list[int]] = []
    size = 0
    for index in indexes:
        length = len(bodies[index])
        if not batches or len(batches[-1]) == MAX_ENTRIES or size + length > MAX_BATCH_BYTES:
            batches.append([])
            size = 0
        batches[-1].append(index)
        size += length
    return batches
