"""One contract for the caches of an agent's recent reads: none, this process's memory, a cluster.

The cluster is a real one for Amazon's own client. Time is the test's own.
"""

import asyncio
from collections import Counter
from collections.abc import Iterator
from typing import Any, NamedTuple

import pytest

from sharpwave.infra.local import Backend
from sharpwave.infra.local.dax import CacheSettings, DaxServer, dynamodb_client
from sharpwave.producers.cache import MemoryCache, ReadCache, Uncached
from sharpwave.producers.call import Call
from sharpwave.producers.dax import DaxRoute
from sharpwave.producers.drivers import AsyncDriver, Driver
from tests.dax import create_table, official_client
from tests.world import VirtualClock

ITEM_TTL_S, QUERY_TTL_S = 300.0, 5.0
WHICH = {"PK": {"S": "p"}, "SK": {"S": "1"}}
OTHER = {"PK": {"S": "p"}, "SK": {"S": "2"}}


class Cached(NamedTuple):
    """A cache under test; `other` writes beside it, as other agents do."""

    driver: Driver
    other: Any
    table: str
    clock: VirtualClock
    counters: Counter[str]
    cache: ReadCache
    remembers: bool

    def call(self, operation: str, recent: bool = True, **params: Any) -> Any:
        if not operation.startswith(("batch", "transact")):
            params["TableName"] = self.table

        def perform() -> Any:
            return (yield Call("dynamodb", operation, params, recent))

        return self.driver.run(perform())

    def read(self, key: Any = WHICH, **more: Any) -> str | None:
        found = self.call("get_item", Key=key, **more).get("Item")
        return found["text"]["S"] if found else None

    def listed(self, **more: Any) -> list[str]:
        page = self.call(
            "query",
            KeyConditionExpression="PK = :p",
            ExpressionAttributeValues={":p": {"S": "p"}},
            **more,
        )
        return [item["text"]["S"] for item in page["Items"]]

    def write_beside(self, text: str, key: Any = WHICH) -> None:
        self.other.put_item(TableName=self.table, Item=item(text, key))


def item(text: str, key: Any = WHICH) -> Any:
    return {**key, "text": {"S": text}}


def change(text: str) -> dict[str, Any]:
    return {
        "UpdateExpression": "SET #t = :t",
        "ExpressionAttributeNames": {"#t": "text"},
        "ExpressionAttributeValues": {":t": {"S": text}},
    }


@pytest.fixture(scope="module")
def dynamodb(backend: Backend) -> Any:
    return dynamodb_client(backend.endpoint_url)


@pytest.fixture(params=["none", "memory", "dax"])
def cached(request: pytest.FixtureRequest, dynamodb: Any) -> Iterator[Cached]:
    clock, counters, kind = VirtualClock(0.0), Counter[str](), request.param
    table = create_table(dynamodb, sort_key="S")
    settings = CacheSettings(ITEM_TTL_S, QUERY_TTL_S)
    with DaxServer(dynamodb, settings=settings, clock=clock) as cluster:
        cache: ReadCache = Uncached()
        if kind == "memory":
            memory = MemoryCache(ttl_s=ITEM_TTL_S, query_ttl_s=QUERY_TTL_S, clock=clock)
            cache = memory.open(counters)
        elif kind == "dax":
            cache = DaxRoute(
                lambda: official_client(cluster.endpoint),
                counters,
                clock=clock,
                ttl_s=ITEM_TTL_S,
                patience_s=10,
            )
        driver = Driver({"dynamodb": dynamodb}, cache)
        yield Cached(driver, dynamodb, table, clock, counters, cache, kind != "none")
        cache.close()


def test_what_was_read_is_given_again_until_its_time_is_over(cached: Cached) -> None:
    cached.write_beside("old")
    assert cached.read() == "old"
    cached.write_beside("new")

    cached.clock.advance(ITEM_TTL_S - 1)
    assert cached.read() == ("old" if cached.remembers else "new")
    cached.clock.advance(1)
    assert cached.read() == "new"


def test_so_is_that_there_was_nothing(cached: Cached) -> None:
    assert cached.read() is None
    cached.write_beside("new")

    cached.clock.advance(ITEM_TTL_S - 1)
    assert cached.read() == (None if cached.remembers else "new")
    cached.clock.advance(1)
    assert cached.read() == "new"


@pytest.mark.parametrize("kind", ["put", "update", "delete", "batch", "transaction"])
def test_what_an_agent_wrote_it_reads_back_at_once(cached: Cached, kind: str) -> None:
    cached.write_beside("old")
    cached.read()
    cached.clock.advance(ITEM_TTL_S - 1)

    if kind == "put":
        cached.call("put_item", Item=item("new"))
    elif kind == "update":
        cached.call("update_item", Key=WHICH, **change("new"))
    elif kind == "delete":
        cached.call("delete_item", Key=WHICH)
    elif kind == "batch":
        wish = {cached.table: [{"PutRequest": {"Item": item("new")}}]}
        cached.call("batch_write_item", RequestItems=wish)
    else:
        update = {"TableName": cached.table, "Key": WHICH, **change("new")}
        cached.call("transact_write_items", TransactItems=[{"Update": update}])

    expected = None if kind == "delete" else "new"
    assert cached.read() == expected
    cached.clock.advance(2)
    assert cached.read() == expected


