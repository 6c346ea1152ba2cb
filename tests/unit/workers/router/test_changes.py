"""What became of a row is told from what changes in one as a rule."""

from typing import Any

import pytest
from msgspec import Raw
from msgspec import json as fast_json

from sharpwave.schemas import keys
from sharpwave.schemas.ids import signal_uid
from sharpwave.schemas.keys import Kind
from sharpwave.schemas.numbers import item_to_wire
from sharpwave.schemas.ownership import stamped
from sharpwave.workers.router.changes import had_sound_outcome, has_new_version, is_mark, row_change
from sharpwave.workers.router.image import Image

SIGNAL = keys.Key("signal#WHALE#ann", "2025-10-18T14:30:00.000Z#s1")
KEY = keys.inbox_row("bob", SIGNAL, signal_uid(*SIGNAL))
ROW = {**KEY.item(), "signal_pk": SIGNAL.pk, "signal_sk": SIGNAL.sk, "status": "PENDING"}


def raw(item: dict[str, Any]) -> Raw:
    return Raw(fast_json.encode(item_to_wire(item)))


def told(before: dict[str, Any], after: dict[str, Any]) -> str | None:
    found = row_change(KEY, raw(before), raw(after))
    return None if found is None else found[0]


def test_what_a_worker_stamps_is_its_echo() -> None:
    ended = {**ROW, **stamped(KEY, {"status": "EXPIRED", "reason": "unacknowledged"})}

    assert told(ROW, ended) == "echo"
    assert told(ended, {**ROW, "status": "EXPIRED"}) is None


@pytest.mark.parametrize(
    ("before", "after", "expected"),
    [
        ("PENDING", "PROCESSED", "acknowledgement"),
        ("PENDING", "FAILED", "acknowledgement"),
        ("FAILED", "PROCESSED", "acknowledgement"),
        ("PROCESSED", "FAILED", None),
        ("PROCESSED", "PROCESSED", None),
        ("PENDING", "EXPIRED", None),
    ],
)
def test_an_agent_moves_its_row_forward_or_the_change_is_looked_at(
    before: str, after: str, expected: str | None
) -> None:
    moved = {**ROW, "status": after, "processed_at": 7, "decision_id": "d"}

    assert told({**ROW, "status": before}, moved) == expected


def test_an_acknowledgement_that_changes_more_is_looked_at() -> None:
    assert told(ROW, {**ROW, "status": "PROCESSED", "signal_sk": "other"}) is None
    assert told(ROW, {**ROW, "status": "PROCESSED", "data": {"n": 1}}) is None


@pytest.mark.parametrize(
    ("said", "is_sound"),
    [
        ({}, True),
        ({"outcome": {"success": True}, "outcome_rev": 3}, True),
        ({"outcome": {"success": True}, "outcome_rev": 0}, False),
        ({"outcome": {"success": True}, "outcome_rev": "3"}, False),
        ({"outcome": {"success": "yes"}}, False),
    ],
)
def test_an_outcome_was_sound_if_it_would_be_admitted(said: dict[str, Any], is_sound: bool) -> None:
    assert had_sound_outcome(Image(raw({"PK": "agent:ann#decision#A", **said}))) is is_sound


def test_a_mirror_is_a_workers_by_its_new_version() -> None:
    one, two, none = raw({"status_v": 1}), raw({"status_v": 2}), raw({"PK": "signal#A"})

    assert has_new_version(one, two)
    assert has_new_version(none, one)
    assert not has_new_version(one, one)
    assert not has_new_version(one, none)


@pytest.mark.parametrize("kind", ["registration", "signal"])
def test_what_cannot_be_read_or_bears_no_marks_is_looked_at(kind: Kind) -> None:
    """Some backend may write null for an image."""
    assert not is_mark(kind, Raw(b"null"), Raw(b'{"PK":{"S":"x"}}'))
