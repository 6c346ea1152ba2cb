"""The life of a delivery: statuses only move up in rank, and each end has a reason."""

from collections.abc import Mapping
from typing import Any, Literal, get_args

Status = Literal["PENDING", "DELIVERED", "EXPIRED", "FAILED", "PROCESSED"]
Reason = Literal[
    "unknown_target",
    "not_accepted",
    "quota",
    "unacknowledged",
    "expired_before_delivery",
    "dead_lettered",
    "agent_removed",
]

#: A late success outranks a failure and an expiry, so work that was done is never called undone.
RANK: dict[str, int] = {status: rank for rank, status in enumerate(get_args(Status))}
TERMINAL = frozenset({"EXPIRED", "FAILED", "PROCESSED"})
#: What an agent may set on its own row.
ACKNOWLEDGED = frozenset({"PROCESSED", "FAILED"})


def outranks(new: object, old: object) -> bool:
    """Say whether `new` is a status that may replace `old`; nonsense never may."""
    return RANK.get(str(new), -1) > RANK.get(str(old), -1)


def is_begun(item: Mapping[str, Any]) -> bool:
    """Say whether a delivery began a mirror in an item, listing its audience.

    One that was only touched has a version alone; a map without one is no worker's.
    """
    return "status_v" in item and isinstance(item.get("processing_status"), dict)
