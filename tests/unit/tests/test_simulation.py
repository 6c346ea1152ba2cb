"""The machine finds nothing broken in a fixed set of histories, and catches what is broken.

The histories run in processes of their own, with a fixed order of sets, so that the command which
a failing seed prints replays that very history.
"""

import os
import subprocess
import sys
from pathlib import Path

import pytest

pytestmark = pytest.mark.longest

ROOT = Path(__file__).parents[3]
#: Mutants of each part of the product; `python -m tests.simulation --mutants` tries all.
OF_SIGNALS = (
    "late-joiners-left-out",
    "chunks-as-they-are-now",
    "ack-first",
    "urgent-waits",
    "other-copy-again",
    "marked-before-sent",
    "never-marked",
    "acknowledged-is-open",
    "found-is-sent",
)
OF_LIVES = ("nobody-follows", "missing-is-failed")
OF_COUNTS_AND_MEMORY = (
    "list-of-old",
    "one-epoch",
    "seats-move-up",
    "first-fact-stands",
    "verify-one-way",
)


def machine(*arguments: str) -> subprocess.CompletedProcess[str]:
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "PYTHONHASHSEED": "0"}
    command = [sys.executable, "-m", "tests.simulation", "--jobs", "1", *arguments]
    return subprocess.run(command, env=environment, capture_output=True, text=True, check=False)


def test_a_fixed_set_of_histories_breaks_no_promise() -> None:
    done = machine("--seeds", "25")

    assert done.returncode == 0, done.stdout + done.stderr


def test_a_pattern_lives_through_every_state_and_no_verdict_lacks_evidence() -> None:
    done = machine("--theme", "seasons", "--quiet", "--seeds", "5")

    assert done.returncode == 0, done.stdout + done.stderr
    for state in ("active", "shared", "degraded", "dormant", "retired", "candidate"):
        assert f" to {state}\n" in done.stdout
    assert "degraded to active\n" in done.stdout or "degraded to shared\n" in done.stdout


def test_a_seed_gives_one_history_in_any_process() -> None:
    first, second = machine("--seed", "23"), machine("--seed", "23")

    assert first.stdout == second.stdout
    assert "crashes" in first.stdout


def test_a_death_at_many_calls_in_turn_breaks_no_promise() -> None:
    done = machine("--seed", "3", "--deaths", "41")

    assert done.returncode == 0, done.stdout + done.stderr


def test_broken_rules_are_caught() -> None:
    # One process for all: to start it takes longer than most mutants live.
    names = OF_SIGNALS + OF_COUNTS_AND_MEMORY + OF_LIVES
    done = machine("--seeds", "60", "--mutants", *names)

    assert done.returncode == 0, done.stdout + done.stderr
    assert done.stdout.count("\n|") == 1 + len(names)
