"""An agent that reads by way of a cluster or of its memory finds what it would without."""

import asyncio
import os
from typing import Any
from uuid import uuid4

import pytest

from sharpwave.infra.local import Backend
from sharpwave.infra.local.dax import DaxServer
from sharpwave.producers import Agent, AsyncAgent, DaxCache, MemoryCache
from sharpwave.schemas import tables


@pytest.fixture
def prefix(dynamodb: Any, backend: Backend, monkeypatch: pytest.MonkeyPatch) -> str:
    """Tables of this test's own, where AWS's settings point."""
    for name in [name for name in os.environ if name.startswith("AWS_")]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("AWS_ENDPOINT_URL", backend.endpoint_url)
    prefix = f"d{uuid4().hex[:8]}"
    for table in tables.TABLES:
        dynamodb.create_table(**tables.create_request(table, prefix))
    return prefix


def test_agents_read_each_others_decisions_by_way_of_a_cluster(
    prefix: str, cluster: DaxServer
) -> None:
    writer = Agent("risk", prefix=prefix)
    with Agent("risk", prefix=prefix, dax_endpoint=cluster.endpoint) as reader:
        made = writer.decide("RISK_ASSESSMENT", context={"why": "test"})

        first = reader.decision(made.decision_id)
        again = reader.decision(made.decision_id)

        assert first == again
        assert first is not None
        assert first.context == {"why": "test"}
        # Each time a query for where it lies, and the item.
        assert reader.counters == {"dax_reads": 4}
        assert (cluster.counters["query_hits"], cluster.counters["item_hits"]) == (1, 1)
        assert [each.decision_id for each in reader.recent()] == [made.decision_id]
    writer.close()


def test_an_async_agent_does_so_too(prefix: str, cluster: DaxServer) -> None:
    async def main() -> tuple[Any, Any, Any]:
        async with AsyncAgent("risk", prefix=prefix, cache=DaxCache(cluster.endpoint)) as agent:
            made = await agent.decide("RISK_ASSESSMENT", context={})
            # By way of the cluster where it lies; the item, its own, beside it.
            found = await agent.decision(made.decision_id)
            await agent.memories("NOTE")
            return made, found, dict(agent.counters)

    made, found, counters = asyncio.run(main())

    assert found.decision_id == made.decision_id
    assert counters == {"dax_reads": 2}


def test_an_agent_with_a_memory_asks_once(prefix: str) -> None:
    with Agent("risk", prefix=prefix, cache=MemoryCache()) as agent:
        made = agent.decide("RISK_ASSESSMENT", context={})
        found = [agent.decision(made.decision_id) for _ in range(3)]

        assert {each.decision_id for each in found if each} == {made.decision_id}
        # Where it lies it asked once, and the item, which it wrote, never.
        assert agent.counters == {"cache_hits": 5, "cache_misses": 1}
