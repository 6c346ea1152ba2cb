"""How many AWS calls a process made, by operation."""

from collections import Counter
from threading import Lock
from typing import Any


class CallMeter:
    """Counts the calls of botocore clients; safe to share between threads."""

    def __init__(self) -> None:
        """Start at nothing."""
        self._counts: Counter[str] = Counter()
        self._lock = Lock()

    def watch(self, client: Any) -> Any:
        """Count a client's calls from now on; gives the client back."""
        client.meta.events.register("before-call", self._count)
        return client

    def snapshot(self) -> dict[str, int]:
        """Give the calls so far, by operation."""
        with self._lock:
            return dict(self._counts)

    def _count(self, model: Any, **_: Any) -> None:
        with self._lock:
            self._counts[f"{model.service_model.service_name}.{model.name}"] += 1
