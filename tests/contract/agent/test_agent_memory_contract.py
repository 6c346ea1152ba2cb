"""What an agent remembers lasts as it should, fades, and is read by whom it is shared with."""

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

from sharpwave.producers import strength
from sharpwave.producers.errors import LargeEntryLost, NotConfigured, RecordMissing, RecordRefused
from sharpwave.schemas import keys, tables
from sharpwave.schemas.times import DAY_S
from sharpwave.workers.aws.tables import TableReads
from sharpwave.workers.aws.writes import SingleWrites, TableTransactions
from sharpwave.workers.memory.promote import Shown, promote
from tests.world.stores import MemoryParking

Connect = Callable[..., Any]


def promoted(pipeline: Any, *entries: Any) -> None:
    """Do what workers do when an entry came or changed."""
    names = {"prefix": pipeline.prefix}
    promote(
        [Shown(pipeline.item(tables.STATE, entry.key)) for entry in entries],
        reads=TableReads(pipeline.dynamodb, **names),
        writes=SingleWrites(pipeline.dynamodb, **names),
        transactions=TableTransactions(pipeline.dynamodb, **names),
        parking=MemoryParking(),
        clock=lambda: 1_800_000_000,
    )


def test_strategies_and_facts_last_and_are_listed_by_domain_and_time(connect: Connect) -> None:
    moment = [1_800_000_000.0]
    agent = connect("hunter", clock=lambda: moment[0])
    old = agent.remember("STRATEGY", {"n": 1}, domain="crypto", event_time="2008-10-10T09:30:00Z")
    moment[0] += 30 * DAY_S
    new = agent.remember("STRATEGY", {"n": 2}, domain="bonds", event_time="2008-10-11")
    fact = agent.remember("FACT", {"n": 3})

    assert agent.memories("STRATEGY") == [new, old]
    assert agent.memories("STRATEGY", domain="crypto") == [old]
    assert agent.memories("STRATEGY", until=1_800_000_000) == [old]
    assert agent.memories("STRATEGY", since=1_800_000_001) == [new]
    assert agent.memories("STRATEGY", event_until="2008-10-10") == [old]
    assert agent.memories("STRATEGY", event_since="2008-10-10T10:00:00Z") == [new]
    assert (agent.memories("FACT"), agent.memories("NOTE")) == ([fact], [])


def test_the_strongest_come_first_and_their_uses_are_written_ten_at_once(
    connect: Connect, pipeline: Any
) -> None:
    moment = [1_800_000_000.0]
    agent = connect("hunter", clock=lambda: moment[0])
    weak = agent.remember("FACT", {}, importance=0.2)
    strong = agent.remember("FACT", {}, importance=0.9)
    moment[0] += 1
    newest = agent.remember("FACT", {}, importance=0.3)

    read = [agent.memories("FACT", ranked=True, limit=2) for _ in range(9)]
    before = pipeline.item(tables.STATE, strong.key)["access_count"]
    agent.memories("FACT", ranked=True, limit=2)
    after = pipeline.item(tables.STATE, strong.key)

    assert read == [[strong, newest]] * 9
    assert (before, after["access_count"], after["last_accessed"]) == (0, 10, 1_800_000_001)
    assert pipeline.item(tables.STATE, weak.key)["access_count"] == 0
    assert agent.touch(weak) == 1
    assert agent.memories("FACT", limit=3)[-1].last_accessed == 1_800_000_001


def test_an_agent_that_is_closed_loses_no_use_it_counted(connect: Connect, pipeline: Any) -> None:
    agent = connect("hunter")
    fact, gone = (agent.remember("FACT", {}) for _ in range(2))
    for _ in range(3):
        agent.memories("FACT", ranked=True)
    table = tables.physical(tables.STATE, pipeline.prefix)
    pipeline.dynamodb.delete_item(TableName=table, Key=gone.key.wire())

    agent.__exit__(None, None, None)

    assert pipeline.item(tables.STATE, fact.key)["access_count"] == 3
    assert pipeline.item(tables.STATE, gone.key) == {}
    assert agent.counters["uncounted"] == 0


