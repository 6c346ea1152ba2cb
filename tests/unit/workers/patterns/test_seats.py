"""A seat in a base ledger counts what a ledger of its own would, whatever happens on the way.

Who sits where is settled for an epoch, so no seat is ever another's. What is seated is held here
against a recount of the states, which knows no ledger, no element and no seat.
"""

import random
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import replace
from decimal import Decimal
from typing import Any
from unittest.mock import patch

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sharpwave.schemas import keys, tables
from sharpwave.schemas.patterns import PatternDefinition, PatternVersion, seated
from sharpwave.workers.patterns import ledger
from sharpwave.workers.patterns.catalogue import Writers
from sharpwave.workers.patterns.counts import (
    Counts,
    days_of,
    seats_in,
    summed_days_of,
    summed_rows_of,
)
from sharpwave.workers.patterns.learn import learn
from sharpwave.workers.patterns.ledger import Element, MalformedElement, Outcome, Slots
from sharpwave.workers.patterns.recount import Recount
from sharpwave.workers.patterns.seats import (
    MOST_SEATS,
    apart,
    days_in,
    places_of,
    row_of,
    seat,
    summed,
)
from sharpwave.workers.patterns.units import Units, stored_arms
from sharpwave.workers.work.ports import Item, Location
from tests.unit.workers.patterns.test_publish import figures_tick
from tests.world import Crash, Faults, World
from tests.world.records import decision, outcome
from tests.world.stores import START

NOW = int(START)


def version(
    name: str, market: str | None, *, begins: int = 0, ends: int | None = None, form: int = 2
) -> PatternVersion:
    content: dict[str, Any] = {"pattern_id": name, "agent_id": "ann", "decision_type": "TRADE"}
    if market:
        content["conditions"] = [{"path": "context.market", "op": "eq", "value": market}]
    return PatternVersion.model_validate(
        {
            "definition": PatternDefinition.model_validate(content),
            "version": 1,
            "form": form,
            "effective_from": begins,
            "effective_to": ends,
            "learned_at": 0,
        }
    )


#: One that was imported, one of an older release that has a ledger of its own, and five that are
#: seated: of which one ends and one begins in mid-run, so that others move up, and one has room
#: for what names it alone.
VERSIONS = [
    version("imported", "up", form=1),
    version("found_0", "down", form=1),
    version("found_1", "up"),
    version("found_2", "down", ends=NOW - 3_000),
    version("found_3", "down"),
    version("found_4", "up", begins=NOW - 40),
    version("found_5", None),
]

ELEMENTS = st.builds(
    Element,
    st.integers(0, 5).map(lambda number: number.to_bytes(8, "big")),
    st.integers(0, 2).map(lambda number: number.to_bytes(3, "big")),
    st.integers(0, 3).map(lambda number: number.to_bytes(4, "big")),
    st.integers(1, 3),
    st.sampled_from(Outcome),
    st.just(False),
    st.one_of(st.none(), st.integers(0, 10_000)),
    st.one_of(st.none(), st.integers(0, 10_000)),
    st.one_of(st.none(), st.integers(1, 10_000)),
    st.just(()),
)


@given(ELEMENTS, st.integers(1, 2**20 - 1), st.integers(0, 2**20 - 1))
def test_taken_apart_an_element_is_what_each_ledger_would_hold(
    one: Element, seats: int, applied: int
) -> None:
    own, by_seat = apart([seat(one.encode(), seats, applied & seats)])

    assert own == [one._replace(selection_prob=None).encode()]
    assert len(by_seat) == seats.bit_length()
    for number, found in enumerate(by_seat):
        mine = one._replace(confidence=None, applied=bool(applied >> number & 1))
        assert found == ([mine.encode()] if seats >> number & 1 else [])


def test_what_is_not_seated_is_left_as_it_is() -> None:
    plain, stating = bytes(20), bytes(16) + b"\x01" + bytes(7)

    assert apart([plain, stating]) == ([plain, stating], [])
    assert seats_in(row_of([plain], revision=1)) == []


@pytest.mark.parametrize(
    "tail",
    [b"", b"\x00", b"\x01\x02", b"\x03\x02\x01"],
    ids=["no seats", "none of the seats", "applied where it has no seat", "two lengths"],
)
def test_seats_that_nobody_writes_are_refused(tail: bytes) -> None:
    kind = 0x41 if len(tail) < 2 else 0x61
    stating = bytes([kind | 0x10])
    element = bytes(17) + stating + bytes(6) + tail

    with pytest.raises(MalformedElement, match="names seats as nobody writes them"):
        apart([element])


