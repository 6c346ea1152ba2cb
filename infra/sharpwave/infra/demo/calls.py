"""Counts the AWS calls of a session's clients."""

import threading
from collections import Counter
from typing import Any, Protocol


class Events(Protocol):
    """The event emitter of a boto3 session."""

    def register(self, event_name: str, handler: Any) -> Any:
        """Call `handler` at every event of that name or below it."""


class CallCounter:
    """Counts calls by operation, such as `dynamodb.PutItem`; safe from several threads.

    A client copies its session's handlers when it is made: watch the session first.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._calls: Counter[str] = Counter()

    def watch(self, events: Events) -> None:
        """Count from now on what clients yet to be made with these events call."""
        events.register("before-call", self._count)

    @property
    def total(self) -> int:
        """Count every call; a retry inside botocore belongs to its call."""
        with self._lock:
            return self._calls.total()

    def by_operation(self) -> dict[str, int]:
        """Give the calls of each operation, most frequent first."""
        with self._lock:
            return dict(self._calls.most_common())

    def _count(self, event_name: str, **_: Any) -> None:
        with self._lock:
            self._calls[event_name.removeprefix("before-call.")] += 1
