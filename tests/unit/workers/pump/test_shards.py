"""A shard opens once its parent was read; all of it is handed on, and what was lost is told."""

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import pytest
from botocore.exceptions import ClientError

from sharpwave.workers.pump import CLOSED, TRIM_HORIZON
from sharpwave.workers.pump.reader import StreamMissing
from sharpwave.workers.pump.shards import Shard, StreamSource, orphans, ready

if TYPE_CHECKING:
    from tests.unit.workers.pump.conftest import Bench, FakeStreams

FAMILY = [Shard("a"), Shard("b", "a"), Shard("c", "a"), Shard("d", "c")]


def ids(shards: list[Shard]) -> list[str]:
    return [shard.shard_id for shard in shards]


def test_children_wait_for_a_parent_that_is_not_done() -> None:
    assert ids(ready(FAMILY, done=set(), active=set())) == ["a"]
    assert ids(ready(FAMILY, done=set(), active={"a"})) == []


def test_both_children_of_a_split_open_once_the_parent_is_done() -> None:
    assert ids(ready(FAMILY, done={"a"}, active=set())) == ["b", "c"]


def test_a_grandchild_waits_for_its_own_parent() -> None:
    assert ids(ready(FAMILY, done={"a"}, active={"b", "c"})) == []
    assert ids(ready(FAMILY, done={"a", "c"}, active={"b"})) == ["d"]


def test_a_shard_whose_parent_was_trimmed_away_opens_at_once() -> None:
    assert ids(ready([Shard("b", "a")], done=set(), active=set())) == ["b"]


def test_an_unlisted_parent_is_waited_for_while_it_is_being_read() -> None:
    assert ready([Shard("b", "a")], done=set(), active={"a"}) == []


def test_a_shard_is_an_orphan_when_its_parent_vanished_before_it_was_begun() -> None:
    assert ids(orphans([Shard("b", "a")], begun={"x"})) == ["b"]
    assert orphans([Shard("b", "a")], begun={"a"}) == []
    assert orphans([Shard("b", "a")], begun={"b"}) == []
    assert orphans(FAMILY, begun=set()) == []


def test_every_page_of_a_long_shard_list_is_read(streams: "FakeStreams") -> None:
    for number in range(5):
        streams.add_shard(f"shard-{number}")
    streams.close("shard-0", "shard-5")
    source = StreamSource(streams, streams, "agent_signals")

    listed = source.shards(source.stream_arn())

    assert ids(listed) == [f"shard-{number}" for number in range(6)]
    assert listed[-1].parent_id == "shard-0"
    assert streams.calls.count("describe_stream") == 3


def test_a_missing_table_says_what_to_do(
    streams: "FakeStreams", fault: Callable[[str], ClientError]
) -> None:
    streams.faults = [fault("ResourceNotFoundException")]

    with pytest.raises(StreamMissing, match="agent_signals does not exist; provision it"):
        StreamSource(streams, streams, "agent_signals").stream_arn()


def test_a_table_without_a_stream_says_what_to_do() -> None:
    class Unstreamed:
        def describe_table(self, *, TableName: str) -> dict[str, Any]:
            return {"Table": {"TableName": TableName}}

    with pytest.raises(StreamMissing, match="has no stream; provision it with a stream"):
        StreamSource(Unstreamed(), Unstreamed(), "agent_signals").stream_arn()


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
    return sorted(r.change.sequence_number for shard in shards for r in shard.records)
