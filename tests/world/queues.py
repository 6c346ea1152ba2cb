"""Inboxes and work queues in memory: at least once, with receive counts and dead letters."""

import itertools
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from sharpwave.schemas import queues
from sharpwave.schemas.times import Clock
from sharpwave.workers.work.outgoing import MAX_DELAY_S, WorkMessage
from sharpwave.workers.work.ports import CallRefused, Fate, InboxMessage

MAX_BODY_BYTES = 1024 * 1024


def check_body(body: str) -> None:
    """Refuse what SQS would refuse, or what an agent in another language may stumble over.

    Raises:
        CallRefused: the body is no ASCII, or longer than 1 MiB.
    """
    if not body.isascii():
        raise CallRefused("InvalidMessageContents: the body is no ASCII")
    if len(body) > MAX_BODY_BYTES:
        raise CallRefused(f"InvalidParameterValue: the body has {len(body)} bytes")


class MemoryInboxes:
    """`Inboxes` in memory; what an inbox ever received stays in `sent`."""

    def __init__(self) -> None:
        """Start without any queue.

        `on_send` is called with each post that is about to arrive; queues in `refusing` take none.
        """
        self.sent: list[InboxMessage] = []
        self.refusing: set[str] = set()
        self.on_send: Callable[[InboxMessage], None] = lambda post: None
        self._boxes: dict[str, list[str]] = {}

    def create(self, agent_id: str, *, urgent: bool = True) -> None:
        """Create an agent's queues; without `urgent` as an older release did."""
        self._boxes.setdefault(agent_id, [])
        if urgent:
            self._boxes.setdefault(agent_id + queues.URGENT_SUFFIX, [])

    def remove(self, agent_id: str) -> None:
        """Remove an agent's queues with all that is in them."""
        for name in (agent_id, agent_id + queues.URGENT_SUFFIX):
            self._boxes.pop(name, None)

    def send(self, posts: Sequence[InboxMessage]) -> list[Fate]:
        """Send messages, and say of each what became of it."""
        return [self._send(post) for post in posts]

    def _send(self, post: InboxMessage) -> Fate:
        check_body(post.body)
        box = self._boxes.get(post.target)
        if box is None:
            return Fate.GONE
        if post.target in self.refusing:
            return Fate.FAILED
        self.on_send(post)
        box.append(post.body)
        if post.urgent:
            self._boxes.get(post.target + queues.URGENT_SUFFIX, []).append(post.body)
        self.sent.append(post)
        return Fate.SENT

    def waiting(self, agent_id: str) -> list[str]:
        """Give the bodies in an agent's queue, or by `<agent>_urgent` those of its other one."""
        return list(self._boxes.get(agent_id, ()))

    def exists(self, name: str) -> bool:
        """Say whether there is such a queue."""
        return name in self._boxes

    def put_back(self, name: str, body: str) -> None:
        """Put a message that was taken out of a queue to its front, if the queue is still there."""
        if name in self._boxes:
            self._boxes[name].insert(0, body)

    def delete(self, agent_id: str, body: str) -> None:
        """Take one message out of a queue."""
        box = self._boxes.get(agent_id, [])
        if body in box:
            box.remove(body)


@dataclass(slots=True, eq=False)
class Held:
    """One message of a work queue."""

    queue: str
    body: str
    number: int
    visible_at: float = 0.0
    receives: int = 0
    errors: list[str] = field(default_factory=list)


class MemoryWorkQueues:
    """`WorkQueues` in memory."""

    def __init__(self, clock: Clock, *, max_receives: int | None = None) -> None:
        """Move messages received more than `max_receives` times to `dead`."""
        work = {queue.name: queue for queue in queues.WORK_QUEUES}
        self._clock, self._work = clock, work
        self._max_receives = max_receives
        self._numbers = itertools.count(1)
        self.messages: list[Held] = []
        self.dead: list[Held] = []

    def send(self, messages: Sequence[WorkMessage]) -> None:
        """Send messages."""
        for message in messages:
            check_body(message.body)
            if message.queue not in self._work:
                raise CallRefused(f"there is no work queue {message.queue}")
            if not 0 <= message.delay_s <= MAX_DELAY_S:
                raise CallRefused(f"InvalidParameterValue: a delay of {message.delay_s} s")
            visible_at = self._clock() + message.delay_s if message.delay_s else 0.0
            held = Held(message.queue, message.body, next(self._numbers), visible_at)
            self.messages.append(held)

    def visible(self) -> list[Held]:
        """Give the messages that can be received now, oldest first."""
        return [held for held in self.messages if held.visible_at <= self._clock()]

    def receive(self, held: Held) -> bool:
        """Hide a message for its queue's visibility timeout; False if it went to `dead`."""
        queue = self._work[held.queue]
        held.receives += 1
        if held.receives > (self._max_receives or queue.max_receive_count):
            self.messages.remove(held)
            self.dead.append(held)
            return False
        held.visible_at = self._clock() + queue.visibility_timeout_s
        return True

    def delete(self, held: Held) -> None:
        """Take a message out of its queue."""
        if held in self.messages:
            self.messages.remove(held)
