"""Middleware that ties a worker process to the life of its master."""

from __future__ import annotations

import logging
import multiprocessing
import os
import signal
import threading
import time

from dramatiq import Broker
from dramatiq.middleware import Middleware

log = logging.getLogger(__name__)


class DieWithMaster(Middleware):
    """Ends a worker process whose master is gone.

    When Dramatiq's master is killed its workers live on unseen, and take
    messages from those that replace them. A watch of the parent's process id
    drains such a worker, and kills it if it has not finished in time.

    Linux's parent-death signal is not used: it comes once for each dying thread
    of the master, and a Dramatiq worker takes its second SIGTERM as an order to
    quit without a drain.

    Args:
        grace_s: time to drain before SIGKILL, in seconds.
        interval_s: how often the parent is looked at, in seconds.
    """

    def __init__(self, *, grace_s: float = 30.0, interval_s: float = 0.5) -> None:
        self._grace_s = grace_s
        self._interval_s = interval_s

    def after_process_boot(self, broker: Broker) -> None:
        """Begin to watch, in a worker process."""
        master = multiprocessing.parent_process()
        if master is not None:
            threading.Thread(
                target=self._watch, args=(master.pid,), name="die-with-master", daemon=True
            ).start()

    def _watch(self, master: int) -> None:
        while os.getppid() == master:
            time.sleep(self._interval_s)
        log.critical("master gone", extra={"master_pid": master})
        os.kill(os.getpid(), signal.SIGTERM)
        time.sleep(self._grace_s)
        os.kill(os.getpid(), signal.SIGKILL)
