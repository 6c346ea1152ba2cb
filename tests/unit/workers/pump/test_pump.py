"""What stops one table, queue or tick stops no other, and a tick comes at its interval."""

import threading
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

import pytest
from botocore.exceptions import ClientError

from sharpwave.workers.aws.queues import BatchSender, QueueUrls, StreamSender
from sharpwave.workers.pump import (
    Hooks,
    Pump,
    StreamMissing,
    Tick,
    Ticker,
)
from sharpwave.workers.pump.shards import StreamSource
from sharpwave.workers.work.outgoing import WorkMessage
from tests.world import VirtualClock
from tests.world.sqs import MemorySqs
from tests.world.stores import MemoryCheckpoints
from tests.world.waiting import eventually

if TYPE_CHECKING:
    from tests.unit.workers.pump.conftest import Bench, FakeStreams, Stop

Fault = Callable[[str], ClientError]


def tick(body: str, every_s: float = 0.01, *, queue: str = "status") -> Tick:
    return Tick(lambda: WorkMessage(queue, body, ()), every_s)


def test_a_tick_that_its_queue_refuses_holds_up_no_other(
    streams: "FakeStreams", caplog: pytest.LogCaptureFixture
) -> None:
    sqs = MemorySqs()
    sqs.add_queue("learn")
    stop = threading.Event()
    sender = BatchSender(
        sqs, urls=QueueUrls(sqs), on_refused=lambda *_: None, stop=stop, cap_s=0.002
    )
    pump = Pump(
        {"agent_signals": "agent_signals"},
        dynamodb=streams,
        streams=streams,
        route=lambda table, records: [],
        sender=StreamSender(sender),
        checkpoints=MemoryCheckpoints(),
        hooks=Hooks(on_trimmed=lambda *_: None, on_unroutable=lambda *_: None),
        stop=stop,
        ticks=[tick("status"), tick("learn", queue="learn")],
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


class Journal:
    """Remembers what was sent when; `takes_s` is how long each sending lasts."""

    def __init__(self, clock: VirtualClock, *, takes_s: float = 0.0) -> None:
        self.sent: list[tuple[float, str]] = []
        self._clock = clock
        self._takes_s = takes_s
        self._start = clock()

    def send(self, messages: Sequence[WorkMessage]) -> list[WorkMessage]:
        self.sent += [(self._clock() - self._start, message.body) for message in messages]
        self._clock.advance(self._takes_s)
        return []

    def times(self, body: str) -> list[float]:
        return [at for at, sent in self.sent if sent == body]


def test_every_tick_keeps_its_own_interval(clock: VirtualClock, make_stop: type["Stop"]) -> None:
    journal = Journal(clock)
    stop = make_stop(clock, patience=8)

    Ticker(
        [tick("expire", 10.0), tick("fold", 15.0)], send=journal.send, stop=stop, clock=clock
    ).run()

    assert journal.times("expire")[:4] == [0.0, 10.0, 20.0, 30.0]
    assert journal.times("fold")[:3] == [0.0, 15.0, 30.0]


def test_a_tick_is_built_anew_each_time(clock: VirtualClock, make_stop: type["Stop"]) -> None:
    journal = Journal(clock)
    made = iter("abc")

    Ticker(
        [Tick(lambda: WorkMessage("status", next(made), ()), 1.0)],
        send=journal.send,
        stop=make_stop(clock, patience=2),
        clock=clock,
    ).run()

    assert [body for _, body in journal.sent] == ["a", "b"]


def test_a_tick_that_fails_comes_again_and_holds_up_no_other(
    clock: VirtualClock, make_stop: type["Stop"]
) -> None:
    journal = Journal(clock)
    broken = Tick(lambda: [][0], 5.0)

    Ticker(
        [broken, tick("expire", 5.0)],
        send=journal.send,
        stop=make_stop(clock, patience=3),
        clock=clock,
    ).run()

    assert journal.times("expire") == [0.0, 5.0, 10.0]


def test_ticks_missed_during_an_outage_are_not_caught_up(
    clock: VirtualClock, make_stop: type["Stop"]
) -> None:
    journal = Journal(clock, takes_s=60.0)

    Ticker(
        [tick("expire", 5.0)], send=journal.send, stop=make_stop(clock, patience=2), clock=clock
    ).run()

    assert journal.times("expire") == [0.0, 65.0]


def test_without_ticks_there_is_nothing_to_run(
    clock: VirtualClock, make_stop: type["Stop"]
) -> None:
    Ticker([], send=Journal(clock).send, stop=make_stop(clock), clock=clock).run()
