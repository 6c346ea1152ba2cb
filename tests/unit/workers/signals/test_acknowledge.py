"""Acknowledgements reach the mirror; rows that an agent spoiled are mended, and it is told."""

from random import Random
from typing import Any

import pytest

from sharpwave.schemas import keys, tables
from sharpwave.schemas.ids import signal_uid, ulid
from sharpwave.schemas.messages import NoticeMessage
from sharpwave.schemas.numbers import parse_json
from sharpwave.schemas.ownership import stamped
from sharpwave.workers.work.ports import Item, Location, TryAgain, Unfinished, Update
from tests.world import Crash, Faults, World
from tests.world.interleaving import Step, interleave
from tests.world.records import key_of, mirror_of, signal, statuses_of
from tests.world.world import messages

SIGNAL = signal(to=["bob", "eve"])
KEY = key_of(SIGNAL)
ROW = keys.inbox_row("bob", KEY, signal_uid(*KEY))


@pytest.fixture
def world() -> World:
    made = World()
    made.register("ann", "bob", "eve")
    made.tables.put(tables.SIGNALS, SIGNAL)
    made.settle()
    return made


def row(world: World) -> Item:
    return world.tables.items(tables.SIGNALS)[ROW]


def mirrored(world: World, target: str = "bob") -> Any:
    return statuses_of(mirror_of(world.tables.items(tables.SIGNALS), KEY))[target]


def parked(world: World) -> list[Item]:
    return [
        item
        for pk in keys.parked_pks(tables.SIGNALS)
        for item in world.tables.query(tables.PIPELINE, pk)
    ]


def set_row(world: World, **values: Any) -> None:
    world.tables.update(tables.SIGNALS, ROW, values)


@pytest.mark.parametrize("status", ["PROCESSED", "FAILED"])
def test_an_acknowledgement_is_mirrored(world: World, status: str) -> None:
    set_row(world, status=status, processed_at=7, decision_id="d1")
    world.settle()

    assert mirrored(world) == {"status": status, "processed_at": 7, "decision_id": "d1"}
    assert mirrored(world, "eve") == {"status": "DELIVERED"}


def test_acknowledgements_may_overtake_each_other(world: World) -> None:
    """Messages carry only the key, so the last handled one need not be the last that happened."""
    set_row(world, status="FAILED", processed_at=1)
    world.pump()
    set_row(world, status="PROCESSED", processed_at=2)
    world.pump()
    process = world.process()

    for held in reversed(world.queues.visible()):
        process.handle(held.body)

    assert mirrored(world) == {"status": "PROCESSED", "processed_at": 2}


@pytest.mark.parametrize("status", ["DONE", "DELIVERED", "EXPIRED", 5, None])
def test_an_illegal_status_is_put_back_and_told(world: World, status: Any) -> None:
    set_row(world, status=status)
    world.settle()

    assert row(world)["status"] == "PENDING"
    assert mirrored(world) == {"status": "DELIVERED"}
    (notice,) = [each for each in messages(world, "bob") if isinstance(each, NoticeMessage)]
    assert notice.code == "illegal_status"
    assert len(parked(world)) == 1


def test_who_cannot_be_told_of_an_illegal_status_is_told_at_another_attempt(world: World) -> None:
    set_row(world, status="DONE")
    world.pump()
    (work,) = [held for held in world.queues.visible() if held.queue == "status"]
    world.inboxes.refusing.add("bob")

    with pytest.raises(Unfinished, match="not told: bob") as error:
        world.process().handle(work.body)
    put_back = row(world)["status"]
    world.inboxes.refusing.clear()
    world.settle()

    # Its message knows the signal, and not the row that was refused.
    assert (error.value.keys, put_back) == (frozenset({KEY}), "PENDING")
    notices = [each for each in messages(world, "bob") if isinstance(each, NoticeMessage)]
    assert [each.code for each in notices] == ["illegal_status"]
    assert len(parked(world)) == 1


def test_a_backward_move_is_put_back(world: World) -> None:
    set_row(world, status="PROCESSED", processed_at=7)
    world.settle()
    set_row(world, status="PENDING")
    world.settle()

    assert row(world)["status"] == "PROCESSED"
    assert mirrored(world)["status"] == "PROCESSED"


