"""Under kills, frozen processes and broken calls nothing is lost.

That a broken system is caught shows `make chaos`, which runs two, and the simulation's mutants.
"""

import json
from pathlib import Path

import pytest

from tests.chaos.__main__ import main

pytestmark = [pytest.mark.timeout(600), pytest.mark.longest]


def test_the_real_system_keeps_its_promises(tmp_path: Path) -> None:
    report = tmp_path / "report.json"

    scale = ["--quick", "--signals", "80", "--crowd", "20", "--seconds", "9"]
    code = main([*scale, "--no-controls", "--folder", str(tmp_path), "--report", str(report)])

    (run,) = json.loads(report.read_text())
    assert (code, run["violations"], run["examples"]) == (0, {}, [])
    assert run["kills"] >= 5
    assert run["results"]["attempted"] >= run["results"]["acknowledged"] > 200
    assert run["results"]["lost"] == run["results"]["duplicated"] == 0
    assert {"cut", "refuse"} <= run["strikes"].keys()
    assert sum(run["faults"].values()) > 10
