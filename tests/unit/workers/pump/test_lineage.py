"""Every record of every shard is handed on, parents first; what was lost is told, never skipped."""

from collections.abc import Callable
from typing import TYPE_CHECKING

from botocore.exceptions import ClientError

from sharpwave.workers.pump import CLOSED, TRIM_HORIZON

if TYPE_CHECKING:
    from tests.unit.workers.pump.conftest import Bench

Fault = Callable[[str], ClientError]


def test_a_split_is_followed_parent_first(make_bench: type["Bench"]) -> None:
    bench = make_bench(page_size=2)
    bench.streams.add_shard("p")
    parent = bench.streams.put("p", 5)
    bench.streams.close("p", "left", "right")
    left, right = bench.streams.put("left", 3), bench.streams.put("right", 3)

    bench.settle()

    assert bench.sent.numbers[:5] == parent
    assert sorted(bench.sent.numbers[5:]) == left + right
    assert bench.positions() == {"p": CLOSED, "left": left[-1], "right": right[-1]}


def test_a_shard_that_closes_while_it_is_read_gives_way_to_its_child(bench: "Bench") -> None:
    bench.streams.add_shard("p")
    first = bench.streams.put("p")
    bench.settle(2)
    bench.streams.close("p", "c")
    second = bench.streams.put("c")

    bench.settle(3)

    assert bench.sent.numbers == first + second


def test_a_child_listed_late_is_found(bench: "Bench") -> None:
    bench.streams.add_shard("p")
    bench.streams.close("p")
    bench.settle(3)
    bench.streams.add_shard("c", "p")
    written = bench.streams.put("c")

    bench.settle(5)

    assert bench.sent.numbers == written
    assert bench.told.trimmed == []


def test_a_shard_that_appears_without_a_closing_one_is_found(bench: "Bench") -> None:
    bench.streams.add_shard("s")
    bench.settle(3)
    bench.streams.add_shard("t")
    written = bench.streams.put("t")

    bench.settle(40)

    assert bench.sent.numbers == written


def test_a_restart_resumes_in_the_middle_of_a_family(make_bench: type["Bench"]) -> None:
    bench = make_bench(page_size=1)
    bench.streams.add_shard("p")
    bench.streams.put("p", 2)
    bench.streams.close("p", "c")
    bench.streams.put("c", 4)
    bench.settle(5)
    before = list(bench.sent.numbers)

    bench.restart()
    bench.settle()

    after = bench.sent.numbers[len(before) :]
    assert sorted(set(before + after)) == bench_numbers(bench)
    assert set(after).isdisjoint(before[:2])


def test_a_closed_shard_is_not_read_again(bench: "Bench") -> None:
    bench.streams.add_shard("p")
    bench.streams.put("p", 2)
    bench.streams.close("p", "c")
    bench.settle()
    sent = len(bench.sent.messages)

    bench.restart()
    bench.settle()

    assert len(bench.sent.messages) == sent


def test_a_shard_read_to_its_end_is_forgotten_once_the_stream_forgets_it(bench: "Bench") -> None:
    bench.streams.add_shard("p")
    bench.streams.put("p")
    bench.streams.close("p", "c")
    bench.settle()
    del bench.streams.shards["p"]

    bench.settle(60)
    bench.restart()
    bench.settle()

    assert bench.positions() == {"c": TRIM_HORIZON}
    assert bench.told.trimmed == []


def test_a_trimmed_position_is_told_and_the_rest_is_read(bench: "Bench") -> None:
    bench.streams.add_shard("s")
    bench.streams.put("s")
    bench.settle()
    bench.streams.trim("s")
    left = bench.streams.put("s", 2)

    bench.restart()
    bench.settle()

    assert bench.told.trimmed == [("agent_signals", "s")]
    assert bench.sent.numbers[1:] == left


