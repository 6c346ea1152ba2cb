"""A position moves only behind records that the queues accepted."""

from collections.abc import Callable, Sequence
from itertools import pairwise
from typing import TYPE_CHECKING, Any

import pytest
from botocore.exceptions import ClientError

from sharpwave.workers.aws.queues import SendAbandoned
from sharpwave.workers.pump import Checkpoint, PumpSettings, TablePump, table
from sharpwave.workers.pump.table import ReadingPace
from sharpwave.workers.work.incoming import StreamRecord, streamed
from sharpwave.workers.work.outgoing import WorkMessage
from tests.world import Crash

if TYPE_CHECKING:
    from tests.unit.workers.pump.conftest import Bench, Stop

Fault = Callable[[str], ClientError]


class SavesFirst(TablePump):
    """The wrong order: the position is saved before the records are sent."""

    def _hand_on(self, records: Sequence[StreamRecord]) -> None:
        if records:
            self._lineage.mark("s", streamed(records[-1]).change.sequence_number)
            self._bookmarks.save()
            assert self._lineage.open["s"].reader.shard_id == "s"
        super()._hand_on(records)


def die(crash: type[Crash]) -> Callable[[], None]:
    def dies() -> None:
        raise crash

    return dies


def nothing() -> None:
    return None


def test_records_reach_the_queues_and_the_position_follows(bench: "Bench") -> None:
    bench.streams.add_shard("s")
    written = bench.streams.put("s", 3)

    bench.settle()

    assert bench.sent.numbers == written
    assert bench.positions() == {"s": written[-1]}


def test_a_crash_between_send_and_checkpoint_sends_again(
    bench: "Bench", crash: type[Crash]
) -> None:
    bench.streams.add_shard("s")
    written = bench.streams.put("s", 3)
    bench.sent.after = die(crash)
    with pytest.raises(crash):
        bench.settle()

    bench.sent.after = nothing
    bench.restart()
    bench.settle()

    assert bench.sent.numbers == written + written


def test_a_crash_before_the_send_loses_nothing(bench: "Bench", crash: type[Crash]) -> None:
    bench.streams.add_shard("s")
    written = bench.streams.put("s", 3)
    bench.sent.before = die(crash)
    with pytest.raises(crash):
        bench.settle()

    bench.sent.before = nothing
    bench.restart()
    bench.settle()

    assert bench.sent.numbers == written


def test_control_saving_the_position_first_would_lose_the_page(
    bench: "Bench", crash: type[Crash]
) -> None:
    bench.streams.add_shard("s")
    bench.streams.put("s", 3)
    bench.restart(SavesFirst)
    bench.sent.before = die(crash)
    with pytest.raises(crash):
        bench.settle()

    bench.sent.before = nothing
    bench.restart()
    bench.settle()

    assert bench.sent.numbers == []


def test_a_crash_before_a_due_checkpoint_repeats_only_what_was_not_saved(bench: "Bench") -> None:
    bench.streams.add_shard("s")
    first = bench.streams.put("s", 2)
    bench.settle()
    second = bench.streams.put("s", 2)
    bench.pump.step()

    bench.restart()
    bench.settle()

    assert bench.sent.numbers == first + second + second


def test_the_position_is_saved_seldom_while_busy(bench: "Bench") -> None:
    saves: list[str] = []
    save = bench.checkpoints.save

    def counted(table: str, checkpoint: Checkpoint) -> None:
        saves.append(checkpoint.position)
        save(table, checkpoint)

    bench.checkpoints.save = counted  # type: ignore[method-assign]
    bench.streams.add_shard("s")
    bench.pump.step()
    saves.clear()

    for _ in range(500):
        bench.streams.put("s")
        bench.pump.step()
        bench.clock.advance(0.01)

    assert 3 <= len(saves) <= 6


def test_many_records_make_a_save_due_at_once(make_bench: type["Bench"]) -> None:
    bench = make_bench(settings=PumpSettings(checkpoint_records=10))
    bench.streams.add_shard("s")
    bench.pump.step()
    written = bench.streams.put("s", 10)

    bench.pump.step()

    assert bench.positions() == {"s": written[-1]}


def test_a_checkpoint_that_cannot_be_saved_stops_nothing(bench: "Bench", fault: Fault) -> None:
    bench.streams.add_shard("s")
    save = bench.checkpoints.save
    bench.checkpoints.save = lambda *_: (_ for _ in ()).throw(fault("Throttling"))  # type: ignore[method-assign]
    written = bench.streams.put("s", 2)
    bench.settle(3)
    assert bench.sent.numbers == written

    bench.checkpoints.save = save  # type: ignore[method-assign]
    bench.settle()

    assert bench.positions() == {"s": written[-1]}


def test_one_record_that_breaks_the_router_is_parked_alone(bench: "Bench") -> None:
    bench.streams.add_shard("s")
    written = bench.streams.put("s", 9)
    route = bench.route

    def breaks(table: str, records: Any) -> list[WorkMessage]:
        if any(r.change.sequence_number == written[4] for r in records):
            raise ValueError("not a signal")
        routed: list[WorkMessage] = route(table, records)
        return routed

    bench.route = breaks
    bench.settle()

    assert bench.sent.numbers == written[:4] + written[5:]
    [(table, record, error)] = bench.told.unroutable
    assert (table, streamed(record).change.sequence_number) == ("agent_signals", written[4])
    assert str(error) == "not a signal"
    assert bench.positions() == {"s": written[-1]}


