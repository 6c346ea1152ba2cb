"""Analytics are what was decided, counted once, whatever came twice, late or was cut short."""

from __future__ import annotations

import csv
import importlib.util
import json
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from decimal import Decimal
from pathlib import Path
from typing import Any

import duckdb
import pytest

from sharpwave.infra.cli import extras
from sharpwave.infra.cli.output import plain
from sharpwave.infra.connection import Deployment
from sharpwave.infra.cost.bill import load_prices
from sharpwave.infra.items import Items
from sharpwave.infra.local import Backend
from sharpwave.infra.local.stack import writes_on
from sharpwave.infra.operate.analytics import Wanted, analyse
from sharpwave.infra.operate.patterns import import_patterns
from sharpwave.schemas import keys
from sharpwave.schemas.patterns import PatternDefinition
from sharpwave.schemas.sketch import ACCURACY
from sharpwave.schemas.tables import DECISIONS, PIPELINE, SIGNALS, STATE
from sharpwave.schemas.times import iso_ms
from sharpwave.workers.aws.clients import Clients
from sharpwave.workers.main import build_router, compose_on_aws
from sharpwave.workers.settings import Settings
from sharpwave.workers.work import ticks

Raw = Mapping[str, Callable[..., Any]]
Item = dict[str, Any]

KIND = "SOURCE_SELECTION"
UP = {
    "pattern_id": "up",
    "agent_id": "hunter",
    "decision_type": KIND,
    "conditions": [{"path": "context.market", "op": "eq", "value": "up"}],
}


class Died(RuntimeError):
    """A worker died."""


class Scene:
    """A deployment whose workers are this process, and die when told to."""

    def __init__(self, deployment: Deployment, folder: Path, raw: Raw, backend: Backend) -> None:
        self.deployment, self.items, self.raw = deployment, Items(deployment), raw
        self.folder, self.archive = folder, f"file://{folder}"
        settings = Settings(
            prefix=deployment.prefix,
            archive=self.archive,
            archive_linger_s=0,
            writes=writes_on(backend.name),
        )
        made = Clients(deployment.dynamodb, None, deployment.sqs, None)
        self.route = build_router(settings)
        self.actors = {
            name: handle
            for duties in compose_on_aws(settings, made).handlers.values()
            for name, handle in duties.items()
        }
        #: Calls that a worker may still make before it dies; None for any number.
        self.calls_left: int | None = None
        self.deaths = 0
        deployment.dynamodb.meta.events.register("before-send", self._sending)

    def _sending(self, **_: Any) -> None:
        if self.calls_left is not None:
            self.calls_left -= 1
            if self.calls_left < 0:
                raise Died

    def carry(
        self, item: Item, *, old: Item | None = None, stored_at: float, dying: bool = False
    ) -> None:
        """Store a state of a decision, and do what pump and workers do, some of whom die."""
        self.items.put(DECISIONS, item)
        record = self.raw["record"](item, old=old, stored_at=stored_at)
        for message in self.route(DECISIONS, [record]):
            body = json.loads(message.body)
            handle = self.actors[body["actor_name"]]
            # It comes again until somebody did it, each time by one who gets a call further.
            for calls in range(100 if dying else 0):
                self.calls_left = calls
                try:
                    handle(body["kwargs"]["entries"])
                except Exception:
                    continue
                finally:
                    self.calls_left = None
                self.deaths += calls
                break
            # And once more, as queues do.
            handle(body["kwargs"]["entries"])


