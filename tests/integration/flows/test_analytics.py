"""What ops are told of agents and signals is exact, and the archive says the same."""

from __future__ import annotations

import csv
import time
from decimal import Decimal
from typing import TYPE_CHECKING, Any

import duckdb

from sharpwave.infra.operate.verify import verify

if TYPE_CHECKING:
    from pathlib import Path

    from tests.integration.conftest import World

KIND = "SOURCE_SELECTION"


def test_decisions_are_told_by_agent_type_and_day_as_the_archive_has_them(
    world: World, tmp_path: Path
) -> None:
    hunter, risk = world.agent("hunter"), world.agent("risk")
    won, lost, _ = (world.decision(hunter) for _ in range(3))
    world.decision(hunter, event_time="2008-10-10", outcome={"success": True})
    world.decision(risk, outcome={"success": False})
    world.outcome(won, success=True, quality_score=Decimal("0.75"))
    world.outcome(lost, success=True)
    world.outcome(lost, success=False, rev=2)
    world.counted(hunter, n=3, s=2, pending=1)
    world.counted(risk, n=1, s=0)
    assert verify(world.deployment, world.stack.archive).ok

    def told(*more: str) -> list[dict[str, Any]]:
        code, rows = world.sharpwave("analytics", "--agent", hunter, *more)
        assert code == 0
        return list(rows)

    of_one = {"agent": hunter, "type": KIND, "pattern": ""}
    then, today = told()
    assert then == {
        **of_one,
        **{"day": "2008-10-10", "decisions": 1, "resolved": 1, "successes": 1, "pending": 0},
        **{"rate": 1.0, "quality": None},
    }
    figures = {"decisions": 3, "resolved": 2, "successes": 1, "pending": 1}
    assert today == {**of_one, "day": today["day"], **figures, "rate": 0.5, "quality": 0.75}
    assert told("--recount", "--archive", world.stack.archive) == [then, today]
    assert told("--since", "2008-10-11") == [today]
    assert told("--until", "2008-10-10") == [then]
    [whole] = told("--by", "agent")
    assert (whole["decisions"], whole["successes"], whole["day"], whole["type"]) == (4, 2, "", "")
    assert world.sharpwave("analytics", "--by", "planet")[0] == 2
    assert world.sharpwave("analytics", "--since", "yesterday")[0] == 2

    told("--out", str(tmp_path / "days.csv"))
    told("--out", str(tmp_path / "days.parquet"))
    with (tmp_path / "days.csv").open() as file:
        assert [row["successes"] for row in csv.DictReader(file)] == ["1", "1"]
    read = f"SELECT day, successes, rate FROM '{tmp_path}/days.parquet' ORDER BY day"
    with duckdb.connect() as engine:
        assert engine.execute(read).fetchall() == [("2008-10-10", 1, 1.0), (today["day"], 1, 0.5)]
    assert world.sharpwave("analytics", "--out", "days.xlsx")[0] == 2


def test_signals_are_told_by_how_they_ended_and_when(world: World) -> None:
    hunter, risk = world.agent("hunter"), world.agent("risk")
    sent = [world.signal(hunter, [risk], at=time.time() - 30) for _ in range(4)]
    for signal in sent:
        world.becomes(signal, risk="DELIVERED")
    now = int(time.time())
    world.acknowledge(risk, sent[0], processed_at=now - 20)
    world.acknowledge(risk, sent[1], processed_at=now - 10)
    world.acknowledge(risk, sent[2], "FAILED", processed_at=now)
    for signal, status in zip(sent, ("PROCESSED", "PROCESSED", "FAILED"), strict=False):
        world.becomes(signal, risk=status)

    code, [told] = world.sharpwave("analytics", "--deliveries", "--agent", risk)

    assert code == 0
    assert (told["agent"], told["source"], told["type"]) == (risk, hunter, "WHALE_ACTIVITY")
    assert [told[name] for name in ("signals", "processed", "failed", "expired", "open")] == [
        *(4, 2, 1, 0, 1)
    ]
    assert 9 <= told["p50_s"] - 10 <= 12
    assert told["p50_s"] < told["p95_s"] == told["slowest_s"] <= 33
