"""Delivery: a row, a message and a place in the mirror for every target, or a reason."""

from contextlib import suppress
from functools import partial
from typing import Any

import pytest

from sharpwave.schemas import keys, tables
from sharpwave.schemas.ids import signal_uid
from sharpwave.schemas.messages import SignalMessage
from sharpwave.schemas.numbers import parse_json
from sharpwave.workers.work.ports import Item, TryAgain
from tests.world import Crash, Faults, World
from tests.world.records import key_of, mirror_of, registration, signal, statuses_of
from tests.world.world import Process, messages


@pytest.fixture
def world() -> World:
    made = World()
    made.register("ann", "bob", "eve")
    made.settle()
    return made


def sent(world: World, agent: str) -> list[SignalMessage]:
    return [each for each in messages(world, agent) if isinstance(each, SignalMessage)]


def mirror(world: World, item: Item) -> dict[str, Any]:
    return statuses_of(mirror_of(world.tables.items(tables.SIGNALS), key_of(item)))


def rows(world: World, agent: str) -> list[Item]:
    return list(world.tables.query(tables.SIGNALS, keys.inbox_pk(agent)))


def send(world: World, *, process: Process | None = None, **more: Any) -> Item:
    item = signal(**{"to": ["bob"], "at": world.clock(), **more})
    world.tables.put(tables.SIGNALS, item)
    world.settle(process)
    return item


def unregister(world: World, agent: str) -> None:
    world.tables.remove(tables.STATE, keys.registration(agent))
    world.inboxes.remove(agent)


def exhaust(world: World, *, receives: int) -> None:
    """Handle every message, those that fail this often."""
    world.pump()
    process = world.process()
    for _ in range(receives):
        for held in world.queues.visible():
            held.receives += 1
            try:
                process.handle(held.body, held.receives)
            except TryAgain:
                continue
            world.queues.delete(held)


def test_when_a_message_was_handed_to_its_queue_stays_in_the_mirror_and_out_of_the_row(
    world: World,
) -> None:
    """Also past an end, and in a mirror that lives a week beyond the deadline."""
    deadline, sent_ms = int(world.clock()) + 600, int(1000 * world.clock())
    item = send(world, to=["bob", "eve", "nobody"], ttl=deadline)
    world.clock.advance(60)
    world.acknowledge(rows_of(item)["bob"])
    world.clock.advance(900)
    for _ in range(2):
        world.tick()
        world.settle()
    stored = world.tables.items(tables.SIGNALS)

    mirror = mirror_of(stored, key_of(item))

    said = mirror["processing_status"]
    assert {name: entry["status"] for name, entry in said.items()} == {
        "bob": "PROCESSED",
        "eve": "EXPIRED",
        "nobody": "FAILED",
    }
    assert {name: entry.get("delivered_ms") for name, entry in said.items()} == {
        "bob": sent_ms,
        "eve": sent_ms,
        "nobody": None,
    }
    assert not any("delivered_ms" in stored[row] for row in rows_of(item).values())
    assert mirror["ttl"] == deadline + 7 * 86_400
    assert stored[key_of(item)] == item


def rows_of(item: Item) -> dict[str, keys.Key]:
    key = key_of(item)
    return {name: keys.inbox_row(name, key, signal_uid(*key)) for name in item["target_agents"]}


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
    (row,) = rows(world, "nobody")
    assert (row["status"], row["reason"]) == ("FAILED", "unknown_target")
    assert messages(world, "nobody") == []


def test_a_target_is_read_anew_before_it_is_called_unknown(world: World) -> None:
    process = world.process()
    process.agents.find(["zoe"])
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
    (row,) = rows(world, "bob")
    assert mirror(world, item) == {"bob": expected}
    assert {name: row[name] for name in expected} == expected
    assert not sent(world, "bob")


