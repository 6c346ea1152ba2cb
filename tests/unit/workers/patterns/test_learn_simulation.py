"""Counts stay exact through duplicates, reordering, crashes, revisions, splits and several writers.

The product's own code counts a small history while slots close after six elements and drop what is
superseded after four. Writers stop for good at any call; their messages then come again. Weaker
rules, each the product with one step taken out, fail in the same simulation.
"""

from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from decimal import Decimal
from random import Random
from typing import Any
from unittest.mock import patch

import pytest

from sharpwave.schemas import keys, tables
from sharpwave.workers.patterns import learn, ledger
from sharpwave.workers.patterns.catalogue import Writers
from sharpwave.workers.patterns.counts import Counts, content_digest, days_of, total
from sharpwave.workers.patterns.ledger import KEY_BYTES, Slots
from sharpwave.workers.work.ports import Item, Slot
from tests.world import Crash, Faults, World
from tests.world.interleaving import Job, Step, interleave
from tests.world.records import decision, outcome
from tests.world.stores import START
from tests.world.tables import MemoryTables

RUNS = 25
SUBJECT = keys.base_subject("ann", "TRADE")


@pytest.fixture(autouse=True)
def small_slots() -> Iterator[None]:
    limits = {"CLOSE_AT": 6, "MOST_AT_ONCE": 3, "FULL_AT": 24, "MOST_SUPERSEDED": 4}
    with ExitStack() as stack:
        for name, limit in limits.items():
            stack.enter_context(patch.object(ledger, name, limit))
        yield


def history(chance: Random) -> list[Item]:
    """Write 30 decisions in one hour: pending, resolved, revised, and two written over."""
    states = []
    for number in range(30):
        item = decision(
            name=f"d{number}",
            at=START - 7_800 + chance.choice([0, 0, 0, 1, 2, 75, 700]),
            context={"cycle": number % 7},
        )
        versions = [item]
        if chance.random() < 0.15:
            versions.append({**item, "context": {"cycle": 99}})
        for version in versions:
            states.append(version)
            for revision in range(1, chance.randint(0, 4) + 1):
                quality = Decimal(chance.randint(0, 100)) / 100
                said = outcome(chance.random() < 0.6, quality)
                states.append({**version, "outcome": said, "outcome_rev": revision})
    return states


def recount(states: list[Item]) -> tuple[int, int, int, int]:
    """Count by hand: of each key the smallest digest's content, of that the last revision."""
    last: dict[str, tuple[bytes, int, Item]] = {}
    for state in states:
        content, revision = content_digest(state), state.get("outcome_rev", 0)
        held = last.get(state["SK"])
        if held is None or (content, -revision) < (held[0], -held[1]):
            last[state["SK"]] = content, revision, state
    said = [state.get("outcome") for _, _, state in last.values()]
    resolved = [each for each in said if each]
    return (
        len(resolved),
        sum(each["success"] for each in resolved),
        int(sum(each["quality_score"] for each in resolved) * 10_000),
        len(said) - len(resolved),
    )


def figures(found: Counts) -> tuple[int, int, int, int]:
    return found.n, found.s, found.q_sum, found.pending


