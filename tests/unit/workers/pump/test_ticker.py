"""A tick is sent at once and then at its interval, whatever became of the one before."""

from collections.abc import Sequence
from typing import TYPE_CHECKING

from sharpwave.workers.pump import Tick, Ticker
from sharpwave.workers.work.outgoing import WorkMessage
from tests.world import VirtualClock

if TYPE_CHECKING:
    from tests.unit.workers.pump.conftest import Stop


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


def tick(body: str, every_s: float) -> Tick:
    return Tick(lambda: WorkMessage("status", body, ()), every_s)


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
