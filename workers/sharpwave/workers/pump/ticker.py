"""Periodic messages for duties that nothing in a table sets off."""

import logging
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from sharpwave.workers.work.outgoing import WorkMessage

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Tick:
    """A message to send again and again; its duty must be idempotent.

    Attributes:
        make: builds the message anew for each sending.
        every_s: seconds between two sendings; the first is at once.
    """

    make: Callable[[], WorkMessage]
    every_s: float


class Ticker:
    """Sends every tick when it is due; a late one is sent once, not caught up.

    Args:
        ticks: what to send.
        send: tries to hand messages to the queues and gives those not accepted. It must come to
            an end: a tick that its queue refuses must not hold up the ticks of other queues.
        stop: ends `run`.
        clock: monotonic seconds.
    """

    def __init__(
        self,
        ticks: Sequence[Tick],
        *,
        send: Callable[[Sequence[WorkMessage]], Sequence[WorkMessage]],
        stop: threading.Event,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._ticks = ticks
        self._send = send
        self._stop = stop
        self._clock = clock
        self._due_at = [clock()] * len(ticks)

    def run(self) -> None:
        """Send until the stop."""
        while self._ticks and not self._stop.is_set():
            self.send_due()
            self._stop.wait(max(0.0, min(self._due_at) - self._clock()))

    def send_due(self) -> None:
        """Send what is due now; a tick that fails is logged and due again next time."""
        for i, tick in enumerate(self._ticks):
            if self._clock() >= self._due_at[i]:
                self._send_one(tick)
                self._due_at[i] = self._clock() + tick.every_s

    def _send_one(self, tick: Tick) -> None:
        try:
            unsent = self._send([tick.make()])
        except Exception:
            log.exception("tick_failed", extra={"every_s": tick.every_s})
            return
        for message in unsent:
            log.warning("tick_not_sent", extra={"queue": message.queue, "every_s": tick.every_s})
