"""What every consumer under test shares: how it is measured. Needs the standard library only.

A script gets its orders as JSON in its first argument and prints its findings as JSON in its last
line. `load` fills the queue, `drain` measures throughput on a full one, `idle` latency on an
empty one.
"""

import json
import os
import random
import resource
import sys
import threading
import time
import urllib.request
from collections.abc import Callable
from typing import Any

ORDERS: dict[str, Any] = json.loads(sys.argv[1]) if len(sys.argv) > 1 else {}
DEADLINE_S = 60.0


class Gauge:
    """Counts finished tasks and notes when each numbered one began."""

    def __init__(self) -> None:
        self.task_s: float = ORDERS.get("task_s", 0.0)
        self.began_at: dict[int, list[float]] = {}
        self.done = 0
        self.last_at = 0.0
        self._lock = threading.Lock()
        self._changed = threading.Condition()

    def run(self, number: int) -> None:
        """Be the task: sleep as long as it is to take."""
        self.begin(number)
        if self.task_s:
            time.sleep(self.task_s)
        self.end()

    def begin(self, number: int) -> None:
        """Note that a task has begun."""
        if number >= 0:
            with self._changed:
                self.began_at.setdefault(number, []).append(time.monotonic())
                self._changed.notify_all()

    def end(self) -> None:
        """Count a finished task."""
        with self._lock:
            self.done += 1
            self.last_at = time.monotonic()

    def wait_for(self, number: int, timeout_s: float = 30.0) -> bool:
        """Wait until a numbered task has begun."""
        with self._changed:
            return self._changed.wait_for(lambda: number in self.began_at, timeout_s)


def drain(gauge: Gauge, calls: Callable[[], int]) -> dict[str, Any]:
    """Measure throughput for a while, after a while."""
    deadline = time.monotonic() + DEADLINE_S
    while not gauge.done:
        if time.monotonic() > deadline:
            return {"error": f"no task ran within {DEADLINE_S:.0f} s"}
        time.sleep(0.005)
    time.sleep(ORDERS["warm_s"])
    began, done, called = time.monotonic(), gauge.done, calls()
    while time.monotonic() < began + ORDERS["measure_s"] and gauge.done < ORDERS["load"]:
        time.sleep(0.005)
    tasks = gauge.done - done
    ended = time.monotonic() if gauge.done < ORDERS["load"] else gauge.last_at
    rate = tasks / (ended - began)
    found = {"msg_per_s": rate, "calls_per_msg": (calls() - called) / tasks if tasks else None}
    if gauge.task_s:
        found["of_ideal"] = rate * gauge.task_s / ORDERS["threads"]
    return {**found, "peak_mb": peak_mb()}


def idle(gauge: Gauge, send: Callable[[int], Any]) -> dict[str, Any]:
    """Send a message now and then; give the seconds from its acceptance to the task's begin."""
    rng, latencies, lost = random.Random(7), [], 0
    send(0)
    gauge.wait_for(0)
    for number in range(1, ORDERS["samples"] + 1):
        time.sleep(rng.uniform(0.3, 1.5))
        send(number)
        sent = time.monotonic()
        if gauge.wait_for(number):
            latencies.append(max(0.0, gauge.began_at[number][0] - sent))
        else:
            lost += 1
    doubled = sum(len(times) - 1 for times in gauge.began_at.values())
    return {"latencies_s": latencies, "lost": lost, "doubled": doubled, "peak_mb": peak_mb()}


def measure(gauge: Gauge, *, send: Callable[[int], Any], calls: Callable[[], int]) -> None:
    """Measure what the orders say, print it and end the process at once."""
    finish(drain(gauge, calls) if ORDERS["mode"] == "drain" else idle(gauge, send))


def finish(found: dict[str, Any]) -> None:
    """Print the findings and end the process without waiting for anything."""
    # Not by print: Celery makes log lines of what is printed.
    os.write(1, f"\n{json.dumps(found)}\n".encode())
    os._exit(0)


def http_calls() -> int:
    """Count the calls that the HTTP service has answered so far."""
    with urllib.request.urlopen(f"{ORDERS['endpoint']}/_calls", timeout=10) as answer:
        return int(sum(json.load(answer)["calls"].values()))


def peak_mb() -> float:
    """Give the most memory this process ever had, in MB."""
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak / (1 << 20 if sys.platform == "darwin" else 1 << 10)


def in_background(action: Callable[[], Any]) -> None:
    """Run something beside the consumer."""
    threading.Thread(target=action, name="gauge", daemon=True).start()
