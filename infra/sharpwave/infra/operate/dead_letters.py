"""Messages that could not be handled: looked at, sent back to where they failed, or discarded.

SQS's own move task exists neither in the emulators nor for a part of a queue, so messages are
received, sent and then deleted. A crash in between sends one again; handlers and inbox clients
absorb that.
"""

import re
import time
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass

from sharpwave.infra.connection import Deployment
from sharpwave.infra.errors import Misused, Rejected
from sharpwave.infra.mailbox import Mailbox, Received, attributes_of, inbox_names
from sharpwave.schemas.queues import DLQ_SUFFIX, INBOX_PREFIX, WORK_QUEUE_NAMES, owner_of_queue

PEEK_HOLD_S = 30
#: Longer than a look: what is passed over must not come again within one pass over the queue.
_PASS_HOLD_S = 120
_LABELS = ("dead_letter_reason", "dead_letter_queue", "dead_letter_receives")
_VARIABLE = re.compile(
    r"(?<![\w.-])(?!base64\b)[A-Za-z0-9_.-]*\d[A-Za-z0-9_.-]*|'[^']*'|\"[^\"]*\""
)


@dataclass(frozen=True, kw_only=True)
class Group:
    """Dead letters of one queue with one kind of error."""

    queue: str
    error: str
    count: int
    oldest_sent_at: float
    example_id: str


@dataclass(frozen=True, kw_only=True)
class Choice:
    """Which dead letters are meant; without any limit all of them are."""

    ids: frozenset[str] = frozenset()
    error: str | None = None
    limit: int | None = None

    def holds(self, message: Received) -> bool:
        """Say whether a message is meant; `error` is looked for in its reason."""
        if self.ids and message.message_id not in self.ids:
            return False
        return self.error is None or self.error.lower() in reason_of(message).lower()


def queue_of(name: str) -> str:
    """Give the queue whose dead letters are meant by its own name or its dead-letter queue's.

    Raises:
        Misused: no queue has such a name.
    """
    queue = name.removesuffix(DLQ_SUFFIX)
    if queue in WORK_QUEUE_NAMES or owner_of_queue(queue) is not None:
        return queue
    known = ", ".join(WORK_QUEUE_NAMES)
    inboxes = "inbox-<agent_id> and inbox-<agent_id>_urgent"
    raise Misused(f"{name!r} is no queue; there are {known}, {inboxes}")


def list_groups(deployment: Deployment, *, limit: int = 1000) -> list[Group]:
    """Group the dead letters of every queue by error; reads at most `limit` of each queue."""
    return [
        group
        for name in [*WORK_QUEUE_NAMES, *inbox_names(deployment)]
        if attributes_of(deployment, name + DLQ_SUFFIX)
        for group in group_by_error(name, peek(deployment, name, limit=limit))
    ]


def peek(deployment: Deployment, queue: str, *, limit: int = 100) -> list[Received]:
    """Read dead letters and give them back at once; their receive count rises, nothing else.

    Args:
        deployment: where.
        queue: the queue they failed in.
        limit: most messages read.
    """
    box = Mailbox(deployment, queue + DLQ_SUFFIX)
    # Asked first, so that an empty queue answers at once and not after a long poll.
    found = min(limit, box.depth().ready)
    held: list[Received] = []
    # Held until all are read, or the first ones would come again before the last.
    try:
        for batch in box.drain(limit=found, hold_s=PEEK_HOLD_S):
            held += batch
    finally:
        box.release(held)
    return held


def redrive(
    deployment: Deployment,
    queue: str,
    choice: Choice,
    *,
    max_per_second: float | None = None,
    sleep: Callable[[float], None] = time.sleep,
) -> int:
    """Send dead letters back to the queue they failed in; gives their number.

    Bodies and attributes stay as they are, without the labels of the dead-letter queue. Those
    which die again meanwhile are left for the next call.

    Raises:
        Rejected: the queue does not take them all back; those it took are gone from here.
    """
    target = Mailbox(deployment, queue)
    source = Mailbox(deployment, queue + DLQ_SUFFIX)
    moved = 0
    for batch in _chosen(source, choice):
        # Sent before deleted: a crash in between doubles a message, the other order loses it.
        accepted = target.send(
            [
                message._replace(
                    attributes={n: v for n, v in message.attributes.items() if n not in _LABELS}
                )
                for message in batch
            ]
        )
        done = {message.handle for message in accepted}
        source.delete([message for message in batch if message.handle in done])
        moved += len(accepted)
        if len(accepted) < len(batch):
            raise Rejected(f"queue {target.physical} refused messages after {moved} were redriven")
        if max_per_second:
            sleep(len(batch) / max_per_second)
    return moved


def discard(deployment: Deployment, queue: str, choice: Choice) -> int:
    """Delete dead letters for good; gives their number.

    The deliveries of an inbox's dead letters, and those that dead letters of `deliver` have left
    open, end as FAILED, reason `dead_lettered`.
    """
    # Only what ends deliveries needs the workers' extra; looking and redriving do not.
    from sharpwave.infra.operate.giving_up import GivingUp

    giving_up = GivingUp(deployment)
    source = Mailbox(deployment, queue + DLQ_SUFFIX)
    gone = 0
    for batch in _chosen(source, choice):
        # Rows first: without its message nobody would know any more which delivery to end.
        if queue.startswith(INBOX_PREFIX):
            giving_up.inbox_messages(batch)
        elif queue == "deliver":
            giving_up.deliver_messages(batch)
        source.delete(batch)
        gone += len(batch)
    return gone


def count(deployment: Deployment, queue: str, choice: Choice) -> int:
    """Count the dead letters that are meant, as a dry run does."""
    ready = Mailbox(deployment, queue + DLQ_SUFFIX).depth().ready
    meant = sum(choice.holds(message) for message in peek(deployment, queue, limit=ready))
    return meant if choice.limit is None else min(meant, choice.limit)


def group_by_error(queue: str, messages: Iterable[Received]) -> list[Group]:
    """Group messages by what went wrong, the largest group first."""
    groups: dict[str, list[Received]] = defaultdict(list)
    for message in messages:
        groups[fingerprint(reason_of(message))].append(message)
    return [
        Group(
            queue=queue,
            error=error,
            count=len(members),
            oldest_sent_at=min(message.sent_at for message in members),
            example_id=members[0].message_id,
        )
        for error, members in sorted(groups.items(), key=lambda pair: (-len(pair[1]), pair[0]))
    ]


def reason_of(message: Received) -> str:
    """Say why a message died; SQS itself gives no reason when it moves one."""
    label = message.attributes.get("dead_letter_reason", {})
    return str(label.get("StringValue") or "received too often without an end")


def fingerprint(reason: str) -> str:
    """Leave out of a reason what differs between messages: ids, numbers and quoted text."""
    return _VARIABLE.sub("*", reason)


def _chosen(source: Mailbox, choice: Choice) -> Iterator[list[Received]]:
    passed: list[Received] = []
    # As many as there were when it began: what dies again meanwhile would else go round for ever.
    ready = source.depth().ready
    left = ready if choice.limit is None else choice.limit
    try:
        for batch in source.drain(limit=ready, hold_s=_PASS_HOLD_S):
            meant = [message for message in batch if choice.holds(message)][:left]
            kept = {message.handle for message in meant}
            passed += [message for message in batch if message.handle not in kept]
            left -= len(meant)
            if meant:
                yield meant
            if left <= 0:
                return
    finally:
        source.release(passed)
