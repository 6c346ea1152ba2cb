"""A delivery is renewed at half its visibility timeout while somebody has it."""

from collections.abc import Callable
from threading import Event
from typing import Any

import pytest

from sharpwave.producers.errors import Unreachable
from sharpwave.producers.heartbeat import Heartbeat
from sharpwave.producers.leases import Leases
from sharpwave.producers.operations.receiving import Received


def received(timeout_s: int = 60, url: str = "http://q/a") -> Received:
    return Received("", "receipt", 1, url, timeout_s)


class Moment:
    """A clock that is set by hand."""

    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def moment() -> Moment:
    return Moment()


def test_a_renewal_is_due_at_half_the_timeout(moment: Moment) -> None:
    leases, held = Leases(moment), received(60)
    leases.hold([held])

    moment.now += 29
    before, wait_s = leases.take_due(), leases.wait_s()
    moment.now += 1

    assert (before, wait_s) == ([], 1.0)
    assert leases.take_due() == [held]


def test_what_is_settled_or_dropped_is_renewed_no_more(moment: Moment) -> None:
    leases, settled, dropped = Leases(moment), received(), received()
    leases.hold([settled, dropped])

    settled.held = False
    del dropped

    assert leases.wait_s() is None


def test_one_renewal_takes_ten_of_one_queue(moment: Moment) -> None:
    leases, held = Leases(moment), [received() for _ in range(12)]
    other = received(url="http://q/b")
    leases.hold([*held, other])

    moment.now += 30

    assert [len(leases.take_due()) for _ in range(4)] == [10, 2, 1, 0]


def test_a_renewal_that_failed_is_tried_again_before_the_timeout(moment: Moment) -> None:
    leases, held = Leases(moment), received(60)
    leases.hold([held])
    moment.now += 30

    leases.retry(leases.take_due())

    assert leases.wait_s() == 7.5


class Driver:
    """Notes what is renewed; the first `failures` renewals fail."""

    def __init__(self, failures: int = 0) -> None:
        self.renewed: list[Any] = []
        self.enough, self._failures = Event(), failures

    def run(self, operation: Any) -> None:
        self.renewed.append(next(operation).params)
        if len(self.renewed) <= self._failures:
            raise Unreachable("gone")
        if len(self.renewed) == 3:
            self.enough.set()


@pytest.mark.parametrize("failures", [0, 2])
def test_the_thread_renews_until_nothing_is_held(
    failures: int, eventually: Callable[[Callable[[], object]], None]
) -> None:
    ticks = iter(range(0, 10_000_000, 100))
    driver = Driver(failures)
    heartbeat = Heartbeat(driver, Leases(lambda: next(ticks)))  # type: ignore[arg-type]
    held = received(2)

    heartbeat.hold([held])
    assert driver.enough.wait(10)
    held.held = False

    eventually(lambda: heartbeat._thread is None)


def test_a_stopped_heartbeat_leaves_no_thread() -> None:
    heartbeat, held = Heartbeat(Driver()), received()  # type: ignore[arg-type]
    heartbeat.hold([held])

    heartbeat.stop()

    assert heartbeat._thread is None
