"""Counts equal a recount by hand under duplicates, any order, crashes and revisions."""

from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from decimal import Decimal
from random import Random
from threading import Barrier
from typing import Any

import pytest

from sharpwave.schemas import keys, tables
from sharpwave.schemas.patterns import PatternDefinition, PatternVersion
from sharpwave.workers.learning.counts import Counts, total
from sharpwave.workers.learning.learn import learn
from sharpwave.workers.learning.publish import days_of
from sharpwave.workers.ports import Item, TryAgain
from sharpwave.workers.testing import Crash, Faults, World
from sharpwave.workers.testing.interleaving import Job, Step, interleave
from sharpwave.workers.testing.records import decision, outcome
from sharpwave.workers.testing.stores import START

HOUR_S = 3600
UP = [{"path": "context.market", "op": "eq", "value": "up"}]


def pattern(**more: Any) -> PatternVersion:
    definition = {"pattern_id": "up", "agent_id": "ann", "decision_type": "TRADE", **more}
    begin = int(START) - 10 * HOUR_S
    return PatternVersion(
        definition=PatternDefinition.model_validate({"conditions": UP, **definition}),
        version=1,
        effective_from=begin,
        learned_at=begin,
    )


def publish(world: World, version: PatternVersion) -> None:
    entry = {**keys.known_pattern(version.subject).item(), "version": version.model_dump_json()}
    world.tables.put(tables.PIPELINE, entry)


def count(world: World, subject: str) -> Counts:
    return total(days_of(subject, world.tables).values())


def history(chance: Random) -> list[Item]:
    """Every state of thirty decisions: pending, resolved, revised; over six hours."""
    states = []
    for number in range(30):
        item = decision(
            name=f"d{number}",
            at=START - chance.randint(0, 6 * HOUR_S),
            context={"market": chance.choice(["up", "down"]), "cycle": number % 7},
        )
        states.append(item)
        for revision in range(1, chance.randint(0, 3) + 1):
            quality = Decimal(chance.randint(0, 100)) / 100
            said = outcome(chance.random() < 0.6, quality)
            states.append({**item, "outcome": said, "outcome_rev": revision})
    return states


def recount(states: list[Item]) -> tuple[int, int, int, Decimal]:
    """Count successes and qualities of the last state of each decision, by hand."""
    last: dict[str, Item] = {}
    for state in states:
        held = last.get(state["SK"], {"outcome_rev": -1})
        if state.get("outcome_rev", 0) > held.get("outcome_rev", 0):
            last[state["SK"]] = state
        last.setdefault(state["SK"], state)
    seen = Counter[str]()
    quality = Decimal(0)
    for state in last.values():
        said = state.get("outcome")
        seen["n" if said else "pending"] += 1
        seen["s"] += bool(said and said["success"])
        quality += said["quality_score"] if said else 0
    return seen["n"], seen["s"], seen["pending"], quality


def figures(counts: Counts) -> tuple[int, int, int, Decimal]:
    return counts.n, counts.s, counts.pending, Decimal(counts.q_sum) / 10_000


@pytest.mark.parametrize("seed", range(20))
def test_counts_survive_duplicates_order_crashes_and_racing_workers(seed: int) -> None:
    chance, world, version = Random(seed), World(), pattern()
    publish(world, version)
    states = history(chance)
    written = [*states, *chance.sample(states, 20)]
    chance.shuffle(written)
    pages = [written[start : start + 4] for start in range(0, len(written), 4)]

    def job(page: list[Item]) -> Job:
        faults = Faults(crash_rate=0.05, chance=chance)

        def run(step: Step) -> None:
            faults.step = step
            while True:
                ports = world.process(faults).ports
                try:
                    learn(page, catalogue=ports.catalogue, ledger=ports.ledger)
                except Crash:
                    continue
                return

        return run

    while pages:
        taken, pages = pages[:3], pages[3:]
        assert interleave([job(page) for page in taken], chance) == [None] * len(taken)

    ups = [state for state in states if state["context"]["market"] == "up"]
    assert figures(count(world, keys.base_subject("ann", "TRADE"))) == recount(states)
    assert figures(count(world, version.subject)) == recount(ups)


