"""A shard opens when its parent has been read to its end, or is no longer there to read."""

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import pytest
from botocore.exceptions import ClientError

from sharpwave.workers.pump.errors import StreamMissing
from sharpwave.workers.pump.shards import Shard, StreamSource, orphans, ready

if TYPE_CHECKING:
    from tests.unit.workers.pump.conftest import FakeStreams

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
