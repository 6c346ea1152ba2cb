"""The router turns stream records into work messages: purely, grouped, and never reacting to us."""

import copy
from collections.abc import Sequence
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any

import pytest

from sharpwave.schemas import keys, tables
from sharpwave.schemas.ids import signal_uid
from sharpwave.schemas.numbers import item_to_wire, parse_json
from sharpwave.schemas.ownership import stamped
from sharpwave.workers.router.router import Router
from sharpwave.workers.work.envelope import image_of
from sharpwave.workers.work.ports import Insert, Item, Location
from sharpwave.workers.work.ports import Update as Write
from tests.unit.wire_forms import streamed
from tests.world import MemoryTables, VirtualClock, records
from tests.world.records import decision, key_of, memory, outcome, signal
from tests.world.routed import Streams, actors, codes, entries
from tests.world.stores import START

DAY_S = 86_400


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


def test_messages_bear_the_moment_of_the_latest_record_in_milliseconds(streams: Streams) -> None:
    for name, later_s in (("s1", 0.0), ("s2", 5.0), ("s3", -3.0)):
        streams.clock.advance(later_s)
        streams.put(tables.SIGNALS, signal(name=name, to=["bob"]))
    page = [each.record for each in streams.tables.streams[tables.SIGNALS]]

    (message,) = Router()(tables.SIGNALS, page)

    assert parse_json(message.body)["message_timestamp"] == int(START + 5) * 1000


def test_an_agents_own_limits_start_nothing(streams: Streams) -> None:
    """Their buckets are written often, by their agents alone."""
    place = keys.limit("ann", "openai")
    for tokens in (5, 4):
        streams.put(tables.STATE, {**place.item(), "tokens_milli": tokens, "odd": "x"})
    page = [each.record for each in streams.tables.streams[tables.STATE]]

    assert len(page) == 2
    assert Router()(tables.STATE, page) == []


@pytest.mark.parametrize("size", [1, 70_000])
def test_a_record_that_comes_from_no_stream_has_no_number(size: int) -> None:
    page = inserts(tables.STATE, [memory(data={"text": "x" * size}, importance=1)])
    del page[0]["dynamodb"]["SequenceNumber"]

    found = Router()(tables.STATE, page)

    assert {message.queue: message.sequence_numbers for message in found} == {
        "status": (),
        "promote": (),
    }
    assert ("on_memories", "") in [(actor, entry.get("number")) for actor, entry in entries(found)]


def test_a_record_that_does_not_say_when_it_was_stored_is_of_the_year_1970() -> None:
    page = inserts(tables.SIGNALS, [signal(to=["bob"])])
    del page[0]["dynamodb"]["ApproximateCreationDateTime"]

    (message,) = Router()(tables.SIGNALS, page)

    assert codes(entries([message])) == ["future_timestamp"]
    assert parse_json(message.body)["message_timestamp"] == 0


@pytest.mark.parametrize("moment", [START, int(START), datetime.fromtimestamp(START, UTC)])
def test_a_moment_is_read_as_boto3_or_the_lambda_event_gives_it(moment: float | datetime) -> None:
    page = inserts(tables.SIGNALS, [signal(to=["bob"])])
    page[0]["dynamodb"]["ApproximateCreationDateTime"] = moment

    ((_, entry),) = entries(Router()(tables.SIGNALS, page))

    assert entry["stored_at"] == START


def test_who_asks_late_is_told_what_is_due_by_then() -> None:
    (page, entry) = (inserts(tables.DECISIONS, [decision()]), inserts(tables.STATE, [memory()]))
    later = START + DAY_S

    assert "on_late_outcomes" not in actors(entries(Router()(tables.DECISIONS, page)))
    assert "on_late_outcomes" in actors(entries(Router()(tables.DECISIONS, page, now=later)))
    assert "on_memories" not in actors(entries(Router()(tables.STATE, entry)))
    assert "on_memories" in actors(entries(Router()(tables.STATE, entry, now=later)))


@pytest.mark.parametrize(("size", "image"), [(1, "image"), (70_000, "zimage")])
def test_an_entry_says_where_and_when_its_record_was_stored(
    streams: Streams, size: int, image: str
) -> None:
    item = signal(to=["bob"], data={"text": "x" * size})

    ((_, entry),) = streams.put(tables.SIGNALS, item)

    last = streams.tables.streams[tables.SIGNALS][-1].record
    assert entry.keys() == {"event_id", "table", "key", "stored_at", image}
    assert entry["event_id"] == last["eventID"]
    assert (entry["table"], entry["key"]) == (tables.SIGNALS, list(key_of(item)))
    assert entry["stored_at"] == START
    assert image_of(entry) == item_to_wire(item)


