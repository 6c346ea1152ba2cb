"""What a run does follows from its seed, and a history outlives the process that writes it."""

import os
import subprocess
import sys
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

from sharpwave.infra.errors import Misused
from sharpwave.schemas import keys
from sharpwave.schemas.records import DecisionRecord, SignalRecord
from sharpwave.workers.patterns.ledger import DecisionState, Element, element_of
from sharpwave.workers.work.ports import Location
from tests.chaos import controls, drafts, proxy, report
from tests.chaos.__main__ import main
from tests.chaos.checker import Violation
from tests.chaos.history import History, read
from tests.chaos.plan import (
    DRAWS,
    FULL,
    NEAR_S,
    PIPELINE_SERVICES,
    QUICK,
    Scale,
    agent_clocks,
    make_plan,
    worker_clocks,
)
from tests.chaos.run import Trial
from tests.chaos.stack import SKEW_S
from tests.world import records

BLOWS = {"kill", "freeze", "outage", "rewind", "twin", "reconcile", "trim"}


def a_report(**changed: Any) -> Trial:
    values: dict[str, Any] = {
        "plan": make_plan(5, QUICK),
        "control": None,
        "backend": "embedded",
        "struck": {"kill": 9, "rewind": 1, "freeze": 2},
        "suicides": 3,
        "signals": 10,
        "deliveries": 20,
        "handed": 21,
        "absorbed": 4,
        "calls": 1000,
        "faults": {"reset": 7},
        "seconds": 12.5,
        "settling_s": 3.0,
        "results": dict.fromkeys(report.RESULTS, 20),
        "latency_ms": (120, 4500),
    }
    return Trial(**{**values, **changed})


def test_the_same_seed_gives_the_same_plan() -> None:
    assert make_plan(7, FULL) == make_plan(7, FULL)
    assert make_plan(7, FULL) != make_plan(8, FULL)


@pytest.mark.parametrize("scale", [QUICK, FULL, Scale(signals=9, kills=1, seconds=3.0)])
def test_a_plan_has_its_kills_and_every_other_kind_of_strike_in_order_of_time(scale: Scale) -> None:
    plan = make_plan(1, scale)

    kinds = plan.schedule()
    assert (kinds["kill"], kinds["freeze"]) == (scale.kills, scale.freezes)
    of_crowds = {"refuse", "cut", "gap"} if scale.crowd else set()
    assert set(kinds) - of_crowds == BLOWS
    assert of_crowds <= set(kinds)
    times = [strike.at for strike in plan.strikes]
    assert times == sorted(times)
    assert 0 < times[0] < times[-1] < 1


def test_what_is_not_wished_for_does_not_happen() -> None:
    assert set(make_plan(1, FULL, draws=frozenset({"cut"})).schedule()) == {*BLOWS, "cut"}


def test_clocks_are_wrong_by_the_seed_and_one_as_fast_as_may_be() -> None:
    offsets = agent_clocks(make_plan(3, FULL))

    assert offsets == agent_clocks(make_plan(3, FULL))
    assert max(offsets.values()) == FULL.ahead_s
    assert sum(each > NEAR_S for each in offsets.values()) == 1
    assert not any(agent_clocks(make_plan(3, FULL, draws=frozenset())).values())


def test_workers_clocks_differ_by_less_than_workers_are_told() -> None:
    drawn = [worker_clocks(make_plan(seed, FULL), PIPELINE_SERVICES) for seed in range(20)]

    worst = max(max(each.values()) - min(each.values()) for each in drawn)
    assert 0 < worst < SKEW_S


def test_a_content_is_known_by_its_token_whatever_the_order_of_its_keys() -> None:
    assert drafts.token({"a": 1, "b": Decimal(2)}) == drafts.token({"b": 2, "a": Decimal(1)})
    assert drafts.token({"a": 1}) != drafts.token({"a": 2})


def test_every_record_that_tests_build_is_valid() -> None:
    moment = 1_800_000_000.25
    signal = records.signal("scout", to=["keeper"], at=moment, data={"n": 1}, ttl=1_800_000_060)

    assert SignalRecord.model_validate(signal).expires_at == 1_800_000_060
    decision = records.decision(at=moment, outcome=records.outcome(True, 0.5))
    assert DecisionRecord.model_validate(decision).timestamp == 1_800_000_000


def test_a_queue_may_refuse_or_seem_missing_for_a_while() -> None:
    for is_missing in (True, False):
        (rule,) = proxy.refusal("chaos-inbox-plain-001", 4.0, is_missing=is_missing)

        assert (rule["service"], rule["ttl_s"]) == ("sqs", 4.0)
        assert rule["resource"] == "chaos-inbox-plain-001"
        assert ("NotExist" in rule["error"]["code"]) is is_missing


def test_a_frozen_process_sleeps_longer_than_its_messages_stay_hidden() -> None:
    for strike in make_plan(3, FULL).strikes:
        assert strike.kind != "freeze" or strike.seconds > FULL.visibility_s


