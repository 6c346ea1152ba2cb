"""A unit of evidence counts once over all slots and days, and costs what changed to count."""

import gc
import tracemalloc
from collections.abc import Sequence
from random import Random
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sharpwave.schemas import keys, tables
from sharpwave.workers.patterns.counts import Arms, days_of, summed_days_of, total
from sharpwave.workers.patterns.ledger import Element, MalformedElement, Outcome, fold
from sharpwave.workers.patterns.units import Units, arms_by_day
from sharpwave.workers.work.ports import Location
from tests.world import World
from tests.world.tables import MemoryTables

SUBJECT = keys.pattern_subject("ann", "up", 1)
MONDAY, TUESDAY, FRIDAY = "2025-10-13", "2025-10-14", "2025-10-17"


def element(
    decision: int,
    unit: int,
    outcome: Outcome = Outcome.SUCCESS,
    *,
    applied: bool = False,
    revision: int = 1,
    content: int = 1,
) -> bytes:
    key, what, of = decision.to_bytes(8, "big"), content.to_bytes(3, "big"), unit.to_bytes(4, "big")
    pending = outcome is Outcome.PENDING
    return Element(key, what, of, 0 if pending else revision, outcome, applied, None).encode()


S, F, P = Outcome.SUCCESS, Outcome.FAILURE, Outcome.PENDING


def test_of_a_unit_the_smallest_key_digest_stands_over_all_slots_and_days() -> None:
    sets = [
        (TUESDAY, [element(2, 7, F)]),
        (MONDAY, [element(3, 7, S), element(4, 8, F)]),
        (TUESDAY, [element(5, 7, S), element(1, 9, S)]),
    ]

    assert arms_by_day(sets) == {MONDAY: Arms(n=1), TUESDAY: Arms(n=2, s=1)}


@pytest.mark.parametrize("others", [[S], [F], [S, S, F], [P]])
def test_who_stands_for_a_unit_does_not_depend_on_outcomes(others: list[Outcome]) -> None:
    more = [element(2 + number, 7, each) for number, each in enumerate(others)]

    assert arms_by_day([(MONDAY, [element(1, 7, F), *more])]) == {MONDAY: Arms(n=1)}


def test_a_unit_that_a_pending_decision_stands_for_is_not_resolved() -> None:
    sets = [(MONDAY, [element(1, 7, P)]), (TUESDAY, [element(2, 7, S)])]

    assert arms_by_day(sets) == {}


def test_what_stands_decides_whether_a_unit_was_applied() -> None:
    members = [
        element(1, 7, S, applied=True),
        element(2, 7, F),
        element(3, 8, F, applied=True),
        element(4, 9, S),
    ]

    assert arms_by_day([(MONDAY, members)]) == {MONDAY: Arms(n=3, s=2, applied_n=2, applied_s=1)}


def test_a_correction_changes_the_class_and_not_who_stands() -> None:
    before, after = element(1, 7, S), element(1, 7, F, revision=2)
    other = element(2, 7, S)

    assert arms_by_day([(MONDAY, [after, other, before])]) == {MONDAY: Arms(n=1)}


def test_content_that_does_not_stand_on_its_day_lends_its_unit_nothing() -> None:
    """A key written over counts once a day, so its other content's unit has nothing there."""
    stands, refused = element(1, 7, S, content=1), element(1, 8, S, content=2)

    assert arms_by_day([(MONDAY, [stands]), (MONDAY, [refused])]) == {MONDAY: Arms(1, 1)}
    assert arms_by_day([(MONDAY, [stands]), (TUESDAY, [refused])]) == {
        MONDAY: Arms(1, 1),
        TUESDAY: Arms(1, 1),
    }


def test_of_a_key_on_two_days_the_smaller_content_stands_for_their_unit() -> None:
    smaller, greater = element(1, 7, F, content=1), element(1, 7, S, content=2)

    assert arms_by_day([(MONDAY, [greater]), (TUESDAY, [smaller])]) == {TUESDAY: Arms(n=1)}


def test_an_element_nobody_can_read_stops_the_count() -> None:
    with pytest.raises(MalformedElement):
        arms_by_day([(MONDAY, [b"short"])])


def test_arms_add_up() -> None:
    assert Arms(1, 1, 1, 0) + Arms(4, 3, 2, 1) == Arms(5, 4, 3, 1)


STATES = st.builds(
    element,
    st.integers(0, 12),
    st.integers(0, 3),
    st.sampled_from(Outcome),
    applied=st.booleans(),
    revision=st.integers(1, 3),
    content=st.integers(0, 1),
)
HISTORIES = st.lists(st.tuples(st.sampled_from([MONDAY, TUESDAY, FRIDAY]), STATES))