def test_of_an_agent_that_wrote_memories_it_is_told_once_that_it_was_seen(streams: Streams) -> None:
    """Who never registered is swept like everyone else, once it is on the list."""
    mine = memory("ann", "m1")
    for item in (mine, {**mine, "memory_type": "DREAM"}, mine, memory("ann", "m2")):
        streams.put(tables.STATE, item)
    large = memory("bob", "m3", data={"text": "x" * 70_000})
    streams.put(tables.STATE, large)
    page = [each.record for each in streams.tables.streams[tables.STATE]]

    messages = Router()(tables.STATE, page)

    (told,) = [each for each in messages if '"on_seen"' in each.body]
    assert [entry for _, entry in entries([told])] == [{"agent": "ann"}, {"agent": "bob"}]
    firsts = (page[0], page[-1])
    assert told.sequence_numbers == tuple(each["dynamodb"]["SequenceNumber"] for each in firsts)


def test_signals_travel_in_groups_of_twenty_with_their_sequence_numbers() -> None:
    page = inserts(tables.SIGNALS, [signal(name=f"s{n}", to=["bob"]) for n in range(25)])

    messages = Router()(tables.SIGNALS, page)

    assert [len(entries([message])) for message in messages] == [20, 5]
    assert [n for message in messages for n in message.sequence_numbers] == [
        record["dynamodb"]["SequenceNumber"] for record in page
    ]


def test_whatever_way_records_take_what_comes_of_them_travels_together(streams: Streams) -> None:
    mended, old = signal(name="s1", to=["bob"]), decision("ann", "d1", ttl=int(START) + 60)
    for item in ({**mended, "target_agents": []}, mended, signal(name="s2", to=["bob"])):
        streams.put(tables.SIGNALS, item)
    row, mirror = row_of(mended, "bob"), Location(tables.SIGNALS, key_of(mended))
    streams.work(tables.SIGNALS, Insert(tables.SIGNALS, row))
    streams.update(tables.SIGNALS, row, status="PROCESSED")
    streams.work(tables.SIGNALS, Write(mirror, {"processing_status": {}, "status_v": 1}))
    streams.put(tables.SIGNALS, {**mended, "ttl": int(START) + 60})
    bad = {**old, "context": 1}
    for item in (old, {**old, "context": {"x": 1}}, {**old, "outcome": outcome(True)}, bad, old):
        streams.put(tables.DECISIONS, item)
    streams.update(tables.DECISIONS, old, ttl=int(START) + 61)
    kept = memory(name="m1", importance=1)
    for item in (kept, {**kept, "access_count": 4}, memory("bob", "m2", importance=1)):
        streams.put(tables.STATE, item)
    for pk in ("nobody", "agent:ann#memory#DREAM", "agent:ann#memory#NOTE"):
        streams.put(tables.STATE, {"PK": pk, "SK": "2025-10-18T14:30:00Z#x"})
    # One that knows what it can do is looked at by the models.
    for registered in (
        records.registration("ann"),
        records.registration("bob", capabilities=["x"]),
    ):
        streams.put(tables.STATE, registered)
    for name, size in (("m3", 1), ("m4", 70_000)):
        text = {"text": "x" * size}
        streams.put(tables.STATE, memory(name=name, data=text, ttl=int(START) + 60))
    streams.clock.advance(90)
    streams.tables.expire()

    for table in tables.STREAMED:
        page = [each.record for each in streams.tables.streams[table]]
        sent = [parse_json(message.body) for message in Router()(table, page)]
        assert len({each["actor_name"] for each in sent}) == len(sent) > 1


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
    mirror, row = keys.mirror(key_of(item)), row_of(item, "bob")
    first = {**mirror.item(), "ttl": int(START), "processing_status": {}, "status_v": 1}
    later = {"processing_status": {"bob": {"status": "PROCESSED"}}, "status_v": 2}

    mirrored = [
        *streams.work(tables.SIGNALS, Insert(tables.SIGNALS, first)),
        *streams.work(tables.SIGNALS, Write(Location(tables.SIGNALS, mirror), later)),
    ]
    inserted = streams.work(tables.SIGNALS, Insert(tables.SIGNALS, row))
    settled = streams.work(
        tables.SIGNALS,
        Write(
            Location(tables.SIGNALS, key_of(row)),
            stamped(key_of(row), {"status": "EXPIRED", "reason": "unacknowledged"}),
        ),
    )

    assert (mirrored, inserted, settled) == ([], [], [])


