"""The router turns stream records into work messages: purely, grouped, and never reacting to us."""

import copy
from collections.abc import Sequence
from typing import Any

import pytest

from sharpwave.schemas import keys, tables
from sharpwave.schemas.ids import signal_uid
from sharpwave.schemas.numbers import item_to_wire
from sharpwave.schemas.ownership import stamped
from sharpwave.workers.ports import Insert, Item, Location
from sharpwave.workers.ports import Update as Write
from sharpwave.workers.router.router import Router
from tests.world import MemoryTables, VirtualClock, records
from tests.world.records import decision, key_of, memory, signal
from tests.world.routed import Streams, entries
from tests.world.stores import START

DAY_S = 86_400


@pytest.fixture
def streams() -> Streams:
    return Streams()


def actors(found: list[Any]) -> list[str]:
    return [actor for actor, _ in found]


def codes(found: list[Any]) -> list[str]:
    refused = [entry for actor, entry in found if actor == "on_refused"]
    return [fault["code"] for entry in refused for fault in entry["faults"]]


def inserts(table: str, items: Sequence[Item]) -> list[dict[str, Any]]:
    store = MemoryTables(VirtualClock())
    for item in items:
        store.put(table, item)
    return [recorded.record for recorded in store.streams[table]]


def row_of(item: Item, target: str) -> Item:
    key = key_of(item)
    place = keys.inbox_row(target, key, signal_uid(*key))
    said = {"signal_pk": key.pk, "signal_sk": key.sk, "status": "PENDING", "expires_at": 1}
    return {**place.item(), **said}


def test_routing_the_same_records_gives_the_same_messages_and_changes_no_record() -> None:
    page = inserts(tables.SIGNALS, [signal(name=f"s{n}", to=["bob"]) for n in range(25)])
    before = copy.deepcopy(page)

    first, second = Router()(tables.SIGNALS, page), Router()(tables.SIGNALS, page)

    assert first == second
    assert page == before


def test_signals_travel_in_groups_of_twenty_with_their_sequence_numbers() -> None:
    page = inserts(tables.SIGNALS, [signal(name=f"s{n}", to=["bob"]) for n in range(25)])

    messages = Router()(tables.SIGNALS, page)

    assert [len(entries([message])) for message in messages] == [20, 5]
    assert [n for message in messages for n in message.sequence_numbers] == [
        record["dynamodb"]["SequenceNumber"] for record in page
    ]


def test_decisions_are_learned_in_groups_of_fifty_of_one_agent_and_type() -> None:
    page = inserts(
        tables.DECISIONS,
        [
            decision(agent, f"d{n}", kind=kind)
            for n in range(51)
            for agent in ("ann", "bob")
            for kind in ("TRADE", "HEDGE")
        ],
    )

    learning = [m for m in Router()(tables.DECISIONS, page) if m.queue == "learn"]

    groups = [{tuple(entry["key"][:1]) for _, entry in entries([m])} for m in learning]
    assert all(len(group) == 1 for group in groups)
    assert sorted(len(entries([m])) for m in learning) == [1] * 4 + [50] * 4


def test_a_message_is_filled_to_at_most_sixty_kilobytes() -> None:
    page = inserts(
        tables.SIGNALS,
        [signal(name=f"s{n}", to=["bob"], data={"x": "y" * 14_000}) for n in range(10)],
    )

    messages = Router()(tables.SIGNALS, page)

    assert len(messages) == 3
    assert all(len(message.body) < 64 * 1024 for message in messages)


def test_a_workers_own_writes_start_nothing(streams: Streams) -> None:
    item = signal(to=["bob"])
    streams.put(tables.SIGNALS, item)
    place = Location(tables.SIGNALS, key_of(item))
    row = row_of(item, "bob")

    mirrored = streams.work(tables.SIGNALS, Write(place, {"processing_status": {}, "status_v": 1}))
    inserted = streams.work(tables.SIGNALS, Insert(tables.SIGNALS, row))
    settled = streams.work(
        tables.SIGNALS,
        Write(
            Location(tables.SIGNALS, key_of(row)),
            stamped(key_of(row), {"status": "EXPIRED", "reason": "unacknowledged"}),
        ),
    )

    assert (mirrored, inserted, settled) == ([], [], [])


