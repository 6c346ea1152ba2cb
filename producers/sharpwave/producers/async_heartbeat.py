"""Keeps deliveries invisible to others while an asynchronous agent works on them."""

import asyncio
from collections.abc import Iterable

from sharpwave.producers.async_driver import AsyncDriver
from sharpwave.producers.identity import log
from sharpwave.producers.leases import Leases
from sharpwave.producers.operations.receiving import Received
from sharpwave.producers.operations.settling import extend


class AsyncHeartbeat:
    """A task that runs while something is held, and ends by itself."""

    def __init__(self, driver: AsyncDriver, leases: Leases | None = None) -> None:
        """Renew with `driver` what `leases` says."""
        self._driver, self._leases = driver, leases or Leases()
        self._changed = asyncio.Event()
        self._task: asyncio.Task[None] | None = None

    def hold(self, received: Iterable[Received]) -> None:
        """Keep messages received just now invisible until they are settled or dropped."""
        self._leases.hold(received)
        self._changed.set()
        if self._leases.wait_s() is not None and (self._task is None or self._task.done()):
            self._task = asyncio.create_task(self._beat(), name="sharpwave-heartbeat")

    async def stop(self) -> None:
        """Renew nothing any more."""
        if self._task is not None:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)

    async def _beat(self) -> None:
        while (wait_s := self._leases.wait_s()) is not None:
            if wait_s == 0:
                await self._renew()
                continue
            self._changed.clear()
            try:
                await asyncio.wait_for(self._changed.wait(), wait_s)
            except TimeoutError:
                continue

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
        self._leases.hold(one for one in due if one.held and one not in again)
        self._leases.retry(again)
