"""Break the product a little, many times over, and ask whether its tests notice.

    python -m tests.mutation [router] [keys] [mirror] [ledger] [counts] [retries] [--only NAME]

mutmut changes one operator, constant, argument or name at a time within functions, and runs the
tests that reach the changed function; a mutant that no test fails has survived. Each target is
made of a few modules and the quick tests that speak for them. `harmless.toml` says of every
survivor that is known why it may live, so a run names only new ones, and those that it says live
and that do not. Either makes the exit code 1.

mutmut wants one source tree, and our package lives in four folders, so they are put together in a
temporary folder, with the tests. mutmut has an environment of its own (`mutmut.lock`), to which
our packages' libraries are lent. Decorated functions and what runs at import are not changed.
"""

import argparse
import difflib
import json
import os
import shutil
import subprocess
import sys
import sysconfig
import tempfile
import tomllib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from sharpwave.infra.local.environment import ensure

HERE = Path(__file__).parent
ROOT = HERE.parents[1]
HARMLESS = HERE / "harmless.toml"
PORTIONS = ("schemas", "producers", "workers", "infra")

#: What mutmut writes down of mutants: no test reaches it, none failed, or none came to its end.
UNREACHED = frozenset({5, 33})
SURVIVED = frozenset({0}) | UNREACHED
ENDLESS = frozenset({24, 36, 152, 255, -24})


@dataclass(frozen=True)
class Target:
    """Modules to break, by their paths below `sharpwave`, and the tests that ought to notice."""

    modules: Sequence[str]
    tests: Sequence[str]


TARGETS = {
    "router": Target(
        modules=[
            "workers/router/router.py",
            "workers/router/fast_path.py",
            "workers/router/changes.py",
            "workers/router/admission.py",
            "workers/router/record.py",
            "workers/router/image.py",
        ],
        tests=["tests/unit/workers/router"],
    ),
    "keys": Target(
        modules=["schemas/keys.py"],
        tests=[
            "tests/unit/schemas/test_keys.py",
            "tests/contract/test_forms.py",
            "tests/unit/workers/router",
        ],
    ),
    "mirror": Target(
        modules=["workers/signals/mirror.py"],
        tests=[
            "tests/unit/workers/signals/test_mirror.py",
            "tests/unit/workers/signals/test_deliver.py",
            "tests/unit/workers/signals/test_acknowledge.py",
            "tests/unit/workers/signals/test_deliver_audience.py",
        ],
    ),
    "ledger": Target(
        modules=["workers/patterns/ledger.py"],
        tests=[
            "tests/unit/workers/patterns/test_ledger.py",
            "tests/unit/workers/patterns/test_slots.py",
            "tests/unit/workers/patterns/test_learn.py",
            "tests/unit/workers/patterns/test_seats.py",
            "tests/unit/workers/patterns/test_sources.py",
            "tests/unit/workers/patterns/test_stated.py",
            "tests/unit/workers/patterns/test_units.py",
            "tests/unit/workers/test_kept_changing.py",
        ],
    ),
    "counts": Target(
        modules=["workers/patterns/counts.py", "workers/patterns/learn.py"],
        tests=[
            "tests/unit/workers/patterns/test_learn.py",
            "tests/unit/workers/patterns/test_publish.py",
            "tests/unit/workers/patterns/test_slots.py",
            "tests/unit/workers/patterns/test_ledger.py",
        ],
    ),
    "retries": Target(
        modules=["workers/sqs/retries.py"],
        tests=["tests/unit/workers/sqs/test_retries.py", "tests/unit/workers/sqs/test_dramatiq.py"],
    ),
}


@dataclass(frozen=True)
class Mutant:
    """One change.

    Attributes:
        change: the function and the lines before and after, which name it from run to run.
        verdict: as mutmut writes it down; None if it was not tried.
    """

    change: str
    verdict: int | None


def main(argv: Sequence[str] | None = None) -> int:
    """Run what a command line asks for, and give the exit code."""
    parser = argparse.ArgumentParser(
        prog="python -m tests.mutation", description=(__doc__ or "").splitlines()[0]
    )
    parser.add_argument("targets", nargs="*", choices=[*TARGETS, []], help="all, if none is named")
    parser.add_argument("--only", default="", metavar="NAME", help="functions so named; takes *")
    asked = parser.parse_args(argv)
    is_fine = [judge(name, asked.only) for name in asked.targets or TARGETS]
    return 0 if all(is_fine) else 1


