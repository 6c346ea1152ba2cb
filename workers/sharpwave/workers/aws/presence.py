"""The sign of life of a worker or a pump, and a worker's ear for `pause`."""

import logging
import os
import socket
import threading
import time
from typing import Any

import dramatiq
from dramatiq.middleware import Middleware

from sharpwave.schemas import keys, tables
from sharpwave.schemas.numbers import item_to_wire
from sharpwave.schemas.times import now
from sharpwave.workers.aws.meter import Meter
from sharpwave.workers.work.ports import Location, Reads

log = logging.getLogger(__name__)

#: The row outlives its worker by this much, for those who ask what happened.
KEPT_S = 3600


def show_presence(
    client: Any, process: keys.Key, meter: Meter, *, prefix: str, **says: object
) -> None:
    """Write the row that shows that a process is alive, how it is and what it has used.

    Args:
        client: a low-level `dynamodb` client.
        process: the row's key.
        meter: what counted the process's calls.
        prefix: of the names of tables.
        says: what else it says of itself; `at`, in epoch seconds, is when that was so.
    """
    row = {
        **process.item(),
        "calls": meter.snapshot(),
        "used": meter.used(),
        "cpu_s": round(time.process_time(), 2),
        **says,
    }
    client.put_item(
        TableName=tables.physical(tables.PIPELINE, prefix),
        Item=item_to_wire(row),
        ReturnConsumedCapacity="INDEXES",
    )


class Presence(Middleware):
    """Shows a worker's presence every few seconds, and pauses it while its queue's flag is set."""

    def __init__(
        self, client: Any, *, reads: Reads, meter: Meter, prefix: str, every_s: float
    ) -> None:
        """Write through a low-level `dynamodb` client every `every_s` seconds."""
        self._client, self._reads, self._meter = client, reads, meter
        self._prefix, self._every_s = prefix, every_s
        self._stop = threading.Event()
        self._started_at = int(now())
        self._draining = False

    def after_worker_boot(self, broker: dramatiq.Broker, worker: dramatiq.Worker) -> None:
        """Begin to beat."""
        thread = threading.Thread(target=self._beat, args=(worker,), name="presence", daemon=True)
        thread.start()

    def before_worker_shutdown(self, broker: dramatiq.Broker, worker: dramatiq.Worker) -> None:
        """Say that the worker drains."""
        self._draining = True
        self._stop.set()
        self._write(worker)

    def _beat(self, worker: dramatiq.Worker) -> None:
        paused = False
        while not self._stop.is_set():
            try:
                self._write(worker)
                paused = self._obey(worker, paused)
            except Exception:
                # Without this thread a worker looks dead and hears no `pause`.
                log.exception("beat_failed")
            self._stop.wait(self._every_s)

    def _obey(self, worker: dramatiq.Worker, paused: bool) -> bool:
        places = [Location(tables.PIPELINE, keys.paused(name)) for name in self._queues(worker)]
        try:
            # A worker of several queues takes from all or none, so it waits until each is paused.
            wanted = bool(places) and len(self._reads.get(places)) == len(places)
        except Exception:
            log.exception("pause_flag_unread")
            return paused
        if wanted != paused:
            log.info("paused" if wanted else "resumed", extra={"queues": self._queues(worker)})
            worker.pause() if wanted else worker.resume()
        return wanted

    def _write(self, worker: dramatiq.Worker) -> None:
        moment, queues = int(now()), self._queues(worker)
        try:
            show_presence(
                self._client,
                keys.presence(f"{socket.gethostname()}:{os.getpid()}"),
                self._meter,
                prefix=self._prefix,
                queues=queues,
                threads=worker.worker_threads,
                started_at=self._started_at,
                at=moment,
                every_s=self._every_s,
                draining=self._draining,
                ttl=moment + KEPT_S,
            )
        except Exception:
            log.exception("heartbeat_not_written")

    @staticmethod
    def _queues(worker: dramatiq.Worker) -> list[str]:
        return sorted(name for name in worker.consumers if not name.endswith(".DQ"))
