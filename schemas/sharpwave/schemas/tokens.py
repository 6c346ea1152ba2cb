"""Token buckets: the one arithmetic of agents' own limits and of the quotas of sources.

A bucket is stored, drawn from under a condition, and refilled by time. Its moment goes by the
clock of whoever is furthest ahead and never back, so that two clocks that disagree do not refill
it twice. Who has seen a bucket goes on by a watch that only goes forward: a clock that jumps ahead
fills a bucket once, and one that jumps back keeps nobody waiting longer than the rate does.
"""

import math
from dataclasses import dataclass
from typing import NamedTuple


class Bucket(NamedTuple):
    """What is stored: thousandths of a token, and epoch milliseconds up to which it is refilled."""

    tokens_milli: int
    at_ms: int


@dataclass(frozen=True)
class Rate:
    """How fast a bucket fills, in tokens a minute, and how many it holds.

    Raises:
        ValueError: one of them is not a whole number from 1 on.
    """

    per_minute: int
    burst: int

    def __post_init__(self) -> None:
        for name, given in vars(self).items():
            if not isinstance(given, int) or given < 1:
                raise ValueError(f"{name} is {given!r}; give a whole number, 1 or more")

    @property
    def lease(self) -> int:
        """Give how many tokens one process draws ahead at most: a tenth of what it holds."""
        return max(1, self.burst // 10)

    def wait_ms(self, tokens_milli: int) -> int:
        """Give the milliseconds in which so many thousandths of a token come, rounded up."""
        return math.ceil(max(0, tokens_milli) * 60 / self.per_minute)

    def refilled(self, bucket: Bucket, elapsed_ms: int) -> Bucket:
        """Give a bucket after some time; its moment moves by just what it was credited for."""
        came = elapsed_ms * self.per_minute // 60
        full = self.burst * 1000
        return Bucket(min(full, max(0, bucket.tokens_milli) + came), bucket.at_ms + elapsed_ms)


class Watched:
    """A bucket as one process knows it: never fuller in truth, for others only draw from it.

    Not safe for threads by itself. A `watch_ms` is of a clock that goes forward only, at any
    origin; a `now_ms` is of the clock on the wall.
    """

    def __init__(self, rate: Rate) -> None:
        """Know nothing yet."""
        self.rate = rate
        #: The bucket was seen with a moment that our clock does not reach: it has to be written.
        self.is_set_back = False
        self._stored: Bucket | None = None
        self._seen: tuple[Bucket, int] | None = None

    def see(self, bucket: Bucket | None, *, now_ms: int, watch_ms: int) -> None:
        """Take note of what is stored; None stands for a full one, as at its beginning."""
        # One that was only taken for full was not looked at.
        known = self._seen if self._stored is not None else None
        if known is not None and bucket == self._stored:
            # Nobody wrote it; how long it is known goes by the watch.
            return
        self._stored, self.is_set_back = bucket, False
        bucket = bucket or Bucket(self.rate.burst * 1000, now_ms)
        elapsed = now_ms - bucket.at_ms
        if known is not None:
            # Whoever wrote it did so since we last looked.
            elapsed = min(elapsed, watch_ms - known[1])
        elif -elapsed > self.rate.wait_ms(self.rate.burst * 1000):
            # A wrong clock wrote it. To wait for its moment would be to wait for ever.
            bucket, self.is_set_back = bucket._replace(at_ms=now_ms), True
        self._seen = self.rate.refilled(bucket, max(0, elapsed)), watch_ms

    def is_known(self) -> bool:
        """Say whether it was seen at all."""
        return self._seen is not None

    def standing(self, watch_ms: int) -> Bucket:
        """Give the bucket as it stands at most."""
        assert self._seen is not None, "a bucket is seen before it is drawn from"
        bucket, at = self._seen
        return self.rate.refilled(bucket, max(0, watch_ms - at))

    def drawn(self, bucket: Bucket, watch_ms: int) -> None:
        """Take note of what this process itself stored."""
        self.is_set_back, self._stored, self._seen = False, bucket, (bucket, watch_ms)
