"""The other contestants: what they are, and where they are installed, apart from our packages."""

import os
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from sharpwave.infra.local.backend import BackendError
from sharpwave.infra.local.environment import ensure, find_python

LOCKS = Path(__file__).parent / "locks"


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