def test_a_status_put_back_from_the_mirror_brings_its_reason(world: World) -> None:
    end = {"status": "EXPIRED", "reason": "expired_before_delivery"}
    mirror = {"processing_status": {"bob": end}, "status_v": 9}
    world.tables.apply([Update(Location(tables.SIGNALS, keys.mirror(KEY)), mirror)])

    set_row(world, status="DELIVERED")
    world.settle()

    assert {name: row(world)[name] for name in end} == mirrored(world) == end


def test_a_status_is_not_put_back_from_a_map_that_the_signals_writer_made_up(world: World) -> None:
    made_up = {"processing_status": {"bob": {"status": "PROCESSED"}}}
    world.tables.update(tables.SIGNALS, keys.mirror(KEY), made_up, remove=("status_v",))
    world.unread()

    set_row(world, status="DONE")
    world.settle()

    assert row(world)["status"] == "PENDING"


def test_a_lost_status_is_put_back(world: World) -> None:
    world.tables.update(tables.SIGNALS, ROW, {}, remove=("status",))
    world.settle()

    assert row(world)["status"] == "PENDING"


@pytest.mark.parametrize("seed", range(6))
@pytest.mark.parametrize("start", ["PENDING", "PROCESSED"])
def test_any_chain_of_illegal_moves_ends_where_it_began(
    world: World, start: str, seed: int
) -> None:
    """Handled one by one and in any order, or together: one message may hold them all."""
    set_row(world, status=start, note=1)
    world.settle()
    chance, together = Random(seed), seed % 2
    for status in ("DONE", "WELL", "EXPIRED", "DELIVERED"):
        set_row(world, status=status)
        if not together:
            world.pump()
    world.pump()
    waiting = world.queues.visible()
    chance.shuffle(waiting)

    for held in waiting:
        world.process().handle(held.body)

    assert row(world)["status"] == start
    assert len(parked(world)) == 4


def test_an_undo_never_undoes_what_a_worker_wrote_since(world: World) -> None:
    """The event comes again after the row expired for good."""
    set_row(world, status="EXPIRED")
    world.pump()
    (held,) = world.queues.visible()
    world.settle()
    world.clock.advance(2 * 86_400)
    world.tick()
    world.settle()
    assert row(world)["status"] == "EXPIRED"
    world.tables.remove(tables.SIGNALS, KEY, by="ttl")

    world.process().handle(held.body)

    assert row(world)["status"] == "EXPIRED"


def test_a_row_put_back_to_pending_falls_due_again(world: World) -> None:
    """Two illegal moves from an end, and a mirror that is gone: only the row is left to ask."""
    world.acknowledge(ROW)
    world.settle()
    world.clock.advance(2 * 86_400)
    world.tables.put(tables.SIGNALS, signal(name="later", to=["bob"], at=world.clock() - 9000))
    world.settle()
    world.tick()
    world.settle()
    for gone in (KEY, keys.mirror(KEY)):
        world.tables.remove(tables.SIGNALS, gone, by="ttl")
    set_row(world, status="PENDING")
    world.unread()
    set_row(world, status="DONE")
    world.settle()
    assert row(world)["status"] == "PENDING"

    for _ in range(40):
        world.clock.advance(3600)
        world.tick()
        world.settle()

    assert row(world)["status"] == "EXPIRED"


def test_a_replaced_row_gets_back_what_the_worker_wrote(world: World) -> None:
    before = row(world)
    world.tables.put(tables.SIGNALS, {**ROW.item(), "status": "PROCESSED", "processed_at": 7})
    world.settle()

    after = row(world)
    assert {name: after.get(name) for name in before if name != "status"} == {
        name: value for name, value in before.items() if name != "status"
    }
    assert mirrored(world) == {"status": "PROCESSED", "processed_at": 7}


def test_single_attributes_of_the_worker_are_given_back_too(world: World) -> None:
    before = row(world)
    world.tables.update(tables.SIGNALS, ROW, {}, remove=("expires_at",))
    world.tables.update(tables.SIGNALS, ROW, {}, remove=("ttl", "signal_sk"))
    world.settle()

    assert {**row(world), "worker_rev": None} == {**before, "worker_rev": None}


