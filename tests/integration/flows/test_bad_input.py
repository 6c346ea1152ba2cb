"""A bad record stops nothing, is kept with its reasons, and its owner hears of it."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any

import pytest

from sharpwave.schemas import keys
from sharpwave.schemas.tables import DECISIONS, MEMORY, SIGNALS, STATE
from sharpwave.schemas.times import DAY_S

if TYPE_CHECKING:
    from tests.integration.conftest import World

Item = dict[str, Any]

#: Near DynamoDB's limit for an item, in characters of two bytes each.
HUGE = "é" * 194_000


def nested(levels: int) -> Item:
    value: Item = {"end": True}
    for _ in range(levels):
        value = {"deeper": value}
    return value


def without(item: Item, name: str) -> Item:
    return {key: value for key, value in item.items() if key != name}


def bad_signals(raw: Any, hunter: str, risk: str) -> list[tuple[str, Item]]:
    """Signals of `hunter` with one fault each, and what its reason must name."""
    good, now = raw["signal"], int(time.time())
    strict = f"signal#WHALE_ACTIVITY#{hunter}"
    return [
        ("signal_type", without(good(hunter, [risk]), "signal_type")),
        ("confidence", good(hunter, [risk], confidence="NaN")),
        ("confidence", good(hunter, [risk], confidence=2)),
        ("target_agents", good(hunter, [])),
        ("target_agents", good(hunter, ["Risk Manager"])),
        ("timestamp", {**good(hunter, [risk]), "timestamp": "yesterday"}),
        ("data", good(hunter, [risk], data="text")),
        ("source_agent", {**good(hunter, [risk]), "source_agent": risk}),
        ("signal_id", {**good(hunter, [risk]), "signal_id": "sig#1"}),
        ("signal_id", {**good(hunter, [risk]), "signal_id": "sig\uffff"}),
        ("iso_timestamp", {**good(hunter, [risk]), "iso_timestamp": "2025-10-18T14:30:00Z"}),
        ("expired_ttl", good(hunter, [risk], ttl=now - DAY_S)),
        ("distant_ttl", good(hunter, [risk], ttl=now + 11 * DAY_S)),
        ("future_timestamp", good(hunter, [risk], at=time.time() + 3600)),
        ("too_deep", good(hunter, [risk], data=nested(30))),
        ("too_large", good(hunter, [risk], data={"text": HUGE})),
        ("broadcast_not_allowed", good(hunter, ["*"])),
        ("unknown_key", {**good(hunter, [risk]), "PK": f"{strict}#more"}),
        ("unknown_key", {**good(hunter, [risk]), "SK": "now#sig-1"}),
    ]


def bad_others(raw: Any, hunter: str) -> list[tuple[str, str, Item]]:
    """Bad records of the other tables, and what their reason must name."""
    decision, memory = raw["decision"], raw["memory"]
    state = {**keys.current_state(hunter).item(), "agent_id": hunter}
    return [
        (DECISIONS, "outcome", decision(hunter, outcome={"success": "maybe"})),
        (DECISIONS, "outcome_rev", decision(hunter, outcome_rev=0)),
        (DECISIONS, "iso_timestamp", {**decision(hunter), "iso_timestamp": "2025-01-01"}),
        (DECISIONS, "agent_id", {**decision(hunter), "agent_id": "some#one"}),
        (DECISIONS, "too_deep", decision(hunter, inputs=nested(30))),
        (DECISIONS, "unknown_key", {**decision(hunter), "PK": f"agent:{hunter}"}),
        (STATE, "importance", memory(hunter, importance="high")),
        (STATE, "access_count", memory(hunter, access_count=-1)),
        (STATE, "unknown_key", {**memory(hunter), "PK": f"agent:{hunter}#memory#DREAM"}),
        (STATE, "version", state),
    ]


@pytest.mark.deviates("localstack", "large-records")
def test_poison_among_good_signals_is_parked_and_told_and_the_good_arrive(
    world: World, raw: Any
) -> None:
    hunter, risk = world.agent("hunter"), world.agent("risk")
    bad = bad_signals(raw, hunter, risk)

    for number, (_, poison) in enumerate(bad):
        world.put(SIGNALS, poison)
        world.signal(hunter, [risk], data={"number": number, "odd": "\uffff \x00 \U0001f40b"})

    arrived = world.receive(risk, len(bad))
    assert sorted(message["data"]["number"] for message in arrived) == list(range(len(bad)))
    assert {message["data"]["odd"] for message in arrived} == {"\uffff \x00 \U0001f40b"}
    for named, poison in bad:
        assert_parked(world, SIGNALS, poison, named)
        assert world.items.get(SIGNALS, keys.mirror(key_of(poison))) is None
    assert_told(world, hunter)
    own = [poison for _, poison in bad if keys.owner_of(poison["PK"]) == hunter]
    assert_shown(world, hunter, at_least=len(own))


@pytest.mark.deviates("localstack", "large-records")
def test_poison_of_the_other_tables_is_parked_and_what_is_good_is_learned(
    world: World, raw: Any
) -> None:
    hunter = world.agent("hunter")
    bad = bad_others(raw, hunter)

    for table, _, poison in bad:
        world.put(table, poison)
    memory = world.memory(hunter, importance=1, data={"text": HUGE})
    world.decision(hunter, inputs={"text": HUGE}, outcome={"success": True})

    for table, named, poison in bad:
        assert_parked(world, table, poison, named)
    assert_told(world, hunter)
    fact = keys.fact(hunter, "NOTE", memory.sk)
    world.eventually(lambda: world.items.get(MEMORY, fact), "the good memory is promoted")
    world.counted(hunter, n=1, s=1)


def test_a_record_that_was_mended_is_worked_as_if_it_were_new(world: World, raw: Any) -> None:
    hunter, risk = world.agent("hunter"), world.agent("risk")
    wrong = raw["signal"](hunter, [risk], confidence=2)
    signal = world.put(SIGNALS, wrong)
    assert_parked(world, SIGNALS, wrong, "confidence")

    world.put(SIGNALS, wrong | {"confidence": 1})

    world.becomes(signal, risk="DELIVERED")
    [message] = world.receive(risk)
    assert message["confidence"] == 1


def test_a_signal_that_changes_after_delivery_is_refused(world: World, raw: Any) -> None:
    hunter, risk = world.agent("hunter"), world.agent("risk")
    item = raw["signal"](hunter, [risk], data={"whales": 5})
    signal = world.put(SIGNALS, item)
    world.becomes(signal, risk="DELIVERED")

    world.items.update(SIGNALS, signal, {"data": {"whales": 6}})

    assert_parked(world, SIGNALS, item, "immutable")
    [message] = world.receive(risk)
    assert message["data"] == {"whales": 5}
    assert_told(world, hunter)


def assert_parked(world: World, table: str, record: Item, named: str) -> None:
    parked = world.eventually(lambda: world.parked(table, key_of(record)), f"{record} is parked")
    faults = [fault for item in parked for fault in item["faults"]]
    said = [f"{fault['code']} {fault['where']} {fault['message']}" for fault in faults]
    assert any(named in text for text in said), (named, said)
    assert all(item["image"] and item["parked_at"] for item in parked)


def assert_told(world: World, agent: str) -> None:
    """Receive a notice of each kind of fault that the agent's own records have."""
    _, records = world.sharpwave("dlq", "show", "parked", "--limit", "1000")
    wanted = {one["faults"][0]["code"] for one in records if one["owner"] == agent}
    assert wanted
    told: dict[str, Item] = {}

    def all_told() -> bool:
        told.update({notice["code"]: notice for notice in world.letters(agent)})
        return wanted <= told.keys()

    world.eventually(all_told, f"{agent} is told of {wanted}")
    for notice in told.values():
        assert (notice["kind"], notice["target_agent"]) == ("notice", agent)
        assert all(reason["message"] for reason in notice["reasons"])


def assert_shown(world: World, owner: str, *, at_least: int) -> None:
    """Look the owner's parked records up as an operator does."""
    _, listed = world.sharpwave("dlq", "ls")
    code, found = world.sharpwave("doctor")
    assert listed["parked"][owner] >= at_least
    assert code == 1
    assert any(
        finding["area"] == "parked" and owner in finding["what"] for finding in found["findings"]
    )


def key_of(record: Item) -> keys.Key:
    return keys.Key(record["PK"], record["SK"])
