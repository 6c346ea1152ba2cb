"""How long records live is a setting of the deployment, and no agent starts with a wrong one."""

import json
from collections.abc import Callable
from typing import Any

import pytest

from sharpwave.infra.cli import main
from sharpwave.producers import Agent
from sharpwave.producers.call import Identity
from sharpwave.producers.operations import decisions, memory, signals
from sharpwave.schemas.retention import Retention
from sharpwave.schemas.times import DAY_S


def drive(operation: Any) -> Any:
    """Run an operation whose one call is a write."""
    next(operation)
    try:
        operation.send({})
    except StopIteration as done:
        return done.value


@pytest.mark.parametrize(
    ("write", "days", "by_itself"),
    [
        (lambda me: decisions.decide(me, "PICK"), 7, 90),
        (lambda me: signals.signal(me, "NEWS", to="bob"), 2, 1),
        (lambda me: memory.remember(me, "NOTE", {}), 5, 3),
    ],
    ids=["decision", "signal", "memory"],
)
def test_the_environment_sets_how_long_records_live(
    write: Callable[[Identity], Any], days: int, by_itself: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    lives = []
    for given in ("", str(days)):
        for kind in ("DECISION", "SIGNAL", "MEMORY"):
            monkeypatch.setenv(f"SHARPWAVE_{kind}_DAYS", given)
        record = drive(write(Identity("ann")))
        lives.append(record.ttl - record.timestamp)

    assert lives == [by_itself * DAY_S, days * DAY_S]


@pytest.mark.parametrize(
    ("variable", "given"),
    [
        ("SHARPWAVE_DECISION_DAYS", "401"),
        ("SHARPWAVE_SIGNAL_DAYS", "soon"),
        ("SHARPWAVE_MEMORY_DAYS", "1"),
    ],
)
def test_a_time_that_cannot_be_is_named(
    variable: str, given: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(variable, given)

    with pytest.raises(ValueError, match=rf"{variable} is '?{given}'?; give \d+ to \d+ days"):
        Agent("ann", endpoint_url="http://127.0.0.1:1")
    assert main(["retention"]) == 2


def test_the_command_says_what_a_change_costs_and_removes(
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert main(["retention", "--decision-days", "7"]) == 0
    told = capsys.readouterr().out
    assert main(["retention", "--decision-days", "7", "--json"]) == 0
    facts = json.loads(capsys.readouterr().out)

    assert "start the agents with: SHARPWAVE_DECISION_DAYS=7" in told
    assert "Nothing that is stored changes" in told
    assert facts["days"]["decision"] == Retention().decision == 90
    # As long as it is kept, so much lies there; signals are left out.
    assert facts["storage"]["gb"] == pytest.approx(facts["storage_asked"]["gb"] * 90 / 7, rel=0.01)
    assert main(["retention", "--item-kb", "0"]) == 2
