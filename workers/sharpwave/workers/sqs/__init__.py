"""A Dramatiq broker on Amazon SQS: batched, parallel, and safe against loss.

    broker = SQSBroker(queue_prefix="prod")
    dramatiq.set_broker(broker)

Receives run in parallel long polls, acknowledgements and sends in batches of ten,
and a lease keeps what is held hidden. Failed messages are retried in place by
their visibility, undeliverable ones go to `<queue>_dlq` with the reason.
"""

from importlib.util import find_spec

if find_spec("dramatiq") is None:
    raise ModuleNotFoundError(
        "the broker needs dramatiq; run: pip install 'sharpwave[workers]'", name="dramatiq"
    )

from sharpwave.workers.sqs.bodies import ClaimStore
from sharpwave.workers.sqs.broker import DieWithMaster, SQSBroker, default_middlewares
from sharpwave.workers.sqs.errors import (
    ClaimMissing,
    EnqueueFailed,
    MiddlewareRefused,
    Poison,
    QueueMissing,
    QueueUnavailable,
    RedriveMissing,
    SqsBrokerError,
    UnknownActor,
    Unsendable,
    Unsent,
)
from sharpwave.workers.sqs.metrics import Counts, Snapshot
from sharpwave.workers.sqs.queues import SqsClient, default_client
from sharpwave.workers.sqs.retries import VisibilityRetries

__all__ = [
    "ClaimMissing",
    "ClaimStore",
    "Counts",
    "DieWithMaster",
    "EnqueueFailed",
    "MiddlewareRefused",
    "Poison",
    "QueueMissing",
    "QueueUnavailable",
    "RedriveMissing",
    "SQSBroker",
    "Snapshot",
    "SqsBrokerError",
    "SqsClient",
    "UnknownActor",
    "Unsendable",
    "Unsent",
    "VisibilityRetries",
    "default_client",
    "default_middlewares",
]
