"""What a table holds can be routed again after a gap, and nothing is done twice by it."""

from collections.abc import Sequence

import pytest

from sharpwave.schemas import keys, tables
from sharpwave.schemas.messages import SignalMessage
from sharpwave.workers.patterns.counts import days_of, total
from sharpwave.workers.reconcile import reconcile
from sharpwave.workers.signals.mirror import Holder, Sent, mirror
from sharpwave.workers.signals.refusals import RefusedBefore
from sharpwave.workers.work.incoming import StreamRecord, streamed
from sharpwave.workers.work.outgoing import WorkMessage
from sharpwave.workers.work.ports import Item
from tests.world import Faults, World
from tests.world.records import (
    decision,
    key_of,
    memory,
    mirror_of,
    outcome,
    registration,
    signal,
    statuses_of,
)
from tests.world.stores import START
from tests.world.world import messages

DAY_S = 86_400


@pytest.fixture
def world() -> World:
    made = World()
    made.register("ann", "bob")
    made.settle()
    return made


def feed(world: World, table: str) -> int:
    count = reconcile(
        table,
        world.tables.scan(table),
        route=world.route,
        send=world.queues.send,
        now=world.clock(),
        refused=RefusedBefore(world.tables),
    )
    world.settle()
    return count


def lose(world: World, table: str, item: Item) -> None:
    """Write an item whose stream record nobody will ever read."""
    world.tables.put(table, item)
    world.unread()


def sent(world: World, agent: str = "bob") -> list[SignalMessage]:
    return [each for each in messages(world, agent) if isinstance(each, SignalMessage)]


def test_a_signal_that_the_stream_lost_is_delivered(world: World) -> None:
    lose(world, tables.SIGNALS, signal(to=["bob"]))

    feed(world, tables.SIGNALS)
    feed(world, tables.SIGNALS)

    assert len(sent(world)) == 1


def test_a_signal_is_judged_by_the_time_it_claims(world: World) -> None:
    """It was valid when it was written, however late the gap is noticed."""
    item = signal(to=["bob"], at=world.clock(), ttl=int(world.clock()) + 60)
    lose(world, tables.SIGNALS, item)
    world.clock.advance(3600)

    feed(world, tables.SIGNALS)

    stored = statuses_of(mirror_of(world.tables.items(tables.SIGNALS), key_of(item)))
    assert stored["bob"]["reason"] == "expired_before_delivery"


@pytest.mark.parametrize("is_lost", [False, True])
def test_what_was_written_long_after_its_moment_is_admitted_as_when_it_came(
    world: World, *, is_lost: bool
) -> None:
    """Its ttl counts from when it was stored, not from what it is about."""
    at, ttl = world.clock() - 8 * DAY_S, int(world.clock()) + 9 * DAY_S
    world.tables.put(tables.STATE, memory(at=at, ttl=ttl))
    decided = decision(at=at, ttl=ttl + 385 * DAY_S, outcome=outcome(True))
    world.tables.put(tables.DECISIONS, decided)
    if is_lost:
        world.unread()
    world.settle()

    feed(world, tables.STATE)
    feed(world, tables.DECISIONS)

    counted = total(days_of(keys.base_subject("ann", "TRADE"), world.tables).values())
    assert (counted.n, len(facts(world))) == (1, 1)
    assert [each for pk in parked_pks() for each in world.tables.query(tables.PIPELINE, pk)] == []


def parked_pks() -> list[str]:
    return [pk for table in (tables.STATE, tables.DECISIONS) for pk in keys.parked_pks(table)]


def test_a_signal_whose_deliveries_all_ended_is_left_alone(world: World) -> None:
    world.tables.put(tables.SIGNALS, signal(to=["bob", "nobody"]))
    world.settle()
    world.acknowledge(sent(world)[0].row)
    world.settle()
    feed(world, tables.SIGNALS)

    assert [key for key in world.tables.keys(tables.SIGNALS) if key.pk.startswith("signal#")]
    assert len(sent(world)) == 1


@pytest.mark.parametrize("status", ["PROCESSED", None])
def test_of_signals_only_those_are_fed_whose_mirror_leaves_something_open(
    world: World, status: str | None
) -> None:
    """The mirror follows its signal in a scan, and is never fed itself."""
    world.tables.put(tables.SIGNALS, signal(to=["bob"]))
    world.settle()
    if status is not None:
        world.acknowledge(sent(world)[0].row, status)
        world.settle()
    scanned = world.tables.scan(tables.SIGNALS)

    fed = reconcile(
        tables.SIGNALS,
        [item for item in scanned if item["PK"]["S"].startswith("signal#")],
        route=world.route,
        send=world.queues.send,
        now=world.clock(),
        refused=None,
    )

    assert fed == (status is None)


