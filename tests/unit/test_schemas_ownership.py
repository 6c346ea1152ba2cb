"""What a change means follows from who owns the attributes that changed."""

import pytest

from sharpwave.schemas.keys import Kind
from sharpwave.schemas.ownership import IGNORED, WORKER, Change, change_of, changed_names

SIGNAL = {"PK": 1, "target_agents": 2}
MIRRORED = {**SIGNAL, "processing_status": 3, "status_v": 4}


@pytest.mark.parametrize(
    ("old", "new", "change"),
    [
        (None, SIGNAL, Change.INSERTED),
        (SIGNAL, None, Change.REMOVED),
        (SIGNAL, MIRRORED, Change.ECHO),
        (MIRRORED, {**MIRRORED, "status_v": 5}, Change.ECHO),
        (MIRRORED, SIGNAL, Change.WIPED),
        (MIRRORED, {**SIGNAL, "target_agents": 9}, Change.OVERWRITTEN),
        (MIRRORED, {**MIRRORED, "target_agents": 9}, Change.AGENT),
        (SIGNAL, {**SIGNAL, "data": 1}, Change.AGENT),
        ({**SIGNAL, "data": 1}, SIGNAL, Change.AGENT),
        (SIGNAL, {**SIGNAL, "GSI1_PK": 1}, Change.ECHO),
    ],
)
def test_a_change_of_a_signal(
    old: dict[str, int] | None, new: dict[str, int] | None, change: Change
) -> None:
    assert change_of("signal", old, new) is change


@pytest.mark.parametrize(
    ("old", "new", "change"),
    [
        ({"status": 1}, {"status": 2}, Change.AGENT),
        ({"status": 1}, {"status": 2, "worker_rev": 1}, Change.ECHO),
        ({"status": 1, "worker_rev": 1}, {"status": 2, "worker_rev": 1}, Change.AGENT),
        ({"status": 1, "worker_rev": 1}, {"status": 2, "worker_rev": 2}, Change.ECHO),
        ({"status": 1, "worker_rev": 1}, {"status": 2}, Change.OVERWRITTEN),
        ({"status": 1, "signal_pk": 1}, {"status": 1}, Change.WIPED),
    ],
)
def test_a_change_of_a_row(old: dict[str, int], new: dict[str, int], change: Change) -> None:
    """A worker's write to a row carries a new revision; an agent's cannot know one."""
    assert change_of("row", old, new) is change


def test_what_a_raw_writer_leaves_out_again_of_the_ignored_is_no_loss() -> None:
    old = {"decision_id": 1, "is_stm": False, "GSI1_SK": 2}

    assert change_of("decision", old, {"decision_id": 1}) is Change.ECHO


@pytest.mark.parametrize("kind", sorted(WORKER))
def test_nobody_owns_an_attribute_twice(kind: Kind) -> None:
    names = WORKER[kind] - IGNORED

    for name in names:
        assert changed_names(kind, {name: 1}, {name: 2}) == set()
    assert changed_names(kind, {"own": 1}, {"own": 2}) == {"own"}
