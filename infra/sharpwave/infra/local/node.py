"""Folders of npm packages, each pinned by a lock with integrity hashes and made on first use."""

import shutil
import subprocess
from collections.abc import Sequence
from pathlib import Path

from sharpwave.infra.local.environment import LOCKS, cache_home, digest, made_once, run
from sharpwave.infra.local.errors import BackendUnavailable

NODE_MAJOR_MIN = 20


def node_command(name: str) -> str:
    """Give the path of a node that is new enough, with npm beside it, for what `name` names.

    Raises:
        BackendUnavailable: there is none.
    """
    advice = f"this needs Node.js {NODE_MAJOR_MIN} or newer with npm on the PATH; install it"
    node = shutil.which("node")
    if node is None or shutil.which("npm") is None:
        raise BackendUnavailable(name, f"node or npm is not on the PATH; {advice}")
    said = subprocess.run([node, "--version"], capture_output=True, text=True, check=False).stdout
    major = said.strip().lstrip("v").partition(".")[0]
    if not major.isdigit() or int(major) < NODE_MAJOR_MIN:
        raise BackendUnavailable(name, f"{node} says version {said.strip()!r}; {advice}")
    return node


def ensure_node(name: str, lock: Path | None = None, *, home: Path | None = None) -> Path:
    """Give the folder with the files of a lock and the packages it names, installed if need be.

    Args:
        name: the tool's name, part of the folder's name.
        lock: a folder with package.json and package-lock.json; without it, the package's own.
        home: the cache folder; without it, `cache_home()`.

    Raises:
        BackendUnavailable: there is no node, or npm failed.
    """
    files = sorted((lock or LOCKS / name).iterdir())
    about = digest(*(file.read_bytes() for file in files))
    root = (home or cache_home()) / "environments" / f"{name}-{about}"
    return made_once(
        root,
        lambda path: _install(name, files, path),
        works=(root / "node_modules" / ".package-lock.json").exists,
    )


def _install(name: str, files: Sequence[Path], root: Path) -> None:
    node_command(name)
    root.mkdir(parents=True)
    for file in files:
        shutil.copy(file, root)
    run(
        ["npm", "ci", "--ignore-scripts", "--no-audit", "--no-fund", "--loglevel=error"],
        name=name,
        cwd=root,
        advice="check the network, or point npm at a mirror (npm config set registry), "
        "and run this again",
    )
