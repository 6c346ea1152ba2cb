"""Which received messages must be kept invisible, and when."""

import time
from collections.abc import Callable, Iterable
from weakref import ref

from sharpwave.producers.operations.receiving import MOST_AT_ONCE, Received


class Leases:
    """The messages in an agent's hands; each is renewed at half its visibility timeout.

    Messages are held weakly: a delivery that was dropped unsettled is no longer renewed, and the
    queue hands it out again. Not safe for threads by itself.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        """Measure time, in seconds, by `clock`."""
        self._clock = clock
        self._due: list[tuple[float, ref[Received]]] = []

    def hold(self, received: Iterable[Received]) -> None:
        """Take charge of messages received just now."""
        now = self._clock()
        self._due += [(now + one.visibility_timeout_s / 2, ref(one)) for one in received]

    def wait_s(self) -> float | None:
        """Say how long nothing is to be done, at least 0; None if nothing is held."""
        self._due = [(at, one) for at, one in self._due if (alive := one()) and alive.held]
        return max(0.0, min(at for at, _ in self._due) - self._clock()) if self._due else None

    def take_due(self) -> list[Received]:
        """Take what is to be renewed now, at most as many as one request renews."""
        now, taken, left = self._clock(), list[Received](), list[tuple[float, ref[Received]]]()
        for at, one in self._due:
            received = one()
            if received is None or not received.held:
                continue
            fits = len(taken) < MOST_AT_ONCE and (not taken or taken[0].url == received.url)
            if at <= now and fits:
                taken.append(received)
            else:
                left.append((at, one))
        self._due = left
        return taken

    def retry(self, received: Iterable[Received]) -> None:
        """Try a renewal that failed again soon."""
        now = self._clock()
        self._due += [(now + one.visibility_timeout_s / 8, ref(one)) for one in received]