def test_a_put_over_the_mirror_is_refused_and_what_it_held_is_put_back(streams: Streams) -> None:
    key = key_of(signal(to=["bob"]))
    held = {"bob": {"status": "PROCESSED", "delivered_ms": 7}}
    mirror = keys.mirror(key).item() | {"processing_status": held, "status_v": 1}
    streams.work(tables.SIGNALS, Insert(tables.SIGNALS, mirror))

    (mending, *told) = streams.put(tables.SIGNALS, {**keys.mirror(key).item(), "note": "mine"})

    assert mending[0] == "on_acknowledgements"
    assert mending[1]["key"] == list(key)
    assert mending[1]["held"] == item_to_wire({"held": held})["held"]
    assert codes(told) == ["unknown_key"]


def test_a_signal_that_lives_longer_says_so_to_its_mirror_unless_it_is_refused(
    streams: Streams,
) -> None:
    item = signal(to=["bob"], ttl=int(START) + 600)
    streams.put(tables.SIGNALS, item)

    longer = streams.update(tables.SIGNALS, item, ttl=int(START) + 700)
    refused = streams.update(tables.SIGNALS, item, ttl=int(START) + 800, data={"n": 2})

    assert [(name, entry["ttl"]) for name, entry in longer] == [
        ("on_acknowledgements", int(START) + 700)
    ]
    assert actors(refused) == ["on_refused"]


@pytest.mark.parametrize(("by", "found"), [("agent", ["on_acknowledgements"]), ("ttl", [])])
def test_a_mirror_that_was_deleted_is_put_back_and_one_that_time_removed_is_not(
    streams: Streams, by: Any, found: list[str]
) -> None:
    mirror = keys.mirror(key_of(signal(to=["bob"])))
    held = {"processing_status": {"bob": {"status": "DELIVERED"}}, "status_v": 1}
    streams.work(tables.SIGNALS, Insert(tables.SIGNALS, mirror.item() | held))
    streams.tables.remove(tables.SIGNALS, mirror, by=by)
    last = streams.tables.streams[tables.SIGNALS][-1].record

    messages = streams.route(tables.SIGNALS, [last])

    assert [parse_json(message.body)["actor_name"] for message in messages] == found


def test_what_an_agent_puts_in_the_place_of_a_mirror_or_into_one_is_refused(
    streams: Streams,
) -> None:
    mirror = keys.mirror(key_of(signal(to=["bob"])))
    made_up = {**mirror.item(), "processing_status": {"bob": {"status": "PROCESSED"}}}

    assert codes(streams.put(tables.SIGNALS, made_up)) == ["unknown_key"]
    streams.work(
        tables.SIGNALS, Write(Location(tables.SIGNALS, mirror), {"status_v": 1, "ttl": int(START)})
    )
    assert codes(streams.update(tables.SIGNALS, mirror.item(), note="mine")) == ["unknown_key"]


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
    assert found[0][1]["faults"] == [
        {
            "code": "immutable",
            "where": "target_agents",
            "message": "a signal does not change once written; write a new one",
        }
    ]


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

    last = streams.tables.streams[tables.SIGNALS][-1].record
    assert mending == (
        "on_acknowledgements",
        {
            "key": list(key_of(item)),
            "event_id": last["eventID"],
            "held": item_to_wire({"held": held})["held"],
            **{name: change[name] for name in change if name == "ttl"},
        },
    )
    assert codes(refused) == told
    for message in streams.route(tables.SIGNALS, [last]):
        assert message.sequence_numbers == (last["dynamodb"]["SequenceNumber"],)


