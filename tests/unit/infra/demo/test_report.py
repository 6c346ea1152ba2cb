"""The report says what was found, and calls nothing a success that is not."""

import io
import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console

from sharpwave.infra.demo.books import Sample
from sharpwave.infra.demo.replay import Outcome, Progress
from sharpwave.infra.demo.report import Show, build, draw, is_ok, lines, to_text
from sharpwave.schemas.patterns import PatternRow


def stored(pattern_id: str, **figures: Any) -> PatternRow:
    return PatternRow(
        PK="pk",
        SK="sk",
        pattern_id=pattern_id,
        decision_type="TRADE_ENTRY",
        version=1,
        learned_at=0,
        effective_from=0,
        **figures,
    )


STANDING = stored(
    "pattern_buy_the_dip",
    sample_size=4,
    successes=3,
    success_rate=0.75,
    interval=[0.412345, 0.9],
    confidence=0.61234,
    base_rate=0.5,
)
UNTRIED = stored("pattern_whale_pump")
OUTCOME = Outcome(
    first_day="2018-01-02",
    last_day="2018-12-31",
    days=250,
    planned_days=250,
    seconds=50.0,
    records={"signals": 40, "decisions": 60},
    written=10,
    delivered=10,
    processed=10,
    lost=0,
    doubled=0,
    unresolved=3,
    promoted=7,
    latencies_ms=[float(value) for value in range(1, 101)],
    agent_calls=300,
    worker_calls=150,
    standings=[STANDING, UNTRIED],
    samples=[Sample("2018-01-02", UNTRIED), Sample("2018-06-01", STANDING)],
    disagreements=[],
    choices={
        "n": 60,
        "successes": 40,
        "always": {
            "nasdaq": {"n": 56, "rate": 0.7, "interval": [0.6, 0.8]},
            "sp500": {"n": 4, "rate": 0.25, "interval": None},
        },
        "other": {"n": 8, "successes": 6, "interval": [0.3, 0.97]},
    },
    acted=[],
)
ACT = {
    "agent": "trade-executor",
    "decision_type": "TRADE_ENTRY",
    "did": "left",
    "n": 4,
    "successes": 1,
    "other_n": 9,
    "other_successes": 5,
    "gain": None,
    "interval": None,
}
VERIFIED = {"ok": True, "patterns_checked": 2, "differences": []}


def text(report: dict[str, Any]) -> str:
    console = Console(file=io.StringIO(), width=160)
    console.print(to_text(report))
    return console.file.getvalue()  # type: ignore[attr-defined,no-any-return]


def test_the_report_is_plain_json_with_the_promised_figures() -> None:
    report = build(OUTCOME, VERIFIED, picture="/tmp/p.png")

    assert json.loads(json.dumps(report, allow_nan=False)) == report
    assert report["latency_ms"] == {"p50": 50.0, "p99": 99.0}
    assert (report["events"], report["events_per_s"]) == (100, 2.0)
    assert report["api_calls_per_event"] == 4.5
    assert report["verify"] == {"ok": True, "patterns_checked": 2, "differences": []}
    assert report["patterns"][0] == {
        "id": "pattern_buy_the_dip",
        "n": 4,
        "successes": 3,
        "rate": 0.75,
        "interval": [0.4123, 0.9],
        "base_rate": 0.5,
        "confidence": 0.6123,
        "state": "candidate",
        "avoid": False,
        "evidence": None,
        "evidence_n": None,
    }


def test_a_replay_of_nothing_has_no_rates_but_a_report() -> None:
    nothing = replace(OUTCOME, records={}, seconds=0.0, latencies_ms=[], samples=[])

    report = build(nothing, VERIFIED, picture=None)

    assert (report["events_per_s"], report["latency_ms"]["p50"]) == (None, None)
    assert "market days" in text(report)


@pytest.mark.parametrize(
    "flaw",
    [
        {"lost": 1},
        {"doubled": 1},
        {"delivered": 9},
        {"processed": 9},
        {"disagreements": ["x"]},
        {"days": 0},
    ],
)
def test_any_flaw_is_a_failure(flaw: dict[str, Any]) -> None:
    assert is_ok(OUTCOME, verified=True)
    assert not is_ok(replace(OUTCOME, **flaw), verified=True)


def test_a_recount_that_differs_is_a_failure_and_is_shown() -> None:
    differing = {"ok": False, "patterns_checked": 2, "differences": ["ledger x: 3 is 4"]}

    report = build(OUTCOME, differing, picture=None)

    assert report["ok"] is False
    assert "counts differ" in text(report)
    assert "ledger x: 3 is 4" in text(report)


