"""A ledger takes any rate: what it writes per decision and the size of its items stay bounded."""

from collections.abc import Collection, Sequence
from typing import Any

import pytest

from sharpwave.infra.cost.flow import write_units
from sharpwave.schemas import keys, tables
from sharpwave.schemas.numbers import wire_size
from sharpwave.workers.patterns import learn as learning
from sharpwave.workers.patterns.catalogue import Writers
from sharpwave.workers.patterns.counts import days_of, total
from sharpwave.workers.patterns.ledger import Slots
from sharpwave.workers.work.ports import Item, Location, Slot
from tests.world import World
from tests.world.records import decision, outcome
from tests.world.stores import START

HOUR = START - 7_800 - 1_200
MOST_BYTES = 64 * 1024
SUBJECT = keys.base_subject("ann", "TRADE")


class Metered:
    """A ledger that adds up the write units of its calls, those of refused ones too."""

    def __init__(self, world: World) -> None:
        self._tables, self.units, self.largest = world.tables, 0, 0

    def add(
        self, location: Location, elements: Sequence[bytes], *, below: int, is_open: bool
    ) -> tuple[bool, Slot]:
        answer = self._tables.add(location, elements, below=below, is_open=is_open)
        self._bill(location)
        return answer

    def close(self, location: Location) -> Slot:
        answer = self._tables.close(location)
        self._bill(location)
        return answer

    def discard(self, location: Location, elements: Collection[bytes]) -> None:
        self._bill(location)
        self._tables.discard(location, elements)

    def raise_counts(self, location: Location, row: Sequence[int]) -> bool:
        answer = self._tables.raise_counts(location, row)
        self._bill(location)
        return answer

    def mark(self, location: Location) -> None:
        self._tables.mark(location)
        self._bill(location)

    def _bill(self, location: Location) -> None:
        size = wire_size(self._tables._items[location.table][location.key])
        self.units += write_units(size)
        self.largest = max(self.largest, size)


def counting(world: World, ledger: Any) -> Any:
    """Give a worker process that counts into a ledger."""
    process = world.process()
    slots = Slots(ledger)
    writers = Writers(writes=process.writes, clock=process.clock)

    def count(items: list[Item]) -> int:
        return learning.learn(items, catalogue=process.catalogue, slots=slots, writers=writers)

    return count


def traffic(rate: int, *, on_one_day: bool, most: int = 8_000) -> list[list[Item]]:
    """Give messages of fifty states at a pace of `rate` an hour: outcomes come a minute later.

    Of a fast hour the beginning is enough: it fills every slot above, which is the dearest part.
    """
    domain = {"event_time": "2008-10-10"} if on_one_day else {}
    messages = []
    for start in range(0, min(rate, most), 50):
        numbers = range(start, min(start + 50, rate))
        page = [decision(name=f"d{n}", at=HOUR + n * 3600 // rate, **domain) for n in numbers]
        at = page[-1]["timestamp"]
        messages.append((at, page))
        resolved = [{**item, "outcome": outcome(item["timestamp"] % 2 == 0)} for item in page]
        messages.append((at + 60, resolved))
    return [items for _, items in sorted(messages, key=lambda message: message[0])]


@pytest.mark.parametrize("on_one_day", [False, True], ids=["now", "one event day"])
@pytest.mark.parametrize("rate", [100, 1_000, 100_000])
def test_a_decision_costs_half_a_write_unit_at_any_rate(rate: int, *, on_one_day: bool) -> None:
    """Both its states, with heads, marks and what two workers are refused."""
    world = World()
    ledger = Metered(world)
    workers = [counting(world, ledger) for _ in range(2)]
    messages = traffic(rate, on_one_day=on_one_day)

    for number, items in enumerate(messages):
        workers[number % 2](items)

    decisions = sum(map(len, messages)) // 2
    counted = total(days_of(SUBJECT, world.tables).values())
    assert (counted.n, counted.pending) == (decisions, 0)
    assert ledger.units / decisions <= 0.5
    assert ledger.largest <= MOST_BYTES


@pytest.mark.parametrize("distance_s", [0, 1])
def test_a_burst_of_one_moment_splits_by_the_digits_of_its_keys(distance_s: int) -> None:
    world = World()
    ledger = Metered(world)
    count = counting(world, ledger)
    items = [decision(name=f"d{n}", at=HOUR + n % 2 * distance_s) for n in range(6_000)]

    for start in range(0, len(items), 1_000):
        count(items[start : start + 1_000])
    for start in range(0, len(items), 1_000):
        count([{**each, "outcome": outcome(True)} for each in items[start : start + 1_000]])

    counted = total(days_of(SUBJECT, world.tables).values())
    assert (counted.n, counted.s) == (6_000, 6_000)
    assert ledger.largest <= MOST_BYTES
    assert any("#" in key.sk[len("L#2025-10-18#") :] for key in world.tables.keys(tables.PIPELINE))


def test_however_often_outcomes_are_revised_no_item_outgrows_its_bound() -> None:
    world = World()
    ledger = Metered(world)
    workers = [counting(world, ledger) for _ in range(2)]
    items = [decision(name=f"d{n}", at=HOUR) for n in range(400)]
    for revision in range(1, 26):
        said = {"outcome": outcome(revision % 2 == 0), "outcome_rev": revision}
        workers[revision % 2]([{**item, **said} for item in items])

    counted = total(days_of(SUBJECT, world.tables).values())
    assert (counted.n, counted.s) == (400, 0)
    assert ledger.largest <= MOST_BYTES
