"""Keeps deliveries invisible to others while a synchronous agent works on them."""

from collections.abc import Iterable
from threading import Condition, Thread

from sharpwave.producers.identity import log
from sharpwave.producers.leases import Leases
from sharpwave.producers.operations.receiving import Received
from sharpwave.producers.operations.settling import extend
from sharpwave.producers.sync_driver import Driver


class Heartbeat:
    """A daemon thread that runs while something is held, and ends by itself."""

    def __init__(self, driver: Driver, leases: Leases | None = None) -> None:
        """Renew with `driver` what `leases` says."""
        self._driver, self._leases = driver, leases or Leases()
        self._changed = Condition()
        self._thread: Thread | None = None
        self._stopped = False

    def hold(self, received: Iterable[Received]) -> None:
        """Keep messages received just now invisible until they are settled or dropped."""
        with self._changed:
            self._leases.hold(received)
            if self._thread is None and self._leases.wait_s() is not None:
                thread = Thread(target=self._beat, name="sharpwave-heartbeat", daemon=True)
                thread.start()
                # Only now: where no thread can be started, the next call tries again.
                self._thread = thread
            self._changed.notify()

    def stop(self) -> None:
        """Renew nothing any more."""
        with self._changed:
            self._stopped, thread = True, self._thread
            self._changed.notify()
        if thread is not None:
            thread.join()

    def _beat(self) -> None:
        while self._wait():
            self._renew()

    def _wait(self) -> bool:
        """Wait until a renewal is due; False once there is nothing to wait for."""
        with self._changed:
            while not self._stopped and (wait_s := self._leases.wait_s()) is not None:
                if wait_s == 0:
                    return True
                self._changed.wait(wait_s)
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
            self._leases.hold(one for one in due if one.held and one not in again)
            self._leases.retry(again)
