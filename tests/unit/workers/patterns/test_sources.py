"""How sources did is counted exactly, whatever came twice, late, corrected or was cut short.

It stands in an item of the workers' own, which the agent reads; a decision that names no source
costs nothing for it, and one that does costs what one pattern does.
"""

from collections.abc import Callable, Sequence
from decimal import Decimal
from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sharpwave.schemas import keys, tables
from sharpwave.schemas.numbers import item_from_wire, item_to_wire
from sharpwave.workers.patterns.catalogue import Writers
from sharpwave.workers.patterns.counts import Counts, MalformedRow, days_of, total
from sharpwave.workers.patterns.learn import learn
from sharpwave.workers.patterns.ledger import Slots
from sharpwave.workers.patterns.metrics import Metrics, content_of
from sharpwave.workers.patterns.recount import Recount
from sharpwave.workers.patterns.sources import (
    MOST_SUMS,
    Sum,
    Used,
    code_of,
    codes_in,
    names_in,
    shares_of,
)
from sharpwave.workers.work.ports import Item, Location, Reads
from tests.unit.workers.patterns.test_publish import figures_tick, marks
from tests.world import World
from tests.world.records import decision, key_of, outcome
from tests.world.stores import START

SUBJECT = keys.sources_subject("ann", "TRADE")
HIGH, LOW = "high_volatility", "low_volatility"


def used(number: int, *selected: str, bucket: str | None = None) -> Item:
    reasoning: Item = {"selected": list(selected)} | ({"bucket": bucket} if bucket else {})
    return decision(name=f"d{number}", at=START - 60 + number, reasoning=reasoning)


def resolved(item: Item, success: bool, quality: str | None = None, *, rev: int = 1) -> Item:
    said = outcome(success, None if quality is None else Decimal(quality))
    return {**item, "outcome": said, "outcome_rev": rev}


def history() -> list[Item]:
    """Four decisions: two in a bucket, one corrected, one pending, one that names nothing."""
    first, second = used(1, "news", "whales", bucket=HIGH), used(2, "news", bucket=LOW)
    third, fourth = used(3, "whales"), decision(name="d4", at=START - 50)
    return [
        *(first, second, third, fourth),
        resolved(first, True, "0.5"),
        resolved(second, True, "0.8"),
        resolved(second, False, "0.1", rev=2),
        resolved(fourth, True),
    ]


def item_of(world: World) -> Item | None:
    return world.tables.items(tables.STATE).get(keys.metrics("ann", "TRADE"))


def feed(world: World, states: list[Item]) -> None:
    process = world.process()
    writers = Writers(writes=process.writes, clock=process.clock)
    learn(states, catalogue=process.catalogue, slots=Slots(process.ledger), writers=writers)


EXPECTED = {
    "source_metrics": {
        "news": {
            "total_calls": 2,
            "outcomes": 2,
            "successes": 1,
            "success_rate": Decimal("0.5"),
            "quality_score": Decimal("0.3"),
        },
        "whales": {
            "total_calls": 2,
            "outcomes": 1,
            "successes": 1,
            "success_rate": Decimal(1),
            "quality_score": Decimal("0.5"),
        },
    },
    "context_performance": {
        HIGH: {
            "total_calls": 1,
            "outcomes": 1,
            "successes": 1,
            "success_rate": Decimal(1),
            "quality_score": Decimal("0.5"),
            "sources": {"news": Decimal(1), "whales": Decimal(1)},
        },
        LOW: {
            "total_calls": 1,
            "outcomes": 1,
            "successes": 0,
            "success_rate": Decimal(0),
            "quality_score": Decimal("0.1"),
            "sources": {"news": Decimal(0)},
        },
    },
}


@pytest.mark.parametrize("seed", range(4))
def test_metrics_are_the_same_in_any_order_and_number_of_messages(seed: int) -> None:
    world, chance = World(), Random(seed)
    states = history() * 2
    chance.shuffle(states)

    for each in states:
        feed(world, [each])
        if chance.random() < 0.3:
            figures_tick(world)
    figures_tick(world)

    found = item_of(world)
    assert found is not None
    assert {name: found[name] for name in EXPECTED} == EXPECTED
    assert (found["agent_id"], found["decision_type"]) == ("ann", "TRADE")
    assert marks(world) == []


def test_an_outcome_without_a_quality_leaves_the_mean_alone() -> None:
    world = World()
    said = ((1, "0.5"), (2, "0"), (3, None))
    feed(world, [resolved(used(number, "news"), True, quality) for number, quality in said])
    figures_tick(world)

    found = item_of(world)
    assert found is not None
    assert found["source_metrics"]["news"]["quality_score"] == Decimal("0.25")


def test_a_recount_of_the_states_gives_the_ledger() -> None:
    world = World()
    feed(world, history())

    with Recount(()) as recount:
        for state in history():
            recount.add(state)
        (counted,) = recount.counts()[SUBJECT].values()
        named = {recount.names["ann", code_of(each)] for each in ("news", "whales", HIGH, LOW)}

    (stored,) = days_of(SUBJECT, world.tables).values()
    assert stored.used == counted.used != Used()
    assert (stored.n, stored.s, stored.pending) == (counted.n, counted.s, counted.pending)
    assert named == {"news", "whales", HIGH, LOW}