def test_an_open_delivery_is_looked_after_again_and_not_sent_again(world: World) -> None:
    world.tables.put(tables.SIGNALS, signal(to=["bob"]))
    world.settle()

    assert feed(world, tables.SIGNALS) == 1
    assert len(sent(world)) == 1


@pytest.mark.parametrize("status", ["PROCESSED", "FAILED"])
def test_an_acknowledgement_that_the_stream_lost_is_mirrored(world: World, status: str) -> None:
    item = signal(to=["bob"])
    world.tables.put(tables.SIGNALS, item)
    world.settle()
    world.acknowledge(sent(world)[0].row, status)
    world.unread()

    feed(world, tables.SIGNALS)

    stored = statuses_of(mirror_of(world.tables.items(tables.SIGNALS), key_of(item)))
    assert stored["bob"]["status"] == status


def test_a_signal_whose_writer_says_itself_how_it_was_received_is_delivered_all_the_same(
    world: World,
) -> None:
    """Its map is no mirror, not even where an acknowledgement was first to come by."""
    item = signal(to=["bob"])
    made_up = {"processing_status": {"bob": {"status": "PROCESSED"}}}
    world.tables.put(tables.SIGNALS, item | made_up)
    world.unread()
    holder = Holder(key_of(item))
    process = world.process()
    assert mirror({holder: Sent()}, reads=process.reads, writes=process.writes) == {holder: {}}
    world.unread()

    feed(world, tables.SIGNALS)

    stored = statuses_of(mirror_of(world.tables.items(tables.SIGNALS), key_of(item)))
    assert len(sent(world)) == 1
    assert stored == {"bob": {"status": "DELIVERED"}}


def test_an_illegal_status_that_the_stream_lost_is_put_back(world: World) -> None:
    world.tables.put(tables.SIGNALS, signal(to=["bob"]))
    world.settle()
    row = sent(world)[0].row
    world.acknowledge(row, "DONE")
    world.unread()

    feed(world, tables.SIGNALS)

    stored = world.tables.items(tables.SIGNALS)[keys.Key(row.PK, row.SK)]
    assert stored["status"] == "PENDING"


def test_counts_do_not_change_by_feeding_what_was_counted(world: World) -> None:
    world.tables.put(tables.DECISIONS, decision(outcome=outcome(True)))
    world.settle()
    lose(world, tables.DECISIONS, decision(name="d2", outcome=outcome(False)))

    for _ in range(3):
        feed(world, tables.DECISIONS)

    counted = total(days_of(keys.base_subject("ann", "TRADE"), world.tables).values())
    assert (counted.n, counted.s) == (2, 1)


def test_a_memory_and_a_registration_that_the_stream_lost_are_seen(world: World) -> None:
    lose(world, tables.STATE, memory(importance=1))
    lose(world, tables.STATE, {**keys.registration("zoe").item(), "agent_id": "zoe"})
    world.register("eve")
    world.unread()

    feed(world, tables.STATE)

    assert "eve" in world.process().agents.names()
    assert "zoe" not in world.process().agents.names()
    facts = [key for key in world.tables.keys(tables.MEMORY) if key.pk == "agent:ann#fact"]
    assert len(facts) == 1


def test_a_bad_record_is_parked_and_the_feed_goes_on(world: World) -> None:
    lose(world, tables.SIGNALS, {"PK": "signal#bad key", "SK": "x"})
    lose(world, tables.SIGNALS, {**signal(name="s0", to=["bob"]), "timestamp": "now"})
    lose(world, tables.SIGNALS, signal(to=["bob"]))

    feed(world, tables.SIGNALS)

    parked = [
        item
        for pk in keys.parked_pks(tables.SIGNALS)
        for item in world.tables.query(tables.PIPELINE, pk)
    ]
    assert len(parked) == 2
    assert len(sent(world)) == 1


def test_a_table_is_fed_in_pages(world: World) -> None:
    for number in range(1_001):
        lose(world, tables.DECISIONS, decision(name=f"d{number}"))
    pages: list[int] = []

    def route(table: str, records: Sequence[StreamRecord], *, now: float) -> list[WorkMessage]:
        pages.append(len(records))
        return []

    stored, now = world.tables.scan(tables.DECISIONS), world.clock()
    count = reconcile(
        tables.DECISIONS, stored, route=route, send=lambda _: None, now=now, refused=None
    )

    assert (count, pages) == (1_001, [500, 500, 1])


