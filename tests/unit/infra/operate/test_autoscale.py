"""Worker services follow their backlog: up at once, down when fewer sufficed for a while."""

import random
from math import ceil

import pytest

from sharpwave.infra.errors import Misused
from sharpwave.infra.mailbox import Depth
from sharpwave.infra.operate.autoscale import Autoscaler
from sharpwave.infra.operate.queues import PER_INSTANCE, Wanted, parse_wishes

A_FEW = Wanted(0, 8, 100)


def depth(ready: int, in_flight: int = 0) -> Depth:
    return Depth(ready=ready, in_flight=in_flight, delayed=0)


def test_the_first_message_starts_one_where_none_runs() -> None:
    scaler = Autoscaler(calm_s=30)

    assert scaler.instances(A_FEW, depth(0), 0) == 0
    assert scaler.instances(A_FEW, depth(1), 1) == 1


def test_each_has_no_more_waiting_than_it_may_within_the_bounds() -> None:
    for ready, number in {100: 1, 101: 2, 799: 8, 10_000: 8}.items():
        assert Autoscaler(calm_s=30).instances(A_FEW, depth(ready), 0) == number
    assert Autoscaler(calm_s=30).instances(Wanted(2, 2), depth(10_000), 0) == 2
    assert Autoscaler(calm_s=30).instances(Wanted(2, 4, 100), depth(0), 0) == 2


def test_fewer_run_when_fewer_sufficed_for_the_whole_while() -> None:
    scaler = Autoscaler(calm_s=30)
    scaler.instances(A_FEW, depth(500), 0)

    assert scaler.instances(A_FEW, depth(150), 29) == 5
    assert scaler.instances(A_FEW, depth(150), 31) == 2
    assert scaler.instances(A_FEW, depth(0), 62) == 0


def test_the_last_stays_while_it_works() -> None:
    scaler = Autoscaler(calm_s=0)

    assert scaler.instances(A_FEW, depth(0, in_flight=3), 1) == 1
    assert scaler.instances(A_FEW, depth(0), 2) == 0


def test_lower_bounds_hold_at_once() -> None:
    scaler = Autoscaler(calm_s=30)
    scaler.instances(A_FEW, depth(500), 0)

    assert scaler.instances(Wanted(0, 2, 100), depth(0), 1) == 2


@pytest.mark.parametrize("seed", range(20))
def test_a_load_a_hundred_times_as_high_is_worked_off_and_never_overshot(seed: int) -> None:
    rng = random.Random(seed)
    scaler, each_s, backlog, running = Autoscaler(calm_s=30), 40.0, 0.0, 0
    seen = []

    for second in range(300):
        load = 2.0 if not 60 <= second < 120 else 200.0
        backlog = max(0.0, backlog + load * rng.uniform(0.5, 1.5) - running * each_s)
        running = scaler.instances(A_FEW, depth(ceil(backlog)), second)
        seen.append((second, running, backlog))

    most = max(running for _, running, _ in seen)
    peak = max(backlog for _, _, backlog in seen)
    assert most <= min(8, ceil(peak / 100))
    assert all(backlog <= 100 for second, _, backlog in seen if second > 150)
    assert seen[-1][1] <= 1


def test_bounds_are_read_as_they_are_written() -> None:
    found = parse_wishes(["deliver=4", "status=0..8"], 50)

    assert found == {"deliver": Wanted(4, 4, 50), "status": Wanted(0, 8, 50)}
    assert [f"{queue}={wish}" for queue, wish in found.items()] == ["deliver=4", "status=0..8"]
    assert parse_wishes(["learn=1"])["learn"].per_instance == PER_INSTANCE
    for word in ("deliver", "deliver=", "deliver=-1", "deliver=1..", "deliver=1...3"):
        with pytest.raises(Misused, match="write deliver=4"):
            parse_wishes([word])
