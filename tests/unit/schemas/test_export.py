"""The published JSON Schemas are the models', and say yes and no to the same records."""

import copy
import json
from pathlib import Path
from typing import Any

import pytest
from jsonschema import Draft202012Validator  # type: ignore[import-untyped]

from sharpwave.schemas import examples, export, messages
from sharpwave.schemas.faults import validate
from sharpwave.schemas.numbers import parse_json

FOLDER = Path(__file__).parents[3] / "schemas" / "json"
MOMENT = 1_760_797_800

#: The published examples, with what older agents write beside it.
DECISION: dict[str, Any] = {
    **examples.DECISION,
    "SK": "2025-10-18T14:30:00Z#dec_abc123",
    "iso_timestamp": "2025-10-18T14:30:00Z",
    "context": {"market": {"volatility": "high"}, "cycle": 142, "parent_decision_id": None},
    "is_stm": True,
}
SIGNAL: dict[str, Any] = {
    **examples.SIGNAL,
    "PK": "signal#WHALE_ACTIVITY",
    "processing_status": {"trade-executor": {"status": "PENDING", "processed_at": None}},
}
RECORDS = {
    "decision": DECISION,
    "signal": SIGNAL,
    "memory_entry": dict(examples.MEMORY_ENTRY),
    "state": dict(examples.STATE),
    "registration": dict(examples.REGISTRATION),
}
KINDS = {"memory_entry": "memory"}


def is_valid(name: str, document: object) -> bool:
    return bool(Draft202012Validator(export.schema(name)).is_valid(document))


def changed(record: dict[str, Any], path: str, value: object) -> dict[str, Any]:
    copied = copy.deepcopy(record)
    *parents, last = path.split(".")
    holder = copied
    for parent in parents:
        holder = holder[parent]
    holder[last] = value
    return copied


def test_the_checked_in_files_are_what_the_models_say() -> None:
    assert export.stale(FOLDER) == []
    assert {path.name for path in FOLDER.iterdir()} == set(export.documents())


@pytest.mark.parametrize("name", export.NAMES)
def test_every_schema_is_a_valid_schema_with_a_versioned_id_and_no_host(name: str) -> None:
    schema = export.schema(name)

    Draft202012Validator.check_schema(schema)

    assert schema["$id"] == f"sharpwave/{name}/v1.json"
    assert schema["$schema"] == "https://json-schema.org/draft/2020-12/schema"


@pytest.mark.parametrize("name", export.NAMES)
def test_every_schema_shows_an_example_that_it_takes(name: str) -> None:
    [example] = export.schema(name)["examples"]

    assert is_valid(name, example)
    if name in RECORDS:
        assert validate(KINDS.get(name, name), example, stored_at=MOMENT)  # type: ignore[arg-type]
    elif name.endswith("_message"):
        assert messages.parse_message(json.dumps(example)) is not None
    else:
        model = next(each.model for each in export.PUBLISHED if each.name == name)
        assert model.model_validate(example)


def test_the_examples_are_about_one_signal() -> None:
    delivery = examples.SIGNAL_MESSAGE

    assert delivery["signal_id"] == examples.SIGNAL["signal_id"]
    assert delivery["target_agent"] == examples.REGISTRATION["agent_id"]
    assert examples.SIGNAL["signal_type"] in examples.REGISTRATION["subscriptions"]


def test_an_unknown_name_is_refused_with_the_known_ones() -> None:
    with pytest.raises(KeyError, match="there are decision, signal"):
        export.schema("decisions")


@pytest.mark.parametrize("name", RECORDS)
def test_the_examples_are_taken_by_schema_and_model_alike(name: str) -> None:
    record = RECORDS[name]

    assert is_valid(name, record)
    assert validate(KINDS.get(name, name), record, stored_at=MOMENT)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("name", "path", "value"),
    [
        ("decision", "agent_id", "Market Hunter"),
        ("decision", "PK", "agent:market-hunter#decision#source"),
        ("decision", "SK", "dec_abc123"),
        ("decision", "iso_timestamp", "2025-10-18 14:30"),
        ("decision", "iso_timestamp", "2025-13-18T14:30:00Z"),
        ("decision", "timestamp", "1760797800"),
        ("decision", "timestamp", -1),
        ("decision", "event_time", "yesterday"),
        ("decision", "outcome", {"quality_score": 0.5}),
        ("decision", "outcome.quality_score", 1.5),
        ("decision", "outcome.quality_score", "0.5"),
        ("decision", "outcome_rev", 0),
        ("decision", "context", ["bullish"]),
        ("decision", "schema_version", 2),
        ("signal", "PK", "signal#WHALE_ACTIVITY#Market"),
        ("signal", "PK", "shared#signal#WHALE_ACTIVITY"),
        ("signal", "target_agents", []),
        ("signal", "target_agents", "risk-manager"),
        ("signal", "target_agents", ["*", "risk-manager"]),
        ("signal", "confidence", 1.01),
        ("memory_entry", "memory_type", "DREAM"),
        ("memory_entry", "shared_with", ["Risk Manager"]),
        ("memory_entry", "domain", "a#b"),
        ("memory_entry", "access_count", -1),
        ("state", "version", 0),
        ("state", "SK", "CHECKPOINT"),
        ("state", "last_updated", None),
        ("registration", "subscriptions", ["whale activity"]),
        ("registration", "accepts_from", ["Risk Manager"]),
    ],
)
def test_a_broken_record_is_refused(name: str, path: str, value: object) -> None:
    assert not is_valid(name, changed(RECORDS[name], path, value))


