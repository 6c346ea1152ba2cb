"""`schema check` gives the pipeline's own verdict on a record before it is written."""

import json
import time
from pathlib import Path
from typing import Any

import pytest

from sharpwave.infra.cli import main
from sharpwave.infra.errors import Misused
from sharpwave.infra.operate.record_check import faults_of, read_record
from sharpwave.schemas import export
from sharpwave.schemas.numbers import item_to_wire
from sharpwave.schemas.times import iso_ms
from tests.world.records import decision


@pytest.fixture
def signal() -> dict[str, Any]:
    now = time.time()
    iso = iso_ms(now)
    return {
        "PK": "signal#WHALE#market-hunter",
        "SK": f"{iso}#sig_1",
        "signal_id": "sig_1",
        "signal_type": "WHALE",
        "source_agent": "market-hunter",
        "target_agents": ["risk-manager"],
        "timestamp": int(now),
        "iso_timestamp": iso,
    }


def check(path: Path, table: str = "agent_signals") -> int:
    return main(["schema", "check", table, str(path)])


def test_a_good_record_passes_plain_and_typed(signal: dict[str, Any], tmp_path: Path) -> None:
    plain, typed = tmp_path / "plain.json", tmp_path / "typed.json"
    plain.write_text(json.dumps(signal))
    typed.write_text(json.dumps(item_to_wire(signal)))

    assert check(plain) == 0
    assert check(typed) == 0


def test_each_fault_is_named_with_its_code(
    signal: dict[str, Any], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "record.json"
    path.write_text(json.dumps({**signal, "confidence": 2, "target_agents": []}))

    code = main(["schema", "check", "agent_signals", str(path), "--json"])

    answer = json.loads(capsys.readouterr().out)
    assert code == 1
    assert {fault["where"] for fault in answer["faults"]} == {"confidence", "target_agents"}


@pytest.mark.parametrize(
    ("change", "code"),
    [
        ({"timestamp": 9_999_999_999}, "inconsistent"),
        ({"ttl": 1}, "expired_ttl"),
        ({"ttl": 9_999_999_999}, "distant_ttl"),
        ({"PK": "shared#signal#WHALE"}, "unknown_key"),
        ({"PK": 7}, "missing"),
        ({"PK": "agent:risk-manager#inbox"}, "row"),
        ({"data": {"x": "y" * 140_000}}, "too_large"),
        ({"data": {"n": float("nan")}}, "unstorable_value"),
    ],
)
def test_rules_beyond_json_schema_are_tested(
    signal: dict[str, Any], change: dict[str, Any], code: str
) -> None:
    faults = faults_of("agent_signals", {**signal, **change})

    assert [fault.code for fault in faults] == [code]


def test_deep_nesting_is_a_fault(signal: dict[str, Any]) -> None:
    nested: dict[str, Any] = {}
    for _ in range(20):
        nested = {"x": nested}

    assert [f.code for f in faults_of("agent_signals", {**signal, "data": nested})] == ["too_deep"]


def test_a_table_that_takes_no_records_is_misuse(signal: dict[str, Any]) -> None:
    with pytest.raises(Misused, match="takes no records; there are agent_decisions"):
        faults_of("pipeline", signal)


@pytest.mark.parametrize("text", ["", "[1]", "{", '{"PK": {"X": "y"}}'])
def test_what_is_no_record_is_misuse(text: str) -> None:
    with pytest.raises(Misused):
        read_record(text)


def test_export_writes_every_schema_once(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "json"

    assert main(["schema", "export", "--out", str(out), "--dry-run"]) == 0
    assert not out.exists()
    assert main(["schema", "export", "--out", str(out)]) == 0
    assert {path.name for path in out.iterdir()} == set(export.documents())
    capsys.readouterr()
    assert main(["schema", "export", "--out", str(out)]) == 0
    assert capsys.readouterr().out == "nothing to do\n"


def test_export_without_a_folder_prints_all(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["schema", "export", "--json"]) == 0

    assert set(json.loads(capsys.readouterr().out)) == set(export.NAMES)


def test_the_deployments_bound_of_event_time_is_applied(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    tomorrow = time.time() + 2 * 86_400
    item = decision(at=time.time() - 1, kind="FORECAST", event_time=iso_ms(tomorrow)[:10])
    file = tmp_path / "record.json"
    file.write_text(json.dumps(item))
    refused = main(["schema", "check", "agent_decisions", str(file)])
    monkeypatch.setenv("SHARPWAVE_EVENT_AHEAD", '{"FORECAST": 2592000}')

    assert refused == 1
    assert main(["schema", "check", "agent_decisions", str(file)]) == 0
