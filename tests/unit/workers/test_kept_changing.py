"""What others keep changing is tried again later, and not for ever."""

from collections import Counter
from collections.abc import Callable, Sequence
from typing import Any

import pytest

from sharpwave.schemas import keys, tables
from sharpwave.schemas.numbers import item_to_wire, to_wire
from sharpwave.workers.memory import promote
from sharpwave.workers.memory.episodes import Day, Episodes
from sharpwave.workers.patterns.catalogue import Known
from sharpwave.workers.patterns.counts import Counts
from sharpwave.workers.patterns.ledger import Slots
from sharpwave.workers.signals import acknowledge
from sharpwave.workers.signals.acknowledge import Gone, Loss
from sharpwave.workers.signals.expiry import Deadline, Deadlines
from sharpwave.workers.signals.mirror import Holder
from sharpwave.workers.work.ports import Item, Location, Slot, TryAgain, Write
from tests.world import MemoryTables, VirtualClock

HOLDER = Holder(keys.Key("signal#ALERT#ann", "2025-10-18T14:30:00.000Z#s1"))
ROW = keys.Key("agent:bob#inbox", "2025-10-18T14:30:00.000Z#uid")


class Contested:
    """Items that somebody else changes before every write."""

    def __init__(self) -> None:
        self.attempts = 0

    def get(self, places: Sequence[Location], *, strong: bool = True) -> dict[Location, Item]:
        values = {"mark": "5", "rev": 3, "version": 1, "sources": {}, "c": Counts().to_row()}
        return {place: {**place.key.item(), **values} for place in places}

    def apply(self, writes: Sequence[Write]) -> list[bool]:
        self.attempts += 1
        return [False] * len(writes)

    def add(self, *_: Any, **__: Any) -> tuple[bool, Slot]:
        self.attempts += 1
        return False, Slot(frozenset(), 1, True)


def restore_a_row(contested: Any) -> None:
    acknowledge._restore_all(
        [Loss(HOLDER, ROW, {"signal_id": to_wire("s1")})], contested, contested
    )


def add_to_a_slot(contested: Any) -> None:
    Slots(contested)._add_states(Location(tables.PIPELINE, keys.Key("l", "s")), [b"x" * 20])


def episodes_on(contested: Any) -> Episodes:
    catalogue: Any = None
    return Episodes(
        reads=contested,
        writes=contested,
        catalogue=catalogue,
        clock=VirtualClock(),
        promote_after_s=1.0,
    )


def merge_the_sources_of_an_hour(contested: Any) -> None:
    parts = {Location(tables.MEMORY, keys.Key("m", "s")): Counter(news=2)}
    episodes_on(contested)._merge(parts)


def refresh_a_day(contested: Any) -> None:
    episodes_on(contested).refresh(Day("ann", "TRADE", "2025-10-18"), Known((), (), -1))


def follow_an_entry(contested: Any) -> None:
    key = keys.Key("agent:ann#memory#NOTE", "2025-10-18T14:30:00.000Z#m1")
    entry = {**key.item(), "agent_id": "ann", "memory_type": "NOTE"}
    promote._follow([promote.Shown(entry, "1")], {}, contested, contested)


@pytest.mark.parametrize(
    "work",
    [
        merge_the_sources_of_an_hour,
        restore_a_row,
        add_to_a_slot,
        refresh_a_day,
        follow_an_entry,
    ],
)
def test_it_ends_after_some_attempts(work: Callable[[Any], None]) -> None:
    contested = Contested()

    with pytest.raises(TryAgain):
        work(contested)

    assert 1 < contested.attempts < 20


def test_a_deleted_row_that_changes_while_it_is_put_back_is_left_to_the_next_attempt() -> None:
    contested: Any = Contested()
    image = item_to_wire({**ROW.item(), "status": "PENDING"})

    with pytest.raises(TryAgain, match="rows changed while they were put back"):
        acknowledge._put_back([Gone(HOLDER, ROW, image)], {}, contested, contested, VirtualClock())

    assert contested.attempts == 1


def test_a_worker_that_is_always_too_late_to_note_a_deadline_gives_its_work_back() -> None:
    clock = VirtualClock()

    def frozen() -> float:
        clock.advance(600)
        return clock()

    deadlines = [Deadline(HOLDER, int(clock()), ["bob"])]
    with pytest.raises(TryAgain, match="faster than they could be noted"):
        Deadlines().note(deadlines, writes=MemoryTables(clock), clock=frozen)
