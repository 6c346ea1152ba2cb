"""The batch calls that end a message: delete it, give it back, bury it.

Each answers with the refusals only, entry by entry, and never raises: a batch
call that fails as a whole refuses every entry.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from sharpwave.schemas.queues import is_final
from sharpwave.workers.sqs.client import SqsClient, code_of
from sharpwave.workers.sqs.held import Held
from sharpwave.workers.sqs.lane import Refusal
from sharpwave.workers.sqs.portions import portions
from sharpwave.workers.sqs.queues import Queue

log = logging.getLogger(__name__)

_REASON_BYTES = 1024
_LABEL_BYTES = 2048
# SQS takes ten attributes; three are ours.
_KEPT_ATTRIBUTES = 7


def delete(client: SqsClient, queue: Queue, batch: Sequence[Held]) -> Sequence[Refusal]:
    """Delete up to ten messages."""
    entries = [{"Id": str(i), "ReceiptHandle": held.handle} for i, held in enumerate(batch)]
    return _attempt(client.delete_message_batch, queue.url, entries, batch)


def change_visibility(client: SqsClient, queue: Queue, batch: Sequence[Held]) -> Sequence[Refusal]:
    """Give up to ten messages back, each after its `visibility_s`."""
    return _hide(client, queue, batch, [held.visibility_s or 0 for held in batch])


def extend(
    client: SqsClient, queue: Queue, batch: Sequence[Held], visibility_s: int
) -> Sequence[Refusal]:
    """Keep up to ten messages hidden for another `visibility_s`, or for what is left of 12 h."""
    now = time.monotonic()
    timeouts = [max(0, min(visibility_s, int(held.handle_until - now))) for held in batch]
    return _hide(client, queue, batch, timeouts)


def bury(
    client: SqsClient, queue: Queue, dead_letters: Queue, batch: Sequence[Held]
) -> Sequence[Refusal]:
    """Copy up to ten messages, as received, to the dead letters with the reason."""
    refusals: list[Refusal] = []
    for portion in portions(batch, size=lambda held: len(held.body.encode()) + _LABEL_BYTES):
        entries = _burials(queue, dead_letters, portion)
        refusals += _attempt(client.send_message_batch, dead_letters.url, entries, portion)
    return refusals


def _burials(queue: Queue, dead_letters: Queue, batch: Sequence[Held]) -> Sequence[Any]:
    return [
        {
            "Id": str(i),
            "MessageBody": held.body,
            "MessageAttributes": _labels(held, queue),
            **_fifo_fields(held, dead_letters),
        }
        for i, held in enumerate(batch)
    ]


def _hide(
    client: SqsClient, queue: Queue, batch: Sequence[Held], timeouts: Sequence[int]
) -> Sequence[Refusal]:
    entries = [
        {"Id": str(i), "ReceiptHandle": held.handle, "VisibilityTimeout": timeout_s}
        for i, (held, timeout_s) in enumerate(zip(batch, timeouts, strict=True))
    ]
    return _attempt(client.change_message_visibility_batch, queue.url, entries, batch)


def _labels(held: Held, queue: Queue) -> Mapping[str, Any]:
    kept = {
        name: {k: v for k, v in value.items() if k in ("DataType", "StringValue", "BinaryValue")}
        for name, value in list(held.attributes.items())[:_KEPT_ATTRIBUTES]
    }
    return kept | {
        "dead_letter_reason": _text(held.reason),
        "dead_letter_queue": _text(queue.name),
        "dead_letter_receives": {"DataType": "Number", "StringValue": str(held.receives)},
    }


def _text(value: str) -> Mapping[str, str]:
    legal = "".join(c if c.isprintable() and c <= "\uffef" else " " for c in value)
    cut = legal.encode()[:_REASON_BYTES].decode(errors="ignore")
    return {"DataType": "String", "StringValue": cut or "unknown"}


def _fifo_fields(held: Held, dead_letters: Queue) -> Mapping[str, str]:
    if dead_letters.is_fifo:
        return {
            "MessageGroupId": held.group_id or "dead",
            "MessageDeduplicationId": held.sqs_id,
        }
    return {"MessageGroupId": held.group_id} if held.group_id else {}


def _attempt(
    call: Callable[..., Any], url: str, entries: Sequence[Any], batch: Sequence[Held]
) -> Sequence[Refusal]:
    try:
        answer = call(QueueUrl=url, Entries=entries)
    except Exception as error:
        log.warning("sqs call failed", extra={"url": url, "error": str(error)})
        return [Refusal(held, code_of(error), is_final=False) for held in batch]
    return [
        Refusal(batch[int(failed["Id"])], failed.get("Code", "Unknown"), is_final(failed))
        for failed in answer.get("Failed", ())
    ]
