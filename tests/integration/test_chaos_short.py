"""Under kills, frozen processes and broken calls nothing is lost, and a broken system is caught."""

import json
from pathlib import Path
from typing import Any

import pytest

from tests.chaos.__main__ import main

pytestmark = [pytest.mark.timeout(600), pytest.mark.longest]


def chaos(tmp_path: Path, *argv: str) -> tuple[int, dict[str, Any]]:
    report = tmp_path / "report.json"
    code = main([*argv, "--folder", str(tmp_path), "--report", str(report)])
    (run,) = json.loads(report.read_text())
    return code, run


def test_the_real_system_keeps_its_promises(tmp_path: Path) -> None:
    code, run = chaos(tmp_path, "--quick", "--no-controls")

    assert (code, run["violations"], run["examples"]) == (0, {}, [])
    assert run["kills"] >= 5
    assert run["results"]["attempted"] >= run["results"]["acknowledged"] > 200
    assert run["results"]["lost"] == run["results"]["duplicated"] == 0
    assert {"cut", "refuse"} <= run["strikes"].keys()
    assert sum(run["faults"].values()) > 10


def test_a_system_that_acknowledges_before_the_effect_is_caught(tmp_path: Path) -> None:
    code, run = chaos(tmp_path, "--control", "ack-first")

    assert (code, run["ok"]) == (0, True)
    assert {"delivery lost", "miscounted", "memory lost"} & run["violations"].keys()
