"""Receiving what is in an agent's queues, and telling what is still to be worked.

Of an urgent delivery there are two copies, one in the inbox and one in the urgent queue. That one
is asked first while the inbox holds a backlog, and after an urgent delivery came by the inbox, to
clear its other copy away; otherwise never, so an agent without a backlog pays for nothing.
"""

import math
from collections import OrderedDict, deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

from sharpwave.producers.call import Call, Identity, Operation, log
from sharpwave.producers.errors import AccessDenied, Interrupted, QueueMissing
from sharpwave.producers.operations import storage
from sharpwave.producers.operations.registration import queue_url
from sharpwave.producers.operations.storage import Item, Moment, epoch
from sharpwave.schemas import keys, tables
from sharpwave.schemas.messages import NoticeMessage, SignalMessage, parse_message
from sharpwave.schemas.numbers import parse_json, plain_json
from sharpwave.schemas.queues import MAX_BATCH, is_final

#: Source: AWS, ReceiveMessage and ChangeMessageVisibility, limits of their parameters.
MOST_AT_ONCE, LONGEST_WAIT_S, LONGEST_VISIBILITY_S = MAX_BATCH, 20, 43_200
_REMEMBERED_NOTICES = 100
#: Receives of an answer that are left to who waits for it; the queue's redrive allows five.
_LEFT_TO_ASK = 2
#: After how long an urgent queue is looked for again, and how many urgent deliveries are known.
_LOOK_AGAIN_S, _URGENT_KNOWN = 300, 1000

OnNotice = Callable[[NoticeMessage], None]


@dataclass(eq=False)
class Lease:
    """One message as the queue gave it; while it is `held` its invisibility is renewed."""

    body: str
    receipt: str
    receive_count: int
    url: str
    visibility_timeout_s: int
    message_id: str = ""
    held: bool = True


@dataclass
class Inbox:
    """An agent's queues and what was learned from them.

    Attributes:
        url: the inbox's, once it is known.
        urgent_url: the urgent queue's, once it is known.
        lacks_urgent_until: when one that is missing, or out of reach, is looked for again.
        has_backlog: the last answer of the inbox held more than half of what was asked for.
        copies: urgent deliveries that came by the inbox and whose other copy did not.
        came_by: by which queue urgent deliveries came here first.
    """

    me: Identity
    on_notice: OnNotice | None = None
    url: str | None = None
    urgent_url: str | None = None
    lacks_urgent_until: float = 0.0
    has_backlog: bool = False
    copies: int = 0
    came_by: OrderedDict[str, str] = field(default_factory=OrderedDict)
    notices: deque[NoticeMessage] = field(default_factory=lambda: deque(maxlen=_REMEMBERED_NOTICES))


@dataclass
class Received:
    """A delivery in an agent's hands; `settled` says what became of it."""

    me: Identity
    lease: Lease
    message: SignalMessage
    settled: str | None = None

    @property
    def row(self) -> keys.Key:
        """Give the key of the row that stands for the delivery."""
        return keys.Key(self.message.row.PK, self.message.row.SK)


class Ask(NamedTuple):
    """How long to wait for how many messages."""

    wait_s: int
    at_most: int


Until = Moment | Callable[[], bool]
"""A moment, or a function that says True when it is time to stop."""


class Polling:
    """When an agent asks its queue again, and when it stops."""

    def __init__(
        self, me: Identity, *, wait_s: int, limit: int | None, until: Until | None
    ) -> None:
        """Stop after `limit` deliveries, at `until`, or at an empty answer if `wait_s` is 0.

        Raises:
            ValueError: `wait_s` is not 0 to 20.
        """
        if not 0 <= wait_s <= LONGEST_WAIT_S:
            raise ValueError(f"wait_s is {wait_s}; SQS waits 0 to {LONGEST_WAIT_S} s")
        self._me, self._wait_s = me, wait_s
        self._left = math.inf if limit is None else limit
        self._is_over = until if callable(until) else lambda: False
        self._until = math.inf if until is None or callable(until) else epoch(until)
        self._drained = False

    def next(self) -> Ask | None:
        """Say what to ask for now, or None when it is time to stop."""
        remaining_s = self._until - self._me.clock()
        if self.is_over() or (self._drained and self._wait_s == 0):
            return None
        # Rounded up, or the last fraction of a second would be spent asking without a pause.
        wait_s = min(self._wait_s, math.ceil(min(remaining_s, LONGEST_WAIT_S)))
        return Ask(wait_s, int(min(self._left, MOST_AT_ONCE)))

    def is_over(self) -> bool:
        """Say whether no further delivery shall be handed out."""
        return self._left <= 0 or self._is_over() or self._until <= self._me.clock()

    def answered(self, count: int) -> None:
        """Take note of how many messages an answer held."""
        self._drained = count == 0

    def delivered(self) -> None:
        """Take note of a delivery handed out."""
        self._left -= 1