@given(HISTORIES, st.randoms(use_true_random=False))
def test_order_repetition_and_how_sets_divide_a_day_change_nothing(
    history: list[tuple[str, bytes]], chance: Random
) -> None:
    """A key's states lie in one slot a day, so a slot is folded alone; here they lie anywhere."""
    disturbed = history + [each for each in history if chance.random() < 0.5]
    chance.shuffle(disturbed)

    assert arms_by_day((day, [each]) for day, each in disturbed) == arms_by_day(
        (day, [each for on, each in history if on == day]) for day in {day for day, _ in history}
    )


@given(HISTORIES)
def test_units_are_at_most_decisions_and_equal_a_count_by_hand(
    history: list[tuple[str, bytes]],
) -> None:
    standing: dict[tuple[str, bytes], Element] = {}
    ranked = sorted(history, key=lambda each: (each[1][15:], each[1]))
    for day, each in sorted(ranked, key=lambda each: each[1][8:11], reverse=True):
        standing[day, each[:8]] = Element.decode(each)
    by_unit: dict[bytes, tuple[bytes, bytes, str, Element]] = {}
    for (day, key), held in standing.items():
        mine = key, held.content, day, held
        by_unit[held.unit] = min(by_unit.get(held.unit, mine), mine, key=lambda one: one[:3])
    resolved = [(day, held) for _, _, day, held in by_unit.values() if held.outcome]

    found = arms_by_day((day, [each]) for day, each in history)

    assert {
        day: (arms.n, arms.s, arms.applied_n, arms.applied_s) for day, arms in found.items()
    } == {
        day: (
            len(of_day),
            sum(each.outcome is S for each in of_day),
            sum(each.applied for each in of_day),
            sum(each.applied and each.outcome is S for each in of_day),
        )
        for day in {day for day, _ in resolved}
        if (of_day := [each for on, each in resolved if on == day])
    }


class Noting:
    """Reads that note the items they give, by the first letters of their keys."""

    def __init__(self, tables: MemoryTables) -> None:
        self._tables = tables
        self.kinds: list[str] = []

    def get(self, locations: Sequence[Location]) -> Any:
        found = self._tables.get(locations)
        self.kinds += [place.key.sk[0] for place in found]
        return found

    def query(self, table: str, pk: str, **named: Any) -> Any:
        found = list(self._tables.query(table, pk, **named))
        self.kinds += [item["SK"][0] for item in found]
        return iter(found)


def store(world: World, day: str, slot: str, elements: list[bytes]) -> None:
    """Store a slot's set, its head and the day's sum as learning and publishing do."""
    place = Location(tables.PIPELINE, keys.ledger_slot(SUBJECT, day, slot))
    _, held = world.tables.add(place, elements, below=1_000_000, is_open=False)
    counts = fold(held.elements, revision=held.revision)
    head = Location(tables.PIPELINE, keys.ledger_head(SUBJECT, day, slot))
    world.tables.raise_counts(head, counts.to_row())
    sum_up(world, day)


def sum_up(world: World, day: str) -> None:
    place = Location(tables.PIPELINE, keys.ledger_day(SUBJECT, day))
    world.tables.raise_counts(place, days_of(SUBJECT, world.tables)[day].to_row())


@pytest.fixture
def world() -> World:
    made = World()
    store(made, MONDAY, "09", [element(3, 7, S), element(4, 8, F)])
    store(made, MONDAY, "10", [element(2, 9, S)])
    store(made, TUESDAY, "09", [element(5, 7, F)])
    return made


def test_units_are_read_from_the_sets_of_a_ledger(world: World) -> None:
    assert Units(world.tables).days_of(SUBJECT) == {MONDAY: Arms(n=3, s=2)}


def test_a_ledger_that_does_not_exist_has_no_units() -> None:
    assert Units(World().tables).days_of(SUBJECT) == {}


def test_what_did_not_change_is_not_read_again(world: World) -> None:
    noting: Any = Noting(world.tables)
    units = Units(noting)
    first = units.days_of(SUBJECT)
    cold, noting.kinds = sorted(noting.kinds), []

    again = units.days_of(SUBJECT, summed_days_of(SUBJECT, world.tables))

    assert cold == ["D", "D", "L", "L", "L"]
    assert (again, noting.kinds) == (first, [])


