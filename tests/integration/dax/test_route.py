"""An agent's recent reads by way of a cluster that fails: DynamoDB answers, and nothing waits."""

import asyncio
import os
import threading
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from sharpwave.infra.local.dax import DaxServer, make_certificate, server_context
from sharpwave.producers.call import Call
from sharpwave.producers.dax import DaxCache, DaxRoute
from sharpwave.producers.drivers import AsyncDriver, Driver
from tests.dax import KEYS, create_table
from tests.world import VirtualClock
from tests.world.waiting import eventually

OPEN_S = 5.0
WHICH = {"PK": {"S": "p"}, "SK": {"S": "1"}}
#: Far from what an answer takes here, and from what a test may take.
PATIENCE_S = 2.5


class Routed(NamedTuple):
    """A route to a cluster; `backup` tells what DynamoDB was asked."""

    cluster: DaxServer
    route: DaxRoute
    read: Callable[[], Any]
    counters: Counter[str]
    clock: VirtualClock
    call: Call


class Backup:
    """DynamoDB beside the cluster: what it answers is marked."""

    async def later(self, **_: Any) -> Any:
        return {"from": "dynamodb"}

    def get_item(self, **_: Any) -> Any:
        return {"from": "dynamodb"}


@pytest.fixture
def routed(start: Callable[..., DaxServer], dynamodb: Any) -> Any:
    made: list[DaxRoute] = []

    def routed(cluster: DaxServer | None = None, **options: Any) -> Routed:
        cluster = cluster or start()
        table = create_table(dynamodb, sort_key="S")
        clock, counters = VirtualClock(0.0), Counter[str]()
        setting = DaxCache(cluster.endpoint, patience_s=PATIENCE_S, clock=clock)
        route = setting.open(counters, **KEYS, **options)
        made.append(route)
        driver = Driver({"dynamodb": Backup()}, route)
        params = {"TableName": table, "Key": WHICH}
        call = Call("dynamodb", "get_item", params, recent=True)

        def operation() -> Any:
            return (yield call).get("from", "dax")

        return Routed(cluster, route, lambda: driver.run(operation()), counters, clock, call)

    yield routed
    for route in made:
        route.close()


def outage(cluster: DaxServer, kind: str) -> None:
    """Let a cluster fail until `recover`."""
    if kind == "refuse":
        cluster.stop_node(0, is_noticed=False)
    elif kind == "reset":
        cluster.faults.reset(1_000_000)
    elif kind == "throttle":
        cluster.faults.fail("ThrottlingException", 1_000_000)
    else:
        cluster.faults.hang()


def recover(cluster: DaxServer) -> None:
    cluster.faults.clear()
    cluster.start_node(0)


@pytest.mark.parametrize("kind", ["refuse", "reset", "throttle", "hang"])
def test_while_a_cluster_fails_dynamodb_answers_and_afterwards_it_does_again(
    routed: Callable[..., Routed], kind: str
) -> None:
    cluster, _, read, counters, clock, _ = routed()
    assert read() == "dax"

    outage(cluster, kind)
    failing = [read() for _ in range(3)]
    # Those that follow do not wait for a cluster that hangs: it is not asked.
    met = cluster.faults.struck
    left_alone = [read() for _ in range(20)]

    assert set(failing + left_alone) == {"dynamodb"}
    assert counters == {"dax_reads": 1, "dax_fallbacks": 23, "dax_opened": 1}
    assert cluster.faults.struck == met

    # Still failing: one read tries, and the cluster is left alone again.
    clock.advance(OPEN_S)
    assert [read(), read()] == ["dynamodb"] * 2
    assert counters["dax_opened"] == 2

    recover(cluster)
    assert read() == "dynamodb"
    clock.advance(OPEN_S)
    assert [read(), read()] == ["dax"] * 2
    assert counters["dax_reads"] == 3


def test_one_failure_does_not_open_it(routed: Callable[..., Routed]) -> None:
    cluster, _, read, counters, _, _ = routed()
    read()
    cluster.faults.reset(2)

    assert [read() for _ in range(4)] == ["dynamodb", "dynamodb", "dax", "dax"]
    assert "dax_opened" not in counters


def test_a_node_lost_in_the_middle_of_a_read_costs_that_read_a_question_more(
    routed: Callable[..., Routed],
) -> None:
    cluster, _, read, counters, _, _ = routed()
    read()
    cluster.faults.hang(1)
    answers: list[str] = []

    reading = threading.Thread(target=lambda: answers.append(read()))
    reading.start()
    eventually(lambda: cluster.faults.struck == 1, "the read hangs")
    cluster.stop_node(0)
    reading.join(10)

    assert answers == ["dynamodb"]
    assert counters["dax_fallbacks"] == 1


