"""A message under way through a worker, and the verdict on it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from dramatiq import Message, MessageProxy

from sharpwave.workers.sqs.held import Held


@dataclass(frozen=True, slots=True)
class RetryIn:
    """Hide the message for a time, then let any worker have it."""

    delay_s: float


@dataclass(frozen=True, slots=True)
class DeadLetter:
    """Copy the message to the dead letters with a reason, then delete it.

    Attributes:
        is_exhausted: it was retried as often as it may be.
        is_expected: its actor says itself that it is not to be retried.
    """

    reason: str
    is_exhausted: bool = False
    is_expected: bool = False


class SqsMessage(MessageProxy):
    """A received message.

    Attributes:
        held: what SQS said about it.
        verdict: what becomes of it; None deletes it, or buries it if a middleware failed it.
    """

    def __init__(self, message: Message[Any], held: Held) -> None:
        """Copy the fields, as Dramatiq reads each many times through `__getattr__`."""
        super().__init__(message)
        self.held = held
        self.verdict: RetryIn | DeadLetter | None = None
        self.queue_name = message.queue_name
        self.actor_name = message.actor_name
        self.args = message.args
        self.kwargs = message.kwargs
        self.options = message.options
        self.message_id = message.message_id
        self.message_timestamp = message.message_timestamp
        # What Dramatiq's Retries counted before, in a body that dramatiq-sqs left.
        counted = self.options.get("retries")
        self._retries_before = max(0, counted) if isinstance(counted, int) else 0
        if self.retries:
            self.options["retries"] = self.retries

    def __eq__(self, other: object) -> bool:
        """Tell whether it is the same message, whichever attempt."""
        if isinstance(other, SqsMessage):
            return (self.queue_name, self.held.body) == (other.queue_name, other.held.body)
        return super().__eq__(other)

    @property
    def receives(self) -> int:
        """Return how often SQS has handed this message out, this time included."""
        return self.held.receives

    @property
    def retries(self) -> int:
        """Return how many attempts came before this one, as far as SQS can tell."""
        return self._retries_before + self.held.receives - 1

    @property
    def exception(self) -> BaseException | None:
        """Return what the actor raised, if anything."""
        return self._exception
