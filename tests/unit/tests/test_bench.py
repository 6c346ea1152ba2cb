"""What a benchmark run makes of its measurements; the measurements are its own affair."""

from collections.abc import Iterator, Sequence
from importlib import import_module
from pathlib import Path
from typing import Any

import pytest

from sharpwave.infra.errors import Misused
from sharpwave.workers.aws.writes import statement
from sharpwave.workers.work.ports import Insert, Update, Write
from tests.bench import budgets, caching, lives, pace, running
from tests.bench.figures import Watch, latency_figures, median_of_runs, quantile, ratio
from tests.bench.pace import Pace
from tests.bench.peers import Peer
from tests.bench.rendering import BEGIN, END, to_markdown, write_into
from tests.bench.results import OURS, Report, Row, summed
from tests.bench.running import Wishes, run
from tests.bench.stub_store import Tables


def report(rows: Sequence[Row], **more: Any) -> Report:
    about = dict.fromkeys(("date", "processor", "cores", "memory_gb", "system", "python"), "x")
    about |= dict.fromkeys(("botocore", "dramatiq", "load"), "x")
    machine = {**about, "was_quiet": False}
    return Report(machine=machine, quick=True, took_s=1.0, rows=rows, verdicts=(), **more)


def test_a_quantile_is_the_least_value_that_the_share_does_not_exceed() -> None:
    values = [float(number) for number in range(1, 101)]

    assert [quantile(values, share) for share in (0.5, 0.99, 1.0)] == [50.0, 99.0, 100.0]
    assert quantile([], 0.5) is None
    assert latency_figures([0.002])["p99_ms"] == 2.0


def test_runs_are_summed_up_as_medians_and_their_losses_added() -> None:
    runs: list[dict[str, Any]] = [
        {"x": 1.0, "lost": 1},
        {"x": 9.0, "lost": 2},
        {"x": 2.0, "y": None, "doubled": 1},
    ]

    row = summed("part", "case", OURS, runs)

    assert row.figures == {"x": 2.0, "y": None}
    assert (row.runs, row.lost, row.doubled) == (3, 3, 1)


def test_a_rate_is_judged_as_measured_and_its_pace_decides_nothing() -> None:
    rates = {"signal, from bytes": 190_000.0, "outcome, from bytes": 60_000.0}
    rates["outcome, parsed"] = 40_000.0
    rows = [
        Row(part="router", case=case, who=OURS, figures={"records_per_s": rate})
        for case, rate in rates.items()
    ]
    stock = Row(part="router", case="state", who="stock", figures={"records_per_s": 9.0})
    slow = Row(
        part="router",
        case=pace.CASE,
        who=pace.WHO,
        figures={"us_per_call": 2 * pace.BUDGETED_US},
    )

    verdicts = budgets.judge([*rows, stock, slow], ["router"])

    assert [(each.measured, each.met, each.at_pace) for each in verdicts] == [
        (60_000.0, False, 120_000.0),
        (190_000.0, False, 380_000.0),
    ]


def test_the_pace_is_what_boto3_costs_with_nothing_sent() -> None:
    measured = Pace()
    for _ in range(3):
        measured.sample()

    row = measured.row("router")

    assert row.runs == 3
    assert 10 < (row.figures["us_per_call"] or 0) < 100_000


def test_a_watch_gives_rate_and_cost_of_the_middle() -> None:
    watch = Watch(iter((0, 100)).__next__, spent=lambda: 1.0, every_s=0.0)

    assert (watch.rate(100), watch.cost(100)) == (None, None)
    assert watch.until(100, quiet_s=30.0) == 100
    watch.seen = [(0.0, 0, 5.0), (10.0, 10, 6.0), (11.0, 50, 8.0), (12.0, 100, 99.0)]
    assert (watch.rate(100), watch.cost(100)) == (40.0, 0.05)


def test_the_stub_decides_statements_as_a_table_does() -> None:
    table = Tables()
    execute = table.actions["BatchExecuteStatement"]
    row = Insert("agent_signals", {"PK": "p", "SK": "s", "status": "PENDING"})
    change = Update(row.location, {"status": "DONE"}, equals={"status": "PENDING"})

    writes: list[Write] = [change, row, row, change, change]
    answers = [execute({"Statements": [statement(each, "")]})["Responses"] for each in writes]

    codes = [answer.get("Error", {}).get("Code") for (answer,) in answers]
    refused = "ConditionalCheckFailed"
    assert codes == [refused, None, "DuplicateItem", None, refused]
    keys = {"Keys": [{"PK": {"S": "p"}, "SK": {"S": "s"}}, {"PK": {"S": "p"}, "SK": {"S": "t"}}]}
    found = table.actions["BatchGetItem"]({"RequestItems": {"agent_signals": keys}})["Responses"]
    assert [item["status"] for item in found["agent_signals"]] == [{"S": "DONE"}]


def test_what_was_not_measured_divides_into_nothing() -> None:
    assert (ratio(4.0, 2.0), ratio(None, 2.0), ratio(4.0, 0.0)) == (2.0, None, None)
    assert median_of_runs([]) == {}