def judge(name: str, only: str = "") -> bool:
    """Try a target's mutants, print what became of them, and say whether all is as it was known."""
    mutants = [each for each in tried(TARGETS[name], only) if each.verdict is not None]
    living = {each.change for each in mutants if each.verdict in SURVIVED}
    known = set(harmless(name))
    new = sorted(living - known)
    gone = [] if only else sorted(known - living)
    endless = [each.change for each in mutants if each.verdict in ENDLESS]
    killed = sum(each.verdict not in SURVIVED for each in mutants)
    unreached = sum(each.verdict in UNREACHED for each in mutants)
    print(
        f"{name}: {len(mutants)} mutants, {killed} killed ({len(endless)} ran for too long), "
        f"{len(mutants) - killed} survived ({unreached} met by no test), {len(new)} are new",
        flush=True,
    )
    for change in endless:
        print(f"  ran for too long: {change}")
    for change in new:
        print(f"  new: {change}")
    for change in gone:
        print(f"  killed or gone, and yet in {HARMLESS.name}: {change}")
    return not new and not gone


def harmless(name: str) -> dict[str, str]:
    """Give a target's survivors that are known, and why each may live."""
    said = tomllib.loads(HARMLESS.read_text()).get(name, [])
    return {change: each["why"] for each in said for change in each["mutants"]}


def tried(target: Target, only: str = "") -> list[Mutant]:
    """Let mutmut try a target's mutants, one after another.

    Raises:
        EnvironmentUnavailable: mutmut cannot be installed here.
        CalledProcessError: the tests fail without any mutant, or mutmut does.
    """
    mutmut = ensure("mutmut", HERE / "mutmut.lock") / "mutmut"
    with tempfile.TemporaryDirectory(prefix="mutants-") as made:
        place = Path(made)
        without = shutil.ignore_patterns("__pycache__", "node_modules")
        for portion in PORTIONS:
            shutil.copytree(ROOT / portion, place / "src", ignore=without, dirs_exist_ok=True)
        for beside in ("tests", "docs"):
            shutil.copytree(ROOT / beside, place / beside, ignore=without)
        ours = (ROOT / "pyproject.toml").read_text()
        (place / "pyproject.toml").write_text(ours + _settings(target))
        subprocess.run(
            [mutmut, "run", "--max-children", "1", *([f"*{only}__mutmut_*"] if only else ())],
            cwd=place,
            env={**os.environ, "PYTHONPATH": sysconfig.get_path("purelib")},
            stdout=sys.stderr,
            check=True,
        )
        return [each for module in target.modules for each in _read(place, module)]


def _settings(target: Target) -> str:
    chosen = {
        "source_paths": ["src"],
        "only_mutate": [f"src/sharpwave/{module}" for module in target.modules],
        "also_copy": ["docs"],
        # No limit of pytest's: mutmut's first run writes down who calls what, which makes a test
        # many times as long, and what comes to no end mutmut ends itself.
        "pytest_add_cli_args": [
            "-p",
            "tests.mutation.quick",
            "-p",
            "no:cacheprovider",
            "--timeout=0",
        ],
        "pytest_add_cli_args_test_selection": list(target.tests),
        # Seconds beyond what the tests take, and how often both: the machine has other work.
        "timeout_constant": 10.0,
        "timeout_multiplier": 3.0,
        "use_git_change_detection": False,
    }
    lines = (f"{key} = {json.dumps(value)}" for key, value in chosen.items())
    return "\n".join(["", "[tool.mutmut]", *lines, ""])


def _read(place: Path, module: str) -> Iterator[Mutant]:
    broken = place / "mutants" / "src" / "sharpwave" / module
    lines = broken.read_text().splitlines()
    spans = json.loads(broken.with_name(f"{broken.name}.spans").read_text())["spans"]
    verdicts = json.loads(broken.with_name(f"{broken.name}.meta").read_text())["exit_code_by_key"]

    def text_of(function: str, name: str) -> list[str]:
        first, last = spans[function]
        return [line.strip().replace(function, name) for line in lines[first - 1 : last]]

    for key, verdict in verdicts.items():
        function = key.rpartition(".")[2]
        mangled = function.partition("__mutmut_")[0]
        # `x_name` of a function, `xǁClassǁname` of a method.
        name = mangled.removeprefix("x_").removeprefix("xǁ").replace("ǁ", ".")
        original = text_of(f"{mangled}__mutmut_orig", name)
        changed = [
            line
            for line in difflib.unified_diff(original, text_of(function, name), n=0, lineterm="")
            if line[:3] not in ("---", "+++", "@@ ")
        ]
        before, after = (" ".join(x[1:] for x in changed if x[0] == sign) for sign in "-+")
        yield Mutant(f"{Path(module).stem}.{name}: {before} => {after}", verdict)


if __name__ == "__main__":
    sys.exit(main())