def test_a_gap_is_told_again_until_somebody_took_it(bench: "Bench") -> None:
    bench.streams.add_shard("s")
    bench.streams.put("s")
    bench.settle()
    bench.streams.trim("s")
    left = bench.streams.put("s")
    told: list[str] = []

    def refuse_twice(table: str, shard_id: str) -> None:
        told.append(shard_id)
        if len(told) < 3:
            raise RuntimeError("reconcile queue is down")

    bench.told.hooks = type(bench.told.hooks)(
        on_trimmed=refuse_twice, on_unroutable=bench.told.hooks.on_unroutable
    )
    bench.restart()
    bench.settle(60, every_s=1.0)

    assert told == ["s", "s", "s"]
    assert bench.sent.numbers[1:] == left


def test_a_backend_that_restarted_without_its_records_is_noticed_and_followed(
    bench: "Bench",
) -> None:
    bench.streams.add_shard("s")
    bench.streams.put("s", 5)
    bench.settle()
    bench.streams.restart_empty()
    written = bench.streams.put("s")

    bench.settle()

    assert bench.told.trimmed == [("agent_signals", "s")]
    assert bench.sent.numbers[5:] == written
    assert bench.positions() == {"s": written[-1]}


def test_a_stream_made_anew_is_followed_even_with_the_same_shard_id(bench: "Bench") -> None:
    bench.streams.add_shard("s")
    bench.streams.put("s", 5)
    bench.streams.close("s")
    bench.settle()
    bench.streams.reopen_as("2")
    bench.streams.add_shard("s")
    written = bench.streams.put("s")

    bench.settle(60)

    assert bench.told.trimmed == [("agent_signals", "s")]
    assert bench.sent.numbers[5:] == written


def test_a_stream_made_anew_while_the_pump_was_down_leaves_a_gap(bench: "Bench") -> None:
    bench.streams.add_shard("s")
    bench.streams.put("s")
    bench.settle()
    bench.streams.reopen_as("2")
    bench.streams.add_shard("t")
    written = bench.streams.put("t")

    bench.restart()
    bench.settle()

    assert bench.told.trimmed == [("agent_signals", "s")]
    assert bench.sent.numbers[1:] == written
    assert bench.positions() == {"t": written[-1]}


def test_a_shard_that_vanished_with_unread_records_leaves_a_gap(bench: "Bench") -> None:
    bench.streams.add_shard("p")
    bench.streams.put("p")
    bench.settle()
    del bench.streams.shards["p"]
    bench.streams.add_shard("c", "p")
    written = bench.streams.put("c")

    bench.restart()
    bench.settle()

    assert bench.told.trimmed == [("agent_signals", "p")]
    assert bench.sent.numbers[1:] == written


def test_a_generation_missed_while_the_pump_was_down_leaves_a_gap(bench: "Bench") -> None:
    bench.streams.add_shard("a")
    bench.streams.close("a")
    bench.settle(3)
    bench.streams.shards.clear()
    bench.streams.add_shard("c", "b")
    written = bench.streams.put("c")

    bench.restart()
    bench.settle()

    assert bench.told.trimmed == [("agent_signals", "c")]
    assert bench.sent.numbers == written


def test_the_first_start_reads_everything_and_reports_no_gap(bench: "Bench") -> None:
    bench.streams.add_shard("c", "trimmed-long-ago")
    written = bench.streams.put("c", 3)

    bench.settle()

    assert bench.sent.numbers == written
    assert bench.told.trimmed == []


def test_a_shard_the_stream_denies_for_a_moment_is_kept(bench: "Bench", fault: Fault) -> None:
    bench.streams.add_shard("s")
    written = bench.streams.put("s")
    bench.pump.step()
    bench.streams.faults = [fault("ResourceNotFoundException")]
    written += bench.streams.put("s")

    bench.settle(20, every_s=1.0)

    assert bench.sent.numbers == written
    assert bench.told.trimmed == []


def bench_numbers(bench: "Bench") -> list[str]:
    shards = bench.streams.shards.values()
    return sorted(r["dynamodb"]["SequenceNumber"] for shard in shards for r in shard.records)
