"""What the parts that need AWS run on: one local backend, and deployments with a prefix each."""

import itertools
import json
import os
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from sharpwave.infra.connection import connect
from sharpwave.infra.items import Items
from sharpwave.infra.local import open_backend
from sharpwave.infra.local.processes import Child
from sharpwave.infra.local.stack import READY_WITHIN_S, StackNotReady, worker_argv
from sharpwave.infra.operate.agents import Wishes, add_agent
from sharpwave.infra.provision.structure import provision
from sharpwave.schemas import keys
from sharpwave.schemas.ids import signal_id
from sharpwave.schemas.numbers import item_to_wire
from sharpwave.schemas.queues import INBOX_PREFIX
from sharpwave.schemas.tables import PIPELINE, STREAMED
from sharpwave.schemas.times import iso_ms
from tests.bench.figures import ratio
from tests.bench.peers import local_environment

#: The embedded backend's tables, and queues faster than its own.
BACKEND = "embedded+fauxqs"
_NUMBERS = itertools.count(1)
_WRITERS = 4
_BATCH = 25

Item = dict[str, Any]


class Place:
    """One deployment on the backend, with its processes."""

    def __init__(self, environment: Mapping[str, str], folder: Path, agents: Sequence[str]) -> None:
        prefix = f"b{next(_NUMBERS)}"
        self.environment = local_environment(
            {
                **environment,
                "SHARPWAVE_PREFIX": prefix,
                "SHARPWAVE_ARCHIVE": (folder / "archive").as_uri(),
            }
        )
        self.deployment = connect(self.environment, prefix=prefix)
        self.agents = agents
        self.folder = folder
        self._exit = ExitStack()
        provision(self.deployment)
        for agent in agents:
            add_agent(self.deployment, agent, Wishes())

    def close(self) -> None:
        """Stop what was started here."""
        self._exit.close()

    def start(self, argv: Sequence[str], extra: Mapping[str, str]) -> Child:
        """Run a command in this deployment's environment until it is closed."""
        log = self.folder / f"{len(list(self.folder.iterdir()))}.log"
        child = Child(argv, env={**self.environment, **extra}, log=log, grace_s=8.0)
        self._exit.callback(child.stop)
        return child

    def pump(self, extra: Mapping[str, str] | None = None) -> Child:
        """Run a pump, changed by `BENCH_*` variables."""
        return self.start([sys.executable, "-m", "tests.bench.hosts"], extra or {})

    def workers(
        self,
        queue: str,
        *,
        processes: int = 1,
        threads: int = 8,
        build: str = "",
        extra: Mapping[str, str] | None = None,
    ) -> Child:
        """Run worker processes of one queue, ours unless `build` names another host."""
        argv = worker_argv(queue, processes=processes, threads=threads)
        if build:
            argv[argv.index("sharpwave.workers.main:build")] = build
        return self.start(argv, {"SHARPWAVE_THREADS": str(threads), **(extra or {})})

    def wait_ready(self, queues: Sequence[str]) -> None:
        """Wait until the workers of these queues and the pump have shown a sign of life.

        Raises:
            StackNotReady: they did not in a minute.
        """
        wanted = {*queues, *(f"pump:{table}" for table in STREAMED)}
        deadline = time.monotonic() + READY_WITHIN_S
        while missing := wanted - self._alive():
            if time.monotonic() > deadline:
                raise StackNotReady(f"{', '.join(sorted(missing))} showed no sign of life")
            time.sleep(0.1)

    def _alive(self) -> set[str]:
        rows = Items(self.deployment).query(PIPELINE, keys.PRESENCE_PK)
        return {name for row in rows for name in (row["SK"], *row.get("queues", ()))}

    def url(self, queue: str) -> str:
        """Give a queue's URL."""
        name = self.deployment.name(queue)
        return str(self.deployment.sqs.get_queue_url(QueueName=name)["QueueUrl"])

    def write(self, table: str, items: Sequence[Item]) -> None:
        """Write items in batches, as fast as they are taken."""
        name = self.deployment.name(table)
        client = self.deployment.dynamodb
        batches = [items[at : at + _BATCH] for at in range(0, len(items), _BATCH)]

        def put(batch: Sequence[Item]) -> None:
            requests: Any = [{"PutRequest": {"Item": item_to_wire(item)}} for item in batch]
            client.batch_write_item(RequestItems={name: requests})

        with ThreadPoolExecutor(_WRITERS) as pool:
            list(pool.map(put, batches))

    def signals(self, number: int, targets: Sequence[str]) -> list[Item]:
        """Make that many new signals."""
        return [signal(targets, serial) for serial in range(number)]

    def arrived(self) -> int:
        """Count the messages that lie in the agents' queues."""
        return sum(self.depth(f"{INBOX_PREFIX}{agent}") for agent in self.agents)

    def depth(self, queue: str) -> int:
        """Count the messages of a queue that are ready."""
        names: Any = ["ApproximateNumberOfMessages"]
        answer = self.deployment.sqs.get_queue_attributes(
            QueueUrl=self.url(queue), AttributeNames=names
        )
        return int(answer["Attributes"]["ApproximateNumberOfMessages"])

    def empty_inboxes(self) -> Counter[str]:
        """Receive and delete everything in the agents' queues; counts each delivery."""
        found: Counter[str] = Counter()
        with ThreadPoolExecutor(len(self.agents)) as pool:
            for part in pool.map(self._empty, self.agents):
                found += part
        return found

    def _empty(self, agent: str) -> Counter[str]:
        found: Counter[str] = Counter()
        client, url = self.deployment.sqs, self.url(f"{INBOX_PREFIX}{agent}")
        while True:
            few = client.receive_message(QueueUrl=url, MaxNumberOfMessages=10).get("Messages", ())
            if not few:
                return found
            found.update(json.loads(message["Body"])["delivery_id"] for message in few)
            entries: Any = [
                {"Id": str(at), "ReceiptHandle": message["ReceiptHandle"]}
                for at, message in enumerate(few)
            ]
            client.delete_message_batch(QueueUrl=url, Entries=entries)


