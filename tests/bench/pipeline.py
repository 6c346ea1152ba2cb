"""The pipeline: signals with two targets, from the stream to the agents' queues.

From a backlog, by us and by others; by more worker processes, where calls are slow; and as the
load grows from nothing: API calls for each delivery, and the processor time of rest.
"""

import random
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from sharpwave.infra.items import Items
from sharpwave.infra.local import Backend, open_backend
from sharpwave.infra.local.processes import Child
from sharpwave.schemas import keys, tables
from sharpwave.schemas.queues import WORK_QUEUE_NAMES
from tests.bench.figures import Watch, cpu_s, peak_mb, ratio
from tests.bench.pace import Pace
from tests.bench.peers import TASKS
from tests.bench.results import OURS, Row, summed
from tests.bench.system import BACKEND, System, signal

PART, SCALING_PART, CALLS_PART, IDLE_PART = "pipeline", "scaling", "scaling-calls", "scaling-idle"
AGENTS = ("one", "two", "three", "four")
#: Nothing has arrived for so long: what is missing is lost.
QUIET_S = 20.0
_HOSTS = "tests.bench.hosts"
#: Seconds that each AWS call of a worker takes longer, and the threads of each process: with so
#: few of them the calls are what limits a process, as at AWS, and not this machine's cores.
LATENCY_S, THREADS = 0.1, 4
PROCESSES = (1, 2, 4)
RATES = (5, 50, 500)
HEARTBEAT_S, IDLE_S, SETTLING_S = 0.5, 3.0, 5.0

Tell = Callable[[str], None]


@dataclass(frozen=True)
class Way:
    """One way to do the work; `share` scales the backlog, so that slow ways take as long."""

    case: str
    who: str
    share: float
    processes: int = 1
    pump: Mapping[str, str] = field(default_factory=dict)
    worker: Mapping[str, str] = field(default_factory=dict)
    build: str = ""


_SINGLY = {"BENCH_SINGLY": "1"}
WAYS = (
    Way("1 process", OURS, 1.0),
    Way("2 processes", OURS, 1.0, processes=2),
    Way("1 process", f"{OURS}, singly", 0.2, pump=_SINGLY, worker={"SHARPWAVE_WRITES": "single"}),
    Way(
        "1 process",
        "dramatiq-sqs 0.4.4, our handlers and groups",
        0.6,
        pump={"BENCH_BASE64": "1"},
        build=f"{_HOSTS}:build_dramatiq_sqs",
    ),
    Way(
        "1 process",
        "dramatiq-sqs 0.4.4, our handlers, singly",
        0.2,
        pump={**_SINGLY, "BENCH_BASE64": "1"},
        worker={"SHARPWAVE_WRITES": "single"},
        build=f"{_HOSTS}:build_dramatiq_sqs",
    ),
)


# From a backlog.


def measure(signals: int, runs: int, tell: Tell) -> Iterator[Row]:
    """Measure each way with a backlog of so many signals."""
    pace = Pace()
    with open_backend(BACKEND) as backend:
        for way in WAYS:
            tell(f"{PART}: {way.who}, {way.case}")
            trouble = TASKS.trouble if way.build else ""
            if trouble:
                yield Row(part=PART, case=way.case, who=way.who, note=trouble)
                continue
            found = []
            for _ in range(runs):
                pace.sample()
                found.append(_run(backend, way, int(signals * way.share)))
                pace.sample()
            yield summed(PART, way.case, way.who, found)
            if way is WAYS[0]:
                yield pace.row(PART)


def _run(backend: Backend, way: Way, signals: int) -> dict[str, Any]:
    extra = {"BENCH_PACKAGES": str(TASKS.packages)} if way.build else {}
    pairs = (AGENTS[:2], AGENTS[2:])
    half = signals // 2
    backlog = [signal(pair, serial) for pair in pairs for serial in range(half)]
    with System(backend, AGENTS) as system:
        system.write(tables.SIGNALS, backlog)
        worker = system.workers(
            "deliver", processes=way.processes, build=way.build, extra={**way.worker, **extra}
        )
        system.pump(way.pump)
        watch = Watch(system.arrived, spent=lambda: cpu_s(worker))
        watch.until(2 * signals, quiet_s=QUIET_S)
        cost, peak = watch.cost(2 * signals), peak_mb(worker)
        return {
            "signals_per_s": _signals_per_s(watch, signals),
            "worker_cpu_ms": cost and 2000 * cost,
            "peak_mb": peak,
            **_losses(system, 2 * signals),
        }


def _signals_per_s(watch: Watch, signals: int) -> float | None:
    rate = watch.rate(2 * signals)
    return rate and rate / 2