def test_a_removed_row_never_comes_back(world: World) -> None:
    world.tables.put(tables.SIGNALS, {**ROW.item(), "status": "DONE"})
    world.pump()
    world.tables.remove(tables.SIGNALS, ROW, by="ttl")
    world.settle()

    assert ROW not in world.tables.keys(tables.SIGNALS)


@pytest.mark.parametrize("after", [False, True], ids=["before", "after"])
def test_a_crash_at_any_call_leaves_the_row_mended_and_the_agent_told(*, after: bool) -> None:
    call, done = 0, False
    while not done:
        call += 1
        world = World()
        world.register("ann", "bob")
        world.tables.put(tables.SIGNALS, SIGNAL)
        world.settle()
        world.tables.put(tables.SIGNALS, {**ROW.item(), "status": "DONE"})
        world.pump()
        (held,) = world.queues.visible()
        try:
            world.process(Faults(crash_at=call, after=after)).handle(held.body)
            done = True
        except Crash:
            world.process().handle(held.body)

        notices = [each for each in messages(world, "bob") if isinstance(each, NoticeMessage)]
        assert row(world)["status"] == "PENDING"
        assert row(world)["signal_pk"] == KEY.pk
        assert mirrored(world) == {"status": "DELIVERED"}
        assert len(parked(world)) == 1
        assert len(notices) >= 1


FORGERIES = [
    {"worker_rev": "r1"},
    {"worker_rev": ulid()},
    {"worker_rev": stamped(ROW, {"status": "EXPIRED"})["worker_rev"]},
    {"signal_pk": "signal#OTHER#ann"},
    {"signal_sk": 5},
    {"chunk": "nowhere#00000"},
    {"expires_at": 1, "ttl": 1, "timestamp": "x"},
]


@pytest.mark.parametrize("forged", FORGERIES, ids=lambda each: "+".join(each))
@pytest.mark.parametrize("apart", [False, True], ids=["at once", "before"])
def test_an_acknowledgement_counts_whatever_else_its_agent_wrote(
    world: World, forged: Item, *, apart: bool
) -> None:
    before = row(world)
    if apart:
        set_row(world, **forged)
    set_row(world, **({} if apart else forged), status="PROCESSED", processed_at=7)
    world.settle()

    kept = {name: value for name, value in row(world).items() if name in before}
    assert mirrored(world) == {"status": "PROCESSED", "processed_at": 7}
    assert kept == {**before, "status": "PROCESSED"}


@pytest.mark.parametrize("seed", range(10))
def test_forgeries_in_any_order_of_handling_leave_row_and_mirror_alike(seed: int) -> None:
    chance = Random(seed)
    world = World()
    world.register("ann", "bob", "eve")
    world.tables.put(tables.SIGNALS, SIGNAL)
    world.settle()
    for forged in chance.sample(FORGERIES, 3):
        set_row(world, **forged)
        if chance.random() < 0.5:
            world.pump()
    set_row(world, status="PROCESSED", processed_at=7)
    world.pump()
    waiting = world.queues.visible()
    for held in chance.sample(waiting, len(waiting)):
        world.process().handle(held.body)

    assert mirrored(world) == {"status": "PROCESSED", "processed_at": 7}
    assert (row(world)["signal_pk"], row(world)["signal_sk"]) == KEY


def test_an_acknowledged_row_that_its_agent_deletes_is_mirrored(world: World) -> None:
    """Both before the workers see either: only the old image is left to ask."""
    set_row(world, status="PROCESSED", decision_id="d1")
    world.unread()
    world.tables.remove(tables.SIGNALS, ROW)
    world.settle()

    assert mirrored(world) == {"status": "PROCESSED", "decision_id": "d1"}
    assert ROW not in world.tables.keys(tables.SIGNALS)


@pytest.mark.parametrize("status", ["PENDING", "DONE", "EXPIRED"])
def test_an_open_row_that_its_agent_deletes_is_put_back(world: World, status: str) -> None:
    before = row(world)
    set_row(world, status=status)
    world.tables.remove(tables.SIGNALS, ROW)
    world.settle()

    assert {**row(world), "worker_rev": None} == {**before, "worker_rev": None}
    world.acknowledge(ROW)
    world.settle()
    assert mirrored(world)["status"] == "PROCESSED"


