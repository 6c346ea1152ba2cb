"""A refused record is told what is wrong, where, and what to do, by a stable code."""

from decimal import Decimal
from typing import Any

import pytest

from sharpwave.schemas import tables
from sharpwave.schemas.faults import (
    Fault,
    RecordRefused,
    kind_of,
    time_faults,
    too_deep,
    too_large,
    unknown_key,
    validate,
)
from sharpwave.schemas.keys import Kind
from sharpwave.schemas.records import DecisionRecord, MemoryEntry, Registration, SignalRecord
from sharpwave.workers.work.ports import Item
from tests.world.records import decision, memory, outcome, registration, signal
from tests.world.stores import START

DAY_S = 86_400


STATE = {
    "PK": "agent:ann",
    "SK": "CURRENT",
    "schema_version": 1,
    "agent_id": "ann",
    "state_type": "CURRENT",
    "last_updated": int(START),
    "version": 1,
}


def refused(kind: Kind, item: Item) -> list[Fault]:
    with pytest.raises(RecordRefused) as caught:
        validate(kind, item, stored_at=START)
    assert str(caught.value)
    return caught.value.faults


@pytest.mark.parametrize(
    ("kind", "item", "model"),
    [
        ("decision", decision(outcome=outcome(True, 1)), DecisionRecord),
        ("signal", signal(to=["bob"]), SignalRecord),
        ("signal", signal(to=["*"], strict=False), SignalRecord),
        ("memory", memory(), MemoryEntry),
        ("registration", registration("ann"), Registration),
    ],
)
def test_a_valid_record_is_read_as_its_model(kind: Kind, item: Item, model: type) -> None:
    assert isinstance(validate(kind, item, stored_at=START), model)


def test_unknown_attributes_are_kept_for_later_versions() -> None:
    record = validate("decision", decision(mood="calm", GSI1_PK="x"), stored_at=START)

    assert record.model_dump()["mood"] == "calm"


@pytest.mark.parametrize("name", ["timestamp", "iso_timestamp", "agent_id", "decision_type"])
def test_what_is_missing_is_named(name: str) -> None:
    item = decision()
    del item[name]

    faults = refused("decision", item)

    assert ("missing", name) in [(fault.code, fault.where) for fault in faults]


@pytest.mark.parametrize(
    ("change", "text"),
    [
        ({"iso_timestamp": "2025-10-18T14:30:02Z"}, "2 s apart"),
        ({"iso_timestamp": "yesterday"}, "no UTC time"),
        ({"event_time": "2008"}, "neither a UTC time nor a day"),
        ({"PK": "agent:ann#decision#HEDGE"}, "expected 'agent:ann#decision#TRADE'"),
        ({"SK": "2025-10-18T14:30:00.000Z#d2"}, "is not <iso_timestamp>#d1"),
        ({"SK": "2025-10-18T14:31:00.000Z#d1"}, "another moment"),
        ({"schema_version": 2}, "schema_version: 2 is not allowed; it is at most 1"),
        ({"outcome_rev": 0}, "outcome_rev: 0 is not allowed; it is at least 1"),
        ({"outcome": {"success": True, "quality_score": 2}}, "outcome.quality_score: 2 is not"),
    ],
)
def test_a_fault_says_what_is_wrong(change: Item, text: str) -> None:
    assert any(text in str(fault) for fault in refused("decision", {**decision(), **change}))


