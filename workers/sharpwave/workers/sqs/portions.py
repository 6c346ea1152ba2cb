"""Cuts entries into batches that SQS accepts."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import TypeVar

T = TypeVar("T")

#: Most entries in a batch, and most bytes in all of them together.
#: Source: AWS, "Amazon SQS message quotas".
BATCH = 10
BATCH_BYTES = 1_048_576


def portions(
    items: Iterable[T], *, size: Callable[[T], int], max_bytes: int = BATCH_BYTES
) -> Iterator[Sequence[T]]:
    """Yield the items in order, at most ten and `max_bytes` at a time.

    An item larger than `max_bytes` comes alone, for SQS to refuse by itself.
    """
    portion: list[T] = []
    filled = 0
    for item in items:
        needed = size(item)
        if portion and (len(portion) == BATCH or filled + needed > max_bytes):
            yield portion
            portion, filled = [], 0
        portion.append(item)
        filled += needed
    if portion:
        yield portion
