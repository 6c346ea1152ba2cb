"""What every stand-in for AWS on this machine offers, and one that is a local server process.

BackendError                  an OperationFailed
├── BackendUnavailable        it cannot run here: something it needs is missing
│   └── EnvironmentUnavailable    its pinned packages could not be installed
├── PortTaken                 the port asked for belongs to another process
└── BackendDown               it did not come up, or it died
"""

import http.client
import os
import shutil
import socket
import tempfile
import time
from abc import ABC, abstractmethod
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import ClassVar, Self

from sharpwave.infra.errors import OperationFailed
from sharpwave.infra.local.processes import Child, tail

REGION = "us-east-1"
LOCAL_CREDENTIALS: Mapping[str, str] = {
    "AWS_ACCESS_KEY_ID": "test",
    "AWS_SECRET_ACCESS_KEY": "test",
    "AWS_DEFAULT_REGION": REGION,
    "AWS_REGION": REGION,
}
HOST = "127.0.0.1"
POLL_S = 0.01
PORT_TRIES = 3
PASSED_ON = ("PATH", "LD_LIBRARY_PATH", "DYLD_LIBRARY_PATH")
"""All that a server sees of the caller's environment: what it takes to run a program."""


class BackendError(OperationFailed):
    """The root of this package's errors."""


class BackendUnavailable(BackendError):
    """The backend cannot run on this machine."""

    def __init__(self, backend: str, reason: str) -> None:
        """Name the backend, and say what is missing and what to do."""
        super().__init__(f"backend {backend!r} is not available: {reason}")


class EnvironmentUnavailable(BackendUnavailable):
    """A pinned environment could not be made."""


class PortTaken(BackendError):
    """Another process listens on the port asked for."""

    def __init__(self, port: int) -> None:
        """Name the port."""
        super().__init__(
            f"port {port} on 127.0.0.1 is taken by another process; stop that one, "
            "or choose another port or none (then a free one is taken)"
        )


class BackendDown(BackendError):
    """The backend did not answer its health check in time, or its process ended."""

    def __init__(self, backend: str, what: str, *, log_tail: str) -> None:
        """Name the backend, say what happened, and show the last lines of its log."""
        shown = f"its log ends with:\n{log_tail}" if log_tail else "its log is empty"
        super().__init__(f"backend {backend!r} {what}; {shown}")


class Backend(ABC):
    """A stand-in for AWS; a context manager that starts and stops it."""

    #: The name it is chosen by.
    name: str
    _port: int | None = None

    @property
    def endpoint_url(self) -> str:
        """Where it answers.

        Raises:
            RuntimeError: it was not started.
        """
        if self._port is None:
            raise RuntimeError(f"backend {self.name!r} was not started; call start() first")
        return f"http://{HOST}:{self._port}"

    @property
    def environment(self) -> dict[str, str]:
        """AWS's own variables for a process that shall use it.

        Raises:
            RuntimeError: it was not started.
        """
        return {"AWS_ENDPOINT_URL": self.endpoint_url, **LOCAL_CREDENTIALS}

    @abstractmethod
    def alive(self) -> bool:
        """Say whether it runs; a wedged one may say yes."""

    @abstractmethod
    def start(self) -> Self:
        """Start it and wait until it answers; a started one is left alone.

        Raises:
            BackendUnavailable: what it needs is missing on this machine.
            PortTaken: the port asked for belongs to another process.
            BackendDown: it did not answer in time, or died; the message holds its log's end.
        """

    @abstractmethod
    def stop(self) -> None:
        """Stop it; a stopped one is left alone."""

    def restart(self) -> None:
        """Stop it and start it again at the same address."""
        self.stop()
        self.start()

    def __enter__(self) -> Self:
        return self.start()

    def __exit__(self, *_: object) -> None:
        self.stop()