@pytest.fixture
def scene(deployment: Deployment, tmp_path: Path, raw: Raw, backend: Backend) -> Scene:
    """Four decisions of a day: two succeed after 60 s, one of them is corrected, one pends."""
    scene = Scene(deployment, tmp_path / "archive", raw, backend)
    import_patterns(
        deployment, [PatternDefinition.model_validate(UP)], now=time.time() - 10 * 86_400
    )
    noon = int(time.time()) // 86_400 * 86_400 - 43_200
    for number in range(4):
        made: Item = raw["decision"](
            "hunter",
            at=noon + number,
            decision_type=KIND,
            context={"market": "up" if number % 2 else "down"},
            reasoning={
                "selected": ["whales", "news"] if number else ["news"],
                "bucket": "high_volatility" if number % 2 else "low_volatility",
            },
        )
        scene.carry(made, stored_at=noon + number, dying=number == 2)
        if number == 3:
            continue
        outcome = {"success": number != 1, "quality_score": Decimal("0.5")}
        resolved = {**made, "outcome": outcome}
        scene.carry(resolved, old=made, stored_at=noon + number + 60, dying=number == 2)
        if number == 2:
            outcome = {"success": False, "quality_score": Decimal("0.2")}
            corrected = {**resolved, "outcome": outcome, "outcome_rev": 2}
            scene.carry(corrected, old=resolved, stored_at=noon + number + 9_000, dying=True)
            # The first outcome comes once more, after its correction.
            message = raw["record"](resolved, old=made, stored_at=noon + number + 60)
            for again in scene.route(DECISIONS, [message]):
                body = json.loads(again.body)
                scene.actors[body["actor_name"]](body["kwargs"]["entries"])
    assert scene.deaths > 5
    return scene


def by_kind(rows: Sequence[Mapping[str, Any]], kind: str) -> list[Mapping[str, Any]]:
    return [row for row in rows if row["kind"] == kind]


def figures(row: Mapping[str, Any]) -> tuple[Any, ...]:
    return tuple(row[n] for n in ("name", "volume", "outcomes", "successes", "quality"))


def test_what_came_twice_was_corrected_or_cut_short_counts_once(
    scene: Scene, sharpwave: Any
) -> None:
    code, found = sharpwave("analytics", "--recount", "--archive", scene.archive)

    assert (code, found["ok"], found["differing"], found["damages"]) == (0, True, [], [])
    rows = found["rows"]
    assert [figures(row) for row in by_kind(rows, "type")] == [("", 4, 3, 1, 0.4)]
    assert [figures(row) for row in by_kind(rows, "pattern")] == [("up@1", 2, 1, 0, 0.5)]
    assert [figures(row) for row in by_kind(rows, "source")] == [
        ("news", 4, 3, 1, 0.4),
        ("whales", 3, 2, 0, 0.35),
    ]
    assert [figures(row) for row in by_kind(rows, "bucket")] == [
        ("high_volatility", 2, 1, 0, 0.5),
        ("low_volatility", 2, 2, 1, 0.35),
    ]
    # Time to an outcome is that to the first one, not to its correction.
    for row in (*by_kind(rows, "type"), *by_kind(rows, "source"), *by_kind(rows, "bucket")):
        assert row["p50_s"] == pytest.approx(60, rel=ACCURACY)
        assert row["p99_s"] == pytest.approx(60, rel=ACCURACY)


def test_figures_without_the_archive_are_the_same_and_write_nothing(
    scene: Scene, sharpwave: Any
) -> None:
    whole = analyse(scene.deployment, Wanted(), archive_url=scene.archive)
    sent: list[str] = []
    watch = lambda request, **_: sent.append(str(request.headers["X-Amz-Target"]))  # noqa: E731
    scene.deployment.dynamodb.meta.events.register("before-send", watch)

    found = analyse(scene.deployment, Wanted(agent_id="hunter", type_name=KIND))

    for kind in ("type", "pattern", "source", "bucket"):
        ours, theirs = by_kind(plain(found.rows), kind), by_kind(plain(whole.rows), kind)
        assert list(map(figures, ours)) == list(map(figures, theirs)) != []
    assert {each.rpartition(".")[2].rstrip("'") for each in sent} == {"Scan", "Query"}
    assert sharpwave("analytics", "--agent", "nobody")[1]["rows"] == []
    assert sharpwave("analytics", "--until", "2001-01-01")[1]["rows"] == []
    assert sharpwave("analytics", "--until", "yesterday")[0] == 2


def test_counts_that_differ_from_the_archive_are_named(scene: Scene, sharpwave: Any) -> None:
    subject = next(
        keys.ledger_subject(item["PK"]["S"]) or ""
        for item in scene.items.scan(PIPELINE)
        if item["PK"]["S"].startswith("ledger#base:") and item["SK"]["S"].startswith("H#")
    )
    head = next(scene.items.query(PIPELINE, keys.ledger_pk(subject), begins="H#"))
    scene.items.delete(PIPELINE, keys.Key(head["PK"], head["SK"]))

    code, found = sharpwave("analytics", "--recount", "--archive", scene.archive)

    assert (code, found["ok"]) == (1, False)
    assert [each["kind"] for each in found["differing"]] == ["type"]


