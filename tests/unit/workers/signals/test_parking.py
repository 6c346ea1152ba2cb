"""A refused record is kept with its reasons, and its owner hears of it once a minute per fault."""

import pytest

from sharpwave.schemas import keys, tables
from sharpwave.schemas.faults import Fault
from sharpwave.schemas.keys import Key
from sharpwave.schemas.messages import NoticeMessage
from sharpwave.workers.signals.refusals import KEPT_S, MAX_IMAGE
from sharpwave.workers.work.ports import Item, Refusal
from tests.world import Crash, Faults, World
from tests.world.world import messages


@pytest.fixture
def world() -> World:
    made = World()
    made.register("ann", "bob")
    made.settle()
    return made


def refusal(
    event_id: str = "e1",
    *,
    code: str = "odd",
    key: Key | None = None,
    image: str = "{}",
) -> Refusal:
    fault = Fault(code, "data", "it is odd; make it even")
    return Refusal(tables.SIGNALS, key or key_of("ann"), event_id, [fault], image)


def key_of(agent: str) -> Key:
    return Key(f"signal#T#{agent}", "2025-10-18T14:30:00Z#s1")


def park(world: World, *refusals: Refusal, faults: Faults | None = None) -> None:
    world.process(faults).parking.park(refusals)


def parked(world: World) -> list[Item]:
    return [
        item
        for pk in keys.parked_pks(tables.SIGNALS)
        for item in world.tables.query(tables.PIPELINE, pk)
    ]


def notices(world: World, agent: str = "ann") -> list[NoticeMessage]:
    return [each for each in messages(world, agent) if isinstance(each, NoticeMessage)]


def test_a_parked_record_says_what_where_and_why(world: World) -> None:
    park(world, refusal(image='{"a":1}'))

    (item,) = parked(world)
    assert item["record_pk"] == "signal#T#ann"
    assert item["faults"] == [
        {"code": "odd", "where": "data", "message": "it is odd; make it even"}
    ]
    assert (item["image"], item["event_id"], item["owner"]) == ('{"a":1}', "e1", "ann")
    assert item["ttl"] == item["parked_at"] + KEPT_S


def test_the_owner_is_told_and_nobody_else(world: World) -> None:
    park(world, refusal())

    (notice,) = notices(world)
    assert notice.code == "odd"
    assert notice.reasons[0].message == "it is odd; make it even"
    assert notice.record is not None
    assert notice.record.PK == "signal#T#ann"
    assert notices(world, "bob") == []


@pytest.mark.parametrize("pk", ["signal#T", "signal#T#nobody", "signal#T#no id", "signal#T#3"])
def test_a_record_whose_key_binds_no_registered_owner_is_parked_in_silence(
    world: World, pk: str
) -> None:
    """Whom the record claims to come from does not matter: anyone can claim it."""
    park(world, refusal(key=key_of("ann")._replace(pk=pk), image='{"source_agent":{"S":"bob"}}'))

    assert len(parked(world)) == 1
    assert world.inboxes.sent == []


def test_a_flood_of_one_fault_is_told_once_a_minute(world: World) -> None:
    for number in range(20):
        park(world, refusal(f"e{number}"))
        world.clock.advance(2)
    park(world, refusal("other", code="even"))
    in_a_minute = len(notices(world))
    world.clock.advance(60)
    park(world, refusal("later"))

    assert in_a_minute == 2
    assert len(notices(world)) == 3
    assert len(parked(world)) == 22


def test_what_was_told_is_not_told_again_when_its_event_comes_again(world: World) -> None:
    park(world, refusal())
    park(world, refusal())

    assert len(notices(world)) == 1


def test_one_event_is_parked_once_however_often_it_comes(world: World) -> None:
    park(world, refusal(), refusal())
    park(world, refusal())

    assert len(parked(world)) == 1


@pytest.mark.parametrize("after", [False, True], ids=["before", "after"])
def test_a_crash_at_any_call_loses_neither_record_nor_notice(*, after: bool) -> None:
    call, done = 0, False
    while not done:
        call += 1
        world = World()
        world.register("ann", "bob")
        world.settle()
        both = refusal("e1"), refusal("e2", key=key_of("bob"), code="even")
        try:
            park(world, *both, faults=Faults(crash_at=call, after=after))
            done = True
        except Crash:
            park(world, *both)

        assert len(parked(world)) == 2
        assert notices(world, "ann")
        assert notices(world, "bob")


@pytest.mark.parametrize("text", ["x", "é", "😀"])
def test_a_key_as_long_as_keys_get_still_fits(world: World, text: str) -> None:
    width = len(text.encode())
    key = Key(text * (2048 // width), text * (1024 // width))

    park(world, refusal("the-event", key=key))

    (item,) = parked(world)
    assert item["SK"].endswith("|the-event")


def test_an_image_is_cut(world: World) -> None:
    park(world, refusal(image="x" * 300_000))

    assert len(parked(world)[0]["image"]) == MAX_IMAGE