def test_the_mark_of_a_promotion_starts_nothing(streams: Streams) -> None:
    item, entry = decision(), memory()
    streams.put(tables.DECISIONS, item)
    streams.put(tables.STATE, entry)

    marked = streams.work(
        tables.DECISIONS,
        Write(Location(tables.DECISIONS, key_of(item)), {"promoted_at": 1, "is_stm": False}),
    )
    also = streams.work(
        tables.STATE, Write(Location(tables.STATE, key_of(entry)), {"promoted_at": 1})
    )

    assert (marked, also) == ([], [])


def test_a_repeated_put_that_wipes_the_mirror_delivers_again_with_what_it_held(
    streams: Streams,
) -> None:
    item = signal(to=["bob"])
    streams.put(tables.SIGNALS, item)
    place, held = Location(tables.SIGNALS, key_of(item)), {"bob": {"status": "PROCESSED"}}
    streams.work(tables.SIGNALS, Write(place, {"processing_status": held, "status_v": 1}))

    ((actor, entry),) = streams.put(tables.SIGNALS, item)

    assert actor == "on_signals"
    assert entry["held"] == item_to_wire({"held": held})["held"]


def test_a_map_that_the_writer_puts_itself_neither_hides_the_mirror_nor_stands_for_it(
    streams: Streams,
) -> None:
    item, made_up = signal(to=["bob"]), {"processing_status": {"bob": {"status": "PENDING"}}}
    streams.put(tables.SIGNALS, item | made_up)
    place, held = Location(tables.SIGNALS, key_of(item)), {"bob": {"status": "PROCESSED"}}
    streams.work(tables.SIGNALS, Write(place, {"processing_status": held, "status_v": 1}))

    ((_, wiped),) = streams.put(tables.SIGNALS, item | made_up)
    ((_, again),) = streams.put(tables.SIGNALS, item)

    assert wiped["held"] == item_to_wire({"held": held})["held"]
    assert "held" not in again


def test_a_repeated_put_is_none_with_a_past_ttl_because_its_removal_takes_days(
    streams: Streams,
) -> None:
    item = signal(to=["bob"], ttl=int(streams.clock()) + 60)
    streams.put(tables.SIGNALS, item)
    place, held = Location(tables.SIGNALS, key_of(item)), {"bob": {"status": "PROCESSED"}}
    streams.work(tables.SIGNALS, Write(place, {"processing_status": held, "status_v": 1}))
    streams.clock.advance(3_600)

    ((actor, entry),) = streams.put(tables.SIGNALS, item)

    assert actor == "on_signals"
    assert entry["held"] == item_to_wire({"held": held})["held"]


def test_a_change_of_a_valid_signal_is_refused_and_never_delivered(streams: Streams) -> None:
    item = signal(to=["bob"])
    streams.put(tables.SIGNALS, item)

    found = streams.update(tables.SIGNALS, item, target_agents=["eve"])

    assert actors(found) == ["on_refused"]
    assert codes(found) == ["immutable"]


@pytest.mark.parametrize(
    ("change", "told"),
    [({"data": {"n": 2}}, ["immutable"]), ({"ttl": int(START) + 600}, [])],
    ids=["refused", "allowed"],
)
def test_a_put_that_changes_a_signal_and_wipes_its_mirror_only_mends_the_mirror(
    streams: Streams, change: Item, told: list[str]
) -> None:
    item = signal(to=["bob"], ttl=int(START) + 60)
    streams.put(tables.SIGNALS, item)
    place, held = Location(tables.SIGNALS, key_of(item)), {"bob": {"status": "PROCESSED"}}
    streams.work(tables.SIGNALS, Write(place, {"processing_status": held, "status_v": 1}))

    (mending, *refused) = streams.put(tables.SIGNALS, {**item, **change})

    assert mending == (
        "on_acknowledgements",
        {
            "key": list(key_of(item)),
            "event_id": streams.tables.streams[tables.SIGNALS][-1].record["eventID"],
            "held": item_to_wire({"held": held})["held"],
        },
    )
    assert codes(refused) == told