def test_how_sources_did_is_published_and_read_by_command_and_agent(
    scene: Scene, sharpwave: Any
) -> None:
    tick = json.loads(ticks.tick(ticks.FIGURES, clock=time.time).body)
    scene.actors[tick["actor_name"]](tick["kwargs"]["entries"])

    code, found = sharpwave("metrics", "hunter")
    read = sharpwave("metrics", "hunter", "--type", KIND)[1]
    stored = scene.items.get(STATE, keys.metrics("hunter", KIND))

    assert (code, read) == (0, found)
    (one,) = found
    assert (one["sources"]["news"], one["sources"]["whales"]["rate"]) == (
        {"calls": 4, "outcomes": 3, "successes": 1, "rate": 0.3333, "quality": 0.4},
        0.0,
    )
    assert one["buckets"]["low_volatility"]["rate"] == one["rates"]["low_volatility"]["news"] == 0.5
    assert stored is not None
    assert stored["context_performance"]["high_volatility"]["sources"] == {
        "news": Decimal(0),
        "whales": Decimal(0),
    }
    assert sharpwave("metrics", "hunter", "--type", "OTHER")[1] == []


def test_an_item_of_metrics_that_is_not_the_archives_is_named(scene: Scene, sharpwave: Any) -> None:
    tick = json.loads(ticks.tick(ticks.FIGURES, clock=time.time).body)
    scene.actors[tick["actor_name"]](tick["kwargs"]["entries"])
    asked = ("verify", "--archive", scene.archive, "--wait", "0")
    sound = sharpwave(*asked)[1]["findings"]

    scene.items.update(STATE, keys.metrics("hunter", KIND), {"source_metrics": {}})
    code, found = sharpwave(*asked)

    assert "mismetered" not in {each["kind"] for each in sound}
    assert (code, "mismetered" in {each["kind"] for each in found["findings"]}) == (1, True)


def test_acknowledgements_are_timed_by_the_rows_of_inboxes(
    deployment: Deployment, sharpwave: Any
) -> None:
    items, sent_at = Items(deployment), 1_760_797_800
    ends = [("PROCESSED", 2), ("PROCESSED", 4), ("FAILED", 8), ("EXPIRED", None), ("PENDING", None)]
    signal = keys.Key(keys.signal_pk("WHALE", "hunter"), f"{iso_ms(sent_at)}#s1")
    mirror = {
        "risk": {"status": "PROCESSED", "delivered_ms": 1000 * sent_at + 3_000},
        "a": {"status": "?"},
    }
    items.put(SIGNALS, {**signal.item(), "status_v": "1", "processing_status": mirror})
    for number, (status, after) in enumerate([*ends, ("PROCESSED", "soon")]):
        key = keys.Key(keys.inbox_pk("risk"), keys.inbox_sk(iso_ms(sent_at), f"{number:032x}"))
        row: Item = {**key.item(), "signal_type": "WHALE", "source_agent": "hunter"}
        row |= {"timestamp": sent_at, "status": status}
        if isinstance(after, int):
            row["processed_at"] = sent_at + after
        elif after:
            row["processed_at"] = after  # a row is its agent's to write over
        if number < 2:
            row |= {"signal_pk": signal.pk, "signal_sk": signal.sk}
        items.put(SIGNALS, row)

    code, found = sharpwave("analytics", "--agent", "risk", "--since", "2025-10-18")
    more = sharpwave("analytics", "--agent", "risk", "--deliveries")[1]

    (row,) = found["rows"]
    (way,) = by_kind(more["rows"], "delivery")
    # Two rows name the signal; of the others nobody knows when they reached the queue.
    assert (way["name"], way["volume"], way["outcomes"]) == ("hunter", 6, 2)
    assert way["p50_s"] == pytest.approx(3, rel=ACCURACY)
    assert [(each["kind"], sum(n for _, n in each["buckets"])) for each in more["times"]] == [
        ("delivery", 2),
        ("inbox", 3),
    ]
    assert by_kind(more["rows"], "inbox") == [row]
    assert (code, row["kind"], row["type_name"], row["day"]) == (0, "inbox", "WHALE", "2025-10-18")
    assert figures(row) == ("hunter", 6, 5, 3, None)
    assert row["p50_s"] == pytest.approx(4, rel=ACCURACY)
    assert row["p99_s"] == pytest.approx(8, rel=ACCURACY)


