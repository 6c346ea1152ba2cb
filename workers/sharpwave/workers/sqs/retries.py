"""Retries without a second message.

Dramatiq's own Retries middleware enqueues a copy and acknowledges the original:
two calls that are not atomic, at most 15 minutes apart on SQS, and a copy that
cannot be sent is a message lost. Here a failed message stays where it is and
only becomes visible later; SQS counts the receives and its redrive policy has
the last word, even over a message that kills its worker.
"""

from __future__ import annotations

import logging
import random
import time
import traceback
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from dramatiq import Broker, Message, MessageProxy
from dramatiq.errors import Retry
from dramatiq.middleware import Middleware, MiddlewareError, Shutdown

from sharpwave.workers.sqs.holding import MOST_HIDDEN_S, Received

log = logging.getLogger(__name__)

#: The 12 h count from the receive; a minute is kept in hand for the calls that remain.
MAX_BACKOFF_S = MOST_HIDDEN_S - 60
_MAX_RETRIES = 9
_MIN_BACKOFF_MS = 1_000
_MAX_BACKOFF_MS = 3_600_000

RetryWhen = Callable[[int, BaseException], bool]


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
        received: what SQS said about it.
        verdict: what becomes of it; None deletes it, or buries it if a middleware failed it.
    """

    def __init__(self, message: Message[Any], received: Received) -> None:
        super().__init__(message)
        self.received = received
        self.verdict: RetryIn | DeadLetter | None = None
        # Copied, as Dramatiq reads each many times, through `__getattr__` otherwise.
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
            return (self.queue_name, self.received.body) == (other.queue_name, other.received.body)
        return super().__eq__(other)

    @property
    def receives(self) -> int:
        """Return how often SQS handed it out, this time included."""
        return self.received.receives

    @property
    def retries(self) -> int:
        """Return how many attempts came before this one, as far as SQS can tell."""
        return self._retries_before + self.receives - 1

    @property
    def exception(self) -> BaseException | None:
        """Return what the actor raised, if anything."""
        return self._exception


def backoff_s(receives: int, *, min_s: float, max_s: float = MAX_BACKOFF_S) -> float:
    """Return a delay that doubles with each receive, with half of it random.

    Args:
        receives: 1 for the first receive.
        min_s: longest delay after the first receive, in seconds.
        max_s: longest delay ever, in seconds.
    """
    most_s = min(max_s, MAX_BACKOFF_S, min_s * 2.0 ** min(receives - 1, 32))
    return random.uniform(most_s / 2, most_s)


class VisibilityRetries(Middleware):
    """Decides what becomes of a failed message.

    An exception in `throws`, or the last of the attempts, sends it to the dead
    letters with the reason. `dramatiq.errors.Retry(delay=...)` is honoured, and
    an actor interrupted by shutdown gives its message back at once.

    To the rest of Dramatiq a retry is what it is with its own Retries: the message
    is not failed, `retries` among its options counts the attempts, and the hooks of
    an enqueue are called with the delay, although nothing is sent. Only the last
    attempt is a nack.

    SQS also counts a message that was received and given back without a run, so
    set maxReceiveCount of the redrive policy to twice the wanted attempts.

    Args:
        max_retries: receives after the first; None for no limit. Also an actor or
            message option, as are the next three (in milliseconds, like Dramatiq's).
        min_backoff: delay after the first failure, in milliseconds; SQS counts whole
            seconds, so any but 0 is rounded up.
        max_backoff: longest delay, in milliseconds, at most 12 h.
        retry_when: decides instead of `max_retries`, given the number of retries so
            far and the exception.
        on_retry_exhausted: only an actor or message option: the actor that is sent
            the message and `{"retries": ..., "max_retries": ...}` after the last attempt.

    Raises:
        ValueError: a number is negative.
    """

    def __init__(
        self,
        *,
        max_retries: int | None = _MAX_RETRIES,
        min_backoff: int | None = None,
        max_backoff: int | None = None,
        retry_when: RetryWhen | None = None,
    ) -> None:
        self._defaults: dict[str, Any] = {
            "max_retries": max_retries,
            "min_backoff": _MIN_BACKOFF_MS if min_backoff is None else min_backoff,
            "max_backoff": _MAX_BACKOFF_MS if max_backoff is None else max_backoff,
            "retry_when": retry_when,
        }
        for name in ("max_retries", "min_backoff", "max_backoff"):
            if (value := self._defaults[name]) is not None and value < 0:
                raise ValueError(f"{name} is {value!r}; it must be 0 or more")

    @property
    def actor_options(self) -> set[str]:
        """Return the options that actors may set."""
        return {"throws", "on_retry_exhausted", *self._defaults}

    def after_process_message(
        self,
        broker: Broker,
        message: Message[Any] | MessageProxy,
        *,
        result: Any = None,
        exception: BaseException | None = None,
    ) -> None:
        """Decide what becomes of the message, if its actor raised."""
        if exception is not None and isinstance(message, SqsMessage):
            self.fail(broker, message, exception)

    def fail(self, broker: Broker, message: SqsMessage, exception: BaseException) -> None:
        """Attach the verdict to a message that failed with an exception, and tell who listens."""
        verdict = self.judge(broker, message, exception)
        # What a shutdown cut short counts here as well: to SQS it was received once more.
        if isinstance(verdict, RetryIn) or verdict.is_exhausted:
            message.options["retries"] = message.retries + 1
        message.options["traceback"] = traceback.format_exc(limit=30)
        message.options["requeue_timestamp"] = int(time.time() * 1000)
        if isinstance(verdict, DeadLetter):
            # To Dramatiq only this is a failure: the message is rejected, not acknowledged.
            message.fail()
            message.verdict = verdict
            if not verdict.is_exhausted:
                return
            options = {**self._defaults, **_options_of(broker, message)}
            target = message.options.get("on_retry_exhausted") or options.get("on_retry_exhausted")
            if not target:
                return
            most = message.options.get("max_retries", options["max_retries"])
            numbers = {"retries": message.retries, "max_retries": most}
            try:
                broker.get_actor(target).send(message.asdict(), numbers)
            except Exception as error:
                # Another attempt would be one too many, so the dead letter says it.
                log.critical("on_retry_exhausted not sent", extra={"actor": target}, exc_info=True)
                reason = f"{verdict.reason}; {target} was not told: {_text(error)}"
                message.verdict = DeadLetter(reason)
            return
        message.verdict = verdict
        log.info(
            "retry later", extra={"message_id": message.message_id, "delay_s": verdict.delay_s}
        )
        # As if a copy were enqueued: what counts retries or traces messages listens to that.
        delay_ms = round(verdict.delay_s * 1000)
        try:
            broker.emit_before("enqueue", message, delay_ms)
            broker.emit_after("enqueue", message, delay_ms)
        except MiddlewareError:
            log.warning("a retry is not skipped", extra={"message_id": message.message_id})

    def judge(
        self, broker: Broker, message: SqsMessage, exception: BaseException
    ) -> RetryIn | DeadLetter:
        """Say what becomes of a message that failed with an exception."""
        try:
            return self._judge(broker, message, exception)
        except Exception as error:
            # Options that cannot be read, or a predicate that raises: nobody said that the message
            # is dead, so it is kept, but not for ever.
            log.error("not judged", extra={"message_id": message.message_id, "error": _text(error)})
            if message.retries >= (self._defaults["max_retries"] or _MAX_RETRIES):
                return DeadLetter(f"its options cannot be used: {_text(exception)}")
            return RetryIn(backoff_s(message.received.receives, min_s=1))

    def _judge(
        self, broker: Broker, message: SqsMessage, exception: BaseException
    ) -> RetryIn | DeadLetter:
        actor_options = _options_of(broker, message)

        def option(name: str) -> Any:
            return message.options.get(name, actor_options.get(name, self._defaults.get(name)))

        throws = message.options.get("throws") or actor_options.get("throws")
        if throws and isinstance(exception, throws):
            return DeadLetter(f"never retried: {_text(exception)}", is_expected=True)
        if isinstance(exception, Shutdown):
            return RetryIn(0)
        retries = message.retries
        # Never the message's: a function does not come in a body.
        retry_when: RetryWhen | None = actor_options.get("retry_when", self._defaults["retry_when"])
        if retry_when is not None:
            if not retry_when(retries, exception):
                return DeadLetter(f"not to be retried: {_text(exception)}", is_exhausted=True)
        elif (most := option("max_retries")) is not None and retries >= most:
            receives = message.received.receives
            reason = f"retries exceeded ({receives} receives): {_text(exception)}"
            return DeadLetter(reason, is_exhausted=True)
        if isinstance(exception, Retry) and exception.delay is not None:
            return RetryIn(exception.delay / 1000)
        min_s, max_s = option("min_backoff") / 1000, option("max_backoff") / 1000
        return RetryIn(backoff_s(retries + 1, min_s=min_s, max_s=max_s))


def _text(exception: BaseException) -> str:
    return f"{type(exception).__name__}: {exception}"


def _options_of(broker: Broker, message: SqsMessage) -> dict[str, Any]:
    actor = broker.actors.get(message.actor_name)
    return actor.options if actor is not None else {}
