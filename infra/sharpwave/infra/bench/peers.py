"""The other contestants: what they are, and where they are installed, apart from our packages."""

import os
import shutil
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from sharpwave.infra.embedded.environment import (
    LOCKS,
    cache_home,
    digest,
    ensure,
    made_once,
    run,
)
from sharpwave.infra.embedded.errors import BackendError, EnvironmentUnavailable


@dataclass(frozen=True)
class Peer:
    """One lock of packages; `python` names a version if it needs another than ours."""

    lock: str
    python: str | None = None

    @cached_property
    def interpreter(self) -> Path:
        """Give its Python, installing it first if need be.

        Raises:
            EnvironmentUnavailable: it cannot be installed here; the message says why.
        """
        if self.python is None:
            return ensure(self.lock) / "python"
        return _other_python(self.lock, self.python) / "bin" / "python"

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


TASKS = Peer("bench-tasks")
LANGGRAPH = Peer("bench-langgraph")
AGENT_MAIL = Peer("bench-agent-mail")
AGENT_MEMORY = Peer("bench-agent-memory", "3.12")


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


def _other_python(name: str, version: str) -> Path:
    if sys.version_info[:2] == tuple(map(int, version.split("."))):
        return ensure(name).parent
    pyenv = sorted(Path.home().glob(f".pyenv/versions/{version}.*/bin/python{version}"))
    candidates = [shutil.which(f"python{version}"), *map(str, pyenv)]
    python = next((each for each in candidates if each and _runs(each)), None)
    if python is None:
        raise EnvironmentUnavailable(
            name, f"it needs python{version}, which is neither on the PATH nor under ~/.pyenv"
        )
    lock = LOCKS / f"{name}.lock"
    root = cache_home() / "environments" / f"{name}-{digest(lock.read_bytes())}-py{version}"
    return made_once(
        root,
        lambda path: _install(name, python, lock, path),
        works=lambda: (root / "bin" / "python").exists(),
    )


def _runs(python: str) -> bool:
    return subprocess.run([python, "--version"], capture_output=True, check=False).returncode == 0


def _install(name: str, python: str, lock: Path, root: Path) -> None:
    advice = "check the network, and run this again"
    run([python, "-m", "venv", str(root)], name=name, advice=advice)
    pip = [str(root / "bin" / "python"), "-m", "pip", "install", "-qq", "--no-input"]
    strict = ["--no-compile", "--require-hashes", "--no-deps", "--only-binary", ":all:"]
    run([*pip, *strict, "-r", str(lock)], name=name, advice=advice)
