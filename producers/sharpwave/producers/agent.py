"""An agent, synchronous on boto3 or asynchronous on aiobotocore.

The methods are the operations of `operations`, run by each surface's driver.
"""

import asyncio
from collections import Counter, deque
from collections.abc import AsyncIterator, Iterator
from contextlib import AsyncExitStack
from types import TracebackType
from typing import Any, Self

import boto3

from sharpwave.producers import connect, operations
from sharpwave.producers.cache import MemoryCache, ReadCache
from sharpwave.producers.call import Identity, Service, log
from sharpwave.producers.dax import DaxCache
from sharpwave.producers.deliveries import AsyncDelivery, Delivery
from sharpwave.producers.drivers import (
    AsyncDriver,
    AsyncSurface,
    Driver,
    Surface,
    async_method,
    method,
)
from sharpwave.producers.errors import AgentError, ExtraMissing
from sharpwave.producers.leases import AsyncRenewals, Renewals
from sharpwave.producers.limiters import AsyncLimiter, Limiter
from sharpwave.producers.operations import receiving
from sharpwave.producers.operations.limits import Limit
from sharpwave.producers.operations.receiving import Inbox, Lease, OnNotice, Polling, Until
from sharpwave.producers.presence import Presence
from sharpwave.schemas.messages import NoticeMessage
from sharpwave.schemas.times import Clock, now
from sharpwave.schemas.tokens import Rate


def _chosen(
    cache: MemoryCache | DaxCache | None, dax_endpoint: str | None
) -> MemoryCache | DaxCache | None:
    if dax_endpoint is None:
        return cache
    if cache is not None:
        raise ValueError("both `cache` and `dax_endpoint` are given; give one of them")
    return DaxCache(dax_endpoint)


def _opened(
    cache: MemoryCache | DaxCache | None, me: Identity, **arguments: Any
) -> ReadCache | None:
    if isinstance(cache, DaxCache):
        return cache.open(me.counters, **arguments)
    return cache.open(me.counters) if cache else None


def _services(me: Identity) -> tuple[Service, ...]:
    return ("dynamodb", "sqs") if me.large_entries is None else ("dynamodb", "sqs", "s3")


class _Known:
    """What both surfaces show of their agent."""

    _subject: Identity
    _inbox: Inbox

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

    def _limit(self, key: str, rate: Rate) -> Limit:
        # One for all who ask for it: each would draw a lease of its own.
        made = Limit(self._subject, key, rate)
        found: Limit = self._subject.limits.setdefault((key, rate), made)
        return found


