"""Counts equal a recount by hand under duplicates, any order, crashes and revisions."""

from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from decimal import Decimal
from random import Random
from threading import Barrier
from typing import Any

import pytest

from sharpwave.schemas import keys, tables
from sharpwave.schemas.patterns import PatternDefinition, PatternVersion, epoch_of
from sharpwave.workers.patterns import learn as learning
from sharpwave.workers.patterns.catalogue import Writers
from sharpwave.workers.patterns.counts import Counts, content_digest, days_of, total
from sharpwave.workers.patterns.learn import Contribution, contributions
from sharpwave.workers.patterns.ledger import DecisionState, Element, Slots, element_of
from sharpwave.workers.work.ports import Item, TryAgain
from tests.world import Crash, Faults, World
from tests.world.interleaving import Job, Step, interleave
from tests.world.records import decision, outcome
from tests.world.stores import START
from tests.world.world import Process

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


def learn(decisions: list[Item], process: Process, **more: Any) -> int:
    """Count decisions in a process that knows nothing yet."""
    slots, writers = Slots(process.ledger), Writers(writes=process.writes, clock=process.clock)
    return learning.learn(
        decisions, catalogue=process.catalogue, slots=slots, writers=writers, **more
    )


def base(*versions: PatternVersion, agent: str = "ann") -> str:
    """Name the base ledger of decisions made at `START` or an hour before."""
    epoch = epoch_of(versions, agent, "TRADE", int(START) - 1)
    return keys.base_subject(agent, "TRADE", epoch)


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
                process = world.process(faults)
                try:
                    learn(page, process)
                except Crash:
                    continue
                return

        return run

    while pages:
        taken, pages = pages[:3], pages[3:]
        assert interleave([job(page) for page in taken], chance) == [None] * len(taken)

    ups = [state for state in states if state["context"]["market"] == "up"]
    assert figures(count(world, base(version))) == recount(states)
    assert figures(count(world, version.subject)) == recount(ups)


def test_no_ledger_waits_for_another() -> None:
    """Each bucket's set is asked for while the other one's answer is still out."""
    world = World()
    both = Barrier(2)

    def together() -> None:
        both.wait(timeout=5)

    calm = world.process()
    calm.ledger = world.process(Faults(step=together)).ledger

    with ThreadPoolExecutor(2) as pool:
        learn(
            [decision("ann"), decision("bob")],
            calm,
            spread=pool.map,
        )

    assert [count(world, keys.base_subject(name, "TRADE")).pending for name in ("ann", "bob")] == [
        1,
        1,
    ]


def test_what_one_ledger_answers_fails_the_whole_message() -> None:
    world = World()
    calm = world.process()
    calm.ledger = world.process(Faults(refusal_rate=1.0)).ledger

    with ThreadPoolExecutor(2) as pool, pytest.raises(TryAgain):
        learn(
            [decision("ann"), decision("bob")],
            calm,
            spread=pool.map,
        )


def test_a_pattern_counts_only_what_belongs_to_it() -> None:
    world = World()
    mine, domain = pattern(), pattern(pattern_id="all", agent_id=None, domain="crypto")
    for version in (mine, domain):
        publish(world, version)
    up: Item = {"context": {"market": "up"}, "outcome": outcome(True)}

    process = world.process()
    learn(
        [
            decision(name="d1", **up),
            decision("bob", "d2", **up),
            decision(name="d3", kind="HEDGE", **up),
            decision(name="d4", context={"market": "down"}),
            decision(name="d5", at=START - 11 * HOUR_S, **up),
        ],
        process,
    )

    assert count(world, mine.subject).n == 1
    assert count(world, domain.subject).n == 2
    assert count(world, base(mine, domain)).n == 1
    assert count(world, base(mine, domain)).pending == 1
    assert count(world, keys.base_subject("ann", "TRADE")).n == 1


def test_what_an_agent_applied_is_counted_apart() -> None:
    world, version = World(), pattern()
    publish(world, version)
    up: Item = {"context": {"market": "up"}}
    process = world.process()

    learn(
        [
            decision(
                name="d1", outcome=outcome(True), reasoning={"patterns_applied": ["up"]}, **up
            ),
            decision(name="d2", outcome=outcome(False), **up),
        ],
        process,
    )

    found = count(world, version.subject)
    assert (found.n, found.s, found.applied, found.applied_s) == (2, 1, 1, 1)