class LocalServer(Backend):
    """Starts, checks and stops one server process; subclasses say which.

    The process sees an environment of its own with nothing of the caller's AWS settings, and ends
    with the caller however the caller ends.

    Args:
        port: where to listen; without it, a free one, which `restart` keeps.
        log: its outputs are appended here; without it, to a file that goes when it stops.
        ready_within_s: how long it may take to answer.
    """

    health_path: ClassVar[str]
    grace_s: ClassVar[float] = 5.0

    def __init__(
        self, *, port: int | None = None, log: Path | None = None, ready_within_s: float = 30.0
    ) -> None:
        self._wanted_port = port
        self._port: int | None = None
        self._log = log
        self._ready_within_s = ready_within_s
        self._child: Child | None = None
        self._scratch: Path | None = None

    @abstractmethod
    def command(self, port: int) -> list[str]:
        """The command that listens on `port` of the loopback interface.

        Raises:
            BackendUnavailable: what it needs is missing on this machine.
        """

    def variables(self, port: int) -> Mapping[str, str]:
        """The server's own environment variables, none unless a subclass has some."""
        return {}

    @property
    def pid(self) -> int | None:
        """The process group it runs in, or None."""
        return self._child.pid if self._child and self.alive() else None

    def alive(self) -> bool:
        """Say whether its process runs."""
        return self._child is not None and self._child.poll() is None

    def start(self) -> Self:
        """Start it and wait until it answers; see `Backend`."""
        if self.alive():
            return self
        self.stop()
        # Clients were told the port of before, so it is kept.
        wanted = self._wanted_port or self._port
        if wanted is not None:
            self._listen(wanted)
            return self
        for _ in range(PORT_TRIES - 1):
            # Another process may take the port between our look and our server's.
            with suppress(PortTaken):
                self._listen(free_port())
                return self
        self._listen(free_port())
        return self

    def stop(self) -> None:
        """Stop it, by force after a grace, and remove what it kept for itself."""
        if self._child is not None:
            self._child.stop()
            self._child = None
        if self._scratch is not None:
            shutil.rmtree(self._scratch, ignore_errors=True)
            self._scratch = None

    def kill(self) -> None:
        """Kill it at once, as a crash would."""
        if self._child is not None:
            self._child.kill()

    def _listen(self, port: int) -> None:
        if not is_free(port):
            raise PortTaken(port)
        self._scratch = Path(tempfile.mkdtemp(prefix=f"sharpwave-{self.name}-"))
        log = self._log or self._scratch / "server.log"
        try:
            argv = self.command(port)
            env = {
                **{key: os.environ[key] for key in PASSED_ON if key in os.environ},
                "LANG": "C.UTF-8",
                # A home of its own hides the caller's ~/.aws; temporary files go when it stops.
                "HOME": str(self._scratch),
                "TMPDIR": str(self._scratch),
                "PYTHONUNBUFFERED": "1",
                **self.variables(port),
            }
            self._child = Child(argv, env=env, log=log, grace_s=self.grace_s)
            self._await_ready(port, log)
        except BaseException:
            self.stop()
            raise
        self._port = port

    def _await_ready(self, port: int, log: Path) -> None:
        deadline = time.monotonic() + self._ready_within_s
        while self._child is not None:
            # Asked in this order, an answer from a stranger on the same port does not count.
            answered = answers(port, self.health_path)
            code = self._child.poll()
            if code is not None:
                if not is_free(port):
                    raise PortTaken(port)
                raise BackendDown(
                    self.name, f"ended while starting, exit code {code}", log_tail=tail(log)
                )
            if answered:
                return
            if time.monotonic() > deadline:
                what = f"did not answer {self.health_path} in {self._ready_within_s:g} s"
                raise BackendDown(self.name, what, log_tail=tail(log))
            time.sleep(POLL_S)


def free_port() -> int:
    """Give a port that nobody listens on at this moment."""
    with socket.socket() as probe:
        probe.bind((HOST, 0))
        return int(probe.getsockname()[1])


def is_free(port: int) -> bool:
    """Say whether nobody listens on a port; one closed just now is free."""
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((HOST, port))
        except OSError:
            return False
    return True


def answers(port: int, path: str) -> bool:
    """Say whether a GET of `path` succeeds within a second."""
    connection = http.client.HTTPConnection(HOST, port, timeout=1.0)
    try:
        connection.request("GET", path)
        return connection.getresponse().status == http.HTTPStatus.OK
    except (OSError, http.client.HTTPException):
        return False
    finally:
        connection.close()