def test_an_open_row_of_an_agent_that_is_removed_ends_so(world: World) -> None:
    world.tables.remove(tables.STATE, keys.registration("bob"))
    world.tables.remove(tables.SIGNALS, ROW)
    world.settle()

    assert mirrored(world) == {"status": "FAILED", "reason": "agent_removed"}
    assert ROW not in world.tables.keys(tables.SIGNALS)


@pytest.mark.parametrize("status", ["PENDING", "PROCESSED", "DONE"])
def test_a_row_that_its_agent_deletes_and_makes_up_is_made_a_row_again(
    world: World, status: str
) -> None:
    before = row(world)
    world.tables.remove(tables.SIGNALS, ROW)
    world.tables.put(tables.SIGNALS, {**ROW.item(), "status": status})
    world.settle()

    legal = status == "PROCESSED"
    assert row(world)["status"] == ("PROCESSED" if legal else "PENDING")
    assert mirrored(world) == {"status": "PROCESSED" if legal else "DELIVERED"}
    assert {name: row(world)[name] for name in before if name != "status"} == {
        name: value for name, value in before.items() if name != "status"
    }


def test_a_stranger_reaches_no_mirror(world: World) -> None:
    """Mallory makes a row up as a worker would write it, and acknowledges."""
    world.register("mallory")
    key = keys.inbox_row("mallory", KEY, signal_uid(*KEY))
    world.tables.put(tables.SIGNALS, {**row(world), **key.item()})
    world.acknowledge(key)
    world.settle()

    stored = world.tables.items(tables.SIGNALS)
    assert mirror_of(stored, KEY)["processing_status"].keys() == {"bob", "eve"}


@pytest.mark.parametrize("seed", range(20))
def test_an_acknowledgement_that_overtakes_the_first_mark_is_not_lost(seed: int) -> None:
    """Its signal's list was changed meanwhile, so that it names the agent no more."""
    world = World()
    world.register("ann", "bob", "eve")
    world.settle()
    world.tables.put(tables.SIGNALS, SIGNAL)
    world.pump()
    (work,) = world.queues.visible()
    world.queues.delete(work)
    world.tables.update(tables.SIGNALS, KEY, {"target_agents": ["eve"]})
    world.unread()

    def delivering(step: Step) -> None:
        world.process(Faults(step=step)).handle(work.body)

    def acknowledging(step: Step) -> None:
        while not world.acknowledge(ROW):
            step()
        world.pump()
        for held in world.queues.visible():
            world.queues.delete(held)
            world.process(Faults(step=step)).handle(held.body)

    assert interleave([delivering, acknowledging], Random(seed)) == [None, None]
    world.settle()

    assert mirrored(world)["status"] == row(world)["status"] == "PROCESSED"


def replaced_while_delivered() -> tuple[World, str]:
    """Give a world whose first delivery died, and the message that comes again.

    Bob found his row before the message and acknowledged it by a PutItem, so that the row names no
    signal any more and the next attempt has to take it for a forgery.
    """
    world = World()
    world.register("ann", "bob", "eve")
    world.settle()
    world.tables.put(tables.SIGNALS, SIGNAL)
    world.pump()
    (work,) = world.queues.visible()
    world.queues.delete(work)

    def die() -> None:
        if ROW in world.tables.keys(tables.SIGNALS):
            raise Crash("between row and message")

    with pytest.raises(Crash):
        world.process(Faults(step=die)).handle(work.body)
    replace_row(world, "PROCESSED", decision_id="d1")
    return world, work.body


def replace_row(world: World, status: str, **more: Any) -> None:
    world.tables.put(tables.SIGNALS, {**ROW.item(), "status": status, "processed_at": 7, **more})


ACKNOWLEDGED = {"status": "PROCESSED", "processed_at": 7, "decision_id": "d1"}


def assert_acknowledged(world: World) -> None:
    after = row(world)
    assert {name: after.get(name) for name in ACKNOWLEDGED} == ACKNOWLEDGED
    assert (after["signal_pk"], after["signal_sk"]) == KEY
    assert mirrored(world) == ACKNOWLEDGED


def test_an_acknowledgement_outlives_a_delivery_that_took_its_row_over() -> None:
    world, work = replaced_while_delivered()

    world.process().handle(work)
    taken_over = row(world)["status"]
    world.settle()

    assert taken_over == "PENDING"
    assert_acknowledged(world)


