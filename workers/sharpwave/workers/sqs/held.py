"""The messages this process holds, hidden from every other."""

from __future__ import annotations

import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

#: SQS hides a message for at most 12 h after a receive.
#: Source: AWS, "Amazon SQS visibility timeout".
MOST_HIDDEN_S = 12 * 3600


@dataclass(slots=True, eq=False)
class Held:
    """One received message and what is to become of it.

    Attributes:
        receives: how often SQS handed the message out, this time included.
        extend_at: when the heartbeat is due, on the monotonic clock.
        heartbeat_until: when the heartbeat gives up, on the monotonic clock.
        began_at: when a thread began to run it, on the monotonic clock; None while it waits.
        visibility_s: the timeout that gives the message back, once that is decided;
            from then on the heartbeat leaves it alone.
        reason: why the message goes to the dead letters, once that is decided.
        is_lost: the receipt handle is dead; somebody else may have the message.
        attempts: failed tries at the step under way.
    """

    handle: str
    body: str
    receives: int
    received_at: float
    extend_at: float
    heartbeat_until: float
    attributes: Mapping[str, Any] = field(default_factory=dict)
    sqs_id: str = ""
    group_id: str | None = None
    began_at: float | None = None
    visibility_s: int | None = None
    reason: str = ""
    is_lost: bool = False
    attempts: int = 0

    @property
    def handle_until(self) -> float:
        """Return when SQS gives the message up, whatever is done, on the monotonic clock."""
        return self.received_at + MOST_HIDDEN_S


class HeldSet:
    """Active messages take up a slot; settling ones only wait for their last SQS call.

    Worker threads, pollers, senders and the heartbeat all use it without a lock:
    each method is built from single set operations, which CPython makes atomic,
    and a message is added to its new set before it leaves the old one.
    """

    def __init__(self) -> None:
        self.active: set[Held] = set()
        self.settling: set[Held] = set()

    def admit(self, messages: Iterable[Held]) -> None:
        """Take up a slot for each message."""
        self.active.update(messages)

    def settle(self, held: Held) -> None:
        """Free the slot of a message whose fate is decided."""
        self.settling.add(held)
        self.active.discard(held)

    def forget(self, messages: Iterable[Held]) -> None:
        """Drop messages that are no longer ours."""
        self.settling.difference_update(messages)

    def everything(self) -> Sequence[Held]:
        """Return all messages held now, in no order."""
        return [*list(self.active), *list(self.settling)]

    def oldest_s(self) -> float:
        """Return the age of the message held longest, 0 when none is."""
        now = time.monotonic()
        return max((now - held.received_at for held in self.everything()), default=0.0)