def test_a_release_without_seats_reads_the_counts_of_all_and_does_not_guess_an_element() -> None:
    element = seat(
        Element(bytes(8), bytes(3), bytes(4), 1, Outcome.SUCCESS, False, 7).encode(), 5, 4
    )
    row = row_of([element], revision=3)

    assert Counts.from_row(row) == Counts(3, n=1, s=1, q_sum=7, q_n=1, units=1, q_sq=49)
    assert [each.n for each in seats_in(row)] == [1, 0, 1]
    assert [each.applied for each in seats_in(row)] == [0, 0, 1]
    with pytest.raises(MalformedElement):
        ledger.fold([element])


def test_rows_add_up_seat_by_seat() -> None:
    one = Counts(2, n=3, s=1).to_row([Counts(n=2, s=1)])
    other = Counts(5, n=1, pending=4, q_sq=None).to_row([Counts(), Counts(pending=3)])

    found = summed([one, other, Counts(1, n=1).to_row()])

    assert Counts.from_row(found) == Counts(17, n=5, s=1, pending=4, q_sq=None)
    assert seats_in(found) == [Counts(n=2, s=1), Counts(pending=3)]


def test_what_a_seat_counts_is_not_dropped_for_content_of_other_seats() -> None:
    """A key written over counts once a day in each ledger: the smallest content that is in it."""

    def element(content: int, seats: int, revision: int) -> bytes:
        what = content.to_bytes(3, "big")
        one = Element(bytes(8), what, bytes(4), revision, Outcome.SUCCESS, False, None)
        return seat(one.encode(), seats, 0) if seats else one.encode()

    smallest, mine, older = element(1, 1, 1), element(2, 2, 2), element(2, 2, 1)
    nobodys = element(3, 0, 5)

    found = ledger.superseded_in([smallest, mine, older, nobodys, element(4, 0, 1)])

    assert found == {older, element(4, 0, 1)}


def some_state(number: int, revision: int, content: int) -> Item:
    draw = random.Random(f"{number}")
    told = random.Random(f"{number}/{content}")
    item = decision(
        name=f"d{number}",
        at=NOW - draw.choice([0, 20, 60, 60, 2_999, 3_001, 4_000]),
        context={"market": told.choice(["up", "down"]), "cycle": number % 4},
        reasoning={
            "confidence": told.choice([Decimal("0.35"), Decimal("0.91"), "high"]),
            "selection_prob": told.choice([Decimal("0.3"), 1, 0]),
            "patterns_applied": told.choice([["found_1"], ["found_5", "found_2@1"], []]),
        },
    )
    if told.random() < 0.5:
        item["event_time"] = "2025-10-10"
    chance = random.Random(f"{number}/{content}/{revision}")
    said = outcome(chance.random() < 0.5, Decimal(chance.randint(0, 100)) / 100)
    return {**item, "outcome": said, "outcome_rev": revision} if revision else item


def world_of(versions: Sequence[PatternVersion]) -> World:
    world = World()
    for each in versions:
        entry = {**keys.known_pattern(each.subject).item(), **each.entry()}
        world.tables.put(tables.PIPELINE, entry)
    return world


def count(world: World, states: Sequence[Item], *, together: int = 3, faults: Any = None) -> None:
    for start in range(0, len(states), together):
        process = world.process(faults)
        with suppress(Crash):
            learn(
                states[start : start + together],
                catalogue=process.catalogue,
                slots=Slots(process.ledger),
                writers=Writers(writes=process.writes, clock=process.clock),
            )


def assert_exact(world: World, states: Sequence[Item]) -> None:
    """Hold sums and units of every version, and of every ledger of all, against a recount."""
    with Recount(VERSIONS) as recount:
        for state in states:
            recount.add(state)
        recounted, arms = recount.counts(), recount.arms()

    def plain(days: Mapping[str, Counts]) -> dict[str, Counts]:
        return {day: replace(each, revision=0, units=0) for day, each in days.items()}

    units = Units(world.tables)
    for each in VERSIONS:
        places = places_of(each, VERSIONS)
        found = days_in(places, lambda subject: summed_rows_of(subject, world.tables))
        assert plain(found) == recounted.get(each.subject, {}), each.subject
        mine = arms.get(each.subject, {})
        assert stored_arms(places, world.tables) == mine, each.subject
        assert units.arms_in(places, lambda subject: summed_days_of(subject, world.tables)) == mine
        if each.is_seated:
            assert not summed_rows_of(each.subject, world.tables)
    for subject in filter(keys.split_base_subject, recounted):
        assert plain(summed_days_of(subject, world.tables)) == recounted[subject]


