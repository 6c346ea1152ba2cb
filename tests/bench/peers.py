"""The contestants: where the others are installed, and how a script of any of them is run.

Each other one lives in an environment apart from our packages; a script runs in a process of its
own, gets its orders as JSON, and prints its findings as JSON in its last line.
"""

import json
import os
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from sharpwave.infra.errors import OperationFailed
from sharpwave.infra.local.backend import BackendError
from sharpwave.infra.local.environment import ensure, find_python
from sharpwave.infra.local.processes import Child, tail

LOCKS, SCRIPTS = Path(__file__).parent / "locks", Path(__file__).parent / "scripts"
#: Scripts run by their path, so what they share with tests is not found of itself.
ROOT = Path(__file__).parents[2]
PATIENCE_S = 120.0


@dataclass(frozen=True)
class Peer:
    """One lock of packages; `python` names a version if it needs another than ours."""

    name: str
    python: str | None = None

    @cached_property
    def interpreter(self) -> Path:
        """Give its Python, installing it first if need be.

        Raises:
            EnvironmentUnavailable: it cannot be installed here; the message says why.
        """
        python = find_python(self.name, [self.python]) if self.python else sys.executable
        return ensure(self.name, LOCKS / f"{self.name}.lock", python=python) / "python"

    @property
    def packages(self) -> Path:
        """Give the folder of its packages."""
        code = "import sysconfig; print(sysconfig.get_path('purelib'))"
        said = subprocess.run(
            [self.interpreter, "-c", code], capture_output=True, text=True, check=True
        )
        return Path(said.stdout.strip())

    @property
    def trouble(self) -> str:
        """Say why it cannot be installed here, or nothing if it can."""
        try:
            return "" if self.interpreter.exists() else "its environment is broken; remove it"
        except BackendError as error:
            return str(error).splitlines()[0]


TASKS = Peer("tasks")
LANGGRAPH = Peer("langgraph")
AGENT_MAIL = Peer("agent-mail")
AGENT_MEMORY = Peer("agent-memory", "3.12")
SAVVI = Peer("savvi")
GBSTATS = Peer("gbstats")


def local_environment(extra: Mapping[str, str] | None = None) -> dict[str, str]:
    """Give the environment of a contestant: nothing of the caller's but what runs programs."""
    kept = ("PATH", "HOME", "LANG", "TMPDIR", "LD_LIBRARY_PATH")
    return {
        **{name: os.environ[name] for name in kept if name in os.environ},
        "AWS_ACCESS_KEY_ID": "test",
        "AWS_SECRET_ACCESS_KEY": "test",
        "AWS_DEFAULT_REGION": "us-east-1",
        "PYTHONUNBUFFERED": "1",
        **(extra or {}),
    }


class ContestantFailed(OperationFailed):
    """A contestant's process ended without its findings."""


@contextmanager
def running(
    argv: Sequence[str], *, env: Mapping[str, str], grace_s: float = 5.0
) -> Iterator[tuple[Child, Path]]:
    """Run a command beside us; gives it and the file of its output."""
    with tempfile.TemporaryDirectory(prefix="sharpwave-bench-") as folder:
        log = Path(folder) / "output"
        child = Child(argv, env=env, log=log, grace_s=grace_s)
        try:
            yield child, log
        finally:
            child.stop()


def ask(
    script: str,
    orders: Mapping[str, Any],
    *,
    env: Mapping[str, str],
    python: Path | None = None,
    patience_s: float = PATIENCE_S,
) -> dict[str, Any]:
    """Run a script with its orders to the end and give its findings.

    Raises:
        ContestantFailed: it found nothing, or took longer than `patience_s` seconds.
    """
    argv = [str(python or sys.executable), str(SCRIPTS / f"{script}.py"), json.dumps(dict(orders))]
    with running(argv, env={**env, "PYTHONPATH": str(ROOT)}) as (child, log):
        try:
            child.wait(patience_s)
        except subprocess.TimeoutExpired as error:
            raise ContestantFailed(
                f"{script} took longer than {patience_s:.0f} s; it said:\n{tail(log)}"
            ) from error
        return _findings(script, log)


@contextmanager
def stub(extra: Mapping[str, str] | None = None) -> Iterator[str]:
    """Run the stub of AWS; gives its endpoint."""
    argv = [sys.executable, "-m", "tests.bench.stub"]
    with running(argv, env=local_environment(extra)) as (child, log):
        yield f"http://127.0.0.1:{first_line(log, child)['port']}"


def control(endpoint: str, path: str, fields: Mapping[str, Any]) -> Any:
    """Set the stub up, or look at it; no AWS call."""
    request = urllib.request.Request(endpoint + path, data=json.dumps(dict(fields)).encode())
    with urllib.request.urlopen(request, timeout=60) as answer:
        return json.load(answer)


def first_line(log: Path, child: Child, *, patience_s: float = 20.0) -> dict[str, Any]:
    """Wait for the line of JSON that a service prints when it is ready.

    Raises:
        ContestantFailed: it ended or took longer than `patience_s` seconds.
    """
    deadline = time.monotonic() + patience_s
    while time.monotonic() < deadline:
        for line in log.read_text(errors="replace").splitlines() if log.exists() else ():
            if line.startswith("{") and line.endswith("}"):
                return dict(json.loads(line))
        if child.poll() is not None:
            break
        time.sleep(0.02)
    raise ContestantFailed(f"a service did not get ready; it said:\n{tail(log)}")


def _findings(script: str, log: Path) -> dict[str, Any]:
    lines = [line for line in log.read_text(errors="replace").splitlines() if line.strip()]
    try:
        found: dict[str, Any] = json.loads(lines[-1])
    except (IndexError, ValueError):
        said = "\n".join(lines[-12:])
        raise ContestantFailed(f"{script} ended without findings; it said:\n{said}") from None
    if "error" in found:
        raise ContestantFailed(f"{script}: {found['error']}")
    return found
