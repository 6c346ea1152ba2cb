"""Hands messages to SQS until it has accepted every one of them."""

import logging
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from botocore.exceptions import BotoCoreError, ClientError

from sharpwave.schemas.queues import is_final
from sharpwave.workers.pump.errors import SendAbandoned, UnknownQueue, error_code
from sharpwave.workers.pump.pace import Backoff
from sharpwave.workers.pump.settings import SenderSettings
from sharpwave.workers.work.outgoing import WorkMessage

log = logging.getLogger(__name__)

MAX_ENTRIES = 10
# Refusals of a whole call that a smaller call, or a call without one bad message, may escape.
CONTENT_FAULTS = frozenset(
    {"BatchRequestTooLong", "InvalidMessageContents", "InvalidParameterValue"}
)

OnRefused = Callable[[WorkMessage, str, str], None]
"""Parks a message for good: (message, SQS error code, SQS error message). Called from any
thread; when it raises, the message counts as not accepted and comes again."""


class QueueUrls:
    """Looks up the URL of a logical queue once.

    Args:
        sqs: a boto3 `sqs` client.
        names: logical queue name to physical queue name.
    """

    def __init__(self, sqs: Any, names: Mapping[str, str]) -> None:
        self._sqs = sqs
        self._names = names
        self._urls: dict[str, str] = {}

    def __call__(self, queue: str) -> str:
        """URL of a queue.

        Raises:
            UnknownQueue: `names` does not have it.
            ClientError: SQS does not have it yet, or does not answer.
        """
        if queue not in self._names:
            raise UnknownQueue(queue, known=tuple(self._names))
        if queue not in self._urls:
            self._urls[queue] = self._sqs.get_queue_url(QueueName=self._names[queue])["QueueUrl"]
        return self._urls[queue]


class Sender:
    """Sends messages in batches, several at a time.

    A message that SQS refuses for what it is is handed to `on_refused`
    and counts as accepted: it would be refused for ever and hold up the rest.
    Everything else is tried again. Safe to share between threads.

    Args:
        sqs: a boto3 `sqs` client.
        queue_url: gives the URL of a logical queue; raises UnknownQueue.
        on_refused: parks a message that SQS refused.
        stop: when set, `send` stops trying again.
        settings: limits and waits.
    """

    def __init__(
        self,
        sqs: Any,
        *,
        queue_url: Callable[[str], str],
        on_refused: OnRefused,
        stop: threading.Event | None = None,
        settings: SenderSettings | None = None,
    ) -> None:
        self._sqs = sqs
        self._queue_url = queue_url
        self._on_refused = on_refused
        self._stop = stop or threading.Event()
        self._settings = settings or SenderSettings()
        self._pool = ThreadPoolExecutor(self._settings.parallel, thread_name_prefix="send")

    def send(self, messages: Sequence[WorkMessage]) -> None:
        """Return once every message is accepted, however long that takes.

        Raises:
            SendAbandoned: a stop came first; some messages may have been accepted.
        """
        unaccepted = self.try_send(messages, attempts=None)
        if unaccepted:
            raise SendAbandoned(len(unaccepted))

    def try_send(
        self, messages: Sequence[WorkMessage], *, attempts: int | None
    ) -> list[WorkMessage]:
        """Try a number of times, or until a stop with None; give what was not accepted."""
        backoff = self._backoff()
        pending = self._attempt(messages)
        tries = 1
        while pending and tries != attempts:
            if self._stop.wait(backoff.next_s()):
                break
            before, pending = len(pending), self._attempt(pending)
            tries += 1
            if len(pending) < before:
                backoff.reset()
        return pending

    def close(self) -> None:
        """End the threads that send; nothing may be sent afterwards."""
        self._pool.shutdown()

    def _backoff(self) -> Backoff:
        return Backoff(self._settings.backoff_base_s, self._settings.backoff_cap_s)

    def _attempt(self, messages: Sequence[WorkMessage]) -> list[WorkMessage]:
        batches = list(_pack(messages, max_bytes=self._settings.max_batch_bytes))
        if len(batches) < 2:
            return [left for batch in batches for left in self._send_batch(batch)]
        return [left for rest in self._pool.map(self._send_batch, batches) for left in rest]

    def _send_batch(self, batch: list[WorkMessage]) -> list[WorkMessage]:
        queue = batch[0].queue
        entries = [{"Id": str(i), "MessageBody": m.body} for i, m in enumerate(batch)]
        try:
            answer = self._sqs.send_message_batch(QueueUrl=self._queue_url(queue), Entries=entries)
        except UnknownQueue as error:
            return self._refuse_all(batch, type(error).__name__, str(error))
        except ClientError as error:
            return self._after_refused_call(batch, error)
        except BotoCoreError as error:
            log.warning("queue_unreachable", extra={"queue": queue, "error": repr(error)})
            return batch
        return self._settle(batch, answer)

    def _after_refused_call(
        self, batch: list[WorkMessage], error: ClientError
    ) -> list[WorkMessage]:
        code = error_code(error)
        if code not in CONTENT_FAULTS:
            log.warning("queue_refused_call", extra={"queue": batch[0].queue, "error": str(error)})
            return batch
        if len(batch) == 1:
            return self._refuse_all(batch, code, str(error))
        return [left for message in batch for left in self._send_batch([message])]

    def _settle(self, batch: list[WorkMessage], answer: Mapping[str, Any]) -> list[WorkMessage]:
        accepted = {entry["Id"] for entry in answer.get("Successful", [])}
        failed = {entry["Id"]: entry for entry in answer.get("Failed", [])}
        unaccepted: list[WorkMessage] = []
        for i, message in enumerate(batch):
            entry = failed.get(str(i), {})
            if is_final(entry):
                unaccepted += self._refuse_all(
                    [message], entry.get("Code", "Unknown"), entry.get("Message", "")
                )
            elif str(i) not in accepted:
                fields = {"queue": message.queue, "code": entry.get("Code", "missing")}
                log.warning("message_not_accepted", extra=fields)
                unaccepted.append(message)
        return unaccepted

    def _refuse_all(self, batch: list[WorkMessage], code: str, reason: str) -> list[WorkMessage]:
        return [message for message in batch if not self._refuse(message, code, reason)]

    def _refuse(self, message: WorkMessage, code: str, reason: str) -> bool:
        fields = {"queue": message.queue, "code": code, "reason": reason}
        try:
            self._on_refused(message, code, reason)
        except Exception:
            log.exception("refused_message_not_parked", extra=fields)
            return False
        log.error("message_refused", extra=fields)
        return True


def _pack(messages: Sequence[WorkMessage], *, max_bytes: int) -> Iterator[list[WorkMessage]]:
    """Batches of one queue each, as full as the limits allow, order kept per queue."""
    by_queue: dict[str, list[WorkMessage]] = {}
    for message in messages:
        by_queue.setdefault(message.queue, []).append(message)
    for queued in by_queue.values():
        yield from _pack_queue(queued, max_bytes=max_bytes)


def _pack_queue(messages: list[WorkMessage], *, max_bytes: int) -> Iterator[list[WorkMessage]]:
    batch: list[WorkMessage] = []
    size = 0
    for message in messages:
        body_bytes = len(message.body.encode())
        if batch and (len(batch) == MAX_ENTRIES or size + body_bytes > max_bytes):
            yield batch
            batch, size = [], 0
        batch.append(message)
        size += body_bytes
    if batch:
        yield batch
