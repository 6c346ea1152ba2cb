"""Who is in a slot is settled when it closes, and no slot outgrows its bound."""

from collections.abc import Collection, Iterator, Sequence
from contextlib import ExitStack
from random import Random
from unittest.mock import patch

import pytest

from sharpwave.schemas import keys, tables
from sharpwave.schemas.times import iso_ms
from sharpwave.workers.patterns import ledger
from sharpwave.workers.patterns.catalogue import Writers
from sharpwave.workers.patterns.counts import days_of
from sharpwave.workers.patterns.learn import learn
from sharpwave.workers.patterns.ledger import DEEPEST, Bucket, Element, Outcome, Slots, members_of
from sharpwave.workers.work.ports import Location, Slot, TryAgain
from tests.world import MemoryTables, VirtualClock, World
from tests.world.records import decision, outcome
from tests.world.stores import START

SUBJECT = keys.base_subject("ann", "TRADE")
SK = f"{iso_ms(START)}#d"
LIMITS = {"CLOSE_AT": 6, "MOST_AT_ONCE": 3, "FULL_AT": 12, "MOST_SUPERSEDED": 4, "REMEMBERED": 2}


def element(number: int, revision: int = 0) -> bytes:
    key = number.to_bytes(8, "big")
    return Element(key, b"abc", b"unit", revision, Outcome.PENDING, False, None).encode()


def elements(*numbers: int, revision: int = 0) -> dict[bytes, str]:
    return {element(number, revision): SK for number in numbers}


def bucket(day: str = "2025-10-18", depth: int = 0) -> Bucket:
    return Bucket.of(SUBJECT, day, SK, element(0), depth)


class Watched(MemoryTables):
    """A ledger that notes its calls."""

    def __init__(self) -> None:
        super().__init__(VirtualClock())
        self.calls: list[str] = []
        self.largest = 0

    def add(
        self, location: Location, elements: Sequence[bytes], *, below: int, is_open: bool
    ) -> tuple[bool, Slot]:
        self.calls.append("add")
        self.largest = max(self.largest, len(elements))
        return super().add(location, elements, below=below, is_open=is_open)

    def close(self, location: Location) -> Slot:
        self.calls.append("close")
        return super().close(location)

    def discard(self, location: Location, elements: Collection[bytes]) -> None:
        self.calls.append("discard")
        super().discard(location, elements)


@pytest.fixture
def small() -> Iterator[Watched]:
    """A ledger of small slots."""
    with ExitStack() as stack:
        for name, limit in LIMITS.items():
            stack.enter_context(patch.object(ledger, name, limit))
        yield Watched()


def test_a_slot_closes_when_it_holds_so_many_and_takes_no_other_decision(small: Watched) -> None:
    slots = Slots(small)

    slots.add(bucket(), elements(1, 2, 3, 4, 5))
    assert "close" not in small.calls
    slot, left = slots.add(bucket(), elements(6))

    assert small.calls == ["add", "add", "add", "close"]
    assert slot is not None
    assert (len(slot.elements), left) == (6, [])
    assert slots.add(bucket(), elements(7)) == (None, [element(7)])
    assert small.calls == ["add", "add", "add", "close"], "it is known who is in it"


def test_a_closed_slot_takes_what_becomes_of_its_own(small: Watched) -> None:
    slots = Slots(small)
    slots.add(bucket(), elements(1, 2, 3, 4, 5, 6))

    slot, left = slots.add(bucket(), elements(1, 7, 2, revision=1))

    assert slot is not None
    assert slot.elements >= elements(1, 2, revision=1).keys()
    assert (slot.revision, left) == (3, [element(7, 1)])


def test_a_process_learns_once_who_is_in_a_slot_that_another_closed(small: Watched) -> None:
    Slots(small).add(bucket(), elements(1, 2, 3, 4, 5, 6))
    small.calls.clear()

    slots = Slots(small)
    slot, left = slots.add(bucket(), elements(1, 6, 7))
    assert (slots.add(bucket(), elements(8)), left) == ((None, [element(8)]), [element(7)])

    assert slot is not None
    assert small.calls == ["add", "add"], "the first is refused and tells who is in it"


def test_no_call_adds_more_than_so_many(small: Watched) -> None:
    slots = Slots(small)

    _, left = slots.add(bucket(), elements(*range(20)))
    slots.add(bucket(), elements(*range(20), revision=1))

    assert small.largest == 3
    assert left == [element(number) for number in range(6, 20)]


