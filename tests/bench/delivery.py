"""The delivery of signals where the backend is not the limit: what a signal costs a worker.

Once with tables and queues in memory, behind the same ports; once over HTTP, with boto3, beside a
stub that answers faster than the worker asks and has a core of its own.
"""

import json
import os
from collections import Counter
from collections.abc import Callable, Iterator
from typing import Any

from sharpwave.infra.local.stack import worker_argv
from sharpwave.schemas import keys, tables
from sharpwave.schemas.numbers import item_to_wire
from sharpwave.schemas.queues import inbox
from sharpwave.schemas.times import now
from sharpwave.workers.router.router import Router
from tests.bench import hosts
from tests.bench.figures import Watch, cpu_s, peak_mb
from tests.bench.peers import ask, control, local_environment, running, stub
from tests.bench.results import OURS, Row, summed
from tests.bench.router_speed import PAGE, record
from tests.bench.system import signal

PART, MEMORY, HTTP = "delivery", "in memory", "HTTP"
AGENTS = ("one", "two", "three", "four")
THREADS = 8
#: Nothing has arrived for so long: what is missing is lost.
QUIET_S = 10.0
WORK = "deliver"


class Backlog:
    """Signals of about 1 KB, and the work messages that the router makes of them.

    One half of them has other targets than the other.
    """

    def __init__(self, signals: int, targets: int) -> None:
        self.signals, self.targets = signals, targets
        self.deliveries = signals * targets
        half = signals // 2
        named = [AGENTS[:targets]] * half + [AGENTS[2:][:targets]] * (signals - half)
        self.items = [signal(each, serial) for serial, each in enumerate(named)]
        route, moment = Router(), int(now())
        records = [record(at, None, item, stored_at=moment) for at, item in enumerate(self.items)]
        pages = [records[at : at + PAGE] for at in range(0, signals, PAGE)]
        messages = [message for page in pages for message in route(tables.SIGNALS, page)]
        self.bodies = [message.body for message in messages if message.queue == WORK]


def measure(signals: int, runs: int, tell: Callable[[str], None]) -> Iterator[Row]:
    """Measure both forms with so many signals, each with one target and with two."""
    for targets in (1, 2):
        for form, run in ((MEMORY, _in_memory), (HTTP, _over_http)):
            case = f"{form}, {targets} target{'s' * (targets > 1)}"
            tell(f"{PART}: {case}")
            yield summed(PART, case, OURS, [run(signals, targets) for _ in range(runs)])


def figures(backlog: Backlog, watch: Watch, found: Counter[str]) -> dict[str, Any]:
    """Give what was seen of a backlog's delivery."""
    rate, cost = watch.rate(backlog.deliveries), watch.cost(backlog.deliveries)
    return {
        "signals_per_s": rate and rate / backlog.targets,
        "worker_cpu_ms": cost and 1000 * cost * backlog.targets,
        "lost": backlog.deliveries - len(found),
        "doubled": found.total() - len(found),
    }


def _in_memory(signals: int, targets: int) -> dict[str, Any]:
    orders = {"signals": signals, "targets": targets}
    return ask("deliver_memory", orders, env=local_environment(_on_core(-1)))


def _over_http(signals: int, targets: int) -> dict[str, Any]:
    backlog = Backlog(signals, targets)
    argv = worker_argv(WORK, processes=1, threads=THREADS)
    argv[argv.index("sharpwave.workers.main:build")] = f"{hosts.__name__}:build_pinned"
    with stub(_on_core(0)) as endpoint:
        before = _fill(endpoint, backlog)
        env = local_environment({"AWS_ENDPOINT_URL": endpoint, **_on_core(-1)})
        with running(argv, env=env, grace_s=8.0) as (worker, _):
            watch = Watch(lambda: _arrived(endpoint), spent=lambda: cpu_s(worker))
            watch.until(backlog.deliveries, quiet_s=QUIET_S)
            peak = peak_mb(worker)
        after = control(endpoint, "/_calls", {})
        found = _deliveries(endpoint)
    return {
        **figures(backlog, watch, found),
        "stub_cpu_ms": 1000 * (after["cpu_s"] - before["cpu_s"]) / signals,
        "calls_per_signal": sum(after["calls"].values()) / signals,
        "peak_mb": peak,
    }


def _on_core(number: int) -> dict[str, str]:
    """Name a core, where the system lets processes be held to one."""
    if not hasattr(os, "sched_getaffinity"):
        return {}
    return {"BENCH_CORE": str(sorted(os.sched_getaffinity(0))[number])}


def _registration(agent: str) -> dict[str, Any]:
    own = {"agent_id": agent, "registered_at": int(now()), "schema_version": 1}
    return {**keys.registration(agent).item(), **own}


def _fill(endpoint: str, backlog: Backlog) -> Any:
    """Store a backlog, and who is registered; gives the stub's counters."""
    dead = json.dumps({"deadLetterTargetArn": f"{WORK}_dlq", "maxReceiveCount": "20"})
    control(endpoint, "/_create", {"queue": WORK, "settings": {"RedrivePolicy": dead}})
    for agent in AGENTS:
        control(endpoint, "/_create", {"queue": inbox(agent).name})
    stored = {tables.SIGNALS: backlog.items, tables.STATE: map(_registration, AGENTS)}
    wire = {table: list(map(item_to_wire, items)) for table, items in stored.items()}
    return control(endpoint, "/_fill", {"tables": wire, "queue": WORK, "bodies": backlog.bodies})


def _arrived(endpoint: str) -> int:
    """Count the messages that lie in the agents' queues."""
    stored = control(endpoint, "/_calls", {})["stored"]
    return sum(stored[inbox(agent).name] for agent in AGENTS)


def _deliveries(endpoint: str) -> Counter[str]:
    """Count each delivery that lies there."""
    queues = [{"queue": inbox(agent).name} for agent in AGENTS]
    bodies = [body for queue in queues for body in control(endpoint, "/_bodies", queue)["bodies"]]
    return Counter(json.loads(body)["delivery_id"] for body in bodies)
