"""What every messenger under test shares: how its latency is measured. Standard library only.

`closed` sends one message after the other, each when the one before has reached every target;
`open` sends at random moments, whatever has arrived. A latency runs from the moment the send was
due to the moment the target's code holds the message.
"""

import json
import os
import random
import sys
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

ORDERS: dict[str, Any] = json.loads(sys.argv[1]) if len(sys.argv) > 1 else {}
TARGETS: list[str] = ORDERS.get("targets", [])
#: Messages at the start that do not count.
WARM = 5
#: After so many seconds a message is lost.
PATIENCE_S = 15.0
_SENDERS = 8


class Flow:
    """Who was sent what, and who got it when."""

    def __init__(self) -> None:
        self.due: dict[int, float] = {}
        self.got: dict[tuple[int, str], list[float]] = {}
        self._changed = threading.Condition()

    def received(self, number: int, target: str) -> None:
        """Note that a target holds a message."""
        now = time.monotonic()
        with self._changed:
            self.got.setdefault((number, target), []).append(now)
            self._changed.notify_all()

    def wait(self, pairs: list[tuple[int, str]]) -> bool:
        """Wait until every message is with its target."""
        with self._changed:
            return self._changed.wait_for(lambda: self.got.keys() >= set(pairs), PATIENCE_S)

    def findings(self) -> dict[str, Any]:
        """Sum up what was found."""
        pairs = [(number, target) for number in self.due for target in TARGETS]
        counted = [pair for pair in pairs if pair[0] >= WARM and pair in self.got]
        return {
            "latencies_s": [self.got[pair][0] - self.due[pair[0]] for pair in counted],
            "lost": sum(pair not in self.got for pair in pairs),
            "doubled": sum(len(times) - 1 for times in self.got.values()),
        }


def drive(flow: Flow, send: Callable[[int, list[str]], Any]) -> None:
    """Send as the orders say, print what was found and end the process."""
    _closed(flow, send, WARM)
    if ORDERS["mode"] == "closed":
        _closed(flow, send, ORDERS["count"])
    else:
        _open(flow, send)
    time.sleep(0.5)  # for what comes twice
    os.write(1, f"\n{json.dumps(flow.findings())}\n".encode())
    os._exit(0)


def _closed(flow: Flow, send: Callable[[int, list[str]], Any], count: int) -> None:
    for number in range(len(flow.due), len(flow.due) + count):
        flow.due[number] = time.monotonic()
        send(number, TARGETS)
        flow.wait([(number, target) for target in TARGETS])


def _open(flow: Flow, send: Callable[[int, list[str]], Any]) -> None:
    rng, began = random.Random(11), time.monotonic()
    due = began
    with ThreadPoolExecutor(_SENDERS) as pool:
        while due < began + ORDERS["seconds"]:
            time.sleep(max(0.0, due - time.monotonic()))
            number = len(flow.due)
            flow.due[number] = due
            pool.submit(send, number, TARGETS)
            due += rng.expovariate(ORDERS["rate"])
    flow.wait([(number, target) for number in flow.due for target in TARGETS])


def in_background(action: Callable[..., Any], *arguments: Any) -> None:
    """Run something beside the rest."""
    threading.Thread(target=action, args=arguments, daemon=True).start()
