"""Delivery: a row, a message and a place in the mirror for every target, or a reason."""

from typing import Any

import pytest

from sharpwave.schemas import keys, tables
from sharpwave.schemas.ids import signal_uid
from sharpwave.schemas.messages import SignalMessage
from sharpwave.workers.ports import Item
from sharpwave.workers.testing import World
from sharpwave.workers.testing.records import key_of, registration, signal
from sharpwave.workers.testing.world import messages


@pytest.fixture
def world() -> World:
    made = World()
    made.register("ann", "bob", "eve")
    made.settle()
    return made


def sent(world: World, agent: str) -> list[SignalMessage]:
    return [each for each in messages(world, agent) if isinstance(each, SignalMessage)]


def mirror(world: World, item: Item) -> dict[str, Any]:
    stored: dict[str, Any] = world.tables.items(tables.SIGNALS)[key_of(item)]["processing_status"]
    return stored


def rows(world: World, agent: str) -> list[Item]:
    return list(world.tables.query(tables.SIGNALS, keys.inbox_pk(agent)))


def send(world: World, **more: Any) -> Item:
    item = signal(**{"to": ["bob"], "at": world.clock(), **more})
    world.tables.put(tables.SIGNALS, item)
    world.settle()
    return item


def test_every_target_gets_a_row_a_message_and_a_place_in_the_mirror(world: World) -> None:
    item = send(world, to=["eve", "bob", "bob"], data={"price": 7})

    for agent in ("bob", "eve"):
        (message,), (row,) = sent(world, agent), rows(world, agent)
        assert message.delivery_id == f"{signal_uid(*key_of(item))}.{agent}"
        assert message.data == {"price": 7}
        assert (message.row.PK, message.row.SK) == (row["PK"], row["SK"])
        assert row["status"] == "PENDING"
        assert row["ttl"] == row["expires_at"] + 7 * 86_400
    assert mirror(world, item) == {"bob": {"status": "DELIVERED"}, "eve": {"status": "DELIVERED"}}


def test_a_bound_key_vouches_for_its_source_and_a_compatible_one_does_not(world: World) -> None:
    send(world, name="s1", strict=True)
    send(world, name="s2", strict=False)

    assert [each.provenance for each in sent(world, "bob")] == ["bound", "unverified"]


def test_a_target_that_nobody_registered_is_told_apart(world: World) -> None:
    item = send(world, to=["bob", "nobody"])

    assert mirror(world, item) == {
        "bob": {"status": "DELIVERED"},
        "nobody": {"status": "FAILED", "reason": "unknown_target"},
    }
    assert rows(world, "nobody") == []


def test_a_target_is_read_anew_before_it_is_called_unknown(world: World) -> None:
    process = world.process()
    process.ports.agents.find(["zoe"])
    world.inboxes.create("zoe")
    world.tables.put(tables.STATE, registration("zoe"))

    world.tables.put(tables.SIGNALS, signal(to=["zoe"]))
    world.settle(process)

    assert len(sent(world, "zoe")) == 1


def test_an_agent_gets_only_from_those_it_accepts(world: World) -> None:
    world.register("picky", accepts_from=["ann"])

    taken = send(world, source="ann", name="s1", to=["picky"])
    refused = send(world, source="eve", name="s2", to=["picky"])

    assert mirror(world, taken)["picky"] == {"status": "DELIVERED"}
    assert mirror(world, refused)["picky"] == {"status": "FAILED", "reason": "not_accepted"}
    assert [each.signal_id for each in sent(world, "picky")] == ["s1"]


def test_a_signal_that_is_late_already_expires_undelivered(world: World) -> None:
    item = signal(to=["bob"], ttl=int(world.clock()) + 5)
    world.tables.put(tables.SIGNALS, item)
    world.clock.advance(60)
    world.settle()

    expected = {"status": "EXPIRED", "reason": "expired_before_delivery"}
    assert mirror(world, item) == {"bob": expected}
    assert not sent(world, "bob")
    assert not rows(world, "bob")


def test_an_agent_whose_queue_is_gone_ends_the_row_as_well(world: World) -> None:
    world.inboxes.remove("bob")

    item = send(world)

    end = {"status": "FAILED", "reason": "agent_removed"}
    (row,) = rows(world, "bob")
    assert mirror(world, item) == {"bob": end}
    assert {name: row[name] for name in end} == end


def test_a_payload_too_large_for_the_message_waits_in_the_targets_own_row(world: World) -> None:
    send(world, data={"x": "é" * 60_000}, context={"y": 1})

    (message,), (row,) = sent(world, "bob"), rows(world, "bob")
    assert message.omitted == ["data", "context"]
    assert message.data == {}
    assert row["data"] == {"x": "é" * 60_000}
    assert row["context"] == {"y": 1}


def test_a_source_over_its_quota_is_told_so(world: World) -> None:
    world.register("loud", signals_per_minute=2)

    ends = [
        mirror(world, send(world, source="loud", name=f"s{n}"))["bob"].get("reason")
        for n in range(4)
    ]

    assert ends == [None, None, "quota", "quota"]


def test_delivering_again_sends_only_to_whom_it_was_never_sent(world: World) -> None:
    item = signal(to=["bob", "eve"])
    world.tables.put(tables.SIGNALS, item)
    world.pump()
    (held,) = world.queues.visible()
    process = world.process()
    process.handle(held.body)
    world.acknowledge(sent(world, "bob")[0].row)

    process.handle(held.body)

    assert len(sent(world, "bob")) == len(sent(world, "eve")) == 1


def test_a_denial_never_undoes_what_was_delivered(world: World) -> None:
    """A repeated message that finds the quota spent leaves the delivery as it is."""
    world.register("loud", signals_per_minute=1)
    item = signal("loud", to=["bob"], at=world.clock())
    world.tables.put(tables.SIGNALS, item)
    world.pump()
    (held,) = [each for each in world.queues.visible() if each.queue == "deliver"]

    for _ in range(2):
        world.process().handle(held.body)

    assert mirror(world, item) == {"bob": {"status": "DELIVERED"}}
    assert [row["status"] for row in rows(world, "bob")] == ["PENDING"]


def test_a_delivery_after_a_denial_ends_the_row_like_the_mirror(world: World) -> None:
    item = signal(to=["zoe"])
    world.tables.put(tables.SIGNALS, item)
    world.pump()
    (held,) = world.queues.visible()
    world.process().handle(held.body)
    world.register("zoe")

    world.process().handle(held.body)

    end = {"status": "FAILED", "reason": "unknown_target"}
    (row,) = rows(world, "zoe")
    assert mirror(world, item) == {"zoe": end}
    assert {name: row[name] for name in end} == end


def test_a_repeated_put_keeps_every_status(world: World) -> None:
    item = send(world, to=["bob", "eve", "nobody"])
    world.acknowledge(sent(world, "bob")[0].row)
    world.settle()
    before = mirror(world, item)
    world.register("nobody")

    world.tables.put(tables.SIGNALS, item)
    world.settle()

    assert mirror(world, item) == before
    assert before["bob"]["status"] == "PROCESSED"
    assert sent(world, "nobody") == []


def test_several_signals_of_one_message_are_delivered_together(world: World) -> None:
    for number in range(10):
        world.tables.put(tables.SIGNALS, signal(name=f"s{number}", to=["bob", "eve"]))
    world.pump()

    assert len(world.queues.visible()) == 1
    world.settle()

    assert len(sent(world, "bob")) == len(sent(world, "eve")) == 10
