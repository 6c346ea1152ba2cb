"""Runs the pump in the foreground until it is told to stop."""

import logging
import signal
import threading

from sharpwave.workers.calls import CallMeter
from sharpwave.workers.main import build_pump, clients
from sharpwave.workers.settings import Settings


def run_pump() -> int:
    """Carry stream records to the queues until SIGINT or SIGTERM; then finish the page in hand."""
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s %(message)s")
    logging.getLogger("botocore").setLevel(logging.WARNING)
    stop = threading.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda *_: stop.set())
    settings = Settings()
    meter = CallMeter(prefix=settings.prefix)
    build_pump(settings, clients(meter), stop=stop, meter=meter).run()
    return 0
