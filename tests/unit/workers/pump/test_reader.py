"""A reader gives every record after its position, whatever becomes of its iterator."""

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import pytest
from botocore.exceptions import ClientError, EndpointConnectionError

from sharpwave.workers.pump.checkpoints import TRIM_HORIZON
from sharpwave.workers.pump.reader import Page, ShardGone, ShardReader, StreamTrimmed
from sharpwave.workers.work.incoming import streamed
from tests.world import VirtualClock

if TYPE_CHECKING:
    from tests.unit.workers.pump.conftest import FakeStreams

Fault = Callable[[str], ClientError]


@pytest.fixture
def reader(streams: "FakeStreams", clock: VirtualClock) -> ShardReader:
    streams.add_shard("s")
    return make_reader(streams, clock)


def make_reader(
    streams: "FakeStreams", clock: VirtualClock, position: str = TRIM_HORIZON
) -> ShardReader:
    return ShardReader(
        streams,
        table="agent_signals",
        stream_arn=streams.stream_arn,
        shard_id="s",
        position=position,
        doubt_s=0.2,
        prove_idle_s=2.0,
        renew_idle_s=60.0,
        clock=clock,
    )


def numbers(page: Page) -> list[str]:
    return [streamed(record).change.sequence_number for record in page.records]


def take(reader: ShardReader) -> list[str]:
    page = reader.read()
    reader.advance(page)
    return numbers(page)


def test_a_new_shard_is_read_from_its_oldest_record(
    reader: ShardReader, streams: "FakeStreams"
) -> None:
    written = streams.put("s", 3)

    assert take(reader) == written
    assert reader.position == written[-1]


def test_a_reader_resumes_after_the_record_it_was_left_at(
    streams: "FakeStreams", clock: VirtualClock
) -> None:
    streams.add_shard("s")
    written = streams.put("s", 3)

    assert take(make_reader(streams, clock, position=written[0])) == written[1:]


def test_a_page_comes_again_until_the_reader_advances(
    reader: ShardReader, streams: "FakeStreams"
) -> None:
    written = streams.put("s", 2)

    assert numbers(reader.read()) == numbers(reader.read()) == written


def test_empty_pages_do_not_end_a_shard(reader: ShardReader, streams: "FakeStreams") -> None:
    streams.empty_pages = 7
    written = streams.put("s")

    pages = [take(reader) for _ in range(8)]

    assert pages == [[]] * 7 + [written]
    assert not reader.closed


def test_a_closed_shard_ends_without_a_next_iterator(
    reader: ShardReader, streams: "FakeStreams"
) -> None:
    written = streams.put("s", 2)
    streams.close("s")

    assert take(reader) == written
    assert reader.closed


def test_an_expired_iterator_is_renewed_from_the_last_record(
    reader: ShardReader, streams: "FakeStreams"
) -> None:
    streams.put("s", 2)
    take(reader)
    later = streams.put("s", 2)
    streams.expire_iterators()

    assert take(reader) == later


def test_an_iterator_that_expires_before_anything_was_read_starts_at_the_oldest(
    reader: ShardReader, streams: "FakeStreams"
) -> None:
    take(reader)
    written = streams.put("s")
    streams.expire_iterators()

    assert take(reader) == written


def test_a_trimmed_position_is_an_error_and_never_a_silent_jump(
    reader: ShardReader, streams: "FakeStreams"
) -> None:
    streams.put("s")
    take(reader)
    streams.put("s")
    streams.trim("s")
    left = streams.put("s")

    with pytest.raises(StreamTrimmed, match=r"no longer in the stream.*reconcile the table"):
        reader.read()
    reader.rewind()
    assert take(reader) == left


def test_a_shard_the_stream_does_not_know_is_gone(
    reader: ShardReader, streams: "FakeStreams"
) -> None:
    take(reader)
    del streams.shards["s"]

    with pytest.raises(ShardGone):
        reader.read()


def test_throttling_is_passed_on_and_loses_nothing(
    reader: ShardReader, streams: "FakeStreams", fault: Fault
) -> None:
    written = streams.put("s")
    streams.faults = [fault("LimitExceededException")]

    with pytest.raises(ClientError, match="LimitExceeded"):
        reader.read()
    assert take(reader) == written


def test_after_a_connection_error_the_old_iterator_is_not_believed(
    reader: ShardReader, streams: "FakeStreams"
) -> None:
    streams.put("s", 3)
    take(reader)
    streams.restart_empty()
    streams.faults = [EndpointConnectionError(endpoint_url="http://127.0.0.1:1")]

    with pytest.raises(EndpointConnectionError):
        reader.read()
    with pytest.raises(StreamTrimmed):
        reader.read()


def test_an_idle_reader_notices_a_backend_that_restarted_without_its_records(
    reader: ShardReader, streams: "FakeStreams", clock: VirtualClock
) -> None:
    streams.put("s", 3)
    take(reader)
    streams.restart_empty()
    streams.put("s")
    assert take(reader) == []

    clock.advance(2.0)

    with pytest.raises(StreamTrimmed):
        reader.read()


def test_a_page_after_a_pause_is_not_believed_when_the_position_is_void(
    reader: ShardReader, streams: "FakeStreams", clock: VirtualClock
) -> None:
    streams.put("s", 3)
    take(reader)
    streams.restart_empty()
    written = streams.put("s", 5)
    clock.advance(0.2)

    with pytest.raises(StreamTrimmed):
        reader.read()
    reader.rewind()
    assert take(reader) == written


def test_a_busy_reader_asks_for_nothing_but_records(
    reader: ShardReader, streams: "FakeStreams", clock: VirtualClock
) -> None:
    for _ in range(5):
        streams.put("s")
        take(reader)
        clock.advance(0.1)

    assert streams.calls == ["get_shard_iterator", *["get_records"] * 5]


def test_proving_an_idle_position_does_not_start_a_sparse_shard_over(
    reader: ShardReader, streams: "FakeStreams", clock: VirtualClock
) -> None:
    streams.empty_pages = 20
    written = streams.put("s")

    pages = []
    for _ in range(21):
        pages.append(take(reader))
        clock.advance(2.0)

    assert pages[-1] == written


def test_a_long_idle_reader_takes_a_fresh_iterator(
    reader: ShardReader, streams: "FakeStreams", clock: VirtualClock
) -> None:
    take(reader)
    clock.advance(60.0)
    take(reader)

    take(reader)

    assert len(streams.granted) == 2
    assert streams.used[-1] == streams.granted[-1]


@pytest.mark.parametrize(
    "error",
    [
        ClientError({"Error": {"Code": "ThrottlingException", "Message": ""}}, "GetRecords"),
        EndpointConnectionError(endpoint_url="http://here"),
    ],
)
def test_after_a_failed_renewal_the_iterator_is_asked_for_again(
    reader: ShardReader, streams: "FakeStreams", fault: Fault, error: Exception
) -> None:
    first = streams.put("s")
    assert take(reader) == first
    streams.expire_iterators()
    failing = streams.get_records

    def fail_once(**asked: Any) -> Any:
        if asked["ShardIterator"] in streams._expired:
            return failing(**asked)
        streams.get_records = failing  # type: ignore[method-assign]
        raise error

    streams.get_records = fail_once  # type: ignore[method-assign]
    with pytest.raises(type(error)):
        reader.read()
    granted = len(streams.granted)
    second = streams.put("s")

    assert take(reader) == second
    assert len(streams.granted) == granted + 1
