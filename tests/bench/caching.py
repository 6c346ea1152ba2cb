"""Caches of recent reads: what they save the demo's five agents, and what they cost.

At each step one agent decides and notes something, then looks at what is new: its latest
decisions, its notes, and some decisions made of late by any of them. Steps are `STEP_S` apart by a
clock of the measurement's own, so that times to live count as they would. Each agent has a memory
of its own, for elsewhere it is a process of its own; the cluster is one for all.
"""

import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from functools import partial
from typing import Any
from uuid import uuid4

import boto3

from sharpwave.infra.cost.bill import MILLION, load_prices
from sharpwave.infra.demo.agents import AGENTS
from sharpwave.infra.local import open_backend
from sharpwave.infra.local.backend import LOCAL_CREDENTIALS
from sharpwave.infra.local.dax import CacheSettings, DaxServer, dynamodb_client
from sharpwave.producers import Agent, DaxCache, MemoryCache
from sharpwave.schemas import tables
from tests.bench.figures import latency_figures, ratio
from tests.bench.results import OURS, Row, summed
from tests.bench.system import BACKEND

PART = "cache"
READS, HIT, BREAK_EVEN = "five agents at work", "one decision, again and again", "break-even"
NONE, MEMORY, DAX = f"{OURS}, no cache", f"{OURS}, memory", f"{OURS}, DAX (ours)"
STEP_S = 2.0
ITEM_TTL_S, QUERY_TTL_S = 300.0, 5.0
#: An eventually consistent read of up to 4 KB. Source: AWS, read request units.
UNITS_A_READ = 0.5
_LATELY = 10


class _Clock:
    """The time that caches go by."""

    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now


def measure(steps: int, tell: Callable[[str], None]) -> Iterator[Row]:
    """Measure the three caches on a backend that does not know of them."""
    saved = 0.0
    with open_backend(BACKEND) as backend:
        for who in (NONE, MEMORY, DAX):
            tell(f"{PART}: {who}")
            with ExitStack() as opened:
                fleet = _Fleet(backend.endpoint_url, who, opened)
                reads = fleet.work(steps)
                yield summed(PART, READS, who, [reads])
                yield summed(PART, HIT, who, [fleet.read_again(steps)])
                saved = (reads["answered_from_cache_percent"] or 0.0) / 100
    yield from break_even(saved)


class _Fleet:
    """The demo's agents on tables of their own, with one kind of cache."""

    def __init__(self, endpoint: str, who: str, opened: ExitStack) -> None:
        self._clock, prefix = _Clock(), f"c{uuid4().hex[:8]}"
        dynamodb = dynamodb_client(endpoint)
        for table in tables.TABLES:
            dynamodb.create_table(**tables.create_request(table, prefix))
        cache: MemoryCache | DaxCache | None = None
        self._cluster: DaxServer | None = None
        if who == MEMORY:
            cache = MemoryCache(ITEM_TTL_S, QUERY_TTL_S, clock=self._clock)
        elif who == DAX:
            settings = CacheSettings(ITEM_TTL_S, QUERY_TTL_S)
            cluster = DaxServer(dynamodb, settings=settings, clock=self._clock)
            self._cluster = opened.enter_context(cluster)
            cache = DaxCache(cluster.endpoint, ITEM_TTL_S, clock=self._clock)
        session = boto3.Session(
            LOCAL_CREDENTIALS["AWS_ACCESS_KEY_ID"],
            LOCAL_CREDENTIALS["AWS_SECRET_ACCESS_KEY"],
            region_name=LOCAL_CREDENTIALS["AWS_REGION"],
        )
        self._agents = [
            opened.enter_context(
                Agent(name, prefix=prefix, session=session, endpoint_url=endpoint, cache=cache)
            )
            for name in AGENTS
        ]
        self._asked = 0
        for agent in self._agents:
            events = agent._driver._clients["dynamodb"].meta.events
            events.register("before-call.dynamodb", self._count)

    def _count(self, model: Any, **_: Any) -> None:
        self._asked += model.name in ("GetItem", "Query", "BatchGetItem")

    def work(self, steps: int) -> dict[str, float | None]:
        """Let the agents work and look around; gives what their reads took and asked for."""
        seen: list[str] = []
        took: list[float] = []
        for step in range(steps):
            agent = self._agents[step % len(self._agents)]
            made = agent.decide("RISK_ASSESSMENT", context={"step": step})
            agent.remember("NOTE", {"step": step}, importance=0.5)
            seen = [*seen, made.decision_id][-_LATELY:]
            looks: list[Callable[[], Any]] = [
                partial(agent.recent, limit=5),
                partial(agent.memories, "NOTE", limit=5),
                *(partial(agent.decision, each) for each in seen[:: _LATELY // 3]),
            ]
            for look in looks:
                began = time.perf_counter()
                look()
                took.append(time.perf_counter() - began)
            self._clock.now += STEP_S
        hits, answered = self._answered()
        asked = self._asked + answered - hits if self._cluster else self._asked
        share = 1 - asked / (hits + asked)
        figures = latency_figures(took)
        price = load_prices().prices["dynamodb_read"]
        return {
            "p50_ms": figures["p50_ms"],
            "p95_ms": figures["p95_ms"],
            "answered_from_cache_percent": share * 100,
            "asked_of_dynamodb_per_look": asked / len(took),
            "usd_per_million_looks": price.of(asked / len(took) * UNITS_A_READ * MILLION),
        }

    def read_again(self, times: int) -> dict[str, float | None]:
        """Read one item through the SDK, as the cache has it."""
        agent = self._agents[0]
        (decision, *_) = agent.recent(limit=1)
        other = self._agents[1]
        took = []
        for _ in range(times):
            began = time.perf_counter()
            other.decision(decision.decision_id)
            took.append(time.perf_counter() - began)
        return latency_figures(took)

    def _answered(self) -> tuple[int, int]:
        """Give how many requests a cache answered from what it held, and how many it took."""
        if self._cluster is not None:
            counted = self._cluster.counters
            hits = counted["item_hits"] + counted["query_hits"]
            return hits, hits + counted["item_misses"] + counted["query_misses"]
        hits = sum(agent.counters["cache_hits"] for agent in self._agents)
        return hits, hits


def break_even(hit_rate: float) -> Iterator[Row]:
    """Say from how many reads a second on a cluster costs less than the reads it saves."""
    prices = load_prices().prices
    saved_usd = prices["dynamodb_read"].of(UNITS_A_READ)
    for nodes in (1, 3):
        hourly = prices["dax_t3_small_hour"].of(nodes)
        figures = {
            "nodes_usd_an_hour": hourly,
            "at_this_hit_rate_reads_per_s": ratio(hourly / 3600, saved_usd * hit_rate),
            "if_all_hit_reads_per_s": hourly / 3600 / saved_usd,
        }
        yield summed(PART, BREAK_EVEN, f"{nodes} x dax.t3.small", [figures])
