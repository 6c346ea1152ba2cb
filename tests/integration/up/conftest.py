"""`sharpwave up` in a process of its own, shared by the tests that only use it."""

import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from uuid import uuid4

import pytest

from sharpwave.infra.local.backend import free_port

PATIENCE_S = 30.0


class Up:
    """`sharpwave up` in a process of its own, on a backend of its own."""

    def __init__(self, folder: Path, processes_with: Callable[[str], dict[int, str]]) -> None:
        self._processes_with = processes_with
        self._mark = f"/sharpwave-up-{uuid4().hex}"
        kept = ("HOME", "LANG", "SHARPWAVE_HOME", "XDG_CACHE_HOME")
        self.environment = {name: os.environ[name] for name in kept if name in os.environ}
        self.environment["PATH"] = os.environ["PATH"] + os.pathsep + self._mark
        self.folder = folder
        self.port = free_port()
        wishes = ["--dax", "--agent", "raw-agent", "--folder", str(folder / "run")]
        argv = [*self.command(self.port), *wishes]
        self._errors = (folder / "errors").open("w+")
        self.process = subprocess.Popen(
            argv, env=self.environment, stdout=subprocess.PIPE, stderr=self._errors, text=True
        )
        assert self.process.stdout is not None
        self.first_line = self.process.stdout.readline()

    @staticmethod
    def command(port: int) -> list[str]:
        return [sys.executable, "-m", "sharpwave.infra.cli", "up", "--port", str(port), "--json"]

    def descendants(self) -> dict[int, str]:
        """List the processes that inherited the environment, this one's own included."""
        return self._processes_with(self._mark)

    def stop(self) -> tuple[int, str]:
        """End it by SIGTERM; gives its exit code and what else it said."""
        self.process.terminate()
        assert self.process.stdout is not None
        with self.process.stdout as output, self._errors:
            said = output.read()
        return self.process.wait(PATIENCE_S), said


@pytest.fixture(scope="session")
def up(
    tmp_path_factory: pytest.TempPathFactory, processes_with: Callable[[str], dict[int, str]]
) -> Iterator[Callable[[], Up]]:
    """Give the running `sharpwave up`, started again if a test ended it."""
    running: list[Up] = []

    def give() -> Up:
        if not running or running[-1].process.poll() is not None:
            running.append(Up(tmp_path_factory.mktemp("up"), processes_with))
        return running[-1]

    yield give
    if running and running[-1].process.poll() is None:
        running[-1].stop()