def test_an_agents_write_makes_an_absent_item_present(cached: Cached) -> None:
    assert cached.read() is None
    cached.call("put_item", Item=item("new"))

    assert cached.read() == "new"


def test_a_write_that_failed_changes_nothing(cached: Cached) -> None:
    cached.write_beside("old")
    cached.read()
    with pytest.raises(Exception, match="conditional"):
        cached.call("put_item", Item=item("new"), ConditionExpression="attribute_not_exists(PK)")

    assert cached.read() == "old"


def test_no_write_touches_a_query(cached: Cached) -> None:
    cached.call("put_item", Item=item("old"))
    assert cached.listed() == ["old"]
    cached.call("put_item", Item=item("new"))

    cached.clock.advance(QUERY_TTL_S - 1)
    assert cached.listed() == (["old"] if cached.remembers else ["new"])
    cached.clock.advance(1)
    assert cached.listed() == ["new"]


def test_another_query_is_another_question(cached: Cached) -> None:
    cached.write_beside("old")
    cached.listed()
    cached.write_beside("new")

    assert cached.listed(Limit=1) == ["new"]


def test_a_query_answers_no_question_for_an_item(cached: Cached) -> None:
    cached.write_beside("old")
    cached.listed()
    cached.write_beside("new")

    assert cached.read() == "new"


def test_a_batch_is_answered_item_by_item(cached: Cached) -> None:
    cached.write_beside("old")
    assert cached.read() == "old"
    cached.write_beside("new")
    cached.write_beside("other", OTHER)
    wish = {cached.table: {"Keys": [WHICH, OTHER]}}

    found = cached.call("batch_get_item", RequestItems=wish)["Responses"][cached.table]
    cached.other.delete_item(TableName=cached.table, Key=OTHER)
    again = cached.call("batch_get_item", RequestItems=wish)["Responses"][cached.table]

    texts = sorted(each["text"]["S"] for each in found)
    assert texts[1] == "other"
    assert texts[0] in ("old", "new")
    assert len(again) == (2 if cached.remembers else 1)


@pytest.mark.parametrize("more", [{"ConsistentRead": True}, {"recent": False}])
def test_strong_reads_and_reads_of_older_records_ask_dynamodb(cached: Cached, more: Any) -> None:
    cached.write_beside("old")
    cached.read()
    cached.listed()
    cached.write_beside("new")

    assert cached.read(**more) == "new"
    assert cached.listed(**more) == ["new"]


def test_an_async_agent_is_answered_the_same(cached: Cached) -> None:
    cached.write_beside("old")
    cached.read()
    cached.write_beside("new")

    class Asynchronous:
        async def get_item(self, **params: Any) -> Any:
            return cached.other.get_item(**params)

    def read() -> Any:
        params = {"TableName": cached.table, "Key": WHICH}
        return (yield Call("dynamodb", "get_item", params, recent=True))

    driver = AsyncDriver({"dynamodb": Asynchronous()}, cached.cache)
    found = asyncio.run(driver.run(read()))["Item"]["text"]["S"]

    assert found == ("old" if cached.remembers else "new")


@pytest.mark.parametrize("cached", ["memory", "dax"], indirect=True)
def test_what_was_answered_from_where_is_counted(cached: Cached) -> None:
    cached.write_beside("old")
    for _ in range(3):
        cached.read()

    assert cached.counters in ({"cache_hits": 2, "cache_misses": 1}, {"dax_reads": 3})


@pytest.mark.parametrize("cached", ["memory"], indirect=True)
def test_a_read_that_began_before_a_write_does_not_bring_back_what_was(cached: Cached) -> None:
    params = {"TableName": cached.table, "Key": WHICH}
    read = Call("dynamodb", "get_item", params, recent=True)
    began = cached.cache.moment
    cached.call("put_item", Item=item("new"))

    cached.cache.learn(read, {"Item": item("old")}, began)

    assert cached.read() == "new"


@pytest.mark.parametrize("cached", ["memory"], indirect=True)
def test_what_a_batch_left_undone_is_not_remembered(cached: Cached) -> None:
    wish = {cached.table: {"Keys": [WHICH, OTHER]}}
    left = {cached.table: {"Keys": [OTHER]}}
    read = Call("dynamodb", "batch_get_item", {"RequestItems": wish}, recent=True)
    reply = {"Responses": {cached.table: [item("old")]}, "UnprocessedKeys": left}
    cached.write_beside("other", OTHER)

    cached.cache.learn(read, reply, cached.cache.moment)

    assert (cached.read(), cached.read(OTHER)) == ("old", "other")


@pytest.mark.parametrize("wrong", [{"ttl_s": -1}, {"query_ttl_s": -1}, {"entries": 0}])
def test_a_memory_that_makes_no_sense_is_refused(wrong: Any) -> None:
    with pytest.raises(ValueError, match="makes no sense"):
        MemoryCache(**wrong)
