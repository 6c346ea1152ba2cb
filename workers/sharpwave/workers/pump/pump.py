"""Carries the changes of several tables to the work queues, a thread for each, and the ticks."""

import logging
import os
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

from sharpwave.schemas import keys
from sharpwave.workers.aws.meter import Meter
from sharpwave.workers.aws.presence import show_presence
from sharpwave.workers.aws.queues import StreamSender
from sharpwave.workers.pump.checkpoints import Checkpoints
from sharpwave.workers.pump.shards import StreamSource
from sharpwave.workers.pump.table import Hooks, Progress, PumpSettings, TablePump
from sharpwave.workers.work.incoming import Route
from sharpwave.workers.work.outgoing import WorkMessage

log = logging.getLogger(__name__)

#: A tick comes again anyway, so it is given up soon.
_TICK_ATTEMPTS = 3


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
            if self._clock() < self._due_at[i]:
                continue
            try:
                for message in self._send([tick.make()]):
                    fields = {"queue": message.queue, "every_s": tick.every_s}
                    log.warning("tick_not_sent", extra=fields)
            except Exception:
                log.exception("tick_failed", extra={"every_s": tick.every_s})
            # From now on: after a pause one is sent, and not all that were missed.
            self._due_at[i] = self._clock() + tick.every_s


def show_progress(progress: Progress, *, client: Any, meter: Meter, prefix: str) -> None:
    """Write the row by which operators see that the pump of a table is alive, and how far."""
    show_presence(
        client,
        keys.pump_presence(progress.table),
        meter,
        prefix=prefix,
        records=progress.records,
        open_shards=progress.open_shards,
        failing_shards=progress.failing_shards,
        lag_s=progress.lag_s,
        at=int(progress.at),
        pid=os.getpid(),
    )


class Pump:
    """Runs one TablePump per table, and the ticks.

    For laptops and tests; in AWS an event source mapping does this. It does
    not coordinate with other pumps: a second one sends everything again.

    Args:
        tables: logical to physical table name.
        dynamodb: a boto3 `dynamodb` client.
        streams: a boto3 `dynamodbstreams` client.
        route: turns records into messages; called from every table's thread.
        sender: hands messages to the queues; stops trying with the same `stop`.
        checkpoints: where positions are kept.
        hooks: callbacks.
        stop: ends every thread; set it, or call `stop`, on SIGTERM.
        ticks: periodic messages.
        settings: pace and bookkeeping.
    """

    def __init__(
        self,
        tables: Mapping[str, str],
        *,
        dynamodb: Any,
        streams: Any,
        route: Route,
        sender: StreamSender,
        checkpoints: Checkpoints,
        hooks: Hooks,
        stop: threading.Event,
        ticks: Sequence[Tick] = (),
        settings: PumpSettings | None = None,
    ) -> None:
        self._stop = stop
        self._tables = [
            TablePump(
                table,
                source=StreamSource(dynamodb, streams, table_name),
                streams=streams,
                route=route,
                sender=sender,
                checkpoints=checkpoints,
                hooks=hooks,
                settings=settings,
            )
            for table, table_name in tables.items()
        ]
        # A few attempts: a queue that refuses would keep back the ticks of all others.
        send_tick = partial(sender.try_send, attempts=_TICK_ATTEMPTS)
        ticker = Ticker(ticks, send=send_tick, stop=stop)
        self._threads = [
            # A thread for each: a table whose queue refuses must not hold up the others.
            *(_thread(f"pump-{pump.table}", pump.run, stop) for pump in self._tables),
            _thread("pump-ticks", ticker.run),
        ]

    def start(self) -> None:
        """Start every thread and return."""
        for thread in self._threads:
            thread.start()

    def stop(self) -> None:
        """Ask every thread to finish its page, save its position and end; safe in a signal."""
        self._stop.set()

    def join(self, timeout_s: float | None = None) -> bool:
        """Wait for every thread, at most `timeout_s` for each; whether all have ended."""
        for thread in self._threads:
            thread.join(timeout_s)
        return not any(thread.is_alive() for thread in self._threads)

    def run(self) -> None:
        """Start, and return once the stop has been obeyed."""
        self.start()
        self.join()

    def progress(self) -> list[Progress]:
        """How far each table is; also shows a table whose thread no longer moves."""
        return [pump.progress() for pump in self._tables]


def _thread(name: str, run: Callable[..., None], *args: object) -> threading.Thread:
    return threading.Thread(target=run, args=args, name=name, daemon=True)
