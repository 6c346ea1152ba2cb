"""The house is measured as it stands: sizes, arrows and cycles of rooms, and what is used once."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

from tests.house import cycles, measure, table

ROOT = Path(__file__).parents[3]
WHEEL = """
[tool.hatch.build.targets.wheel]
packages = ["workers/sharpwave"]
"""
SOURCES = {
    "workers/sharpwave/workers/__init__.py": '"""Workers."""\n',
    "workers/sharpwave/workers/main.py": """
from sharpwave.workers.pump import shards  # noqa: F401
from sharpwave.workers import words
from sharpwave.workers.words import _shared


def main():
    # Shared by two.
    _once()
    _twice(), _twice()
    _shared()


def _once():
    class Inner:
        def _method(self):
            return self._method

def _twice():
    pass
def _never():
    pass
""",
    "workers/sharpwave/workers/words.py": "def _shared(): ...\n_shared()\n",
    "workers/sharpwave/workers/pump/__init__.py": "",
    "workers/sharpwave/workers/pump/shards.py": "import sharpwave.workers.words\n",
    "workers/sharpwave/workers/pump/deep/far.py": "import boto3\n",
    "tests/unit/test_it.py": "assert True\n",
}


@pytest.fixture
def house(tmp_path: Path) -> Path:
    (tmp_path / "pyproject.toml").write_text(WHEEL)
    for name, text in SOURCES.items():
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    return tmp_path


def test_lines_and_files_are_counted_by_room_and_the_tests_apart(house: Path) -> None:
    found = measure(house)

    assert found["rooms"] == {
        "workers": {"lines": 1 + 22 + 2, "files": 3},
        "workers/pump": {"lines": 2, "files": 3},
    }
    assert found["packages"] == {"workers": {"lines": 27, "files": 6}}
    assert found["wheel"] == {"lines": 27, "files": 6}
    assert found["tests"] == {"tests/unit": {"lines": 1, "files": 1}}


def test_a_private_function_is_used_once_where_one_place_names_it(house: Path) -> None:
    functions = measure(house)["functions"]

    assert functions["all"] == 6
    assert functions["private"] == 5
    # `_once` and `_method`; `_shared` is named in its own module and imported by another.
    assert functions["private_used_once"] == 2


def test_functions_are_as_long_as_their_text(house: Path) -> None:
    functions = measure(house)["functions"]

    assert functions["lines_median"] == 2
    assert functions["lines_max"] == 5
    assert functions["longest"] == "sharpwave.workers.main.main"


def test_only_comments_for_people_count(house: Path) -> None:
    assert measure(house)["comments_per_100_lines"] == pytest.approx(100 / 27)


def test_imports_that_cross_rooms_are_arrows_and_those_that_run_back_a_cycle(house: Path) -> None:
    found = measure(house)

    imports = found["imports"]
    assert found["flat"] == {"workers": {"modules": 2, "arrows": 1}}
    assert imports["between_modules"] == 3
    assert imports["between_modules_of_rooms"] == 2
    assert imports["rooms"] == {"workers": ["workers/pump"], "workers/pump": ["workers"]}
    assert imports["cycles_of_rooms"] == [["workers", "workers/pump"]]
    assert imports["cycles_of_modules"] == []


def test_a_cycle_holds_all_that_reach_each_other_and_no_more() -> None:
    arrows = {"a": "b", "b": "c", "c": "ad", "d": "e", "e": "d", "f": "a"}

    assert cycles(arrows) == [["a", "b", "c"], ["d", "e"]]


def test_this_house_is_measured_with_both_walks_to_their_end() -> None:
    command = [sys.executable, "-m", "tests.house", "--json"]

    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True)

    found = json.loads(done.stdout)
    text = "\n".join(table(found))
    # The SDK's alone: `agent` shows the operations, which are made of what lies beside it.
    assert found["imports"]["cycles_of_rooms"] == [["producers", "producers/operations"]]
    assert found["imports"]["cycles_of_modules"] == []
    for walk in ("signal", "decision"):
        files = [Path(name).stem for name in found["walks"][walk]["files"]]
        assert {"router", "actors", "keys"} <= set(files)
        assert found["walks"][walk]["functions"] > len(files)
        assert len(found["walks"][walk]["chain"]) == found["walks"][walk]["depth"]
        assert f"walk of a {walk}" in text
    assert "deliver" in found["walks"]["signal"]["chain"][3]