def test_without_repeats_no_record_is_fed_again() -> None:
    kinds = make_plan(1, FULL, repeats=False).schedule()

    assert set(kinds) == {"kill", "freeze", "outage", "refuse", "cut"}


def test_worse_weather_breaks_more_calls() -> None:
    calm, rough = proxy.rules(0.5), proxy.rules(2.0)

    assert all(a["probability"] < b["probability"] for a, b in zip(calm, rough, strict=True))


def test_the_proxy_s_statistics_are_summed_by_kind_of_fault() -> None:
    told = [("latency:231ms", 2), ("latency:77ms", 1), ("error:InternalServerError", 3)]
    told += [("reset", 4), ("response:abort", 5)]
    stats = {"by_rule": [{"describe": what, "fired": count} for what, count in told]}

    assert proxy.fired(stats) == {
        "late reply": 3,
        "InternalServerError": 3,
        "reset": 4,
        "lost reply": 5,
    }


def test_a_history_outlives_the_process_that_writes_it(tmp_path: Path) -> None:
    program = (
        "import os, signal, sys\nfrom pathlib import Path\n"
        "from tests.chaos.history import History\n"
        "history = History(Path(sys.argv[1]), 'a')\n"
        "history.note('trader', 'handed', delivery='d1')\n"
        "os.kill(os.getpid(), signal.SIGKILL)\n"
    )

    done = subprocess.run([sys.executable, "-c", program, str(tmp_path)], check=False)

    assert done.returncode == -9
    assert [(event.agent, event.what) for event in read(tmp_path)] == [("trader", "handed")]


def test_a_torn_last_line_is_left_out(tmp_path: Path) -> None:
    with History(tmp_path, "a") as history:
        history.note("trader", "handed", delivery="d1")
        os.write(history._file, b'[1.0,"trader","set')

    assert len(read(tmp_path)) == 1


class Table:
    """Answers `list_append` as DynamoDB does."""

    def __init__(self) -> None:
        self.cells: list[Any] = []

    def update_item(self, **request: Any) -> dict[str, Any]:
        self.cells += request["ExpressionAttributeValues"][":elements"]["L"]
        return {"Attributes": {"e": {"L": list(self.cells)}, "v": {"N": "1"}}}


def test_the_list_that_replaces_the_ledger_is_exact_until_a_decision_comes_twice() -> None:
    state = DecisionState(
        pk="p", sk="s", agent_id="a", cycle=None, day="2027-01-15", content=b"abc", outcome=True,
        quality=None, outcome_rev=1, applied=False,
    )  # fmt: skip
    element, place = element_of(state).encode(), Location("pipeline", keys.Key("l", "s"))
    ledger = controls.Repeats(Table())

    _, once = ledger.add(place, [element], below=9, is_open=True)
    _, twice = ledger.add(place, [element], below=9, is_open=True)

    assert once.elements == {element}
    assert len(twice.elements) == 2
    assert len({Element.decode(each).decision for each in twice.elements}) == 2


def test_a_run_is_right_without_violations_and_a_control_with_those_expected() -> None:
    lost = [Violation("delivery lost", "d1")]

    assert a_report().ok
    assert not a_report(violations=lost).ok
    assert a_report(control="ack-first", violations=lost).ok
    assert not a_report(control="ack-first").ok
    assert not a_report(control="no-marks", violations=lost).ok


def test_a_report_counts_every_killed_process() -> None:
    assert a_report().kills == 9 + 1 + 3
    assert a_report(struck={"kill": 1, "gap": 1, "freeze": 2}).blows == 4 + 3


def test_figures_stand_between_the_marks_of_the_document(tmp_path: Path) -> None:
    page = tmp_path / "page.md"
    page.write_text(f"before\n{report.BEGIN}\nold\n{report.END}\nafter\n")

    report.write_docs(page, [a_report()])
    report.write_docs(page, [a_report(), a_report(control="no-marks")])

    text = page.read_text()
    assert text.startswith("before\n")
    assert text.endswith("after\n")
    assert "old" not in text
    assert f"| seed 5 | 10 |{' 20 |' * 8} 4 | 13 | 2 |" in text
    assert text.count("| control: no-marks |") == 1


def test_a_document_without_marks_is_refused(tmp_path: Path) -> None:
    page = tmp_path / "page.md"
    page.write_text("nothing")

    with pytest.raises(Misused, match="put them back"):
        report.write_docs(page, [a_report()])


def test_what_may_go_wrong_is_listed_and_chosen_by_name(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--draws"]) == 0
    assert set(capsys.readouterr().out.split()) == DRAWS

    assert main(["--only", "clocks,weather"]) == 2
    assert "'weather' is no draw" in capsys.readouterr().err


def test_an_audience_has_a_bound(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--crowd", "5000"]) == 2
    assert "--crowd 5000 makes no sense" in capsys.readouterr().err