def receive(inbox: Inbox, ask: Ask, visibility_timeout_s: int) -> Operation[list[Lease]]:
    """Receive messages, invisible to others for `visibility_timeout_s`; what is urgent first.

    Raises:
        QueueMissing: the agent has no queue.
        ValueError: the timeout is not 1 s to 12 h.
    """
    if not 1 <= visibility_timeout_s <= LONGEST_VISIBILITY_S:
        raise ValueError(
            f"visibility_timeout_s is {visibility_timeout_s}; use 1 to {LONGEST_VISIBILITY_S}"
        )
    url = inbox.url = inbox.url or (yield from queue_url(inbox.me.inbox_name))
    if inbox.has_backlog or inbox.copies:
        urgent = yield from _receive_urgent(inbox, ask.at_most, visibility_timeout_s)
        if urgent:
            return urgent
    leases = yield from _receive(url, ask, visibility_timeout_s)
    # AWS gives fewer than it was asked for where a queue holds less than a thousand messages.
    # Source: ReceiveMessage, API reference.
    inbox.has_backlog = 2 * len(leases) > ask.at_most
    return leases


def _receive_urgent(
    inbox: Inbox, at_most: int, visibility_timeout_s: int
) -> Operation[list[Lease]]:
    """Receive from the urgent queue without waiting; nothing where there is none."""
    now = inbox.me.clock()
    if now < inbox.lacks_urgent_until:
        return []
    try:
        if inbox.urgent_url is None:
            inbox.urgent_url = yield from queue_url(inbox.me.urgent_inbox_name)
        leases = yield from _receive(inbox.urgent_url, Ask(0, at_most), visibility_timeout_s)
    except (QueueMissing, AccessDenied):
        # An older deployment has no such queue, or a policy without it; all is in the inbox too.
        inbox.urgent_url, inbox.lacks_urgent_until = None, now + _LOOK_AGAIN_S
        leases = []
    inbox.copies = max(0, inbox.copies - len(leases)) if leases else 0
    return leases


def _receive(url: str, ask: Ask, visibility_timeout_s: int) -> Operation[list[Lease]]:
    params = {
        "QueueUrl": url,
        "MaxNumberOfMessages": ask.at_most,
        "WaitTimeSeconds": ask.wait_s,
        "VisibilityTimeout": visibility_timeout_s,
        # Not asked for, it is not given.
        "MessageSystemAttributeNames": ["ApproximateReceiveCount"],
    }
    reply = yield Call("sqs", "receive_message", params)
    return [
        Lease(
            body=message["Body"],
            receipt=message["ReceiptHandle"],
            receive_count=int(message.get("Attributes", {}).get("ApproximateReceiveCount", 1)),
            url=url,
            visibility_timeout_s=visibility_timeout_s,
            message_id=message.get("MessageId", ""),
        )
        for message in reply.get("Messages", [])
    ]


