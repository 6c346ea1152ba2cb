"""Any record gets a verdict: no exception, and the fast path admits only what the models admit."""

import string
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from msgspec import Raw

from sharpwave.schemas import keys, tables
from sharpwave.schemas.faults import kind_of
from sharpwave.schemas.keys import Kind
from sharpwave.schemas.messages import message_of
from sharpwave.schemas.numbers import Wire, item_to_wire
from sharpwave.schemas.records import MAX_DEPTH
from sharpwave.schemas.times import EventAhead
from sharpwave.workers.router.admission import (
    MAX_FAULTS,
    MAX_MESSAGE,
    claimed_at,
    explain,
    faults_of,
    is_admissible,
)
from sharpwave.workers.router.changes import had_sound_outcome
from sharpwave.workers.router.fast_path import sound
from sharpwave.workers.router.image import Image as Typed
from sharpwave.workers.router.image import may_be_too_deep
from sharpwave.workers.work.envelope import ascii_json
from sharpwave.workers.work.ports import Item
from tests.unit.wire_forms import DAY_S, VALID, WIRE, Image, mutated
from tests.world.records import decision, memory, outcome, registration, signal
from tests.world.stores import START


def judge(kind: Kind, image: Image, stored_at: float = START) -> list[str]:
    found = faults_of(kind, Typed(image), stored_at=stored_at)
    return [fault.code for fault in found]


def judged(kind: Kind, item: Item, stored_at: float = START) -> list[str]:
    return judge(kind, item_to_wire(item), stored_at)


def by_models(kind: Kind, image: Image, stored_at: float = START) -> bool:
    return explain(kind, image, stored_at) == []


def takes(kind: Kind, image: Image, stored_at: float = START) -> bool:
    text = ascii_json(image)
    key = keys.Key(*(str(image.get(name, {}).get("S", "")) for name in ("PK", "SK")))
    return sound(kind, Raw(text), key=key, text=text, stored_at=stored_at) is not None


def nested(levels: int) -> Any:
    value: Any = "x"
    for level in range(levels):
        value = [value] if level % 2 else {"in": value}
    return value


@given(st.data(), st.sampled_from(sorted(VALID)), st.floats(START - 1e6, START + 1e6))
@settings(max_examples=250, deadline=None)
def test_what_the_fast_path_admits_the_models_admit(
    data: st.DataObject, kind: Kind, stored_at: float
) -> None:
    image = data.draw(mutated(item_to_wire(VALID[kind])))

    if takes(kind, image, stored_at):
        assert by_models(kind, image, stored_at)


@given(st.data(), st.sampled_from(sorted(VALID)))
@settings(max_examples=150, deadline=None)
def test_every_record_gets_a_verdict_that_names_its_faults(data: st.DataObject, kind: Kind) -> None:
    image = data.draw(mutated(item_to_wire(VALID[kind])))

    found = faults_of(kind, Typed(image), stored_at=START)

    assert all(fault.code and fault.message for fault in found)


def test_valid_records_take_the_fast_path() -> None:
    for kind, item in VALID.items():
        assert takes(kind, item_to_wire(item))
    assert takes("signal", item_to_wire(signal(to=["*"], strict=False)))
    # 300 s ahead of whoever stores it, and with its time in less precision than its key has.
    assert takes("signal", item_to_wire(signal(to=["bob"], at=START + 300)))
    assert takes("memory", item_to_wire(memory(iso_timestamp="2025-10-18T14:30:00Z")))


