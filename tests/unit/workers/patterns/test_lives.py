"""A pattern lives through every state and back, by workers that die; each step has its reason.

The history is drawn from a seed: which season comes next, what succeeds, and where workers die.
What is checked is written from docs/PATTERNS.md and knows the decisions made, and nothing else.
"""

from collections import Counter
from collections.abc import Callable
from dataclasses import replace
from itertools import pairwise
from math import comb
from random import Random

import pytest

from sharpwave.schemas import keys, tables
from sharpwave.schemas.messages import SignalMessage
from sharpwave.schemas.patterns import PatternDefinition, PatternVersion
from sharpwave.workers.patterns.life import Life, Step
from sharpwave.workers.patterns.telling import told
from sharpwave.workers.work.ports import Item
from tests.world import Crash, Faults, World
from tests.world.records import decision, outcome
from tests.world.world import DAY_S, messages

PROMOTED, DEGRADED, RETIRED = "PATTERN_PROMOTED", "PATTERN_DEGRADED", "PATTERN_RETIRED"
ALIVE = ("active", "shared")
BASE, BY_HAND = 0.5, "by hand"
#: What a life is: every state is reached, and every one but a broken promise is left again.
STEPS = {
    *(("candidate", "active"), ("active", "shared"), ("shared", "active"), ("active", "degraded")),
    *(("degraded", "active"), ("active", "dormant"), ("dormant", "active"), ("active", "retired")),
    *(("retired", "active"), ("degraded", "retired")),
}


class Story:
    """One agent, one pattern, and a reader who hears of it."""

    def __init__(self, seed: int) -> None:
        self.world, self.chance, self.number = World(), Random(seed), 0
        #: (epoch second, success) of what the pattern matches and that has an outcome.
        self.matched: list[tuple[int, bool]] = []
        self.crashes = 0
        self.world.register("ann", "bob")
        self.world.register("risk", subscriptions=[PROMOTED, DEGRADED, RETIRED])
        self.world.settle()
        self._admit()

    def _admit(self) -> None:
        definition = PatternDefinition.model_validate(
            {
                "pattern_id": "up",
                "agent_id": "ann",
                "decision_type": "TRADE",
                "base_rate": BASE,
                "conditions": [{"path": "context.market", "op": "eq", "value": "up"}],
            }
        )
        admit = self.world.process().admission.admit
        assert admit(definition, origin="import", parent=None, reason="it was imported")
        self.world.clock.advance(600)

    # -- what is ---------------------------------------------------------------------------------

    def versions(self) -> list[PatternVersion]:
        listed = self.world.tables.query(tables.PIPELINE, keys.KNOWN_PATTERNS_PK)
        return sorted(map(PatternVersion.of_entry, listed), key=lambda each: each.version)

    def row(self) -> Item:
        return self.world.tables.items(tables.MEMORY)[keys.Key(keys.pattern_pk("ann"), "up")]

    def state(self) -> str:
        return str(self.row().get("state", "candidate"))

    def history(self, version: PatternVersion) -> list[Item]:
        return list(self.world.tables.query(tables.PIPELINE, keys.life_pk(version.subject)))

    def heard(self) -> Counter[tuple[str, int, int]]:
        posts = (each for each in messages(self.world, "risk") if isinstance(each, SignalMessage))
        once = {each.delivery_id: each for each in posts}.values()
        return Counter(
            (each.signal_type, int(each.data["version"]), int(each.data["transition"]))
            for each in once
            if each.data
        )

    # -- what happens ----------------------------------------------------------------------------

    def day(self, rate: float | None, each: int = 8) -> None:
        """Let a day of decisions pass, and workers look at it; without a rate nothing matches."""
        world = self.world
        world.clock.advance(DAY_S)
        for market in ("up",) * (each if rate is not None else 0) + ("down",) * 2:
            self.number += 1
            success = self.chance.random() < (0.5 if market == "down" else rate or 0.0)
            more: Item = {"outcome": outcome(success)} if self.chance.random() < 0.97 else {}
            if market == "up" and more:
                self.matched.append((int(world.clock()), success))
            item = decision(
                name=f"d{self.number}", at=world.clock(), context={"market": market}, **more
            )
            world.tables.put(tables.DECISIONS, item)
        self._work()
        world.tick()
        self._work()

    def _work(self) -> None:
        faults = Faults(crash_rate=0.004, chance=self.chance)
        try:
            self.world.settle(self.world.process(faults))
        except Crash:
            self.crashes += 1
            self.world.clock.advance(120)
            self.world.settle()

    def until(self, rate: float, *states: str, each: int = 8) -> None:
        before = len(self.versions())
        for _ in range(40):
            self.day(rate, each)
            if self.state() in states or len(self.versions()) > before:
                return
        raise AssertionError(f"at {rate} it is not {states} in 40 days, but {self.state()}")

    def earn(self) -> None:
        self.until(0.9, *ALIVE)

    def falter(self) -> None:
        self.until(0.4, "degraded", "retired", each=3)

    def fail(self) -> None:
        self.until(0.0, "retired")

    def sleep(self) -> None:
        self.world.clock.advance(61 * DAY_S)
        self.day(None)
        assert self.state() == "dormant"

    def wake(self) -> None:
        self.until(0.9, "candidate", "degraded", *ALIVE)

    def share(self) -> None:
        """Grant it to bob, or revoke that, as an operator's import does."""
        version, row = self.versions()[-1], self.row()
        readers = [] if row["is_shared"] else ["bob"]
        definition = version.definition.model_copy(update={"shared_with": readers})
        text = version.model_copy(update={"definition": definition}).entry()["version"]
        listed = keys.known_pattern(version.subject)
        self.world.tables.update(tables.PIPELINE, listed, {"version": text})
        own = keys.Key(row["PK"], row["SK"])
        granted = {"shared_with": readers, "is_shared": bool(readers)}
        self.world.tables.update(tables.MEMORY, own, granted)
        self.day(0.9)

    def put_aside(self) -> None:
        life = Life.of_row(self.row())
        self._move(replace(life, state="retired", was=life.was or life.state))

    def revive(self) -> None:
        life = Life.of_row(self.row())
        self._move(replace(life, state=life.was or "candidate", was=None))

    def _move(self, after: Life) -> None:
        row, moment = self.row(), int(self.world.clock())
        step = Step(replace(after, since=moment, seq=after.seq + 1), BY_HAND)
        figures = {name: row[name] for name in ("evidence", "evidence_n", "sample_size")}
        parts = told(self.versions()[-1], row, Life.of_row(row), step, figures)
        assert self.world.process().reads.transact(parts)
        self.world.settle()

    def season(self) -> None:
        """Live through whatever may come next."""
        life = Life.of_row(self.row())
        seasons: dict[str, list[Callable[[], None]]] = {
            "candidate": [self.earn],
            "active": [self.falter, self.falter, self.sleep, self.share, self.put_aside, self.fail],
            "shared": [self.falter, self.share, self.share, self.sleep],
            "degraded": [self.earn, self.earn, self.fail, self.sleep],
            "dormant": [self.wake],
            # A broken promise stands: the next version begins, and its row takes the place.
            "retired": [self.revive] if not life.drifted else [lambda: self.day(0.5)],
        }
        self.chance.choice(seasons[life.state])()