def admit(inbox: Inbox, lease: Lease) -> Operation[Received | None]:
    """Tell a delivery that is still to be worked; everything else is dealt with here.

    An acknowledged delivery and an unknown kind are deleted, a notice is handed on and deleted,
    and what cannot be read is left for the queue's redrive.
    """
    try:
        message = parse_message(lease.body)
    except (ValueError, RecursionError) as error:
        _leave(inbox, lease, str(error))
        return None
    if not isinstance(message, SignalMessage):
        if message is None:
            # Of a newer release, and not for this one.
            inbox.me.counters["skipped"] += 1
        else:
            inbox.notices.append(message)
            reasons = "; ".join(f"{reason.where}: {reason.message}" for reason in message.reasons)
            log.warning("notice: %s: %s", message.code, reasons)
            if inbox.on_notice is not None:
                inbox.on_notice(message)
        yield from discard(lease)
        return None
    received = Received(inbox.me, lease, message)
    if received.row.pk != keys.inbox_pk(inbox.me.agent_id):
        _leave(inbox, lease, f"its row belongs to {received.row.pk}")
        return None
    # A second copy of a message is a first receive too, and another process may have worked the
    # other one: only the row can tell.
    row = yield from storage.read(inbox.me.table(tables.SIGNALS), received.row)
    is_other_copy = message.urgent and not _is_first_copy(inbox, received)
    if is_other_copy or (row and is_acknowledged(row)):
        inbox.me.counters["deduplicated"] += 1
        yield from discard(lease)
        return None
    if message.in_reply_to in inbox.me.awaited and lease.receive_count <= _LEFT_TO_ASK:
        # Who waits for this answer reads it from its row, and the message is deleted when it comes
        # again. Should nobody have taken it by then, it is handed out like any other.
        lease.held = False
        return None
    if message.omitted:
        if row is None:
            _leave(inbox, lease, "its row, which holds the payload, is gone")
            return None
        # What was too large for the message comes back in the form that a message has.
        kept = {name: row[name] for name in message.omitted if name in row}
        received.message = message.model_copy(update=parse_json(plain_json(kept)))
    return received


def _is_first_copy(inbox: Inbox, received: Received) -> bool:
    """Say whether an urgent delivery came by this queue first.

    Its other copy can go, acknowledged or not: until then the first one is hidden in its queue, or
    comes again from there. Otherwise a delivery that failed would be handed out again at once.
    """
    url, delivery_id = received.lease.url, received.message.delivery_id
    if inbox.came_by.setdefault(delivery_id, url) != url:
        return False
    if url == inbox.url:
        inbox.copies += 1
    while len(inbox.came_by) > _URGENT_KNOWN:
        inbox.came_by.popitem(last=False)
    return True


def is_acknowledged(row: Item) -> bool:
    """Say whether the agent itself ended a delivery; what a worker gave up on is still open."""
    # A worker that gives up says FAILED without processed_at; a late success still counts.
    status = row.get("status")
    return status == "PROCESSED" or (status == "FAILED" and row.get("processed_at") is not None)


def _leave(inbox: Inbox, lease: Lease, why: str) -> None:
    # Renewed no more, it comes again until the queue's redrive takes it to the dead letters.
    lease.held = False
    inbox.me.counters["undecodable"] += 1
    log.error("undecodable in %s: %s", inbox.me.inbox_name, why[:500])


def discard(lease: Lease) -> Operation[None]:
    """Delete a message whose effect is recorded; if that fails now, its next receive does it."""
    lease.held = False
    params = {"QueueUrl": lease.url, "ReceiptHandle": lease.receipt}
    try:
        yield Call("sqs", "delete_message", params)
    except Interrupted as error:
        log.warning("message_left in %s: %s", lease.url, error)


def give_back(leases: Sequence[Lease]) -> Operation[None]:
    """Make messages visible to others at once; all of one queue."""
    for lease in leases:
        lease.held = False
    if leases:
        yield _visibility(leases, [0] * len(leases))


def extend(leases: Sequence[Lease]) -> Operation[list[Lease]]:
    """Keep messages invisible for another visibility timeout; at most 10, all of one queue.

    A message that is gone, or was held for 12 hours, is no longer held.

    Returns:
        Those that SQS did not renew now but may later.
    """
    reply = yield _visibility(leases, [lease.visibility_timeout_s for lease in leases])
    again: list[Lease] = []
    for refused in reply.get("Failed", []):
        lease = leases[int(refused["Id"])]
        if is_final(refused):
            # It is gone, or was held for 12 hours: asking again changes nothing.
            lease.held = False
        else:
            again.append(lease)
    return again


def _visibility(leases: Sequence[Lease], timeouts: Sequence[int]) -> Call:
    entries = [
        {"Id": str(number), "ReceiptHandle": lease.receipt, "VisibilityTimeout": timeout}
        for number, (lease, timeout) in enumerate(zip(leases, timeouts, strict=True))
    ]
    params = {"QueueUrl": leases[0].url, "Entries": entries}
    return Call("sqs", "change_message_visibility_batch", params)
