"""Pollers: one while a queue is idle, more while it answers with full batches."""

from __future__ import annotations

import logging
import random
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from sharpwave.workers.sqs.channel import Channel
from sharpwave.workers.sqs.slots import Reserved

log = logging.getLogger(__name__)

_BATCH = 10
_WORTHWHILE = 5
_IMMEDIATE_S = 0.25
_SPARE_PATIENCE_S = 0.5
_EMPTY_REST_S = 0.05
_ERROR_REST_S = 0.1
_LONGEST_REST_S = 10.0

Arrived = Callable[[Sequence[Mapping[str, Any]]], None]


@dataclass(frozen=True, slots=True, kw_only=True)
class ReceiveOptions:
    """How a queue is polled.

    Attributes:
        max_pollers: most receives under way at once.
        wait_s: long poll of the one idle poller; 20 s is SQS's most and cheapest.
        spare_wait_s: long poll of further pollers, which leave when it brings nothing.
    """

    max_pollers: int = 10
    wait_s: int = 20
    spare_wait_s: int = 1


class Receiver:
    """Polls one queue until stopped; an error never leaves it.

    Args:
        channel: the queue.
        arrived: admits messages; called on poller threads, also after `stop`, when
            a long poll that was under way still brings some.
    """

    def __init__(self, channel: Channel, *, arrived: Arrived, options: ReceiveOptions) -> None:
        self._channel = channel
        self._arrived = arrived
        self._options = options
        self._stopping = threading.Event()
        self._lock = threading.Lock()
        self._pollers = 0

    @property
    def pollers(self) -> int:
        """Return how many pollers there are now."""
        return self._pollers

    def start(self) -> None:
        """Start the first poller.

        Raises:
            RuntimeError: the machine has no thread left; Dramatiq makes another consumer.
        """
        self._add(is_spare=False)

    def stop(self) -> None:
        """Start no further receive; returns at once.

        A long poll under way is abandoned, not awaited.
        """
        self._stopping.set()
        self._channel.slots.wake()

    def _add(self, *, is_spare: bool) -> None:
        with self._lock:
            if self._pollers >= self._options.max_pollers or self._stopping.is_set():
                return
            self._pollers += 1
        name = f"poll-{self._channel.queue.name}-{self._pollers}"
        try:
            threading.Thread(target=self._run, args=(is_spare,), name=name, daemon=True).start()
        except RuntimeError:
            with self._lock:
                self._pollers -= 1
            if not is_spare:
                raise
            # The poller that asked for help must go on: it may be the only one.
            log.exception("no thread", extra={"queue": self._channel.queue.name})

    def _run(self, is_spare: bool) -> None:
        patience_s = _SPARE_PATIENCE_S if is_spare else None
        lean = errors = 0
        slots = self._channel.slots
        while (reserved := slots.take(self._stopping, most=_BATCH, patience_s=patience_s)).count:
            asked = reserved.count
            received = self._poll(reserved, is_spare)
            if received is None:
                errors += 1
                self._rest(errors)
                continue
            errors = 0
            lean = lean + 1 if received * 3 < asked else 0
            if is_spare and (not received or lean > 1):
                break
            if received == asked >= _WORTHWHILE and self._channel.slots.has_room():
                self._add(is_spare=True)
        with self._lock:
            self._pollers -= 1

    def _poll(self, reserved: Reserved, is_spare: bool) -> int | None:
        """Receive once; return how many messages came, None after an error."""
        received = 0
        began = time.monotonic()
        wait_s = self._options.spare_wait_s if is_spare else self._options.wait_s
        if reserved.is_promised:
            # Slots that other queues could use are not kept for the length of a long poll.
            wait_s = 0
        try:
            messages = self._channel.receive(reserved.count, wait_s)
            took_s = time.monotonic() - began
            received = len(messages)
            self._count(received, took_s)
            if messages:
                self._arrived(messages)
            elif took_s < wait_s / 2:
                self._stopping.wait(_EMPTY_REST_S)
            return received
        except Exception as error:
            self._channel.metrics.add(receive_errors=1)
            log.warning(
                "receive failed", extra={"queue": self._channel.queue.name, "error": str(error)}
            )
            return None
        finally:
            self._channel.slots.give_back(reserved, received=received)

    def _count(self, received: int, took_s: float) -> None:
        self._channel.metrics.add(receives=1, received=received, empty_receives=not received)
        if received and took_s < _IMMEDIATE_S:
            self._channel.pace.received(took_s)

    def _rest(self, errors: int) -> None:
        most_s = min(_LONGEST_REST_S, _ERROR_REST_S * 2 ** min(errors, 10))
        self._stopping.wait(random.uniform(0, most_s))
