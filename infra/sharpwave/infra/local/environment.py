"""Pinned tool environments, each made on first use and apart from our own packages.

A tool such as an emulator pins libraries which we pin otherwise, so each lives in a virtual
environment of its own in the cache folder. The folder's name carries a digest of the lock and the
Python version: a new lock makes a new environment, and two versions never mix.
"""

import fcntl
import hashlib
import os
import platform
import shutil
import subprocess
import sys
import sysconfig
from collections.abc import Callable, Mapping, Sequence
from functools import cache
from pathlib import Path

from sharpwave.infra.local.backend import BackendUnavailable, EnvironmentUnavailable

LOCKS = Path(__file__).parent / "locks"
COMPLETE = ".complete"
NODE_MAJOR_MIN = 20
#: Where pyenv and uv keep the Pythons that they do not put on the PATH.
KEPT_BY = (".pyenv/versions/{0}.*", ".local/share/uv/python/cpython-{0}.*")
ABOUT = "import platform, sysconfig; print(platform.python_version(), sysconfig.get_platform())"


def cache_home(environ: Mapping[str, str] = os.environ) -> Path:
    """Give the cache folder: SHARPWAVE_HOME, else XDG_CACHE_HOME or ~/.cache with `sharpwave`."""
    if home := environ.get("SHARPWAVE_HOME"):
        return Path(home)
    if cache := environ.get("XDG_CACHE_HOME"):
        return Path(cache) / "sharpwave"
    return Path.home() / ".cache" / "sharpwave"


def lock_file(name: str) -> Path:
    """Give the lock which the package carries for a tool."""
    return LOCKS / f"{name}.lock"


def find_python(name: str, versions: Sequence[str]) -> str:
    """Give an interpreter of one of these versions, the first that runs here.

    Looked for as the one that runs this, on the PATH, and where pyenv and uv keep theirs.

    Args:
        name: the tool that needs it.
        versions: such as "3.13", the best first.

    Raises:
        EnvironmentUnavailable: there is none.
    """
    for version in versions:
        if sys.version_info[:2] == tuple(map(int, version.split("."))):
            return sys.executable
        kept = (f"{folder.format(version)}/bin/python{version}" for folder in KEPT_BY)
        found = [path for pattern in kept for path in sorted(Path.home().glob(pattern))]
        # On the PATH there may be pyenv's stand-in for a version that is not switched on.
        for path in [shutil.which(f"python{version}"), *map(str, reversed(found))]:
            if path and _about(path):
                return path
    wanted = " or ".join(f"python{version}" for version in versions)
    raise EnvironmentUnavailable(
        name, f"it needs {wanted}, and none was found on the PATH, in pyenv or in uv; install one"
    )


def ensure(
    name: str, lock: Path | None = None, *, home: Path | None = None, python: str = sys.executable
) -> Path:
    """Give the `bin` folder of a tool's environment, making the environment if need be.

    Safe to call from many processes at once: one makes it, the others wait for it. What a crash
    left half made is made again.

    Args:
        name: the tool's name, part of the folder's name.
        lock: requirements with a hash for every file; without it, the one this package carries.
        home: the cache folder; without it, `cache_home()`.
        python: the interpreter that runs it; without it, the one that runs this.

    Raises:
        EnvironmentUnavailable: venv or pip failed; the message holds the command and its output.
    """
    return _environment(name, lock or lock_file(name), home or cache_home(), python) / "bin"


def ensure_data(name: str, lock: Path | None = None, *, home: Path | None = None) -> Path:
    """Give the `site-packages` folder of an environment kept only for files in its packages.

    As `ensure`; a lock need not hold the dependencies of what it names, since none is installed
    that it does not name.
    """
    root = _environment(name, lock or lock_file(name), home or cache_home(), sys.executable)
    scheme = {"base": str(root), "platbase": str(root)}
    return Path(sysconfig.get_path("purelib", scheme="venv", vars=scheme))


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
    npm = ["npm", "ci", "--ignore-scripts", "--no-audit", "--no-fund", "--loglevel=error"]
    advice = "check the network, or point npm at a mirror (npm config set registry), "

    def make(root: Path) -> None:
        node_command(name)
        root.mkdir(parents=True)
        for file in files:
            shutil.copy(file, root)
        run(npm, name=name, cwd=root, advice=advice + "and run this again")

    return made_once(root, make, works=(root / "node_modules" / ".package-lock.json").exists)


