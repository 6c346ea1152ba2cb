"""The whole system on this machine: backend, tables, queues, pump, a worker service per queue.

`Stack` starts it and leaves nothing behind; `Upkeep` is `sharpwave up` while it runs.
"""

import os
import signal
import socket
import sys
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal, Self, TextIO

from sharpwave.infra.connection import connect
from sharpwave.infra.errors import OperationFailed
from sharpwave.infra.items import Items
from sharpwave.infra.local.backend import HOST, Backend, BackendUnavailable, free_port
from sharpwave.infra.local.processes import Backoff, ProcessEvent, Service, Supervisor
from sharpwave.infra.mailbox import Mailbox
from sharpwave.infra.operate.agents import Wishes, add_agent
from sharpwave.infra.operate.autoscale import Autoscaler
from sharpwave.infra.operate.queues import wanted
from sharpwave.infra.provision.structure import provision
from sharpwave.schemas import keys
from sharpwave.schemas.queues import WORK_QUEUE_NAMES
from sharpwave.schemas.tables import PIPELINE, STREAMED

WORKERS_STAGE, PUMP_STAGE = 1, 2
#: Workers finish what they began; less than the time the supervisor waits before it kills.
DRAIN_S, GRACE_S = 8.0, 12.0
READY_WITHIN_S = 60.0
UPKEEP_EVERY_S = 1.0
#: After a lost call botocore tries again in tens of milliseconds, not in up to a second: what it
#: does by default from 1.44 on. Source: AWS, "Updated default retry behavior for AWS SDKs".
QUICK_RETRIES = {"AWS_NEW_RETRIES_2026": "true"}


class StackNotReady(OperationFailed):
    """A part of the stack did not come up."""


@dataclass(frozen=True, kw_only=True)
class StackOptions:
    """What a local stack is told."""

    agents: Sequence[str] = ()  # agents to register, so that their queues exist
    broadcasters: frozenset[str] = frozenset()  # those of the agents that may address everyone
    prefix: str = ""  # goes before each physical name
    processes: int = 1  # worker processes of each queue
    threads: int = 8  # worker threads of each process
    tick_s: float = 5.0  # how often sweeps and figures run, in seconds
    # Further `SHARPWAVE_*` variables for pump and workers
    settings: Mapping[str, str] = field(default_factory=dict)
    dax: bool = False  # whether a DAX cluster stands before the tables
    # What reads the streams: the pump, or the backend's Lambda as AWS's does
    router: Literal["pump", "lambda"] = "pump"
    folder: Path | None = None  # where logs and the archive go; a temporary one if absent
    backoff: Backoff = field(default_factory=Backoff)  # how long a process that died is waited with