def test_a_signal_mended_under_its_mirror_says_nothing_of_what_that_holds(
    streams: Streams,
) -> None:
    item, mirror = signal(to=["bob"]), {"processing_status": {"bob": {"status": "PROCESSED"}}}
    streams.put(tables.SIGNALS, item)
    place = Location(tables.SIGNALS, key_of(item))
    streams.work(tables.SIGNALS, Write(place, {**mirror, "status_v": 1}))
    streams.update(tables.SIGNALS, item, target_agents=5)

    ((actor, entry),) = streams.update(tables.SIGNALS, item, target_agents=["bob"])

    assert (actor, entry["mended"]) == ("on_signals", True)
    assert "held" not in entry


def test_a_put_that_copies_the_mirror_without_its_version_wipes_it_all_the_same(
    streams: Streams,
) -> None:
    item, mirror = signal(to=["bob"]), {"processing_status": {"bob": {"status": "PROCESSED"}}}
    streams.put(tables.SIGNALS, item)
    place = Location(tables.SIGNALS, key_of(item))
    streams.work(tables.SIGNALS, Write(place, {**mirror, "status_v": 1}))

    ((actor, entry), _) = streams.put(tables.SIGNALS, {**item, **mirror, "data": {"n": 2}})

    assert actor == "on_acknowledgements"
    assert entry["held"] == item_to_wire({"held": mirror["processing_status"]})["held"]


def test_a_longer_ttl_is_the_one_change_a_signal_may_see_and_reaches_its_mirror(
    streams: Streams,
) -> None:
    item, later = signal(to=["bob"], ttl=int(streams.clock()) + 60), int(streams.clock()) + 600
    streams.put(tables.SIGNALS, item)

    ((actor, entry),) = streams.update(tables.SIGNALS, item, ttl=later)

    assert (actor, entry["key"], entry["ttl"]) == ("on_acknowledgements", [*key_of(item)], later)


def test_a_signal_that_loses_its_ttl_tells_its_mirror_of_none(streams: Streams) -> None:
    item = signal(to=["bob"], ttl=int(streams.clock()) + 60)
    streams.put(tables.SIGNALS, item)
    streams.tables.update(tables.SIGNALS, key_of(item), {}, remove=("ttl",))

    assert streams.news(tables.SIGNALS) == []


def test_a_signal_mended_from_invalid_to_valid_is_delivered(streams: Streams) -> None:
    item = signal(to=["bob"])
    assert codes(streams.put(tables.SIGNALS, {**item, "target_agents": []})) != []

    found = streams.update(tables.SIGNALS, item, target_agents=["bob"])
    other = streams.put(tables.SIGNALS, signal(name="s2", to=["bob"]))

    assert actors(found) == actors(other) == ["on_signals"]
    # It may have been admitted before it was spoilt; what is new was not.
    assert found[0][1]["mended"] is True
    assert "mended" not in other[0][1]


@pytest.mark.parametrize(
    ("table", "pk", "sk"),
    [
        (tables.SIGNALS, "signal#lower", "2025-10-18T14:30:00Z#x"),
        (tables.SIGNALS, "signal#A#b#c", "2025-10-18T14:30:00Z#x"),
        (tables.SIGNALS, "signal#A#ann", "today#x"),
        (tables.DECISIONS, "agent:ann#choice#TRADE", "2025-10-18T14:30:00Z#x"),
        (tables.DECISIONS, "agent:ann#decision#TRADE", "today#x"),
        (tables.STATE, "agent:ann#memory#DREAM", "2025-10-18T14:30:00Z#x"),
        (tables.STATE, "nobody", "2025-10-18T14:30:00Z#x"),
    ],
)
def test_a_record_under_an_unknown_key_is_parked_with_the_keys_that_are_known(
    streams: Streams, table: str, pk: str, sk: str
) -> None:
    item = {"PK": pk, "SK": sk, "data": "é"}

    found = streams.put(table, item)
    # A backend may tell of a write that changed nothing.
    image = item_to_wire(item)
    again = Router()(table, [streamed(image, image)])
    changed = streams.put(table, {**item, "data": "e"})
    streams.tables.remove(table, key_of(item))
    removed = streams.news(table)

    assert actors(found) == actors(changed) == ["on_refused"]
    assert codes(found) == codes(changed) == ["unknown_key"]
    assert again == removed == []


def test_an_important_or_much_read_memory_is_promoted_early(streams: Streams) -> None:
    dull = streams.put(tables.STATE, memory(name="m1", importance=0, access_count=9))
    important = streams.put(tables.STATE, memory(name="m2", importance=Decimal("0.8")))
    read = streams.put(tables.STATE, memory(name="m3", access_count=10))

    assert [sorted(actors(found)) for found in (dull, important, read)] == [
        ["on_seen"],
        ["on_memories", "on_seen"],
        ["on_memories", "on_seen"],
    ]


