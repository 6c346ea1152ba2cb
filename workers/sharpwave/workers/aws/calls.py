"""What every adapter shares: slices, pauses, and botocore's errors in the handlers' words."""

import random
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import TypeVar

from botocore.exceptions import BotoCoreError, ClientError

from sharpwave.workers.ports import CallRefused, TryAgain

T = TypeVar("T")

#: How often a part of a batch that was throttled is asked for again before the message waits.
ATTEMPTS = 6
#: Codes of requests that no later attempt will make acceptable.
REQUEST_AT_FAULT = frozenset(
    {
        "ValidationException",
        "ValidationError",
        "ItemCollectionSizeLimitExceededException",
        "ItemCollectionSizeLimitExceeded",
    }
)


def slices(items: Sequence[T], size: int) -> Iterator[Sequence[T]]:
    """Split a sequence into runs of at most `size`."""
    for start in range(0, len(items), size):
        yield items[start : start + size]


def pause(attempt: int) -> None:
    """Wait before another attempt: full jitter up to 50 ms doubled at each."""
    time.sleep(random.uniform(0, 0.05 * 2**attempt))


@contextmanager
def calling(what: str) -> Iterator[None]:
    """Turn botocore's errors into ones of the ports, naming the call.

    Botocore retries throttling and lost connections by itself; what reaches this is worth a
    later attempt of the whole message, unless the request itself is at fault.
    """
    try:
        yield
    except ClientError as error:
        at_fault = error.response["Error"]["Code"] in REQUEST_AT_FAULT
        raise (CallRefused if at_fault else TryAgain)(f"{what}: {error}") from error
    except BotoCoreError as error:
        raise TryAgain(f"{what}: {error}") from error
