"""An audience is decided once; large ones are worked off in chunks."""

from contextlib import suppress
from typing import Any

import pytest

from sharpwave.schemas import keys, tables
from sharpwave.schemas.ids import signal_uid
from sharpwave.schemas.messages import NoticeMessage, SignalMessage
from sharpwave.workers.signals.audience import CHUNK, Audience, Signal, freeze, members
from sharpwave.workers.work.ports import Item, TryAgain
from tests.world import Crash, Faults, World
from tests.world.records import key_of, mirror_of, signal, statuses_of
from tests.world.stores import START
from tests.world.world import messages


@pytest.fixture
def world() -> World:
    made = World()
    made.register("herald", may_broadcast=True, subscriptions=["ALERT"])
    made.register("ann", subscriptions=["ALERT"])
    made.register("bob", subscriptions=["OTHER"])
    made.settle()
    return made


def receivers(world: World) -> set[str]:
    return {
        post.target
        for post in world.inboxes.sent
        if any(isinstance(each, SignalMessage) for each in messages(world, post.target))
    }


def put(world: World, item: Item) -> Item:
    world.tables.put(tables.SIGNALS, item)
    return item


def mirrored(world: World, item: Item) -> dict[str, Any]:
    found = statuses_of(mirror_of(world.tables.items(tables.SIGNALS), key_of(item)))
    for part in chunks(world, item):
        found |= statuses_of(part)
    return found


def chunks(world: World, item: Item) -> list[Item]:
    pk = keys.audience_pk(signal_uid(*key_of(item)))
    return [each for each in world.tables.query(tables.PIPELINE, pk) if "targets" in each]


def test_everyone_is_everyone_but_the_source(world: World) -> None:
    put(world, signal("herald", to=["*"]))
    world.settle()

    assert receivers(world) == {"ann", "bob"}


def test_subscribers_are_those_who_asked_for_the_type(world: World) -> None:
    put(world, signal("bob", to=["@subscribers"]))
    world.settle()

    assert receivers(world) == {"ann", "herald"}


def test_a_filter_is_asked_of_what_goes_to_subscribers_alone(world: World) -> None:
    filters = {"ALERT": [{"path": "data.n", "op": "ge", "value": 5}]}
    world.register("picky", subscriptions=["ALERT"], filters=filters)
    world.settle()

    for name, data in (("few", {"n": 4}), ("many", {"n": 5}), ("none", {"x": 9})):
        put(world, signal("bob", name, to=["@subscribers"], data=data))
    put(world, signal("bob", "named", to=["picky"], data={"n": 1}))
    put(world, signal("herald", "all", to=["*"]))
    world.settle()

    got = [each.signal_id for each in messages(world, "picky") if isinstance(each, SignalMessage)]
    assert sorted(got) == ["all", "many", "named"]
    assert len(messages(world, "ann")) == 4


def test_a_registration_with_a_bad_filter_is_refused_in_words(world: World) -> None:
    filters = {"ALERT": [{"path": "outcome.success", "op": "eq", "value": True}]}
    world.register("picky", subscriptions=["ALERT"], filters=filters)
    put(world, signal("bob", to=["@subscribers"]))
    world.settle()

    parked = [
        entry
        for pk in keys.parked_pks(tables.STATE)
        for entry in world.tables.query(tables.PIPELINE, pk)
    ]
    assert receivers(world) == {"ann", "herald"}
    assert [entry["faults"][0]["where"] for entry in parked] == ["filters.ALERT.0.path"]
    assert "start the path with one of" in parked[0]["faults"][0]["message"]


def test_who_joins_late_is_asked_for_its_filter_too(world: World) -> None:
    # The freezes read the list of names before these registrations reach it.
    for name, least in (("picky", 5), ("easy", 1)):
        filters = {"ALERT": [{"path": "data.n", "op": "ge", "value": least}]}
        world.register(name, subscriptions=["ALERT"], filters=filters)
    put(world, signal("bob", to=["@subscribers"], data={"n": 2}, at=world.clock() + 1))
    world.pump()
    late_first = sorted(world.queues.visible(), key=lambda held: "on_registered" in held.body)
    for held in late_first:
        world.process().handle(held.body)
        world.queues.delete(held)
    world.settle()

    assert receivers(world) == {"ann", "herald", "easy"}


