"""What a change means follows from who owns the attributes that changed."""

from typing import Any

import pytest

from sharpwave.schemas.ids import ulid
from sharpwave.schemas.keys import Key, Kind
from sharpwave.schemas.numbers import item_to_wire
from sharpwave.schemas.ownership import IGNORED, WORKER, Verdict, agents_own, change_of, stamped

KEY = Key("agent:bob#inbox", "2025-10-18T14:30:00.000Z#x")
ROW = {**KEY.item(), "status": "PENDING", "signal_pk": "x"}
STAMPED = ROW | stamped(KEY, {"status": "EXPIRED"})
ULID = ulid()
SIGNAL = {"PK": 1, "target_agents": 2}
MIRRORED = {**SIGNAL, "processing_status": 3, "status_v": 4}


@pytest.mark.parametrize(
    ("old", "new", "change"),
    [
        (None, SIGNAL, Verdict.INSERTED),
        (SIGNAL, None, Verdict.REMOVED),
        (SIGNAL, MIRRORED, Verdict.ECHO),
        (MIRRORED, {**MIRRORED, "status_v": 5}, Verdict.ECHO),
        (MIRRORED, SIGNAL, Verdict.WIPED),
        (MIRRORED, {**SIGNAL, "target_agents": 9}, Verdict.OVERWRITTEN),
        (MIRRORED, {**MIRRORED, "target_agents": 9}, Verdict.AGENT),
        (SIGNAL, {**SIGNAL, "data": 1}, Verdict.AGENT),
        ({**SIGNAL, "data": 1}, SIGNAL, Verdict.AGENT),
        (SIGNAL, {**SIGNAL, "GSI1_PK": 1}, Verdict.ECHO),
    ],
)
def test_a_change_of_a_signal(
    old: dict[str, int] | None, new: dict[str, int] | None, change: Verdict
) -> None:
    assert change_of("signal", old, new)[0] is change


@pytest.mark.parametrize(
    ("old", "new", "change"),
    [
        (ROW, {**ROW, "status": "PROCESSED"}, Verdict.AGENT),
        (ROW, ROW | stamped(KEY, {"status": "EXPIRED"}), Verdict.ECHO),
        (ROW, ROW | stamped(KEY, {"status": "FAILED"}), Verdict.ECHO),
        (ROW, ROW | stamped(KEY, {"chunk": "c"}, status="PENDING"), Verdict.ECHO),
        (ROW, {**ROW, "status": "EXPIRED", "worker_rev": ULID}, Verdict.ECHO),
        (ROW, {**ROW, "status": "PROCESSED", "worker_rev": ULID}, Verdict.OVERWRITTEN),
        (ROW, {**ROW, "status": "PROCESSED", "worker_rev": 1}, Verdict.OVERWRITTEN),
        (STAMPED, {**STAMPED, "status": "PROCESSED"}, Verdict.AGENT),
        (STAMPED, {**STAMPED, "signal_pk": "y"}, Verdict.WIPED),
        (ROW, {**ROW, "status": "PROCESSED", "chunk": "c"}, Verdict.OVERWRITTEN),
        (ROW, STAMPED | {"status": "PROCESSED"}, Verdict.OVERWRITTEN),
        (ROW, STAMPED | {"SK": "another"}, Verdict.OVERWRITTEN),
        (ROW, {**KEY.item(), "status": "PENDING"}, Verdict.WIPED),
    ],
)
def test_a_change_of_a_row(old: dict[str, Any], new: dict[str, Any], change: Verdict) -> None:
    """A worker's write to a row carries a stamp of its own, which fits no other key or status."""
    assert change_of("inbox_row", old, new)[0] is change
    assert change_of("inbox_row", item_to_wire(old), item_to_wire(new))[0] is change


def test_what_a_raw_writer_leaves_out_again_of_the_ignored_is_no_loss() -> None:
    old = {"decision_id": 1, "is_stm": False, "GSI1_SK": 2}

    assert change_of("decision", old, {"decision_id": 1}) == (Verdict.ECHO, {"is_stm", "GSI1_SK"})


@pytest.mark.parametrize("kind", sorted(WORKER))
def test_nobody_owns_an_attribute_twice(kind: Kind) -> None:
    names = WORKER[kind] - IGNORED

    assert agents_own(kind, names | {"own"}) == {"own"}
