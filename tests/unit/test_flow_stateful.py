"""Any order of acts, pumping, work, time and deaths ends in a world that keeps its invariants.

Where the simulation draws histories at random, here Hypothesis chooses every step, and when one
breaks an invariant it gives the shortest history that does.
"""

from collections.abc import Callable
from random import Random

import pytest
from hypothesis import Phase, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, rule, run_state_machine_as_test

from sharpwave.workers.signals.deliver import Courier
from tests.world.agents import Agents
from tests.world.checker import violations
from tests.world.faults import Crash, Faults
from tests.world.simulation import Runner, Weather, add_pattern, watch
from tests.world.world import World

HISTORIES = settings(max_examples=25, stateful_step_count=20)
ACTS = (
    *("send", "answer", "decide", "resolve", "remember"),
    *("send_badly", "repeat_signal", "change_signal", "revise_badly"),
    *("spoil_row", "overwrite_row", "register_late"),
)


class Flow(RuleBasedStateMachine):
    """Agents, a pump and workers; `finish` lets all come to rest and judges it."""

    @initialize(seed=st.integers(0, 999))
    def begin(self, seed: int) -> None:
        self.world = World()
        add_pattern(self.world, owner="agent-0")
        chance = Random(seed)
        self.crowd = Agents(self.world, chance, count=3)
        self.runner = Runner(self.world, chance, Weather.calm())
        self.world.settle()
        watch(self.world, self.crowd)

    @rule(act=st.sampled_from(ACTS))
    def act(self, act: str) -> None:
        method: Callable[[], None] = getattr(self.crowd, act)
        method()

    @rule()
    def pump(self) -> None:
        self.runner.pump()

    @rule()
    def pump_twice(self) -> None:
        pages = self.world.unread()
        for table, page in [*pages, *pages]:
            self.world.queues.send(self.world.route(table, page))

    @rule(which=st.integers(0, 9), crash_at=st.integers(0, 9), after=st.booleans())
    def work(self, which: int, crash_at: int, after: bool) -> None:
        """Handle one message in a process that may die at any call."""
        visible = self.world.queues.visible()
        if not visible:
            return
        held = visible[which % len(visible)]
        self.world.queues.receive(held)
        try:
            self.world.process(Faults(crash_at=crash_at, after=after)).handle(held.body)
        except Crash:
            held.visible_at = self.world.clock() + 1.0
        else:
            self.world.queues.delete(held)

    @rule(seconds=st.sampled_from([0.2, 3.0, 90.0, 4_000.0, 100_000.0]))
    def pass_time(self, seconds: float) -> None:
        self.world.clock.advance(seconds)

    @rule()
    def tick(self) -> None:
        self.world.tick()

    @rule()
    def remove_by_ttl(self) -> None:
        self.world.tables.expire(lambda table, key: True)

    def teardown(self) -> None:
        if not hasattr(self, "world"):
            return
        self.runner.rest(self.crowd)
        assert list(violations(self.world, self.crowd.book)) == []


def test_no_history_breaks_an_invariant() -> None:
    run_state_machine_as_test(Flow, settings=HISTORIES)


def test_a_delivery_that_is_never_marked_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Courier, "_mark", lambda self, plans: [(plan, {}) for plan in plans])

    # As many histories as it takes to find one, which is not made as short as can be.
    until_found = settings(
        HISTORIES,
        max_examples=1_000,
        phases=[Phase.generate],
        report_multiple_bugs=False,
        print_blob=False,
    )
    with pytest.raises(AssertionError, match=r"mirror|never sent|did not end"):
        run_state_machine_as_test(Flow, settings=until_found)
