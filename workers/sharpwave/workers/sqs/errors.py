"""What can go wrong in the SQS broker.

SqsBrokerError
├── QueueUnavailable     a queue cannot be reached (also Dramatiq's connection error)
│   └── QueueMissing     SQS says that there is none of that name (also Dramatiq's QueueNotFound)
├── RedriveMissing       a queue has no dead-letter policy
├── MiddlewareRefused    a middleware would lose messages on this broker
├── Unsendable           a message that SQS can never take: too large, too late, no group
├── EnqueueFailed        some messages were not accepted; it names each of them
├── Poison               a received body that no worker can ever run
├── UnknownActor         a received message for an actor that this worker does not have
└── ClaimMissing         a claimed body is gone from its store
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from dramatiq import Message
from dramatiq.errors import ActorNotFound, BrokerConnectionError, BrokerError, QueueNotFound


class SqsBrokerError(BrokerError):
    """Root of every error of this package."""

    def __init__(self, text: str) -> None:
        super().__init__(text)  # type: ignore[no-untyped-call]


class QueueUnavailable(SqsBrokerError, BrokerConnectionError):
    """A queue does not exist, or SQS did not answer for it."""

    # A connection error to Dramatiq: its consumer threads wait and try again, and do not die.
    def __init__(self, queue_name: str, reason: str) -> None:
        super().__init__(
            f"queue {queue_name!r} is unavailable: {reason}; "
            "provision it first, and check the prefix, the region and the endpoint"
        )
        self.queue_name = queue_name
        self.reason = reason


class QueueMissing(QueueUnavailable, QueueNotFound):
    """SQS knows no queue of that name."""


class RedriveMissing(SqsBrokerError):
    """A queue would keep a message that kills its worker for ever."""

    def __init__(self, queue_name: str) -> None:
        super().__init__(
            f"queue {queue_name!r} has no RedrivePolicy: a message that kills its worker "
            "returns until retention ends; set deadLetterTargetArn and maxReceiveCount"
        )
        self.queue_name = queue_name


class MiddlewareRefused(SqsBrokerError):
    """A middleware that re-enqueues failed messages cannot be used here."""


class Unsendable(SqsBrokerError):
    """SQS can never accept this message as it stands."""


@dataclass(frozen=True, slots=True)
class Unsent:
    """One message that was not accepted, with SQS's code and text."""

    message: Message[Any]
    code: str
    reason: str


class EnqueueFailed(SqsBrokerError):
    """Some messages were not accepted; those in `sent` were.

    Attributes:
        failed: the refused messages, each with a code and a reason.
        sent: the accepted messages; do not send them again.
    """

    def __init__(self, failed: Sequence[Unsent], sent: Sequence[Message[Any]] = ()) -> None:
        named = ", ".join(f"{name_of(f.message)}: {f.code}: {f.reason}" for f in failed[:5])
        more = f" and {len(failed) - 5} more" if len(failed) > 5 else ""
        super().__init__(
            f"{len(failed)} of {len(failed) + len(sent)} messages were not enqueued: "
            f"{named}{more}; enqueue only those in `failed` again"
        )
        self.failed = tuple(failed)
        self.sent = tuple(sent)


class Poison(SqsBrokerError):
    """A body that no worker can ever run; it belongs in the dead-letter queue."""


class UnknownActor(SqsBrokerError, ActorNotFound):
    """A message names an actor that this worker does not have; another, newer one may."""

    def __init__(self, actor_name: str) -> None:
        super().__init__(f"no actor {actor_name!r} in this worker")
        self.actor_name = actor_name


class ClaimMissing(SqsBrokerError):
    """The store holds nothing under a claimed reference, and never will."""


def name_of(message: Message[Any]) -> str:
    """Name a message as errors do: its actor and its id."""
    return f"{message.actor_name}({message.message_id})"