def test_rows_are_written_as_csv_and_parquet(
    scene: Scene, sharpwave: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    _, found = sharpwave("analytics", "--whole", "--out", str(tmp_path / "a.csv"))

    with (tmp_path / "a.csv").open(newline="") as file:
        read = list(csv.DictReader(file))
    assert [each["volume"] for each in read] == [str(row["volume"]) for row in found["rows"]]
    assert {row["day"] for row in found["rows"]} == {""}

    monkeypatch.setitem(sys.modules, "duckdb", None)
    code, refused = sharpwave("analytics", "--out", str(tmp_path / "a.parquet"))
    monkeypatch.undo()
    assert (code, "parquet" in refused["error"]) == (1, True)
    assert not (tmp_path / "a.parquet").exists()
    assert sharpwave("analytics", "--out", "a.xlsx")[0] == 2

    sharpwave("analytics", "--whole", "--out", str(tmp_path / "a.parquet"))
    with duckdb.connect() as engine:
        there = engine.execute(f"SELECT * FROM '{tmp_path}/a.parquet'")
        names = [column for column, *_ in there.description]
        assert [dict(zip(names, row, strict=True)) for row in there.fetchall()] == found["rows"]


def test_charts_are_drawn_with_their_numbers_beside(
    scene: Scene, sharpwave: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    planned = sharpwave("analytics", "--charts", str(tmp_path / "charts"), "--dry-run")[1]
    assert not (tmp_path / "charts").exists()

    code, found = sharpwave("analytics", "--charts", str(tmp_path / "charts"))

    assert (code, len(found["files"])) == (0, len(planned["files"]))
    names = {Path(each).name for each in found["files"]}
    assert {"analytics-volumes.svg", "analytics-success.png", "analytics-success.csv"} <= names
    assert all(Path(each).stat().st_size > 60 for each in found["files"])
    with (tmp_path / "charts" / "analytics-success.csv").open(newline="") as file:
        lines = {row["line"]: row["success_rate"] for row in csv.DictReader(file)}
    assert lines[f"source hunter {KIND} news"] == "0.3333"
    assert sharpwave("analytics", "--charts", str(tmp_path), "--whole")[0] == 2

    find = importlib.util.find_spec
    monkeypatch.setattr(
        extras, "find_spec", lambda name: None if name == "matplotlib" else find(name)
    )
    code, refused = sharpwave("analytics", "--charts", str(tmp_path))
    assert (code, "demo" in refused["error"]) == (1, True)


def test_an_event_costs_what_counters_say_and_else_what_the_model_says(
    deployment: Deployment, sharpwave: Any
) -> None:
    by_model = sharpwave("analytics")[1]["costs"]
    used = {"new:decision": (100, 0), "write:decision": (100, 100)}
    row: Item = {**keys.presence("w1").item(), "queues": ["learn"], "cpu_s": 0, "at": 1, "pid": 1}
    pump: Item = {**keys.pump_presence(DECISIONS).item(), "at": 1, "pid": 2, "cpu_s": 0}
    items = Items(deployment)
    items.put(PIPELINE, {**row, "used": {"write:slot": [50, 200]}})
    items.put(PIPELINE, {**pump, "used": {name: list(each) for name, each in used.items()}})
    counted = sharpwave("analytics")[1]["costs"]

    assert [(each["event"], each["by"]) for each in by_model] == [
        ("decision", "model"),
        ("signal", "model"),
    ]
    assert by_model[0]["usd"] > 1e-6
    assert [(each["by"], each["events"]) for each in counted] == [("counters", 100), ("model", 0)]
    # Two write units a decision.
    price = load_prices().prices["dynamodb_write"]
    assert counted[0]["usd"] == pytest.approx(price.of(2))
