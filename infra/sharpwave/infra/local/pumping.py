"""Runs the pump in the foreground until it is told to stop."""

import signal
import threading

from sharpwave.workers import logs
from sharpwave.workers.calls import CallMeter
from sharpwave.workers.main import build_pump, clients
from sharpwave.workers.settings import Settings


def run_pump() -> int:
    """Carry stream records to the queues until SIGINT or SIGTERM; then finish the page in hand."""
    settings = Settings.read()
    logs.set_up(settings.log)
    stop = threading.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda *_: stop.set())
    meter = CallMeter(prefix=settings.prefix)
    build_pump(settings, clients(meter), stop=stop, meter=meter).run()
    return 0