def test_running_out_of_time_is_said_and_is_no_failure() -> None:
    report = build(replace(OUTCOME, days=90), VERIFIED, picture=None)

    assert report["ok"] is True
    assert "time was up after 90 of 250 days" in text(report)


def test_people_see_every_pattern_with_its_sample_size() -> None:
    shown = text(build(OUTCOME, VERIFIED, picture="/tmp/p.png"))

    assert "buy the dip" in shown
    assert "41.2% to 90.0%" in shown
    assert "every count agrees" in shown
    assert "picture: /tmp/p.png" in shown


def test_where_nothing_was_learnt_the_report_says_so() -> None:
    shown = text(build(OUTCOME, VERIFIED, picture=None))

    assert "learnt: nothing; no pattern has earned its confidence" in shown
    assert "not learnt: buy the dip (candidate), whale pump (candidate)" in shown
    assert "nothing was acted on, so that what acting is worth is unknown" in shown


def test_the_report_says_what_was_learnt_and_what_it_was_worth() -> None:
    proven = STANDING.model_copy(update={"state": "active", "evidence": 4.125, "evidence_n": 30})
    doubled = {**ACT, "did": "doubled", "n": 20, "gain": 0.125, "interval": [-0.2, 0.4]}

    found = replace(OUTCOME, standings=[proven, UNTRIED], acted=[ACT, doubled])
    shown = " ".join(text(build(found, VERIFIED, picture=None)).split())

    assert "learnt: buy the dip (active, evidence 4.12 of 30) not learnt: whale pump" in shown
    assert "trade-executor left 4 of its TRADE_ENTRY" in shown
    assert "worth: unknown, too few outcomes" in shown
    assert "worth: 12.5% (-20.0% to 40.0%)" in shown


def test_choices_are_judged_by_their_probabilities() -> None:
    shown = text(build(OUTCOME, VERIFIED, picture=None))

    assert "always nasdaq: 70.0% (60.0% to 80.0%) by inverse propensity" in shown
    assert "always sp500: unknown, too few outcomes" in shown
    assert "memory chose otherwise 8 times and was right 75.0% (30.0% to 97.0%) of them" in shown


def test_the_picture_has_a_point_where_there_was_a_confidence(tmp_path: Path) -> None:
    path = draw(OUTCOME.samples, tmp_path / "new" / "confidence.png")

    assert path.is_absolute()
    assert path.read_bytes().startswith(b"\x89PNG")
    assert list(lines(OUTCOME.samples)) == ["pattern_buy_the_dip"]


def test_a_picture_of_nothing_is_still_a_picture(tmp_path: Path) -> None:
    assert draw([], tmp_path / "empty.png").stat().st_size > 0


def test_a_line_begins_with_the_first_outcome() -> None:
    untried = stored("pattern_buy_the_dip", confidence=0.42)

    found = lines([Sample("2018-07-01", untried), Sample("2018-06-01", STANDING)])

    assert [day.isoformat() for day, _ in found["pattern_buy_the_dip"]] == ["2018-06-01"]


def test_of_one_day_the_latest_sample_is_drawn() -> None:
    again = STANDING.model_copy(update={"confidence": 0.9})

    found = lines([Sample("2018-06-01", STANDING), Sample("2018-06-01", again)])

    assert [value for _, value in found["pattern_buy_the_dip"]] == [0.9]


def test_live_counters_are_shown_on_a_terminal_only() -> None:
    progress = Progress(
        phase="replaying",
        day="2018-06-01",
        done_days=3,
        total_days=9,
        written=12,
        records={"signals": 4},
        standings=[STANDING, UNTRIED],
    )
    pipe = Console(file=io.StringIO(), force_terminal=False)
    terminal = Console(file=io.StringIO(), force_terminal=True, width=120)

    for console in (pipe, terminal):
        with Show(console) as show:
            show(progress)

    assert pipe.file.getvalue() == ""  # type: ignore[attr-defined]
    shown = terminal.file.getvalue()  # type: ignore[attr-defined]
    assert "replaying" in shown
    assert "2018-06-01" in shown
    assert "n=4" in shown


def test_the_price_by_the_million_is_shown_where_it_was_measured() -> None:
    report = build(OUTCOME, VERIFIED, picture=None)
    cost = {"per_million_signals": {"usd": 4.5}, "per_million_decisions": None}
    console = Console(file=io.StringIO(), width=120)

    console.print(to_text({**report, "cost": cost}))

    assert isinstance(console.file, io.StringIO)
    assert "$4.50 per million signals" in console.file.getvalue()
    assert "per million decisions" not in console.file.getvalue()
