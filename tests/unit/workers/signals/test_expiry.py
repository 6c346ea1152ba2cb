"""A delivery that nobody acknowledged in time expires with a reason; a late word still counts."""

from collections.abc import Callable, Sequence
from contextlib import suppress
from itertools import count
from typing import Any

import pytest

from sharpwave.schemas import keys, tables
from sharpwave.schemas.ids import signal_uid
from sharpwave.schemas.messages import NoticeMessage, SignalMessage
from sharpwave.schemas.numbers import parse_json, wire_size
from sharpwave.workers.signals import expiry
from sharpwave.workers.signals.audience import Signal
from sharpwave.workers.signals.expiry import Deadline, Deadlines, Expiry, Partition
from sharpwave.workers.signals.mirror import Holder
from sharpwave.workers.work.ports import (
    CallRefused,
    InboxMessage,
    Item,
    Location,
    TryAgain,
    Unfinished,
    Write,
)
from tests.world import Crash, Faults, MemoryTables, World
from tests.world.records import key_of, signal, statuses_of
from tests.world.world import messages

LIFETIME_S = 600
HOUR_S = 3600


@pytest.fixture
def world() -> World:
    made = World()
    made.register("ann", "bob")
    made.settle()
    return made


def send(world: World, name: str = "s1", *, lifetime_s: int = LIFETIME_S) -> keys.Key:
    item = signal(name=name, to=["bob"], at=world.clock(), ttl=int(world.clock()) + lifetime_s)
    world.tables.put(tables.SIGNALS, item)
    world.settle()
    return key_of(item)


def row_key(signal_key: keys.Key) -> keys.Key:
    return keys.inbox_row("bob", signal_key, signal_uid(*signal_key))


def item(world: World, key: keys.Key) -> Item:
    return world.tables.items(tables.SIGNALS)[key]


def mirrored(world: World, key: keys.Key) -> Any:
    return statuses_of(item(world, keys.mirror(key)))["bob"]


def dies(post: InboxMessage) -> None:
    raise Crash(post.target)


def later(world: World, seconds: float = LIFETIME_S) -> None:
    """Let so much time pass, and as long as it takes until what fell due is handed out."""
    world.clock.advance(seconds + 90)


def sweep(world: World, faults: Faults | None = None) -> None:
    world.tick()
    world.settle(world.process(faults) if faults else None)


def notices(world: World, agent: str = "ann") -> list[NoticeMessage]:
    found = [each for each in messages(world, agent) if isinstance(each, NoticeMessage)]
    return [each for each in found if each.code == "expired"]


def entries_of(body: str) -> list[Any]:
    entries: list[Any] = parse_json(body)["kwargs"]["entries"]
    return entries


def noted(world: World) -> list[tuple[int, Item]]:
    """List what falls due, with the minute since the epoch."""
    items = world.tables.items(tables.PIPELINE)
    return [
        (int(key.pk.split("#")[1]), entry)
        for key, item in items.items()
        if key.pk.startswith("due#")
        for entry in item["entries"]
    ]


def forget_deadlines(world: World) -> None:
    for place in [each for each in world.tables.keys(tables.PIPELINE) if each.pk[:4] == "due#"]:
        world.tables.remove(tables.PIPELINE, place)


def test_an_unacknowledged_delivery_expires_in_row_and_mirror(world: World) -> None:
    key = send(world)
    sweep(world)
    early = item(world, row_key(key))["status"]
    later(world)
    sweep(world)

    assert early == "PENDING"
    assert item(world, row_key(key))["status"] == "EXPIRED"
    assert item(world, row_key(key))["reason"] == "unacknowledged"
    assert mirrored(world, key) == {"status": "EXPIRED", "reason": "unacknowledged"}


def test_a_delivery_expires_soon_after_its_deadline(world: World) -> None:
    key = send(world)
    world.clock.advance(LIFETIME_S)
    for _ in range(9):
        world.clock.advance(10)
        sweep(world)

    assert item(world, row_key(key))["status"] == "EXPIRED"


