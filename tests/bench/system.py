"""What the parts that need AWS measure: a system of ours on a local backend, under a prefix."""

import itertools
import json
import sys
import time
from collections import Counter
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, Self

from sharpwave.infra.connection import connect
from sharpwave.infra.items import Items
from sharpwave.infra.local import Backend
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
from tests.bench.peers import local_environment

#: The embedded backend's tables, and queues faster than its own.
BACKEND = "embedded+fauxqs"
_NUMBERS = itertools.count(1)
_WRITERS = 4
_BATCH = 25

Item = dict[str, Any]


class System:
    """One deployment on a backend, with the processes that are started for it; end it by `with`."""

    def __init__(self, backend: Backend, agents: Sequence[str]) -> None:
        self._exit = ExitStack()
        scratch = TemporaryDirectory(prefix="sharpwave-bench-")
        self.folder, self.agents = Path(self._exit.enter_context(scratch)), agents
        prefix = f"b{next(_NUMBERS)}"
        self.environment = local_environment(
            {
                **backend.environment,
                "SHARPWAVE_PREFIX": prefix,
                "SHARPWAVE_ARCHIVE": (self.folder / "archive").as_uri(),
            }
        )
        self.deployment = connect(self.environment, prefix=prefix)

    def __enter__(self) -> Self:
        """Make tables and queues, and register the agents."""
        with ExitStack() as undo:
            undo.callback(self.stop)
            provision(self.deployment)
            for agent in self.agents:
                add_agent(self.deployment, agent, Wishes())
            undo.pop_all()
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    def stop(self) -> None:
        """Stop what was started here, once."""
        self._exit.close()

    def start(self, argv: Sequence[str], extra: Mapping[str, str]) -> Child:
        """Run a command in this deployment's environment until it is stopped."""
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
        while True:
            rows = Items(self.deployment).query(PIPELINE, keys.PRESENCE_PK)
            alive = {name for row in rows for name in (row["SK"], *row.get("queues", ()))}
            if not (missing := wanted - alive):
                return
            if time.monotonic() > deadline:
                raise StackNotReady(f"{', '.join(sorted(missing))} showed no sign of life")
            time.sleep(0.1)

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
