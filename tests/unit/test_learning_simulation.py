"""Counts stay exact through duplicates, reordering, crashes, revisions and several writers.

The model has what DynamoDB gives: `ADD` of a batch to a bucket's set, answering with the whole
set, and a conditional write of the bucket's HEAD entry. A writer may stop for good between the
two; its message then comes again. Weaker rules fail in the same simulation.
"""

import random
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace

from sharpwave.workers.learning.counts import Counts, fold, total
from sharpwave.workers.learning.elements import DecisionState, Outcome, element_of

RUNS = 240
WRITERS = 4

Bucket = tuple[str, str]
Message = list[DecisionState]
Count = Callable[[frozenset[bytes]], Counts]
Guard = Callable[[Counts, Counts], bool]


def bucket_of(state: DecisionState) -> Bucket:
    return state.day, state.sk[:13]


def larger_set(new: Counts, held: Counts) -> bool:
    return new.size > held.size


def more_outcomes(new: Counts, held: Counts) -> bool:
    return new.n > held.n


def successes_and_failures(elements: frozenset[bytes]) -> Counts:
    """Count as two plain sets of decisions would: one of successes, one of failures."""
    ok = {element[:8] for element in elements if element[17] & 3 == Outcome.SUCCESS}
    ko = {element[:8] for element in elements if element[17] & 3 == Outcome.FAILURE}
    return Counts(size=len(elements), n=len(ok) + len(ko), s=len(ok))


@dataclass
class Table:
    """The ledger sets and the HEAD entries of one pattern version."""

    count: Count
    guard: Guard
    ledger: dict[Bucket, set[bytes]] = field(default_factory=dict)
    head: dict[Bucket, Counts] = field(default_factory=dict)

    def add(self, bucket: Bucket, elements: set[bytes]) -> frozenset[bytes]:
        self.ledger.setdefault(bucket, set()).update(elements)
        return frozenset(self.ledger[bucket])

    def put_head(self, bucket: Bucket, counts: Counts) -> None:
        if bucket not in self.head or self.guard(counts, self.head[bucket]):
            self.head[bucket] = counts


def apply(message: Message, table: Table) -> Iterator[None]:
    """Work off one message; every yield is a point where others run or the writer dies."""
    buckets: dict[Bucket, set[bytes]] = {}
    for state in message:
        buckets.setdefault(bucket_of(state), set()).add(element_of(state).encode())
    for bucket, elements in buckets.items():
        everything = table.add(bucket, elements)
        yield
        table.put_head(bucket, table.count(everything))
        yield


def history(chance: random.Random) -> list[DecisionState]:
    """Write 30 decisions in two hours: pending, resolved, up to three revisions."""
    states = []
    for number in range(30):
        state = DecisionState(
            pk="agent:a#decision#T",
            sk=f"2025-10-18T{14 + number % 2}:30:00Z#{number}",
            agent_id="a",
            cycle=number // 2,
            applied=number % 3 == 0,
            day="2025-10-18",
            content=b"abc",
        )
        states.append(state)
        for revision in range(1, chance.randint(0, 4) + 1):
            success, quality = chance.random() < 0.6, round(chance.random(), 4)
            states.append(replace(state, outcome=success, quality=quality, outcome_rev=revision))
    return states


def simulate(seed: int, table: Table) -> list[DecisionState]:
    """Deliver a history at least once, in any order, to writers that die; return it."""
    chance = random.Random(seed)
    states = history(chance)
    written = list(states)
    chance.shuffle(states)
    queue = []
    while states:
        size = chance.randint(1, 8)
        queue.append(states[:size])
        del states[:size]
    queue += [message for message in queue if chance.random() < 0.3]
    running: list[tuple[Message, Iterator[None]]] = []
    while queue or running:
        if queue and len(running) < WRITERS:
            message = queue.pop(chance.randrange(len(queue)))
            running.append((message, apply(message, table)))
        stalled_too = chance.random() < 0.2
        message, steps = chosen = chance.choice(running if stalled_too else running[-2:])
        died = chance.random() < 0.1
        if died:
            queue.append(message)
        if died or next(steps, running) is running:
            running.remove(chosen)
    return written


def recount(states: list[DecisionState]) -> Counts:
    """Count the history by hand, bucket by bucket, without the ledger."""
    last: dict[str, DecisionState] = {}
    for state in states:
        last[state.sk] = state
    resolved = [state for state in last.values() if state.outcome is not None]
    applied = [state for state in resolved if state.applied]
    return Counts(
        size=len(states),
        n=len(resolved),
        s=sum(state.outcome is True for state in resolved),
        q_sum=sum(round((state.quality or 0) * 10_000) for state in resolved),
        q_n=len(resolved),
        applied=len(applied),
        applied_s=sum(state.outcome is True for state in applied),
        pending=len(last) - len(resolved),
        units=len({(bucket_of(state), state.cycle) for state in resolved}),
    )


def wrong_runs(count: Count, guard: Guard) -> int:
    """Count the runs whose outcomes differ from the recount."""
    wrong = 0
    for seed in range(RUNS):
        table = Table(count, guard)
        truth = recount(simulate(seed, table))
        counted = total(table.head.values())
        wrong += (counted.n, counted.s) != (truth.n, truth.s)
    return wrong


def test_the_larger_set_rule_is_exact_in_every_run() -> None:
    for seed in range(RUNS):
        table = Table(fold, larger_set)

        written = simulate(seed, table)

        assert total(table.head.values()) == recount(written), f"seed {seed}"


def test_replaying_everything_afterwards_changes_nothing() -> None:
    table = Table(fold, larger_set)
    written = simulate(1, table)
    settled = dict(table.head)

    for state in reversed(written):
        list(apply([state], table))

    assert table.head == settled


def test_replacing_the_head_when_outcomes_grow_miscounts_some_runs() -> None:
    assert wrong_runs(fold, more_outcomes) > 0


def test_replacing_the_head_always_miscounts_some_runs() -> None:
    assert wrong_runs(fold, lambda new, held: True) > 0


def test_plain_sets_of_successes_and_failures_miscount_revisions() -> None:
    assert wrong_runs(successes_and_failures, larger_set) > RUNS // 2