def test_what_was_never_sent_never_expires_as_unacknowledged(world: World) -> None:
    """The worker dies between row and message; its work comes back after the deadline."""
    item_ = signal(name="s1", to=["bob"], at=world.clock(), ttl=int(world.clock()) + LIFETIME_S)
    world.tables.put(tables.SIGNALS, item_)
    world.pump()
    (work,) = world.queues.visible()
    world.queues.delete(work)
    quiet = world.inboxes.on_send
    world.inboxes.on_send = dies
    with pytest.raises(Crash):
        world.process().handle(work.body)
    world.inboxes.on_send = quiet
    later(world)
    sweep(world)
    key = key_of(item_)
    assert item(world, row_key(key))["status"] == "PENDING"

    world.process().handle(work.body)
    reason = item(world, row_key(key)).get("reason")

    sent = [each for each in messages(world, "bob") if isinstance(each, SignalMessage)]
    assert bool(sent) == (reason != "expired_before_delivery")


def test_a_delivery_whose_signal_is_gone_expires_in_its_row(world: World) -> None:
    key = send(world)
    world.tables.remove(tables.SIGNALS, key, by="ttl")
    later(world)
    sweep(world)

    assert item(world, row_key(key))["reason"] == "unacknowledged"
    assert key not in world.tables.keys(tables.SIGNALS)


def test_an_acknowledgement_after_the_deadline_still_wins(world: World) -> None:
    key = send(world)
    later(world)
    sweep(world)

    world.acknowledge(row_key(key))
    world.settle()

    assert item(world, row_key(key))["status"] == "PROCESSED"
    assert mirrored(world, key)["status"] == "PROCESSED"


@pytest.mark.parametrize("after", [False, True], ids=["before", "after"])
def test_a_crash_at_any_call_is_made_good_when_the_message_comes_again(*, after: bool) -> None:
    call, done = 0, False
    while not done:
        call += 1
        world = World()
        world.register("ann", "bob")
        world.settle()
        found = [send(world, f"s{number}") for number in range(3)]
        later(world)
        world.tick()
        faults = Faults(crash_at=call, after=after)
        process = world.process(faults)
        done = True
        while world.queues.visible():
            for held in world.queues.visible():
                try:
                    process.handle(held.body)
                    world.queues.delete(held)
                except Crash:
                    done = False
                    process = world.process()

        for key in found:
            assert item(world, row_key(key))["status"] == "EXPIRED"
            assert mirrored(world, key) == {"status": "EXPIRED", "reason": "unacknowledged"}
            told = [each for each in notices(world) if each.record and each.record.SK == key.sk]
            assert 1 <= len(told) <= (1 if done else 2)


def test_an_acknowledgement_that_comes_between_any_two_calls_of_the_sweep_wins() -> None:
    call, passed = 0, False
    while not passed:
        call += 1
        world = World()
        world.register("ann", "bob")
        world.settle()
        key = send(world)
        later(world)
        seen = count(1)

        def step(world: World = world, key: keys.Key = key, at: int = call) -> None:
            if next(seen) == at:  # noqa: B023  counted in this round only
                world.acknowledge(row_key(key))

        sweep(world, Faults(step=step))
        passed = next(seen) <= call
        if passed:
            world.acknowledge(row_key(key))
        world.settle()

        assert item(world, row_key(key))["status"] == "PROCESSED"
        assert mirrored(world, key)["status"] == "PROCESSED"


def test_a_tick_asks_for_what_fell_due_and_not_for_what_exists(world: World) -> None:
    for number in range(30):
        send(world, f"s{number}", lifetime_s=5 * 86_400)
    sweep(world)
    world.clock.advance(60)
    faults = Faults()
    world.tick()
    (tick,) = [held for held in world.queues.visible() if "on_expiry_tick" in held.body]

    world.process(faults).handle(tick.body)

    assert faults.calls == ["MemoryTables.get", "MemoryTables.query"]


