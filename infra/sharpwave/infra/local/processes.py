"""Processes that never outlive this one: a child, and services that are kept running.

A supervisor starts services, restarts them with backoff, scales them, and stops them in order.
"""

import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from sharpwave.infra.errors import Misused
from sharpwave.infra.local import reaper

MARGIN_S = 2.0
"""What the reaper may take beyond the grace to kill and collect everything, in seconds."""
STABLE_AFTER_S = 30.0
"""A process that lived this long starts its next backoff from the beginning, in seconds."""


class Child:
    """A command in a session of its own, with a reaper that ends it when this process ends.

    Its descendants end with it. Standard input is empty; both outputs are appended to `log`.

    Args:
        argv: the command.
        env: its whole environment.
        log: a file; its folder is made if absent.
        grace_s: seconds between the wish to stop (SIGTERM) and the end by force (SIGKILL).
    """

    def __init__(
        self, argv: Sequence[str], *, env: Mapping[str, str], log: Path, grace_s: float = 5.0
    ) -> None:
        self.grace_s = grace_s
        log.parent.mkdir(parents=True, exist_ok=True)
        # Isolated and without site-packages the reaper is up in a fraction of the time.
        command = [sys.executable, "-I", "-S", reaper.__file__, str(grace_s), *argv]
        with log.open("ab") as output:
            self._reaper = subprocess.Popen(
                command,
                env=dict(env),
                stdin=subprocess.PIPE,
                stdout=output,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )

    @property
    def pid(self) -> int:
        """The process group which holds the command and its reaper."""
        return self._reaper.pid

    def poll(self) -> int | None:
        """Give the exit code, negative for a signal, or None while it runs."""
        code = self._reaper.poll()
        return code if code is None else self._ended(code)

    def wait(self, timeout_s: float | None = None) -> int:
        """Give the exit code once it has ended.

        Raises:
            subprocess.TimeoutExpired: it still runs after `timeout_s` seconds.
        """
        return self._ended(self._reaper.wait(timeout_s))

    def request_stop(self) -> None:
        """Ask it to stop, and return at once; safe to repeat."""
        self._reaper.terminate()

    def stop(self) -> int:
        """Ask it to stop, end it by force after the grace, and give the exit code."""
        self.request_stop()
        try:
            return self.wait(self.grace_s + MARGIN_S)
        except subprocess.TimeoutExpired:
            self.kill()
            return self.wait()

    def kill(self) -> None:
        """Kill it at once with all its descendants, as a crash would, and wait for their end."""
        self._reaper.send_signal(reaper.AT_ONCE)
        try:
            self.wait(MARGIN_S)
        except subprocess.TimeoutExpired:
            os.killpg(self.pid, signal.SIGKILL)
            self.wait()

    def _ended(self, code: int) -> int:
        if self._reaper.stdin is not None:
            self._reaper.stdin.close()
        if code == -signal.SIGKILL:
            # Perhaps it was the reaper that was killed, which cleans up no more.
            with suppress(ProcessLookupError):
                os.killpg(self.pid, signal.SIGKILL)
        return code


def tail(log: Path, *, lines: int = 20) -> str:
    """Give the last lines of a log, or nothing if there is none."""
    try:
        text = log.read_text(errors="replace")
    except OSError:
        return ""
    return "\n".join(text.splitlines()[-lines:])


class ServiceUnknown(Misused):
    """No service of that name is supervised."""

    def __init__(self, name: str, known: Sequence[str]) -> None:
        super().__init__(f"service {name!r} is not supervised here; there are: {', '.join(known)}")


@dataclass(frozen=True, kw_only=True)
class Service:
    """A command to keep running."""

    name: str  # unique among the supervised
    argv: Sequence[str]
    env: Mapping[str, str]  # its whole environment
    log: Path  # the file all its instances append to
    instances: int = 1
    grace_s: float = 10.0  # seconds to end by itself once asked to; then it is killed
    # Services of one stage start and stop together; a lower stage starts earlier and stops
    # later
    stage: int = 0


@dataclass(frozen=True, kw_only=True)
class ProcessEvent:
    """Something that happened to one instance of a service."""

    # `died` is an end nobody asked for; `stopped` is one that was asked for
    what: Literal["started", "died", "stopped"]
    service: str
    instance: int
    # Negative for a signal; None for `started`, and where it could not be started
    exit_code: int | None = None
    restart_in_s: float | None = None  # after `died`, the seconds until it is started again


@dataclass(frozen=True)
class Backoff:
    """Seconds to wait before a restart: doubled from `first_s` up to `most_s`."""

    first_s: float = 0.5
    most_s: float = 30.0

    def after(self, deaths: int) -> float:
        """Give the wait after that many deaths in a row, 1 or more."""
        return float(min(self.first_s * 2 ** min(deaths - 1, 32), self.most_s))


@dataclass(frozen=True, kw_only=True)
class Status:
    """One instance as it is now; `pid` is its process group, None between two lives."""

    service: str
    instance: int
    pid: int | None
    restarts: int
    exit_code: int | None


