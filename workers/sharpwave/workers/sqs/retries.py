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
from collections.abc import Callable
from typing import Any

from dramatiq import Broker, Message, MessageProxy
from dramatiq.errors import Retry
from dramatiq.middleware import Middleware, Shutdown

from sharpwave.workers.sqs.message import DeadLetter, RetryIn, SqsMessage

log = logging.getLogger(__name__)

#: SQS hides a message for at most 12 h, counted from its receive; a minute is kept in hand.
MAX_BACKOFF_S = 12 * 3600 - 60

RetryWhen = Callable[[int, BaseException], bool]


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

    SQS also counts a message that was received and given back at shutdown, so
    set maxReceiveCount of the redrive policy to twice the wanted attempts.

    Args:
        max_retries: receives after the first; None for no limit. Also an actor or
            message option, as are the next three (in milliseconds, like Dramatiq's).
        min_backoff: delay after the first failure, in milliseconds.
        max_backoff: longest delay, in milliseconds, at most 12 h.
        retry_when: decides instead of `max_retries`, given the number of retries so
            far and the exception.
    """

    def __init__(
        self,
        *,
        max_retries: int | None = 9,
        min_backoff: int = 1_000,
        max_backoff: int = 3_600_000,
        retry_when: RetryWhen | None = None,
    ) -> None:
        self._defaults: dict[str, Any] = {
            "max_retries": max_retries,
            "min_backoff": min_backoff,
            "max_backoff": max_backoff,
            "retry_when": retry_when,
        }

    @property
    def actor_options(self) -> set[str]:
        """Return the options that actors may set."""
        return {"throws", *self._defaults}

    def after_process_message(
        self,
        broker: Broker,
        message: Message[Any] | MessageProxy,
        *,
        result: Any = None,
        exception: BaseException | None = None,
    ) -> None:
        """Fail the message and attach the verdict, if its actor raised."""
        if exception is None or not isinstance(message, SqsMessage):
            return
        message.fail()
        message.verdict = self.judge(broker, message, exception)
        if isinstance(message.verdict, RetryIn):
            log.info(
                "retry later",
                extra={"message_id": message.message_id, "delay_s": message.verdict.delay_s},
            )

    def judge(
        self, broker: Broker, message: SqsMessage, exception: BaseException
    ) -> RetryIn | DeadLetter:
        """Say what becomes of a message that failed with an exception."""
        actor = broker.actors.get(message.actor_name)
        actor_options = actor.options if actor is not None else {}

        def option(name: str) -> Any:
            return message.options.get(name, actor_options.get(name, self._defaults.get(name)))

        throws = actor_options.get("throws")
        if throws and isinstance(exception, throws):
            return DeadLetter(f"never retried: {_text(exception)}")
        if isinstance(exception, Shutdown):
            return RetryIn(0)
        retries = message.receives - 1
        retry_when: RetryWhen | None = actor_options.get("retry_when", self._defaults["retry_when"])
        if retry_when is not None:
            if not retry_when(retries, exception):
                return DeadLetter(f"not to be retried: {_text(exception)}")
        elif (most := option("max_retries")) is not None and retries >= most:
            return DeadLetter(f"retries exceeded ({message.receives} receives): {_text(exception)}")
        if isinstance(exception, Retry) and exception.delay is not None:
            return RetryIn(exception.delay / 1000)
        min_s, max_s = option("min_backoff") / 1000, option("max_backoff") / 1000
        return RetryIn(backoff_s(message.receives, min_s=min_s, max_s=max_s))


def _text(exception: BaseException) -> str:
    return f"{type(exception).__name__}: {exception}"