def test_a_decision_that_names_nothing_is_in_no_ledger_of_sources() -> None:
    world = World()
    feed(world, [decision(), decision(name="d2", reasoning={"selected": "news", "bucket": 7})])
    figures_tick(world)

    assert item_of(world) is None
    assert not any(key.pk.startswith("names#") for key in world.tables.keys(tables.PIPELINE))
    assert SUBJECT not in {keys.ledger_subject(key.pk) for key in world.tables.keys("pipeline")}


def test_who_published_meanwhile_is_not_overwritten_and_the_mark_stays() -> None:
    """A publisher read sums, another writes the item by later ones, and the first one writes."""
    world = World()
    feed(world, history()[:1])
    figures_tick(world)
    world.tables.remove(tables.STATE, keys.metrics("ann", "TRADE"))
    process = world.process()
    feed(world, [history()[4]])
    overtaken = Metrics(
        reads=Meanwhile(process.reads, lambda: figures_tick(world)),
        writes=process.writes,
        clock=world.clock,
    )

    lost = overtaken.publish([("ann", "TRADE")])

    found = item_of(world)
    assert lost == [("ann", "TRADE")]
    assert found is not None
    assert found["source_metrics"]["news"]["successes"] == 1
    assert overtaken.publish([("ann", "TRADE")]) == []


class Meanwhile:
    """Reads, between the first and the second of which something happens."""

    def __init__(self, reads: Reads, happens: Callable[[], object]) -> None:
        self._reads, self._happens = reads, happens
        self.query, self.by_agent = reads.query, reads.by_agent
        self._count = 0

    def get(self, places: Sequence[Location], *, strong: bool = True) -> dict[Location, Item]:
        self._count += 1
        if self._count == 2:
            stale = self._reads.get(places)
            self._happens()
            return stale
        return self._reads.get(places)


def test_an_item_that_its_agent_wrote_over_is_made_whole() -> None:
    world = World()
    feed(world, history())
    world.tables.put(tables.STATE, {**keys.metrics("ann", "TRADE").item(), "source_metrics": {}})

    figures_tick(world)

    found = item_of(world)
    assert found is not None
    assert {name: found[name] for name in EXPECTED} == EXPECTED


def test_the_stream_of_the_item_starts_nothing() -> None:
    world = World()
    feed(world, history())
    figures_tick(world)
    assert item_of(world) is not None

    world.pump()

    assert not world.queues.visible()


def test_names_are_cut_sorted_and_eight_at_most() -> None:
    many = [f"s{number}" for number in range(12)]

    assert names_in({"reasoning": {"selected": ["b", "a", "a", "", 7], "bucket": ""}}) == (
        None,
        ["a", "b"],
    )
    assert names_in({"reasoning": {"selected": many}}) == (None, sorted(many)[:8])
    assert names_in({"reasoning": {"bucket": "x" * 99}}) == ("x" * 64, [])
    assert names_in({"reasoning": "none"}) == (None, [])
    assert codes_in({"reasoning": {"bucket": "b"}}) == (code_of("b"),)
    assert codes_in({"reasoning": {"selected": ["s"]}}) == (0, code_of("s"))
    assert codes_in({}) == ()


SUMS = st.lists(
    st.tuples(
        st.integers(0, 3),
        st.integers(0, 3),
        st.integers(0, 5),
        st.integers(5, 9),
        st.integers(0, 5),
        st.integers(0, 9),
        st.integers(0, 5),
    )
)


@given(SUMS, SUMS)
def test_sums_merge_in_any_order_and_read_back(some: list[Sum], more: list[Sum]) -> None:
    one, other = Used.merged(some), Used.merged(more)

    assert one + other == other + one == Used.merged([*some, *more])
    assert Used.from_numbers((one + other).numbers()) == one + other
    counts = Counts(revision=1, used=one)
    row = item_from_wire(item_to_wire({"c": counts.to_row()}))["c"]
    assert Counts.from_row(row) == counts
    assert total([counts, Counts(used=other)]).used == one + other


@pytest.mark.parametrize("numbers", [[1], [0, 1, 0, 1, 2, 0, 0], [0, 1, 0, 1, 1, 0, 2], [0] * 14])
def test_sums_that_nobody_wrote_are_refused(numbers: list[int]) -> None:
    with pytest.raises(MalformedRow):
        Counts.from_row([1, 0, 0, 0, 0, 0, 0, 0, 0, 1, 0, [], [], [], numbers])


def test_a_sum_of_days_keeps_the_sources_used_most() -> None:
    sums = [(0, code, 0, code, 0, 0, 0) for code in range(1, MOST_SUMS + 3)]

    kept = Counts(used=Used.merged(sums)).summed().used

    assert len(kept.sums) == MOST_SUMS
    assert kept.sums[0][1] == 3, "those with the fewest decisions are left out"
    assert Used(tuple(sums[:2])).kept() == Used(tuple(sums[:2]))


def test_a_code_whose_name_is_gone_is_shown_as_a_code() -> None:
    found = content_of(Used.merged(shares_of((0, 255), (1, 0, 0, 0, 0))), {})

    assert list(found["source_metrics"]) == ["#000000ff"]


def test_a_forgotten_agents_ledgers_and_names_are_its_own() -> None:
    places = [
        keys.source_name("ann", 7),
        keys.ledger_total(SUBJECT),
        keys.metrics("ann", "TRADE"),
        keys.changed(SUBJECT, "2025-10-18"),
    ]

    assert all(keys.is_agents("ann", each) for each in places)
    assert not any(keys.is_agents("an", each) for each in places)
    assert key_of(decision()).pk == "agent:ann#decision#TRADE"
