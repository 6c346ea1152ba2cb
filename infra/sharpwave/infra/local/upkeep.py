"""`sharpwave up` while it runs: a status line, obedience to `workers scale`, and a clean end."""

import signal
import sys
import threading
import time
from collections.abc import Callable
from typing import TextIO

from sharpwave.infra.errors import OperationFailed
from sharpwave.infra.items import Items
from sharpwave.infra.local.processes import ProcessEvent
from sharpwave.infra.local.stack import Stack
from sharpwave.infra.mailbox import Mailbox
from sharpwave.infra.operate.queues import wanted
from sharpwave.schemas import keys
from sharpwave.schemas.queues import WORK_QUEUE_NAMES
from sharpwave.schemas.tables import PIPELINE, STREAMED

_EVERY_S = 1.0


class BackendDied(OperationFailed):
    """What holds tables and queues ended while the system ran on it."""


class Upkeep:
    """Looks after a running stack until it is told to stop."""

    def __init__(self, stack: Stack, *, screen: TextIO | None) -> None:
        """Write the status line to `screen`, if there is one."""
        self._stack, self._screen = stack, screen
        self._records: int | None = None
        self._at = time.monotonic()

    def run(self, stop: threading.Event) -> None:
        """Return once `stop` is set.

        Raises:
            BackendDied: the backend's process ended.
        """
        while not stop.wait(_EVERY_S):
            self._look_at_backend()
            try:
                self._obey()
                self._show()
            except OperationFailed as error:
                self._say(f"backend: {error}")

    def _look_at_backend(self) -> None:
        backend = self._stack.backend
        # Who runs an external one starts it again, and then everything here goes on.
        if backend.name == "external" or backend.alive():
            return
        self._stack.supervisor.kill()
        # Nothing is started in its place: without tables every agent would talk to a system that
        # forgot it, and a kill saved nothing even where a folder for the state was given.
        raise BackendDied(
            f"backend {backend.name!r} died, and what its tables and queues held since it began is"
            f" gone; the archive and the logs are in {self._stack.folder}; run `sharpwave up` again"
        )

    def _obey(self) -> None:
        supervisor = self._stack.supervisor
        running: dict[str, int] = {}
        for each in supervisor.status():
            running[each.service] = running.get(each.service, 0) + 1
        for queue, instances in wanted(self._stack.deployment).items():
            if queue in WORK_QUEUE_NAMES and running.get(queue, 0) != instances:
                supervisor.scale(queue, instances)

    def _show(self) -> None:
        if self._screen is None:
            return
        streamed, now = self._streamed(), time.monotonic()
        before = streamed if self._records is None else self._records
        rate = max(0.0, (streamed - before) / (now - self._at))
        self._records, self._at = streamed, now
        depths = "  ".join(f"{name} {self._waiting(name)}" for name in WORK_QUEUE_NAMES)
        self._say(f"{streamed:,} records  {rate:,.0f}/s   waiting: {depths}")

    def _say(self, text: str) -> None:
        if self._screen is not None:
            self._screen.write(f"\r\033[K{text[:160]}")
            self._screen.flush()

    def _waiting(self, queue: str) -> int:
        return Mailbox(self._stack.deployment, queue).depth().total

    def _streamed(self) -> int:
        items = Items(self._stack.deployment)
        rows = (items.get(PIPELINE, keys.presence(f"pump:{name}")) for name in STREAMED)
        return sum(int(row["records"]) for row in rows if row)


def until_signalled(work: Callable[[threading.Event], None]) -> None:
    """Run `work` with an event that SIGINT and SIGTERM set."""
    stop = threading.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda *_: stop.set())
    work(stop)


def tell(change: ProcessEvent) -> None:
    """Report a process that died, on the standard error output."""
    if change.what == "died":
        text = f"{change.service} died with exit code {change.exit_code}"
        print(f"\n{text}; it starts again in {change.restart_in_s:.1f} s", file=sys.stderr)
