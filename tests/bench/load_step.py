"""A load a hundred times as high for a while, where a worker service follows its backlog.

Each call of a delivery worker is 100 ms slower and it has four threads, so that its processes, and
not two cores, are what there is too little of. What comes in the end is counted at the inboxes.
"""

import threading
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from typing import Any, NamedTuple

from sharpwave.infra.items import Items
from sharpwave.infra.local import open_backend
from sharpwave.infra.local.processes import Service
from sharpwave.infra.local.stack import Stack, StackOptions, Upkeep
from sharpwave.infra.mailbox import Mailbox
from sharpwave.infra.operate.autoscale import CALM_S
from sharpwave.infra.operate.queues import Wanted, want
from sharpwave.schemas import queues
from sharpwave.schemas.tables import SIGNALS
from tests.bench.results import OURS, Row, summed
from tests.bench.system import BACKEND, signal

PART = "load-step"
AGENTS = ("sink-1", "sink-2")
CALM_PER_S, STEP_TIMES = 2, 100
THREADS, LATENCY_S = 4, 0.1
WANTED = Wanted(0, 4, 25)
_LOOK_EVERY_S = 0.25
_QUIET_S = CALM_S + 30.0


class Look(NamedTuple):
    """The delivery queue and its workers at one moment, in seconds since the step began."""

    at: float
    waiting: int
    instances: int


class SlowStack(Stack):
    """A stack whose delivery workers are slow."""

    def services(self) -> list[Service]:
        """Replace the workers of one queue."""
        slow = {"BENCH_LATENCY_S": str(LATENCY_S)}
        return [
            replace(
                each,
                argv=[word.replace(_BUILD, "tests.bench.hosts:build_slow") for word in each.argv],
                env={**each.env, **slow},
            )
            if each.name == "deliver"
            else each
            for each in super().services()
        ]


_BUILD = "sharpwave.workers.main:build"


def measure(seconds: float, tell: Callable[[str], None]) -> Iterator[Row]:
    """Measure a step of some seconds, between two times as long of the usual load."""
    tell(f"{PART}: {CALM_PER_S} to {CALM_PER_S * STEP_TIMES} signals/s for {seconds:.0f} s")
    with open_backend(BACKEND) as backend:
        options = StackOptions(agents=AGENTS, prefix="step", threads=THREADS)
        with SlowStack(backend, options) as stack:
            want(stack.deployment, {"deliver": WANTED})
            stop, looks = threading.Event(), list[Look]()
            upkeep = threading.Thread(target=Upkeep(stack, screen=None).run, args=(stop,))
            began = time.monotonic() + seconds
            watching = threading.Thread(target=_watch, args=(stack, looks, began, stop))
            upkeep.start()
            watching.start()
            try:
                written = _write(stack, CALM_PER_S, seconds)
                written += _write(stack, CALM_PER_S * STEP_TIMES, seconds)
                written += _write(stack, CALM_PER_S, seconds)
                _rest(looks)
            finally:
                stop.set()
                upkeep.join()
                watching.join()
            found = _figures(looks, seconds)
            came = sum(Mailbox(stack.deployment, name).depth().total for name in _inboxes())
        lost = max(0, written * len(AGENTS) - came)
        doubled = max(0, came - written * len(AGENTS))
        case = f"{CALM_PER_S} to {CALM_PER_S * STEP_TIMES} signals/s, {WANTED} instances"
        yield summed(PART, case, OURS, [{**found, "lost": lost, "doubled": doubled}])


def _inboxes() -> list[str]:
    return [queues.inbox(agent).name for agent in AGENTS]


def _write(stack: Stack, per_s: int, seconds: float) -> int:
    """Write signals evenly; gives how many."""
    items, began, written = Items(stack.deployment), time.monotonic(), 0
    while (now := time.monotonic() - began) < seconds:
        while written < now * per_s:
            items.put(SIGNALS, signal(AGENTS, written))
            written += 1
        time.sleep(0.01)
    return written


def _watch(stack: Stack, looks: list[Look], began: float, stop: threading.Event) -> None:
    queue = Mailbox(stack.deployment, "deliver")
    while not stop.wait(_LOOK_EVERY_S):
        running = sum(each.service == "deliver" for each in stack.supervisor.status())
        looks.append(Look(time.monotonic() - began, queue.depth().ready, running))


def _rest(looks: Sequence[Look]) -> None:
    """Wait until nothing waits and no worker is left, or nothing more is to be expected."""
    deadline = time.monotonic() + _QUIET_S
    while time.monotonic() < deadline and (looks[-1].waiting or looks[-1].instances):
        time.sleep(_LOOK_EVERY_S)


def _figures(looks: Sequence[Look], seconds: float) -> dict[str, Any]:
    step = [look for look in looks if look.at >= 0]
    peak = max(look.waiting for look in step)
    most = max(look.instances for look in step)
    needed = min(WANTED.most, max(1, -(-peak // WANTED.per_instance)))
    behind = [look.at for look in step if look.waiting > WANTED.per_instance]
    return {
        "most_waiting": peak,
        "most_instances": most,
        "overshoot_instances": most - needed,
        # From when the load is high until no more waits than one instance may have waiting.
        "recovered_s": max(behind, default=0.0),
        "after_the_step_s": max(0.0, max(behind, default=0.0) - seconds),
        "last_instances": step[-1].instances,
    }