@pytest.mark.parametrize("after", [False, True])
def test_who_sent_what_came_too_late_is_told_though_the_signal_is_gone(*, after: bool) -> None:
    """Its time to live removes a signal at its deadline; a worker may die at any call by then."""
    for crash_at in range(1, 100):
        world = World()
        world.register("ann", "bob", "eve")
        world.settle()
        item = signal(to=["bob", "eve"], ttl=int(world.clock()) + 5)
        world.tables.put(tables.SIGNALS, item)
        world.pump()
        world.clock.advance(60)
        (held,) = world.queues.visible()
        faults = Faults(crash_at=crash_at, after=after)
        with suppress(Crash):
            world.process(faults).handle(held.body)
        world.tables.remove(tables.SIGNALS, key_of(item))

        world.settle()

        assert {each.code for each in messages(world, "ann")} == {"expired"}, faults.calls
        if len(faults.calls) < crash_at:
            return


def test_an_agent_removed_under_way_ends_the_row_as_well(world: World) -> None:
    process = world.process()
    process.agents.find(["bob"])
    unregister(world, "bob")

    item = send(world, process=process)

    end = {"status": "FAILED", "reason": "agent_removed"}
    (row,) = rows(world, "bob")
    assert mirror(world, item) == {"bob": end}
    assert {name: row[name] for name in end} == end


def test_a_target_that_was_registered_once_is_told_from_one_that_never_was(world: World) -> None:
    unregister(world, "bob")

    item = send(world, to=["bob", "nobody"])

    ends = {name: end["reason"] for name, end in mirror(world, item).items()}
    assert ends == {"bob": "agent_removed", "nobody": "unknown_target"}


def test_a_writer_that_was_only_seen_was_never_registered(world: World) -> None:
    seen = keys.known_agent("seen")
    world.tables.put(tables.PIPELINE, {**seen.item(), "agent_id": "seen"})

    item = send(world, to=["seen"])

    assert mirror(world, item)["seen"]["reason"] == "unknown_target"


@pytest.mark.parametrize("trouble", ["missing", "refusing"])
def test_one_broken_inbox_harms_only_itself(world: World, trouble: str) -> None:
    """Its neighbours get one copy; its own signals wait, each alone, until it is mended."""
    world.inboxes.remove("bob") if trouble == "missing" else world.inboxes.refusing.add("bob")
    items = [signal(name=f"s{n}", to=["bob", "eve"]) for n in range(3)]
    items += [signal(name=f"e{n}", to=["eve"]) for n in range(3)]
    for item in items:
        world.tables.put(tables.SIGNALS, item)
    exhaust(world, receives=8)

    assert sorted(each.signal_id for each in sent(world, "eve")) == sorted(
        item["signal_id"] for item in items
    )
    assert [mirror(world, item)["eve"] for item in items] == [{"status": "DELIVERED"}] * 6
    stuck = [parse_json(held.body)["kwargs"]["entries"] for held in world.queues.messages]
    assert [len(entries) for entries in stuck] == [1, 1, 1]

    world.inboxes.create("bob")
    world.inboxes.refusing.clear()
    exhaust(world, receives=1)

    assert [each.signal_id for each in sent(world, "bob")] == ["s0", "s1", "s2"]
    assert [mirror(world, item)["bob"] for item in items[:3]] == [{"status": "DELIVERED"}] * 3
    assert not world.queues.messages


def test_a_broken_inbox_harms_no_neighbour_once_the_signal_is_gone_either(world: World) -> None:
    """Without its item there is no mirror, so the rows have to say who was sent to."""
    world.inboxes.refusing.add("bob")
    item = signal(to=["bob", "eve"])
    world.tables.put(tables.SIGNALS, item)
    world.pump()
    world.tables.remove(tables.SIGNALS, key_of(item))

    exhaust(world, receives=8)
    world.inboxes.refusing.clear()
    exhaust(world, receives=1)

    assert (len(sent(world, "eve")), len(sent(world, "bob"))) == (1, 1)
    later = item["timestamp"] + 2 * 86_400
    world.clock.advance(later - world.clock())
    world.tick()
    world.settle()
    assert [row["status"] for name in ("bob", "eve") for row in rows(world, name)] == [
        "EXPIRED",
        "EXPIRED",
    ]


