"""A pump's threads keep to themselves: what stops one table, queue or tick stops no other."""

import threading
from collections.abc import Callable
from typing import TYPE_CHECKING

import pytest
from botocore.exceptions import ClientError

from sharpwave.workers.pump import (
    Hooks,
    MemoryCheckpoints,
    Pump,
    Sender,
    SenderSettings,
    StreamMissing,
    Tick,
)
from sharpwave.workers.pump.shards import StreamSource
from sharpwave.workers.work.outgoing import WorkMessage
from tests.world.sqs import MemorySqs
from tests.world.waiting import eventually

if TYPE_CHECKING:
    from tests.unit.workers.pump.conftest import Bench, FakeStreams, Stop

Fault = Callable[[str], ClientError]


def tick(queue: str) -> Tick:
    return Tick(lambda: WorkMessage(queue, queue, ()), 0.01)


def test_a_tick_that_its_queue_refuses_holds_up_no_other(
    streams: "FakeStreams", caplog: pytest.LogCaptureFixture
) -> None:
    sqs = MemorySqs()
    url = sqs.add_queue("learn")
    stop = threading.Event()
    sender = Sender(
        sqs,
        queue_url=lambda name: url.replace("learn", name),
        on_refused=lambda *_: None,
        stop=stop,
        settings=SenderSettings(backoff_base_s=0.001, backoff_cap_s=0.002),
    )
    pump = Pump(
        {"agent_signals": "agent_signals"},
        dynamodb=streams,
        streams=streams,
        route=lambda table, records: [],
        sender=sender,
        checkpoints=MemoryCheckpoints(),
        hooks=Hooks(on_trimmed=lambda *_: None, on_unroutable=lambda *_: None),
        stop=stop,
        ticks=[tick("status"), tick("learn")],
    )

    pump.start()
    eventually(lambda: len(sqs.messages("learn")) >= 2, "the other tick is sent")
    pump.stop()

    assert pump.join(10)
    assert {each.body for each in sqs.messages("learn")} == {"learn"}
    assert [progress.table for progress in pump.progress()] == ["agent_signals"]
    assert "tick_not_sent" in caplog.messages


def test_a_sign_of_life_that_cannot_be_written_stops_nothing(
    bench: "Bench", make_stop: type["Stop"], caplog: pytest.LogCaptureFixture
) -> None:
    def fail(progress: object) -> None:
        raise RuntimeError("the table is away")

    bench.streams.add_shard("s")
    written = bench.streams.put("s", 3)
    bench.pump._hooks = Hooks(
        on_trimmed=bench.told.hooks.on_trimmed,
        on_unroutable=bench.told.hooks.on_unroutable,
        on_progress=fail,
    )

    bench.pump.run(make_stop(bench.clock, patience=20))

    assert bench.sent.numbers == written
    assert "progress_not_reported" in caplog.messages


@pytest.mark.parametrize(
    ("code", "error"),
    [("ResourceNotFoundException", StreamMissing), ("AccessDeniedException", ClientError)],
)
def test_a_stream_that_goes_while_its_shards_are_listed_is_named_missing(
    streams: "FakeStreams", fault: Fault, code: str, error: type[Exception]
) -> None:
    streams.faults = [fault(code)]

    with pytest.raises(error):
        StreamSource(streams, streams, "agent_signals").shards(streams.stream_arn)