@pytest.mark.parametrize(("source", "to"), [("herald", "*"), ("bob", "@subscribers")])
def test_who_registers_later_gets_nothing(world: World, source: str, to: str) -> None:
    put(world, signal(source, to=[to]))
    world.pump()
    held = world.queues.visible()[-1]
    world.process().handle(held.body)
    world.clock.advance(1)
    world.register("late", subscriptions=["ALERT"])
    world.settle()

    world.process().handle(held.body)
    world.settle()

    assert "late" not in receivers(world)


@pytest.mark.parametrize(("source", "to"), [("herald", "*"), ("bob", "@subscribers")])
@pytest.mark.parametrize("status_first", [True, False])
@pytest.mark.parametrize("many", [0, 2 * CHUNK], ids=["a few", "chunks"])
def test_who_registered_before_is_in_the_audience_however_far_status_lags(
    world: World, source: str, to: str, many: int, *, status_first: bool
) -> None:
    world.register(*(f"agent-{n}" for n in range(many)), subscriptions=["ALERT"])
    world.settle()
    world.register("joiner", subscriptions=["ALERT"])
    item = put(world, signal(source, to=[to]))
    world.pump()
    registered, sent = sorted(world.queues.visible(), key=lambda held: held.queue != "status")

    for held in [registered, sent] if status_first else [sent, registered]:
        world.process().handle(held.body)
        world.queues.delete(held)
    world.settle()

    assert "joiner" in receivers(world)
    assert [len(messages(world, agent)) for agent in receivers(world)] == [1] * len(
        receivers(world)
    )
    stored = world.tables.query(tables.PIPELINE, keys.audience_pk(signal_uid(*key_of(item))))
    assert set(members(stored) or ()) == receivers(world)

    world.acknowledge(messages(world, "joiner")[0].row)
    world.settle()

    assert mirrored(world, item)["joiner"]["status"] == "PROCESSED"


def test_a_repeated_put_makes_nobody_who_came_in_between_a_late_joiner(world: World) -> None:
    item = put(world, signal("herald", to=["*"]))
    world.settle()
    world.clock.advance(1)
    world.register("latecomer")
    put(world, item)
    world.settle()

    assert "latecomer" not in receivers(world)


def test_a_registration_that_no_longer_subscribes_gets_nothing(world: World) -> None:
    world.register("joiner", subscriptions=["ALERT"])
    put(world, signal("bob", to=["@subscribers"]))
    world.register("joiner", subscriptions=["OTHER"])
    world.settle()

    assert "joiner" not in receivers(world)


def test_a_late_joiner_waits_for_a_freeze_under_way(world: World) -> None:
    """The freeze died after its names were read: the audience is not known yet."""
    item = put(world, signal("herald", to=["*"]))
    world.pump()
    (deliver_it,) = world.queues.visible()
    with pytest.raises(Crash):
        world.process(Faults(crash_at=crash_before_head(item))).handle(deliver_it.body)
    world.clock.advance(-1)
    world.register("joiner")
    world.clock.advance(1)
    world.pump()
    process = world.process()
    (registered,) = [held for held in world.queues.visible() if held.queue == "status"]
    process.handle(registered.body)
    world.queues.delete(registered)
    (late,) = [held for held in world.queues.visible() if held is not deliver_it]

    with pytest.raises(TryAgain, match="not frozen yet"):
        process.handle(late.body)
    world.settle()

    assert receivers(world) == {"ann", "bob", "joiner"}
    assert len(messages(world, "joiner")) == 1


def test_a_late_joiner_whose_inbox_takes_nothing_stops_no_other(world: World) -> None:
    # Registered before the signal was stored, and not on the list when its audience was decided.
    world.register("abe", "joe")
    put(world, signal("herald", to=["*"]))
    world.pump()
    world.inboxes.refusing.add("abe")
    process = world.process()
    for queue in ("deliver", "status"):
        for held in [each for each in world.queues.visible() if each.queue == queue]:
            process.handle(held.body)
            world.queues.delete(held)
    (late,) = world.queues.visible()

    process.handle(late.body)
    world.queues.delete(late)
    refused = receivers(world)
    world.inboxes.refusing.clear()
    world.settle()

    assert refused == {"ann", "bob", "joe"}
    assert receivers(world) == {"ann", "bob", "abe", "joe"}


