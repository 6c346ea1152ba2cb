"""Run other people's tests against our broker: dramatiq's own, and dramatiq-sqs's.

    python tests/borrowed/run.py --dramatiq GIT_DIR --dramatiq-sqs GIT_DIR [--product DIR]

Nothing of theirs is kept here. Their tests are taken from clones that the caller gives, at the
commits below, into a directory that is deleted afterwards; only their `conftest.py` is replaced,
by one that puts our broker where theirs was. The interpreter needs our packages (from `--product`,
this checkout by default) and dramatiq[prometheus], pytest, pytest-timeout, pytest-asyncio, pika,
redis and freezegun; use an environment made for it. docs/BROKER.md says why each miss is one.
"""

import argparse
import os
import re
import shutil
import subprocess
import sys
import tarfile
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

HERE = Path(__file__).parent


@dataclass(frozen=True)
class Suite:
    """Tests of another project, at one commit.

    Attributes:
        conftest: which of our files replaces theirs.
        left_out: their test files that have no broker of ours in them: other brokers, the command
            line, and what needs no broker at all.
    """

    name: str
    commit: str
    conftest: str
    left_out: Sequence[str]


DRAMATIQ = Suite(
    name="dramatiq",
    commit="848b35f2f960457ff54a72f9edb3af0de754f72f",
    conftest="dramatiq_conftest.py",
    left_out=("benchmarks", "test_rabbitmq.py", "test_redis.py", "test_cli.py", "test_watch.py"),
)
DRAMATIQ_SQS = Suite(
    name="dramatiq-sqs",
    commit="ee47c8f",
    conftest="dramatiq_sqs_conftest.py",
    left_out=("test_utils.py",),
)


def run(suite: Suite, git_dir: Path, product: Path, only: str, why: bool) -> int:
    """Run one suite, and print how many of its tests pass and each that does not."""
    with tempfile.TemporaryDirectory(prefix="borrowed-") as made:
        place = Path(made)
        archive = subprocess.run(
            ["git", f"--git-dir={git_dir}", "archive", suite.commit, "tests"],
            stdout=subprocess.PIPE,
            check=True,
        )
        (place / "suite.tar").write_bytes(archive.stdout)
        with tarfile.open(place / "suite.tar") as tar:
            tar.extractall(place, filter="data")
        # By another name than ours have, which their conftest.py imports.
        theirs = (place / "tests").rename(place / "theirs")
        shutil.copy(HERE / suite.conftest, theirs / "conftest.py")
        paths = [product, *(product / part for part in ("schemas", "producers", "workers"))]
        ran = subprocess.run(
            [
                *(sys.executable, "-m", "pytest", "-q", "-rfEs", "--tb=short", "--timeout=60"),
                *("-p", "no:cacheprovider", "-c", os.devnull, f"--rootdir={place}"),
                *(f"--ignore={theirs / name}" for name in suite.left_out),
                *(("-k", only) if only else ()),
                str(theirs),
            ],
            cwd=place,
            env={**os.environ, "PYTHONPATH": os.pathsep.join([*map(str, paths), str(HERE)])},
            capture_output=True,
            text=True,
            check=False,
        )
    misses = re.findall(r"^(?:FAILED|ERROR) theirs/.*|^SKIPPED \[.*", ran.stdout, re.MULTILINE)
    counts = {
        kind: int(number)
        for number, kind in re.findall(
            r"(\d+) (passed|failed|error|errors|skipped|deselected)", ran.stdout.splitlines()[-1]
        )
    }
    missed = sum(n for kind, n in counts.items() if kind in ("failed", "error", "errors"))
    passed = counts.get("passed", 0)
    print(f"{suite.name} @ {suite.commit[:7]}: {passed} of {passed + missed} pass")
    print(*(f"  {miss}" for miss in misses), sep="\n")
    if why or not counts:
        print(ran.stdout, ran.stderr)
    return missed


def main() -> None:
    """Run the suites whose clones are given."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--dramatiq", type=Path, help="git directory of Bogdanp/dramatiq")
    parser.add_argument("--dramatiq-sqs", type=Path, help="git directory of Bogdanp/dramatiq_sqs")
    parser.add_argument("--product", type=Path, default=HERE.parents[1], help="a checkout of ours")
    parser.add_argument("-k", default="", help="only tests that match, as pytest's -k")
    parser.add_argument("--why", action="store_true", help="print all that pytest says, too")
    given = parser.parse_args()
    if given.dramatiq_sqs:
        run(DRAMATIQ_SQS, given.dramatiq_sqs, given.product, given.k, given.why)
    if given.dramatiq:
        run(DRAMATIQ, given.dramatiq, given.product, given.k, given.why)


if __name__ == "__main__":
    main()
