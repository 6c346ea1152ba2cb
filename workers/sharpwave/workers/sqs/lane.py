"""A lane gathers messages into batches of ten and settles them in the background."""

from __future__ import annotations

import heapq
import itertools
import logging
import random
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from queue import Empty, SimpleQueue

from sharpwave.workers.sqs.held import Held

log = logging.getLogger(__name__)

_BATCH = 10
_FIRST_RETRY_S = 0.05
_LAST_RETRY_S = 5.0


@dataclass(frozen=True, slots=True)
class Refusal:
    """SQS did not do what was asked for one message.

    Attributes:
        is_final: asking again cannot help.
    """

    held: Held
    code: str
    is_final: bool


Call = Callable[[Sequence[Held]], Sequence[Refusal]]


@dataclass(frozen=True, slots=True, kw_only=True)
class LaneOptions:
    """How a lane trades latency for calls.

    Attributes:
        linger_s: longest wait for a batch to fill.
        most_calls: most calls under way at once.
        attempts: tries per message where nothing else ends them; retries back off up to 5 s
            with full jitter.
    """

    linger_s: float = 0.025
    most_calls: int = 16
    attempts: int = 10


class Lane:
    """Runs one batch call for whatever is put on it.

    One thread at a time gathers a batch and then lets the next gather while it
    waits for SQS, so batches stay full however many calls are under way.

    Args:
        name: names the threads and the log lines.
        call: sends one batch of at most ten and returns what was refused.
        done: gets the messages SQS accepted.
        gave_up: gets each message that was refused for good, with the code.
        lives: says whether another try can still help, instead of the number of tries.
    """

    def __init__(
        self,
        name: str,
        *,
        call: Call,
        done: Callable[[Sequence[Held]], None],
        gave_up: Callable[[Held, str], None],
        retried: Callable[[int], None],
        lives: Callable[[Held], bool] | None = None,
        options: LaneOptions | None = None,
    ) -> None:
        self._name = name
        self._call, self._done, self._gave_up, self._retried = call, done, gave_up, retried
        self._options = options or LaneOptions()
        self._lives = lives or (lambda held: held.attempts < self._options.attempts)
        self._items: SimpleQueue[Held | None] = SimpleQueue()
        self._later: list[tuple[float, int, Held]] = []
        self._order = itertools.count()
        self._lock = threading.Lock()
        self._gathering = threading.Lock()
        self._threads = 0
        self._idle = 0
        self._is_closed = False

    def put(self, held: Held) -> None:
        """Add a message; never blocks and never fails."""
        self._items.put(held)
        if not self._threads:
            self._grow()

    def close(self) -> None:
        """End the threads as soon as they are idle; what is still queued is dropped."""
        self._is_closed = True
        self._items.put(None)

    def _grow(self) -> None:
        with self._lock:
            if self._idle or self._threads >= self._options.most_calls:
                return
            self._threads += 1
            self._idle += 1
            number = self._threads
        name = f"{self._name}-{number}"
        try:
            threading.Thread(target=self._run, name=name, daemon=True).start()
        except RuntimeError:
            # The machine has no thread left: those that run go on, and the next message asks again.
            log.exception("no thread", extra={"lane": self._name})
            with self._lock:
                self._threads -= 1
                self._idle -= 1

    def _run(self) -> None:
        while batch := self._next():
            self._grow()
            refusals = self._attempt(batch)
            refused = {refusal.held for refusal in refusals}
            try:
                self._done([held for held in batch if held not in refused])
                self._handle(refusals)
            except Exception:
                # A lane that dies would leave every later message unsettled.
                log.exception("lane failed", extra={"lane": self._name})
            with self._lock:
                self._idle += 1
        self._items.put(None)

    def _attempt(self, batch: Sequence[Held]) -> Sequence[Refusal]:
        try:
            return self._call(batch)
        except Exception:
            log.exception("lane call failed", extra={"lane": self._name})
            return [Refusal(held, "Unexpected", is_final=False) for held in batch]

    def _next(self) -> list[Held]:
        with self._gathering:
            batch = self._gather()
        with self._lock:
            self._idle -= 1
        return batch

    def _gather(self) -> list[Held]:
        """Return one to ten messages; none once the lane is closed."""
        batch: list[Held] = []
        until: float | None = None
        while len(batch) < _BATCH and not self._is_closed:
            if self._later:
                self._take_due(batch)
                if len(batch) == _BATCH:
                    break
            try:
                held = self._items.get(timeout=self._patience_s(batch, until))
            except Empty:
                if batch:
                    break
                continue
            if held is not None:
                until = until or time.monotonic() + self._options.linger_s
                batch.append(held)
        return batch

    def _patience_s(self, batch: list[Held], until: float | None) -> float | None:
        now = time.monotonic()
        if batch:
            return max(0.0, (until or now) - now)
        with self._lock:
            return max(0.0, self._later[0][0] - now) if self._later else None

    def _take_due(self, batch: list[Held]) -> None:
        now = time.monotonic()
        with self._lock:
            while self._later and len(batch) < _BATCH and self._later[0][0] <= now:
                batch.append(heapq.heappop(self._later)[2])

    def _handle(self, refusals: Sequence[Refusal]) -> None:
        if not refusals:
            return
        self._retried(len(refusals))
        now = time.monotonic()
        for refusal in refusals:
            held = refusal.held
            held.attempts += 1
            if refusal.is_final or not self._lives(held):
                self._gave_up(held, refusal.code)
                continue
            most_s = min(_LAST_RETRY_S, _FIRST_RETRY_S * 2 ** min(held.attempts, 10))
            with self._lock:
                entry = (now + random.uniform(0, most_s), next(self._order), held)
                heapq.heappush(self._later, entry)
        self._items.put(None)