def test_a_record_that_cannot_be_parked_holds_its_position(bench: "Bench", fault: Fault) -> None:
    bench.streams.add_shard("s")
    bench.streams.put("s")
    faults = [fault("Throttling"), fault("Throttling")]
    parked = []

    def park(table: str, record: StreamRecord, error: Exception) -> None:
        if faults:
            raise faults.pop()
        parked.append(streamed(record).event_id)

    bench.told.hooks = type(bench.told.hooks)(
        on_trimmed=bench.told.hooks.on_trimmed, on_unroutable=park
    )
    bench.route = lambda table, records: [][1]
    bench.restart()
    bench.settle(200, every_s=1.0)

    assert parked == ["s/1"]


def test_a_failing_shard_does_not_hold_up_the_others(bench: "Bench") -> None:
    bench.streams.add_shard("bad")
    bench.streams.add_shard("good")
    bench.streams.put("bad")
    written = bench.streams.put("good", 3)
    real = bench.streams.get_shard_iterator

    def broken(**call: Any) -> Any:
        if call["ShardId"] == "bad":
            raise RuntimeError("unreadable")
        return real(**call)

    bench.streams.get_shard_iterator = broken  # type: ignore[method-assign]
    bench.settle()

    assert bench.sent.numbers == written
    assert bench.pump.progress().failing_shards == 1


def test_a_failing_shard_is_left_alone_for_a_while(bench: "Bench", fault: Fault) -> None:
    bench.streams.add_shard("s")
    bench.streams.put("s")
    bench.sent.before = lambda: (_ for _ in ()).throw(fault("Throttling"))

    bench.settle(400, every_s=0.01)

    assert 2 <= bench.streams.calls.count("get_records") < 60


def test_lag_grows_while_a_shard_cannot_be_handed_on(bench: "Bench") -> None:
    bench.streams.add_shard("s")
    bench.streams.put("s", created=bench.clock.now)
    bench.settle(1)
    bench.route = lambda table, records: []
    assert bench.pump.progress().lag_s == pytest.approx(0.3)

    bench.streams.put("s", created=bench.clock.now)
    bench.sent.before = lambda: (_ for _ in ()).throw(RuntimeError("no"))
    bench.route = lambda table, records: [WorkMessage("deliver", "x", ())]
    bench.settle(100, every_s=1.0)

    assert bench.pump.progress().lag_s > 95


def test_lag_is_the_age_of_the_last_record_while_catching_up(make_bench: type["Bench"]) -> None:
    bench = make_bench(page_size=1)
    bench.streams.add_shard("s")
    bench.streams.put("s", 3, created=bench.clock.now - 60)

    bench.pump.step()
    behind = bench.pump.progress().lag_s
    bench.settle()

    assert behind == pytest.approx(60.0)
    assert bench.pump.progress().lag_s < 1.0


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
    bench.streams.shards["odd"].records[0].change.stored_at = 0.0
    written = bench.streams.put("s", 2)

    bench.settle(passes=1)

    assert bench.sent.numbers == odd + written


def test_a_table_with_a_full_page_is_read_again_at_once() -> None:
    assert make_pace().after(3, began=0.0, now=0.004, is_full=True) == 0.0


@pytest.mark.parametrize("records", [0, 1])
def test_a_table_with_traffic_is_read_in_a_steady_beat(records: int) -> None:
    pace = make_pace()
    pace.after(1, began=0.0, now=0.0)

    assert pace.after(records, began=0.5, now=0.5) == pytest.approx(0.01)
    assert pace.after(records, began=0.51, now=0.513) == pytest.approx(0.007)
    assert pace.after(records, began=0.52, now=0.55) == pytest.approx(0.005)


@pytest.mark.parametrize(("records", "wait_s"), [(19, 0.01), (20, 0.02)])
def test_only_many_records_are_worth_waiting_for_more(records: int, wait_s: float) -> None:
    pace = make_pace()

    assert pace.after(records, began=0.0, now=0.0) == pytest.approx(wait_s)
    assert pace.after(records, began=0.1, now=0.2) == pytest.approx(wait_s / 2)
    assert pace.after(0, began=0.2, now=0.2) == pytest.approx(0.01)


def test_an_idle_table_backs_off_to_the_long_wait_and_comes_back() -> None:
    pace = make_pace()
    pace.after(1, began=0.0, now=0.0)

    idle = [pace.after(0, began=1.0 + i, now=1.0 + i) for i in range(6)]
    pace.after(1, began=10.0, now=10.0)

    assert idle == pytest.approx([0.02, 0.04, 0.08, 0.16, 0.2, 0.2])
    assert pace.after(0, began=10.1, now=10.1) == pytest.approx(0.01)


def make_pace() -> ReadingPace:
    return ReadingPace(busy_wait_s=0.01, busy_for_s=1.0, idle_wait_s=0.2)


def test_a_pass_that_succeeds_starts_the_waits_over(
    bench: "Bench", make_stop: type["Stop"], fault: Fault, monkeypatch: pytest.MonkeyPatch
) -> None:
    failures: list[int] = []

    def noted(failed: int, **_: float) -> float:
        failures.append(failed)
        return 60.0

    monkeypatch.setattr(table, "full_jitter_s", noted)
    stop = make_stop(bench.clock, patience=3)
    bench.streams.faults = [fault("InternalServerError") for _ in range(2)]
    bench.pump.run(stop)
    bench.streams.faults = [fault("InternalServerError")]
    bench.clock.advance(60.0)
    bench.pump.run(make_stop(bench.clock, patience=1))

    assert failures == [0, 1, 0]
