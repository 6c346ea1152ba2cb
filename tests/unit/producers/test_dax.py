"""Reads of the last day go to DAX, and to DynamoDB whenever DAX fails."""

from collections import Counter
from collections.abc import Callable
from typing import Any

import pytest
from botocore.exceptions import ClientError

from sharpwave.producers import Agent, MemoryCache
from sharpwave.producers.call import Call, Identity
from sharpwave.producers.dax import DaxRoute, connector
from sharpwave.producers.drivers import Driver
from sharpwave.producers.operations import decisions, memory, signals
from sharpwave.schemas import ids
from tests.world import VirtualClock

FAILURES = [
    ConnectionResetError("reset"),
    RuntimeError("cannot decode the answer"),
    ClientError({"Error": {"Code": "NoRouteException", "Message": "no route"}}, "Query"),
]
RECENT = Call("dynamodb", "query", {}, recent=True)


class Store:
    """A client that answers every read the same way, or fails."""

    def __init__(self, name: str, failure: Exception | None = None) -> None:
        self.name, self.failure, self.asked, self.is_closed = name, failure, 0, False

    def query(self, **_: Any) -> dict[str, Any]:
        self.asked += 1
        if self.failure:
            raise self.failure
        return {"Items": [], "from": self.name}

    get_item = batch_get_item = update_item = query

    def close(self) -> None:
        self.is_closed = True


@pytest.fixture
def route() -> Callable[..., tuple[DaxRoute, Driver, Store, Counter[str]]]:
    def route(failure: Exception | None = None, clock: Any = VirtualClock(0.0)) -> Any:  # noqa: B008
        cluster, counters = Store("dax", failure), Counter[str]()
        dax = DaxRoute(lambda: cluster, counters, clock=clock)
        return dax, Driver({"dynamodb": Store("dynamodb")}, dax), cluster, counters

    return route


def ask(driver: Driver, call: Call) -> Any:
    def operation() -> Any:
        return (yield call)["from"]

    return driver.run(operation())


def test_recent_reads_are_answered_by_dax(route: Any) -> None:
    _, driver, _, counters = route()

    assert ask(driver, RECENT) == "dax"
    assert counters == {"dax_reads": 1}


@pytest.mark.parametrize(
    "call",
    [
        Call("dynamodb", "query", {}),
        Call("dynamodb", "get_item", {"ConsistentRead": True}, recent=True),
        Call("dynamodb", "update_item", {"Key": {}}, recent=True),
    ],
)
def test_old_strong_and_writing_calls_never_go_to_dax(route: Any, call: Call) -> None:
    _, driver, _, counters = route()

    assert ask(driver, call) == "dynamodb"
    assert counters == {}


@pytest.mark.parametrize("failure", FAILURES)
def test_a_failure_falls_back_to_dynamodb(route: Any, failure: Exception) -> None:
    _, driver, _, counters = route(failure)

    assert ask(driver, RECENT) == "dynamodb"
    assert counters == {"dax_fallbacks": 1}


def test_a_failing_cluster_is_left_alone_for_a_while(route: Any) -> None:
    clock = VirtualClock(0.0)
    _, driver, cluster, _ = route(OSError("down"), clock)

    for _ in range(10):
        ask(driver, RECENT)
    asked_while_down, cluster.failure, clock.now = cluster.asked, None, 5.0

    assert asked_while_down == 3
    assert ask(driver, RECENT) == "dax"


def test_a_cluster_that_cannot_be_reached_at_first_is_tried_again() -> None:
    attempts = iter([OSError("no route"), None])

    def connect() -> Store:
        if failure := next(attempts):
            raise failure
        return Store("dax")

    driver = Driver({"dynamodb": Store("dynamodb")}, DaxRoute(connect, Counter()))

    assert [ask(driver, RECENT), ask(driver, RECENT)] == ["dynamodb", "dax"]


def test_the_connector_waits_for_the_first_read() -> None:
    assert callable(connector("dax://nowhere.invalid:8111"))


def test_an_agent_has_one_cache() -> None:
    with pytest.raises(ValueError, match="both"):
        Agent("risk", cache=MemoryCache(), dax_endpoint="dax://x:8111")


def test_closing_closes_the_cluster(route: Any) -> None:
    dax, driver, cluster, _ = route()
    dax.close()
    ask(driver, RECENT)

    dax.close()

    assert cluster.is_closed


def recency(operation: Any, *answers: dict[str, Any]) -> list[bool]:
    """Play an operation and say of each call whether it counts as recent."""
    seen, left = [], iter(answers)
    try:
        call = next(operation)
        while True:
            seen.append(call.recent)
            call = operation.send(next(left, {"Items": []}))
    except StopIteration:
        return seen


def test_recency_follows_from_what_is_asked_for(me: Identity) -> None:
    day_ago = me.now() - 86_400

    assert recency(decisions.recent(me)) == [True]
    assert recency(decisions.decisions(me, since=day_ago)) == [True]
    assert recency(decisions.decisions(me, since=day_ago - 1)) == [False]
    assert recency(decisions.decisions(me)) == [False]
    assert recency(memory.memories(me, "NOTE")) == [True]
    assert recency(memory.memories(me, "NOTE", consistent=True)) == [False]
    assert recency(signals.get_signals_for_agent(me, since=day_ago)) == [False]


def test_an_id_tells_how_old_its_decision_is(me: Identity) -> None:
    fresh, old = (ids.decision_id(epoch_ms=(me.now() - age_s) * 1000) for age_s in (60, 90_000))

    assert recency(decisions.decision(me, fresh)) == [True]
    assert recency(decisions.decision(me, old)) == [False]
    assert recency(decisions.decision(me, "someones-own")) == [False]
