"""Names are checked whole, and ids follow from a record's primary key."""

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sharpwave.schemas import queues, tables
from sharpwave.schemas.ids import (
    AGENT_ID,
    decision_id,
    delivery_id,
    is_agent_id,
    is_record_id,
    is_type_name,
    signal_id,
    signal_uid,
    ulid,
    ulid_epoch_ms,
)


@pytest.mark.parametrize("name", ["a", "0", "ann", "agent-7", "a--b", "x" * 40])
def test_what_can_name_an_agent(name: str) -> None:
    assert is_agent_id(name)


@pytest.mark.parametrize(
    "name",
    ["", "-", "-a", "a-", "A", "a_b", "a#b", "a b", "ann\n", "x" * 41, "é", "*", None, 5, b"ann"],
)
def test_what_cannot_name_an_agent(name: object) -> None:
    assert not is_agent_id(name)


@pytest.mark.parametrize(
    ("name", "fits"),
    [
        ("T", True),
        ("A1_B", True),
        ("x" * 3, False),
        ("1A", False),
        ("A" * 64, False),
        ("A\n", False),
    ],
)
def test_what_can_name_a_type(name: str, *, fits: bool) -> None:
    assert is_type_name(name) is fits


@pytest.mark.parametrize(
    ("name", "fits"),
    [
        ("a_B-9", True),
        ("x" * 64, True),
        ("x" * 65, False),
        ("", False),
        ("a#b", False),
        ("a\n", False),
    ],
)
def test_what_can_be_a_record_id(name: str, *, fits: bool) -> None:
    assert is_record_id(name) is fits


@given(st.text())
def test_an_agents_name_never_holds_what_would_forge_a_key(name: str) -> None:
    if is_agent_id(name):
        assert not set(name) & set("#_.|/\n ")
        assert re.fullmatch(AGENT_ID, name)


@given(st.from_regex(AGENT_ID, fullmatch=True).filter(is_agent_id))
def test_an_agents_queues_fit_with_the_longest_prefix(name: str) -> None:
    queue = queues.inbox(name)

    for each in (queue.name, queue.dlq):
        assert len(tables.physical(each, "p" * 20)) <= queues.MAX_QUEUE_NAME


@given(st.integers(0, 2**48 - 1))
def test_a_ulid_tells_its_time_and_sorts_by_it(epoch_ms: int) -> None:
    made = ulid(epoch_ms=epoch_ms)

    assert len(made) == 26
    assert ulid_epoch_ms(made) == epoch_ms
    if epoch_ms:
        assert ulid(epoch_ms=epoch_ms - 1) < made


@pytest.mark.parametrize("text", ["", "x", "8" + "0" * 25, "0" * 25 + "U", "0" * 27])
def test_what_is_no_ulid_tells_no_time(text: str) -> None:
    assert ulid_epoch_ms(text) is None


def test_ids_of_records_can_be_record_ids_and_differ() -> None:
    made = [decision_id(), decision_id(), signal_id(), signal_id()]

    assert len(set(made)) == 4
    assert all(map(is_record_id, made))


@given(st.text(), st.text(), st.text(), st.text())
def test_a_signals_identity_is_its_key_and_nothing_else(a: str, b: str, c: str, d: str) -> None:
    one, other = signal_uid(a, b), signal_uid(c, d)

    assert re.fullmatch("[a-z2-7]{24}", one)
    assert (one == other) is (f"{a}\0{b}" == f"{c}\0{d}")


def test_a_delivery_is_one_signal_at_one_target() -> None:
    assert delivery_id("uid", "bob") == "uid.bob"
