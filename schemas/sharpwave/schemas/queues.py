"""The queues as data: five work queues, two per agent, and a dead-letter queue for each."""

import json
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any, NamedTuple, TypeVar

from sharpwave.schemas.ids import AGENT_ID, IN_WORDS, is_agent_id
from sharpwave.schemas.times import DAY_S

T = TypeVar("T")

#: Longest queue name. Source: AWS, "Amazon SQS message quotas", queue name.
MAX_QUEUE_NAME = 80
#: Most messages in a batch of any call, and most bytes of all their bodies; same source.
MAX_BATCH, MAX_BATCH_BYTES = 10, 1024 * 1024
DLQ_SUFFIX = "_dlq"
INBOX_PREFIX = "inbox-"
#: No agent's id holds a "_", so this names no other agent's inbox.
URGENT_SUFFIX = "_urgent"
#: Codes by which SQS asks to slow down.
THROTTLES = frozenset({"OverLimit", "RequestThrottled", "Throttling", "ThrottlingException"})
#: How the codes begin by which SQS says that it cannot use a queue's key, or that nobody may.
_CLOSED = ("Kms", "KMS.", "AccessDenied")
RETENTION_S = 10 * DAY_S
DLQ_RETENTION_S = 14 * DAY_S


class Queue(NamedTuple):
    """A queue and when its messages move to its dead-letter queue."""

    name: str
    visibility_timeout_s: int
    max_receive_count: int
    retention_s: int = RETENTION_S

    @property
    def dlq(self) -> str:
        """Name the queue's dead-letter queue."""
        return self.name + DLQ_SUFFIX

    def attributes(self, dlq_arn: str) -> dict[str, str]:
        """Give the attributes of CreateQueue; `dlq_arn` is where spent messages go."""
        policy = {"deadLetterTargetArn": dlq_arn, "maxReceiveCount": self.max_receive_count}
        return {
            "VisibilityTimeout": str(self.visibility_timeout_s),
            "MessageRetentionPeriod": str(self.retention_s),
            "ReceiveMessageWaitTimeSeconds": "20",
            "RedrivePolicy": json.dumps(policy),
        }


# A requeue at shutdown raises the receive count too, so it is set to twice the wanted attempts.
WORK_QUEUES = tuple(
    Queue(name, visibility_timeout_s=60, max_receive_count=20)
    for name in ("deliver", "status", "promote", "learn", "archive")
)
WORK_QUEUE_NAMES = tuple(queue.name for queue in WORK_QUEUES)
DLQ_ATTRIBUTES = {"MessageRetentionPeriod": str(DLQ_RETENTION_S)}


def inbox(agent_id: str) -> Queue:
    """Give the queue that one agent polls.

    Raises:
        ValueError: `agent_id` cannot name an agent.
    """
    if not is_agent_id(agent_id):
        raise ValueError(f"{agent_id!r} cannot name an agent; use {IN_WORDS[AGENT_ID]}")
    return Queue(INBOX_PREFIX + agent_id, visibility_timeout_s=60, max_receive_count=5)


def urgent_inbox(agent_id: str) -> Queue:
    """Give the queue with second copies of what is urgent, which a backlog in the inbox delays.

    They are kept as long as the first ones: whichever an agent began with may be the last.

    Raises:
        ValueError: `agent_id` cannot name an agent.
    """
    usual = inbox(agent_id)
    return usual._replace(name=usual.name + URGENT_SUFFIX)


def of_agent(agent_id: str) -> tuple[Queue, Queue]:
    """Give all queues of one agent, the inbox first."""
    return inbox(agent_id), urgent_inbox(agent_id)


def owner_of_queue(name: str) -> str | None:
    """Name the agent whose queue this is, by its logical name, or None if it is no agent's."""
    agent_id = name.removeprefix(INBOX_PREFIX).removesuffix(URGENT_SUFFIX)
    return agent_id if name.startswith(INBOX_PREFIX) and is_agent_id(agent_id) else None


def batches(
    items: Iterable[T], *, size: Callable[[T], int] = lambda _: 0, max_bytes: int = MAX_BATCH_BYTES
) -> Iterator[list[T]]:
    """Cut items into as few batches as SQS takes, in order: ten each, and `max_bytes` together.

    An item larger than `max_bytes` comes alone, for SQS to refuse by itself.
    """
    batch: list[T] = []
    filled = 0
    for item in items:
        extent = size(item)
        # The limit of a call holds for all its bodies together, not for each.
        if batch and (len(batch) == MAX_BATCH or filled + extent > max_bytes):
            yield batch
            batch, filled = [], 0
        batch.append(item)
        filled += extent
    if batch:
        yield batch


def is_final(refused: Mapping[str, Any]) -> bool:
    """Say whether an entry of a batch that SQS refused would be refused at any later time too.

    What is throttled, or lies under a key that is disabled, is called the sender's fault as well,
    and is accepted as it is once that is over. Source: AWS, "SendMessage", API reference, errors.
    """
    code = str(refused.get("Code", "")).rpartition("AWS.SimpleQueueService.")[2]
    is_passing = code in THROTTLES or code.startswith(_CLOSED)
    return bool(refused.get("SenderFault")) and not is_passing
