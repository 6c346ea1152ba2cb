"""Decisions are counted exactly, whatever happens to their outcomes, and the archive agrees."""

from __future__ import annotations

import json
import random
from decimal import Decimal
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from sharpwave.infra.operate.verify import verify
from sharpwave.schemas import keys
from sharpwave.schemas.tables import DECISIONS, MEMORY
from sharpwave.workers.aws.archive import open_archive

if TYPE_CHECKING:
    from tests.integration.conftest import World

KIND = "SOURCE_SELECTION"
#: All the digits that DynamoDB keeps.
SCORE = Decimal("0.12345678901234567890123456789012345678")


def test_outcomes_are_counted_by_their_last_revision(world: World, schema: Any) -> None:
    hunter = world.agent("hunter")
    won, lost, open_ = (world.decision(hunter) for _ in range(3))
    world.outcome(won, success=True, quality_score=Decimal("0.75"))
    world.outcome(lost, success=True)
    world.counted(hunter, n=2, s=2, pending=1)

    world.outcome(lost, success=False, rev=3)
    world.counted(hunter, n=2, s=1, pending=1)
    assert (world.counts(hunter).q_sum, world.counts(hunter).q_n) == (7500, 1)

    world.outcome(won, success=False, rev=1)
    world.outcome(lost, success=True, rev=2)
    notice, *_ = world.receive(hunter)
    assert (notice["kind"], notice["code"]) == ("notice", "outcome_rev")
    assert "raise it by one" in notice["reasons"][0]["message"]
    for decision in (won, lost):
        world.eventually(partial(world.parked, DECISIONS, decision), "it is parked")
    assert not world.parked(DECISIONS, open_)
    world.counted(hunter, n=2, s=1, pending=1)
    agrees(world)


def test_states_in_any_order_and_number_count_once(world: World, raw: Any) -> None:
    hunter = world.agent("hunter")
    order = random.Random(7)
    records = []
    for number in range(30):
        first = raw["decision"](hunter, context={"cycle": number})
        states = [first, {**first, "outcome": {"success": True}}]
        if number % 3 == 0:
            states.append({**states[1], "outcome": {"success": False}, "outcome_rev": 2})
        olds = [None, *states]
        records += [raw["record"](new, old=old) for new, old in zip(states, olds, strict=False)]
    for record in records:
        record["dynamodb"].pop("SequenceNumber")

    shuffled = [record for record in records for _ in range(order.randint(1, 3))]
    order.shuffle(shuffled)
    while shuffled:
        size = order.randint(1, 20)
        world.feed(DECISIONS, shuffled[:size])
        del shuffled[:size]

    world.counted(hunter, n=30, s=20)
    agrees(world)


def test_an_imported_pattern_gets_figures_that_a_recount_confirms(
    world: World, tmp_path: Path
) -> None:
    hunter, reader = world.agent("hunter"), world.agent("reader")
    pattern = f"bullish-{world.tag}"
    definition = {
        "pattern_id": pattern,
        "agent_id": hunter,
        "decision_type": KIND,
        "conditions": [{"path": "context.trend", "op": "eq", "value": "bullish"}],
        "shared_with": [reader],
    }
    file = tmp_path / "pattern.json"
    file.write_text(json.dumps(definition))
    code, answer = world.sharpwave("patterns", "import", str(file))
    assert code == 0
    start = answer["patterns"][0]["effective_from"]

    before = world.decision(hunter, at=start - 1, context={"trend": "bullish"})
    world.outcome(before, success=True)
    for number in range(12):
        trend = "bullish" if number < 8 else "bearish"
        decision = world.decision(hunter, at=start + 1, context={"trend": trend})
        world.outcome(decision, success=number in (0, 1, 2, 3, 4, 5, 8))

    own = keys.Key(keys.pattern_pk(hunter), pattern)
    copy = keys.shared_pattern_copy(reader, hunter, pattern)
    world.eventually(
        lambda: all(figures(world, key) == (8, 6) for key in (own, copy)), "the figures are out"
    )
    row = world.items.get(MEMORY, own) or {}
    assert (row["success_rate"], row["unresolved"]) == (Decimal("0.75"), 0)
    assert row["interval"][0] < Decimal("0.75") < row["interval"][1]
    assert row["confidence"] > Decimal("0.5")
    with world.sdk(reader) as agent:
        assert [found.pattern_id for found in agent.patterns()] == [pattern]
    agrees(world)


def test_the_archive_holds_every_state_as_it_was(world: World) -> None:
    hunter = world.agent("hunter")
    decision = world.decision(hunter, context={"score": SCORE})
    world.counted(hunter, n=0, s=0, pending=1)
    world.outcome(decision, success=True)
    world.counted(hunter, n=1, s=1)
    world.outcome(decision, success=False, rev=2)
    world.counted(hunter, n=1, s=0)
    world.outcome(decision, success=True, rev=2)

    def states() -> list[dict[str, Any]]:
        archive = open_archive(world.stack.archive)
        lines = [line for name in archive.part_names() for line in archive.read(name)]
        return [line for line in lines if (line["PK"], line["SK"]) == decision]

    found = world.eventually(lambda: len(states()) == 4 and states(), "all four are archived")
    assert isinstance(found, list)
    by_state = {line["state"]: line for line in found}
    assert set(by_state) == {"insert", "resolution", "revision", "refusal"}
    assert "outcome" not in by_state["insert"]["image"]
    assert by_state["resolution"]["image"]["outcome"] == {"M": {"success": {"BOOL": True}}}
    assert by_state["revision"]["image"]["context"] == {"M": {"score": {"N": str(SCORE)}}}
    assert [fault["code"] for fault in by_state["refusal"]["faults"]] == ["outcome_rev"]
    assert len({line["event_id"] for line in found}) == 4


def figures(world: World, key: keys.Key) -> tuple[int, int]:
    row = world.items.get(MEMORY, key) or {}
    return row.get("sample_size", 0), row.get("successes", 0)


def agrees(world: World) -> None:
    """Hold every ledger of the system against a recount of its archive."""
    found = verify(world.deployment, world.stack.archive)
    assert found.ok, found
    assert found.ledgers_checked > 0