@pytest.mark.parametrize(
    ("kind", "name", "within", "beyond"),
    [
        ("state", "version", 1, 0),
        ("state", "current_cycle", 0, -1),
        ("state", "last_updated", 9_999_999_999, 10_000_000_000),
        ("state", "ttl", int(START), int(START) - 1),
        ("state", "ttl", 9_999_999_999, 10_000_000_000),
        ("registration", "signals_per_minute", 1, 0),
        ("registration", "registered_at", 0, -1),
        ("registration", "registered_at", 9_999_999_999, 10_000_000_000),
        ("decision", "outcome_rev", 1, 0),
        ("decision", "outcome_rev", 65_535, 65_536),
        ("decision", "ttl", int(START), int(START) - 1),
        ("decision", "ttl", int(START) + 400 * DAY_S + 300, int(START) + 400 * DAY_S + 301),
        ("signal", "ttl", int(START), int(START) - 1),
        ("signal", "ttl", int(START) + 10 * DAY_S + 300, int(START) + 10 * DAY_S + 301),
        ("signal", "confidence", 0, -1),
        ("signal", "confidence", 1, 2),
        ("memory", "ttl", int(START), int(START) - 1),
        ("memory", "access_count", 0, -1),
        ("memory", "expires_at", 0, -1),
        ("memory", "expires_at", 9_999_999_999, 10_000_000_000),
        ("memory", "importance", 1, 2),
    ],
)
def test_a_number_at_its_bound_takes_the_fast_path_and_one_beyond_is_refused(
    kind: Kind, name: str, within: int, beyond: int
) -> None:
    at, off = ({**item_to_wire(VALID[kind]), name: {"N": str(n)}} for n in (within, beyond))

    assert takes(kind, at)
    assert not takes(kind, off)
    assert judge(kind, off) != []


@pytest.mark.parametrize(
    ("more", "is_short"),
    [
        ({}, True),
        ({"outcome_rev": 65_535}, True),
        ({"outcome_rev": 65_536}, False),
        ({"outcome": outcome(False)}, True),
        ({"outcome": outcome(True, 1)}, True),
        ({"outcome": outcome(True, 2)}, False),
        ({"outcome": {"success": "yes"}}, False),
        ({"outcome": {**outcome(True), "notes": nested(MAX_DEPTH - 1)}}, True),
        ({"outcome": {**outcome(True), "notes": nested(MAX_DEPTH)}}, False),
    ],
)
def test_a_decision_is_not_judged_again_for_a_new_outcome_if_its_old_one_was_sound(
    more: Item, *, is_short: bool
) -> None:
    assert had_sound_outcome(Typed(item_to_wire(decision(**more)))) is is_short


@pytest.mark.parametrize("kind", sorted(VALID))
def test_valid_records_are_admitted(kind: Kind) -> None:
    assert judged(kind, VALID[kind]) == []


@pytest.mark.parametrize("name", ["parent_decision_id", "root_decision_id"])
def test_an_id_does_not_end_in_a_newline(name: str) -> None:
    assert judged("decision", {**decision(), name: "d1\n"}) == ["string_pattern_mismatch"]


@pytest.mark.parametrize(
    ("item", "name", "value"),
    [
        (decision(), "timestamp", {"S": str(int(START))}),
        (decision(), "outcome_rev", {"S": "2"}),
        (decision(), "outcome", {"M": {"success": {"S": "false"}}}),
        (decision(), "outcome", {"M": {"success": {"N": "0"}}}),
        (
            decision(),
            "outcome",
            {"M": {"success": {"BOOL": True}, "quality_score": {"S": "0.5"}}},
        ),
        (signal(to=["bob"]), "target_agents", {"SS": ["bob"]}),
        (signal(to=["bob"]), "target_agents", {"SS": ["*"]}),
        (signal(to=["bob"]), "confidence", {"S": "NaN"}),
        (signal(to=["bob"]), "ttl", {"S": "soon"}),
        (memory(), "importance", {"S": "0.9"}),
        (memory(), "access_count", {"BOOL": True}),
    ],
)
def test_a_value_of_another_dynamodb_type_is_refused_though_it_reads_alike(
    item: Item, name: str, value: Wire
) -> None:
    kind = kind_of(_table(item), item["PK"], item["SK"])
    assert kind is not None

    assert judge(kind, {**item_to_wire(item), name: value}) == ["wire_type"]


def test_an_importance_that_nobody_knows_may_be_null() -> None:
    assert judge("memory", {**item_to_wire(memory()), "importance": {"NULL": True}}) == []


def test_attributes_that_are_nobodys_may_hold_anything() -> None:
    state: Image = item_to_wire(
        {
            "PK": "agent:ann",
            "SK": "CURRENT",
            "agent_id": "ann",
            "state_type": "CURRENT",
            "last_updated": 1,
            "version": 1,
        }
    )

    assert judge("state", {**state, "timestamp": {"S": "yesterday"}}) == []