class _Instance:
    """One process of a service, started again by its own thread until told to stop."""

    def __init__(
        self,
        service: Service,
        number: int,
        *,
        backoff: Backoff,
        report: Callable[[ProcessEvent], None],
    ) -> None:
        self.service, self.number = service, number
        self._backoff, self._report = backoff, report
        self._stopping = threading.Event()
        self._lock = threading.Lock()
        self._child: Child | None = None
        self._restarts = 0
        self._exit_code: int | None = None
        self._start()
        self._thread = threading.Thread(
            target=self._watch, name=f"{service.name}-{number}", daemon=True
        )
        self._thread.start()

    def status(self) -> Status:
        child = self._child
        return Status(
            service=self.service.name,
            instance=self.number,
            pid=child.pid if child and child.poll() is None else None,
            restarts=self._restarts,
            exit_code=self._exit_code,
        )

    def request_stop(self) -> None:
        self._stopping.set()
        with self._lock:
            if self._child is not None:
                self._child.request_stop()

    def wait_stopped(self) -> None:
        """End it by force if it outlives its grace; `request_stop` comes first."""
        with self._lock:
            if self._child is not None:
                self._child.stop()
        self._thread.join()

    def kill(self) -> None:
        """End it by force at once."""
        self._stopping.set()
        with self._lock:
            if self._child is not None:
                self._child.kill()
        self._thread.join()

    def _start(self) -> Child | None:
        # Under the lock, so that a stop finds either no child to come or the child to end.
        with self._lock:
            if self._stopping.is_set():
                return None
            self._child = Child(
                self.service.argv,
                env=self.service.env,
                log=self.service.log,
                grace_s=self.service.grace_s,
            )
        self._tell("started")
        return self._child

    def _watch(self) -> None:
        deaths, child = 0, self._child
        while True:
            since = time.monotonic()
            code = self._exit_code = child.wait() if child else None
            if self._stopping.is_set():
                self._tell("stopped", exit_code=code)
                return
            deaths = 1 if time.monotonic() - since > STABLE_AFTER_S else deaths + 1
            pause_s = self._backoff.after(deaths)
            self._tell("died", exit_code=code, restart_in_s=pause_s)
            self._stopping.wait(pause_s)
            self._restarts += not self._stopping.is_set()
            try:
                child = self._start()
            except OSError:  # no memory or no process to spare: the next pause is longer
                child = None

    def _tell(
        self,
        what: Literal["started", "died", "stopped"],
        *,
        exit_code: int | None = None,
        restart_in_s: float | None = None,
    ) -> None:
        self._report(
            ProcessEvent(
                what=what,
                service=self.service.name,
                instance=self.number,
                exit_code=exit_code,
                restart_in_s=restart_in_s,
            )
        )


class Supervisor:
    """Runs services until `stop`; a context manager that starts and stops them.

    All of them, with their descendants, end when this process ends, were it by SIGKILL.

    Args:
        services: what to run; names are unique.
        report: told every change, from several threads, in no order between instances; it must
            not raise.
        backoff: how long to wait before a restart.
    """

    def __init__(
        self,
        services: Sequence[Service],
        *,
        report: Callable[[ProcessEvent], None] = lambda _: None,
        backoff: Backoff | None = None,
    ) -> None:
        self._services = {service.name: service for service in services}
        if len(self._services) < len(services):
            raise ValueError("two services share a name; give each its own")
        self._report = report
        self._backoff = backoff or Backoff()
        self._running: dict[str, list[_Instance]] = {name: [] for name in self._services}

    def __enter__(self) -> "Supervisor":
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    def start(self) -> None:
        """Start every service, lower stages first; those that already run are left alone.

        Raises:
            OSError: a process cannot be started or a log not be opened; nothing is left running.
        """
        try:
            for service in sorted(self._services.values(), key=lambda each: each.stage):
                if not self._running[service.name]:
                    self.scale(service.name, service.instances)
        except OSError:
            self.stop()
            raise

    def scale(self, name: str, instances: int) -> None:
        """Start or stop instances of a service until there are that many, then return.

        Raises:
            ServiceUnknown: there is no such service.
            ValueError: `instances` is negative.
        """
        if name not in self._services:
            raise ServiceUnknown(name, sorted(self._services))
        if instances < 0:
            raise ValueError(f"service {name!r} cannot run {instances} instances; give 0 or more")
        running = self._running[name]
        while len(running) < instances:
            running.append(
                _Instance(
                    self._services[name],
                    len(running) + 1,
                    backoff=self._backoff,
                    report=self._report,
                )
            )
        surplus = running[instances:]
        del running[instances:]
        _stop_together(surplus)

    def status(self) -> list[Status]:
        """Every instance as it is now, by service and number."""
        return [each.status() for running in self._running.values() for each in running]

    def stop(self) -> None:
        """Stop everything, higher stages first, and return once nothing is left; repeatable.

        Each process is asked to end (SIGTERM), and killed with its descendants after its grace.
        """
        for stage in sorted({each.stage for each in self._services.values()}, reverse=True):
            names = [each.name for each in self._services.values() if each.stage == stage]
            leaving = [each for name in reversed(names) for each in self._running[name]]
            for name in names:
                self._running[name] = []
            _stop_together(leaving)

    def kill(self) -> None:
        """Kill everything at once, where what it works on is gone and a drain leads nowhere."""
        leaving = [each for running in self._running.values() for each in running]
        for name in self._running:
            self._running[name] = []
        for instance in leaving:
            instance.kill()


def _stop_together(instances: Sequence[_Instance]) -> None:
    for instance in instances:
        instance.request_stop()
    for instance in instances:
        instance.wait_stopped()
