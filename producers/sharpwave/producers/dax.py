"""Recent reads through a DAX cluster, with DynamoDB behind it whenever the cluster fails."""

import time
from collections import Counter
from collections.abc import Callable
from threading import Lock
from typing import Any

from sharpwave.producers.call import Call, Reply, log
from sharpwave.producers.errors import ExtraMissing

#: Operations DAX answers from memory; a strong read would only pass through it.
_CACHED = frozenset({"get_item", "batch_get_item", "query"})
_FAILURES_TO_OPEN, _OPEN_S = 3, 5.0


class DaxRoute:
    """Where recent, eventually consistent reads go first.

    After 3 failures in a row the cluster is left alone for 5 s. `dax_reads` and `dax_fallbacks`
    are counted.
    """

    def __init__(
        self,
        connect: Callable[[], Any],
        counters: Counter[str],
        *,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """Call `connect` for a client on the first read, not before, nor before a fork."""
        self._connect, self._counters, self._clock = connect, counters, clock
        self._client: Any = None
        self._lock = Lock()
        self._failures = 0
        self._open_until = 0.0

    def accepts(self, call: Call) -> bool:
        """Say whether a call may be answered from the cache."""
        is_read = call.recent and call.operation in _CACHED
        return is_read and not call.params.get("ConsistentRead")

    def read(self, call: Call) -> Reply | None:
        """Answer from DAX, or give None where DynamoDB is to be asked."""
        # A cluster that hangs costs its timeout at each read, so it is not asked for a while.
        if self._clock() < self._open_until:
            self._counters["dax_fallbacks"] += 1
            return None
        try:
            with self._lock:
                if self._client is None:
                    self._client = self._connect()
            reply: Reply = getattr(self._client, call.operation)(**call.params)
        # The client raises bare socket and decoding errors beside its own, and whatever it
        # raises: DynamoDB can answer.
        except Exception as error:
            self._counters["dax_fallbacks"] += 1
            self._failures += 1
            if self._failures >= _FAILURES_TO_OPEN:
                self._open_until, self._failures = self._clock() + _OPEN_S, 0
            log.warning("dax_fallback: %s: %r", call.target, error)
            return None
        self._failures = 0
        self._counters["dax_reads"] += 1
        return reply

    def close(self) -> None:
        """Close the cluster's connections."""
        if self._client is not None:
            self._client.close()


def connector(endpoint: str, **arguments: Any) -> Callable[[], Any]:
    """Give a function that opens a client of the cluster at `endpoint`.

    Raises:
        ExtraMissing: the DAX client is not installed.
    """
    try:
        from amazondax import AmazonDaxClient  # type: ignore[import-untyped]
    except ImportError as error:
        raise ExtraMissing("the DAX client", "dax") from error
    return lambda: AmazonDaxClient(endpoint_url=endpoint, **arguments)