def crash_before_head(item: Item) -> int:
    """Number the call that stores the head of an audience."""
    twin = World()
    twin.register("herald", may_broadcast=True)
    twin.settle()
    twin.tables.put(tables.SIGNALS, item)
    twin.pump()
    faults = Faults(step=lambda: frozen.append(bool(chunks(twin, item))))
    frozen: list[bool] = []
    twin.process(faults).handle(twin.queues.visible()[-1].body)
    return frozen.index(True)


def test_registering_again_looks_for_nothing(world: World) -> None:
    """An agent long on the list is in every audience that was decided since."""
    put(world, signal("herald", to=["*"]))
    world.settle()
    world.clock.advance(600)
    put(world, signal("herald", "s2", to=["*"], at=world.clock()))
    world.register("ann", subscriptions=["ALERT", "OTHER"])
    world.pump()
    world.process().handle(world.queues.visible()[-1].body)

    assert all("on_late_joiners" not in held.body for held in world.queues.visible())


def test_attempts_that_see_different_registrations_agree(world: World) -> None:
    item = signal("herald", to=["*"])
    process = world.process()

    def attempt() -> Any:
        return freeze(
            [Signal(item, "e", world.clock())],
            directory=process.agents,
            reads=process.reads,
            writes=process.writes,
        )

    first = attempt()
    world.register("late")
    world.settle()

    assert attempt() == first
    assert "late" not in first[0].targets


def test_a_broadcast_under_way_is_finished_whatever_its_source_may_by_now(world: World) -> None:
    item = put(world, signal("herald", to=["*"]))
    world.pump()
    (held,) = world.queues.visible()
    with pytest.raises(Crash):
        world.process(Faults(crash_at=crash_before_mark(world, item))).handle(held.body)
    world.register("herald", may_broadcast=False)
    world.settle()

    assert receivers(world) == {"ann", "bob"}
    assert {entry["status"] for entry in mirrored(world, item).values()} == {"DELIVERED"}


def crash_before_mark(world: World, item: Item) -> int:
    """Number the call that marks a broadcast: the one after its messages."""
    faults = Faults()
    twin = World()
    for each in world.tables.items(tables.STATE).values():
        twin.register(each["agent_id"], **{"may_broadcast": each.get("may_broadcast", False)})
    twin.settle()
    twin.tables.put(tables.SIGNALS, item)
    twin.pump()
    twin.process(faults).handle(twin.queues.visible()[-1].body)
    return next(n for n, call in enumerate(faults.calls, 2) if call.endswith("Inboxes.send"))


def test_only_who_may_broadcast_reaches_everyone(world: World) -> None:
    put(world, signal("ann", to=["*"]))
    world.settle()

    assert receivers(world) == set()
    (notice,) = messages(world, "ann")
    assert isinstance(notice, NoticeMessage)
    assert notice.code == "broadcast_not_allowed"


@pytest.mark.parametrize("attempts", [1, 2], ids=["at first", "repeated"])
def test_many_broadcasts_are_read_for_in_as_many_calls_as_one(world: World, attempts: int) -> None:
    def reads(*names: str) -> list[str]:
        signals = [
            Signal(put(world, signal("herald", name, to=["*"])), name, world.clock())
            for name in names
        ]
        faults = Faults()
        courier = world.process(faults).courier
        for _ in range(attempts):
            courier.deliver(signals)
        return [call for call in faults.calls if call.endswith((".get", ".query"))]

    one, many = reads("s0"), reads(*(f"s{number}" for number in range(1, 20)))

    assert one == many
    assert receivers(world) == {"ann", "bob"}


def test_an_audience_of_nobody_has_an_empty_mirror(world: World) -> None:
    item = put(world, signal("bob", to=["@subscribers"], kind="RARE"))
    world.settle()

    stored = mirror_of(world.tables.items(tables.SIGNALS), key_of(item))
    assert stored["processing_status"] == {}