@pytest.fixture(scope="module", params=[2, 8, 10])
def story(request: pytest.FixtureRequest) -> Story:
    told_by = Story(request.param)
    for _ in range(60):
        told_by.season()
        if steps(told_by) >= STEPS and told_by.state() != "retired":
            break
    return told_by


def steps(story: Story) -> set[tuple[str, str]]:
    chains = map(story.history, story.versions())
    return {(item["from"], item["to"]) for chain in chains for item in chain}


def test_every_state_is_reached_and_left_again(story: Story) -> None:
    assert steps(story) >= STEPS
    assert story.crashes > 5


def test_a_history_is_one_chain_and_ends_where_the_row_stands(story: Story) -> None:
    for version in story.versions():
        chain = story.history(version)
        states = ["candidate", *(item["to"] for item in chain)]
        assert [item["from"] for item in chain] == states[:-1]
        assert [keys.life(version.subject, n) for n in range(1, len(chain) + 1)] == [
            (item["PK"], item["SK"]) for item in chain
        ]
    assert story.state() == states[-1]


def test_each_transition_that_has_a_signal_is_told_once_and_no_other(story: Story) -> None:
    expected: Counter[tuple[str, int, int]] = Counter()
    for version in story.versions():
        for number, item in enumerate(story.history(version), start=1):
            topic = {"degraded": DEGRADED, "retired": RETIRED}.get(item["to"])
            if item["from"] == "candidate" and item["to"] in ALIVE:
                topic = PROMOTED
            if item["from"] == "dormant" and topic == DEGRADED:
                topic = None  # it is what it was
            if topic:
                expected[topic, version.version, number] += 1

    assert story.heard() == expected
    assert {topic for topic, _, _ in expected} == {PROMOTED, DEGRADED, RETIRED}


def test_no_verdict_comes_without_evidence_for_it(story: Story) -> None:
    for version in story.versions():
        began, promoted_at = version.effective_from, 0
        for item in story.history(version):
            at = int(item["at"])
            known = [(when, won) for when, won in story.matched if began <= when <= at]
            since = [(when, won) for when, won in known if when > promoted_at]
            if item["from"] == "candidate" and item["to"] in ALIVE:
                promoted_at = at
                assert len(known) >= 20
                assert len({when // DAY_S for when, _ in known}) >= 3
                assert sum(won for _, won in known) > BASE * len(known)
            elif item["reason"] == BY_HAND:
                continue
            elif item["to"] == "degraded" and item["from"] in ALIVE:
                assert falls_short(since, float(item["promised"]))
            elif item["to"] == "retired":
                assert falls_short(since, float(item["promised"]))
            elif item["to"] == "dormant":
                assert at - max(when for when, _ in known) >= 60 * DAY_S


def falls_short(known: list[tuple[int, bool]], promised: float) -> bool:
    """Say whether what succeeded from some moment on is hardly what a kept promise would give."""
    tails = (known[start:] for start in range(len(known)))
    return any(at_most(sum(won for _, won in tail), len(tail), promised) < 0.02 for tail in tails)


def at_most(successes: int, n: int, rate: float) -> float:
    """Give the probability of at most so many successes of `n`."""
    return sum(comb(n, k) * rate**k * (1 - rate) ** (n - k) for k in range(successes + 1))


def test_a_broken_promise_begins_a_version_from_nothing(story: Story) -> None:
    versions = story.versions()

    assert len(versions) > 1
    for before, after in pairwise(versions):
        last = story.history(before)[-1]
        followed = f"up@{before.version}"
        assert (last["to"], after.parent, after.origin) == ("retired", followed, "drift")
        assert after.effective_from > int(last["at"])
