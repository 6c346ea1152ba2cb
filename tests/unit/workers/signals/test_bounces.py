"""Who sent to nobody is told so once, whatever is repeated, with each name and reason."""

from contextlib import suppress
from typing import Any

import pytest

from sharpwave.schemas import keys, tables
from sharpwave.schemas.messages import NoticeMessage
from sharpwave.workers.work.ports import Item
from tests.world import Crash, Faults, World, records
from tests.world.world import messages


@pytest.fixture
def world() -> World:
    """Two agents, `ann` and `bob`; `eve` takes signals from `bob` only."""
    made = World()
    made.register("ann", "bob")
    made.register("eve", accepts_from=["bob"])
    made.settle()
    return made


def put(world: World, to: list[str], source: str = "ann", **more: Any) -> Item:
    item = records.signal(source, "s1", to=to, at=world.clock(), **more)
    world.tables.put(tables.SIGNALS, item)
    return item


def told(world: World, agent: str = "ann") -> list[NoticeMessage]:
    return [each for each in messages(world, agent) if isinstance(each, NoticeMessage)]


def test_a_sender_is_told_whom_its_signal_did_not_reach_and_why(world: World) -> None:
    item = put(world, ["bob", "nobody", "eve"])

    world.settle()

    (notice,) = told(world)
    assert (notice.code, notice.target_agent) == ("undeliverable", "ann")
    assert notice.record is not None
    assert (notice.record.PK, notice.record.SK) == (item["PK"], item["SK"])
    said = notice.reasons[0].message
    assert "did not reach eve (not_accepted), nobody (unknown_target);" in said
    assert "bob" not in said


def test_an_agent_that_is_gone_is_named_as_removed(world: World) -> None:
    world.tables.remove(tables.STATE, records.key_of(records.registration("bob", at=1)))
    put(world, ["bob"])

    world.settle()

    (notice,) = told(world)
    assert "bob (agent_removed)" in notice.reasons[0].message


def test_a_repeat_of_the_signal_or_of_its_work_tells_nothing_again(world: World) -> None:
    item = put(world, ["nobody"])
    world.settle()
    world.tables.put(tables.SIGNALS, item)

    world.settle()

    assert len(told(world)) == 1


@pytest.mark.parametrize("after", [False, True])
@pytest.mark.parametrize("number", range(1, 30))
def test_whoever_dies_on_the_way_it_is_told_in_the_end(
    world: World, number: int, after: bool
) -> None:
    put(world, ["nobody", "bob"])
    faults = Faults(crash_at=number, after=after)

    with suppress(Crash):
        world.settle(world.process(faults))
    world.clock.advance(61)
    world.settle()

    # Twice at most, for who died may have sent the notice and not said so.
    assert {notice.code for notice in told(world)} == {"undeliverable"}
    assert len(told(world)) <= 2


def test_nobody_is_told_of_a_signal_that_no_key_binds(world: World) -> None:
    put(world, ["nobody"], strict=False)

    world.settle()

    assert told(world) == []


def test_of_a_large_audience_the_sender_is_told_once(world: World) -> None:
    put(world, [f"crowd-{number}" for number in range(120)])

    world.settle()

    (notice,) = told(world)
    assert "and 40 more" in notice.reasons[0].message


def test_what_an_agent_says_when_it_fails_is_no_bounce(world: World) -> None:
    item = put(world, ["bob"])
    world.settle()
    (message,) = messages(world, "bob")
    row = keys.Key(message.row.PK, message.row.SK)
    world.tables.update(tables.SIGNALS, row, {"reason": "unknown_target"})
    world.acknowledge(row, "FAILED")
    world.tables.put(tables.SIGNALS, item)

    world.settle()

    assert told(world) == []
