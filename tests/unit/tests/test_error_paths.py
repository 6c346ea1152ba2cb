"""An error path that no test takes is named, unless there is a reason why none can."""

import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[3]
TAKEN = "workers/aws/archive open_archive: raise ValueError"
UNTAKEN = "workers/sqs/ack _attempt: except Exception"
TEST = """
import pytest
from sharpwave.workers.aws.archive import open_archive

def test_one_path():
    with pytest.raises(ValueError):
        open_archive("")
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
    assert f"no test takes {UNTAKEN}" in ran.stdout
    assert f"no test takes {TAKEN}" not in ran.stdout
    assert "there is no such error path" not in ran.stdout
