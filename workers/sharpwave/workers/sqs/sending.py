"""Sending: what SQS is asked for a message, and many of them in as few calls as it allows."""

from __future__ import annotations

import random
import time
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from dramatiq import Message

from sharpwave.schemas.queues import batches, is_final
from sharpwave.workers.sqs.bodies import Bodies
from sharpwave.workers.sqs.errors import Unsendable, Unsent, name_of
from sharpwave.workers.sqs.metrics import Metrics
from sharpwave.workers.sqs.queues import QueueAddress, SqsClient, code_of

#: Longest DelaySeconds. Source: AWS, "Amazon SQS message quotas".
MAX_DELAY_S = 900
_PARALLEL_CALLS = 4
_ATTEMPTS = 4
_FIRST_RETRY_S = 0.05

#: A message, and the fields of a request that sends it.
Outgoing = tuple[Message[Any], Mapping[str, Any]]


def fields_of(
    message: Message[Any], queue: QueueAddress, *, bodies: Bodies, delay_ms: int | None
) -> Mapping[str, Any]:
    """Return the fields that send a message to a queue, singly or as an entry of a batch.

    Raises:
        Unsendable: SQS can never take it.
    """
    fields: dict[str, Any] = {"MessageBody": bodies.encode(message)}
    group_id = message.options.get("group_id")
    if queue.is_fifo:
        fields["MessageGroupId"] = str(group_id or message.queue_name)
        fields["MessageDeduplicationId"] = message.message_id
    elif group_id:
        fields["MessageGroupId"] = str(group_id)
    if delay_ms:
        if queue.is_fifo:
            raise Unsendable(
                f"{name_of(message)} cannot be delayed: SQS delays a FIFO queue only as a whole"
            )
        # Rounded up to the whole seconds that SQS knows: late is right, early is not.
        fields["DelaySeconds"] = delay_s = -(-delay_ms // 1000)
        if delay_s > MAX_DELAY_S:
            raise Unsendable(
                f"{name_of(message)} cannot be delayed by {delay_s} s: SQS delays by "
                f"{MAX_DELAY_S} s at most; "
                "use a scheduler, or raise Retry(delay=...) from the actor, up to 12 h"
            )
    return fields


def send_many(
    client: SqsClient,
    queue: QueueAddress,
    messages: Sequence[Message[Any]],
    *,
    bodies: Bodies,
    delay_ms: int | None,
    max_batch_bytes: int,
    metrics: Metrics,
) -> Sequence[Unsent]:
    """Send messages of one queue in batches and return those not accepted.

    Entries that SQS refuses for its own reasons are tried again.
    """
    outgoing: list[Outgoing] = []
    unsent: list[Unsent] = []
    for message in messages:
        try:
            fields = fields_of(message, queue, bodies=bodies, delay_ms=delay_ms)
        except Exception as error:
            unsent.append(Unsent(message, code_of(error), str(error)))
        else:
            outgoing.append((message, fields))
    parts = list(
        batches(outgoing, size=lambda each: len(each[1]["MessageBody"]), max_bytes=max_batch_bytes)
    )
    if queue.is_fifo:
        # One after the other, and none after a refusal: what came later would come first.
        refused: Sequence[Unsent] = ()
        for batch in parts:
            if refused:
                reason = "an earlier message of this queue was refused"
                unsent += (Unsent(message, "NotTried", reason) for message, _ in batch)
            else:
                refused = _send_batch(client, queue, batch, metrics)
                unsent += refused
    elif len(parts) == 1:
        unsent += _send_batch(client, queue, parts[0], metrics)
    elif parts:
        with ThreadPoolExecutor(min(_PARALLEL_CALLS, len(parts))) as pool:
            for refused in pool.map(lambda b: _send_batch(client, queue, b, metrics), parts):
                unsent += refused
    return unsent


def _send_batch(
    client: SqsClient, queue: QueueAddress, batch: Sequence[Outgoing], metrics: Metrics
) -> Sequence[Unsent]:
    """Send one batch, and again what SQS only put off; return what was refused for good."""
    unsent: list[Unsent] = []
    for attempt in range(_ATTEMPTS):
        if attempt:
            time.sleep(random.uniform(0, _FIRST_RETRY_S * 2**attempt))
        entries = [{"Id": str(i), **fields} for i, (_, fields) in enumerate(batch)]
        try:
            answer = client.send_message_batch(QueueUrl=queue.url, Entries=entries)
        except Exception as error:
            # The client has retried already, and only the caller knows whether twice is worse.
            metrics.add(send_calls=1)
            unsent += (Unsent(message, code_of(error), str(error)) for message, _ in batch)
            break
        failed = answer.get("Failed", ())
        metrics.add(send_calls=1, sent=len(batch) - len(failed))
        put_off: list[Outgoing] = []
        for entry in failed:
            message, _ = outgoing = batch[int(entry["Id"])]
            if is_final(entry) or attempt == _ATTEMPTS - 1:
                code, reason = entry.get("Code", "Unknown"), entry.get("Message", "")
                unsent.append(Unsent(message, code, reason))
            else:
                put_off.append(outgoing)
        if not put_off:
            break
        batch = put_off
    metrics.add(send_failures=len(unsent))
    return unsent
