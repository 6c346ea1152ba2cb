"""A delivery is renewed at half its visibility timeout while somebody has it."""

import asyncio
from threading import Event, Thread
from typing import Any

import pytest

from sharpwave.producers.async_heartbeat import AsyncHeartbeat
from sharpwave.producers.errors import Unreachable
from sharpwave.producers.heartbeat import Heartbeat
from sharpwave.producers.leases import Leases
from sharpwave.producers.operations.receiving import Received
from tests.world import VirtualClock
from tests.world.waiting import eventually


def received(timeout_s: int = 60, url: str = "http://q/a") -> Received:
    return Received("", "receipt", 1, url, timeout_s)


@pytest.fixture
def moment() -> VirtualClock:
    return VirtualClock(100.0)


def test_a_renewal_is_due_at_half_the_timeout(moment: VirtualClock) -> None:
    leases, held = Leases(moment), received(60)
    leases.hold([held])

    moment.now += 29
    before, wait_s = leases.take_due(), leases.wait_s()
    moment.now += 1

    assert (before, wait_s) == ([], 1.0)
    assert leases.take_due() == [held]


def test_what_is_settled_or_dropped_is_renewed_no_more(moment: VirtualClock) -> None:
    leases, settled, dropped = Leases(moment), received(), received()
    leases.hold([settled, dropped])

    settled.held = False
    del dropped

    assert leases.wait_s() is None


def test_one_renewal_takes_ten_of_one_queue(moment: VirtualClock) -> None:
    leases, held = Leases(moment), [received() for _ in range(12)]
    other = received(url="http://q/b")
    leases.hold([*held, other])

    moment.now += 30

    assert [len(leases.take_due()) for _ in range(4)] == [10, 2, 1, 0]


def test_a_renewal_that_failed_is_tried_again_before_the_timeout(moment: VirtualClock) -> None:
    leases, held = Leases(moment), received(60)
    leases.hold([held])
    moment.now += 30

    leases.retry(leases.take_due())

    assert leases.wait_s() == 7.5


class Driver:
    """Notes what is renewed; the first renewals end as told."""

    def __init__(self, *faults: Exception | None) -> None:
        self.renewed: list[Any] = []
        self.put_off: list[Received] = []
        self.enough, self._faults = Event(), [*faults]

    def run(self, operation: Any) -> list[Received]:
        self.renewed.append(next(operation).params)
        if len(self.renewed) == 3:
            self.enough.set()
        if self._faults and (fault := self._faults.pop(0)):
            raise fault
        return self.put_off


class AsyncDriver(Driver):
    """The same for tasks."""

    async def run(self, operation: Any) -> list[Received]:  # type: ignore[override]
        await asyncio.sleep(0)
        return super().run(operation)


FAULTS = [
    pytest.param((), id="none"),
    pytest.param((Unreachable("gone"), Unreachable("gone")), id="of AWS"),
    pytest.param((RuntimeError("Session is closed"), None), id="of the client"),
]


def ever_due() -> Leases:
    """Leases by a clock that leaps, so that a renewal is always due."""
    ticks = iter(range(0, 10_000_000, 100))
    return Leases(lambda: next(ticks))


@pytest.mark.parametrize("faults", FAULTS)
def test_the_thread_renews_until_nothing_is_held(faults: tuple[Exception, ...]) -> None:
    driver = Driver(*faults)
    heartbeat = Heartbeat(driver, ever_due())  # type: ignore[arg-type]
    held = received(2)

    heartbeat.hold([held])
    assert driver.enough.wait(10)
    held.held = False

    eventually(lambda: heartbeat._thread is None, "the thread has ended")


@pytest.mark.parametrize("faults", FAULTS)
def test_the_task_renews_until_nothing_is_held(faults: tuple[Exception, ...]) -> None:
    driver = AsyncDriver(*faults)

    async def work() -> None:
        heartbeat = AsyncHeartbeat(driver, ever_due())  # type: ignore[arg-type]
        held = received(2)
        heartbeat.hold([held])
        async with asyncio.timeout(10):
            while not driver.enough.is_set():
                await asyncio.sleep(0)
            held.held = False
            assert heartbeat._task is not None
            await heartbeat._task

    asyncio.run(work())

    assert len(driver.renewed) >= 3


def test_a_renewal_that_sqs_put_off_is_tried_before_the_timeout(moment: VirtualClock) -> None:
    leases, held = Leases(moment), received(60)
    driver = Driver()
    driver.put_off = [held]
    leases.hold([held])
    moment.now += 30

    Heartbeat(driver, leases)._renew()  # type: ignore[arg-type]

    assert leases.wait_s() == 7.5


def test_a_thread_that_cannot_be_started_is_started_at_the_next_message(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    heartbeat, held = Heartbeat(Driver()), received()  # type: ignore[arg-type]
    with monkeypatch.context() as busy:
        busy.setattr(Thread, "start", _no_thread)
        with pytest.raises(RuntimeError, match="start new thread"):
            heartbeat.hold([held])

    heartbeat.hold([received()])

    assert heartbeat._thread is not None
    heartbeat.stop()


def _no_thread(thread: Thread) -> None:
    raise RuntimeError("can't start new thread")


def test_a_stopped_heartbeat_leaves_no_thread() -> None:
    heartbeat, held = Heartbeat(Driver()), received()  # type: ignore[arg-type]
    heartbeat.hold([held])

    heartbeat.stop()

    assert heartbeat._thread is None
