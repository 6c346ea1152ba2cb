"""End to end: from a signal's write to its target's receive, ours beside others and the floor."""

import json
import re
import sys
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass
from typing import Any

from sharpwave.infra.local import Backend, open_backend
from sharpwave.schemas.queues import WORK_QUEUE_NAMES
from sharpwave.workers.settings import Settings
from tests.bench.figures import latency_figures
from tests.bench.peers import AGENT_MAIL, LANGGRAPH, SCRIPTS, ContestantFailed, Peer, ask
from tests.bench.results import OURS, Row, summed
from tests.bench.system import BACKEND, System

PART = "e2e"
RAW = f"{OURS}, agents on plain boto3"
AGENTS = ("alice", "bob", "carol")
#: Bytes of text in each message, and how often those look that cannot be woken, in seconds.
TEXT_BYTES, POLL_S = 512, 0.05
RATE = 20
#: What takes longer does not keep up.
PATIENCE_S = 60.0


@dataclass(frozen=True)
class Messenger:
    """A way to send messages: its name in the table, its script, where it runs."""

    name: str
    script: str
    peer: Peer | None
    setting: Callable[[System, Mapping[str, Any]], AbstractContextManager[Mapping[str, Any]]]


@dataclass(frozen=True)
class Load:
    """How many targets, and how messages are sent."""

    targets: int
    orders: Mapping[str, Any]

    @property
    def case(self) -> str:
        """Name it in the table."""
        people = f"{self.targets} target{'s' * (self.targets > 1)}"
        is_open = self.orders["mode"] == "open"
        return f"{people}, {f'{RATE}/s at random' if is_open else 'one by one'}"


@contextmanager
def _ours(system: System, orders: Mapping[str, Any]) -> Iterator[Mapping[str, Any]]:
    for queue in WORK_QUEUE_NAMES:
        system.workers(queue)
    system.pump()
    system.wait_ready(WORK_QUEUE_NAMES)
    yield {"prefix": system.deployment.prefix}


@contextmanager
def _floor(system: System, orders: Mapping[str, Any]) -> Iterator[Mapping[str, Any]]:
    table = system.deployment.name("floor")
    more = {"table": table, "queue": f"{table}-hop", "pump_wait_s": Settings.read().pump_wait_s}
    system.deployment.dynamodb.create_table(
        TableName=table,
        BillingMode="PAY_PER_REQUEST",
        KeySchema=[
            {"AttributeName": "PK", "KeyType": "HASH"},
            {"AttributeName": "SK", "KeyType": "RANGE"},
        ],
        AttributeDefinitions=[
            {"AttributeName": "PK", "AttributeType": "S"},
            {"AttributeName": "SK", "AttributeType": "S"},
        ],
        StreamSpecification={"StreamEnabled": True, "StreamViewType": "NEW_AND_OLD_IMAGES"},
    )
    for queue in (more["queue"], *(f"{table}-{target}" for target in orders["targets"])):
        system.deployment.sqs.create_queue(QueueName=str(queue))
    for role in ("stream", "hop"):
        script = str(SCRIPTS / "flow_floor.py")
        system.start([sys.executable, script, json.dumps({**orders, **more, "role": role})], {})
    yield {**more, "role": "ends"}


def _store(system: System, orders: Mapping[str, Any]) -> AbstractContextManager[Mapping[str, Any]]:
    endpoint = system.environment["AWS_ENDPOINT_URL"]
    return nullcontext({"table": system.deployment.name("store"), "endpoint": endpoint})


@contextmanager
def _mail(system: System, orders: Mapping[str, Any]) -> Iterator[Mapping[str, Any]]:
    with tempfile.TemporaryDirectory(prefix="sharpwave-bench-") as folder:
        system.environment |= {
            "HOME": folder,
            "STORAGE_ROOT": folder,
            "DATABASE_URL": f"sqlite+aiosqlite:///{folder}/mail.sqlite3",
            "CONTACT_ENFORCEMENT_ENABLED": "false",
            "LLM_ENABLED": "false",
            "TOOLS_LOG_ENABLED": "false",
            "LOG_RICH_ENABLED": "false",
            "LOG_LEVEL": "ERROR",
        }
        yield {}


MESSENGERS = (
    Messenger(OURS, "flow_sharpwave", None, _ours),
    Messenger(RAW, "flow_raw", None, _ours),
    Messenger("floor: two plain hops", "flow_floor", None, _floor),
    Messenger("LangGraph DynamoDBStore 1.2.6, polled", "flow_langgraph", LANGGRAPH, _store),
    Messenger("MCP Agent Mail 0.1.0, polled", "flow_agent_mail", AGENT_MAIL, _mail),
)


def measure(count: int, seconds: float, runs: int, tell: Callable[[str], None]) -> Iterator[Row]:
    """Measure every messenger under every load."""
    loads = [
        Load(targets, orders)
        for targets in (1, 3)
        for orders in (
            {"mode": "closed", "count": count},
            {"mode": "open", "rate": RATE, "seconds": seconds},
        )
    ]
    with open_backend(BACKEND) as backend:
        for load in loads:
            tell(f"{PART}: {load.case}")
            found: dict[str, list[dict[str, Any]]] = {each.name: [] for each in MESSENGERS}
            trouble: dict[str, str] = {}
            for _ in range(runs):
                for messenger in MESSENGERS:
                    if messenger.name in trouble:
                        continue
                    try:
                        found[messenger.name].append(_run(backend, messenger, load))
                    except ContestantFailed as error:
                        if messenger.peer is None:
                            raise
                        trouble[messenger.name] = _in_short(str(error))
            yield from _rows(load, found, trouble)


def _rows(
    load: Load, found: Mapping[str, Sequence[Mapping[str, Any]]], trouble: Mapping[str, str]
) -> Iterator[Row]:
    for name, runs in found.items():
        yield summed(PART, load.case, name, runs, note=trouble.get(name, ""))


def _run(backend: Backend, messenger: Messenger, load: Load) -> dict[str, Any]:
    if messenger.peer is not None and (trouble := messenger.peer.trouble):
        raise ContestantFailed(trouble)
    targets = list(AGENTS[: load.targets])
    orders = {**load.orders, "targets": targets, "bytes": TEXT_BYTES, "poll_s": POLL_S}
    python = messenger.peer.interpreter if messenger.peer else None
    agents = ("source", *targets)
    with System(backend, agents) as system, messenger.setting(system, orders) as more:
        found = ask(
            messenger.script,
            {**orders, **more},
            env=system.environment,
            python=python,
            patience_s=PATIENCE_S,
        )
    return {**latency_figures(found.pop("latencies_s")), **found}


def _in_short(said: str) -> str:
    """Give the first line, and the last that says something: errors are framed in boxes."""
    lines = [" ".join(re.findall(r"[\x21-\x7e]+", line)) for line in said.splitlines()]
    told = [line for line in lines if re.search("[A-Za-z]{3}", line)]
    return " ... ".join(dict.fromkeys([told[0], told[-1]]))[:200] if told else ""