@pytest.mark.parametrize(
    ("change", "code"),
    [
        ({"ttl": int(START) - 1}, "expired_ttl"),
        ({"ttl": int(START) + 11 * DAY_S}, "distant_ttl"),
        ({"ttl": -5}, "greater_than_equal"),
        ({"timestamp": int(START) + 400}, "inconsistent"),
        ({"signal_id": "s#1"}, "string_pattern_mismatch"),
        ({"source_agent": "a#b"}, "string_pattern_mismatch"),
        ({"source_agent": "eve"}, "inconsistent"),
        ({"target_agents": ["a#b"]}, "inconsistent"),
        ({"target_agents": ["*", "bob"]}, "inconsistent"),
        ({"target_agents": []}, "too_short"),
        ({"event_time": "tomorrow"}, "inconsistent"),
    ],
)
def test_a_bad_signal_is_refused_by_a_stable_code(change: Item, code: str) -> None:
    assert judged("signal", {**signal(to=["bob"]), **change}) == [code]


def test_when_it_was_stored_decides_and_not_when_it_is_looked_at() -> None:
    brief = signal(to=["bob"], ttl=int(START) + 5)
    ahead = signal(to=["bob"], at=START + 400)

    assert judged("signal", brief, START) == []
    assert judged("signal", brief, START + 60) == ["expired_ttl"]
    assert judged("signal", ahead, START) == ["future_timestamp"]
    assert judged("signal", ahead, START + 400) == []


@pytest.mark.parametrize(
    ("event_time", "event_ahead", "codes"),
    [
        ("2025-10-19T14:30:00Z", {}, []),
        ("2025-10-19T14:30:01Z", {}, ["future_event_time"]),
        ("2025-10-19", {}, []),
        ("2025-10-20", {}, ["future_event_time"]),
        ("9999-12-31", {}, ["future_event_time"]),
        ("0001-01-01", {}, []),
        ("2025-10-20", {"TRADE": 2 * DAY_S}, []),
        ("2025-10-20", {"FORECAST": 2 * DAY_S}, ["future_event_time"]),
        ("2025-10-18T14:30:01Z", {"TRADE": 0}, ["future_event_time"]),
    ],
)
def test_event_time_lies_no_further_ahead_than_its_type_may(
    event_time: str, event_ahead: EventAhead, codes: list[str]
) -> None:
    item = decision(event_time=event_time)
    image = Typed(item_to_wire(item))

    found = faults_of("decision", image, stored_at=START, event_ahead=event_ahead)

    assert [fault.code for fault in found] == codes
    # The verdict is the same whenever the decision is judged again, and however late.
    assert is_admissible("decision", item, event_ahead=event_ahead) is not bool(codes)
    for stored_at in (START - 200, START + 90 * DAY_S):
        again = faults_of("decision", image, stored_at=stored_at, event_ahead=event_ahead)
        assert [fault.code for fault in again] == codes


def test_the_event_time_of_a_signal_is_its_own_affair() -> None:
    assert judged("signal", signal(to=["bob"], event_time="9999-12-31")) == []


@pytest.mark.parametrize("kind", ["signal", "decision", "memory"])
def test_a_record_nests_as_deep_as_the_models_read_and_no_deeper(kind: Kind) -> None:
    deep, deeper = ({**VALID[kind], "context": {"x": nested(MAX_DEPTH - n)}} for n in (1, 0))

    assert judged(kind, deep) == []
    assert judged(kind, deeper) == ["too_deep"]
    [fault] = faults_of(kind, Typed(item_to_wire(deeper)), stored_at=START)
    assert f"nest {MAX_DEPTH + 1} deep" in fault.message


def test_seventeen_lists_beside_each_other_are_not() -> None:
    assert judged("signal", signal(to=["bob"], data={"x": [[n] for n in range(40)]})) == []


def test_a_signal_above_its_size_is_refused_and_a_decision_of_that_size_is_not() -> None:
    text = "é" * 150_000

    assert judged("signal", signal(to=["bob"], data={"x": text})) == ["too_large"]
    assert judged("decision", decision(context={"x": text})) == []


def test_faults_are_cut_to_what_a_notice_can_hold() -> None:
    many = signal(to=["bob"])
    image = {**item_to_wire(many), "target_agents": {"L": [{"N": "1"}] * 5000}}
    long = item_to_wire({**many, "target_agents": ["é" * 30_000]})

    named = item_to_wire({**registration("ann"), "filters": {"é" * 30_000: 1}})

    found = faults_of("signal", Typed(image), stored_at=START)
    told = faults_of("signal", Typed(long), stored_at=START)
    told += faults_of("registration", Typed(named), stored_at=START)

    assert len(found) == MAX_FAULTS
    assert all(len(fault.message) <= MAX_MESSAGE for fault in [*found, *told])
    assert max(len(fault.where) for fault in told) == MAX_MESSAGE


