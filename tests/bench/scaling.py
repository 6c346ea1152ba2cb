"""Scaling: events per second of more worker processes, and calls per event as load grows."""

import random
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from typing import Any

from sharpwave.infra.items import Items
from sharpwave.infra.local.processes import Child
from sharpwave.schemas import keys, tables
from sharpwave.schemas.queues import WORK_QUEUE_NAMES
from tests.bench.bed import Bed, Place, Watch, bed, cpu_s, signal
from tests.bench.figures import ratio
from tests.bench.pipeline import AGENTS, QUIET_S
from tests.bench.results import OURS, Row, summed

PART, CALLS_PART, IDLE_PART = "scaling", "scaling-calls", "scaling-idle"
#: Seconds that each AWS call of a worker takes longer, and the threads of each process: with so
#: few of them the calls are what limits a process, as at AWS, and not this machine's cores.
LATENCY_S, THREADS = 0.1, 4
PROCESSES = (1, 2, 4)
RATES = (5, 50, 500)
HEARTBEAT_S, IDLE_S, SETTLING_S = 0.5, 3.0, 5.0


def measure(signals: int, seconds: float, tell: Callable[[str], None]) -> Iterator[Row]:
    """Measure `signals` per process from a backlog, and each rate for `seconds`."""
    with bed() as ground:
        for processes in PROCESSES:
            tell(f"{PART}: {processes} processes")
            case = f"{processes} process{'es' * (processes > 1)}"
            yield summed(PART, case, OURS, [_drain(ground, processes, signals * processes)])
        for rate in RATES:
            tell(f"{CALLS_PART}: {rate} signals/s")
            yield summed(CALLS_PART, f"{rate} signals/s", OURS, [_offer(ground, rate, seconds)])
        tell(IDLE_PART)
        yield from _rest(ground, seconds)


def _drain(ground: Bed, processes: int, signals: int) -> dict[str, Any]:
    with ground.place(AGENTS) as place:
        place.write(tables.SIGNALS, place.signals(signals, AGENTS[:2]))
        place.pump()
        _wait_routed(place, signals)
        place.workers(
            "deliver",
            processes=processes,
            threads=THREADS,
            build="tests.bench.hosts:build_slow",
            extra={"BENCH_LATENCY_S": str(LATENCY_S)},
        )
        watch, wanted = Watch(place.arrived), 2 * signals
        watch.until(wanted, quiet_s=QUIET_S)
        rate = watch.rate(wanted)
        place.close()
        found = place.empty_inboxes()
    return {
        "signals_per_s": rate and rate / 2,
        "lost": wanted - len(found),
        "doubled": found.total() - len(found),
    }


def _wait_routed(place: Place, signals: int) -> None:
    Watch(lambda: place.depth("deliver")).until(signals // 10, quiet_s=5.0)


def _offer(ground: Bed, rate: int, seconds: float) -> dict[str, Any]:
    with ground.place(AGENTS) as place:
        for queue in WORK_QUEUE_NAMES:
            place.workers(queue, extra={"SHARPWAVE_HEARTBEAT_S": str(HEARTBEAT_S)})
        place.pump()
        place.wait_ready(WORK_QUEUE_NAMES)
        warm = _write_at(place, rate, seconds=1.5)
        Watch(place.arrived).until(2 * warm, quiet_s=10.0)
        idle_per_s = _idle(place)
        before, began = _calls(place), time.monotonic()
        written = _write_at(place, rate, seconds=seconds)
        Watch(place.arrived).until(2 * (warm + written), quiet_s=QUIET_S)
        took = time.monotonic() - began
        time.sleep(2 * HEARTBEAT_S)
        spent = _calls(place) - before
        place.close()
        found = place.empty_inboxes()
    # What a worker says of itself, and asks while idle, is the same at any load.
    work = spent["workers"] - idle_per_s * (took + 2 * HEARTBEAT_S)
    return {
        "signals_per_s": written / took,
        "calls_per_delivery": ratio(work, 2 * written),
        "pump_calls_per_delivery": ratio(spent["pump"], 2 * written),
        "lost": 2 * (warm + written) - len(found),
        "doubled": found.total() - len(found),
    }


def _rest(ground: Bed, seconds: float) -> Iterator[Row]:
    """Measure what pump and workers cost while nothing happens."""
    with ground.place(AGENTS) as place:
        workers = [place.workers(queue) for queue in WORK_QUEUE_NAMES]
        services = {"worker process": workers, "pump": [place.pump()]}
        place.wait_ready(WORK_QUEUE_NAMES)
        # The pump looks often for a while after it started.
        time.sleep(SETTLING_S)
        before = {who: _cpu_s(group) for who, group in services.items()}
        time.sleep(seconds)
        for who, group in services.items():
            spent = _cpu_s(group) - before[who]
            share = 100 * spent / seconds / len(group)
            yield summed(IDLE_PART, "no traffic", f"{OURS}, {who}", [{"cpu_percent": share}])


def _cpu_s(group: Sequence[Child]) -> float:
    return sum(cpu_s(child) or 0.0 for child in group)


def _idle(place: Place) -> float:
    """Give the workers' calls per second without any work."""
    time.sleep(2 * HEARTBEAT_S)
    before = _calls(place)
    time.sleep(IDLE_S)
    return (_calls(place) - before)["workers"] / IDLE_S


def _write_at(place: Place, rate: int, *, seconds: float) -> int:
    """Write signals at random moments; gives how many."""
    rng, written, began = random.Random(rate), 0, time.monotonic()
    due = began
    batch: list[dict[str, Any]] = []
    while due < began + seconds:
        due += rng.expovariate(rate)
        written += 1
        batch.append(signal(AGENTS[:2] if written % 2 else AGENTS[2:], written))
        if due > time.monotonic():
            place.write(tables.SIGNALS, batch)
            batch = []
            threading.Event().wait(max(0.0, due - time.monotonic()))
    place.write(tables.SIGNALS, batch)
    return written


def _calls(place: Place) -> Counter[str]:
    calls: Counter[str] = Counter()
    for row in Items(place.deployment).query(tables.PIPELINE, keys.PRESENCE_PK):
        made = sum(int(number) for number in row.get("calls", {}).values())
        if str(row["SK"]).startswith("pump:"):
            # One row per table, each with all calls of the process.
            calls["pump"] = max(calls["pump"], made)
        else:
            calls["workers"] += made
    return calls
