"""What `make wheel` builds is the whole package, from which an agent runs."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
UV = Path(sys.executable).with_name("uv")


@pytest.fixture(scope="module")
def installed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The wheel, built from the checkout and installed apart from it."""
    built, target = tmp_path_factory.mktemp("dist"), tmp_path_factory.mktemp("installed")
    quiet = [str(UV), "--quiet", "--offline"]
    build = [*quiet, "build", "--wheel", "--no-build-isolation", "--python", sys.executable]
    subprocess.run([*build, "--out-dir", str(built), str(ROOT)], check=True)
    [wheel] = built.glob("sharpwave-*.whl")
    into = ["--no-deps", "--no-index", "--target", str(target), str(wheel)]
    subprocess.run([*quiet, "pip", "install", *into], check=True)
    return target


def test_every_part_of_the_package_is_in_the_wheel(installed: Path) -> None:
    files = {path.relative_to(installed) for path in installed.rglob("*")}
    ours = [
        path.relative_to(ROOT / part)
        for part in ("schemas", "producers", "workers", "infra")
        for path in (ROOT / part / "sharpwave").rglob("*")
        if path.is_file() and "__pycache__" not in path.parts
    ]

    assert len(ours) > 100
    assert [str(path) for path in ours if path not in files] == []
    assert Path("bin/sharpwave") in files


def test_an_agent_is_imported_from_it(installed: Path) -> None:
    # It stands first on the path, so the checkout's own portions are not what is found.
    done = subprocess.run(
        [sys.executable, "-c", "from sharpwave.producers import agent; print(agent.__file__)"],
        env={**os.environ, "PYTHONPATH": str(installed)},
        capture_output=True,
        text=True,
        check=True,
    )

    assert done.stdout.startswith(str(installed))