def test_an_owner_whose_inbox_is_broken_is_told_later_and_holds_up_nobody(world: World) -> None:
    world.inboxes.refusing.add("ann")
    world.tables.put(tables.SIGNALS, signal("ann", "bad", to=["*"]))
    world.tables.put(tables.SIGNALS, signal("ann", "good", to=["bob"]))
    exhaust(world, receives=2)

    assert [each.signal_id for each in sent(world, "bob")] == ["good"]

    world.inboxes.refusing.clear()
    exhaust(world, receives=1)

    assert [each.code for each in messages(world, "ann")] == ["broadcast_not_allowed"]
    assert not world.queues.messages


def test_a_refusal_does_not_rest_on_an_old_registration(world: World) -> None:
    process = world.process()
    world.register("picky", accepts_from=["eve"])
    process.agents.find(["ann", "picky"])
    world.register("ann", may_broadcast=True)
    world.register("picky", accepts_from=["ann"])

    send(world, name="s1", to=["*"], process=process)
    item = send(world, name="s2", to=["picky"], process=process)

    assert [each.signal_id for each in sent(world, "bob")] == ["s1"]
    assert mirror(world, item) == {"picky": {"status": "DELIVERED"}}


def test_what_was_never_sent_is_sent_late(world: World) -> None:
    """A worker died between row and message, and the deadline passed: nothing is guessed."""
    item = signal(to=["bob", "eve"], ttl=int(world.clock()) + 5)
    world.tables.put(tables.SIGNALS, item)
    world.pump()
    (held,) = world.queues.visible()
    faults = Faults()
    world.process(faults).handle(held.body)
    first_row = faults.calls.index("MemoryTables.apply") + 1
    again = World()
    again.register("ann", "bob", "eve")
    again.settle()
    again.tables.put(tables.SIGNALS, item)
    again.pump()
    with pytest.raises(Crash):
        again.process(Faults(crash_at=first_row, after=True)).handle(held.body)
    again.clock.advance(60)

    again.process().handle(held.body)

    assert mirror(again, item) == {
        "bob": {"status": "DELIVERED"},
        "eve": {"status": "EXPIRED", "reason": "expired_before_delivery"},
    }
    assert (len(sent(again, "bob")), len(sent(again, "eve"))) == (1, 0)


def test_an_attempt_that_froze_before_the_row_sends_nothing_after_the_deadline(
    world: World,
) -> None:
    item = signal(to=["bob"], ttl=int(world.clock()) + 5)
    world.tables.put(tables.SIGNALS, item)
    world.pump()
    (held,) = world.queues.visible()

    def others_work() -> None:
        if frozen.calls.count("MemoryTables.get") == 1 and world.clock() < item["ttl"]:
            world.clock.advance(60)
            world.process().handle(held.body)

    frozen = Faults(step=others_work)
    world.process(frozen).handle(held.body)

    (row,) = rows(world, "bob")
    expected = {"status": "EXPIRED", "reason": "expired_before_delivery"}
    assert mirror(world, item) == {"bob": expected}
    assert {name: row[name] for name in expected} == expected
    assert not sent(world, "bob")


@pytest.mark.parametrize(
    "planted",
    [
        {},
        {"status": "PROCESSED", "processed_at": 1, "note": "mine"},
        {"signal_pk": "signal#A#eve", "chunk": "00001"},
    ],
)
def test_a_row_that_no_worker_wrote_is_taken_over(world: World, planted: Item) -> None:
    item = signal(to=["bob"])
    key = keys.inbox_row("bob", key_of(item), signal_uid(*key_of(item)))
    world.tables.put(tables.SIGNALS, {**key.item(), **planted})

    world.tables.put(tables.SIGNALS, item)
    world.settle()

    (row,) = rows(world, "bob")
    assert (row["signal_pk"], row["signal_sk"], row["status"]) == (*key_of(item), "PENDING")
    assert not row.keys() & {"processed_at", "note", "chunk"}
    assert len(sent(world, "bob")) == 1
    assert mirror(world, item) == {"bob": {"status": "DELIVERED"}}

    world.acknowledge(key)
    world.settle()

    assert mirror(world, item)["bob"]["status"] == "PROCESSED"