@settings(deadline=None, max_examples=40)
@given(st.data())
def test_seats_agree_with_a_recount_in_any_order_after_any_crash(data: st.DataObject) -> None:
    """What was handed out and perhaps half counted is handed out again, in another order.

    Keys are written over with content that belongs to others, outcomes are corrected, and slots
    close after a few decisions.
    """
    world = world_of(VERSIONS)
    chance = data.draw(st.randoms(use_true_random=False))
    one = st.builds(some_state, st.integers(0, 11), st.integers(0, 3), st.sampled_from([0, 0, 1]))
    states = data.draw(st.lists(one, max_size=30))
    with patch.object(ledger, "CLOSE_AT", 3), patch.object(ledger, "MOST_SUPERSEDED", 1):
        for crashes in (0.3, 0.0):
            chance.shuffle(states)
            count(world, states, faults=Faults(crash_rate=crashes, chance=chance))
    figures_tick(world)

    assert_exact(world, states)


def test_who_ends_leaves_the_seats_of_others_alone() -> None:
    """In the epochs before it ended it keeps its seat, though the next ones do without."""
    numbers = {
        each.definition.pattern_id: places_of(each, VERSIONS) for each in VERSIONS if each.is_seated
    }
    first, second, third = (
        keys.base_subject("ann", "TRADE", epoch) for epoch in (0, NOW - 3_000, NOW - 40)
    )

    assert numbers == {
        "found_1": {first: 0, second: 0, third: 0},
        "found_2": {first: 1},
        "found_3": {first: 2, second: 1, third: 1},
        "found_4": {third: 2},
        "found_5": {first: 3, second: 2, third: 3},
    }
    assert [each.subject for each in seated(VERSIONS, "bob", "TRADE", 0)] == []


def test_a_late_outcome_is_counted_where_its_decision_sat() -> None:
    world = world_of(VERSIONS)
    market = {"market": "down"}
    old = decision(name="old", at=NOW - 3_500, context=market)
    new = decision(name="new", at=NOW - 2_000, context=market)
    count(world, [old, new])
    won = [{**each, "outcome": outcome(True), "outcome_rev": 1} for each in (new, old, old)]

    count(world, won)
    figures_tick(world)

    assert_exact(world, [old, new, *won])


def test_a_release_that_knows_no_seats_may_sum_up_in_between() -> None:
    """It leaves the mark, for there are versions that it cannot read."""
    world = world_of(VERSIONS)
    states = [decision(name=f"d{n}", context={"market": "up"}) for n in range(4)]
    subject = keys.base_subject("ann", "TRADE", NOW - 40)

    for number in range(4):
        count(world, states[number : number + 1])
        heads = list(days_of(subject, world.tables).items())
        for day, counts in heads:
            place = Location(tables.PIPELINE, keys.ledger_day(subject, day))
            world.tables.raise_counts(place, counts.to_row())
        if number != 1:
            figures_tick(world)

    assert_exact(world, states)


def test_of_a_base_ledger_publishing_reads_the_sets_that_changed() -> None:
    world = world_of(VERSIONS)
    states = [
        decision(name=f"d{n}", at=NOW - 60 * 60 * n, context={"market": "up"}) for n in (0, 1)
    ]
    count(world, states, together=1)
    figures_tick(world)
    reads: list[str] = []

    class Noting:
        def get(self, places: Any) -> Any:
            reads.extend(place.key.sk[0] for place in places)
            return world.tables.get(places)

        def query(self, table: str, pk: str, **named: Any) -> Any:
            found = list(world.tables.query(table, pk, **named))
            reads.extend(item["SK"][0] for item in found)
            return iter(found)

    noting: Any = Noting()
    units, mine = Units(noting), places_of(VERSIONS[2], VERSIONS)

    def arms() -> Any:
        return units.arms_in(mine, lambda subject: summed_days_of(subject, world.tables))

    arms()
    for revision in (1, 2):
        # Of what was read whole the heads are not known yet, so a day's sets are read once more.
        reads.clear()
        won = {**states[0], "outcome": outcome(True), "outcome_rev": revision}
        count(world, [won])
        figures_tick(world)
        found = arms()

    assert sorted(reads) == ["H", "L"]
    assert sum(each.n for each in found.values()) == 1
    reads.clear()
    assert (arms(), reads) == (found, [])


def found(world: World, number: int, **more: Any) -> PatternVersion:
    fields = {"pattern_id": f"found_{number}", "agent_id": "ann", "decision_type": "TRADE", **more}
    fields["conditions"] = [{"path": "context.n", "op": "eq", "value": number}]
    definition = PatternDefinition.model_validate(fields)
    admission = world.process().admission
    made = admission.admit(definition, origin="discovery", parent=None, reason="it was found")
    assert made is not None
    return made


def test_what_workers_find_takes_a_seat_while_there_is_one() -> None:
    world = World()
    admitted = [found(world, number) for number in range(MOST_SEATS + 2)]

    seated_in_order = [each.is_seated for each in admitted]
    assert seated_in_order == [True] * MOST_SEATS + [False] * 2
    assert found(world, 90, decision_type="HEDGE").is_seated, "seats are those of one type"
    assert not found(world, 91, agent_id=None).is_seated, "its decisions are in many ledgers"
    assert found(world, 0) == admitted[0]
