"""The asynchronous surface of an agent, on aiobotocore."""

from collections import Counter, deque
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from types import TracebackType
from typing import Any, Self

from sharpwave.producers import connect, operations
from sharpwave.producers.call import Identity, log
from sharpwave.producers.dax import DaxRoute, connector
from sharpwave.producers.deliveries import AsyncDelivery
from sharpwave.producers.drivers import AsyncDriver, AsyncSurface, async_method
from sharpwave.producers.errors import AgentError, ExtraMissing
from sharpwave.producers.leases import AsyncRenewals
from sharpwave.producers.operations import receiving
from sharpwave.producers.operations.receiving import Inbox, Lease, OnNotice, Polling, Until
from sharpwave.schemas.messages import NoticeMessage
from sharpwave.schemas.times import Clock, now


class AsyncAgent(AsyncSurface[Identity]):
    """One agent: what it decides, signals, receives, remembers and knows.

    The methods are those of `Agent`, awaited. Use it as `async with AsyncAgent(...) as agent:`.

    Example:
        >>> async with AsyncAgent("risk-manager") as agent:
        ...     async for delivery in agent.inbox():
        ...         async with delivery:
        ...             await delivery.decide("RISK_ASSESSMENT", context=dict(delivery.data))
    """

    register = async_method(operations.registration.register)
    decide = async_method(operations.decisions.decide)
    record_outcome = async_method(operations.decisions.record_outcome)
    correct_outcome = async_method(operations.decisions.correct_outcome)
    decision = async_method(operations.decisions.decision)
    decisions = async_method(operations.decisions.decisions)
    recent = async_method(operations.decisions.recent)
    chain = async_method(operations.decisions.chain)
    signal = async_method(operations.signals.signal)
    signal_many = async_method(operations.signals.signal_many)
    signal_status = async_method(operations.signals.signal_status)
    get_signals_for_agent = async_method(operations.signals.get_signals_for_agent)
    remember = async_method(operations.memory.remember)
    memories = async_method(operations.memory.memories)
    touch = async_method(operations.memory.touch)
    recall = async_method(operations.memory.recall)
    episodes = async_method(operations.memory.episodes)
    patterns = async_method(operations.memory.patterns)
    state = async_method(operations.state.state)
    save_state = async_method(operations.state.save_state)
    checkpoint = async_method(operations.state.checkpoint)
    checkpoints = async_method(operations.state.checkpoints)

    def __init__(
        self,
        agent_id: str,
        *,
        prefix: str = "",
        session: Any = None,
        endpoint_url: str | None = None,
        strict: bool = True,
        agent_version: str | None = None,
        on_notice: OnNotice | None = None,
        dax_endpoint: str | None = None,
        clock: Clock = now,
    ) -> None:
        """Describe an agent; `async with` connects it, or raises `NotConfigured` as `Agent` does.

        The arguments are those of `Agent`.

        Args:
            agent_id: 1 to 40 of a-z, 0-9 and '-'.
            prefix: what the deployment's table and queue names start with.
            session: an aiobotocore session; the default one unless given.
            endpoint_url: instead of AWS_ENDPOINT_URL or AWS's own.
            strict: write signals under keys that IAM can bind to this agent.
            agent_version: noted on decisions and state.
            on_notice: a plain function called with each notice, from `inbox`.
            dax_endpoint: a DAX cluster for reads of the last day, called from threads.
            clock: the time in epoch seconds.

        Raises:
            ValueError: an id or prefix cannot be.
            ExtraMissing: aiobotocore, or the DAX client if it is asked for, is not installed.
        """
        super().__init__(Identity(agent_id, prefix, strict, agent_version, clock))
        with connect.configured():
            self._arguments = connect.local_defaults(endpoint_url) if session is None else {}
        self._session, self._endpoint_url = session or _session(), endpoint_url
        self._dax = None
        if dax_endpoint is not None:
            opener = connector(dax_endpoint, **self._arguments)
            self._dax = DaxRoute(opener, self._subject.counters)
        self._inbox = Inbox(self._subject, on_notice)
        self._renewals: AsyncRenewals | None = None
        self._open = AsyncExitStack()

    @property
    def agent_id(self) -> str:
        """Name the agent."""
        return self._subject.agent_id

    @property
    def counters(self) -> Counter[str]:
        """Count what was dropped or taken from elsewhere; see `Identity`."""
        return self._subject.counters

    @property
    def notices(self) -> deque[NoticeMessage]:
        """Give the last 100 notices that `inbox` received."""
        return self._inbox.notices

    async def inbox(
        self,
        *,
        wait_s: int = 20,
        limit: int | None = None,
        visibility_timeout_s: int = 60,
        until: Until | None = None,
    ) -> AsyncIterator[AsyncDelivery]:
        """Receive signals, one delivery at a time; without bounds this never ends.

        The rules and arguments are those of `Agent.inbox`. To leave the loop early and give the
        rest back at once, wrap it in `contextlib.aclosing`.

        Raises:
            QueueMissing: the agent has no queue.
        """
        driver, renewals = self._driven(), self._renewals
        assert renewals is not None
        polling = Polling(self._subject, wait_s=wait_s, limit=limit, until=until)
        waiting: deque[Lease] = deque()
        try:
            while (ask := polling.next()) is not None:
                waiting += await driver.run(
                    receiving.receive(self._inbox, ask, visibility_timeout_s)
                )
                polling.answered(len(waiting))
                renewals.hold(waiting)
                while waiting and not polling.is_over():
                    delivery = await self._admit(waiting)
                    if delivery is not None:
                        polling.delivered()
                        yield delivery
                        # A delivery dropped by the caller must not live on in this frame.
                        del delivery
        finally:
            await self._give_back(waiting)

    async def __aenter__(self) -> Self:
        with connect.configured():
            clients = {
                service: await self._open.enter_async_context(
                    self._session.create_client(
                        service,
                        endpoint_url=self._endpoint_url,
                        config=_config(),
                        **self._arguments,
                    )
                )
                for service in ("dynamodb", "sqs")
            }
        self._driver = AsyncDriver(clients, self._dax)
        self._renewals = AsyncRenewals(self._driver)
        self._open.push_async_callback(self._renewals.stop)
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, _: TracebackType | None
    ) -> None:
        await self._open.aclose()
        self._driver = None
        if self._dax is not None:
            self._dax.close()

    async def _admit(self, waiting: deque[Lease]) -> AsyncDelivery | None:
        driver = self._driven()
        received = await driver.run(receiving.admit(self._inbox, waiting[0]))
        # Only now: what fails on the way is given back with the rest.
        waiting.popleft()
        return AsyncDelivery(received, driver) if received else None

    async def _give_back(self, waiting: deque[Lease]) -> None:
        try:
            await self._driven().run(receiving.give_back(list(waiting)))
        except AgentError as error:
            log.warning("give_back_failed: %s", error)


def _session() -> Any:
    try:
        from aiobotocore.session import get_session  # type: ignore[import-untyped]
    except ImportError as error:
        raise ExtraMissing("aiobotocore", "async") from error
    return get_session()


def _config() -> Any:
    from aiobotocore.config import AioConfig  # type: ignore[import-untyped]

    return AioConfig(**connect.config_values())
