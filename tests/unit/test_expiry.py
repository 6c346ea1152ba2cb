"""A delivery that nobody acknowledged in time expires with a reason; a late word still counts."""

from collections.abc import Callable, Sequence
from itertools import count
from random import Random
from typing import Any

import pytest

from sharpwave.schemas import keys, tables
from sharpwave.schemas.ids import signal_uid
from sharpwave.workers.deliver import Signal, deliver
from sharpwave.workers.expiry import Deadlines, Handed, expire, note_late_rows
from sharpwave.workers.low_water import LowWater
from sharpwave.workers.mirror import Holder
from sharpwave.workers.ports import Item, Write
from sharpwave.workers.testing import Crash, Faults, World
from sharpwave.workers.testing.interleaving import Step, interleave
from sharpwave.workers.testing.records import key_of, signal

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
    return item(world, key)["processing_status"]["bob"]


def sweep(world: World, faults: Faults | None = None) -> int:
    ports = world.process(faults).ports
    return expire("bob", reads=ports.reads, writes=ports.writes, clock=world.clock)


def mark(world: World) -> str:
    return LowWater("expiry", "bob", reads=world.tables, writes=world.tables).mark


def test_an_unacknowledged_delivery_expires_in_row_and_mirror(world: World) -> None:
    key = send(world)
    early = sweep(world)
    world.clock.advance(LIFETIME_S)

    assert (early, sweep(world), sweep(world)) == (0, 1, 0)
    assert item(world, row_key(key))["status"] == "EXPIRED"
    assert item(world, row_key(key))["reason"] == "unacknowledged"
    assert mirrored(world, key) == {"status": "EXPIRED", "reason": "unacknowledged"}


def test_a_row_whose_message_was_never_sent_says_so(world: World) -> None:
    key = send(world)
    world.tables.update(tables.SIGNALS, key, {}, remove=("processing_status", "status_v"))
    world.clock.advance(LIFETIME_S)

    sweep(world)

    assert mirrored(world, key) == {"status": "EXPIRED", "reason": "expired_before_delivery"}
    assert item(world, row_key(key))["reason"] == "expired_before_delivery"


def test_an_acknowledgement_after_the_deadline_still_wins(world: World) -> None:
    key = send(world)
    world.clock.advance(LIFETIME_S)
    sweep(world)

    world.acknowledge(row_key(key))
    world.settle()

    assert item(world, row_key(key))["status"] == "PROCESSED"
    assert mirrored(world, key)["status"] == "PROCESSED"


@pytest.mark.parametrize("after", [False, True], ids=["before", "after"])
def test_a_crash_at_any_call_is_made_good_by_the_next_sweep(*, after: bool) -> None:
    call, done = 0, False
    while not done:
        call += 1
        world = World()
        world.register("ann", "bob")
        world.settle()
        found = [send(world, f"s{number}") for number in range(3)]
        world.clock.advance(HOUR_S)
        try:
            sweep(world, Faults(crash_at=call, after=after))
            done = True
        except Crash:
            sweep(world)

        for key in found:
            assert item(world, row_key(key))["status"] == "EXPIRED"
            assert mirrored(world, key) == {"status": "EXPIRED", "reason": "unacknowledged"}


def test_an_acknowledgement_that_comes_between_any_two_calls_of_the_sweep_wins() -> None:
    call, passed = 0, False
    while not passed:
        call += 1
        world = World()
        world.register("ann", "bob")
        world.settle()
        key = send(world)
        world.clock.advance(LIFETIME_S)
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


def test_a_finished_past_is_not_read_again(world: World) -> None:
    send(world)
    world.clock.advance(HOUR_S)
    sweep(world)

    assert mark(world) >= row_key(send(world, "old")).sk[:10]
    assert mark(world) < row_key(send(world, "new")).sk


def test_an_open_row_holds_the_mark(world: World) -> None:
    long = send(world, lifetime_s=9 * 86_400)
    world.clock.advance(HOUR_S)
    send(world, "brief", lifetime_s=10)
    world.clock.advance(2 * HOUR_S)
    sweep(world)

    assert mark(world) < row_key(long).sk
    world.clock.advance(9 * 86_400)
    assert sweep(world) == 1


def test_a_row_that_turns_up_late_lowers_the_mark(world: World) -> None:
    world.clock.advance(4 * HOUR_S)
    send(world)
    world.clock.advance(HOUR_S)
    sweep(world)
    late = signal(name="late", to=["bob"], at=world.clock() - 3 * HOUR_S)
    assert mark(world) > row_key(key_of(late)).sk

    world.tables.put(tables.SIGNALS, late)
    world.settle()

    assert mark(world) < row_key(key_of(late)).sk
    world.clock.advance(86_400)
    assert sweep(world) == 1