class Stack:
    """A running system; a context manager that leaves no process behind."""

    def __init__(
        self,
        backend: Backend,
        options: StackOptions | None = None,
        *,
        report: Callable[[ProcessEvent], None] = lambda _: None,
    ) -> None:
        """Run on `backend`; `report` is told when a process starts, dies or stops."""
        self.backend = backend
        self.options = options or StackOptions()
        self._report = report
        self._exit = ExitStack()
        self._dax_port = 0

    def __enter__(self) -> Self:
        """Start everything and wait until each part has shown a sign of life.

        Raises:
            StackNotReady: a part did not come up in time; nothing is left running.
        """
        options = self.options
        try:
            scratch = self._exit.enter_context(tempfile.TemporaryDirectory(prefix="sharpwave-"))
            self.folder = (options.folder or Path(scratch)).resolve()
            self.folder.mkdir(parents=True, exist_ok=True)
            self._exit.enter_context(self.backend)
            kept = [name for name in ("PATH", "HOME", "LANG") if name in os.environ]
            # No AWS variable of ours reaches a child: it speaks to this backend and no other.
            self.environment = {
                **{name: os.environ[name] for name in kept},
                **self.backend.environment,
                **QUICK_RETRIES,
                "SHARPWAVE_WRITES": writes_on(self.backend.name),
                "SHARPWAVE_PREFIX": options.prefix,
                "SHARPWAVE_ARCHIVE": (self.folder / "archive").as_uri(),
                "SHARPWAVE_TICK_S": str(options.tick_s),
                "SHARPWAVE_THREADS": str(options.threads),
                **options.settings,
            }
            self.deployment = connect(self.environment, prefix=options.prefix)
            self.provision()
            services = self.services()
            self.supervisor = Supervisor(services, report=self._report, backoff=options.backoff)
            self._exit.enter_context(self.supervisor)
            deadline = time.monotonic() + READY_WITHIN_S
            while missing := self.missing():
                if time.monotonic() > deadline:
                    raise StackNotReady(
                        f"{', '.join(sorted(missing))} showed no sign of life in"
                        f" {READY_WITHIN_S:.0f} s; read the logs in {self.folder}"
                    )
                time.sleep(0.05)
        except BaseException:
            self._exit.close()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        """Stop the pump, drain the workers, stop the backend."""
        self._exit.close()

    @property
    def archive(self) -> str:
        """Give the URL of the archive."""
        return self.environment["SHARPWAVE_ARCHIVE"]

    @property
    def dax_endpoint(self) -> str | None:
        """Give the address of the DAX cluster, if there is one."""
        return f"dax://{HOST}:{self._dax_port}" if self._dax_port else None

    def provision(self) -> None:
        """Make tables and queues, and register the agents; before any process starts."""
        provision(self.deployment)
        for agent in self.options.agents:
            wishes = Wishes(may_broadcast=agent in self.options.broadcasters)
            add_agent(self.deployment, agent, wishes)
        self.deploy_router(self.environment)

    def deploy_router(self, environment: Mapping[str, str]) -> None:
        """Make the router's function and mappings, if Lambda reads the streams.

        Raises:
            BackendUnavailable: the backend runs no functions without Docker.
        """
        if self.options.router == "lambda":
            if not self.backend.name.startswith("embedded"):
                raise BackendUnavailable(
                    self.backend.name, "it runs no Lambda functions here; take --router pump"
                )
            # Packaging takes pip and seconds: who runs a pump is spared it.
            from sharpwave.infra.local.mappings import deploy_router

            deploy_router(self.deployment, environment)

    def services(self) -> list[Service]:
        """List the processes: one worker service per queue, the pump, a DAX cluster if wanted."""
        processes, threads = self.options.processes, self.options.threads
        services = [
            self._service(
                name, worker_argv(name, processes=processes, threads=threads), WORKERS_STAGE
            )
            for name in WORK_QUEUE_NAMES
        ]
        pump = [sys.executable, "-m", "sharpwave.infra.cli", "pump"]
        if self.options.router == "lambda":
            pump.append("--only-ticks")
        if self.options.dax:
            # Started again after its end, it is where it was.
            self._dax_port = self._dax_port or free_port()
            dax = ["--endpoint", self.backend.endpoint_url, "--port", str(self._dax_port)]
            argv = [sys.executable, "-m", "sharpwave.infra.local.dax", *dax]
            services.append(self._service("dax", argv, WORKERS_STAGE))
        # Started last and stopped first, so that the workers drain what it sent.
        return [*services, self._service("pump", pump, PUMP_STAGE)]

    def _service(self, name: str, argv: Sequence[str], stage: int) -> Service:
        log = self.folder / f"{name}.log"
        return Service(
            name=name, argv=argv, env=self.environment, log=log, grace_s=GRACE_S, stage=stage
        )

    def missing(self) -> set[str]:
        """Name the parts that have not shown a sign of life yet."""
        rows = Items(self.deployment).query(PIPELINE, keys.PRESENCE_PK)
        alive: set[str] = set()
        for row in rows:
            name = str(row["SK"])
            alive |= {name} if name.startswith("pump:") else set(row.get("queues", ()))
        wanted = set(WORK_QUEUE_NAMES)
        if self.options.router == "pump":
            wanted |= {f"pump:{table}" for table in STREAMED}
        missing = wanted - alive
        if self._dax_port:
            try:
                socket.create_connection((HOST, self._dax_port), timeout=1.0).close()
            except OSError:
                missing.add("dax")
        return missing


class BackendDied(OperationFailed):
    """What holds tables and queues ended while the system ran on it."""


