"""A worker's sign of life, and its ear for `pause`."""

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
from sharpwave.workers.meter import Meter
from sharpwave.workers.ports import Location, Reads

log = logging.getLogger(__name__)

#: A heartbeat row outlives its worker by this much, for those who ask what happened.
KEPT_S = 3600


class Presence(Middleware):
    """Writes a heartbeat row every few seconds, and pauses while the queue's flag is set."""

    def __init__(
        self, client: Any, *, reads: Reads, meter: Meter, prefix: str, every_s: float
    ) -> None:
        """Write through a low-level `dynamodb` client every `every_s` seconds."""
        self._client, self._reads, self._meter = client, reads, meter
        self._table = tables.physical(tables.PIPELINE, prefix)
        self._every_s = every_s
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
            wanted = bool(places) and len(self._reads.get(places)) == len(places)
        except Exception:
            log.exception("pause_flag_unread")
            return paused
        if wanted != paused:
            log.info("paused" if wanted else "resumed", extra={"queues": self._queues(worker)})
            worker.pause() if wanted else worker.resume()
        return wanted

    def _write(self, worker: dramatiq.Worker) -> None:
        moment = int(now())
        row = {
            **keys.presence(f"{socket.gethostname()}:{os.getpid()}").item(),
            "queues": self._queues(worker),
            "threads": worker.worker_threads,
            "started_at": self._started_at,
            "at": moment,
            "every_s": self._every_s,
            "draining": self._draining,
            "calls": self._meter.snapshot(),
            "used": self._meter.used(),
            "cpu_s": round(time.process_time(), 2),
            "ttl": moment + KEPT_S,
        }
        try:
            self._client.put_item(
                TableName=self._table,
                Item=item_to_wire(row),
                ReturnConsumedCapacity="INDEXES",
            )
        except Exception:
            log.exception("heartbeat_not_written")

    @staticmethod
    def _queues(worker: dramatiq.Worker) -> list[str]:
        return sorted(name for name in worker.consumers if not name.endswith(".DQ"))