class Bed:
    """The backend, running."""

    def __init__(self, environment: Mapping[str, str]) -> None:
        self.environment = environment

    @contextmanager
    def place(self, agents: Sequence[str]) -> Iterator[Place]:
        """Make a deployment; its processes end with the block."""
        with TemporaryDirectory(prefix="sharpwave-bench-") as folder:
            place = Place(self.environment, Path(folder), agents)
            try:
                yield place
            finally:
                place.close()


@contextmanager
def bed() -> Iterator[Bed]:
    """Run the backend."""
    with open_backend(BACKEND) as backend:
        yield Bed(backend.environment)


def signal(targets: Sequence[str], serial: int, *, source: str = "source") -> Item:
    """Make a signal of about 1 KB, stored now."""
    now, kind, record_id = int(time.time()), f"BENCH_{serial % 16}", signal_id()
    return {
        "PK": keys.signal_pk(kind, source),
        "SK": keys.dated_sk(iso_ms(now), record_id),
        "signal_id": record_id,
        "signal_type": kind,
        "source_agent": source,
        "target_agents": list(targets),
        "timestamp": now,
        "iso_timestamp": iso_ms(now),
        "ttl": now + 86_400,
        "data": {"serial": serial, "text": "x" * 500},
    }


def peak_mb(child: Child) -> float | None:
    """Give the most memory that any process of a child's group has had, where the system tells."""
    peaks = [_peak_kb(process) for process in _group(child)]
    return max(peaks) / 1024 if peaks else None


def cpu_s(child: Child) -> float | None:
    """Give the processor time of a child's group so far, where the system tells."""
    ticks = [sum(map(int, _stat(process)[11:13])) for process in _group(child)]
    return sum(ticks) / os.sysconf("SC_CLK_TCK") if ticks else None


def _group(child: Child) -> list[Path]:
    processes = [stat.parent for stat in Path("/proc").glob("[0-9]*/stat")]
    return [each for each in processes if _stat(each)[2:3] == [str(child.pid)]]


def _stat(process: Path) -> list[str]:
    """Give what follows the name: state, parent, group and so on."""
    try:
        return (process / "stat").read_text().rpartition(")")[2].split()
    except OSError:
        return []


def _peak_kb(process: Path) -> float:
    try:
        lines = (process / "status").read_text().splitlines()
    except OSError:
        return 0.0
    return float(next((line.split()[1] for line in lines if line.startswith("VmHWM")), 0))


class Watch:
    """Notes how a count grows and what has been spent on it.

    Figures are of its middle, between a tenth and nine tenths of the total: without start and end.

    Args:
        count: gives the count.
        spent: gives what was spent so far, if that is known.
    """

    def __init__(
        self,
        count: Callable[[], int],
        *,
        spent: Callable[[], float | None] = lambda: None,
        every_s: float = 0.2,
    ) -> None:
        self._count, self._spent, self._every_s = count, spent, every_s
        self.seen: list[tuple[float, int, float | None]] = []

    def until(self, total: int, *, quiet_s: float) -> int:
        """Look until the total is reached, or nothing has changed for a while."""
        changed, last = time.monotonic(), -1
        while time.monotonic() - changed < quiet_s:
            now, number = time.monotonic(), self._count()
            self.seen.append((now, number, self._spent()))
            if number != last:
                changed, last = now, number
            if number >= total:
                break
            threading.Event().wait(self._every_s)
        return last

    def rate(self, total: int) -> float | None:
        """Give the growth per second."""
        (began, low, _), (ended, high, _) = self._middle(total)
        return ratio(high - low, ended - began)

    def cost(self, total: int) -> float | None:
        """Give what one more was worth."""
        (_, low, before), (_, high, after) = self._middle(total)
        return None if before is None or after is None else ratio(after - before, high - low)

    def _middle(self, total: int) -> tuple[tuple[float, int, float | None], ...]:
        middle = [each for each in self.seen if 0.1 * total <= each[1] <= 0.9 * total]
        return (middle[0], middle[-1]) if middle else ((0.0, 0, None), (0.0, 0, None))
