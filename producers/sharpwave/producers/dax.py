"""Recent reads through a DAX cluster, with DynamoDB behind it whenever the cluster fails."""

import os
import time
import weakref
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from threading import Event, Lock, Thread
from typing import Any

from sharpwave.producers.cache import (
    ITEM_TTL_S,
    Expiring,
    ItemKey,
    MonotonicClock,
    is_cached_read,
    item_key,
    key_of,
    keys_read,
    written,
)
from sharpwave.producers.call import Call, Reply, log
from sharpwave.producers.errors import ExtraMissing

_FAILURES_TO_OPEN, _OPEN_S = 3, 5.0
#: What one answer of the cluster may take, and what the first read waits for its connections.
_PATIENCE_S = 1.0
_OWN_WRITES = 10_000


@dataclass(frozen=True)
class DaxCache:
    """Read recent records through a DAX cluster; a setting of `Agent(cache=...)`.

    Args:
        endpoint: the cluster, as dax://host:8111, or daxs://host:9111 for TLS. Only certificates
            that this machine trusts count; SSL_CERT_FILE names others.
        ttl_s: the cluster's `record-ttl-millis`, in seconds: for so long what this agent wrote is
            read beside the cluster, which does not know of it.
        patience_s: how long one answer may take before DynamoDB is asked instead, in seconds.
        clock: monotonic seconds.
    """

    endpoint: str
    ttl_s: float = ITEM_TTL_S
    patience_s: float = _PATIENCE_S
    clock: MonotonicClock = time.monotonic

    def open(self, counters: Counter[str], *, session: Any = None, **arguments: Any) -> "DaxRoute":
        """Make the route; nothing is connected yet.

        Raises:
            ExtraMissing: the DAX client is not installed.
        """
        connect = connector(self.endpoint, patience_s=self.patience_s, session=session, **arguments)
        return DaxRoute(
            connect, counters, clock=self.clock, ttl_s=self.ttl_s, patience_s=self.patience_s
        )