def facts(world: World) -> list[Item]:
    found = world.tables.items(tables.MEMORY)
    return [item for key, item in found.items() if key.pk == "agent:ann#fact"]


def test_a_memory_that_the_stream_lost_is_promoted_though_its_sweep_has_passed(
    world: World,
) -> None:
    world.clock.advance(3 * DAY_S)
    world.tick()
    world.settle()
    lose(world, tables.STATE, memory(at=world.clock() - 2 * DAY_S))
    world.tick()
    world.settle()
    assert not facts(world)

    feed(world, tables.STATE)

    assert len(facts(world)) == 1


def test_a_change_of_a_promoted_entry_that_the_stream_lost_reaches_its_fact(world: World) -> None:
    item = memory(importance=1)
    world.tables.put(tables.STATE, item)
    world.settle()
    world.tables.update(tables.STATE, key_of(item), {"data": {"text": "later"}})
    world.unread()

    feed(world, tables.STATE)

    assert [fact["data"] for fact in facts(world)] == [{"text": "later"}]


def test_a_decision_that_the_stream_lost_is_folded_though_its_sweep_has_passed(
    world: World,
) -> None:
    world.clock.advance(3 * DAY_S)
    world.tick()
    world.settle()
    item = decision(at=world.clock() - 2 * DAY_S, outcome=outcome(True))
    lose(world, tables.DECISIONS, item)

    feed(world, tables.DECISIONS)

    episodes = [each for each in world.tables.keys(tables.MEMORY) if each.pk.endswith("#episode")]
    assert len(episodes) == 1
    assert "promoted_at" in world.tables.items(tables.DECISIONS)[key_of(item)]


def test_an_outcome_that_the_stream_lost_is_counted(world: World) -> None:
    item = decision()
    world.tables.put(tables.DECISIONS, item)
    world.settle()
    world.tables.update(tables.DECISIONS, key_of(item), {"outcome": outcome(True)})
    world.unread()

    feed(world, tables.DECISIONS)

    counted = total(days_of(keys.base_subject("ann", "TRADE"), world.tables).values())
    assert (counted.n, counted.s, counted.pending) == (1, 1, 0)


def test_who_wrote_memories_unregistered_in_a_gap_is_listed(world: World) -> None:
    lose(world, tables.STATE, memory("eve"))

    feed(world, tables.STATE)

    assert "eve" in world.process().agents.names()


def test_a_registration_is_judged_by_the_time_it_says(world: World) -> None:
    world.tables.put(tables.STATE, registration("zoe", at=world.clock()))
    world.unread()
    world.clock.advance(3_600)
    asked: list[float] = []

    def route(table: str, records: Sequence[StreamRecord], *, now: float) -> list[WorkMessage]:
        asked.extend(streamed(record).change.stored_at for record in records)
        return []

    stored = [item for item in world.tables.scan(tables.STATE) if item["PK"]["S"] == "agent:zoe"]
    reconcile(
        tables.STATE, stored, route=route, send=lambda _: None, now=world.clock(), refused=None
    )

    assert asked == [world.clock() - 3_600]


def test_an_agent_that_was_listed_before_gets_nothing_older_by_being_fed_again(
    world: World,
) -> None:
    """By its own slow clock it registered before the signal that it came after."""
    world.register("herald", may_broadcast=True)
    world.settle()
    world.tables.put(tables.SIGNALS, signal("herald", to=["*"], at=world.clock()))
    world.settle()
    world.clock.advance(10)
    slow = registration("slow", at=world.clock() - 4_000)
    world.inboxes.create("slow")
    world.tables.put(tables.STATE, slow)
    world.settle()

    feed(world, tables.STATE)

    assert sent(world, "slow") == []


@pytest.mark.parametrize("is_swept", [False, True], ids=["fed", "swept"])
def test_what_was_refused_from_the_future_is_not_admitted_later(
    world: World, *, is_swept: bool
) -> None:
    ahead = world.clock() + 3_000
    world.tables.put(tables.DECISIONS, decision(at=ahead, outcome=outcome(True)))
    world.tables.put(tables.SIGNALS, signal(to=["bob"], at=ahead))
    world.tables.put(tables.STATE, memory(at=ahead, importance=1))
    world.settle()
    world.clock.advance(2 * DAY_S)
    if is_swept:
        world.tick()
        world.settle()

    fed = [feed(world, table) for table in (tables.DECISIONS, tables.SIGNALS)]

    assert fed == [0, 0]
    feed(world, tables.STATE)
    counted = total(days_of(keys.base_subject("ann", "TRADE"), world.tables).values())
    assert (counted.n, sent(world), facts(world)) == (0, [], [])


