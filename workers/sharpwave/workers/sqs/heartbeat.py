"""Keeps held messages hidden for as long as this process is alive."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Collection, Sequence

from sharpwave.workers.sqs.held import Held, HeldSet
from sharpwave.workers.sqs.lane import Refusal
from sharpwave.workers.sqs.metrics import Metrics
from sharpwave.workers.sqs.portions import portions

log = logging.getLogger(__name__)


class Heartbeat:
    """Extends the visibility of running, waiting and settling messages at half time.

    A short visibility with a heartbeat gives a dead worker's messages back soon
    and still allows long tasks.

    Args:
        held: the messages to keep.
        extend: hides up to ten messages for another `visibility_s`.
        given_back: repeats the return of a message that was given back while an
            extension of it was under way, as that would have hidden it again.
        recall: takes back messages that have waited for a thread for a whole visibility timeout:
            another process may have one free.
        visibility_s: the visibility timeout, in seconds.
    """

    def __init__(
        self,
        held: HeldSet,
        *,
        extend: Callable[[Sequence[Held]], Sequence[Refusal]],
        given_back: Callable[[Held], None],
        visibility_s: float,
        metrics: Metrics,
        recall: Callable[[Collection[Held]], None] = lambda _: None,
    ) -> None:
        self._held = held
        self._recall = recall
        self._extend = extend
        self._given_back = given_back
        self._visibility_s = visibility_s
        self._metrics = metrics
        self._stopping = threading.Event()
        self._thread: threading.Thread | None = None

    def start(self, name: str) -> None:
        """Start beating, once."""
        if self._thread is None:
            thread = threading.Thread(target=self._run, name=name, daemon=True)
            thread.start()
            # Only now: where no thread can be started, the next receive tries again.
            self._thread = thread

    def stop(self) -> None:
        """Stop beating; does not wait for a call under way."""
        self._stopping.set()

    def beat(self) -> None:
        """Extend every message that is due, and take back what waits too long."""
        now = time.monotonic()
        waiting = {held for held in list(self._held.active) if self._waits_too_long(held, now)}
        if waiting:
            self._recall(waiting)
        due = [held for held in self._held.everything() if _is_due(held, now)]
        for batch in portions(due, size=lambda _: 0):
            refused = {refusal.held: refusal for refusal in self._extend(batch)}
            self._metrics.add(heartbeats=1, kept_hidden=len(batch) - len(refused))
            for held in batch:
                self._note(held, refused.get(held))

    def _waits_too_long(self, held: Held, now: float) -> bool:
        is_waiting = held.began_at is None and held.visibility_s is None
        return is_waiting and now - held.received_at >= self._visibility_s

    def _note(self, held: Held, refusal: Refusal | None) -> None:
        now = time.monotonic()
        if refusal is None:
            held.extend_at = now + self._visibility_s / 2
        elif refusal.is_final:
            held.is_lost = True
            self._metrics.add(handles_lost=1)
            log.warning("handle lost", extra={"sqs_id": held.sqs_id, "code": refusal.code})
        if held.visibility_s is not None:
            self._given_back(held)

    def _run(self) -> None:
        tick_s = min(5.0, max(0.02, self._visibility_s / 8))
        while not self._stopping.wait(tick_s):
            try:
                self.beat()
            except Exception:
                log.exception("heartbeat failed")


def _is_due(held: Held, now: float) -> bool:
    is_kept = held.visibility_s is None and not held.is_lost
    return is_kept and held.extend_at <= now < held.heartbeat_until
