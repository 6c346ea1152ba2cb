"""What mattered in short-term memory is in long-term memory, once, before it can expire."""

from __future__ import annotations

import time
from concurrent.futures import ThreadPoolExecutor
from decimal import Decimal
from functools import partial
from threading import Barrier
from typing import TYPE_CHECKING, Any

from sharpwave.schemas import keys
from sharpwave.schemas.tables import DECISIONS, MEMORY, STATE
from sharpwave.schemas.times import day_and_hour
from sharpwave.workers.aws.tables import TableReads
from sharpwave.workers.aws.writes import BatchedWrites, SingleWrites, TableTransactions
from sharpwave.workers.memory.promote import Shown, promote
from tests.world.stores import MemoryParking

if TYPE_CHECKING:
    from tests.integration.conftest import World


def facts(world: World, agent: str) -> list[dict[str, Any]]:
    return list(world.items.query(MEMORY, keys.fact_pk(agent)))


def promote_after(world: World) -> float:
    return float(world.stack.environment["SHARPWAVE_PROMOTE_AFTER_S"])


def test_a_memory_becomes_a_fact_when_it_comes_of_age(world: World) -> None:
    hunter = world.agent("hunter")
    entry = world.memory(hunter, importance=Decimal("0.1"), data={"text": "whales gather"})

    [fact] = world.eventually(lambda: facts(world, hunter), "the memory is promoted")

    assert fact["learned_at"] >= fact["timestamp"] + promote_after(world)
    assert fact["data"] == {"text": "whales gather"}
    assert not {"ttl", "expires_at"} & fact.keys()
    promoted = world.eventually(lambda: marked(world, STATE, entry), "the memory is marked")
    assert promoted == fact["learned_at"]
    with world.sdk(hunter) as agent:
        assert [found["data"] for found in agent.recall("NOTE")] == [fact["data"]]


def test_what_is_important_or_read_often_becomes_a_fact_before(world: World) -> None:
    hunter = world.agent("hunter")
    world.memory(hunter, importance=Decimal("0.9"))
    often, seldom = world.memory(hunter), world.memory(hunter, importance=Decimal("0.79"))
    world.items.update(STATE, often, {"access_count": 10})
    world.items.update(STATE, seldom, {"access_count": 9})

    early = world.eventually(lambda: len(facts(world, hunter)) >= 2 and facts(world, hunter), "two")

    assert isinstance(early, list)
    assert seldom.sk not in [fact["SK"].partition("#")[2] for fact in early]
    for fact in early:
        assert fact["learned_at"] < fact["timestamp"] + promote_after(world)


def test_a_strategy_is_read_by_whom_it_is_shared_with_until_it_is_revoked(world: World) -> None:
    hunter, bob = world.agent("hunter"), world.agent("bob")
    with world.sdk(hunter) as agent, world.sdk(bob) as reader:
        kept = agent.remember("STRATEGY", {"text": "buy low"})
        world.eventually(lambda: agent.recall("STRATEGY"), "it is long-term memory")
        agent.share(kept, agents=[bob])
        [copy] = world.eventually(reader.shared_memories, "the reader has it")

        agent.unshare(kept)
        world.eventually(lambda: not reader.shared_memories(), "the reader has it no more")
        agent.forget(kept)
        world.eventually(lambda: not agent.recall("STRATEGY"), "it is forgotten")

    assert (copy["agent_id"], copy["data"]) == (hunter, {"text": "buy low"})


def test_ten_workers_at_once_make_one_fact(world: World, raw: Any) -> None:
    hunter = world.agent("hunter")
    key = world.memory(hunter)
    entry, start = world.items.get(STATE, key), Barrier(10)
    assert entry is not None
    single = world.stack.environment["SHARPWAVE_WRITES"] == "single"
    adapter = SingleWrites if single else BatchedWrites
    writes = adapter(world.deployment.dynamodb, prefix=world.deployment.prefix)

    reads = TableReads(world.deployment.dynamodb, prefix=world.deployment.prefix)
    transactions = TableTransactions(world.deployment.dynamodb, prefix=world.deployment.prefix)

    def work() -> int:
        start.wait()
        shown = [Shown(entry)]
        return promote(
            shown,
            reads=reads,
            writes=writes,
            transactions=transactions,
            parking=MemoryParking(),
            clock=time.time,
        )

    with ThreadPoolExecutor(10) as pool:
        new = sum(job.result() for job in [pool.submit(work) for _ in range(10)])
    for _ in range(10):
        world.feed(STATE, [raw["record"](entry | {"importance": 1})])
    world.eventually(lambda: not world.waiting("promote"), "no promotion is left")

    assert new == 1
    assert len(facts(world, hunter)) == 1


def test_a_memory_removed_by_its_ttl_unpromoted_is_kept_as_a_fact(world: World, raw: Any) -> None:
    hunter = world.agent("hunter")
    entry = raw["memory"](hunter, data={"text": "almost lost"})
    by_ttl = {"type": "Service", "principalId": "dynamodb.amazonaws.com"}

    world.feed(STATE, [raw["record"](None, old=entry, userIdentity=by_ttl)])

    [fact] = world.eventually(lambda: facts(world, hunter), "the memory is promoted")
    assert fact["data"] == entry["data"]
    world.eventually(lambda: not world.waiting("promote"), "no promotion is left")
    assert world.items.get(STATE, keys.Key(entry["PK"], entry["SK"])) is None


def test_an_episode_sums_a_day_up_and_follows_a_late_outcome(world: World) -> None:
    hunter = world.agent("hunter")
    yesterday = time.time() - 86_400
    day, _ = day_and_hour(int(yesterday), None)
    won, late = (
        world.decision(hunter, at=yesterday + number, reasoning={"selected": ["whales"]})
        for number in range(2)
    )
    world.outcome(won, success=True, quality_score=Decimal("0.8"))
    episode = keys.episode(hunter, "SOURCE_SELECTION", day)

    def figures() -> tuple[int, ...]:
        row = world.items.get(MEMORY, episode) or {}
        return tuple(row.get(name, -1) for name in ("sample_size", "successes", "pending"))

    world.eventually(lambda: figures() == (1, 1, 1), "the day is summed up")
    for key in (won, late):
        world.eventually(partial(marked, world, DECISIONS, key), "it is marked")

    world.outcome(late, success=False, quality_score=Decimal("0.2"))

    world.eventually(lambda: figures() == (2, 1, 0), "the day is summed up again")
    row = world.items.get(MEMORY, episode) or {}
    assert (row["quality_mean"], row["sources"]) == (Decimal("0.5"), {"whales": 2})
    assert (world.items.get(DECISIONS, late) or {})["is_stm"] is False


def marked(world: World, table: str, key: keys.Key) -> Any:
    return (world.items.get(table, key) or {}).get("promoted_at")