def failing(world: World, body: str, faults: Faults) -> list[str]:
    """Handle a message, and give it back if it has to come again."""
    try:
        world.process(faults).handle(body)
    except (TryAgain, Unfinished):
        return [body]
    return []


def overlapping(world: World, outer: str, inner: str, *, at: int) -> list[str]:
    """Handle a message, before one of its calls another one; give what has to come again."""
    waiting, again = [inner], []

    def step() -> None:
        if len(faults.calls) + 1 == at:
            again.extend(failing(world, waiting.pop(), Faults()))

    faults = Faults()
    faults.step = step
    again += failing(world, outer, faults)
    return [*again, *waiting]


@pytest.mark.parametrize("is_delivery_first", [False, True])
def test_an_acknowledgement_outlives_a_delivery_that_takes_its_row_over_meanwhile(
    *, is_delivery_first: bool
) -> None:
    """One of the two happens before any call of the other; a delivery that failed comes again."""
    for at in range(1, 40):
        world, work = replaced_while_delivered()
        world.pump()
        (news,) = world.queues.visible()
        world.queues.delete(news)
        outer, inner = (work, news.body) if is_delivery_first else (news.body, work)

        again = overlapping(world, outer, inner, at=at)
        for body in [*again, news.body]:
            world.process().handle(body)
        world.settle()

        assert_acknowledged(world)


def test_an_acknowledgement_outlives_it_though_the_signal_is_gone() -> None:
    world, work = replaced_while_delivered()
    world.tables.remove(tables.SIGNALS, KEY, by="ttl")

    world.process().handle(work)
    world.settle()

    assert (row(world)["status"], row(world)["decision_id"]) == ("PROCESSED", "d1")


@pytest.mark.parametrize("later", ["FAILED", "EXPIRED"])
def test_what_ranks_below_it_by_then_does_not_stand(later: str) -> None:
    world, work = replaced_while_delivered()
    world.pump()
    (news,) = world.queues.visible()
    world.queues.delete(news)
    world.process().handle(work)
    if later == "FAILED":
        set_row(world, status="FAILED", processed_at=9)
    else:
        world.clock.advance(2 * 86_400)
        world.tick()
    world.settle()
    stood = row(world)["status"]

    world.process().handle(news.body)
    world.settle()

    assert stood == later
    assert row(world)["status"] == mirrored(world)["status"] == "PROCESSED"


def test_of_replacements_told_together_the_greater_acknowledgement_stands() -> None:
    world, work = replaced_while_delivered()
    world.process().handle(work)
    replace_row(world, "FAILED", reason="no use")
    world.settle()

    ends = [
        {name: each.get(name) for name in ACKNOWLEDGED} for each in (row(world), mirrored(world))
    ]
    assert ends == [ACKNOWLEDGED, ACKNOWLEDGED]


def test_an_old_replacement_undoes_no_greater_acknowledgement() -> None:
    world, work = replaced_while_delivered()
    replace_row(world, "FAILED", reason="no use")
    world.pump()
    (news,) = world.queues.visible()
    world.queues.delete(news)
    world.process().handle(work)
    set_row(world, status="PROCESSED", processed_at=7, decision_id="d1")
    world.settle()

    world.process().handle(news.body)
    world.settle()

    assert row(world)["status"] == mirrored(world)["status"] == "PROCESSED"


def test_an_acknowledged_row_that_was_replaced_and_deleted_is_mirrored(world: World) -> None:
    """What its agent deletes names no signal by then, so the deletion is told to nobody."""
    replace_row(world, "PROCESSED", decision_id="d1")
    world.tables.remove(tables.SIGNALS, ROW)
    world.settle()

    assert mirrored(world) == ACKNOWLEDGED
    assert ROW not in world.tables.keys(tables.SIGNALS)


def test_many_acknowledgements_of_one_signal_share_a_message(world: World) -> None:
    for agent in ("bob", "eve"):
        key = keys.inbox_row(agent, KEY, signal_uid(*KEY))
        world.tables.update(tables.SIGNALS, key, {"status": "PROCESSED"})

    assert world.pump() == 1
    (held,) = world.queues.visible()
    assert len(parse_json(held.body)["kwargs"]["entries"]) == 2
