"""The queues of the benchmark's SQS: visibility, long polls, and a backlog that can be rewound."""

import asyncio
import heapq
import itertools
import time
from collections import deque
from hashlib import md5
from typing import Any

_NUMBERS = itertools.count(1)


class Stored:
    """One message."""

    __slots__ = ("body", "digest", "handle", "hidden_until", "message_id", "receives")

    def __init__(self, body: str) -> None:
        self.body = body
        self.digest = md5(body.encode(), usedforsecurity=False).hexdigest()
        self.message_id = f"00000000-0000-4000-8000-{next(_NUMBERS):012d}"
        self.handle = ""
        self.hidden_until = 0.0
        self.receives = 0

    def received(self) -> dict[str, Any]:
        """Give it as ReceiveMessage does."""
        return {
            "MessageId": self.message_id,
            "ReceiptHandle": self.handle,
            "Body": self.body,
            "MD5OfBody": self.digest,
            "Attributes": {"ApproximateReceiveCount": str(self.receives)},
        }


class Queue:
    """One queue, for one event loop."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.settings: dict[str, str] = {}
        self._ready: deque[Stored] = deque()
        self._hidden: list[tuple[float, int, Stored]] = []
        self._by_handle: dict[str, Stored] = {}
        self._waiting: deque[asyncio.Future[None]] = deque()
        self._kept: list[str] = []

    @property
    def stored(self) -> int:
        """Count the messages that were not deleted."""
        return len(self._ready) + len(self._by_handle)

    def attributes(self) -> dict[str, str]:
        """Give the settings and the counts."""
        self._surface()
        count = "ApproximateNumberOfMessages"
        return {
            **self.settings,
            "QueueArn": f"arn:aws:sqs:us-east-1:000000000000:{self.name}",
            count: str(len(self._ready)),
            f"{count}NotVisible": str(len(self._by_handle)),
            f"{count}Delayed": "0",
        }

    def add(self, body: str) -> str:
        """Add a message and give its id."""
        stored = Stored(body)
        self._ready.append(stored)
        self._wake()
        return stored.message_id

    def bodies(self) -> list[str]:
        """Give the bodies of the messages that wait now."""
        return [stored.body for stored in self._ready]

    def snapshot(self) -> None:
        """Remember the bodies of the messages that wait now."""
        self._kept = self.bodies()

    def rewind(self) -> None:
        """Hold the remembered messages again, as if never received, and nothing else."""
        self._hidden.clear()
        self._by_handle.clear()
        self._ready = deque(Stored(body) for body in self._kept)

    async def receive(self, *, most: int, wait_s: float, visibility_s: float) -> list[Any]:
        """Hand out messages, waiting for the first."""
        until = time.monotonic() + wait_s
        while True:
            self._surface()
            if self._ready:
                few = [self._ready.popleft() for _ in range(min(most, len(self._ready)))]
                return [self._hand_out(stored, visibility_s) for stored in few]
            left_s = min(until, self._hidden[0][0] if self._hidden else until) - time.monotonic()
            if time.monotonic() >= until:
                return []
            await self._wait(max(0.001, left_s))

    def delete(self, handle: str) -> dict[str, Any]:
        """Delete a message; an old handle deletes nothing."""
        self._by_handle.pop(handle, None)
        return {}

    def hide(self, handle: str, visibility_s: float) -> dict[str, Any]:
        """Hide a received message for another while."""
        if stored := self._by_handle.get(handle):
            self._hide(stored, visibility_s)
            self._wake()
        return {}

    def _hand_out(self, stored: Stored, visibility_s: float) -> dict[str, Any]:
        stored.receives += 1
        stored.handle = f"{stored.message_id}#{stored.receives}"
        self._by_handle[stored.handle] = stored
        self._hide(stored, visibility_s)
        return stored.received()

    def _hide(self, stored: Stored, visibility_s: float) -> None:
        stored.hidden_until = time.monotonic() + visibility_s
        heapq.heappush(self._hidden, (stored.hidden_until, next(_NUMBERS), stored))

    def _surface(self) -> None:
        now = time.monotonic()
        while self._hidden and self._hidden[0][0] <= now:
            at, _, stored = heapq.heappop(self._hidden)
            if stored.hidden_until == at and self._by_handle.pop(stored.handle, None) is stored:
                self._ready.append(stored)

    async def _wait(self, timeout_s: float) -> None:
        waiter: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._waiting.append(waiter)
        await asyncio.wait([waiter], timeout=timeout_s)
        waiter.cancel()

    def _wake(self) -> None:
        while self._waiting:
            waiter = self._waiting.popleft()
            if not waiter.done():
                waiter.set_result(None)
                return