@pytest.mark.parametrize("name", RECORDS)
def test_a_record_without_any_one_required_attribute_is_refused(name: str) -> None:
    required = export.schema(name)["required"]

    for attribute in required:
        partial = {key: value for key, value in RECORDS[name].items() if key != attribute}
        assert not is_valid(name, partial), attribute


@pytest.mark.parametrize("targets", [["*"], ["@subscribers"], ["risk-manager"]])
def test_a_signal_may_go_to_everyone_to_subscribers_or_to_names(targets: list[str]) -> None:
    assert is_valid("signal", changed(SIGNAL, "target_agents", targets))


def test_the_strict_key_and_unknown_attributes_are_taken() -> None:
    strict = changed(SIGNAL, "PK", "signal#WHALE_ACTIVITY#market-hunter")

    assert is_valid("signal", {**strict, "added_later": [1, {"x": None}]})


@pytest.mark.parametrize(
    ("document", "verdict"),
    [
        ({"status": "PROCESSED", "processed_at": MOMENT, "decision_id": "dec_1"}, True),
        ({"status": "FAILED", "processed_at": MOMENT, "reason": "no price"}, True),
        ({"status": "EXPIRED", "processed_at": MOMENT}, False),
        ({"status": "PROCESSED"}, False),
        ({"status": "PROCESSED", "processed_at": MOMENT, "worker_rev": 3}, False),
    ],
)
def test_an_acknowledgement_ends_a_delivery_and_sets_nothing_else(
    document: dict[str, Any], verdict: bool
) -> None:
    assert is_valid("acknowledgement", document) is verdict


def test_a_message_as_it_is_sent_fits_its_schema() -> None:
    body, omitted = messages.SignalBody(SIGNAL, "agent_signals").to("risk-manager")

    assert omitted == ()
    assert is_valid("signal_message", parse_json(body))
    assert not is_valid("signal_message", {**parse_json(body), "provenance": "trusted"})


def test_a_notice_names_its_reasons() -> None:
    reason = {"code": "missing", "where": "agent_id", "message": "missing"}
    notice = {
        "v": 1,
        "kind": "notice",
        "notice_id": "n1",
        "target_agent": "risk-manager",
        "code": "missing",
        "reasons": [reason],
        "record": {"table": "agent_decisions", "PK": "p", "SK": "s"},
        "timestamp": MOMENT,
    }

    assert is_valid("notice_message", notice)
    assert not is_valid("notice_message", changed(notice, "reasons", ["missing"]))


@pytest.mark.parametrize(
    ("change", "verdict"),
    [
        ({}, True),
        ({"conditions": [{"path": "inputs.whale_count", "op": "gt", "value": 5}]}, True),
        ({"conditions": []}, False),
        ({"conditions": {"whale_count_min": 5}}, False),
        ({"decision_type": "trade entry"}, False),
        ({"min_lift": 1}, False),
        ({"confidence": 0.9}, False),
    ],
)
def test_a_pattern_definition_says_conditions_and_no_figures(
    change: dict[str, Any], verdict: bool
) -> None:
    definition = {"pattern_id": "whale_pump", "decision_type": "TRADE_ENTRY", **change}

    assert is_valid("pattern_definition", definition) is verdict


def test_writing_twice_changes_nothing(tmp_path: Path) -> None:
    first = export.write(tmp_path / "json")
    (tmp_path / "json" / "signal.v1.json").write_text("{}")

    assert len(first) == len(export.NAMES)
    assert export.write(tmp_path / "json") == ["signal.v1.json"]
    assert export.write(tmp_path / "json") == []
