"""The archive is read by others: DynamoDB's bulk load takes its items back, SQL its states."""

import gzip
import json
from pathlib import Path
from typing import Any

import duckdb
import pytest

from sharpwave.infra.cli import main
from sharpwave.infra.errors import Misused, Rejected
from sharpwave.infra.operate.bulk import export, views
from sharpwave.schemas.numbers import item_from_wire, item_to_wire
from sharpwave.schemas.times import DAY_S, day_and_hour
from sharpwave.workers.aws.archive import FolderArchive
from sharpwave.workers.work.envelope import ascii_json
from sharpwave.workers.work.ports import Item
from tests.world.records import decision, outcome
from tests.world.stores import START


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path / "archive"


def archive(folder: Path, *states: tuple[Item, str, float]) -> FolderArchive:
    """Store states in two parts a day, every line twice."""
    made = FolderArchive(folder)
    for number, (item, state, stored_at) in enumerate(states):
        line = {
            "event_id": f"event-{number}",
            "state": state,
            "table": "agent_decisions",
            "PK": item["PK"],
            "SK": item["SK"],
            "stored_at": stored_at,
            "image": item_to_wire(item),
        }
        day, _ = day_and_hour(int(item["timestamp"]), item.get("event_time"))
        made.write(day, [ascii_json(line)] * 2)
    return made


def history() -> list[tuple[Item, str, float]]:
    """One corrected decision, one that is open, one refused change."""
    first = decision("ann", "d1", context={"text": "naïve; 'quoted'", "n": 12345678901234567890})
    won = {**first, "outcome": outcome(True, 0.9)}
    lost = {**first, "outcome": outcome(False), "outcome_rev": 2}
    second = decision("ann", "d2", at=START + DAY_S)
    return [
        (first, "insert", START),
        (lost, "revision", START + 3),
        (won, "resolution", START + 2),
        (second, "insert", START + DAY_S),
        ({**second, "reasoning": {"changed": True}}, "refusal", START + DAY_S + 1),
    ]


def items(paths: list[str]) -> list[Item]:
    lines = [
        line for path in paths for line in gzip.decompress(Path(path).read_bytes()).splitlines()
    ]
    assert all(list(json.loads(line)) == ["Item"] for line in lines)
    return [item_from_wire(json.loads(line)["Item"]) for line in lines]


def test_bulk_load_gets_each_decision_once_as_it_was_admitted_last(
    tmp_path: Path, folder: Path
) -> None:
    states = history()
    made = archive(folder, *states)

    done = export(made, "file:///archive", tmp_path / "out")

    assert done.items == 2
    assert items(done.files) == [states[1][0], states[3][0]]


def test_an_export_as_of_a_day_leaves_out_what_came_later(tmp_path: Path, folder: Path) -> None:
    made, (first, *_) = archive(folder, *history()), history()
    day, _ = day_and_hour(int(START), None)

    whole_day = export(made, "", tmp_path / "day", until=day)
    moment = export(made, "", tmp_path / "moment", until=first[0]["iso_timestamp"])

    assert [item["decision_id"] for item in items(whole_day.files)] == ["d1"]
    assert items(moment.files) == [first[0]]


def test_an_export_is_not_mixed_with_another_nor_made_of_nothing(
    tmp_path: Path, folder: Path
) -> None:
    made = archive(folder, *history())
    export(made, "", tmp_path / "out")

    with pytest.raises(Misused, match="holds an export already"):
        export(made, "", tmp_path / "out")
    with pytest.raises(Misused, match="write 2008-10-10"):
        export(made, "", tmp_path / "other", until="yesterday")
    with pytest.raises(Rejected):
        export(FolderArchive(tmp_path / "none"), "file:///none", tmp_path / "other")


def test_duckdb_reads_states_decisions_and_days(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    archive(folder, *history())
    assert main(["archive", "views", "--archive", folder.as_uri()]) == 0
    with duckdb.connect() as engine:
        engine.execute(capsys.readouterr().out)

        def ask(sql: str) -> list[tuple[Any, ...]]:
            return engine.execute(sql).fetchall()

        assert ask("SELECT count(*) FROM states") == [(5,)]
        assert ask("SELECT decision_id, success, outcome_rev FROM decisions ORDER BY 1") == [
            ("d1", False, 2),
            ("d2", None, 1),
        ]
        days = ask("SELECT agent_id, decisions, resolved, successes FROM days ORDER BY day")
        assert days == [("ann", 1, 1, 0), ("ann", 1, 0, 0)]
        [(n,)] = ask("SELECT image ->> '$.context.M.n.N' FROM decisions WHERE decision_id = 'd1'")
        assert n == "12345678901234567890"


def test_views_are_of_the_place_that_is_asked_for() -> None:
    athena = views("athena", "s3://bucket/archive/")

    assert "LOCATION 's3://bucket/archive/'" in athena
    assert "'s3://bucket/archive/day=${day}/'" in athena
    with pytest.raises(Misused, match="take --for duckdb"):
        views("athena", "file:///archive")
    with pytest.raises(Misused, match="quote"):
        views("duckdb", "file:///it's")
