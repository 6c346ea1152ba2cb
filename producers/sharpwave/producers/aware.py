"""An agent's whole round in one place: inbox, recall, decide, state, outcomes.

A subclass says what to do in hooks; the round is written once, as a generator of things to call,
and run by a synchronous and an asynchronous driver. It may be killed between any two of them: a
delivery is decided on once, its change of state is made once, and outcomes still owed are found
in the table.
"""

import time
from collections.abc import Callable, Generator, Mapping, Sequence
from functools import partial
from inspect import isawaitable
from types import TracebackType
from typing import Any, ClassVar, Self, TypedDict

from sharpwave.producers.agent import Agent, AsyncAgent
from sharpwave.producers.deliveries import AsyncDelivery, Delivery
from sharpwave.producers.errors import AgentError, OutcomeConflict
from sharpwave.producers.operations.learnt import Recalled
from sharpwave.schemas.messages import NoticeMessage
from sharpwave.schemas.records import DecisionRecord, StateRecord

#: Where the state names the deliveries that it holds already, and how many of the last.
WORKED, _KEPT = "worked_deliveries", 50

Round = Generator[Callable[[], Any], Any, Any]


class Judgement(TypedDict, total=False):
    """What came of a decision, as `record_outcome` takes it."""

    success: bool
    quality_score: float


class _Round:
    """The hooks, and the round that calls them; each may be a coroutine of an async agent."""

    #: What a subclass sets.
    agent_id: ClassVar[str]
    subscriptions: ClassVar[Sequence[str]] = ()
    capabilities: ClassVar[Sequence[str]] = ()
    domain: ClassVar[str] = "general"
    #: Outcomes still owed are looked for at the start, at the end, and so often between deliveries.
    judge_every_s: ClassVar[float] = 60.0

    agent: Any
    _judged_at: float | None = None

    def about(self, delivery: Any) -> Any:
        """Say of which decision to recall what was learnt, as arguments of `recall`.

        None if there is nothing to decide: then nothing is recalled, and `decide` is not asked.
        """
        return {"context": delivery.data}

    def decide(self, delivery: Any, recalled: list[Recalled]) -> Any:
        """Give the arguments of `delivery.decide`, or None if there is nothing to decide.

        It may be called again for a delivery that comes again: what it does beside must not matter
        if it happens twice.
        """
        raise NotImplementedError(f"{type(self).__name__} has no decide(delivery, recalled)")

    def advance(self, state: dict[str, Any], delivery: Any, intent: Any) -> Any:
        """Give the agent's state after a delivery, or None to leave it; made once for each."""
        return None

    def judge(self, decision: DecisionRecord) -> Any:
        """Give what came of a decision, as a `Judgement`, or None while nobody knows."""
        return None

    def on_notice(self, notice: NoticeMessage) -> None:
        """Hear that the pipeline has something to say about a record; the log has it already."""

    def _work(self, delivery: Any) -> Round:
        about, intent = (yield partial(self.about, delivery)), None
        if about is not None:
            recalled = yield partial(self.agent.recall, domain=self.domain, **about)
            intent = yield partial(self.decide, delivery, recalled)
        if _is_own(self, "advance"):
            yield from self._advance(delivery, intent)
        # A hook may have acknowledged it, failed it or given it back.
        if delivery.is_settled:
            return None
        if intent is None:
            yield delivery.ack
            return None
        # Last of all: it acknowledges, and what is not done by then is not done again.
        return (yield partial(delivery.decide, **intent))

    def _advance(self, delivery: Any, intent: Any) -> Round:
        """Change the state once for a delivery: the state itself says which it holds."""

        def change(stored: StateRecord | None) -> Any:
            state = dict(stored.state) if stored else {}
            worked = list(state.pop(WORKED, ()))
            # Handed out again after the state was saved: it holds this one already.
            if delivery.delivery_id in worked:
                return None

            def kept(new: Mapping[str, Any] | None) -> Mapping[str, Any] | None:
                last = [*worked, delivery.delivery_id][-_KEPT:]
                return None if new is None else {**new, WORKED: last}

            async def kept_later() -> Mapping[str, Any] | None:
                return kept(await new)

            new = self.advance(state, delivery, intent)
            return kept_later() if isawaitable(new) else kept(new)

        yield partial(self.agent.update_state, change)

    def _owed(self, *, now: bool = False) -> Round:
        """Record the outcomes that are known by now."""
        moment = time.monotonic()
        is_due = self._judged_at is None or moment - self._judged_at >= self.judge_every_s
        if not _is_own(self, "judge") or not (now or is_due):
            return
        self._judged_at = moment
        for record in (yield partial(self.agent.decisions, outcome="pending")):
            judgement = yield partial(self.judge, record)
            if judgement is None:
                continue
            try:
                yield partial(self.agent.record_outcome, record, **judgement)
            except OutcomeConflict:
                # Another instance knew it first.
                continue

    def _register(self) -> Round:
        said = {"subscriptions": self.subscriptions, "capabilities": self.capabilities}
        yield partial(self.agent.register, **said)


