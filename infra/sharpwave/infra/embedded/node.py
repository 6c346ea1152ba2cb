"""The fauxqs environment: a folder of npm packages, pinned by a lock with integrity hashes."""

import shutil
import subprocess
from pathlib import Path

from sharpwave.infra.embedded.environment import LOCKS, cache_home, digest, made_once, run
from sharpwave.infra.embedded.errors import BackendUnavailable

NODE_MAJOR_MIN = 20
FILES = ("package.json", "package-lock.json", "server.mjs")


def node_command() -> str:
    """Give the path of a node that is new enough, with npm beside it.

    Raises:
        BackendUnavailable: there is none.
    """
    advice = f"fauxqs needs Node.js {NODE_MAJOR_MIN} or newer with npm on the PATH; install it"
    node = shutil.which("node")
    if node is None or shutil.which("npm") is None:
        raise BackendUnavailable("fauxqs", f"node or npm is not on the PATH; {advice}")
    said = subprocess.run([node, "--version"], capture_output=True, text=True, check=False).stdout
    major = said.strip().lstrip("v").partition(".")[0]
    if not major.isdigit() or int(major) < NODE_MAJOR_MIN:
        raise BackendUnavailable("fauxqs", f"{node} says version {said.strip()!r}; {advice}")
    return node


def ensure_fauxqs(*, home: Path | None = None) -> Path:
    """Give the folder that holds `server.mjs` and its packages, installing them if need be.

    Raises:
        BackendUnavailable: there is no node, or npm failed.
    """
    source = LOCKS / "fauxqs"
    about = digest(*((source / name).read_bytes() for name in FILES))
    root = (home or cache_home()) / "environments" / f"fauxqs-{about}"
    return made_once(root, _install, works=lambda: (root / "node_modules" / "fauxqs").is_dir())


def _install(root: Path) -> None:
    node_command()
    root.mkdir(parents=True)
    for name in FILES:
        shutil.copy(LOCKS / "fauxqs" / name, root)
    run(
        ["npm", "ci", "--ignore-scripts", "--no-audit", "--no-fund", "--loglevel=error"],
        name="fauxqs",
        cwd=root,
        advice="check the network, or point npm at a mirror (npm config set registry), "
        "and run this again",
    )