@pytest.mark.parametrize(
    ("ours", "met", "text"), [(200.0, True, "met"), (90.0, False, "missed by 10%")]
)
def test_a_budget_is_a_multiple_of_a_peer_in_the_same_case(
    ours: float, met: bool, text: str
) -> None:
    rows = [
        Row(part="broker-memory", case="8 x no-op", who=OURS, figures={"msg_per_s": ours}),
        Row(
            part="broker-memory",
            case="8 x no-op",
            who="dramatiq-sqs 9",
            figures={"msg_per_s": 10.0},
        ),
    ]

    verdict = budgets.judge(rows, ["broker"])[0]

    assert (verdict.measured, verdict.met, verdict.text) == (ours / 10, met, text)


def test_a_budget_without_its_figures_is_neither_met_nor_missed() -> None:
    verdicts = budgets.judge([], ["router"])

    assert {(each.met, each.text) for each in verdicts} == {(None, "not measured")}


@pytest.mark.parametrize(("years", "met"), [(40.0, None), (100.0, False)])
def test_a_few_years_neither_meet_nor_miss_a_rate_of_one_in_a_hundred(
    years: float, met: bool | None
) -> None:
    seen = {"years": years, "doubted_per_100_years": 2.5}
    row = Row(part=lives.DOUBTED, case=lives.KEPT_CASE, who=OURS, figures=seen)

    assert budgets.judge([row], ["lives"])[0].met is met


def test_a_peer_that_cannot_be_started_is_said_before_anything_is_measured(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    absent, present = Peer("bench-absent", "3.1"), Peer("bench-present")
    # Its environment, as if it had been made before.
    vars(present)["interpreter"] = Path(__file__)
    said: list[str] = []

    def part(quick: bool, tell: Any) -> Iterator[Row]:
        tell("measuring")
        yield Row(part="broker", case="c", who=OURS)

    monkeypatch.setattr(running, "PARTS", {"broker": part, "router": part})
    monkeypatch.setattr(running, "PEERS", {"broker": (absent, present)})
    run(Wishes(), said.append)

    assert said[1:] == ["measuring", "measuring"]
    assert "needs python3.1, and none was found on the PATH" in said[0]
    assert said[0].endswith("; broker will be measured without it")


@pytest.mark.parametrize("part", ["broker", "e2e", "pipeline", "promotion", "statistics"])
def test_every_part_names_the_peers_it_starts(part: str) -> None:
    names = {"e2e": "flows", "broker": "brokers"}
    module = import_module(f"tests.bench.{names.get(part, part)}")
    started = [each for each in vars(module).values() if isinstance(each, Peer)]

    assert set(running.PEERS[part]) == set(started)


def test_losing_a_message_of_ours_fails_the_run_and_a_peers_does_not() -> None:
    mine, theirs = (Row(part="e2e", case="c", who=who, lost=1) for who in (OURS, "other"))

    assert not report([mine]).ok
    assert report([theirs]).ok


def test_a_part_that_breaks_off_keeps_its_rows_and_stops_no_other(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def breaking(quick: bool, tell: running.Tell) -> Iterator[Row]:
        yield Row(part="one", case="c", who=OURS)
        raise RuntimeError("no more")

    def whole(quick: bool, tell: running.Tell) -> Iterator[Row]:
        yield Row(part="two", case="c", who=OURS)

    monkeypatch.setattr(running, "PARTS", {"one": breaking, "two": whole})

    found = run(Wishes())

    assert [row.part for row in found.rows] == ["one", "two"]
    assert [(each.part, each.error) for each in found.failures] == [
        ("one", "RuntimeError: no more")
    ]
    assert not found.ok


def test_an_unknown_part_is_named_with_those_there_are() -> None:
    with pytest.raises(Misused, match="no benchmark 'rooter'; choose among: router, function"):
        run(Wishes(["rooter"]))


def test_a_table_names_a_case_once_and_says_why_a_figure_is_missing() -> None:
    rows = [
        Row(part="router", case="signal", who=OURS, figures={"records_per_s": 51234.0}),
        Row(part="router", case="signal", who="other", note="it needs python3.12"),
    ]

    text = to_markdown(report(rows))

    assert "| signal | sharpwave  | 51,234    |" in text
    assert "|        | other      |           | it needs python3.12 |" in text
    assert "other work disturbed these figures" in text


def test_a_report_replaces_what_lies_between_the_marks(tmp_path: Path) -> None:
    document = tmp_path / "doc.md"
    document.write_text(f"before\n{BEGIN}\nold\n{END}\nafter\n")

    write_into(document, report([Row(part="router", case="signal", who=OURS)]))

    text = document.read_text()
    assert text.startswith("before\n")
    assert text.endswith(f"{END}\nafter\n")
    assert "### Router" in text
    assert "old" not in text


def test_a_document_without_marks_is_left_alone(tmp_path: Path) -> None:
    document = tmp_path / "doc.md"
    document.write_text("mine\n")

    with pytest.raises(Misused, match="lacks the lines"):
        write_into(document, report([]))

    assert document.read_text() == "mine\n"


def test_a_cache_is_worth_its_nodes_from_some_rate_of_reads_on() -> None:
    one, three = (row.figures for row in caching.break_even(0.5))

    for figures in (one, three):
        here, best = (figures[f"{name}_reads_per_s"] for name in ("at_this_hit_rate", "if_all_hit"))
        assert here == pytest.approx(2 * (best or 0))
    # Half a unit a read at $0.125 a million, against $0.04 an hour.
    assert one["if_all_hit_reads_per_s"] == pytest.approx(0.04 / 3600 / 0.0625e-6)
    assert three["nodes_usd_an_hour"] == pytest.approx(0.12)