@pytest.mark.parametrize("seed", range(12))
def test_a_row_inserted_while_the_mark_rises_is_not_passed_over(seed: int) -> None:
    world = World()
    world.register("ann", "bob")
    world.settle()
    world.clock.advance(4 * HOUR_S)
    send(world)
    world.clock.advance(HOUR_S)
    late = signal(name="late", to=["bob"], at=world.clock() - 3 * HOUR_S)
    world.tables.put(tables.SIGNALS, late)

    def delivering(step: Step) -> None:
        world.settle(world.process(Faults(step=step)))

    def sweeping(step: Step) -> None:
        sweep(world, Faults(step=step))

    assert interleave([delivering, sweeping], Random(seed)) == [None, None]

    world.clock.advance(2 * 86_400)
    sweep(world)
    assert item(world, row_key(key_of(late)))["status"] == "EXPIRED"


def test_rows_of_the_present_lower_nothing(world: World) -> None:
    key = row_key(send(world))
    before = len(list(world.tables.query(tables.PIPELINE, "low_water#expiry")))

    row = item(world, key)
    note_late_rows([row], reads=world.tables, writes=world.tables, clock=world.clock)

    assert len(list(world.tables.query(tables.PIPELINE, "low_water#expiry"))) == before


@pytest.mark.parametrize(
    "junk",
    [
        {},
        {"status": "PENDING"},
        {"status": "PENDING", "expires_at": "soon", "signal_pk": 5, "signal_sk": ""},
        {"status": "PENDING", "expires_at": 1, "signal_pk": "signal#T", "signal_sk": "x"},
    ],
)
def test_what_an_agent_put_into_its_own_inbox_stops_no_sweep(world: World, junk: Item) -> None:
    key = send(world)
    world.tables.put(tables.SIGNALS, {**row_key(key)._replace(sk="2025-10-18").item(), **junk})
    world.clock.advance(3 * 86_400)

    assert sweep(world) == 1
    assert mark(world) == row_key(key).sk


def test_a_deadline_that_is_no_number_has_passed(world: World) -> None:
    key = send(world)
    world.tables.update(tables.SIGNALS, row_key(key), {"expires_at": "never"})
    world.clock.advance(5)

    assert sweep(world) == 1


def test_a_row_whose_status_was_turned_back_ends_as_its_mirror_did(world: World) -> None:
    """The sweep comes before the undo and must not expire what was processed."""
    key = send(world)
    world.acknowledge(row_key(key))
    world.settle()
    world.tables.update(tables.SIGNALS, row_key(key), {"status": "PENDING"})
    world.clock.advance(LIFETIME_S)

    sweep(world)
    world.settle()

    assert item(world, row_key(key))["status"] == "PROCESSED"
    assert mirrored(world, key)["status"] == "PROCESSED"


def test_a_mark_moves_only_for_who_read_it_last(world: World) -> None:
    first, second = (
        LowWater("expiry", "bob", reads=world.tables, writes=world.tables) for _ in range(2)
    )

    assert first.raise_to("2025-10-18T14:30:00")
    assert not second.raise_to("2025-10-18T15:30:00")
    first.lower_to("2025-10-18T13:00:00")

    assert mark(world) < "2025-10-18T13:00:00"


def noted(world: World) -> list[tuple[int, Item]]:
    """List what falls due, with the minute since the epoch."""
    items = world.tables.items(tables.PIPELINE)
    return [
        (int(key.pk.split("#")[1]), entry)
        for key, item in items.items()
        if key.pk.startswith("due#")
        for entry in item["entries"]
    ]


def test_what_was_sent_falls_due_soon_after_its_deadline(world: World) -> None:
    key = send(world)
    deadline = item(world, key)["ttl"]

    [(minute, entry)] = noted(world)

    assert entry == {"pk": key.pk, "sk": key.sk, "targets": ["bob"]}
    assert deadline + 10 <= minute * 60 < deadline + 70


def test_what_an_attempt_marked_and_did_not_note_is_noted_by_the_next(world: World) -> None:
    key = send(world)
    for place in [each for each in world.tables.keys(tables.PIPELINE) if each.pk[:4] == "due#"]:
        world.tables.remove(tables.PIPELINE, place)

    deliver([Signal(item(world, key), "e1", world.clock())], world.process().ports.delivery)

    assert [entry["targets"] for _, entry in noted(world)] == [["bob"]]


def test_an_entry_that_was_written_too_late_is_written_again(world: World) -> None:
    """A worker froze for an hour between its choice of a minute and the write."""
    frozen = count(1)

    def freeze() -> None:
        if next(frozen) == 1:
            world.clock.advance(HOUR_S)

    handed = Handed(Holder(keys.Key("signal#ALERT", "x#1")), int(world.clock()), ["bob"])
    writes = Freezing(world, freeze)
    Deadlines().note([handed], reads=world.tables, writes=writes, clock=world.clock)

    assert max(minute for minute, _ in noted(world)) * 60 > world.clock()


class Freezing:
    """Writes that are held up before they are done."""

    def __init__(self, world: World, freeze: Callable[[], None]) -> None:
        self._world, self._freeze = world, freeze

    def apply(self, writes: Sequence[Write]) -> list[bool]:
        if any(write.location.key.pk.startswith("due#") for write in writes):
            self._freeze()
        return self._world.tables.apply(writes)
