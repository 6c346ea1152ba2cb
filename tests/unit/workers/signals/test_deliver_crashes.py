"""Whatever call a process dies at, the next attempt completes the delivery and doubles no row."""

import pytest

from sharpwave.schemas import keys, tables
from sharpwave.schemas.ids import signal_uid
from sharpwave.schemas.messages import SignalMessage
from sharpwave.schemas.status import TERMINAL
from sharpwave.workers.signals.audience import CHUNK, members
from sharpwave.workers.work.ports import TryAgain
from tests.world import Crash, Faults, World
from tests.world.records import key_of, mirror_of, signal, statuses_of
from tests.world.world import messages

#: The call before only fills the cache of a process.
FIRST = 2
CROWD = [f"agent-{n}" for n in range(CHUNK + 2)]
AUDIENCES = {
    "a few": ["bob", "eve", "nobody", "gone"],
    "everyone": ["*"],
    "two chunks": ["bob", "eve", *(f"ghost-{n}" for n in range(CHUNK))],
}


def told(audience: list[str], faults: Faults, *, late: bool = False) -> World:
    """Deliver one signal; a process that dies is followed by one without faults."""
    world = World()
    world.register("ann", may_broadcast=True)
    world.register("bob", "eve", "gone")
    world.settle()
    process = world.process(faults)
    process.agents.find(["gone"])
    world.inboxes.remove("gone")
    world.tables.remove(tables.STATE, keys.registration("gone"))
    age = 3600 if late else 0
    world.tables.put(tables.SIGNALS, signal(to=audience, at=world.clock() - age))
    while world.pump() or world.queues.messages:
        for held in world.queues.visible():
            try:
                process.handle(held.body)
            except Crash:
                process = world.process()
            else:
                world.queues.delete(held)
    return world


def check(world: World) -> None:
    """Every reachable target has a row, a message at least, and a mirror that says so."""
    key = key_of(signal(to=[]))
    stored = world.tables.items(tables.SIGNALS)
    mirrors = [item for item in world.tables.items(tables.PIPELINE).values() if "targets" in item]
    statuses = statuses_of(mirror_of(stored, key))
    for item in mirrors:
        statuses |= statuses_of(item)
    for agent in ("bob", "eve"):
        rows = list(world.tables.query(tables.SIGNALS, keys.inbox_pk(agent)))
        sent = [each for each in messages(world, agent) if isinstance(each, SignalMessage)]
        assert [row["status"] for row in rows] == ["PENDING"]
        assert len(sent) >= 1
        assert len({each.delivery_id for each in sent}) == 1
        assert statuses[agent] == {"status": "DELIVERED"}
    for row in world.tables.query(tables.SIGNALS, keys.inbox_pk("gone")):
        assert (row["status"], row["reason"]) == ("FAILED", "agent_removed")
        assert statuses["gone"] == {"status": "FAILED", "reason": "agent_removed"}


@pytest.mark.parametrize("audience", AUDIENCES.values(), ids=AUDIENCES.keys())
@pytest.mark.parametrize("after", [False, True], ids=["before", "after"])
def test_a_crash_at_any_call_loses_and_doubles_nothing(audience: list[str], *, after: bool) -> None:
    faults = Faults()
    check(told(audience, faults))

    for call in range(FIRST, len(faults.calls) + 1):
        check(told(audience, Faults(crash_at=call, after=after)))


@pytest.mark.parametrize("after", [False, True], ids=["before", "after"])
@pytest.mark.parametrize("deliver_first", [False, True])
def test_a_crash_at_any_call_leaves_out_nobody_who_registered_before(
    *, after: bool, deliver_first: bool
) -> None:
    faults = Faults()
    joined(faults, deliver_first=deliver_first)

    for call in range(1, len(faults.calls) + 1):
        world = joined(Faults(crash_at=call, after=after), deliver_first=deliver_first)
        audience = world.tables.query(tables.PIPELINE, keys.audience_pk(UID))
        assert members(audience) == ["bob", "eve"]
        for agent in ("bob", "eve"):
            received = {each.delivery_id for each in messages(world, agent)}
            assert received == {f"{UID}.{agent}"}


UID = signal_uid(*key_of(signal(to=[])))


def joined(faults: Faults, *, deliver_first: bool) -> World:
    """Deliver a broadcast that was written right after a registration, which lags or does not."""
    world = World()
    world.register("ann", may_broadcast=True)
    world.register("bob")
    world.settle()
    world.register("eve")
    world.tables.put(tables.SIGNALS, signal(to=["*"], at=world.clock()))
    process = world.process(faults)
    while world.pump() or world.queues.messages:
        for held in sorted(
            world.queues.visible(), key=lambda each: (each.queue != "deliver") is deliver_first
        ):
            try:
                process.handle(held.body)
            except Crash:
                process = world.process()
            except TryAgain:
                continue
            else:
                world.queues.delete(held)
    return world


@pytest.mark.parametrize("after", [False, True], ids=["before", "after"])
def test_a_row_older_than_the_sweep_expects_still_expires(*, after: bool) -> None:
    """Wherever delivery died, the sweep finds the row although its mark had passed it."""
    faults = Faults()
    told(AUDIENCES["a few"], faults, late=True)

    for call in range(FIRST, len(faults.calls) + 1):
        world = told(AUDIENCES["a few"], Faults(crash_at=call, after=after), late=True)
        world.clock.advance(2 * 86_400)
        for _ in range(2):
            world.tick()
            world.settle()
        rows = [key for key in world.tables.keys(tables.SIGNALS) if key.pk.endswith("#inbox")]
        items = world.tables.items(tables.SIGNALS)
        assert {keys.owner_of(key.pk) for key in rows} >= {"bob", "eve"}
        assert {items[key]["status"] for key in rows} <= TERMINAL