def test_after_an_outage_of_days_the_tick_goes_on_in_bounded_steps(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(expiry, "MINUTES_PER_TICK", 3)
    found = [send(world, f"s{number}", lifetime_s=600 + 86_400 * number) for number in range(8)]
    later(world, 9 * 86_400)
    world.tick()
    bodies: list[str] = []
    process = world.process()
    while world.queues.visible():
        for held in world.queues.visible():
            bodies.append(held.body)
            process.handle(held.body)
            world.queues.delete(held)

    assert len([body for body in bodies if "on_expiry_tick" in body]) == 3
    for key in found:
        assert item(world, row_key(key))["status"] == "EXPIRED"


def test_a_tick_that_dies_before_its_mark_rises_hands_out_again(world: World) -> None:
    key = send(world)
    later(world)
    call, done = 0, False
    while not done:
        call += 1
        world.tick()
        for held in [each for each in world.queues.visible() if "expiry_tick" in each.body]:
            world.queues.delete(held)
            try:
                world.process(Faults(crash_at=call)).handle(held.body)
                done = True
            except Crash:
                done = False
    world.settle()

    assert item(world, row_key(key))["status"] == "EXPIRED"


def test_a_large_partition_is_worked_off_in_several_messages(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(expiry, "PAGE", 2)
    monkeypatch.setattr(expiry, "PER_MESSAGE", 4)
    monkeypatch.setattr(keys, "DUE_SHARDS", 1)
    found = [send(world, f"s{number}") for number in range(11)]
    later(world)
    world.tick()
    handled = 0
    while world.queues.visible():
        for held in world.queues.visible():
            handled += '"on_expiry"' in held.body
            world.process().handle(held.body)
            world.queues.delete(held)

    assert handled == 3
    assert {item(world, row_key(key))["status"] for key in found} == {"EXPIRED"}


def test_one_delivery_that_cannot_expire_holds_up_no_other(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(keys, "DUE_SHARDS", 1)
    found = [send(world, f"s{number}") for number in range(4)]
    later(world)
    world.tick()
    refuse = row_key(found[1])

    class Refusing(MemoryTables):
        def apply(self, writes: Sequence[Write]) -> list[bool]:
            if any(write.location.key == refuse for write in writes):
                raise CallRefused("too large")
            return world.tables.apply(writes)

    process = world.process()
    writes: Any = Refusing(world.clock)
    broken = Expiry(
        process.reads,
        writes,
        process.queues,
        process.courier.deadlines,
        process.clock,
    )
    with pytest.raises(CallRefused):
        broken.expire(Partition(noted(world)[0][0], 0))

    statuses = [item(world, row_key(key))["status"] for key in found]
    assert statuses == ["EXPIRED", "PENDING", "EXPIRED", "EXPIRED"]


def test_where_tables_do_not_answer_no_delivery_is_tried_alone(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(keys, "DUE_SHARDS", 1)
    found = [send(world, f"s{number}") for number in range(4)]
    later(world)
    world.tick()
    tries: list[int] = []

    class Silent(MemoryTables):
        def apply(self, writes: Sequence[Write]) -> list[bool]:
            tries.append(len(writes))
            raise TryAgain("503")

    process = world.process()
    silent: Any = Silent(world.clock)
    left = Expiry(process.reads, silent, process.queues, process.courier.deadlines, process.clock)
    with pytest.raises(TryAgain, match="503"):
        left.expire(Partition(noted(world)[0][0], 0))

    assert len(tries) == 1
    sweep(world)
    assert {item(world, row_key(key))["status"] for key in found} == {"EXPIRED"}


def test_the_sender_is_told_once_which_deliveries_expired(world: World) -> None:
    key = send(world)
    later(world)
    sweep(world)
    (part,) = {minute for minute, _ in noted(world)}
    for shard in range(keys.DUE_SHARDS):
        world.process().handler("status", "on_expiry")(
            [{"minute": part, "shard": shard, "after": ""}]
        )

    (notice,) = notices(world)
    assert notice.record is not None
    assert (notice.record.PK, notice.record.SK) == key
    assert "bob" in notice.reasons[0].message
    assert "sharpwave trace s1" in notice.reasons[0].message


def test_a_sender_whose_inbox_takes_nothing_is_told_at_another_attempt(world: World) -> None:
    key = send(world)
    world.register("zoe")
    other = signal("zoe", to=["bob"], at=world.clock(), ttl=int(world.clock()) + LIFETIME_S)
    world.tables.put(tables.SIGNALS, other)
    world.settle()
    (minute,) = {minute for minute, _ in noted(world)}
    later(world)
    parts = [{"minute": minute, "shard": n, "after": ""} for n in range(keys.DUE_SHARDS)]
    world.process().handler("status", "on_expiry")(parts)
    told = [entry for held in world.queues.visible() for entry in entries_of(held.body)]
    tell = world.process().handler("status", "on_expired")

    world.inboxes.refusing.add("ann")
    with pytest.raises(Unfinished, match="1 senders could not be told") as error:
        tell(told)
    reached = [len(notices(world, name)) for name in ("ann", "zoe")]
    world.inboxes.refusing.clear()
    tell(told)

    assert item(world, row_key(key))["status"] == "EXPIRED"
    assert (error.value.keys, reached) == (frozenset({key}), [0, 1])
    assert [len(notices(world, name)) for name in ("ann", "zoe")] == [1, 1]


@pytest.mark.parametrize("after", [False, True], ids=["before", "after"])
def test_a_sender_is_told_though_who_began_to_tell_has_nothing_to_tell_any_more(
    *, after: bool
) -> None:
    """Bob's delivery is acknowledged late, after eve's took its claim to tell for kept."""
    for call in range(1, 40):
        world = World()
        world.register("ann", "bob", "eve")
        world.settle()
        deadline = int(world.clock()) + LIFETIME_S
        made = signal(to=["bob", "eve"], at=world.clock(), ttl=deadline)
        world.tables.put(tables.SIGNALS, made)
        world.settle()
        forget_deadlines(world)
        deadlines = [
            Deadline(Holder(key_of(made)), deadline + 120 * n, [target])
            for n, target in enumerate(["bob", "eve"])
        ]
        Deadlines().note(deadlines, writes=world.tables, clock=world.clock)
        later(world, LIFETIME_S + 120)
        world.process().handler("status", "on_expiry_tick")([])
        first, second = (held.body for held in world.queues.visible())
        world.queues.messages.clear()

        faults = Faults(crash_at=call, after=after)
        with suppress(Crash):
            world.process(faults).handle(first)
        world.process().handle(second)
        world.acknowledge(row_key(key_of(made)))
        world.process().handle(first)
        world.settle()

        assert {notice.code for notice in notices(world)} == {"expired"}, faults.calls


def test_a_sender_that_the_key_does_not_bind_is_not_told(world: World) -> None:
    made = signal(to=["bob"], at=world.clock(), ttl=int(world.clock()) + 60, strict=False)
    world.tables.put(tables.SIGNALS, made)
    world.settle()
    later(world, 60)
    sweep(world)

    assert mirrored(world, key_of(made))["status"] == "EXPIRED"
    assert notices(world) == []


def test_a_sender_is_told_of_what_came_too_late_to_be_sent(world: World) -> None:
    made = signal(to=["bob"], at=world.clock(), ttl=int(world.clock()) + 60)
    world.tables.put(tables.SIGNALS, made)
    world.pump()
    world.clock.advance(600)
    world.settle()

    assert mirrored(world, key_of(made))["reason"] == "expired_before_delivery"
    assert len(notices(world)) == 1


def test_of_what_left_neither_row_nor_signal_nobody_is_told(world: World) -> None:
    """The target acknowledged in time and deleted its row, and the ttl removed the signal."""
    key = send(world)
    world.acknowledge(row_key(key))
    world.tables.remove(tables.SIGNALS, row_key(key))
    world.settle()
    world.tables.remove(tables.SIGNALS, key, by="ttl")

    for _ in range(20):
        later(world, 6 * 3600)
        sweep(world)

    assert notices(world) == []


def test_an_acknowledged_delivery_is_told_to_nobody(world: World) -> None:
    key = send(world)
    world.acknowledge(row_key(key))
    world.settle()
    later(world)
    sweep(world)

    assert notices(world) == []
    assert item(world, row_key(key))["status"] == "PROCESSED"


@pytest.mark.parametrize("status", ["DONE", "EXPIRED", ["PENDING"], None])
def test_a_row_that_its_agent_spoiled_is_mended_and_then_expires(world: World, status: Any) -> None:
    """Its deadline comes before the record of what the agent did."""
    key = send(world)
    world.tables.update(tables.SIGNALS, row_key(key), {"status": status})
    spoiled = world.unread()
    later(world)
    sweep(world)
    for table, page in spoiled:
        world.queues.send(world.route(table, page))
    world.settle()
    for _ in range(3):
        later(world)
        sweep(world)

    assert item(world, row_key(key))["status"] == "EXPIRED"
    assert mirrored(world, key) == {"status": "EXPIRED", "reason": "unacknowledged"}


def test_a_spoiled_row_that_nobody_mends_ends_after_a_day(world: World) -> None:
    key = send(world, lifetime_s=9 * 86_400)
    world.tables.update(tables.SIGNALS, row_key(key), {"status": "DONE"})
    world.unread()
    later(world, 9 * 86_400)
    rounds = 0
    while item(world, row_key(key))["status"] != "EXPIRED":
        rounds += 1
        sweep(world)
        later(world, 3_600)
        world.unread()

    assert 24 <= rounds <= 48
    assert mirrored(world, key)["reason"] == "unacknowledged"
    assert len(noted(world)) < 20


def test_a_deadline_that_its_agent_wrote_over_changes_nothing(world: World) -> None:
    key = send(world)
    world.tables.update(tables.SIGNALS, row_key(key), {"expires_at": "never"})
    later(world)
    sweep(world)

    assert item(world, row_key(key))["status"] == "EXPIRED"


def test_a_row_whose_status_was_turned_back_ends_as_its_mirror_did(world: World) -> None:
    """The sweep comes before the undo and must not expire what was processed."""
    key = send(world)
    world.acknowledge(row_key(key))
    world.settle()
    world.tables.update(tables.SIGNALS, row_key(key), {"status": "PENDING"})
    later(world)

    sweep(world)

    assert item(world, row_key(key))["status"] == "PROCESSED"
    assert mirrored(world, key)["status"] == "PROCESSED"


def test_a_mirror_that_its_writer_wiped_is_put_back_before_anything_expires(world: World) -> None:
    key = send(world)
    world.tables.put(tables.SIGNALS, {**keys.mirror(key).item(), "note": "mine"})
    wiped = world.unread()
    later(world)
    sweep(world)
    assert item(world, row_key(key))["status"] == "PENDING"

    for table, page in wiped:
        world.queues.send(world.route(table, page))
    world.settle()
    for _ in range(3):
        later(world)
        sweep(world)

    assert mirrored(world, key) == {"status": "EXPIRED", "reason": "unacknowledged"}


def test_a_delivery_whose_mirror_is_gone_for_good_ends_by_its_row(world: World) -> None:
    """Who is about to begin a mirror has a day, for it may have read the row open."""
    key = send(world)
    for gone in (key, keys.mirror(key)):
        world.tables.remove(tables.SIGNALS, gone, by="ttl")
    later(world)
    sweep(world)
    assert item(world, row_key(key))["status"] == "PENDING"

    for _ in range(40):
        later(world, HOUR_S)
        sweep(world)

    assert item(world, row_key(key))["reason"] == "unacknowledged"


def test_of_what_was_processed_only_the_mirror_is_read(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    done, still_open = send(world, "s1"), send(world, "s2")
    world.acknowledge(row_key(done))
    world.settle()
    read: list[tuple[keys.Key, bool]] = []
    plain = world.tables.get

    def get(places: Sequence[Location], *, strong: bool = True) -> dict[Location, Item]:
        read.extend((place.key, strong) for place in places)
        return plain(places, strong=strong)

    monkeypatch.setattr(world.tables, "get", get)
    later(world)
    world.tick()
    world.settle()

    assert [strong for key, strong in read if key == keys.mirror(done)] == [False]
    assert {row_key(done), done}.isdisjoint(key for key, _ in read)
    assert item(world, row_key(still_open))["status"] == "EXPIRED"


@pytest.mark.parametrize("shown", ["as first sent", "nothing at all"])
def test_a_mirror_read_as_it_was_before_changes_nothing(
    world: World, monkeypatch: pytest.MonkeyPatch, shown: str
) -> None:
    key = send(world)
    place = keys.mirror(key)
    older = {Location(tables.SIGNALS, place): item(world, place)}
    older = older if shown == "as first sent" else {}
    world.acknowledge(row_key(key))
    world.settle()
    plain = world.tables.get

    def get(places: Sequence[Location], *, strong: bool = True) -> dict[Location, Item]:
        return plain(places) if strong else {each: older[each] for each in places if each in older}

    monkeypatch.setattr(world.tables, "get", get)
    later(world)
    sweep(world)

    assert item(world, row_key(key))["status"] == "PROCESSED"
    assert mirrored(world, key)["status"] == "PROCESSED"
    assert notices(world) == []


def test_signals_of_one_sender_and_audience_are_noted_together_in_a_kilobyte(world: World) -> None:
    """A write unit ends there."""
    made = [
        signal(name=f"sig_{number:026}", to=["bob"], at=world.clock(), ttl=int(world.clock()) + 600)
        for number in range(14)
    ]
    for each in made:
        world.tables.put(tables.SIGNALS, each)
    world.settle()

    [note] = [each for each in world.tables.scan(tables.PIPELINE) if "entries" in each]
    assert wire_size(note) <= 1024
    later(world)
    sweep(world)
    assert {item(world, row_key(key_of(each)))["status"] for each in made} == {"EXPIRED"}


def test_what_was_sent_falls_due_soon_after_its_deadline(world: World) -> None:
    key = send(world)
    deadline = item(world, key)["ttl"]

    [(minute, entry)] = noted(world)

    assert entry == {"pk": key.pk, "sk": key.sk, "targets": ["bob"]}
    assert deadline + 10 <= minute * 60 < deadline + 70


def test_what_an_attempt_marked_and_did_not_note_is_noted_by_the_next(world: World) -> None:
    key = send(world)
    forget_deadlines(world)

    world.process().courier.deliver([Signal(item(world, key), "e1", world.clock())])

    assert [entry["targets"] for _, entry in noted(world)] == [["bob"]]


@pytest.mark.parametrize("write", ["minute", "entry", "mark"])
def test_what_was_noted_and_not_marked_waits_at_its_deadline(world: World, write: str) -> None:
    """The worker dies between the writes of one call; its message comes back hours later."""
    sent = signal(name="s1", to=["bob"], at=world.clock(), ttl=int(world.clock()) + LIFETIME_S)
    world.tables.put(tables.SIGNALS, sent)
    world.pump()
    (work,) = world.queues.visible()
    world.queues.delete(work)
    # Two reads, the row and the message come first.
    faults = Faults(crash_at=5 + ["minute", "entry", "mark"].index(write))
    with pytest.raises(Crash):
        world.process(faults).handle(work.body)
    later(world, HOUR_S)
    sweep(world)
    early = item(world, row_key(key_of(sent)))["status"]

    world.process().handle(work.body)
    for _ in range(3):
        later(world, HOUR_S)
        sweep(world)

    assert early == "PENDING"
    assert mirrored(world, key_of(sent)) == {"status": "EXPIRED", "reason": "unacknowledged"}


def test_an_entry_that_was_written_too_late_is_written_again(world: World) -> None:
    """A worker froze for an hour between its choice of a minute and the write."""
    frozen = count(1)

    def freeze() -> None:
        if next(frozen) == 1:
            world.clock.advance(HOUR_S)

    deadline = Deadline(Holder(keys.Key("signal#ALERT", "x#1")), int(world.clock()), ["bob"])
    writes = Freezing(world, freeze)
    Deadlines().note([deadline], writes=writes, clock=world.clock)

    assert max(minute for minute, _ in noted(world)) * 60 > world.clock()


class Freezing:
    """Writes that are held up before they are done."""

    def __init__(self, world: World, freeze: Callable[[], None]) -> None:
        self._world, self._freeze = world, freeze

    def apply(self, writes: Sequence[Write]) -> list[bool]:
        if any(write.location.key.pk.startswith("due#") for write in writes):
            self._freeze()
        return self._world.tables.apply(writes)