class Agent(_Known, Surface[Identity]):
    """One agent: what it decides, signals, receives, remembers and knows.

    Safe to use from several threads. Everything it writes is safe to repeat; a write that breaks
    its schema raises `RecordRefused` and sends nothing.

    Example:
        >>> agent = Agent("risk-manager")
        >>> for delivery in agent.inbox():
        ...     with delivery:
        ...         delivery.decide("RISK_ASSESSMENT", context=dict(delivery.data))
    """

    register = method(operations.registration.register)
    agents = method(operations.peers.agents)
    decide = method(operations.decisions.decide)
    choose = method(operations.learnt.choose)
    record_outcome = method(operations.decisions.record_outcome)
    correct_outcome = method(operations.decisions.correct_outcome)
    decision = method(operations.decisions.decision)
    decisions = method(operations.decisions.decisions)
    recent = method(operations.decisions.recent)
    decisions_page = method(operations.decisions.decisions_page)
    chain = method(operations.decisions.chain)
    children = method(operations.lineage.children)
    descendants = method(operations.lineage.descendants)
    due = method(operations.lineage.due)
    decision_view = method(operations.lineage.decision_view)
    signal = method(operations.signals.signal)
    signal_many = method(operations.signals.signal_many)
    signal_status = method(operations.signals.signal_status)
    ask = method(operations.asking.ask)
    answer = method(operations.asking.answer)
    wait_for = method(operations.asking.wait_for)
    get_signals_for_agent = method(operations.signals.get_signals_for_agent)
    remember = method(operations.memory.remember)
    memories = method(operations.memory.memories)
    touch = method(operations.memory.touch)
    forget = method(operations.memory.forget)
    share = method(operations.memory.share)
    unshare = method(operations.memory.unshare)
    grants = method(operations.memory.grants)
    shared_memories = method(operations.memory.shared_memories)
    recall = method(operations.memory.recall)
    episodes = method(operations.memory.episodes)
    analytics = method(operations.analytics.analytics)
    metrics = method(operations.analytics.metrics)
    timings = method(operations.timings.timings)
    patterns = method(operations.memory.patterns)
    state = method(operations.state.state)
    save_state = method(operations.state.save_state)
    update_state = method(operations.state.update_state)
    restore_state = method(operations.state.restore_state)
    checkpoint = method(operations.state.checkpoint)
    checkpoints = method(operations.state.checkpoints)
    backup = method(operations.state.backup)
    backups = method(operations.state.backups)

    def __init__(
        self,
        agent_id: str,
        *,
        prefix: str = "",
        session: boto3.Session | None = None,
        endpoint_url: str | None = None,
        strict: bool = True,
        agent_version: str | None = None,
        on_notice: OnNotice | None = None,
        dax_endpoint: str | None = None,
        cache: MemoryCache | DaxCache | None = None,
        large_entries: str | None = None,
        clock: Clock = now,
    ) -> None:
        """Connect an agent; nothing is sent yet.

        Args:
            agent_id: 1 to 40 of a-z, 0-9 and '-'.
            prefix: what the deployment's table and queue names start with.
            session: a boto3 session; the default one unless given.
            endpoint_url: instead of AWS_ENDPOINT_URL or AWS's own.
            strict: write signals under keys that IAM can bind to this agent.
            agent_version: noted on decisions and state.
            on_notice: called with each notice, such as that a record was refused, from `inbox`.
            dax_endpoint: the same as `cache=DaxCache(dax_endpoint)`.
            cache: where reads of the last day are answered from first: `MemoryCache()`, which is
                this process's own, or `DaxCache("dax://host:8111")`. Such reads may lag behind
                what others wrote by the cache's times, and DAX knows no agent apart.
            large_entries: where memory goes that is too large for a table, such as
                `s3://bucket/prefix`; the same for all who share such entries.
            clock: the time in epoch seconds.

        Raises:
            ValueError: an id, a prefix or a SHARPWAVE_*_DAYS cannot be, or there are two caches.
            NotConfigured: there is no region, and no local endpoint either.
            ExtraMissing: DAX is asked for without its client installed.
        """
        me = Identity(agent_id, prefix, strict, agent_version, clock, large_entries=large_entries)
        with connect.configured():
            arguments = connect.local_defaults(endpoint_url) if session is None else {}
            session = session or boto3.Session()
            # boto3 shows the credentials' session nowhere else.
            core = getattr(session, "_session", None)
            reads = _opened(_chosen(cache, dax_endpoint), me, session=core, **arguments)
            clients: dict[str, Any] = {
                service: session.client(
                    service,  # type: ignore[call-overload]
                    endpoint_url=endpoint_url,
                    config=connect.config(),
                    **arguments,
                )
                for service in _services(me)
            }
        super().__init__(me, Driver(clients, reads, Presence(me)))
        self._inbox = Inbox(me, on_notice)
        self._renewals = Renewals(self._driver)

    def inbox(
        self,
        *,
        wait_s: int = 20,
        limit: int | None = None,
        visibility_timeout_s: int = 60,
        until: Until | None = None,
    ) -> Iterator[Delivery]:
        """Receive signals, one delivery at a time; without bounds this never ends.

        While a delivery is worked it is kept invisible to others. A delivery that was
        acknowledged before is dropped. Leaving the loop gives what was received but not handed
        out back at once; what was handed out and not settled comes again after its timeout.

        Args:
            wait_s: how long one question to the queue waits, 0 to 20. With 0 the loop ends when
                the queue answers with nothing; on AWS such a short poll may overlook messages.
            limit: end after this many deliveries.
            visibility_timeout_s: how long others do not see a message after this agent died.
            until: end at this moment, as epoch seconds or a datetime with a time zone; or when
                this function says True, asked between deliveries and between questions.

        Raises:
            QueueMissing: the agent has no queue.
        """
        polling = Polling(self._subject, wait_s=wait_s, limit=limit, until=until)
        waiting: deque[Lease] = deque()
        try:
            while (ask := polling.next()) is not None:
                waiting += self._driver.run(
                    receiving.receive(self._inbox, ask, visibility_timeout_s)
                )
                polling.answered(len(waiting))
                # All of them: the timeout of those that wait here runs too.
                self._renewals.hold(waiting)
                while waiting and not polling.is_over():
                    received = self._driver.run(receiving.admit(self._inbox, waiting[0]))
                    # Only now: what fails on the way is given back with the rest.
                    waiting.popleft()
                    if received is not None:
                        polling.delivered()
                        yield Delivery(received, self._driver)
                        # A delivery dropped by the caller must not live on in this frame.
                        del received
        finally:
            try:
                self._driver.run(receiving.give_back(list(waiting)))
            except AgentError as error:
                # They come again after their timeout, and the caller has left the loop by now.
                log.warning("give_back_failed: %s", error)

    def limit(self, key: str, *, per_minute: int, burst: int | None = None) -> Limiter:
        """Limit how often something is done by all processes of this agent together.

        Nothing is sent yet. All processes have to name the same numbers.

        Args:
            key: what is limited, such as "openai"; of the agent's own.
            per_minute: tokens that come back in a minute.
            burst: tokens there are at most; as many as come in a minute unless given.

        Raises:
            ValueError: a number is below 1, or the key cannot be.
        """
        return Limiter(self._limit(key, Rate(per_minute, burst or per_minute)), self._driver)

    def close(self) -> None:
        """Write what was counted, stop renewing deliveries and close the connections."""
        try:
            if self._subject.uses:
                self._driver.run(operations.memory.count_the_rest(self._subject))
        finally:
            self._renewals.stop()
            self._driver.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, _: TracebackType | None
    ) -> None:
        self.close()