def _is_own(one: _Round, hook: str) -> bool:
    return getattr(type(one), hook) is not getattr(_Round, hook)


class MemoryAwareAgent(_Round):
    """An agent that recalls before it decides; subclass it, and `run` it.

    Example:
        >>> class RiskManager(MemoryAwareAgent):
        ...     agent_id, subscriptions = "risk-manager", ["WHALE_ACTIVITY"]
        ...
        ...     def decide(self, delivery, recalled):
        ...         applied = [one.pattern_id for one in recalled if one.is_proven]
        ...         return {
        ...             "decision_type": "RISK_ASSESSMENT",
        ...             "context": delivery.data,
        ...             "reasoning": {"patterns_applied": applied},
        ...         }
        >>> with RiskManager() as manager:
        ...     manager.run()
    """

    agent: Agent

    def __init__(self, agent: Agent | None = None, **arguments: Any) -> None:
        """Act through `agent`, or connect one: the arguments are those of `Agent` behind the id."""
        self.agent = agent or Agent(self.agent_id, on_notice=self.on_notice, **arguments)

    def run(self, **bounds: Any) -> None:
        """Register, and work the inbox; `bounds` are arguments of `Agent.inbox`, none for ever."""
        self._drive(self._register())
        self._drive(self._owed())
        for delivery in self.agent.inbox(**bounds):
            with delivery:
                self.work(delivery)
            self._drive(self._owed())
        self._drive(self._owed(now=True))

    def work(self, delivery: Delivery) -> DecisionRecord | None:
        """Work one delivery, for who receives by other means than `run`; gives what was decided."""
        decided: DecisionRecord | None = self._drive(self._work(delivery))
        return decided

    def _drive(self, steps: Round) -> Any:
        resume = partial(next, steps)
        while True:
            try:
                step = resume()
            except StopIteration as end:
                return end.value
            try:
                resume = partial(steps.send, step())
            except AgentError as error:
                resume = partial(steps.throw, error)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, _: TracebackType | None
    ) -> None:
        self.agent.close()


class AsyncMemoryAwareAgent(_Round):
    """The same on an event loop: its hooks may be coroutines, its methods are awaited."""

    agent: AsyncAgent

    def __init__(self, agent: AsyncAgent | None = None, **arguments: Any) -> None:
        """Act through `agent`, or describe one: the arguments are those of `AsyncAgent`."""
        self.agent = agent or AsyncAgent(self.agent_id, on_notice=self.on_notice, **arguments)

    async def run(self, **bounds: Any) -> None:
        """Register, and work the inbox; `bounds` are arguments of `Agent.inbox`, none for ever."""
        await self._drive(self._register())
        await self._drive(self._owed())
        async for delivery in self.agent.inbox(**bounds):
            async with delivery:
                await self.work(delivery)
            await self._drive(self._owed())
        await self._drive(self._owed(now=True))

    async def work(self, delivery: AsyncDelivery) -> DecisionRecord | None:
        """Work one delivery, for who receives by other means than `run`; gives what was decided."""
        decided: DecisionRecord | None = await self._drive(self._work(delivery))
        return decided

    async def _drive(self, steps: Round) -> Any:
        resume = partial(next, steps)
        while True:
            try:
                step = resume()
            except StopIteration as end:
                return end.value
            try:
                given = step()
                resume = partial(steps.send, await given if isawaitable(given) else given)
            except AgentError as error:
                resume = partial(steps.throw, error)

    async def __aenter__(self) -> Self:
        await self.agent.__aenter__()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, _: TracebackType | None
    ) -> None:
        await self.agent.__aexit__(kind, error, _)