def test_of_a_day_that_changed_the_slots_that_changed_are_read(world: World) -> None:
    noting: Any = Noting(world.tables)
    units = Units(noting)
    for number in range(2):
        # Of what was read whole the heads are not known yet, so a day's sets are read once more.
        store(world, MONDAY, "10", [element(20 + number, 20 + number, S)])
        noting.kinds = []
        units.days_of(SUBJECT)
    noting.kinds = []
    store(world, MONDAY, "10", [element(1, 7, F)])

    found = units.days_of(SUBJECT)

    assert sorted(noting.kinds) == ["D", "D", "H", "H", "L"]
    assert found == Units(world.tables).days_of(SUBJECT) == {MONDAY: Arms(n=5, s=3)}


def test_a_slot_and_a_day_that_are_new_are_read(world: World) -> None:
    units = Units(world.tables)
    units.days_of(SUBJECT)
    store(world, TUESDAY, "10", [element(9, 30, S)])
    store(world, FRIDAY, "09", [element(8, 31, S, applied=True)])

    assert units.days_of(SUBJECT) == Units(world.tables).days_of(SUBJECT)
    assert units.days_of(SUBJECT)[FRIDAY] == Arms(1, 1, 1, 1)


def test_a_ledger_that_began_anew_is_not_taken_for_the_one_it_was(world: World) -> None:
    """Its data was removed, and the same keys and revisions hold something else now."""
    units = Units(world.tables)
    store(world, MONDAY, "10", [element(21, 21, S)])
    units.days_of(SUBJECT)
    store(world, MONDAY, "10", [element(22, 22, S)])
    units.days_of(SUBJECT)
    for key in world.tables.keys(tables.PIPELINE):
        world.tables.remove(tables.PIPELINE, key)
    for number in range(4):
        store(world, MONDAY, "10", [element(40 + number, 40 + number, F)])

    assert units.days_of(SUBJECT) == {MONDAY: Arms(n=4)}


def test_a_set_that_is_newer_than_its_head_is_read_again_with_it(world: World) -> None:
    units = Units(world.tables)
    units.days_of(SUBJECT)
    place = Location(tables.PIPELINE, keys.ledger_slot(SUBJECT, MONDAY, "09"))
    world.tables.add(place, [element(6, 50, S)], below=1_000, is_open=False)
    store(world, MONDAY, "10", [element(7, 51, S)])
    units.days_of(SUBJECT)
    store(world, MONDAY, "09", [element(6, 50, F, revision=2)])

    assert units.days_of(SUBJECT) == {MONDAY: Arms(n=5, s=3)}


@pytest.mark.parametrize("most", [0, 3_000, 1 << 20])
def test_what_is_remembered_is_bounded_and_changes_no_count(most: int) -> None:
    world, chance = World(), Random(3)
    units = Units(world.tables, most_remembered=most)
    for _ in range(60):
        day, slot = chance.choice([MONDAY, TUESDAY]), chance.choice(["09", "10"])
        store(world, day, slot, [element(chance.randrange(90), chance.randrange(30), S)])

        assert units.days_of(SUBJECT) == Units(world.tables).days_of(SUBJECT)
        assert units.remembered <= most


def test_what_is_forgotten_first_was_used_longest_ago(world: World) -> None:
    noting: Any = Noting(world.tables)
    units = Units(noting, most_remembered=6_000)
    for name in (SUBJECT, "other", SUBJECT, "third"):
        units.days_of(name)
    noting.kinds = []

    units.days_of(SUBJECT)

    assert noting.kinds == ["D", "D"]


def test_the_bound_is_one_of_real_memory() -> None:
    world = World()
    elements = [element(number, number, S) for number in range(6_000)]
    for slot in range(60):
        store(world, MONDAY, f"{slot:02}", elements[slot * 100 : slot * 100 + 100])
    tracemalloc.start()
    try:
        units = Units(world.tables)
        before = tracemalloc.get_traced_memory()[0]
        assert total_of(units.days_of(SUBJECT)) == Arms(n=6_000, s=6_000)
        store(world, MONDAY, "00", [element(6_000, 6_000, S)])
        units.days_of(SUBJECT)
        gc.collect()
        held = tracemalloc.get_traced_memory()[0] - before
    finally:
        tracemalloc.stop()

    assert held < units.remembered
    assert units.remembered < 6_000 * 30


def total_of(days: dict[str, Arms]) -> Arms:
    return sum(days.values(), start=Arms())


def test_units_never_exceed_decisions(world: World) -> None:
    counts = total(summed_days_of(SUBJECT, world.tables).values())

    assert total_of(Units(world.tables).days_of(SUBJECT)).n <= counts.n