def test_a_memory_fades_by_half_lives_and_lasts_with_importance_and_use(connect: Connect) -> None:
    agent = connect("hunter", clock=lambda: 1_800_000_000.0)
    note, fact = agent.remember("NOTE", {}), agent.remember("FACT", {})
    used = fact.model_copy(update={"access_count": 3, "importance": 1})
    seen = fact.model_copy(update={"last_accessed": 1_800_000_000 + 30 * DAY_S})
    day, month = 1_800_000_000 + DAY_S, 1_800_000_000 + 30 * DAY_S

    assert [strength(note, 1_800_000_000), strength(note, day)] == [0.5, 0.5 / 16]
    assert [strength(fact, month), strength(used, month), strength(seen, month)] == [0.25, 1.5, 0.5]


def test_what_is_forgotten_is_given_no_more_by_anybody(connect: Connect, pipeline: Any) -> None:
    agent, bob = connect("hunter"), connect("bob")
    kept = agent.remember("FACT", {"text": "wrong"})
    agent.share(kept, agents=["bob"])
    promoted(pipeline, kept)
    [fact] = agent.recall("FACT")
    assert [found["data"] for found in bob.shared_memories()] == [{"text": "wrong"}]

    agent.forget(fact)
    agent.forget(kept)
    promoted(pipeline, kept)

    assert agent.memories("FACT") == agent.recall("FACT") == bob.shared_memories() == []
    for change in (agent.share, agent.unshare):
        with pytest.raises(RecordMissing, match="gone"):
            change(kept, agents=["bob"])


def test_grants_are_listed_on_both_sides_and_revoked(connect: Connect, pipeline: Any) -> None:
    agent, bob, eve = connect("hunter"), connect("bob"), connect("eve")
    plan, note = agent.remember("STRATEGY", {"n": 1}), agent.remember("NOTE", {"n": 2})
    private = agent.remember("FACT", {"n": 3})
    agent.share(plan, agents=["bob"], domains=["crypto"])
    agent.share(note, agents=["bob"])
    promoted(pipeline, plan, note, private)

    shared = {found["data"]["n"] for found in bob.shared_memories(domain="crypto")}
    by_type = [found["agent_id"] for found in bob.shared_memories(memory_type="NOTE")]
    granted = {entry.memory_id: entry.shared_with for entry in agent.grants()}
    agent.unshare(plan, domains=["crypto"])
    agent.unshare(note)
    promoted(pipeline, plan, note)

    assert (shared, by_type) == ({1, 2}, ["hunter"])
    assert granted == {plan.memory_id: {"bob"}, note.memory_id: {"bob"}}
    assert eve.shared_memories(domain="crypto") == []
    assert [found["data"]["n"] for found in bob.shared_memories(owner="hunter")] == [1]
    assert [entry.memory_id for entry in agent.grants()] == [plan.memory_id]
    assert bob.shared_memories(owner="hunte") == []


def test_nobody_changes_shares_or_forgets_what_is_anothers(connect: Connect, pipeline: Any) -> None:
    agent, eve = connect("hunter"), connect("eve")
    kept = agent.remember("FACT", {"n": 1})
    injected = keys.Key("agent:eve#memory#FACT#memory#NOTE", kept.SK)
    forged = {"PK": keys.granted_pk("eve"), "SK": "ann#FACT#x", "agent_id": "joe", "timestamp": 1}
    pipeline.put(tables.MEMORY, forged)

    for memory in (kept, kept.key, injected, keys.current_state("eve"), forged):
        with pytest.raises(RecordRefused, match="changes its own only"):
            eve.forget(memory)
    for change in (eve.touch, eve.unshare):
        with pytest.raises(RecordRefused, match="changes its own only"):
            change(kept)
    for names in ({}, {"agents": ["hunter"]}, {"agents": ["a#b"]}, {"domains": ["a#b"]}):
        with pytest.raises(RecordRefused, match="share"):
            agent.share(kept, **names)
    for kind in ("DREAM", "PATTERN", "FACT#x"):
        with pytest.raises(RecordRefused):
            agent.remember(kind, {})
        with pytest.raises(ValueError, match="no type of memory"):
            agent.memories(kind)
    with pytest.raises(RecordRefused, match="domain"):
        agent.remember("FACT", {}, domain="a#b")
    assert (agent.memories("FACT"), eve.shared_memories(), eve.counters["forged"]) == (
        [kept],
        [],
        1,
    )


