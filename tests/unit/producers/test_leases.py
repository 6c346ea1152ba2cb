"""A delivery is renewed at half its visibility timeout while somebody has it."""

import asyncio
from threading import Event, Thread
from typing import Any

import pytest

from sharpwave.producers.errors import Unreachable
from sharpwave.producers.leases import AsyncRenewals, Leases, Renewals
from sharpwave.producers.operations.receiving import Lease
from tests.world import VirtualClock
from tests.world.waiting import eventually


def lease(timeout_s: int = 60, url: str = "http://q/a") -> Lease:
    return Lease("", "receipt", 1, url, timeout_s)


@pytest.fixture
def moment() -> VirtualClock:
    return VirtualClock(100.0)


def test_a_renewal_is_due_at_half_the_timeout(moment: VirtualClock) -> None:
    leases, held = Leases(moment), lease(60)
    leases.hold([held])

    moment.now += 29
    before, wait_s = leases.take_due(), leases.wait_s()
    moment.now += 1

    assert (before, wait_s) == ([], 1.0)
    assert leases.take_due() == [held]


def test_what_is_settled_or_dropped_is_renewed_no_more(moment: VirtualClock) -> None:
    leases, settled, dropped = Leases(moment), lease(), lease()
    leases.hold([settled, dropped])

    settled.held = False
    del dropped

    assert leases.wait_s() is None


def test_one_renewal_takes_ten_of_one_queue(moment: VirtualClock) -> None:
    leases, held = Leases(moment), [lease() for _ in range(12)]
    other = lease(url="http://q/b")
    leases.hold([*held, other])

    moment.now += 30

    assert [len(leases.take_due()) for _ in range(4)] == [10, 2, 1, 0]


def test_a_renewal_that_failed_is_tried_again_before_the_timeout(moment: VirtualClock) -> None:
    leases, held = Leases(moment), lease(60)
    leases.hold([held])
    moment.now += 30

    due = leases.take_due()
    leases.renewed(due, again=due)

    assert leases.wait_s() == 7.5


class Driver:
    """Notes what is renewed; the first renewals end as told."""

    def __init__(self, *faults: Exception | None) -> None:
        self.renewed: list[Any] = []
        self.put_off: list[Lease] = []
        self.enough, self._faults = Event(), [*faults]

    def run(self, operation: Any) -> list[Lease]:
        self.renewed.append(next(operation).params)
        if len(self.renewed) == 3:
            self.enough.set()
        if self._faults and (fault := self._faults.pop(0)):
            raise fault
        return self.put_off


class AsyncDriver(Driver):
    """The same for tasks."""

    async def run(self, operation: Any) -> list[Lease]:  # type: ignore[override]
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
    renewals = Renewals(driver, ever_due())  # type: ignore[arg-type]
    held = lease(2)

    renewals.hold([held])
    assert driver.enough.wait(10)
    held.held = False

    eventually(lambda: renewals._thread is None, "the thread has ended")


def test_the_thread_is_woken_only_for_what_is_due_before_it_wakes(moment: VirtualClock) -> None:
    renewals = Renewals(Driver(), Leases(moment))  # type: ignore[arg-type]
    first, later, sooner = lease(600), lease(600), lease(60)
    renewals.hold([first])
    eventually(lambda: renewals._wakes_at == 400.0, "the thread waits for the first one")

    moment.now += 1
    renewals.hold([later])
    kept = renewals._wakes_at
    renewals.hold([sooner])
    eventually(lambda: renewals._wakes_at == 131.0, "the thread waits for the sooner one")
    renewals.stop()

    assert kept == 400.0


@pytest.mark.parametrize("faults", FAULTS)
def test_the_task_renews_until_nothing_is_held(faults: tuple[Exception, ...]) -> None:
    driver = AsyncDriver(*faults)

    async def work() -> None:
        renewals = AsyncRenewals(driver, ever_due())  # type: ignore[arg-type]
        held = lease(2)
        renewals.hold([held])
        async with asyncio.timeout(10):
            while not driver.enough.is_set():
                await asyncio.sleep(0)
            held.held = False
            assert renewals._task is not None
            await renewals._task

    asyncio.run(work())

    assert len(driver.renewed) >= 3


def test_a_renewal_that_sqs_put_off_is_tried_before_the_timeout(moment: VirtualClock) -> None:
    leases, held = Leases(moment), lease(60)
    driver = Driver()
    driver.put_off = [held]
    leases.hold([held])
    moment.now += 30

    Renewals(driver, leases)._renew()  # type: ignore[arg-type]

    assert leases.wait_s() == 7.5


def test_a_thread_that_cannot_be_started_is_started_at_the_next_message(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    renewals, held = Renewals(Driver()), lease()  # type: ignore[arg-type]
    with monkeypatch.context() as busy:
        busy.setattr(Thread, "start", _no_thread)
        with pytest.raises(RuntimeError, match="start new thread"):
            renewals.hold([held])

    renewals.hold([lease()])

    assert renewals._thread is not None
    renewals.stop()


def _no_thread(thread: Thread) -> None:
    raise RuntimeError("can't start new thread")


def test_a_stopped_renewals_leaves_no_thread() -> None:
    renewals, held = Renewals(Driver()), lease()  # type: ignore[arg-type]
    renewals.hold([held])

    renewals.stop()

    assert renewals._thread is None