class DaxRoute:
    """Where recent, eventually consistent reads go first.

    After 3 failures in a row the cluster is left alone for 5 s, then one read tries it with new
    connections. `dax_reads`, `dax_fallbacks` and `dax_opened` are counted.
    """

    waits = True
    moment = 0

    def __init__(
        self,
        connect: Callable[[], Any],
        counters: Counter[str],
        *,
        clock: MonotonicClock = time.monotonic,
        ttl_s: float = ITEM_TTL_S,
        patience_s: float = _PATIENCE_S,
    ) -> None:
        """Call `connect` for a client on the first read, not before, and again after a fork."""
        self._connect, self._counters, self._clock = connect, counters, clock
        self._patience_s = patience_s
        self._own: Expiring[ItemKey, bool] = Expiring(ttl_s, _OWN_WRITES, clock)
        self._forget()
        _routes.add(self)

    def _forget(self) -> None:
        self._lock = Lock()
        self._client: Any = None
        self._connecting: _Connecting | None = None
        self._failures = 0
        self._open_until: float | None = None

    def accepts(self, call: Call) -> bool:
        """Say whether a call may be answered from the cluster."""
        if not is_cached_read(call):
            return False
        # Agents write beside the cluster, so that it would give this one's own writes late.
        return all(self._own.get(item_key(*key)) is None for key in keys_read(call))

    def read(self, call: Call) -> Reply | None:
        """Answer from DAX, or give None where DynamoDB is to be asked."""
        client = self._borrow(call.target)
        if client is None:
            self._counters["dax_fallbacks"] += 1
            return None
        try:
            reply: Reply = getattr(client, call.operation)(**call.params)
        # The client raises bare socket and decoding errors beside its own, and whatever it
        # raises: DynamoDB can answer.
        except Exception as error:
            self._counters["dax_fallbacks"] += 1
            self._failed(call.target, error)
            return None
        with self._lock:
            self._failures, self._open_until = 0, None
            self._counters["dax_reads"] += 1
        return reply

    def learn(self, call: Call, reply: Reply, began: int) -> None:
        """Note which items this agent wrote."""
        if call.service == "dynamodb":
            for table, key, _ in written(call.operation, call.params, reply, key_of):
                self._own.write(item_key(table, key), True)

    def close(self) -> None:
        """Close the cluster's connections, without waiting longer than for an answer."""
        with self._lock:
            client, self._client = self._client, None
            connecting, self._connecting = self._connecting, None
        if client is not None:
            _in_background(client.close).join(self._patience_s)
        if connecting is not None:
            _in_background(connecting.discard)

    def _borrow(self, what: str) -> Any:
        """Give a connected client, unless the cluster is left alone or only being reached."""
        with self._lock:
            if self._open_until is not None:
                if self._clock() < self._open_until:
                    return None
                # Who comes first tries it; the others need not wait for a cluster that hangs.
                self._open_until = self._clock() + _OPEN_S
            if self._client is not None:
                return self._client
            is_first = self._connecting is None
            connecting = self._connecting = self._connecting or _Connecting(self._connect)
        if is_first:
            connecting.done.wait(self._patience_s)
        if not connecting.done.is_set():
            return None
        with self._lock:
            is_news = self._connecting is connecting
            if is_news:
                self._connecting, self._client = None, connecting.client
            client = self._client
        if is_news and connecting.error is not None:
            self._failed(f"connect, then {what}", connecting.error)
        return client

    def _failed(self, target: str, error: Exception) -> None:
        with self._lock:
            self._failures += 1
            given_up = None
            if self._failures >= _FAILURES_TO_OPEN or self._open_until is not None:
                self._counters["dax_opened"] += 1
                self._open_until, self._failures = self._clock() + _OPEN_S, 0
                # Its pool holds dead connections, and its view of the nodes may be an old one.
                given_up, self._client = self._client, None
        log.warning("dax_fallback: %s: %r", target, error)
        if given_up is not None:
            _in_background(given_up.close)


class _Connecting:
    """A client being connected in a thread of its own, for a cluster may hang."""

    def __init__(self, connect: Callable[[], Any]) -> None:
        self._connect = connect
        self.client: Any = None
        self.error: Exception | None = None
        self.done = Event()
        _in_background(self._run)

    def discard(self) -> None:
        """Close what was connected, once it is."""
        self.done.wait()
        if self.client is not None:
            self.client.close()

    def _run(self) -> None:
        try:
            self.client = self._connect()
        except Exception as error:
            self.error = error
        finally:
            self.done.set()


def _in_background(work: Callable[[], None]) -> Thread:
    """Do what a cluster that hangs would delay."""
    thread = Thread(target=work, name="dax", daemon=True)
    thread.start()
    return thread


#: Threads do not survive a fork, and two processes must not share a connection.
_routes: "weakref.WeakSet[DaxRoute]" = weakref.WeakSet()


def _after_fork() -> None:
    for route in list(_routes):
        route._forget()


os.register_at_fork(after_in_child=_after_fork)


def connector(
    endpoint: str, *, patience_s: float = _PATIENCE_S, **arguments: Any
) -> Callable[[], Any]:
    """Give a function that opens a client of the cluster at `endpoint`.

    Raises:
        ExtraMissing: the DAX client is not installed.
    """
    try:
        from amazondax import AmazonDaxClient  # type: ignore[import-untyped]
    except ImportError as error:
        raise ExtraMissing("the DAX client", "dax") from error
    from botocore.config import Config

    # Who fails is not asked again: DynamoDB answers sooner.
    config = Config(
        connect_timeout=patience_s, read_timeout=patience_s, retries={"max_attempts": 0}
    )
    return lambda: AmazonDaxClient(endpoint_url=endpoint, config=config, **arguments)
