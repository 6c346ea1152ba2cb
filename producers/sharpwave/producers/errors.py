"""What can go wrong for an agent. A record that breaks its schema is `RecordRefused`, unsent.

AgentError
    Refused: asking again changes nothing
        NotRegistered
            QueueMissing
        NotConfigured, TableMissing, AccessDenied, InvalidRequest, RecordMissing, AlreadyExists
        StateConflict, OutcomeConflict, AlreadySettled, ConditionFailed, ExtraMissing
        LargeEntryLost
    Interrupted: the same call may succeed later
        Throttled, Unreachable, ServiceFailed, RateLimited
    TimedOut: what was waited for did not happen in time
        NoAnswer
"""

from collections.abc import Mapping, Sequence
from typing import Any

from sharpwave.schemas import keys
from sharpwave.schemas.faults import Fault, RecordRefused

__all__ = [
    "AccessDenied",
    "AgentError",
    "AlreadyExists",
    "AlreadySettled",
    "ConditionFailed",
    "ExtraMissing",
    "Fault",
    "Interrupted",
    "InvalidRequest",
    "LargeEntryLost",
    "NoAnswer",
    "NotConfigured",
    "NotRegistered",
    "OutcomeConflict",
    "QueueMissing",
    "RateLimited",
    "RecordMissing",
    "RecordRefused",
    "Refused",
    "ServiceFailed",
    "StateConflict",
    "TableMissing",
    "Throttled",
    "TimedOut",
    "Unreachable",
]


class AgentError(Exception):
    """The root of what this package raises."""


class Refused(AgentError):
    """The call cannot succeed as it is; asking again changes nothing."""


class Interrupted(AgentError):
    """The call may succeed later; every operation here is safe to repeat."""


class NotConfigured(Refused):
    """AWS's settings do not say where to go."""


class NotRegistered(Refused):
    """The agent is not set up on this backend."""


class QueueMissing(NotRegistered):
    """A queue does not exist."""


class TableMissing(Refused):
    """A table does not exist."""


class AccessDenied(Refused):
    """The credentials in use do not allow the call."""


class InvalidRequest(Refused):
    """The service takes the call for malformed."""


class RecordMissing(Refused):
    """The record that was to be read or changed is not there."""


class AlreadyExists(Refused):
    """Another record is stored under the same key."""


class LargeEntryLost(Refused):
    """What a memory entry points to in S3 is gone, or is not what was stored."""


class StateConflict(Refused):
    """The agent's state has version `stored`, not `expected`; 0 stands for no state."""

    def __init__(self, message: str, *, stored: int, expected: int) -> None:
        """Say what conflicts and keep both versions."""
        super().__init__(message)
        self.stored, self.expected = stored, expected


class OutcomeConflict(Refused):
    """The decision's outcome is not what the change was based on."""


class AlreadySettled(Refused):
    """The delivery was acknowledged, failed or given back before."""


class ExtraMissing(Refused):
    """An optional part of the package is not installed."""

    def __init__(self, feature: str, extra: str) -> None:
        """Name the feature and the extra that brings it."""
        super().__init__(f"{feature} is not installed; run: pip install 'sharpwave[{extra}]'")


class ConditionFailed(Refused):
    """A condition of a write did not hold.

    `item` is what a single write met, in DynamoDB's typed form (empty if nothing), and `reasons`
    the codes of a transaction, one per part.
    """

    def __init__(
        self, message: str, *, item: Mapping[str, Any] | None = None, reasons: Sequence[str] = ()
    ) -> None:
        """Say which write was refused and keep what it met."""
        super().__init__(message)
        self.item = item or {}
        self.reasons = tuple(reasons)


class Throttled(Interrupted):
    """The service asked to slow down, and went on asking."""


class Unreachable(Interrupted):
    """No answer came from the service."""


class ServiceFailed(Interrupted):
    """The service failed."""


class RateLimited(Interrupted):
    """A limit of the agent's own has no tokens left; `retry_after_s` is when it may have."""

    def __init__(self, message: str, *, retry_after_s: float) -> None:
        """Say which limit it is and keep the seconds."""
        super().__init__(message)
        self.retry_after_s = retry_after_s


class TimedOut(AgentError):
    """What was waited for did not happen in time.

    `signal` is the key of the signal that was waited on, and `statuses` what was known of its
    deliveries by then, as `Agent.signal_status` gives it.
    """

    def __init__(
        self, message: str, *, signal: keys.Key, statuses: Mapping[str, Mapping[str, Any]]
    ) -> None:
        """Say what did not happen and keep how it stood."""
        super().__init__(message)
        self.signal, self.statuses = signal, dict(statuses)


class NoAnswer(TimedOut):
    """Nobody answered in time, or it is certain that nobody will."""