def _losses(system: System, wanted: int) -> dict[str, int]:
    """Stop the system, and hold what lies in the agents' queues against what should."""
    system.stop()
    found = system.empty_inboxes()
    return {"lost": wanted - len(found), "doubled": found.total() - len(found)}


# More worker processes, and growing load.


def measure_scaling(signals: int, seconds: float, tell: Tell) -> Iterator[Row]:
    """Measure `signals` per process from a backlog, and each rate for `seconds`."""
    with open_backend(BACKEND) as backend:
        for processes in PROCESSES:
            tell(f"{SCALING_PART}: {processes} processes")
            case = f"{processes} process{'es' * (processes > 1)}"
            found = _drain(backend, processes, signals * processes)
            yield summed(SCALING_PART, case, OURS, [found])
        for rate in RATES:
            tell(f"{CALLS_PART}: {rate} signals/s")
            yield summed(CALLS_PART, f"{rate} signals/s", OURS, [_offer(backend, rate, seconds)])
        tell(IDLE_PART)
        yield from _rest(backend, seconds)


def _drain(backend: Backend, processes: int, signals: int) -> dict[str, Any]:
    with System(backend, AGENTS) as system:
        backlog = [signal(AGENTS[:2], serial) for serial in range(signals)]
        system.write(tables.SIGNALS, backlog)
        system.pump()
        # Until a tenth is routed: with nothing in the queue the first seconds would be idle.
        Watch(lambda: system.depth("deliver")).until(signals // 10, quiet_s=5.0)
        system.workers(
            "deliver",
            processes=processes,
            threads=THREADS,
            build=f"{_HOSTS}:build_slow",
            extra={"BENCH_LATENCY_S": str(LATENCY_S)},
        )
        watch = Watch(system.arrived)
        watch.until(2 * signals, quiet_s=QUIET_S)
        return {
            "signals_per_s": _signals_per_s(watch, signals),
            **_losses(system, 2 * signals),
        }


def _offer(backend: Backend, rate: int, seconds: float) -> dict[str, Any]:
    with System(backend, AGENTS) as system:
        for queue in WORK_QUEUE_NAMES:
            system.workers(queue, extra={"SHARPWAVE_HEARTBEAT_S": str(HEARTBEAT_S)})
        system.pump()
        system.wait_ready(WORK_QUEUE_NAMES)
        warm = _write_at(system, rate, seconds=1.5)
        Watch(system.arrived).until(2 * warm, quiet_s=10.0)
        time.sleep(2 * HEARTBEAT_S)
        resting = _calls(system)
        time.sleep(IDLE_S)
        idle_per_s = (_calls(system) - resting)["workers"] / IDLE_S
        before, began = _calls(system), time.monotonic()
        written = _write_at(system, rate, seconds=seconds)
        Watch(system.arrived).until(2 * (warm + written), quiet_s=QUIET_S)
        took = time.monotonic() - began
        time.sleep(2 * HEARTBEAT_S)
        spent = _calls(system) - before
        losses = _losses(system, 2 * (warm + written))
    # What a worker says of itself, and asks while idle, is the same at any load.
    work = spent["workers"] - idle_per_s * (took + 2 * HEARTBEAT_S)
    return {
        "signals_per_s": written / took,
        "calls_per_delivery": ratio(work, 2 * written),
        "pump_calls_per_delivery": ratio(spent["pump"], 2 * written),
        **losses,
    }


def _rest(backend: Backend, seconds: float) -> Iterator[Row]:
    """Measure what pump and workers cost while nothing happens."""
    with System(backend, AGENTS) as system:
        workers = [system.workers(queue) for queue in WORK_QUEUE_NAMES]
        services = {"worker process": workers, "pump": [system.pump()]}
        system.wait_ready(WORK_QUEUE_NAMES)
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


def _write_at(system: System, rate: int, *, seconds: float) -> int:
    """Write signals at random moments; gives how many."""
    rng, written, began = random.Random(rate), 0, time.monotonic()
    due = began
    batch: list[dict[str, Any]] = []
    while due < began + seconds:
        due += rng.expovariate(rate)
        written += 1
        batch.append(signal(AGENTS[:2] if written % 2 else AGENTS[2:], written))
        if due > time.monotonic():
            system.write(tables.SIGNALS, batch)
            batch = []
            threading.Event().wait(max(0.0, due - time.monotonic()))
    system.write(tables.SIGNALS, batch)
    return written


def _calls(system: System) -> Counter[str]:
    calls: Counter[str] = Counter()
    for row in Items(system.deployment).query(tables.PIPELINE, keys.PRESENCE_PK):
        made = sum(int(number) for number in row.get("calls", {}).values())
        if str(row["SK"]).startswith("pump:"):
            # One row per table, each with all calls of the process.
            calls["pump"] = max(calls["pump"], made)
        else:
            calls["workers"] += made
    return calls
