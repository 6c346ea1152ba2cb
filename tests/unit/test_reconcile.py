"""What a table holds can be routed again after a gap, and nothing is done twice by it."""

from collections.abc import Sequence

import pytest

from sharpwave.schemas import keys, tables
from sharpwave.schemas.messages import SignalMessage
from sharpwave.workers.learning.counts import total
from sharpwave.workers.learning.publish import days_of
from sharpwave.workers.outgoing import Outgoing, StreamRecord
from sharpwave.workers.ports import Item
from sharpwave.workers.reconcile import reconcile
from sharpwave.workers.testing import World
from sharpwave.workers.testing.records import decision, key_of, memory, outcome, signal
from sharpwave.workers.testing.world import messages


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

    stored = world.tables.items(tables.SIGNALS)[key_of(item)]
    assert stored["processing_status"]["bob"]["reason"] == "expired_before_delivery"


def test_a_delivered_signal_is_left_alone(world: World) -> None:
    world.tables.put(tables.SIGNALS, signal(to=["bob", "nobody"]))
    world.settle()

    assert feed(world, tables.SIGNALS) == 0


@pytest.mark.parametrize("status", ["PROCESSED", "FAILED"])
def test_an_acknowledgement_that_the_stream_lost_is_mirrored(world: World, status: str) -> None:
    item = signal(to=["bob"])
    world.tables.put(tables.SIGNALS, item)
    world.settle()
    world.acknowledge(sent(world)[0].row, status)
    world.unread()

    feed(world, tables.SIGNALS)

    stored = world.tables.items(tables.SIGNALS)[key_of(item)]
    assert stored["processing_status"]["bob"]["status"] == status


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

    assert "eve" in world.process().ports.agents.names()
    assert "zoe" not in world.process().ports.agents.names()
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

    def route(table: str, page: Sequence[StreamRecord]) -> list[Outgoing]:
        pages.append(len(page))
        return []

    stored = world.tables.scan(tables.DECISIONS)
    count = reconcile(tables.DECISIONS, stored, route=route, send=lambda _: None, now=world.clock())

    assert (count, pages) == (1_001, [500, 500, 1])
