"""An error path that no test takes is named, unless none can; branches taken are counted."""

import re
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[3]
TAKEN = "workers/aws/archive open_archive: raise ValueError"
UNTAKEN = "workers/sqs/acknowledging _attempt: except Exception"
TEST = """
import pytest
from tests.error_paths import ROOT, branches_taken, marked
from sharpwave.workers.aws.archive import open_archive

def test_one_path():
    with pytest.raises(ValueError):
        open_archive("")

SOURCE = '''
def ways(number):
    for _ in range(number):
        if number > 1:
            break
    match number:
        case 1:
            return
    while True:
        return
'''

def test_each_way_through_a_statement_is_a_branch():
    tree, _, branches = marked(ROOT / "workers/sharpwave/workers/toy.py", SOURCE)
    toy = {}
    exec(compile(tree, "toy", "exec"), toy)
    way = "workers/toy:{}".format
    assert len(branches) == 7

    toy["ways"](1)
    once = {way("3.0"), way("3.1"), way("4.1"), way("6.0")}
    assert branches_taken & {*branches} == once
    toy["ways"](2)
    assert branches_taken & {*branches} == {*branches}
"""


def test_what_no_test_takes_is_named_and_fails_the_run(tmp_path: Path) -> None:
    test = tmp_path / "test_it.py"
    test.write_text(TEST)
    options = [f"--rootdir={tmp_path}", "-n1", "-ptests.error_paths", "-pno:cacheprovider"]

    ran = subprocess.run(
        [
            sys.executable,
            "-m",
            "pytest",
            *options,
            f"--rootdir={tmp_path}",
            tmp_path / "test_it.py",
        ],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )

    assert ran.returncode == 1, ran.stdout + ran.stderr
    assert "2 passed" in ran.stdout
    assert f"no test takes {UNTAKEN}" in ran.stdout
    assert f"no test takes {TAKEN}" not in ran.stdout
    assert "there is no such error path" not in ran.stdout
    for package in ("schemas", "producers", "workers"):
        assert re.search(rf"{package}: \d+ of \d+ branches, \d+\.\d %", ran.stdout)
