"""Time rules: epoch seconds in UTC are the authority, ISO 8601 is how they are written."""

import re
import time
from collections.abc import Callable, Mapping
from datetime import UTC, date, datetime
from types import MappingProxyType

#: A record may claim to be at most this far ahead of the moment it was stored.
MAX_AHEAD_S = 300
#: `iso_timestamp` and `timestamp` may differ by at most this much.
MAX_DRIFT_S = 1
DAY_S = 86_400
#: The event time of a decision may lie this far ahead of its `timestamp`; see `EventAhead`.
EVENT_AHEAD_S = DAY_S

EventAhead = Mapping[str, int]
"""Decision types whose event time may lie further ahead, or less far, each with the seconds."""

AS_A_RULE: EventAhead = MappingProxyType({})

Clock = Callable[[], float]

_ISO = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d{1,9})?Z")
_DAY = re.compile(r"\d{4}-\d\d-\d\d")
_DAY_LENGTH = len("2008-10-10")


def now() -> float:
    """Give the time in epoch seconds."""
    return time.time()


def is_iso(text: str) -> bool:
    """Say whether `text` is a valid UTC time such as 2025-10-18T14:30:00Z or ...00.123Z."""
    if _ISO.fullmatch(text) is None:
        return False
    try:
        datetime.fromisoformat(text)
    except ValueError:
        return False
    return True


def iso_ms(epoch_s: float) -> str:
    """Write epoch seconds as UTC with exactly milliseconds: 2025-10-18T14:30:00.000Z."""
    whole, ms = divmod(round(epoch_s * 1000), 1000)
    return f"{datetime.fromtimestamp(whole, UTC):%Y-%m-%dT%H:%M:%S}.{ms:03d}Z"


def iso_ms_of(iso: str) -> str:
    """Rewrite a UTC time of any precision with exactly milliseconds."""
    head, _, fraction = iso.removesuffix("Z").partition(".")
    return f"{head}.{fraction[:3]:0<3}Z"


def epoch_of(iso: str) -> float:
    """Read a UTC time as epoch seconds.

    Raises:
        ValueError: `iso` is not a UTC time.
    """
    return datetime.fromisoformat(iso).replace(tzinfo=UTC).timestamp()


def bound(epoch_s: float) -> str:
    """Write a query bound on a sort key, to the second, without fraction or `Z`.

    `.` sorts before `Z`, so a bound with either would miss records of the other precision.
    """
    return f"{datetime.fromtimestamp(int(epoch_s), UTC):%Y-%m-%dT%H:%M:%S}"


def is_day(text: str) -> bool:
    """Say whether `text` is a day such as 2008-10-10; in any other form it would have two names."""
    if _DAY.fullmatch(text) is None:
        return False
    try:
        date.fromisoformat(text)
    except ValueError:
        return False
    return True


def is_event_time(text: str) -> bool:
    """Say whether `text` is a domain time: a UTC time, or a day such as 2008-10-10."""
    return is_iso(text) or is_day(text)


def event_begin(text: str) -> float:
    """Give the epoch second at which a domain time begins; a day begins at midnight."""
    return epoch_of(text if len(text) > _DAY_LENGTH else f"{text}T00:00:00Z")


def is_far_ahead(event_time: str, timestamp: int, decision_type: str, ahead: EventAhead) -> bool:
    """Say whether a decision's event time lies further ahead of the decision than is allowed.

    It is judged by the decision's own `timestamp`, which is bounded by when it was stored: so
    whoever judges a decision again, whenever, comes to the same verdict.
    """
    return event_begin(event_time) > timestamp + ahead.get(decision_type, EVENT_AHEAD_S)


def day_and_hour(timestamp: int, event_time: str | None) -> tuple[str, int]:
    """Give the day and hour a record belongs to: by domain time if it has one, else by its own."""
    text = event_time or iso_ms(timestamp)
    return text[:_DAY_LENGTH], int(text[11:13]) if len(text) > _DAY_LENGTH else 0