def test_a_longer_ttl_is_the_one_change_a_signal_may_see(streams: Streams) -> None:
    item = signal(to=["bob"], ttl=int(streams.clock()) + 60)
    streams.put(tables.SIGNALS, item)

    assert streams.update(tables.SIGNALS, item, ttl=int(streams.clock()) + 600) == []


def test_a_signal_mended_from_invalid_to_valid_is_delivered(streams: Streams) -> None:
    item = signal(to=["bob"])
    assert codes(streams.put(tables.SIGNALS, {**item, "target_agents": []})) != []

    found = streams.update(tables.SIGNALS, item, target_agents=["bob"])

    assert actors(found) == ["on_signals"]


@pytest.mark.parametrize(
    ("table", "pk"),
    [
        (tables.SIGNALS, "signal#lower"),
        (tables.SIGNALS, "signal#A#b#c"),
        (tables.DECISIONS, "agent:ann#choice#TRADE"),
        (tables.STATE, "agent:ann#memory#DREAM"),
        (tables.STATE, "nobody"),
    ],
)
def test_a_record_under_an_unknown_key_is_parked_with_the_keys_that_are_known(
    streams: Streams, table: str, pk: str
) -> None:
    found = streams.put(table, {"PK": pk, "SK": "2025-10-18T14:30:00Z#x", "data": "é"})

    assert actors(found) == ["on_refused"]
    assert codes(found) == ["unknown_key"]


def test_an_important_or_much_read_memory_is_promoted_early(streams: Streams) -> None:
    dull = streams.put(tables.STATE, memory(name="m1", importance=0))
    important = streams.put(tables.STATE, memory(name="m2", importance=1))
    read = streams.put(tables.STATE, memory(name="m3", access_count=10))

    assert [sorted(actors(found)) for found in (dull, important, read)] == [
        ["on_seen"],
        ["on_memories", "on_seen"],
        ["on_memories", "on_seen"],
    ]


def test_a_memory_that_its_ttl_removes_unpromoted_is_promoted_from_its_old_image(
    streams: Streams,
) -> None:
    item = memory(ttl=int(streams.clock()) + 10)
    streams.put(tables.STATE, item)
    streams.clock.advance(60)
    streams.tables.expire()

    ((actor, entry),) = streams.news(tables.STATE)

    assert actor == "on_memories"
    assert entry["image"] == item_to_wire(item)


def test_a_memory_removed_by_its_agent_or_promoted_or_refused_is_left_alone(
    streams: Streams,
) -> None:
    ttl = int(streams.clock()) + 10
    streams.put(tables.STATE, memory(name="mine", ttl=ttl))
    streams.tables.remove(tables.STATE, key_of(memory(name="mine")))
    mine = streams.news(tables.STATE)
    streams.put(tables.STATE, memory(name="done", ttl=ttl, promoted_at=1))
    streams.put(tables.STATE, {**memory(name="bad", ttl=ttl), "memory_type": "DREAM"})
    streams.clock.advance(60)
    streams.tables.expire()

    removed = [r.record for r in streams.tables.streams[tables.STATE] if r.by == "ttl"]
    assert len(removed) == 2
    assert mine == streams.route(tables.STATE, removed) == []


def test_a_registration_is_noted(streams: Streams) -> None:
    assert actors(streams.put(tables.STATE, records.registration("ann"))) == ["on_registered"]


def test_an_agents_state_is_checked_and_otherwise_its_own_affair(streams: Streams) -> None:
    good = {
        **keys.current_state("ann").item(),
        "agent_id": "ann",
        "state_type": "CURRENT",
        "last_updated": 1,
        "version": 1,
        "timestamp": "free text here",
    }

    assert streams.put(tables.STATE, good) == []
    assert codes(streams.put(tables.STATE, {**good, "version": 0})) != []