def test_what_is_superseded_goes_when_there_is_much_of_it(small: Watched) -> None:
    slots = Slots(small)
    slots.add(bucket(), elements(1, 2, 3, 4, 5, 6))

    for revision in range(1, 5):
        slots.add(bucket(), elements(1, revision=revision))
    assert "discard" not in small.calls
    slots.add(bucket(), elements(1, revision=5))

    held = small.items(tables.PIPELINE)[bucket().place.key]["e"]
    assert held == {element(1, 5), *elements(2, 3, 4, 5, 6)}


def test_a_closed_slot_stays_closed_however_little_is_left_in_it(small: Watched) -> None:
    """What it held for good was settled, and a process that never saw it has to be told so."""
    slots = Slots(small)
    for revision in range(3):
        slots.add(bucket(), elements(1, 2, revision=revision))
    slots.add(bucket(), elements(1, revision=3))
    assert small.items(tables.PIPELINE)[bucket().place.key]["e"] == {element(1, 3), element(2, 2)}

    assert Slots(small).add(bucket(), elements(7)) == (None, [element(7)])


def test_a_full_slot_takes_the_next_state_once_the_superseded_are_gone(small: Watched) -> None:
    """As of a release that kept more of them, or of workers that died before they dropped any."""
    slots = Slots(small)
    slots.add(bucket(), elements(1, 2, 3, 4, 5, 6))
    old = [element(1, revision) for revision in range(1, 8)]
    MemoryTables.add(small, bucket().place, old, below=100, is_open=False)

    slot, _ = slots.add(bucket(), elements(1, revision=8))

    assert slot is not None
    assert slot.elements == {element(1, 7), element(1, 8), *elements(2, 3, 4, 5, 6)}


def test_a_process_remembers_whom_it_met_last(small: Watched) -> None:
    """It forgets the slot that was not asked for the longest, and learns it anew."""
    days = ["2025-10-18", "2025-10-19", "2025-10-20"]
    slots = Slots(small)
    for day in (days[0], days[1], days[0], days[2]):
        slots.add(bucket(day), elements(1, 2, 3, 4, 5, 6))
    small.calls.clear()

    for day in (days[0], days[2]):
        assert slots.add(bucket(day), elements(7)) == (None, [element(7)])
    assert small.calls == []
    assert slots.add(bucket(days[1]), elements(7)) == (None, [element(7)])
    assert small.calls == ["add"]


def test_a_slot_that_is_full_of_what_stands_is_left_to_the_next_attempt(small: Watched) -> None:
    slots = Slots(small)
    slots.add(bucket(), elements(1, 2, 3, 4, 5, 6))

    with patch.object(ledger, "FULL_AT", 6), pytest.raises(TryAgain) as given_up:
        slots.add(bucket(), elements(1, revision=1))

    assert str(given_up.value) == f"{bucket().place} filled up again 4 times"


def test_what_a_closed_slot_does_not_hold_goes_on_down_its_path(small: Watched) -> None:
    """Forty decisions of an hour, and what became of them, by messages of ten."""
    world = World()
    process = world.process()
    slots, writers = Slots(small), Writers(writes=process.writes, clock=process.clock)
    items = [decision(name=f"d{n}", at=START - 3_600 + n) for n in range(40)]
    items += [{**item, "outcome": outcome(True)} for item in items]

    for start in range(0, len(items), 10):
        page = items[start : start + 10]
        learn(page, catalogue=process.catalogue, slots=slots, writers=writers)

    [(day, counts)] = days_of(SUBJECT, small).items()
    assert (day, counts.n, counts.s, counts.pending) == ("2025-10-18", 40, 40, 0)
    items_of = small.items(tables.PIPELINE)
    held = {key.sk.split("#")[2]: item["e"] for key, item in items_of.items() if "e" in item}
    assert max(map(len, held.values())) <= 12
    ways = ("2025-10-18T13", "2025-10-18T13:3", "2025-10-18T13:30", "2025-10-18T13:30:3")
    assert {len(slot) for slot in held} == {*map(len, ways), len("2025-10-18T13:30:38")}


def test_the_last_slot_of_a_path_holds_whatever_comes_so_far_down_and_never_closes() -> None:
    watched = Watched()
    slots = Slots(watched)

    for revision in range(0, 6_000, 500):
        states = {element(0, each): "" for each in range(revision, revision + 500)}
        slot, left = slots.add(bucket(depth=DEEPEST), states)

    assert left == []
    assert slot is not None
    assert element(0, 5_999) in slot.elements
    assert len(slot.elements) <= 2_750
    assert "close" not in watched.calls


def test_members_are_told_by_their_keys() -> None:
    chance = Random(1)
    states = [element(chance.randrange(5), revision) for revision in range(20)]

    assert members_of(states) == {each[:8] for each in states}