def test_a_decision_adds_all_that_it_says_to_each_ledger_that_counts_it() -> None:
    mine, other = pattern(), pattern(pattern_id="down", conditions=[UP[0] | {"value": "down"}])
    item = decision(
        context={"cycle": 7, "market": "up"},
        outcome=outcome(True, 0.25),
        outcome_rev=3,
        event_time="2008-10-10T09:30:00Z",
        reasoning={"patterns_applied": ["up"]},
    )
    said = DecisionState(
        pk=item["PK"],
        sk=item["SK"],
        agent_id="ann",
        day="2008-10-10",
        content=content_digest(item),
        cycle=7,
        outcome=True,
        quality=0.25,
        outcome_rev=3,
    )

    found = list(contributions(item, [mine, other]))

    applied = replace(said, applied=True)
    assert found == [
        Contribution(subject, "2008-10-10", item["SK"], element_of(state).encode())
        for subject, state in ((base(mine, other), said), (mine.subject, applied))
    ]


def test_domain_time_decides_the_day() -> None:
    world = World()
    process = world.process()

    learn(
        [decision(event_time="2008-10-10T09:30:00Z", outcome=outcome(True))],
        process,
    )

    assert list(days_of(keys.base_subject("ann", "TRADE"), world.tables)) == ["2008-10-10"]


def test_membership_never_depends_on_who_looks_when() -> None:
    """A worker with an old copy reads the list again before it judges a newer decision."""
    world, version = World(), pattern()
    old = world.process()
    old.catalogue.known_for(decision(at=START))
    publish(world, version.model_copy(update={"effective_from": int(START) + 15}))

    before = old.catalogue.known_for(decision(at=START + 4))
    world.clock.advance(10)
    after = old.catalogue.known_for(decision(at=START + 15))

    assert list(before.versions) == []
    assert len(after.versions) == 1


def test_of_one_message_each_decision_is_judged_by_the_list_of_its_own_time() -> None:
    world, version = World(), pattern()
    process = world.process()
    process.catalogue.known_for(decision(at=START))
    publish(world, version.model_copy(update={"effective_from": int(START) + 15}))
    world.clock.advance(10)
    up: Item = {"context": {"market": "up"}}

    learn([decision(at=START, **up), decision(name="d2", at=START + 15, **up)], process)

    assert count(world, version.subject).pending == 1


def test_a_copy_is_kept_for_as_long_as_it_judges() -> None:
    world, faults = World(), Faults()
    catalogue = world.process(faults).catalogue

    for at in (START, START + 5, START - 10**6, START + 4):
        catalogue.known_for(decision(at=at))
    world.clock.advance(6)
    catalogue.known_for(decision(at=START + 6))
    catalogue.known_for(decision(at=START + 11))

    assert faults.calls.count("MemoryTables.query") == 2


def test_the_moment_judged_is_raised_before_the_list_is_read() -> None:
    """What is imported after the list was read begins after every decision it judges."""
    world, faults = World(), Faults()
    catalogue = world.process(faults).catalogue
    until: list[int] = []

    def step() -> None:
        until.append(judged(world))

    faults.step = step
    known = catalogue.known_for(decision(at=START))

    assert faults.calls[-1] == "MemoryTables.query"
    assert until[-1] == judged(world) == known.until == START + 10


def test_of_two_workers_that_raise_the_moment_at_once_neither_lowers_it() -> None:
    for seed in range(20):
        world, chance = World(), Random(seed)
        world.tables.put(tables.PIPELINE, {**keys.judged().item(), "until": int(START) - 1})

        def job(world: World = world) -> Job:
            def run(step: Step) -> None:
                known = world.process(Faults(step=step)).catalogue.known_for(decision())
                assert known.until == START + 10

            return run

        assert interleave([job(), job(), job()], chance) == [None] * 3
        assert judged(world) == START + 10


def judged(world: World) -> int:
    item = world.tables.items(tables.PIPELINE).get(keys.judged(), {"until": 0})
    return int(item["until"])


def test_a_decision_further_ahead_than_can_be_judged_waits_in_its_queue() -> None:
    world, version = World(), pattern()
    publish(world, version)
    fast = decision(at=START + 290, context={"market": "up"})
    world.tables.put(tables.DECISIONS, fast)

    world.settle()
    waiting = [held.visible_at for held in world.queues.messages]
    early = count(world, version.subject)
    # Meanwhile a version is imported that the decision belongs to, by its own clock.
    late = pattern(pattern_id="late").model_copy(update={"effective_from": int(START) + 280})
    publish(world, late)
    world.clock.advance(286)
    world.settle()

    assert waiting == [START + 286]
    assert early.pending == 0
    assert count(world, version.subject).pending == 1
    assert count(world, late.subject).pending == 1
    assert world.queues.messages == []


def test_a_version_that_a_newer_release_wrote_holds_back_what_it_may_count() -> None:
    world = World()
    version = pattern()
    text = version.model_dump_json().replace('"op":"eq"', '"op":"resembles"')
    entry = {**keys.known_pattern(version.subject).item(), "version": text}
    world.tables.put(tables.PIPELINE, entry)
    process = world.process()

    with pytest.raises(TryAgain, match="a newer release"):
        learn([decision()], process)
    learn([decision(kind="HEDGE"), decision("bob")], process)

    assert count(world, keys.base_subject("ann", "HEDGE")).pending == 1
    assert count(world, keys.base_subject("bob", "TRADE")).pending == 1