def test_a_row_taken_over_past_the_deadline_does_not_say_that_it_was_never_sent(
    world: World,
) -> None:
    """Its agent may have written over the row of a message that it had in its hands."""
    item = signal(to=["bob"], ttl=int(world.clock()) + 5)
    key = keys.inbox_row("bob", key_of(item), signal_uid(*key_of(item)))
    world.tables.put(tables.SIGNALS, {**key.item(), "status": "FAILED", "reason": "mine"})
    world.tables.put(tables.SIGNALS, item)
    world.clock.advance(60)
    world.settle()

    (row,) = rows(world, "bob")
    assert (row["signal_sk"], row["status"]) == (item["SK"], "PENDING")
    assert "reason" not in row
    assert len(sent(world, "bob")) == 1


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


def test_a_row_deleted_after_its_acknowledgement_is_not_opened_again(world: World) -> None:
    item = signal(to=["bob"], at=world.clock())
    world.tables.put(tables.SIGNALS, item)
    world.pump()
    (work,) = [held.body for held in world.queues.visible()]
    world.settle()
    (row,) = rows(world, "bob")
    world.acknowledge(key_of(row))
    world.tables.remove(tables.SIGNALS, key_of(row))
    world.settle()

    world.process().handle(work)

    assert [each["status"] for each in rows(world, "bob")] == ["PROCESSED"]
    assert mirror(world, item)["bob"]["status"] == "PROCESSED"


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


@pytest.mark.parametrize("is_marked", [True, False])
def test_what_was_sent_is_not_called_unknown_by_an_attempt_that_froze(*, is_marked: bool) -> None:
    """Attempts agree by the row; the one that sent may have died before its mark."""
    ends: set[str] = set()
    for frozen_at in range(1, 100):
        world = World()
        world.register("ann")
        world.settle()
        item = signal(to=["zoe"])
        world.tables.put(tables.SIGNALS, item)
        world.pump()
        (held,) = world.queues.visible()
        frozen = Faults()
        frozen.step = partial(let_zoe_in, world, held.body, frozen, frozen_at, is_marked=is_marked)

        world.process(frozen).handle(held.body)
        if len(frozen.calls) < frozen_at:
            break
        world.queues.delete(held)
        world.process().handle(held.body)

        end, (row,) = mirror(world, item)["zoe"], rows(world, "zoe")
        ends.add(end["status"])
        if end["status"] == "DELIVERED":
            assert row["status"] == "PENDING"
            assert sent(world, "zoe")
        else:
            assert end == {"status": "FAILED", "reason": "unknown_target"}
            assert {name: row[name] for name in end} == end
            assert not sent(world, "zoe")
    assert ends == {"DELIVERED", "FAILED"}


def let_zoe_in(world: World, body: str, frozen: Faults, frozen_at: int, *, is_marked: bool) -> None:
    """At one call of a frozen process, register zoe and let another deliver to her."""
    if len(frozen.calls) + 1 != frozen_at:
        return
    world.register("zoe")
    other = Faults()

    def die_once_sent() -> None:
        if other.calls[-1:] == ["MemoryInboxes.send"] and not is_marked:
            raise Crash("before the mark")

    other.step = die_once_sent
    with suppress(Crash):
        world.process(other).handle(body)


def test_a_delivery_after_a_denial_sends_nothing(world: World) -> None:
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
    assert not sent(world, "zoe")


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


def test_the_row_of_an_answer_holds_it_for_who_waits_there(world: World) -> None:
    send(world, name="s1", in_reply_to="sig_asked", data={"price": 7}, context={"at": "x"})
    send(world, name="s2", in_reply_to={"is": "no id"}, data={"price": 8})

    answer, other = rows(world, "bob")
    assert (answer["in_reply_to"], answer["data"]) == ("sig_asked", {"price": 7})
    assert answer["context"] == {"at": "x"}
    assert not {"in_reply_to", "data"} & other.keys()
    assert {each.in_reply_to for each in sent(world, "bob")} == {"sig_asked", None}
