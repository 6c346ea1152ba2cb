"""A definition is judged by the archive before it is imported: what it matches, what is wrong."""

import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest

from sharpwave.infra import cli
from sharpwave.infra.errors import Rejected
from sharpwave.infra.operate.judge import Judged, judge_definitions
from sharpwave.schemas.conditions import Conditions
from sharpwave.schemas.numbers import item_to_wire
from sharpwave.schemas.patterns import PatternDefinition
from sharpwave.workers.aws.archive import FolderArchive
from sharpwave.workers.patterns.policy import Policy
from sharpwave.workers.work.ports import Item
from tests.world.records import decision, outcome
from tests.world.stores import START


class Archived:
    """An archive of one part; `None` is a line that cannot be read."""

    def __init__(self, *states: Item | None) -> None:
        self.states = states

    def part_names(self) -> list[str]:
        return ["day=2025-10-18/part-1.jsonl.gz"]

    def read(self, name: str) -> Iterator[Mapping[str, Any]]:
        for state in self.states:
            if state is None:
                raise ValueError("not gzip")
            yield {"state": "insert", "image": item_to_wire(state)}


def judged(conditions: str | None, *states: Item | None, **more: Any) -> Judged:
    given = None if conditions is None else Conditions.read(conditions)
    named = {"pattern_id": "up", "agent_id": "ann", "decision_type": "TRADE", **more}
    definition = PatternDefinition.model_validate({**named, "conditions": given})
    (only,) = judge_definitions(Archived(*states), [definition], Policy())
    return only


def history(count: int = 100) -> list[Item]:
    """Make decisions of which one in two is `up`, and succeeds nine times in ten, else three."""
    made = []
    for number in range(count):
        is_up = number % 2 == 0
        success = number % 20 != 0 if is_up else number % 10 < 4
        item = decision(
            name=f"d{number}",
            at=START + number,
            context={"market": "up" if is_up else "down", "cycle": number},
        )
        made += [item, {**item, "outcome": outcome(success)}]
    return made


def test_it_says_what_a_definition_would_have_matched_and_how_that_ended() -> None:
    pending = decision(name="pending", context={"market": "up", "cycle": 1})
    other = decision("bob", name="other", context={"market": "up"}, outcome=outcome(False))

    found = judged("context.market = up", *history(), pending, other)

    assert (found.decisions, found.matched, found.support) == (101, 51, 51 / 101)
    assert (found.sample_size, found.days) == (50, 1)
    assert found.success_rate == pytest.approx(0.9)
    assert found.base_rate == pytest.approx(21 / 52)
    assert found.evidence > 3
    assert found.warnings == []


def test_evidence_counts_what_was_decided_in_one_cycle_once() -> None:
    alone = judged("context.market = up", *history())
    made = [
        {**item, "context": {**item["context"], "cycle": item["context"]["cycle"] // 10}}
        for item in history()
    ]

    together = judged("context.market = up", *made)

    assert (alone.units, together.units) == (50, 10)
    assert together.evidence < alone.evidence
    assert together.matched == alone.matched


def test_a_pattern_to_avoid_is_held_against_failures() -> None:
    up, down = (
        judged(f"context.market = {market}", *history(), kind="avoid") for market in ("up", "down")
    )

    assert up.evidence < 0 < down.evidence


def test_it_says_what_a_promotion_would_take_beside_evidence() -> None:
    found = judged("context.market = up", *history())

    assert found.evidence > found.asked > 0
    assert found.lacks == ["3 days with outcomes (it has 1)"]


def test_an_empty_archive_is_no_ground_to_judge() -> None:
    with pytest.raises(Rejected, match="nothing is archived there"):
        judged("context.market = up")


def test_a_definition_for_all_agents_is_held_against_all() -> None:
    other = decision("bob", name="other", context={"market": "up"})

    assert judged("context.market = up", *history(), other, agent_id=None).matched == 51


@pytest.mark.parametrize(
    ("conditions", "warning"),
    [
        ("inputs.whale_count >= 5", "no decision has inputs.whale_count; mind where agents"),
        ("context.markt = up", "mind where agents write it: is context.market meant?"),
        (
            "context.market = sideways",
            'never true, though 200 of 200 states have the path, with values such as "up", "down"',
        ),
        ('context.cycle >= "5"', "with values such as 0, 1, 2, 3, ..."),
        ("context.cycle >= 0", "true of every decision, so it tells none apart"),
        ("context.market = up and context.cycle in [1]", "never all of them for one"),
        (None, "no decision names it in reasoning.patterns_applied"),
    ],
)
def test_a_condition_that_does_nothing_is_told(conditions: str | None, warning: str) -> None:
    assert warning in judged(conditions, *history()).warnings[0]


def test_a_name_that_no_decision_has_is_told_first() -> None:
    found = judged("inputs.whale_count >= 5", *history(), decision_type="TRADE_ENTRY")

    assert "no TRADE_ENTRY of ann is archived" in found.warnings[0]
    assert "there is TRADE of ann" in found.warnings[0]
    assert (found.support, found.success_rate, found.evidence) == (None, None, 0)


def test_a_pattern_that_matches_nearly_all_has_nothing_to_be_compared_with() -> None:
    found = judged("context.cycle < 99", *history())

    assert any("matches 99 of 100" in warning for warning in found.warnings)


def test_what_only_decisions_with_their_outcome_have_may_come_from_it() -> None:
    late = [
        decision(name=f"l{number}", context={"profit": number}, outcome=outcome(True))
        for number in range(60)
    ]

    found = judged("context.profit >= 0", *history(), *late)

    assert any("(leakage)" in warning and "context.profit" in warning for warning in found.warnings)
    assert any("60 of 60 outcomes are successes" in warning for warning in found.warnings)


def test_an_archive_that_cannot_be_read_is_no_ground_to_judge() -> None:
    with pytest.raises(Rejected, match=r"part-1.*not gzip"):
        judged("context.market = up", *history(), None)


@pytest.mark.parametrize(("market", "code"), [("up", 0), ("sideways", 1)])
def test_the_command_judges_a_file_by_an_archive_and_fails_if_it_warns(
    market: str, code: int, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file, folder = tmp_path / "patterns.json", tmp_path / "archive"
    named = {"pattern_id": "up", "agent_id": "ann", "decision_type": "TRADE"}
    file.write_text(json.dumps({**named, "conditions": f"context.market = {market}"}))
    lines = [json.dumps({"state": "insert", "image": item_to_wire(state)}) for state in history()]
    FolderArchive(folder).write("2025-10-18", lines)
    argv = ["patterns", "check", str(file), "--archive", f"file://{folder}"]

    assert cli.main([*argv, "--endpoint-url", "http://127.0.0.1:9"]) == code
    words = capsys.readouterr().out
    assert cli.main([*argv, "--endpoint-url", "http://127.0.0.1:9", "--json"]) == code
    (told,) = json.loads(capsys.readouterr().out)["patterns"]

    assert (told["decisions"], told["matched"]) == (100, 50 if market == "up" else 0)
    assert ("never true" in words) == bool(told["warnings"]) == (code == 1)
