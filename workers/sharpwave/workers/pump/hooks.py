"""What a pump tells its surroundings."""

import os
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from sharpwave.schemas import keys
from sharpwave.workers.meter import Meter
from sharpwave.workers.presence import show_presence
from sharpwave.workers.work.outgoing import StreamRecord


@dataclass(frozen=True, slots=True)
class Progress:
    """How far one table is; sent only after a whole pass over its shards.

    Attributes:
        table: logical table name.
        records: records handed on since the start.
        open_shards: shards being read.
        failing_shards: those of them whose last read or send failed.
        lag_s: age of the oldest change that may not be handed on yet, in
            seconds. DynamoDB gives creation times in whole seconds, and an
            empty page counts as having caught up.
        at: when this was measured, epoch seconds.
    """

    table: str
    records: int
    open_shards: int
    failing_shards: int
    lag_s: float
    at: float


def ignore_progress(progress: Progress) -> None:
    """Do nothing."""


def show_progress(progress: Progress, *, client: Any, meter: Meter, prefix: str) -> None:
    """Write the row by which operators see that the pump of a table is alive, and how far."""
    show_presence(
        client,
        keys.pump_presence(progress.table),
        meter,
        prefix=prefix,
        records=progress.records,
        open_shards=progress.open_shards,
        failing_shards=progress.failing_shards,
        lag_s=progress.lag_s,
        at=int(progress.at),
        pid=os.getpid(),
    )


@dataclass(frozen=True, slots=True)
class Hooks:
    """Callbacks of a pump, called from the thread of the table they concern.

    The first two guard against loss: when one raises, the pump does not move
    on but calls it again, so both must be safe to repeat.

    Attributes:
        on_trimmed: (table, shard id) of records lost unread; makes a reconcile request.
        on_unroutable: (table, record, error) of a record the router fails on; parks it.
        on_progress: a sign of life every few seconds.
    """

    on_trimmed: Callable[[str, str], None]
    on_unroutable: Callable[[str, StreamRecord, Exception], None]
    on_progress: Callable[[Progress], None] = ignore_progress