def test_a_large_audience_is_worked_off_in_chunks_with_mirrors_of_their_own(world: World) -> None:
    crowd = [f"agent-{n}" for n in range(2 * CHUNK + 1)]
    world.register(*crowd)
    world.settle()

    item = put(world, signal("ann", to=crowd))
    world.settle()

    assert receivers(world) == set(crowd)
    parts = chunks(world, item)
    assert sorted(len(part["targets"]) for part in parts) == [1, CHUNK, CHUNK]
    for part in parts:
        assert statuses_of(part) == {name: {"status": "DELIVERED"} for name in part["targets"]}
    stored = world.tables.items(tables.SIGNALS)
    assert stored[key_of(item)]["audience_chunks"] == 3
    assert keys.mirror(key_of(item)) not in stored


def test_an_acknowledgement_reaches_the_mirror_of_its_chunk(world: World) -> None:
    crowd = [f"agent-{n}" for n in range(CHUNK + 1)]
    world.register(*crowd)
    item = put(world, signal("ann", to=crowd))
    world.settle()

    world.acknowledge(messages(world, "agent-7")[0].row)
    world.settle()

    (found,) = [
        part["processing_status"]["agent-7"]
        for part in chunks(world, item)
        if "agent-7" in part["targets"]
    ]
    assert found["status"] == "PROCESSED"


def test_a_large_audience_takes_one_token_of_the_quota(world: World) -> None:
    crowd = [f"agent-{n}" for n in range(2 * CHUNK)]
    world.register(*crowd)
    world.register("loud", signals_per_minute=1)
    world.settle()

    allowed = put(world, signal("loud", "s1", to=crowd, at=world.clock()))
    world.settle()
    denied = put(world, signal("loud", "s2", to=crowd, at=world.clock()))
    world.settle()

    ends = [
        {end.get("reason") for part in chunks(world, item) for end in _ends(part)}
        for item in (allowed, denied)
    ]
    assert ends == [{None}, {"quota"}]


def test_a_chunk_whose_signal_is_gone_ends_as_expired(world: World) -> None:
    crowd = [f"agent-{n}" for n in range(CHUNK + 1)]
    world.register(*crowd)
    world.settle()
    item = put(world, signal("ann", to=crowd, ttl=int(world.clock()) + 10))
    world.pump()
    world.process().handle(world.queues.visible()[-1].body)
    world.clock.advance(11)
    world.tables.remove(tables.SIGNALS, key_of(item), by="ttl")
    world.settle()

    assert {end["reason"] for part in chunks(world, item) for end in _ends(part)} == {
        "expired_before_delivery"
    }


@pytest.mark.parametrize("many", [1, CHUNK + 10], ids=["a few", "chunks"])
@pytest.mark.parametrize("to", ["names", "*"])
def test_an_audience_takes_nobody_from_a_signal_that_is_spoilt_and_mended(
    to: str, many: int
) -> None:
    world = World()
    names = [f"agent-{n:02d}" for n in range(many)]
    world.register("ann", may_broadcast=True)
    world.register(*names)
    world.settle()
    item = put(world, signal("ann", to=names if to == "names" else ["*"]))
    world.settle()
    world.clock.advance(100)
    world.register("mallory")
    deadline = int(world.clock()) + 5_000
    for change in ({"target_agents": ["mallory"]}, {"ttl": "soon"}, {"ttl": deadline}):
        world.tables.update(tables.SIGNALS, key_of(item), change)
        world.settle()

    assert mirrored(world, item).keys() == {*names}
    assert "mallory" not in receivers(world)


def test_of_chunks_that_come_too_late_at_once_one_tells_the_sender() -> None:
    world = World()
    crowd = [f"agent-{n}" for n in range(CHUNK + 1)]
    world.register("ann", *crowd)
    world.settle()
    put(world, signal("ann", to=crowd, ttl=int(world.clock()) + 10))
    world.pump()
    world.process().handle(world.queues.visible()[-1].body)
    world.clock.advance(11)
    for each in [each for each in world.queues.visible() if "on_chunks" in each.body]:
        world.process().handle(each.body)
    first, second = (each.body for each in world.queues.visible() if "on_expired" in each.body)
    others = [lambda: world.process().handle(second)]

    def step() -> None:
        # The other chunk's is handled while this one is told, before it notes that it was.
        if messages(world, "ann") and others:
            others.pop()()

    faults = Faults(step=step)
    world.process(faults).handle(first)

    assert not others
    assert [each.code for each in messages(world, "ann")] == ["expired"]