class Upkeep:
    """Looks after a running stack until it is told to stop."""

    def __init__(self, stack: Stack, *, screen: TextIO | None) -> None:
        """Write the status line to `screen`, if there is one."""
        self._stack, self._screen = stack, screen
        self._records: int | None = None
        self._scalers = {name: Autoscaler() for name in WORK_QUEUE_NAMES}
        self._at = time.monotonic()

    def run(self, stop: threading.Event) -> None:
        """Return once `stop` is set.

        Raises:
            BackendDied: the backend's process ended.
        """
        backend, supervisor = self._stack.backend, self._stack.supervisor
        while not stop.wait(UPKEEP_EVERY_S):
            # Who runs an external one starts it again, and then everything here goes on.
            if not (backend.name == "external" or backend.alive()):
                supervisor.kill()
                # Nothing is started in its place: without tables every agent would talk to a
                # system that forgot it, and a kill saved nothing even where the state is kept.
                raise BackendDied(
                    f"backend {backend.name!r} died, and what its tables and queues held since it"
                    f" began is gone; the archive and the logs are in {self._stack.folder};"
                    " run `sharpwave up` again"
                )
            try:
                running = Counter(each.service for each in supervisor.status())
                for queue, wish in wanted(self._stack.deployment).items():
                    if queue in WORK_QUEUE_NAMES:
                        depth = Mailbox(self._stack.deployment, queue).depth()
                        number = self._scalers[queue].instances(wish, depth, time.monotonic())
                        if running[queue] != number:
                            supervisor.scale(queue, number)
                self._show()
            except OperationFailed as error:
                self._say(f"backend: {error}")

    def _show(self) -> None:
        if self._screen is None:
            return
        items = Items(self._stack.deployment)
        rows = (items.get(PIPELINE, keys.pump_presence(name)) for name in STREAMED)
        streamed, now = sum(int(row["records"]) for row in rows if row), time.monotonic()
        before = streamed if self._records is None else self._records
        rate = max(0.0, (streamed - before) / (now - self._at))
        self._records, self._at = streamed, now
        deployment = self._stack.deployment
        waiting = {name: Mailbox(deployment, name).depth().total for name in WORK_QUEUE_NAMES}
        depths = "  ".join(f"{name} {number}" for name, number in waiting.items())
        self._say(f"{streamed:,} records  {rate:,.0f}/s   waiting: {depths}")

    def _say(self, text: str) -> None:
        if self._screen is not None:
            self._screen.write(f"\r\033[K{text[:160]}")
            self._screen.flush()


def writes_on(backend: str) -> Literal["batched", "single"]:
    """Say how workers must write.

    moto's BatchExecuteStatement ignores conditions, and LocalStack's makes no stream records.
    """
    return "single" if backend.startswith(("moto", "localstack")) else "batched"


def set_aside(archive: Path) -> Path | None:
    """Move an archive of earlier tables out of the way; gives its new place, if there was one.

    Tables that live only as long as their backend must not be verified against older ones.
    """
    if not archive.exists():
        return None
    moved = archive.with_name(f"{archive.name}-until-{time.strftime('%Y%m%dT%H%M%S')}")
    archive.rename(moved)
    return moved


def worker_argv(queue: str, *, processes: int, threads: int) -> list[str]:
    """Give the command that runs the workers of one queue."""
    counts = ["--processes", str(processes), "--threads", str(threads)]
    drain = ["--worker-shutdown-timeout", str(int(DRAIN_S * 1000))]
    build = ["dramatiq", "sharpwave.workers.main:build", "--queues", queue]
    return [sys.executable, "-m", *build, *counts, *drain]


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


def run_pump(*, streams: bool = True) -> int:
    """Carry stream records to the queues until SIGINT or SIGTERM; then finish the page in hand.

    Without `streams`, which Lambda reads then, only the periodic work is sent.
    """
    # A stack runs the pump in a process of its own: only that one loads all this.
    from sharpwave.workers import logs
    from sharpwave.workers.aws.clients import clients
    from sharpwave.workers.aws.meter import Meter
    from sharpwave.workers.heap import settle
    from sharpwave.workers.main import build_pump
    from sharpwave.workers.settings import Settings

    settings = Settings.read()
    logs.set_up(settings.log)
    meter = Meter(prefix=settings.prefix)
    made = clients(meter)

    def run(stop: threading.Event) -> None:
        pump = build_pump(settings, made, stop=stop, meter=meter, streams=streams)
        settle()
        pump.run()

    until_signalled(run)
    return 0
