"""The processes of an agent keep its limit but for one lease, and mostly ask nobody."""

from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sharpwave.producers.call import Call, Identity, Operation, Pause, Step
from sharpwave.producers.errors import (
    AlreadyExists,
    ConditionFailed,
    RateLimited,
    ServiceFailed,
    Throttled,
)
from sharpwave.producers.operations import limits
from sharpwave.producers.operations.limits import Limit, Taken
from sharpwave.schemas.numbers import item_from_wire
from sharpwave.schemas.tokens import Rate

RATE = Rate(per_minute=600, burst=100)
PER_S = RATE.per_minute / 60


class Table:
    """The stored bucket, the time, and what the agent's processes took when."""

    def __init__(self) -> None:
        self.wire: dict[str, Any] = {}
        self.time, self.writes = 0.0, 0
        self.taken: list[float] = []
        self.answers: list[Callable[[], None]] = []

    def process(self, made: type[Limit] = Limit) -> Limit:
        me = Identity("risk", clock=lambda: 1_800_000_000 + self.time)
        return made(me, "openai", RATE, watch=lambda: self.time)

    def take(self, limit: Limit, n: int = 1) -> Taken:
        taken: Taken = self.run(limits.take(limit, n))
        self.taken += [self.time] * n
        return taken

    def run(self, operation: Operation[Any]) -> Any:
        step: Step | None = None
        while True:
            try:
                if step is None:
                    step = next(operation)
                elif isinstance(step, Pause):
                    self.time += step.seconds
                    step = operation.send({})
                else:
                    assert isinstance(step, Call)
                    step = self._answer(operation, step)
            except StopIteration as done:
                return done.value

    def _answer(self, operation: Operation[Any], call: Call) -> Step:
        values = call.params["ExpressionAttributeValues"]
        self.writes += 1
        if self.wire.get("rev") != values.get(":was"):
            return operation.throw(ConditionFailed("no", item=self.wire))
        self.wire = {name[1:]: value for name, value in values.items() if name != ":was"}
        if self.answers:
            try:
                self.answers.pop()()
            except Exception as error:
                return operation.throw(error)
        return operation.send({})

    def above(self) -> float:
        """Say by how much the limit was ever exceeded, in any span from one taking to another."""
        worst = 0.0
        for first, since in enumerate(self.taken):
            for last in range(first, len(self.taken)):
                allowed = RATE.burst + (self.taken[last] - since) * PER_S
                worst = max(worst, last - first + 1 - allowed)
        return worst


def live(table: Table, steps: list[tuple[int, float, int, bool]], made: type[Limit]) -> None:
    processes = [table.process(made) for _ in range(8)]
    for process, passes_s, n, dies in steps:
        table.time += passes_s
        if dies:
            processes[process] = table.process(made)
        try:
            for _ in range(n):
                table.take(processes[process])
        except RateLimited:
            continue


class Keeping(Limit):
    """What is wrong on purpose: a lease that never lapses."""

    def next(self, n: int) -> Any:
        self._lapses_ms = 10**15
        return super().next(n)


STEPS = st.lists(
    st.tuples(
        st.integers(0, 7), st.sampled_from([0, 0.1, 1, 30]), st.integers(1, 40), st.booleans()
    ),
    max_size=30,
)


@given(STEPS)
def test_no_span_of_time_sees_more_than_the_limit_and_one_lease(
    steps: list[tuple[int, float, int, bool]],
) -> None:
    """Eight processes that die at any moment, with what they hold."""
    table = Table()

    live(table, steps, Limit)

    assert table.above() <= RATE.lease


@pytest.mark.parametrize(("made", "is_kept"), [(Limit, True), (Keeping, False)])
def test_what_was_drawn_and_not_used_lapses(made: type[Limit], is_kept: bool) -> None:
    """The second is the control: leases that are kept add up to more than one."""
    table, fill = Table(), [(process, 0.0, 16, False) for process in range(6)]
    use = [(process, 0.0, 40, False) for process in range(6)]

    live(table, [*fill, (7, 60, 1, False), *use], made)

    assert (table.above() <= RATE.lease) is is_kept


def test_a_process_that_takes_much_writes_little() -> None:
    table = Table()
    limit = table.process()

    for _ in range(1000):
        table.run(limits.wait(limit))

    assert table.writes <= 1000 / RATE.lease * 1.5


def test_a_refusal_says_when_to_come_back_and_asks_nobody() -> None:
    table = Table()
    limit = table.process()
    table.take(limit, 100)
    writes = table.writes

    with pytest.raises(RateLimited, match="openai of risk") as limited:
        table.take(limit, 5)
    assert table.writes == writes
    table.time += limited.value.retry_after_s
    assert table.take(limit, 5).n == 5


def test_waiting_ends_with_the_tokens_or_with_the_patience() -> None:
    table = Table()
    limit = table.process()
    table.take(limit, 100)

    with pytest.raises(RateLimited):
        table.run(limits.wait(limit, 20, timeout_s=1.0))
    assert table.time == 0
    assert table.run(limits.wait(limit, 20, timeout_s=3.0)).n == 20
    assert 2 <= table.time <= 2.5


def test_a_draw_whose_answer_was_lost_is_known_again_by_its_name() -> None:
    table = Table()
    limit = table.process()
    table.answers = [lambda: lost(table)]

    assert table.take(limit) == Taken(1, 0)
    assert item_from_wire(table.wire)["rev"] == 1


def lost(table: Table) -> None:
    """Let the client's own retry meet what its first attempt wrote."""
    raise ConditionFailed("no", item=table.wire)


def test_a_draw_with_an_unknown_end_gives_nothing_twice() -> None:
    table = Table()
    limit = table.process()
    table.answers = [lambda: failing()]
    with pytest.raises(ServiceFailed):
        table.take(limit, 60)

    assert table.take(limit, 40).n == 40
    with pytest.raises(RateLimited):
        table.take(limit, 40)


def failing() -> None:
    raise ServiceFailed("500")


def test_what_is_no_bucket_is_named() -> None:
    table = Table()
    table.wire = {"rev": {"N": "1"}, "note": {"S": "mine"}}

    with pytest.raises(AlreadyExists, match="agent:risk / LIMIT#openai holds no token bucket"):
        table.take(table.process())


def test_who_always_comes_second_says_so() -> None:
    table = Table()
    limit = table.process()
    limit.met = lambda item: None  # type: ignore[method-assign]
    table.wire = {"rev": {"N": "1"}}

    with pytest.raises(Throttled, match="openai kept changing"):
        table.take(limit)


def test_a_limit_that_cannot_be_is_refused() -> None:
    with pytest.raises(ValueError, match="cannot name a limit"):
        Limit(Identity("risk"), "open ai", RATE)
    with pytest.raises(ValueError, match="holds 1 to 100 tokens"):
        Table().take(Table().process(), 101)
