"""An agent's own limit: what a thousand calls under it write, and how long they take.

One process that takes as it likes, and eight that share one limit and wait for their turns. What
is written is counted at the client: a draw writes one unit, whether its condition held or not.
"""

import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from typing import Any
from uuid import uuid4

import boto3

from sharpwave.infra.local import open_backend
from sharpwave.infra.local.backend import LOCAL_CREDENTIALS
from sharpwave.infra.local.dax import dynamodb_client
from sharpwave.producers import Agent
from sharpwave.schemas import tables
from tests.bench.figures import latency_figures
from tests.bench.results import OURS, Row, summed
from tests.bench.system import BACKEND

PART = "limits"
FREE, SHARED = "one process, below the limit", "eight processes, at the limit"
PER_MINUTE, PROCESSES = 12_000, 8


def measure(calls: int, tell: Callable[[str], None]) -> Iterator[Row]:
    """Measure both cases with `calls` calls each."""
    tell(PART)
    with open_backend(BACKEND) as backend:
        # As many as there are at once, so that nobody has to wait.
        for case, processes, burst in ((FREE, 1, calls), (SHARED, PROCESSES, PER_MINUTE // 60)):
            with ExitStack() as opened:
                found = _take(backend.endpoint_url, processes, burst, calls, opened)
            yield summed(PART, case, OURS, [found])


def _take(
    endpoint: str, processes: int, burst: int, calls: int, opened: ExitStack
) -> dict[str, float | None]:
    prefix = f"l{uuid4().hex[:8]}"
    dynamodb = dynamodb_client(endpoint)
    state = next(table for table in tables.TABLES if table.name == tables.STATE)
    dynamodb.create_table(**tables.create_request(state, prefix))
    session = boto3.Session(
        LOCAL_CREDENTIALS["AWS_ACCESS_KEY_ID"],
        LOCAL_CREDENTIALS["AWS_SECRET_ACCESS_KEY"],
        region_name=LOCAL_CREDENTIALS["AWS_REGION"],
    )
    # Each is a process as far as its limit knows: it shares nothing with the others.
    agents = [
        opened.enter_context(Agent("a", prefix=prefix, session=session, endpoint_url=endpoint))
        for _ in range(processes)
    ]
    writes: list[str] = []
    for agent in agents:
        events = agent._driver._clients["dynamodb"].meta.events
        events.register("before-call.dynamodb", lambda model, **_: writes.append(model.name))

    def work(agent: Agent) -> list[float]:
        limiter, took = agent.limit("calls", per_minute=PER_MINUTE, burst=burst), []
        for _ in range(calls // processes):
            began = time.perf_counter()
            limiter.wait()
            took.append(time.perf_counter() - began)
        return took

    began = time.perf_counter()
    with ThreadPoolExecutor(processes) as pool:
        took: list[Any] = [each for some in pool.map(work, agents) for each in some]
    thousands = len(took) / 1000
    return {
        **latency_figures(took),
        "write_units_per_thousand": len(writes) / thousands,
        "ms_per_thousand": (time.perf_counter() - began) * 1000 / thousands,
    }