def made_once(directory: Path, make: Callable[[Path], None], *, works: Callable[[], bool]) -> Path:
    """Give `directory`, made by `make` unless it is complete already and still works.

    It is made in place, for scripts inside carry its path, and counts only once its mark is
    written; a lock that dies with its holder keeps a second maker waiting.
    """
    mark = directory / COMPLETE
    if mark.exists() and works():
        return directory
    directory.parent.mkdir(parents=True, exist_ok=True)
    with directory.with_name(directory.name + ".lock").open("w") as handle:
        fcntl.flock(handle, fcntl.LOCK_EX)
        if not (mark.exists() and works()):
            shutil.rmtree(directory, ignore_errors=True)
            make(directory)
            mark.touch()
    return directory


def digest(*parts: bytes) -> str:
    """Give a short name for what an environment is made from."""
    return hashlib.sha256(b"\0".join(parts)).hexdigest()[:12]


def run(command: Sequence[str], *, name: str, advice: str, cwd: Path | None = None) -> None:
    """Run one step of making an environment.

    Raises:
        EnvironmentUnavailable: it cannot be run or failed.
    """
    # Another environment's Python variables would redirect the one being made.
    clean = {key: value for key, value in os.environ.items() if not key.startswith("PYTHON")}
    try:
        done = subprocess.run(
            command, cwd=cwd, env=clean, capture_output=True, text=True, check=False
        )
    except OSError as error:
        raise EnvironmentUnavailable(name, f"cannot run {command[0]}: {error}; {advice}") from error
    if done.returncode != 0:
        said = "\n".join((done.stdout + done.stderr).strip().splitlines()[-8:])
        raise EnvironmentUnavailable(
            name,
            f"installing it failed with exit code {done.returncode}; {advice}\n"
            f"tried: {' '.join(command)}\nit said: {said}",
        )


def _environment(name: str, lock: Path, home: Path, python: str) -> Path:
    version, _, machine = _about(python).partition(" ")
    about = digest(lock.read_bytes(), version.encode(), machine.encode())
    root = home / "environments" / f"{name}-{about}-py{version}"
    # The interpreter is a link, which breaks when the Python it points to is removed.
    return made_once(
        root,
        lambda path: _install(name, lock, path, python),
        works=lambda: (root / "bin" / "python").exists(),
    )


@cache
def _about(python: str) -> str:
    """Give an interpreter's version and machine, or nothing if it does not run."""
    if python == sys.executable:
        return f"{platform.python_version()} {sysconfig.get_platform()}"
    done = subprocess.run([python, "-I", "-c", ABOUT], capture_output=True, text=True, check=False)
    return done.stdout.strip() if done.returncode == 0 else ""


def _install(name: str, lock: Path, root: Path, python: str) -> None:
    venv = "install Python's own venv module (on Debian and Ubuntu: apt install python3-venv)"
    run([python, "-m", "venv", str(root)], name=name, advice=venv)
    # Compiling everything costs more than the install; the little that is imported compiles itself.
    options = ["-qq", "--no-input", "--no-compile", "--disable-pip-version-check"]
    # Wheels only: nothing of a package runs before its hash was checked and it was asked for.
    strict = ["--require-hashes", "--no-deps", "--only-binary", ":all:"]
    run(
        [str(root / "bin" / "python"), "-m", "pip", "install", *options, *strict, "-r", str(lock)],
        name=name,
        advice="check the network, or point pip at a mirror (PIP_INDEX_URL, PIP_FIND_LINKS), "
        "and run this again",
    )