@pytest.mark.parametrize(
    ("change", "text"),
    [
        ({"source_agent": "eve"}, "foreign"),
        ({"target_agents": ["bob", "no body"]}, "'no body', which cannot name an agent"),
        ({"target_agents": ["bob"] * 10_001}, "10001 items; it holds at most 10000"),
        ({"target_agents": []}, "target_agents: it has 0 items; it needs at least 1"),
        ({"target_agents": "bob"}, "target_agents: 'bob' is no list"),
        ({"confidence": Decimal("1.5")}, "confidence: 1.5 is not allowed; it is at most 1"),
        ({"confidence": "high"}, "confidence: 'high' is no number"),
        ({"severity": ""}, "severity: it has 0 characters; it needs at least 1"),
        ({"data": [1]}, "data: [1] is no map of names to values"),
        ({"signal_type": "whale"}, "'whale' cannot be used; take 1 to 63 of A-Z, 0-9 and '_'"),
        ({"source_agent": "Ann"}, "'Ann' cannot be used; take 1 to 40 of a-z, 0-9 and '-'"),
        ({"signal_id": "a b"}, "'a b' cannot be used; take 1 to 64 of A-Z, a-z, 0-9"),
    ],
)
def test_a_signals_fault_says_what_is_wrong(change: Item, text: str) -> None:
    found = refused("signal", {**signal(to=["bob"]), **change})

    assert any(text in str(fault) for fault in found)


@pytest.mark.parametrize(("kind", "days"), [("decision", 400), ("signal", 10), ("memory", 10)])
def test_a_record_lives_no_longer_than_its_kind_may(kind: Kind, days: int) -> None:
    def codes(ttl: float) -> list[str]:
        return [fault.code for fault in time_faults(kind, {"ttl": ttl}, START)]

    assert codes(START + days * DAY_S) == []
    assert codes(START + days * DAY_S + 301) == ["distant_ttl"]
    assert codes(START - 2) == ["expired_ttl"]


@pytest.mark.parametrize(("ahead", "expected"), [(300, []), (301, ["future_timestamp"])])
def test_a_clock_may_run_five_minutes_fast(ahead: int, expected: list[str]) -> None:
    found = time_faults("signal", {"timestamp": START + ahead}, START)

    assert [fault.code for fault in found] == expected


def test_no_fault_shows_a_regular_expression() -> None:
    wrong: Item = dict.fromkeys(signal(to=["bob"]), "?")

    text = " ".join(map(str, refused("signal", wrong)))

    assert len(refused("signal", wrong)) > 5
    assert not set("^$\\{") & set(text)


@pytest.mark.parametrize(
    ("fault", "allowed"),
    [
        (too_deep(30), "at most 16"),
        (too_large("signal", 200_000), "a signal holds at most 131072"),
        (too_large("decision", 500_000), "a decision holds at most 409600"),
        (unknown_key(tables.SIGNALS), "signal#<TYPE>"),
    ],
)
def test_a_fault_says_what_is_allowed(fault: Fault, allowed: str) -> None:
    assert allowed in fault.message


def test_what_fits_is_not_too_large() -> None:
    assert too_large("signal", 131_072) is None
    assert too_large("memory", 409_600) is None


def test_a_fault_reads_with_its_place() -> None:
    assert str(Fault("odd", "data", "it is odd")) == "data: it is odd"
    assert str(Fault("odd", "", "it is odd")) == "it is odd"


def test_a_key_tells_the_kind() -> None:
    item: Any = memory()

    assert kind_of(tables.STATE, item["PK"], item["SK"]) == "memory"
    assert kind_of(tables.STATE, "x", "y") is None


def test_a_bound_signal_and_its_deadline_are_told() -> None:
    bound = validate("signal", signal(to=["bob"]), stored_at=START)
    claimed = validate("signal", signal(to=["bob"], strict=False), stored_at=START)
    brief = validate("signal", signal(to=["bob"], ttl=int(START) + 60), stored_at=START)

    assert isinstance(bound, SignalRecord)
    assert isinstance(claimed, SignalRecord)
    assert isinstance(brief, SignalRecord)
    assert (bound.is_bound, claimed.is_bound) == (True, False)
    assert (bound.expires_at, brief.expires_at) == (int(START) + DAY_S, int(START) + 60)


@pytest.mark.parametrize(
    ("kind", "item"),
    [
        ("registration", {**registration("ann"), "PK": "agent:bob"}),
        ("state", {**STATE, "PK": "agent:bob"}),
        ("state", {**STATE, "state_type": "BACKUP"}),
    ],
)
def test_a_key_that_does_not_fit_its_record_is_named(kind: Kind, item: Item) -> None:
    assert ["the key does not fit" in fault.message for fault in refused(kind, item)] == [True]
