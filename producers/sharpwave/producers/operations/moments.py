"""Ranges of time as readers give them."""

from datetime import datetime
from typing import Any, NamedTuple

from sharpwave.schemas.times import DAY_S, bound

#: Epoch seconds, or a datetime with a time zone.
Moment = float | datetime

#: Records carry the time their writer's clock told, and are stored when they arrive. Who reads on
#: from where it last read looks back at least this many seconds and passes over what it knows by
#: its key; a writer that was offline for longer is found by a read of its whole span.
ARRIVES_LATE_S = 900

#: Sorts after every digit and letter of a sort key.
_LAST = "~"


def epoch(moment: Moment) -> float:
    """Give a moment in epoch seconds.

    Raises:
        ValueError: a datetime without a time zone.
    """
    if not isinstance(moment, datetime):
        return moment
    if moment.tzinfo is None:
        raise ValueError(f"{moment} has no time zone; write datetime(..., tzinfo=timezone.utc)")
    return moment.timestamp()


class Range(NamedTuple):
    """A range of time in whole epoch seconds, both ends included."""

    since: int
    until: int

    @classmethod
    def of(cls, since: Moment | None, until: Moment | None) -> "Range":
        """Read the range a caller asked for; an absent end is open."""
        return cls(
            0 if since is None else max(0, int(epoch(since))),
            9_999_999_999 if until is None else int(epoch(until)),
        )

    @property
    def sort_keys(self) -> tuple[str, str, str]:
        """Give the bounds of a dated sort key, of any precision."""
        return "SK", bound(self.since), bound(self.until) + _LAST

    @property
    def timestamps(self) -> tuple[str, int, int]:
        """Give the bounds of the `timestamp` attribute."""
        return "timestamp", self.since, self.until

    def is_recent(self, now: float) -> bool:
        """Say whether the range starts within the last day."""
        return self.since >= now - DAY_S


def is_alive(item: dict[str, Any], now: float) -> bool:
    """Say whether an item's `ttl` lies ahead; DynamoDB removes items up to days after it."""
    ttl = item.get("ttl")
    return ttl is None or ttl > now
