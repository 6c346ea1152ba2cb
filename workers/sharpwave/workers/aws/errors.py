"""What AWS refuses: its codes, the ports' words for them, and the wait before another attempt."""

import random
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from botocore.exceptions import BotoCoreError, ClientError

from sharpwave.workers.work.ports import CallRefused, TryAgain

#: How often a part of a batch that was throttled is asked for again before the message waits.
ATTEMPTS = 6
CONDITION_FAILED = "ConditionalCheckFailedException"
#: Codes of requests that no later attempt will make acceptable.
REQUEST_AT_FAULT = frozenset(
    {
        "ValidationException",
        "ValidationError",
        "ItemCollectionSizeLimitExceededException",
        "ItemCollectionSizeLimitExceeded",
    }
)


def code_of(error: BaseException | None) -> str:
    """Give the code by which AWS names an error; nothing for what AWS did not say.

    SQS has two for most faults, by the protocol that an SDK speaks, such as `QueueDoesNotExist`
    and `AWS.SimpleQueueService.NonExistentQueue`; emulators know either.
    """
    if not isinstance(error, ClientError):
        return ""
    return str(error.response.get("Error", {}).get("Code", ""))


def in_words_of_ports(error: ClientError | BotoCoreError, what: str) -> TryAgain | CallRefused:
    """Give the ports' error for one of botocore's, naming the call.

    Botocore retries throttling and lost connections by itself; what comes out of it is worth a
    later attempt of the whole message, unless the request itself is at fault.
    """
    kind = CallRefused if code_of(error) in REQUEST_AT_FAULT else TryAgain
    return kind(f"{what}: {error}")


@contextmanager
def calling(what: str) -> Iterator[None]:
    """Turn botocore's errors into ones of the ports, naming the call."""
    try:
        yield
    except (ClientError, BotoCoreError) as error:
        raise in_words_of_ports(error, what) from error


def full_jitter_s(
    failures: int,
    *,
    base_s: float = 0.05,
    cap_s: float = 5.0,
    uniform: Callable[[float, float], float] = random.uniform,
) -> float:
    """Give a wait below a ceiling that doubles with each failure; after the first it is `base_s`.

    From nothing up to the ceiling: waits that were only stretched would keep those who were
    refused together in step. Source: AWS Architecture Blog, "Exponential Backoff And Jitter".

    Args:
        failures: those in a row before the one that is waited for, from 0.
        base_s: the ceiling after the first failure, in seconds.
        cap_s: the greatest ceiling.
        uniform: draws between two bounds.
    """
    # A power of thousands of failures would be too large for a float.
    return uniform(0.0, min(cap_s, base_s * 2 ** min(failures, 32)))


def pause(attempt: int) -> None:
    """Wait before another attempt of the part of a batch that was throttled, from 0."""
    time.sleep(full_jitter_s(attempt))