def test_a_chunk_whose_agents_acknowledge_meanwhile_leaves_its_sender_told() -> None:
    world = World()
    crowd = [f"agent-{n}" for n in range(CHUNK + 1)]
    world.register("ann", *crowd)
    world.settle()
    put(world, signal("ann", to=crowd, ttl=int(world.clock()) + 10))
    world.pump()
    world.process().handle(world.queues.visible()[-1].body)
    world.clock.advance(11)
    first, second = (each.body for each in world.queues.visible() if "on_chunks" in each.body)
    world.queues.messages.clear()

    def die() -> None:
        if any(key.pk == "notice#ann" for key in world.tables.keys(tables.PIPELINE)):
            raise Crash("between claim and notice")

    with suppress(Crash):
        world.process(Faults(step=die)).handle(first)
    expired = [key for key in world.tables.keys(tables.SIGNALS) if key.pk.endswith("#inbox")]
    world.process().handle(second)
    for key in expired:
        world.acknowledge(key)
    world.process().handle(first)
    world.settle()

    assert "expired" in {each.code for each in messages(world, "ann")}


@pytest.mark.parametrize("size", [1, CHUNK + 1])
@pytest.mark.parametrize(
    "change",
    [
        {"data": {"price": 8}},
        {"source_agent": "eve"},
        {"target_agents": ["nobody"]},
        {"ttl": "soon"},
        None,
    ],
    ids=["content", "source", "targets", "nonsense", "removed"],
)
def test_what_becomes_of_a_signal_under_way_changes_no_delivery(
    world: World, size: int, change: dict[str, Any] | None
) -> None:
    crowd = [f"agent-{n}" for n in range(size)]
    world.register(*crowd)
    world.settle()
    item = put(world, signal("herald", to=["*"], data={"price": 7}, strict=False))
    world.pump()
    (held,) = world.queues.visible()
    if change is not None:
        world.tables.update(tables.SIGNALS, key_of(item), change)
    else:
        world.tables.remove(tables.SIGNALS, key_of(item))
    world.process().handle(held.body)
    world.queues.delete(held)
    world.clock.advance(-1)
    world.register("joiner")
    world.clock.advance(1)
    world.settle()

    seen = {
        (agent, each.source_agent, each.data["price"])
        for agent in receivers(world)
        for each in messages(world, agent)
        if isinstance(each, SignalMessage)
    }
    assert seen == {(agent, "herald", 7) for agent in [*crowd, "ann", "bob", "joiner"]}
    dead = [held for held in world.queues.messages if held.receives > 1]
    assert not dead


@pytest.mark.parametrize("size", [3, CHUNK + 1])
def test_attempts_that_overtake_each_other_at_any_call_agree(size: int) -> None:
    """The first stored audience holds, and nobody works off chunks of the other one."""
    call, passed = 0, False
    while not passed:
        call += 1
        world = World()
        world.register("herald", may_broadcast=True)
        world.register(*(f"agent-{n}" for n in range(size)))
        world.settle()
        rival = Rival(world, call)
        process = world.process(Faults(step=rival.step))

        (found,) = freeze(
            [SIGNAL], directory=process.agents, reads=process.reads, writes=process.writes
        )

        passed = rival.found is None
        assert rival.found in (found, None)


SIGNAL = Signal(signal("herald", to=["*"]), "e", START)


class Rival:
    """Decides the same audience, with one agent more, just before another's n-th call."""

    def __init__(self, world: World, call: int) -> None:
        self.world, self.calls_left = world, call
        self.found: Audience | None = None

    def step(self) -> None:
        self.calls_left -= 1
        if self.calls_left == 0:
            self.world.register("late")
            self.world.process().agents.note({"late": "e1"})
            process = self.world.process()
            (self.found,) = freeze(
                [SIGNAL], directory=process.agents, reads=process.reads, writes=process.writes
            )


def _ends(part: Item) -> list[Item]:
    return list(statuses_of(part).values())
