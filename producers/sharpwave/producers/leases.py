"""Keeps what an agent works on invisible to others: at most as long as somebody has it."""

import asyncio
import math
import time
from collections.abc import Callable, Iterable
from contextlib import suppress
from threading import Condition, Thread
from weakref import ref

from sharpwave.producers.call import log
from sharpwave.producers.drivers import AsyncDriver, Driver
from sharpwave.producers.operations.receiving import MOST_AT_ONCE, Lease, extend


class Leases:
    """The messages in an agent's hands; each is renewed at half its visibility timeout.

    Messages are held weakly: a delivery that was dropped unsettled is no longer renewed, and the
    queue hands it out again. Not safe for threads by itself.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        """Measure time, in seconds, by `clock`."""
        self._clock = clock
        self._due: list[tuple[float, ref[Lease]]] = []

    def hold(self, leases: Iterable[Lease]) -> None:
        """Take charge of messages received or renewed just now."""
        now = self._clock()
        self._due += [(now + lease.visibility_timeout_s / 2, ref(lease)) for lease in leases]

    def due_at(self) -> float | None:
        """Say by the clock when there is something to be done; None if nothing is held."""
        self._due = [(at, one) for at, one in self._due if (alive := one()) and alive.held]
        return min((at for at, _ in self._due), default=None)

    def wait_s(self) -> float | None:
        """Say how long nothing is to be done, at least 0; None if nothing is held."""
        at = self.due_at()
        return None if at is None else max(0.0, at - self._clock())

    def take_due(self) -> list[Lease]:
        """Take what is to be renewed now, at most as many as one request renews."""
        now, taken, left = self._clock(), list[Lease](), list[tuple[float, ref[Lease]]]()
        for at, one in self._due:
            lease = one()
            if lease is None or not lease.held:
                continue
            # One request names one queue.
            fits = len(taken) < MOST_AT_ONCE and (not taken or taken[0].url == lease.url)
            if at <= now and fits:
                taken.append(lease)
            else:
                left.append((at, one))
        self._due = left
        return taken

    def renewed(self, due: Iterable[Lease], again: Iterable[Lease]) -> None:
        """Take note of a renewal of `due`; `again`, which failed, is tried soon, in time for it."""
        now, again = self._clock(), list(again)
        self.hold(lease for lease in due if lease.held and lease not in again)
        self._due += [(now + lease.visibility_timeout_s / 8, ref(lease)) for lease in again]


class Renewals:
    """A daemon thread that renews while something is held, and ends by itself."""

    def __init__(self, driver: Driver, leases: Leases | None = None) -> None:
        """Renew with `driver` what `leases` says."""
        self._driver, self._leases = driver, leases or Leases()
        self._changed = Condition()
        self._thread: Thread | None = None
        self._wakes_at = math.inf
        self._stopped = False

    def hold(self, leases: Iterable[Lease]) -> None:
        """Keep messages received just now invisible until they are settled or dropped."""
        with self._changed:
            self._leases.hold(leases)
            due_at = self._leases.due_at()
            if due_at is None:
                return
            if self._thread is None:
                thread = Thread(target=self._run, name="sharpwave-leases", daemon=True)
                thread.start()
                # Only now: where no thread can be started, the next call tries again.
                self._thread = thread
            elif due_at < self._wakes_at:
                # Else it wakes in time of itself: woken for every message it would only be in the
                # way of who is about to work on it.
                self._changed.notify()

    def stop(self) -> None:
        """Renew nothing any more."""
        with self._changed:
            self._stopped, thread = True, self._thread
            self._changed.notify()
        if thread is not None:
            thread.join()

    def _run(self) -> None:
        while self._wait():
            # In a frame of its own, or what it renews would live on in this one.
            self._renew()

    def _wait(self) -> bool:
        """Wait until a renewal is due; False once there is nothing to wait for."""
        with self._changed:
            while not self._stopped and (wait_s := self._leases.wait_s()) is not None:
                if wait_s == 0:
                    return True
                self._wakes_at = self._leases.due_at() or math.inf
                self._changed.wait(wait_s)
            # Still under the lock: who holds something next sees that a new thread is needed.
            self._thread = None
            return False

    def _renew(self) -> None:
        with self._changed:
            due = self._leases.take_due()
        if not due:
            return
        again = due
        try:
            again = self._driver.run(extend(due))
        except Exception as error:
            # Whatever it was: without this thread all else that is held would come again.
            log.warning("heartbeat_failed: %r", error)
        with self._changed:
            self._leases.renewed(due, again)


class AsyncRenewals:
    """The same for an event loop: a task, which needs no lock."""

    def __init__(self, driver: AsyncDriver, leases: Leases | None = None) -> None:
        """Renew with `driver` what `leases` says."""
        self._driver, self._leases = driver, leases or Leases()
        self._changed = asyncio.Event()
        self._task: asyncio.Task[None] | None = None

    def hold(self, leases: Iterable[Lease]) -> None:
        """Keep messages received just now invisible until they are settled or dropped."""
        self._leases.hold(leases)
        self._changed.set()
        if self._leases.wait_s() is not None and (self._task is None or self._task.done()):
            self._task = asyncio.create_task(self._run(), name="sharpwave-leases")

    async def stop(self) -> None:
        """Renew nothing any more."""
        if self._task is not None:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)

    async def _run(self) -> None:
        while (wait_s := self._leases.wait_s()) is not None:
            if wait_s > 0:
                self._changed.clear()
                # Woken early, for what is held meanwhile may be due before.
                with suppress(TimeoutError):
                    await asyncio.wait_for(self._changed.wait(), wait_s)
            else:
                # In a frame of its own, or what it renews would live on in this one.
                await self._renew()

    async def _renew(self) -> None:
        due = self._leases.take_due()
        if not due:
            return
        again = due
        try:
            again = await self._driver.run(extend(due))
        except Exception as error:
            # Whatever it was: without this task all else that is held would come again.
            log.warning("heartbeat_failed: %r", error)
        self._leases.renewed(due, again)