def test_what_was_refused_is_not_remembered_when_time_removes_it(world: World) -> None:
    ahead, ttl = world.clock() + 3_000, int(world.clock()) + 2 * DAY_S
    reasoning = {"selected": ["hunch"]}
    decided = decision(at=ahead, ttl=ttl, reasoning=reasoning, outcome=outcome(True))
    world.tables.put(tables.DECISIONS, decided)
    world.tables.put(tables.STATE, memory(at=ahead, ttl=ttl))
    world.settle()
    world.clock.advance(3 * DAY_S)
    world.tables.expire(lambda table, key: table != tables.PIPELINE)
    world.settle()

    # Whose names are known stays known; of what was refused there is nothing.
    kept = {key.pk for key in world.tables.keys(tables.MEMORY)}
    assert kept <= {keys.REGISTRY_PK}


@pytest.mark.parametrize("more", [{}, {"ttl": int(START) + 90 * DAY_S}], ids=["no ttl", "ttl"])
def test_what_was_refused_is_known_as_long_as_its_record_lives(world: World, more: Item) -> None:
    ahead = world.clock() + 3_000
    world.tables.put(tables.DECISIONS, decision(at=ahead, outcome=outcome(True), **more))
    world.settle()
    world.clock.advance(100 * DAY_S)
    world.tables.expire(lambda table, key: table == tables.PIPELINE)

    assert feed(world, tables.DECISIONS) == 0


@pytest.mark.parametrize("more", [{}, {"ttl": 300}], ids=["as refused", "with another ttl"])
def test_a_signal_changed_before_its_delivery_is_not_delivered_as_changed(
    world: World, more: Item
) -> None:
    item = signal(to=["bob"], data={"n": 1})
    key = world.tables.put(tables.SIGNALS, item)
    world.unread()
    world.tables.update(tables.SIGNALS, key, {"data": {"n": 2}})
    world.settle()
    if more:
        ttl = int(world.clock()) + more["ttl"]
        world.tables.update(tables.SIGNALS, key, {"ttl": ttl})
        world.settle()

    feed(world, tables.SIGNALS)

    assert sent(world) == []


def test_a_lost_signal_whose_change_was_taken_back_is_delivered(world: World) -> None:
    item = signal(to=["bob"], data={"n": 1})
    key = world.tables.put(tables.SIGNALS, item)
    world.unread()
    for data in ({"n": 2}, item["data"]):
        world.tables.update(tables.SIGNALS, key, {"data": data})
        world.settle()

    feed(world, tables.SIGNALS)

    assert [each.data for each in sent(world)] == [{"n": 1}]


@pytest.mark.parametrize("many", [1, 60], ids=["a few", "chunks"])
@pytest.mark.parametrize("to", ["names", "*"])
def test_an_audience_takes_nobody_from_a_change_that_is_read_before_it_is_refused(
    world: World, to: str, many: int
) -> None:
    names = [f"agent-{n:02d}" for n in range(many)]
    world.register("ann", may_broadcast=True)
    world.register(*names)
    world.settle()
    listed = [*names, "nobody"] if to == "names" else ["*"]
    key = world.tables.put(tables.SIGNALS, signal("ann", to=listed, data={"n": 1}))
    world.settle()
    world.clock.advance(100)
    world.register("mallory")
    change = {"target_agents": ["mallory"], "data": {"n": 2}}
    world.tables.update(tables.SIGNALS, key, change)

    feed(world, tables.SIGNALS)

    held = [*world.tables.items(tables.SIGNALS).values()]
    held += world.tables.items(tables.PIPELINE).values()
    assert not any("mallory" in each.get("processing_status", ()) for each in held)
    assert [len(sent(world, each)) for each in (*names, "mallory")] == [*[1] * many, 0]


@pytest.mark.parametrize("changed", [{"inputs": {"n": 2}}, {"outcome": outcome(False)}])
def test_words_that_stood_before_a_change_that_was_refused_and_taken_back_are_admitted(
    world: World, changed: Item
) -> None:
    """Taking a change back is a change too, and refused; what stands then was admitted once."""
    item = decision(outcome=outcome(True), inputs={"n": 1})
    key = world.tables.put(tables.DECISIONS, item)
    for values in (changed, {name: item[name] for name in changed}) * 2:
        world.tables.update(tables.DECISIONS, key, values)
    world.settle()

    stands = RefusedBefore(world.tables)
    (stored,) = world.tables.scan(tables.DECISIONS)
    world.tables.update(tables.DECISIONS, key, changed)
    (other,) = world.tables.scan(tables.DECISIONS)

    assert not stands.holds(tables.DECISIONS, stored)
    assert stands.holds(tables.DECISIONS, other)