def test_a_cluster_that_was_down_at_first_is_used_once_it_is_up(
    routed: Callable[..., Routed],
) -> None:
    cluster, _, read, _, clock, _ = routed()
    cluster.stop_node(0)

    assert [read() for _ in range(3)] == ["dynamodb"] * 3
    cluster.start_node(0)

    def is_used() -> bool:
        # A loaded machine may take longer to connect than a read waits.
        clock.advance(OPEN_S)
        return bool(read() == "dax")

    eventually(is_used, "the cluster is used")


def test_readers_do_not_wait_for_who_connects_to_a_cluster_that_hangs(
    routed: Callable[..., Routed],
) -> None:
    _, route, read, counters, _, _ = routed()
    may_connect, begun = threading.Event(), threading.Event()
    connect = route._connect

    def slowly() -> Any:
        begun.set()
        may_connect.wait(30)
        return connect()

    route._connect = slowly
    route._patience_s = 30.0
    first: list[str] = []
    waiting = threading.Thread(target=lambda: first.append(read()))
    waiting.start()
    begun.wait(10)

    others = [read() for _ in range(50)]
    may_connect.set()
    waiting.join(30)

    assert others == ["dynamodb"] * 50
    assert first == ["dax"]
    assert counters["dax_fallbacks"] == 50


def test_only_one_reader_tries_a_cluster_that_was_left_alone(
    routed: Callable[..., Routed],
) -> None:
    cluster, _, read, counters, clock, _ = routed()
    read()
    cluster.faults.reset(3)
    for _ in range(3):
        read()
    clock.advance(OPEN_S)
    cluster.faults.hang(1)
    struck = cluster.faults.struck
    tried: list[str] = []
    trying = threading.Thread(target=lambda: tried.append(read()))
    trying.start()
    eventually(lambda: cluster.faults.struck == struck + 1, "one reader tries")

    assert [read() for _ in range(10)] == ["dynamodb"] * 10
    cluster.faults.clear()
    trying.join(10)
    assert tried == ["dax"]
    assert read() == "dax"
    assert counters["dax_opened"] == 1


def test_an_event_loop_goes_on_while_a_read_hangs(routed: Callable[..., Routed]) -> None:
    cluster, route, read, _, _, call = routed()
    read()
    backup = Backup()
    backup.get_item = backup.later  # type: ignore[method-assign]
    driver = AsyncDriver({"dynamodb": backup}, route)
    cluster.faults.hang()

    def operation() -> Any:
        return (yield call)

    async def main() -> tuple[int, bool, Any]:
        asked = asyncio.create_task(driver.run(operation()))
        turns = 0
        while cluster.faults.struck == 0:
            await asyncio.sleep(0)
            turns += 1
        for _ in range(1000):
            await asyncio.sleep(0)
        was_waiting = not asked.done()
        return turns, was_waiting, await asked

    _, was_waiting, answer = asyncio.run(main())

    assert was_waiting
    assert answer == {"from": "dynamodb"}


def test_tls_is_spoken_and_a_stranger_is_not_trusted(
    routed: Callable[..., Routed],
    start: Callable[..., DaxServer],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    certificate = make_certificate(tmp_path)
    cluster = start(tls=server_context(certificate), secrets={"test": "test"})
    untrusted = routed(cluster)
    assert untrusted.read() == "dynamodb"

    monkeypatch.setenv("SSL_CERT_FILE", str(certificate.certificate))

    assert routed(cluster).read() == "dax"


def test_nothing_is_connected_before_the_first_read(routed: Callable[..., Routed]) -> None:
    before = set(threading.enumerate())
    routed()

    # The cluster's own; some of before may have ended meanwhile.
    assert len(set(threading.enumerate()) - before) == 1


@pytest.mark.skipif(not hasattr(os, "fork"), reason="there is no fork on this system")
def test_a_process_that_was_forked_connects_anew(routed: Callable[..., Routed]) -> None:
    _, route, read, counters, _, _ = routed()
    assert read() == "dax"
    of_parent, (out, into) = route._client, os.pipe()

    child = os.fork()
    if child == 0:
        said = b"failed"
        try:
            is_new = route._client is None
            said = f"{is_new} {read()} {route._client is not of_parent}".encode()
        finally:
            os.write(into, said)
            os._exit(0)
    os.close(into)
    with os.fdopen(out, "rb") as answer:
        said = answer.read()
    os.waitpid(child, 0)

    assert said == b"True dax True"
    assert read() == "dax"
    assert counters == {"dax_reads": 2}
    assert route._client is of_parent
