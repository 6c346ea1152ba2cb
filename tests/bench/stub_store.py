"""What the benchmark's stub of AWS holds: queues, and as much of tables as delivery asks for.

Queues hide what was received, answer long polls, and rewind a backlog for another run.
"""

import asyncio
import heapq
import itertools
import time
from collections import deque
from collections.abc import Iterable, Mapping, Sequence
from hashlib import md5
from itertools import islice
from typing import Any

from tests.cost.statements import parse_statement

Fields = Mapping[str, Any]
Answer = dict[str, Any]
Item = dict[str, Any]

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


class Tables:
    """Items by table and key, in typed form; nobody has to make a table first.

    Statements are those of `workers/aws/writes.py`. An insertion fails if the item exists, a
    change if it does not or if an equality does not hold; `IS MISSING` is taken to hold.
    """

    def __init__(self) -> None:
        self._items: dict[tuple[str, str, str], Item] = {}
        self.actions = {
            "BatchExecuteStatement": self._execute,
            "BatchGetItem": self._get,
            "PutItem": self._put,
        }

    def fill(self, table: str, items: Iterable[Item]) -> None:
        """Put items in a table."""
        for item in items:
            self._items[_place(table, item)] = item

    def _execute(self, fields: Fields) -> Answer:
        asked = fields["Statements"]
        return {"Responses": [self._apply(each["Statement"], each["Parameters"]) for each in asked]}

    def _apply(self, text: str, parameters: Sequence[Any]) -> Answer:
        statement = parse_statement(text)
        assert statement is not None
        place = (
            statement.table,
            parameters[statement.pk]["S"],
            parameters[statement.sk]["S"],
        )
        held = self._items.get(place)
        named = zip(statement.names, parameters, strict=True)
        assigned = dict(islice(named, statement.assigned))
        if statement.verb == "INSERT":
            if held is not None:
                return _refused("DuplicateItem")
            self._items[place] = assigned
        else:
            if held is None or any(held.get(name) != value for name, value in named):
                return _refused("ConditionalCheckFailed")
            self._items[place] = held | assigned
        answer: Answer = {"TableName": statement.table}
        if held is not None and " RETURNING " in text:
            answer["Item"] = held
        return answer

    def _get(self, fields: Fields) -> Answer:
        found = {
            table: [item for key in asked["Keys"] if (item := self._items.get(_place(table, key)))]
            for table, asked in fields["RequestItems"].items()
        }
        return {"Responses": found, "UnprocessedKeys": {}}

    def _put(self, fields: Fields) -> Answer:
        self.fill(fields["TableName"], [fields["Item"]])
        return {}


def _place(table: str, item: Item) -> tuple[str, str, str]:
    return table, item["PK"]["S"], item["SK"]["S"]


def _refused(code: str) -> Answer:
    return {"Error": {"Code": code, "Message": code}}
