"""What an agent's confidences are worth is shown by type, over all epochs of its ledgers."""

from typing import Any

import pytest

from sharpwave.infra.cli import main
from sharpwave.infra.connection import Deployment
from sharpwave.infra.items import Items
from sharpwave.schemas import keys
from sharpwave.schemas.tables import PIPELINE
from sharpwave.workers.patterns.counts import Counts
from sharpwave.workers.patterns.stated import Confidences


@pytest.fixture
def counted(deployment: Deployment) -> Deployment:
    """Totals of three agents, one of them in two epochs, as publishing writes them."""
    sure = Confidences.of(9_000, True) + Confidences.of(9_500, False)
    for agent, kind, epoch, counts in (
        ("ann", "TRADE", 0, Counts(revision=3, n=4, s=2, confidences=sure)),
        ("ann", "TRADE", 77, Counts(revision=1, n=1, confidences=Confidences.of(2_000, False))),
        ("ann", "HEDGE", 0, Counts(revision=1, n=5)),
        ("anna", "TRADE", 0, Counts(revision=1, n=1, confidences=Confidences.of(0, True))),
        ("bob", "OTHER", 0, Counts(revision=1, n=1)),
    ):
        key = keys.ledger_total(keys.base_subject(agent, kind, epoch))
        Items(deployment).put(PIPELINE, {**key.item(), "c": counts.to_row()})
    return deployment


def test_an_agents_calibration_is_shown_by_type(counted: Deployment, sharpwave: Any) -> None:
    code, (hedge, trade) = sharpwave("agents", "calibration", "ann")

    assert (code, hedge) == (0, {"decision_type": "HEDGE", "outcomes": 5, "calibration": None})
    assert (trade["decision_type"], trade["outcomes"]) == ("TRADE", 5)
    found = trade["calibration"]
    assert found["n"] == 3
    assert found["brier"] == pytest.approx((0.1**2 + 0.95**2 + 0.2**2) / 3)
    assert found["ece"] == pytest.approx((0.85 + 0.2) / 3)
    assert [(each["low"], each["n"], each["came_true"]) for each in found["bins"]] == [
        (0.2, 1, 0.0),
        (0.9, 2, 0.5),
    ]


def test_only_one_type_may_be_asked_for(counted: Deployment, sharpwave: Any) -> None:
    code, found = sharpwave("agents", "calibration", "ann", "--type", "HEDGE")

    assert (code, [each["decision_type"] for each in found]) == (0, ["HEDGE"])


@pytest.mark.parametrize(
    ("argv", "said"),
    [
        (["carl"], "no decision by carl is summed up"),
        (["ann", "--type", "OTHER"], "no decision of type OTHER by ann is summed up"),
    ],
)
def test_nothing_to_judge_is_said(
    counted: Deployment, sharpwave: Any, argv: list[str], said: str
) -> None:
    code, found = sharpwave("agents", "calibration", *argv)

    assert code == 1
    assert said in found["error"]


def test_people_see_a_table_of_what_was_said_and_what_came_true(
    counted: Deployment, capsys: pytest.CaptureFixture[str]
) -> None:
    at = ["--endpoint-url", str(counted.endpoint_url), "--prefix", counted.prefix]

    assert main(["agents", "calibration", "ann", *at]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].split() == ["TYPE", "OUTCOMES", "STATED", "BRIER", "ECE"]
    assert lines[2].split() == ["TRADE", "5", "3", "0.3175", "0.3500"]
    assert lines[-1].split() == ["TRADE", "0.9", "2", "0.925", "0.500"]