class AsyncAgent(_Known, AsyncSurface[Identity]):
    """One agent: what it decides, signals, receives, remembers and knows.

    The methods are those of `Agent`, awaited. Use it as `async with AsyncAgent(...) as agent:`.

    Example:
        >>> async with AsyncAgent("risk-manager") as agent:
        ...     async for delivery in agent.inbox():
        ...         async with delivery:
        ...             await delivery.decide("RISK_ASSESSMENT", context=dict(delivery.data))
    """

    register = async_method(operations.registration.register)
    agents = async_method(operations.peers.agents)
    decide = async_method(operations.decisions.decide)
    choose = async_method(operations.learnt.choose)
    record_outcome = async_method(operations.decisions.record_outcome)
    correct_outcome = async_method(operations.decisions.correct_outcome)
    decision = async_method(operations.decisions.decision)
    decisions = async_method(operations.decisions.decisions)
    recent = async_method(operations.decisions.recent)
    decisions_page = async_method(operations.decisions.decisions_page)
    chain = async_method(operations.decisions.chain)
    children = async_method(operations.lineage.children)
    descendants = async_method(operations.lineage.descendants)
    due = async_method(operations.lineage.due)
    decision_view = async_method(operations.lineage.decision_view)
    signal = async_method(operations.signals.signal)
    signal_many = async_method(operations.signals.signal_many)
    signal_status = async_method(operations.signals.signal_status)
    ask = async_method(operations.asking.ask)
    answer = async_method(operations.asking.answer)
    wait_for = async_method(operations.asking.wait_for)
    get_signals_for_agent = async_method(operations.signals.get_signals_for_agent)
    remember = async_method(operations.memory.remember)
    memories = async_method(operations.memory.memories)
    touch = async_method(operations.memory.touch)
    forget = async_method(operations.memory.forget)
    share = async_method(operations.memory.share)
    unshare = async_method(operations.memory.unshare)
    grants = async_method(operations.memory.grants)
    shared_memories = async_method(operations.memory.shared_memories)
    recall = async_method(operations.memory.recall)
    episodes = async_method(operations.memory.episodes)
    analytics = async_method(operations.analytics.analytics)
    metrics = async_method(operations.analytics.metrics)
    timings = async_method(operations.timings.timings)
    patterns = async_method(operations.memory.patterns)
    state = async_method(operations.state.state)
    save_state = async_method(operations.state.save_state)
    update_state = async_method(operations.state.update_state)
    restore_state = async_method(operations.state.restore_state)
    checkpoint = async_method(operations.state.checkpoint)
    checkpoints = async_method(operations.state.checkpoints)
    backup = async_method(operations.state.backup)
    backups = async_method(operations.state.backups)

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
        cache: MemoryCache | DaxCache | None = None,
        large_entries: str | None = None,
        clock: Clock = now,
    ) -> None:
        """Describe an agent; `async with` connects it, or raises `NotConfigured` as `Agent` does.

        The arguments are those of `Agent`, but `session` is one of aiobotocore, and a DAX cluster
        is called from threads. `on_notice` stays a plain function.

        Raises:
            ValueError: an id, a prefix or a SHARPWAVE_*_DAYS cannot be, or there are two caches.
            ExtraMissing: aiobotocore, or the DAX client if it is asked for, is not installed.
        """
        super().__init__(
            Identity(agent_id, prefix, strict, agent_version, clock, large_entries=large_entries)
        )
        with connect.configured():
            self._arguments = connect.local_defaults(endpoint_url) if session is None else {}
        if session is None:
            try:
                from aiobotocore.session import get_session  # type: ignore[import-untyped]
            except ImportError as error:
                raise ExtraMissing("aiobotocore", "async") from error
            session = get_session()
        self._session, self._endpoint_url = session, endpoint_url
        self._cache = _opened(_chosen(cache, dax_endpoint), self._subject, **self._arguments)
        self._inbox = Inbox(self._subject, on_notice)
        self._renewals: AsyncRenewals | None = None
        self._open = AsyncExitStack()

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
                    received = await driver.run(receiving.admit(self._inbox, waiting[0]))
                    # Only now: what fails on the way is given back with the rest.
                    waiting.popleft()
                    if received is not None:
                        polling.delivered()
                        yield AsyncDelivery(received, driver)
                        # A delivery dropped by the caller must not live on in this frame.
                        del received
        finally:
            try:
                await driver.run(receiving.give_back(list(waiting)))
            except AgentError as error:
                log.warning("give_back_failed: %s", error)

    def limit(self, key: str, *, per_minute: int, burst: int | None = None) -> AsyncLimiter:
        """Limit how often something is done by all processes of this agent together.

        The rules and arguments are those of `Agent.limit`.

        Raises:
            ValueError: a number is below 1, or the key cannot be.
        """
        limit = self._limit(key, Rate(per_minute, burst or per_minute))
        return AsyncLimiter(limit, self._driven())

    async def __aenter__(self) -> Self:
        from aiobotocore.config import AioConfig  # type: ignore[import-untyped]

        with connect.configured():
            clients: dict[str, Any] = {
                service: await self._open.enter_async_context(
                    self._session.create_client(
                        service,
                        endpoint_url=self._endpoint_url,
                        config=AioConfig(**connect.config_values()),
                        **self._arguments,
                    )
                )
                for service in _services(self._subject)
            }
        self._driver = AsyncDriver(clients, self._cache, Presence(self._subject))
        self._renewals = AsyncRenewals(self._driver)
        # Ends before the clients do, which were entered first.
        self._open.push_async_callback(self._renewals.stop)
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, _: TracebackType | None
    ) -> None:
        try:
            if self._driver is not None and self._subject.uses:
                await self._driver.run(operations.memory.count_the_rest(self._subject))
        finally:
            await self._open.aclose()
            self._driver = None
            if self._cache is not None:
                await asyncio.to_thread(self._cache.close)