def test_a_memory_is_promoted_by_the_change_that_makes_it_much_read_or_important(
    streams: Streams,
) -> None:
    item = memory(importance=0, access_count=0)
    streams.put(tables.STATE, item)

    often = streams.update(tables.STATE, item, access_count=9)
    oftener = streams.update(tables.STATE, item, access_count=10)
    important = streams.update(tables.STATE, item, access_count=0, importance=Decimal("0.8"))

    assert [actors(found) for found in (often, oftener, important)] == [
        [],
        ["on_memories"],
        ["on_memories"],
    ]


@pytest.mark.parametrize(
    ("kind", "more", "is_at_once"),
    [
        *((kind, {}, True) for kind in keys.LASTING_TYPES),
        *(("NOTE", {name: {"bob"}}, True) for name in ("shared_with", "shared_domains")),
        ("NOTE", {"forgotten_at": int(START)}, True),
        ("NOTE", {"domain": "markets"}, False),
    ],
)
def test_what_lasts_is_read_by_others_or_is_forgotten_does_not_wait_for_its_day(
    streams: Streams, kind: str, more: Item, is_at_once: bool
) -> None:
    item = memory(kind=kind, importance=0, **more)

    came = streams.put(tables.STATE, item)
    changed = streams.update(tables.STATE, item, data={"text": "more"})

    assert sorted(actors(came)) == [*(["on_memories"] if is_at_once else []), "on_seen"]
    assert actors(changed) == (["on_memories"] if is_at_once else [])


def test_a_promoted_memory_is_looked_at_again_whenever_it_changes(streams: Streams) -> None:
    """Its fact follows it, and of two states the greater number is the later."""
    item = memory()
    streams.put(tables.STATE, item)
    streams.work(tables.STATE, Write(Location(tables.STATE, key_of(item)), {"promoted_at": 1}))

    changed = streams.update(tables.STATE, item, data={"text": "more"})
    wiped = streams.put(tables.STATE, {**item, "data": {"text": "and more"}})
    never_promoted = streams.put(tables.STATE, {**item, "data": {"text": "most"}})

    assert actors(changed) == actors(wiped) == ["on_memories"]
    assert changed[0][1]["number"] < wiped[0][1]["number"]
    assert never_promoted == []


@pytest.mark.parametrize("size", [1, 70_000])
def test_a_promoted_memory_that_is_found_again_is_looked_at_again(size: int) -> None:
    page = inserts(tables.STATE, [memory(data={"text": "x" * size}, promoted_at=1)])

    assert sorted(actors(entries(Router()(tables.STATE, page)))) == ["on_memories", "on_seen"]


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
    assert entry["removed"] is True
    assert (
        entry["number"]
        == streams.tables.streams[tables.STATE][-1].record["dynamodb"]["SequenceNumber"]
    )


@pytest.mark.parametrize(
    ("before_s", "lives_s"), [(0, 0), (30 * DAY_S, 60)], ids=["at once", "written late"]
)
def test_what_was_admitted_is_promoted_when_time_removes_it_however_it_was_timed(
    streams: Streams, before_s: int, lives_s: int
) -> None:
    item = memory(at=START - before_s, ttl=int(START) + lives_s)
    assert codes(streams.put(tables.STATE, item)) == []
    streams.clock.advance(lives_s + DAY_S)
    streams.tables.expire()

    assert actors(streams.news(tables.STATE)) == ["on_memories"]


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


def test_a_registration_is_noted_and_its_end_is_not(streams: Streams) -> None:
    item = records.registration("ann")

    noted = streams.put(tables.STATE, item)
    changed = streams.put(tables.STATE, {**item, "subscriptions": ["NEWS"]})
    refused = streams.put(tables.STATE, {**item, "subscriptions": ["lower"]})
    streams.tables.remove(tables.STATE, key_of(item))

    assert actors(noted) == actors(changed) == ["on_registered"]
    assert actors(refused) == ["on_refused"]
    assert streams.news(tables.STATE) == []


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
    streams.tables.remove(tables.STATE, key_of(good))
    assert streams.news(tables.STATE) == []
