"""What every memory under test shares: what is done with it, and how that is timed.

`recall` reads a few of many lasting entries. `save` writes one client's own state anew. `add`
reads a state that all clients share and writes it with one more: what is added and not there in the
end is lost. Standard library only.
"""

import json
import os
import statistics
import sys
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any, Protocol

ORDERS: dict[str, Any] = json.loads(sys.argv[1])
#: How many entries there are, how many of them a look gives, and what each says.
ENTRIES: int = ORDERS["entries"]
WANTED: int = ORDERS["wanted"]
TEXT: str = ORDERS["text"]


class Memory(Protocol):
    """One client of a memory; each thread has its own."""

    def recall(self) -> int:
        """Read the newest or the best entries; gives how many came."""
        ...

    def save(self, number: int) -> object:
        """Write the client's own state."""
        ...

    def add(self) -> object:
        """Read what all clients share, and write it with one more."""
        ...

    def total(self) -> int:
        """Read how many were added."""
        ...


class Calls:
    """Counts the requests that boto3's clients make in this process."""

    def __init__(self) -> None:
        self._lock, self.number = threading.Lock(), 0

    def count(self, **_: Any) -> None:
        """Take note of one; to be registered for `before-send`, retries included."""
        with self._lock:
            self.number += 1


def drill(client: Callable[[int], Memory], calls: Calls | None = None) -> None:
    """Do everything, and print what was found as JSON.

    Args:
        client: makes the client of that number.
        calls: counts what clients ask of DynamoDB, if they do.
    """
    made = [client(number) for number in range(ORDERS["clients"])]
    found = {
        "recall": _timed(made[:1], lambda each, _: _recall(each), ORDERS["count"], calls),
        "recall by all": _timed(made, lambda each, _: _recall(each), ORDERS["count"], calls),
        "save": _timed(made[:1], lambda each, number: each.save(number), ORDERS["count"], calls),
        "add": _timed(made, lambda each, _: each.add(), ORDERS["count"], calls),
    }
    found["add"]["lost"] = ORDERS["count"] // len(made) * len(made) - made[0].total()
    os.write(1, f"\n{json.dumps(found)}\n".encode())


def _recall(memory: Memory) -> None:
    came = memory.recall()
    if came != WANTED:
        raise SystemExit(f"{came} entries came instead of {WANTED}")


def _timed(
    clients: list[Memory], do: Callable[[Memory, int], object], count: int, calls: Calls | None
) -> dict[str, Any]:
    each = count // len(clients)
    for client in clients:
        # The first call of a client opens its connection. It adds nothing.
        client.total()

    def work(client: Memory) -> list[float]:
        took = []
        for number in range(each):
            began = time.perf_counter()
            do(client, number)
            took.append(time.perf_counter() - began)
        return took

    asked, began = calls.number if calls else 0, time.perf_counter()
    with ThreadPoolExecutor(len(clients)) as pool:
        took = [one for some in pool.map(work, clients) for one in some]
    found: dict[str, Any] = {
        "per_s": len(took) / (time.perf_counter() - began),
        "p50_ms": 1000 * statistics.median(took),
    }
    if calls:
        found["calls_each"] = (calls.number - asked) / len(took)
    return found
