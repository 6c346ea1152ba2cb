"""Waiting for what other threads and processes do."""

import time
from collections.abc import Callable
from threading import Event
from typing import TypeVar

T = TypeVar("T")

PATIENCE_S = 20.0


def eventually(holds: Callable[[], T], what: str, *, within_s: float = PATIENCE_S) -> T:
    """Wait until something holds, and give it; fail with `what` it was if it does not in time."""
    deadline = time.monotonic() + within_s
    while not (found := holds()):
        assert time.monotonic() < deadline, f"not within {within_s:g} s: {what}"
        # Some tests replace `time.sleep`.
        Event().wait(0.005)
    return found