def test_an_item_found_in_its_table_is_judged_by_its_own_time() -> None:
    old = memory(at=START - 30 * DAY_S, ttl=int(START) - 28 * DAY_S)

    assert is_admissible("memory", old)
    assert not is_admissible("memory", {**old, "memory_type": "DREAM"})
    assert not is_admissible("memory", {**old, "timestamp": "soon"})


def test_an_item_found_in_its_table_may_have_been_written_long_after_its_moment() -> None:
    late = memory(at=START - 900 * DAY_S, ttl=int(START))

    assert is_admissible("memory", late)
    assert judged("memory", late, START - 900 * DAY_S) == ["distant_ttl"]


@pytest.mark.parametrize(
    ("kind", "image", "moment"),
    [
        ("decision", {"timestamp": {"N": "5"}}, 5.0),
        ("decision", {"timestamp": {"N": "5"}, "ttl": {"N": str(400 * DAY_S + 5)}}, 5.0),
        ("decision", {"timestamp": {"N": "5"}, "ttl": {"N": str(400 * DAY_S + 6)}}, 6.0),
        ("signal", {"timestamp": {"N": "5"}, "ttl": {"N": str(10 * DAY_S + 6)}}, 6.0),
        ("registration", {"registered_at": {"N": "5"}, "timestamp": {"N": "6"}}, 5.0),
        ("state", {"timestamp": {"N": "5"}, "ttl": {"N": str(900 * DAY_S)}}, 5.0),
        ("memory", {"timestamp": {"N": "5.5"}}, None),
        ("memory", {"timestamp": {"S": "5"}}, None),
        ("memory", {}, None),
        (None, {"timestamp": {"N": "5"}, "ttl": {"N": str(900 * DAY_S)}}, 5.0),
    ],
)
def test_an_item_claims_to_be_stored_at_its_moment_or_when_its_ttl_was_first_allowed(
    kind: Kind | None, image: Image, moment: float | None
) -> None:
    assert claimed_at(kind, image) == moment


def test_an_item_found_in_its_table_is_no_deeper_and_no_larger_than_any() -> None:
    assert not is_admissible("decision", decision(context={"x": nested(MAX_DEPTH)}))
    assert not is_admissible("signal", signal(to=["bob"], data={"x": "y" * 300_000}))


@given(st.dictionaries(st.text(string.printable, min_size=1), WIRE, max_size=6))
@settings(max_examples=80, deadline=None)
def test_even_rubbish_gets_a_verdict(rubbish: Image) -> None:
    image = {**rubbish, "PK": {"S": "signal#ALERT"}, "SK": {"S": "2025-10-18T14:30:00Z#s1"}}

    for kind in ("signal", "decision", "memory", "state", "registration"):
        assert judge(kind, image) != []


def _table(item: Item) -> str:
    if item["PK"].startswith("signal#"):
        return tables.SIGNALS
    return tables.STATE if "#memory#" in item["PK"] else tables.DECISIONS


@pytest.mark.parametrize("source", ["ann", "3"])
def test_a_signal_in_a_shard_of_its_type_is_admitted_and_binds_nobody(source: str) -> None:
    item = {**signal(source, to=["bob"], strict=False), "PK": "signal#ALERT#3"}

    assert judged("signal", item) == []
    assert by_models("signal", item_to_wire(item))
    assert message_of(item, "bob", "agent_signals")["provenance"] == "unverified"
    assert judged("signal", {**item, "PK": "signal#OTHER#3"}) != []


@pytest.mark.parametrize(("levels", "is_deep"), [(MAX_DEPTH, False), (MAX_DEPTH + 1, True)])
def test_no_text_is_too_short_to_be_too_deep(levels: int, *, is_deep: bool) -> None:
    assert may_be_too_deep('{"L":[' * levels + "]}" * levels) is is_deep


def test_a_letter_that_is_an_escape_counts_for_any_depth() -> None:
    words = "M" * (MAX_DEPTH + 1)

    assert not may_be_too_deep(f'{{"S":"{words}"}}')
    assert may_be_too_deep(f'{{"\\u004d":{{"x":{{"S":"{words}"}}}}}}')