def test_no_ledger_waits_for_another() -> None:
    """Each bucket's set is asked for while the other one's answer is still out."""
    world = World()
    both = Barrier(2)

    def together() -> None:
        both.wait(timeout=5)

    ports = world.process(Faults(step=together)).ports

    with ThreadPoolExecutor(2) as pool:
        learn(
            [decision("ann"), decision("bob")],
            catalogue=world.process().ports.catalogue,
            ledger=ports.ledger,
            spread=pool.map,
        )

    assert [count(world, keys.base_subject(name, "TRADE")).pending for name in ("ann", "bob")] == [
        1,
        1,
    ]


def test_what_one_ledger_answers_fails_the_whole_message() -> None:
    world = World()
    ports = world.process(Faults(refusal_rate=1.0)).ports

    with ThreadPoolExecutor(2) as pool, pytest.raises(TryAgain):
        learn(
            [decision("ann"), decision("bob")],
            catalogue=world.process().ports.catalogue,
            ledger=ports.ledger,
            spread=pool.map,
        )


def test_a_pattern_counts_only_what_belongs_to_it() -> None:
    world = World()
    mine, domain = pattern(), pattern(pattern_id="all", agent_id=None, domain="crypto")
    for version in (mine, domain):
        publish(world, version)
    up: Item = {"context": {"market": "up"}, "outcome": outcome(True)}

    ports = world.process().ports
    learn(
        [
            decision(name="d1", **up),
            decision("bob", "d2", **up),
            decision(name="d3", kind="HEDGE", **up),
            decision(name="d4", context={"market": "down"}),
            decision(name="d5", at=START - 11 * HOUR_S, **up),
        ],
        catalogue=ports.catalogue,
        ledger=ports.ledger,
    )

    assert count(world, mine.subject).n == 1
    assert count(world, domain.subject).n == 2
    assert count(world, keys.base_subject("ann", "TRADE")).n == 2
    assert count(world, keys.base_subject("ann", "TRADE")).pending == 1


def test_what_an_agent_applied_is_counted_apart() -> None:
    world, version = World(), pattern()
    publish(world, version)
    up: Item = {"context": {"market": "up"}}
    ports = world.process().ports

    learn(
        [
            decision(
                name="d1", outcome=outcome(True), reasoning={"patterns_applied": ["up"]}, **up
            ),
            decision(name="d2", outcome=outcome(False), **up),
        ],
        catalogue=ports.catalogue,
        ledger=ports.ledger,
    )

    found = count(world, version.subject)
    assert (found.n, found.s, found.applied, found.applied_s) == (2, 1, 1, 1)


def test_domain_time_decides_the_day() -> None:
    world = World()
    ports = world.process().ports

    learn(
        [decision(event_time="2008-10-10T09:30:00Z", outcome=outcome(True))],
        catalogue=ports.catalogue,
        ledger=ports.ledger,
    )

    assert list(days_of(keys.base_subject("ann", "TRADE"), world.tables)) == ["2008-10-10"]


def test_membership_never_depends_on_who_looks_when() -> None:
    """A worker with an old copy reads the list again before it judges a newer decision."""
    world, version = World(), pattern()
    old = world.process().ports
    old.catalogue.versions(latest=world.clock())
    publish(world, version.model_copy(update={"effective_from": int(START) + 15}))
    world.clock.advance(4)

    before = decision(name="d1", at=START + 4, context={"market": "up"})
    after = decision(name="d2", at=START + 15, context={"market": "up"})

    assert old.catalogue.counting(before) == []
    assert len(old.catalogue.counting(after)) == 1


def test_a_copy_is_kept_for_as_long_as_it_may() -> None:
    world, faults = World(), Faults()
    catalogue = world.process(faults).ports.catalogue

    for _ in range(5):
        catalogue.versions(latest=world.clock())
    world.clock.advance(6)
    catalogue.versions(latest=world.clock())

    assert faults.calls == ["MemoryTables.query"] * 2


def test_a_closed_version_counts_up_to_its_end() -> None:
    version = pattern().model_copy(update={"effective_to": int(START)})

    assert version.counts(decision(at=START - 1, context={"market": "up"}))
    assert not version.counts(decision(at=START, context={"market": "up"}))