def test_a_memory_has_at_most_a_hundred_readers(connect: Connect) -> None:
    agent = connect("hunter")
    kept = agent.remember("FACT", {})
    agent.share(kept, agents=[f"a{number}" for number in range(99)])

    with pytest.raises(RecordRefused, match="more than 100 readers"):
        agent.share(kept, agents=["b1", "b2"])
    assert len(agent.share(kept, agents=["b1"]).shared_with) == 100


def test_what_many_remember_at_once_is_all_kept_while_it_is_promoted(
    connect: Connect, pipeline: Any
) -> None:
    one, two = connect("hunter"), connect("hunter")

    def work(number: int) -> Any:
        kept = (one, two)[number % 2].remember("FACT", {"n": number})
        promoted(pipeline, kept)
        return kept

    with ThreadPoolExecutor(4) as pool:
        made = list(pool.map(work, range(20)))

    assert {entry.key for entry in one.memories("FACT")} == {entry.key for entry in made}
    assert {fact["data"]["n"] for fact in two.recall("FACT")} == set(range(20))


def test_what_is_too_large_is_refused_with_its_size_or_lies_in_s3(
    connect: Connect, pipeline: Any, endpoint: str
) -> None:
    bucket = f"{pipeline.prefix}-large"
    s3 = pipeline.session.client("s3", endpoint_url=endpoint)
    s3.create_bucket(Bucket=bucket)
    whole = {"text": "x" * 500_000, "blob": b"\x00\xff", "n": 7}
    plain, agent = connect("hunter"), connect("hunter", large_entries=f"s3://{bucket}/memory")
    reader = connect("bob", large_entries=f"s3://{bucket}/memory")

    with pytest.raises(RecordRefused, match=r"50\d{4} bytes; a memory holds at most 409600"):
        plain.remember("FACT", whole)
    kept = agent.remember("FACT", whole)
    agent.share(kept, agents=["bob"])
    promoted(pipeline, kept)

    assert (kept.data, kept.large.bytes > 500_000) == ({}, True)
    assert agent.memories("FACT")[0].data == agent.recall("FACT")[0]["data"] == whole
    assert reader.shared_memories()[0]["data"] == whole
    with pytest.raises(NotConfigured, match="open the agent with large_entries"):
        plain.memories("FACT")
    key = kept.large.url.removeprefix(f"s3://{bucket}/")
    s3.put_object(Bucket=bucket, Key=key, Body=b"{}")
    with pytest.raises(LargeEntryLost, match="2 bytes and is not what was stored"):
        agent.memories("FACT")
    s3.delete_object(Bucket=bucket, Key=key)
    with pytest.raises(LargeEntryLost, match="is gone"):
        reader.shared_memories()


def test_forgetting_deletes_the_object_and_no_entry_leads_elsewhere(
    connect: Connect, pipeline: Any, endpoint: str
) -> None:
    bucket = f"{pipeline.prefix}-gone"
    s3 = pipeline.session.client("s3", endpoint_url=endpoint)
    s3.create_bucket(Bucket=bucket)
    agent = connect("hunter", large_entries=f"s3://{bucket}")
    kept = agent.remember("FACT", {"text": "x" * 500_000})
    stored = pipeline.item(tables.STATE, kept.key)

    agent.forget(kept)
    left = s3.list_objects_v2(Bucket=bucket).get("KeyCount", 0)
    foreign = {**stored["large"], "url": f"s3://{bucket}/other/secret.json"}
    pipeline.put(tables.STATE, {**stored, "large": foreign})

    assert left == 0
    with pytest.raises(LargeEntryLost, match="outside"):
        agent.memories("FACT")
    with pytest.raises(ValueError, match="s3://bucket/prefix"):
        connect("hunter", large_entries="file:///tmp")
