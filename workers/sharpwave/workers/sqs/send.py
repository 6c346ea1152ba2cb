"""Sending: one message, or many in as few calls as SQS allows."""

from __future__ import annotations

import random
import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

from dramatiq import Message

from sharpwave.schemas.queues import is_final
from sharpwave.workers.sqs.body import Bodies
from sharpwave.workers.sqs.client import SqsClient, code_of
from sharpwave.workers.sqs.errors import EnqueueFailed, QueueUnavailable, Unsendable, Unsent
from sharpwave.workers.sqs.metrics import Metrics
from sharpwave.workers.sqs.portions import BATCH_BYTES, portions
from sharpwave.workers.sqs.queues import Queue, Queues

#: Longest DelaySeconds. Source: AWS, "Amazon SQS message quotas".
MAX_DELAY_S = 900
_ATTEMPTS = 4
_FIRST_RETRY_S = 0.05


@dataclass(frozen=True, slots=True)
class _Outgoing:
    message: Message[Any]
    fields: Mapping[str, Any]

    @property
    def size(self) -> int:
        return len(self.fields["MessageBody"])


class Sender:
    """Sends messages to their queues.

    Args:
        metrics_of: the counters of a queue, by name.
        max_batch_bytes: most bytes in one batch call.
        parallel: most batch calls under way in one `send_many`.
    """

    def __init__(
        self,
        client: SqsClient,
        queues: Queues,
        *,
        bodies: Bodies,
        metrics_of: Callable[[str], Metrics],
        max_batch_bytes: int = BATCH_BYTES,
        parallel: int = 4,
    ) -> None:
        self._client, self._queues, self._bodies = client, queues, bodies
        self._metrics_of = metrics_of
        self._max_batch_bytes = max_batch_bytes
        self._parallel = parallel

    def send(self, message: Message[Any], *, delay_ms: int | None) -> None:
        """Send one message.

        Raises:
            Unsendable: SQS can never take it.
            QueueUnavailable: its queue cannot be found.
            EnqueueFailed: SQS refused it, or did not answer.
        """
        queue = self._queues.get(message.queue_name)
        outgoing = self._prepare(queue, message, delay_ms)
        metrics = self._metrics_of(queue.name)
        try:
            self._client.send_message(QueueUrl=queue.url, **outgoing.fields)
        except Exception as error:
            metrics.add(send_calls=1, send_failures=1)
            raise EnqueueFailed([Unsent(message, code_of(error), str(error))]) from error
        metrics.add(send_calls=1, sent=1)

    def send_many(
        self, queue_name: str, messages: Sequence[Message[Any]], *, delay_ms: int | None
    ) -> list[Unsent]:
        """Send messages of one queue in batches and return those not accepted.

        Entries that SQS refuses for its own reasons are tried again. Batches to a
        FIFO queue follow each other and stop at the first refusal, to keep order.
        """
        try:
            queue = self._queues.get(queue_name)
        except QueueUnavailable as error:
            return [Unsent(message, "QueueUnavailable", str(error)) for message in messages]
        outgoing: list[_Outgoing] = []
        unsent: list[Unsent] = []
        for message in messages:
            try:
                outgoing.append(self._prepare(queue, message, delay_ms))
            except Exception as error:
                unsent.append(Unsent(message, code_of(error), str(error)))
        batches = list(portions(outgoing, size=lambda o: o.size, max_bytes=self._max_batch_bytes))
        send = self._send_in_order if queue.is_fifo else self._send_in_parallel
        return unsent + send(queue, batches)

    def _send_in_parallel(
        self, queue: Queue, batches: Sequence[Sequence[_Outgoing]]
    ) -> list[Unsent]:
        if len(batches) < 2:
            return [unsent for batch in batches for unsent in self._send_batch(queue, batch)]
        with ThreadPoolExecutor(min(self._parallel, len(batches))) as pool:
            answers = pool.map(lambda batch: self._send_batch(queue, batch), batches)
            return [unsent for answer in answers for unsent in answer]

    def _send_in_order(self, queue: Queue, batches: Sequence[Sequence[_Outgoing]]) -> list[Unsent]:
        unsent: list[Unsent] = []
        for batch in batches:
            if unsent:
                reason = "an earlier message of this queue was refused"
                unsent += [Unsent(outgoing.message, "NotTried", reason) for outgoing in batch]
            else:
                unsent += self._send_batch(queue, batch)
        return unsent

    def _send_batch(self, queue: Queue, batch: Sequence[_Outgoing]) -> list[Unsent]:
        unsent: list[Unsent] = []
        for attempt in range(_ATTEMPTS):
            if attempt:
                time.sleep(random.uniform(0, _FIRST_RETRY_S * 2**attempt))
            refused = self._call(queue, batch)
            final = [r for r in refused if r[2] or attempt == _ATTEMPTS - 1]
            unsent += [unsent_one for _, unsent_one, _ in final]
            batch = [outgoing for outgoing, _, is_final in refused if not is_final]
            if not batch:
                break
        self._metrics_of(queue.name).add(send_failures=len(unsent))
        return unsent

    def _call(
        self, queue: Queue, batch: Sequence[_Outgoing]
    ) -> Sequence[tuple[_Outgoing, Unsent, bool]]:
        """Send one batch; return each refused message with the reason and if it is final."""
        entries = [{"Id": str(i), **outgoing.fields} for i, outgoing in enumerate(batch)]
        try:
            answer = self._client.send_message_batch(QueueUrl=queue.url, Entries=entries)
        except Exception as error:
            # The client has retried already.
            self._metrics_of(queue.name).add(send_calls=1)
            return [(o, Unsent(o.message, code_of(error), str(error)), True) for o in batch]
        failed = answer.get("Failed", ())
        self._metrics_of(queue.name).add(send_calls=1, sent=len(batch) - len(failed))
        return [
            (
                batch[int(entry["Id"])],
                Unsent(
                    batch[int(entry["Id"])].message,
                    entry.get("Code", "Unknown"),
                    entry.get("Message", ""),
                ),
                is_final(entry),
            )
            for entry in failed
        ]

    def _prepare(self, queue: Queue, message: Message[Any], delay_ms: int | None) -> _Outgoing:
        fields: dict[str, Any] = {"MessageBody": self._bodies.encode(message)}
        group_id = message.options.get("group_id")
        if queue.is_fifo:
            fields["MessageGroupId"] = str(group_id or message.queue_name)
            fields["MessageDeduplicationId"] = message.message_id
        elif group_id:
            fields["MessageGroupId"] = str(group_id)
        if delay_ms:
            fields["DelaySeconds"] = _delay_s(queue, message, delay_ms)
        return _Outgoing(message, fields)


def _delay_s(queue: Queue, message: Message[Any], delay_ms: int) -> int:
    delay_s = -(-delay_ms // 1000)
    name = f"{message.actor_name}({message.message_id})"
    if queue.is_fifo:
        raise Unsendable(f"{name} cannot be delayed: SQS delays a FIFO queue only as a whole")
    if delay_s > MAX_DELAY_S:
        raise Unsendable(
            f"{name} cannot be delayed by {delay_s} s: SQS delays by {MAX_DELAY_S} s at most; "
            "use a scheduler, or raise Retry(delay=...) from the actor, up to 12 h"
        )
    return delay_s
