"""A memory-aware agent makes its round once, whenever it is killed, on either surface."""

import asyncio
from collections.abc import Sequence
from typing import Any, ClassVar

import pytest

from sharpwave.producers import Agent, AsyncMemoryAwareAgent, MemoryAwareAgent
from sharpwave.producers.aware import WORKED

#: More than a round has: one of registering, seven of a delivery, and those of outcomes.
STEPS = 12


class Killed(BaseException):
    """The process ends here, and nothing after it is done."""


class Hooks:
    """A manager that counts whales, and knows outcomes at once; it dies before its n-th step."""

    agent_id: ClassVar[str] = "manager"
    subscriptions: ClassVar[Sequence[str]] = ("WHALE_ACTIVITY",)
    judge_every_s: ClassVar[float] = 0.0
    dies_at: int | None = None

    def _live(self, steps: Any) -> Any:
        step = next(steps, None)
        while step is not None:
            if self.dies_at is not None:
                self.dies_at -= 1
                if self.dies_at < 0:
                    raise Killed
            try:
                step = steps.send((yield step))
            except StopIteration:
                return

    def decide(self, delivery: Any, recalled: Any) -> Any:
        if delivery.data["whale_count"] == 0:
            return None
        return {
            "decision_type": "ENTRY",
            "context": delivery.data,
            "reasoning": {"n": len(recalled)},
        }

    def advance(self, state: Any, delivery: Any, intent: Any) -> Any:
        return {"whales": state.get("whales", 0) + delivery.data["whale_count"]}

    def judge(self, decision: Any) -> Any:
        return {"success": True, "quality_score": 0.5}


class Manager(Hooks, MemoryAwareAgent):
    def _drive(self, steps: Any) -> None:
        super()._drive(self._live(steps))


class AsyncManager(Hooks, AsyncMemoryAwareAgent):
    async def decide(self, delivery: Any, recalled: Any) -> Any:
        return super().decide(delivery, recalled)

    async def _drive(self, steps: Any) -> None:
        await super()._drive(self._live(steps))


@pytest.fixture(params=[Manager, AsyncManager])
def manage(request: pytest.FixtureRequest, pipeline: Any, async_session: Any) -> Any:
    """Let a new process of the manager work its inbox until that is empty, or it is killed."""

    def manage(dies_at: int | None = None) -> None:
        surface: Any = request.param

        async def awaited() -> None:
            async with surface(prefix=pipeline.prefix, session=async_session) as manager:
                manager.dies_at = dies_at
                await manager.run(wait_s=0)

        try:
            if surface is AsyncManager:
                asyncio.run(awaited())
                return
            with surface(prefix=pipeline.prefix, session=pipeline.session) as manager:
                manager.dies_at = dies_at
                manager.run(wait_s=0)
        except Killed:
            assert dies_at is not None

    return manage


@pytest.fixture
def told(connect_sync: Any, pipeline: Any) -> Any:
    """Send the manager word of so many whales, and deliver it several times."""
    scout = connect_sync("scout")
    pipeline.add_queue("manager")

    def tell(count: int, times: int) -> Any:
        signal = scout.signal("WHALE_ACTIVITY", to="manager", data={"whale_count": count})
        pipeline.deliver(signal.key, "manager", times=times)
        return signal.key

    return tell


@pytest.fixture
def connect_sync(pipeline: Any) -> Any:
    opened: list[Agent] = []

    def connect(agent_id: str) -> Agent:
        opened.append(Agent(agent_id, prefix=pipeline.prefix, session=pipeline.session))
        return opened[-1]

    yield connect
    for agent in opened:
        agent.close()


def test_a_round_that_is_killed_between_any_two_steps_is_made_once(
    manage: Any, told: Any, connect_sync: Any, pipeline: Any
) -> None:
    signal = told(5, times=STEPS + 1)

    for dies_at in range(STEPS):
        manage(dies_at)
    manage()

    reader = connect_sync("manager")
    (decision,) = reader.decisions()
    assert decision.outcome is not None
    assert decision.outcome.success is True
    state = reader.state()
    assert state is not None
    assert state.state["whales"] == 5
    assert state.version == 1
    assert len(state.state[WORKED]) == 1
    assert pipeline.row(signal, "manager")["decision_id"] == decision.decision_id


def test_what_needs_no_decision_is_acknowledged(manage: Any, told: Any, pipeline: Any) -> None:
    signal = told(0, times=1)

    manage()

    row = pipeline.row(signal, "manager")
    assert row["status"] == "PROCESSED"
    assert "decision_id" not in row


def test_an_agent_without_a_decision_says_what_it_lacks(pipeline: Any) -> None:
    class Empty(MemoryAwareAgent):
        agent_id = "empty"

    with (
        Empty(prefix=pipeline.prefix, session=pipeline.session) as empty,
        pytest.raises(NotImplementedError, match=r"Empty has no decide\(delivery, recalled\)"),
    ):
        empty.decide(None, [])