def simulate(seed: int, world: World) -> list[Item]:
    """Deliver a history at least once, in any order, to writers that die; return it."""
    chance = Random(seed)
    states = history(chance)
    written = [*states, *chance.sample(states, len(states) // 3)]
    chance.shuffle(written)
    pages = []
    while written:
        size = chance.randint(1, 8)
        pages.append(written[:size])
        del written[:size]
    # Processes outlive their messages, so what they remember of closed slots is put to the test.
    living = [_process(world, chance) for _ in range(3)]

    def job(index: int, page: list[Item]) -> Job:
        def run(step: Step) -> None:
            while True:
                faults, count = living[index]
                faults.step = step
                try:
                    count(page)
                except Crash:
                    living[index] = _process(world, chance)
                    continue
                return

        return run

    while pages:
        taken, pages = pages[:3], pages[3:]
        jobs = [job(index, page) for index, page in enumerate(taken)]
        errors = interleave(jobs, chance)
        assert errors == [None] * len(errors)
    return states


def _process(world: World, chance: Random) -> tuple[Faults, Callable[[list[Item]], object]]:
    faults = Faults(crash_rate=0.04, chance=chance)
    process = world.process(faults)
    held = Slots(process.ledger)
    writers = Writers(writes=process.writes, clock=process.clock)

    def count(page: list[Item]) -> object:
        return learn.learn(page, catalogue=process.catalogue, slots=held, writers=writers)

    return faults, count


def counts_right(world: World, states: list[Item]) -> bool:
    return figures(total(days_of(SUBJECT, world.tables).values())) == recount(states)


def test_counts_are_exact_and_a_decision_is_in_one_slot_in_every_run() -> None:
    depths = set()
    for seed in range(RUNS):
        world = World()
        assert counts_right(world, simulate(seed, world)), f"seed {seed}"
        places: dict[bytes, str] = {}
        for key, item in world.tables.items(tables.PIPELINE).items():
            if keys.family(*key) != "slot":
                continue
            depths.add(key.sk.count(":") + key.sk.count("#"))
            assert len(item["e"]) <= 24 + 3
            for element in item["e"]:
                assert places.setdefault(element[:KEY_BYTES], key.sk) == key.sk
    assert len(depths) > 2, "slots should have split"


def test_counting_everything_again_changes_nothing() -> None:
    world = World()
    states = simulate(1, world)
    settled = figures(total(days_of(SUBJECT, world.tables).values()))

    faults, count = _process(world, Random(0))
    faults.crash_rate = 0
    for state in reversed(states):
        count([state])

    assert figures(total(days_of(SUBJECT, world.tables).values())) == settled


def raise_always(self: MemoryTables, location: Any, row: Any) -> bool:
    self._set(location, c=list(row))
    return True


def raise_when_outcomes_grow(self: MemoryTables, location: Any, row: Any) -> bool:
    item = self.get([location]).get(location, {})
    if "c" in item and item["c"][1] >= row[1]:
        return False
    return raise_always(self, location, row)


_add = MemoryTables.add


@contextmanager
def members_by_the_last_answer() -> Iterator[None]:
    """Take who was in a slot when it was last added to for who is in it once it is closed."""
    latest: dict[Any, Slot] = {}

    def add(self: Any, location: Any, *args: Any, **named: Any) -> tuple[bool, Slot]:
        done, slot = _add(self, location, *args, **named)
        latest.setdefault(location, slot)
        return done, slot

    def close(self: MemoryTables, location: Any) -> Slot:
        self._set(location, closed=True)
        return latest[location]

    with patch.multiple(MemoryTables, add=add, close=close):
        yield


@contextmanager
def no_content_in_rank() -> Iterator[None]:
    """Let the greatest revision of any content stand."""

    def supersedes(one: bytes, other: bytes) -> bool:
        return (one[-5:], one) > (other[-5:], other)

    with patch.object(ledger, "supersedes", supersedes):
        yield


@contextmanager
def drop_what_stands() -> Iterator[None]:
    """Drop elements of the contents that do not stand, and the greatest revision with them."""

    def discard(self: MemoryTables, location: Any, gone: Any) -> None:
        held = self._slot(location).elements
        self._set(location, e=set(sorted(held)[:1]))

    with patch.object(MemoryTables, "discard", discard):
        yield


@pytest.mark.parametrize(
    "weaker",
    [
        patch.object(MemoryTables, "raise_counts", raise_always),
        patch.object(MemoryTables, "raise_counts", raise_when_outcomes_grow),
        members_by_the_last_answer(),
        no_content_in_rank(),
        drop_what_stands(),
    ],
    ids=["always raised", "raised when n grows", "early members", "any content", "drops too much"],
)
def test_a_weaker_rule_miscounts_some_runs(weaker: Any) -> None:
    with weaker:
        worlds = ((World(), seed) for seed in range(RUNS))
        assert not all(counts_right(world, simulate(seed, world)) for world, seed in worlds)
