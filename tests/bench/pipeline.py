"""The pipeline: signals with two targets, from a backlog in the stream to the agents' queues."""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from sharpwave.schemas import tables
from tests.bench.bed import Bed, Place, Watch, bed, cpu_s, peak_mb
from tests.bench.pace import Pace
from tests.bench.peers import TASKS
from tests.bench.results import OURS, Row, summed

PART = "pipeline"
AGENTS = ("one", "two", "three", "four")
#: Nothing has arrived for so long: what is missing is lost.
QUIET_S = 20.0
_HOSTS = "tests.bench.hosts"


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


def measure(signals: int, runs: int, tell: Callable[[str], None]) -> Iterator[Row]:
    """Measure each way with a backlog of so many signals."""
    pace = Pace()
    with bed() as ground:
        for way in WAYS:
            tell(f"{PART}: {way.who}, {way.case}")
            trouble = TASKS.trouble if way.build else ""
            if trouble:
                yield Row(part=PART, case=way.case, who=way.who, note=trouble)
                continue
            found = []
            for _ in range(runs):
                pace.sample()
                found.append(_run(ground, way, int(signals * way.share)))
                pace.sample()
            yield summed(PART, way.case, way.who, found)
            if way is WAYS[0]:
                yield pace.row(PART)


def _run(ground: Bed, way: Way, signals: int) -> dict[str, Any]:
    extra = {"BENCH_PACKAGES": str(TASKS.packages)} if way.build else {}
    with ground.place(AGENTS) as place:
        place.write(tables.SIGNALS, _signals(place, signals))
        worker = place.workers(
            "deliver", processes=way.processes, build=way.build, extra={**way.worker, **extra}
        )
        place.pump(way.pump)
        watch, wanted = Watch(place.arrived, spent=lambda: cpu_s(worker)), 2 * signals
        watch.until(wanted, quiet_s=QUIET_S)
        rate, cost, peak = watch.rate(wanted), watch.cost(wanted), peak_mb(worker)
        place.close()
        found = place.empty_inboxes()
    return {
        "signals_per_s": rate and rate / 2,
        "worker_cpu_ms": cost and 2000 * cost,
        "peak_mb": peak,
        "lost": wanted - len(found),
        "doubled": found.total() - len(found),
    }


def _signals(place: Place, number: int) -> list[dict[str, Any]]:
    pairs = (AGENTS[:2], AGENTS[2:])
    return [item for half in range(2) for item in place.signals(number // 2, pairs[half])]