@pytest.mark.parametrize("text", ["no json", "[]", '{"definition": {}}', '{"definition": 3}'])
def test_a_version_of_which_nothing_can_be_read_holds_back_everything(text: str) -> None:
    world = World()
    entry = {**keys.known_pattern("pattern:x:y@1").item(), "version": text}
    world.tables.put(tables.PIPELINE, entry)

    with pytest.raises(TryAgain, match="a newer release"):
        learn([decision()], world.process())


def test_a_key_written_again_with_other_content_counts_once() -> None:
    world = World()
    process = world.process()
    first = decision(context={"cycle": 1}, outcome=outcome(True), outcome_rev=9)
    other = decision(context={"cycle": 2}, outcome=outcome(False), outcome_rev=9)

    learn([other], process)
    learn([first, other], process)

    found = count(world, keys.base_subject("ann", "TRADE"))
    stands = min((first, other), key=content_digest)
    assert (found.n, found.s) == (1, int(stands is first))


def test_an_outcome_without_a_revision_is_the_first() -> None:
    world = World()
    item = decision(outcome=outcome(False))

    learn([item, {**item, "outcome": outcome(True), "outcome_rev": 2}], world.process())

    assert count(world, base()).s == 1


@pytest.mark.parametrize("said", [None, "well"])
def test_what_is_no_outcome_yields_to_the_first_that_is_one(said: object) -> None:
    world = World()
    item = decision(outcome=said, context=None, outcome_rev=3)

    learn([item, {**item, "outcome": outcome(True), "outcome_rev": 1}], world.process())

    assert [Element.decode(each.element).outcome_rev for each in contributions(item, [])] == [0]
    assert count(world, base()) == Counts(revision=1, n=1, s=1, units=1)


def test_it_says_how_many_slots_it_wrote() -> None:
    world, version = World(), pattern()
    publish(world, version)
    up: Item = {"context": {"market": "up"}}
    hours = [decision(name=str(ago), at=START - ago * HOUR_S, **up) for ago in (0, 0.001, 1)]

    assert learn(hours, world.process()) == 4, "two hours, in the base ledger and the pattern's"


def test_a_base_ledger_is_divided_where_versions_begin_and_end() -> None:
    world = World()
    version = pattern().model_copy(update={"effective_to": int(START) - 60})
    publish(world, version)
    begin = version.effective_from

    learn([decision(name=str(at), at=at) for at in (begin - 1, begin, START)], world.process())

    for epoch in (0, begin, int(START) - 60):
        assert count(world, keys.base_subject("ann", "TRADE", epoch)).pending == 1


def test_who_writes_decisions_is_listed_registered_or_not() -> None:
    world = World()
    faults = Faults()
    process = world.process(faults)
    slots, writers = Slots(process.ledger), Writers(writes=process.writes, clock=process.clock)

    for name in ("d1", "d2"):
        learning.learn(
            [decision("bob", name)], catalogue=process.catalogue, slots=slots, writers=writers
        )

    listed = world.tables.items(tables.MEMORY)[keys.writer("TRADE", "bob")]
    known = world.tables.items(tables.PIPELINE)[keys.known_agent("bob")]
    assert listed["agent_id"] == "bob"
    assert "registered" not in known
    assert faults.calls.count("MemoryTables.apply") == 2 + 1, "two entries, and the moment judged"


def test_a_closed_version_counts_up_to_its_end() -> None:
    version = pattern().model_copy(update={"effective_to": int(START)})

    assert version.counts(decision(at=START - 1, context={"market": "up"}))
    assert not version.counts(decision(at=START, context={"market": "up"}))


def test_what_no_list_can_judge_yet_is_not_counted_by_an_older_one() -> None:
    world = World()
    ahead = {"timestamp": int(world.clock()) + 3600, "agent_id": "ann", "decision_type": "ASSESS"}

    with pytest.raises(TryAgain, match="can judge a decision"):
        world.process().catalogue.known_for(ahead)


def test_a_decision_with_a_parent_is_listed_as_its_child_whatever_is_counted_again() -> None:
    world = World()
    stated = decision(name="d1", parent_decision_id="d0", ttl=int(START) + HOUR_S)
    told = decision(name="d2", context={"parent_decision_id": "d0"})
    none = [decision(name="d3"), decision(name="d4", context={"parent_decision_id": None})]

    for _ in range(2):
        learn([stated, told, *none], world.process())

    listed = list(world.tables.query(tables.MEMORY, keys.children_pk("d0")))
    expected = [keys.Key(each["PK"], each["SK"]) for each in (stated, told)]
    assert [keys.split_child(entry["SK"]) for entry in listed] == expected
    assert ["ttl" in entry for entry in listed] == [True, False]
