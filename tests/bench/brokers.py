"""Brokers: ours beside dramatiq-sqs, Celery and taskiq, on one SQS with one set of latencies."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

from tests.bench.figures import latency_figures
from tests.bench.peers import TASKS, ContestantFailed, ask, control, local_environment, stub
from tests.bench.results import OURS, Row, summed

MEMORY, HTTP = "broker-memory", "broker-http"
#: Seconds per call, about those of a client in AWS's own region.
LATENCIES = {"receive": 0.010, "send": 0.010, "delete": 0.008, "batch": 0.015}
OPERATIONS = {
    "ReceiveMessage": LATENCIES["receive"],
    "SendMessage": LATENCIES["send"],
    "DeleteMessage": LATENCIES["delete"],
    **dict.fromkeys(
        ("SendMessageBatch", "DeleteMessageBatch", "ChangeMessageVisibilityBatch"),
        LATENCIES["batch"],
    ),
    "ChangeMessageVisibility": LATENCIES["delete"],
}
IDLE = "idle"


@dataclass(frozen=True)
class Contestant:
    """A queue library: its name in the table, its script, and how many tasks it is given."""

    name: str
    script: str
    backlog: int
    interpreter: Callable[[], Any] = lambda: None
    package: str = ""


SHARPWAVE = Contestant(OURS, "consume_dramatiq", 20_000)
DRAMATIQ_SQS = Contestant("dramatiq-sqs 0.4.4", "consume_dramatiq", 2_000, package="dramatiq_sqs")
CELERY = Contestant("Celery 5.7.0", "consume_celery", 2_000, lambda: TASKS.interpreter)
TASKIQ = Contestant("taskiq-aio-sqs 2.1.1", "consume_taskiq", 2_000, lambda: TASKS.interpreter)
PLAIN = Contestant("plain long poll", "consume_plain", 0)


@dataclass(frozen=True)
class Load:
    """Tasks of one length on so many threads."""

    threads: int
    task_s: float

    @property
    def case(self) -> str:
        """Name it in the table."""
        return f"{self.threads} x {f'{self.task_s * 1000:.0f} ms' if self.task_s else 'no-op'}"


@dataclass(frozen=True, kw_only=True)
class Sizes:
    """How much of everything is measured."""

    loads: Sequence[Load]
    runs: int
    warm_s: float
    measure_s: float
    samples: int


FULL = Sizes(
    loads=[
        Load(8, 0.0),
        Load(32, 0.0),
        Load(64, 0.0),
        Load(8, 0.05),
        Load(32, 0.05),
        Load(64, 0.2),
    ],
    runs=3,
    warm_s=0.8,
    measure_s=1.6,
    samples=30,
)
QUICK = Sizes(
    loads=[Load(8, 0.0), Load(32, 0.05), Load(64, 0.2)],
    runs=1,
    warm_s=0.6,
    measure_s=1.2,
    samples=10,
)


def measure(sizes: Sizes, tell: Callable[[str], None]) -> Iterator[Row]:
    """Measure every contestant in every case, first without HTTP and then with it."""
    yield from _layer(MEMORY, [SHARPWAVE, DRAMATIQ_SQS], sizes, tell, {"layer": "memory"}, {})
    with stub() as endpoint:
        contestants = [SHARPWAVE, DRAMATIQ_SQS, CELERY, TASKIQ]
        orders = {"layer": "http", "endpoint": endpoint}
        env = {"AWS_ENDPOINT_URL": endpoint}
        yield from _layer(HTTP, contestants, sizes, tell, orders, env)


def _layer(
    part: str,
    contestants: Sequence[Contestant],
    sizes: Sizes,
    tell: Callable[[str], None],
    orders: Mapping[str, Any],
    env: Mapping[str, str],
) -> Iterator[Row]:
    able = []
    for contestant in contestants:
        trouble = TASKS.trouble if contestant is not SHARPWAVE else ""
        if trouble:
            cases = [IDLE, *(load.case for load in sizes.loads)]
            yield from (Row(part=part, case=c, who=contestant.name, note=trouble) for c in cases)
        else:
            able.append(_Measuring(part, contestant, sizes, orders, env))
    idle = [*able, _Measuring(part, PLAIN, sizes, orders, env)]
    tell(f"{part}: idle")
    with ThreadPoolExecutor(len(idle)) as pool:  # none of them does much meanwhile
        yield from pool.map(_Measuring.idle, idle)
    for each in able:
        each.prepare()
    for load in sizes.loads:
        tell(f"{part}: {load.case}")
        found: dict[str, list[dict[str, Any]]] = {each.contestant.name: [] for each in able}
        # Run by run in turn, so that a slow minute of the machine meets all of them.
        for _ in range(sizes.runs):
            for each in able:
                found[each.contestant.name].append(each.drain(load))
        for each in able:
            yield summed(part, load.case, each.contestant.name, found[each.contestant.name])


class _Measuring:
    """One contestant in one layer."""

    def __init__(
        self,
        part: str,
        contestant: Contestant,
        sizes: Sizes,
        orders: Mapping[str, Any],
        env: Mapping[str, str],
    ) -> None:
        self.contestant = contestant
        self._part, self._sizes, self._env = part, sizes, env
        self._python = contestant.interpreter()
        queue = f"bench-{contestant.name.partition(' ')[0].lower()}"
        self._endpoint = orders.get("endpoint")
        self._orders = {
            **orders,
            "who": contestant.name,
            "queue": queue,
            "load": contestant.backlog,
            "latencies": LATENCIES,
        }

    def idle(self) -> Row:
        """Measure how soon a lone message is handled."""
        self._create()
        found = self._ask(mode="idle", threads=8, samples=self._sizes.samples)
        latencies = found.pop("latencies_s")
        found |= latency_figures(latencies)
        del found["p95_ms"], found["peak_mb"]
        return summed(self._part, IDLE, self.contestant.name, [found])

    def prepare(self) -> None:
        """Fill the queue once; every run begins with the same backlog."""
        if self._endpoint:
            control(self._endpoint, "/_latencies", {})
            self._ask(mode="load", threads=1)
            control(self._endpoint, "/_snapshot", {"queue": self._orders["queue"]})
            control(self._endpoint, "/_latencies", OPERATIONS)

    def drain(self, load: Load) -> dict[str, Any]:
        """Measure the throughput of one load."""
        if self._endpoint:
            control(self._endpoint, "/_rewind", {"queue": self._orders["queue"]})
        times = {"warm_s": self._sizes.warm_s + 2 * load.task_s, "measure_s": self._sizes.measure_s}
        found = self._ask(mode="drain", threads=load.threads, task_s=load.task_s, **times)
        if self._part == MEMORY:
            del found["peak_mb"]  # the queue lies in the same process
        return found

    def _create(self) -> None:
        if self._endpoint:
            control(self._endpoint, "/_create", {"queue": self._orders["queue"]})
            control(self._endpoint, "/_latencies", OPERATIONS)

    def _ask(self, **orders: Any) -> dict[str, Any]:
        env = local_environment(self._env)
        if self.contestant.package:
            env["BENCH_PACKAGES"] = str(TASKS.packages)
        try:
            return ask(
                self.contestant.script, {**self._orders, **orders}, env=env, python=self._python
            )
        except ContestantFailed as error:
            raise ContestantFailed(f"{self.contestant.name}: {error}") from error
