"""A running pump outlives every fault, paces itself by the traffic and ends tidily on a stop."""

from collections.abc import Callable
from itertools import pairwise
from typing import TYPE_CHECKING

import pytest
from botocore.exceptions import ClientError

from sharpwave.workers.pump import SendAbandoned

if TYPE_CHECKING:
    from tests.unit.workers.pump.conftest import Bench, Stop

Fault = Callable[[str], ClientError]


def test_a_stop_finishes_the_page_in_hand_and_saves(
    bench: "Bench", make_stop: type["Stop"]
) -> None:
    stop = make_stop(bench.clock)
    bench.streams.add_shard("s")
    written = bench.streams.put("s", 4)
    bench.sent.before = stop.set

    bench.pump.run(stop)

    assert bench.sent.numbers == written
    assert bench.positions() == {"s": written[-1]}


def test_a_stop_while_the_queues_refuse_leaves_the_position(
    bench: "Bench", make_stop: type["Stop"]
) -> None:
    stop = make_stop(bench.clock)
    bench.streams.add_shard("s")
    bench.streams.put("s", 4)

    def abandon() -> None:
        stop.set()
        raise SendAbandoned(4)

    bench.sent.before = abandon
    bench.pump.run(stop)

    assert bench.positions() == {"s": "TRIM_HORIZON"}


def test_a_running_pump_outlives_every_error(
    bench: "Bench", make_stop: type["Stop"], fault: Fault
) -> None:
    bench.streams.add_shard("s")
    written = bench.streams.put("s", 2)
    bench.streams.faults = [fault("ResourceNotFoundException") for _ in range(5)]
    bench.streams.faults += [fault("InternalServerError"), RuntimeError("broken")]

    bench.pump.run(make_stop(bench.clock, patience=300))

    assert bench.sent.numbers == written


def test_polls_follow_the_traffic(bench: "Bench", make_stop: type["Stop"]) -> None:
    stop = make_stop(bench.clock, patience=150)
    bench.streams.add_shard("s")
    bench.streams.put("s")

    bench.pump.run(stop)

    recent = [wait for wait in stop.waits if wait == pytest.approx(0.01)]
    assert 95 <= len(recent) <= 102
    assert stop.waits[-1] == pytest.approx(0.2)


def test_a_sign_of_life_comes_every_few_seconds_even_when_idle(
    bench: "Bench", make_stop: type["Stop"]
) -> None:
    bench.streams.add_shard("s")

    bench.pump.run(make_stop(bench.clock, patience=160))

    seen = [progress.at for progress in bench.told.progress]
    assert len(seen) >= 6
    assert all(4.9 < later - at < 5.5 for at, later in pairwise(seen))


def test_a_record_without_a_time_holds_up_nothing(bench: "Bench") -> None:
    bench.streams.add_shard("odd")
    bench.streams.add_shard("s")
    odd = bench.streams.put("odd")
    del bench.streams.shards["odd"].records[0]["dynamodb"]["ApproximateCreationDateTime"]
    written = bench.streams.put("s", 2)

    bench.settle(passes=1)

    assert bench.sent.numbers == odd + written
