"""Whatever an agent writes, the router answers with work or a refusal, in ASCII that fits SQS."""

import base64
import os
import zlib
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sharpwave.schemas import tables
from sharpwave.schemas.numbers import item_from_wire, item_to_wire, parse_json
from sharpwave.schemas.ownership import digest_of
from sharpwave.workers.router.admission import faults_of
from sharpwave.workers.router.image import Image
from sharpwave.workers.router.router import Router
from sharpwave.workers.signals.refusals import MAX_IMAGE
from sharpwave.workers.work.envelope import ascii_json, image_of
from sharpwave.workers.work.ports import Item
from tests.world import MemoryTables, VirtualClock
from tests.world.records import decision, key_of, memory, outcome, signal
from tests.world.routed import entries
from tests.world.stores import START


def routed(table: str, item: Item) -> list[tuple[str, Any]]:
    store = MemoryTables(VirtualClock())
    store.put(table, item)
    return entries(Router()(table, [store.streams[table][0].record]))


def levels(count: int) -> Any:
    nested: Any = "x"
    for _ in range(count):
        nested = [nested]
    return nested


WIDE = "é" * 199_000
BAD: dict[str, tuple[str, Item]] = {
    "390 KB in a signal": (tables.SIGNALS, signal(to=["bob"], data={"x": WIDE})),
    "200 KB that compress well": (tables.SIGNALS, signal(to=["bob"], data={"x": "y" * 200_000})),
    "30 levels": (tables.SIGNALS, signal(to=["bob"], data={"x": levels(29)})),
    "30 levels in a large record": (
        tables.DECISIONS,
        decision(context={"x": levels(29), "y": "z" * 100_000}),
    ),
    "NaN as text": (tables.SIGNALS, signal(to=["bob"], confidence="NaN")),
    "# in a name": (tables.SIGNALS, signal(to=["bob"], signal_id="s#1")),
    "# in the source": (tables.SIGNALS, signal(to=["bob"], source_agent="a#b")),
    "ttl as text": (tables.SIGNALS, signal(to=["bob"], ttl="tomorrow")),
    "ttl in the past": (tables.SIGNALS, signal(to=["bob"], ttl=5)),
    "the future": (tables.SIGNALS, signal(to=["bob"], at=START + 301)),
    "10,000 bad targets": (tables.SIGNALS, signal(to=["bob"], target_agents=[1] * 9_000)),
    "a huge bad target": (tables.SIGNALS, signal(to=["é" * 60_000])),
    "390 KB of a bad decision": (
        tables.DECISIONS,
        decision(context={"x": WIDE}, decision_id="another"),
    ),
    "random bytes in a bad decision": (
        tables.DECISIONS,
        decision(context={"x": os.urandom(390_000)}, decision_id="another"),
    ),
    "an outcome in words": (tables.DECISIONS, decision(outcome={"success": "no"})),
    "390 KB of a bad memory": (tables.STATE, memory(data=WIDE)),
    "10,000 bad subscriptions": (
        tables.STATE,
        {"PK": "agent:ann", "SK": "REGISTRATION", "agent_id": "ann", "subscriptions": [1] * 9_000},
    ),
    "nothing but a key": (tables.SIGNALS, {"PK": "signal#ALERT", "SK": "2025-10-18T14:30:00Z#s"}),
}


@pytest.mark.parametrize(("table", "item"), BAD.values(), ids=BAD.keys())
def test_a_bad_record_becomes_a_refusal_and_never_an_exception(table: str, item: Item) -> None:
    found = routed(table, item)

    (refusal,) = [entry for actor, entry in found if actor == "on_refused"]
    assert refusal["faults"]
    assert refusal["key"] == [item["PK"], item["SK"]]
    assert len(refusal["image"]) <= MAX_IMAGE
    assert {actor for actor, _ in found} <= {"on_refused", "on_archived"}


def test_a_refusal_tells_what_was_refused_and_why_in_words_that_are_known_again() -> None:
    item = signal(to=["bob"], ttl=int(START) - 60)
    image = item_to_wire(item)

    ((actor, entry),) = routed(tables.SIGNALS, item)

    (fault,) = faults_of("signal", Image(image), stored_at=START)
    assert (actor, fault.code) == ("on_refused", "expired_ttl")
    assert entry.pop("event_id")
    number = entry["words"].pop("number")
    assert len(number) == 40
    assert entry == {
        "table": tables.SIGNALS,
        "key": list(key_of(item)),
        "faults": [fault._asdict()],
        "image": ascii_json(image),
        "words": {"digest": digest_of("signal", image), "ttl": int(START) - 60},
    }


@pytest.mark.parametrize("is_sound", [True, False])
def test_a_refused_change_tells_what_stood_before_it_if_that_was_admitted(
    *, is_sound: bool
) -> None:
    """What a worker wrote beside it is not among the words that are known again."""
    before = decision(outcome=outcome(True, None if is_sound else 7), outcome_rev=1, promoted_at=1)
    store = MemoryTables(VirtualClock())
    store.put(tables.DECISIONS, before)
    store.put(tables.DECISIONS, {**before, "decision_type": "HEDGE"})

    found = dict(entries(Router()(tables.DECISIONS, [store.streams[tables.DECISIONS][1].record])))

    words = found["on_refused"]["words"]
    refused = digest_of("decision", item_to_wire({**before, "decision_type": "HEDGE"}))
    assert is_sound or words["digest"] == refused
    assert (words.get("before") or [None])[0] == (
        digest_of("decision", item_to_wire(before)) if is_sound else None
    )


def test_a_refused_decision_is_archived_with_its_faults() -> None:
    found = dict(routed(tables.DECISIONS, decision(outcome={"success": "no"})))

    assert found["on_archived"]["state"] == "refusal"
    assert found["on_archived"]["faults"] == found["on_refused"]["faults"]


def test_a_large_image_travels_compressed_and_whole() -> None:
    item = decision(context={"x": WIDE}, outcome=outcome(True))

    found = dict(routed(tables.DECISIONS, item))

    entry = found["on_decisions"]
    assert "image" not in entry
    assert item_from_wire(image_of(entry)) == item
    assert zlib.decompress(base64.b64decode(entry["zimage"])).isascii()


@given(st.text(max_size=40), st.binary(max_size=20))
@settings(max_examples=200, deadline=None)
def test_text_and_bytes_arrive_as_they_were_written(text: str, content: bytes) -> None:
    item = signal(to=["bob"], data={"text": text, "bytes": content, text or "x": 1})

    ((actor, entry),) = routed(tables.SIGNALS, item)

    assert actor == "on_signals"
    assert item_from_wire(image_of(entry)) == item


@pytest.mark.parametrize("text", ["\uffff", "\ufffe", "😀", "\x00\x1f\x7f", "é\u2028", '"\\'])
def test_characters_that_sqs_refuses_are_escaped(text: str) -> None:
    written = ascii_json({"x": text})

    assert written.isascii()
    assert parse_json(written) == {"x": text}


def test_json_is_ascii_for_keys_too() -> None:
    image = item_to_wire({"ключ": {"é": [b"\xff", {"a", "b"}]}})

    assert ascii_json(image).isascii()