def test_what_its_agent_mended_unseen_is_admitted(world: World) -> None:
    key = world.tables.put(tables.SIGNALS, {**signal(to=["bob"]), "severity": 5})
    world.settle()
    world.tables.update(tables.SIGNALS, key, {"severity": "high"})
    world.unread()

    feed(world, tables.SIGNALS)

    assert len(sent(world)) == 1


def test_what_is_handed_over_by_hand_is_not_passed_over(world: World) -> None:
    """`dlq redrive parked` takes a refusal back, though another event holds the same words."""
    item = signal(to=["bob"], at=world.clock() + 600)
    world.tables.put(tables.SIGNALS, item)
    world.settle()
    world.clock.advance(3_600)

    reconcile(
        tables.SIGNALS,
        [world.tables.scan(tables.SIGNALS)[0]],
        route=world.route,
        send=world.queues.send,
        now=world.clock(),
        refused=None,
    )
    world.settle()

    assert len(sent(world)) == 1


def test_a_row_that_its_agent_deleted_in_the_gap_is_put_back_while_there_is_time(
    world: World,
) -> None:
    """Without its row nobody could acknowledge; it goes out again, under its old delivery id."""
    item = signal(to=["bob"])
    world.tables.put(tables.SIGNALS, item)
    world.settle()
    row = sent(world)[0].row
    key = keys.Key(row.PK, row.SK)
    world.tables.remove(tables.SIGNALS, key)
    world.unread()

    feed(world, tables.SIGNALS)

    assert world.tables.items(tables.SIGNALS)[key]["status"] == "PENDING"
    assert len({each.delivery_id for each in sent(world)}) == 1


@pytest.mark.parametrize("to", [["bob"], ["bob", *(f"n{n}" for n in range(60))]])
def test_what_was_delivered_never_ends_as_expired_before_delivery(
    world: World, to: list[str]
) -> None:
    """Its agent deleted the row, the stream lost that, and the deadline passed."""
    world.tables.put(tables.SIGNALS, signal(to=to, ttl=int(world.clock()) + 600))
    world.settle()
    row = sent(world)[0].row
    world.tables.remove(tables.SIGNALS, keys.Key(row.PK, row.SK))
    world.unread()
    world.clock.advance(3_600)

    feed(world, tables.SIGNALS)

    assert len(sent(world)) == 1
    for table in (tables.SIGNALS, tables.PIPELINE):
        for held in world.tables.items(table).values():
            entry = held.get("processing_status", {}).get("bob", {})
            assert entry.get("reason") != "expired_before_delivery"


def test_an_open_delivery_whose_deadline_nobody_noted_expires(world: World) -> None:
    """As after a restore of `pipeline`, which has no stream and no reconcile of its own."""
    item = signal(to=["bob"], ttl=int(world.clock()) + 600)
    world.tables.put(tables.SIGNALS, item)
    world.settle()
    for place in [each for each in world.tables.keys(tables.PIPELINE) if each.pk[:4] == "due#"]:
        world.tables.remove(tables.PIPELINE, place)
    world.clock.advance(3_600)

    feed(world, tables.SIGNALS)
    for _ in range(5):
        world.clock.advance(60)
        world.tick()
        world.settle()

    stored = statuses_of(mirror_of(world.tables.items(tables.SIGNALS), key_of(item)))
    assert stored["bob"]["status"] == "EXPIRED"


def test_a_fleet_that_was_listed_before_looks_for_no_signal_when_it_is_fed_again() -> None:
    world = World()
    world.register("herald", may_broadcast=True)
    world.register(*(f"agent-{number}" for number in range(40)))
    world.settle()
    world.clock.advance(1)
    for number in range(4):
        item = signal("herald", f"s{number}", to=["*"], at=world.clock())
        world.tables.put(tables.SIGNALS, item)
    world.settle()
    sent = len(world.inboxes.sent)

    reconcile(
        tables.STATE,
        world.tables.scan(tables.STATE),
        route=world.route,
        send=world.queues.send,
        now=world.clock(),
        refused=None,
    )
    faults = Faults()
    world.settle(world.process(faults))

    assert len(world.inboxes.sent) == sent
    assert faults.calls.count("MemoryTables.query") == 0
