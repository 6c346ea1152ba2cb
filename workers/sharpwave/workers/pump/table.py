"""The pump of one table: read a page, route it, send it, note the position."""

import logging
import threading
import time
from collections.abc import Callable, Sequence
from datetime import datetime
from typing import Any, Protocol

from sharpwave.workers.pump.checkpoints import TRIM_HORIZON, Bookmarks, Checkpoints
from sharpwave.workers.pump.errors import SendAbandoned, ShardGone, StreamTrimmed
from sharpwave.workers.pump.hooks import Hooks, Progress
from sharpwave.workers.pump.lineage import Lane, Lineage
from sharpwave.workers.pump.pace import Backoff, Pace
from sharpwave.workers.pump.reader import Page, ShardReader
from sharpwave.workers.pump.settings import PumpSettings
from sharpwave.workers.pump.shards import StreamSource
from sharpwave.workers.router.route_page import route_page
from sharpwave.workers.work.outgoing import Route, StreamRecord, WorkMessage

log = logging.getLogger(__name__)

REDISCOVER_S = 1.0


class Sends(Protocol):
    """Hands messages on."""

    def send(self, messages: Sequence[WorkMessage]) -> None:
        """Return once all are accepted; raise SendAbandoned when stopped before."""
        ...


class TablePump:
    """Carries the changes of one table to the queues, at least once and in order per shard.

    Not safe to share between threads. Two pumps of one table send everything
    twice but lose nothing.

    Args:
        table: logical table name.
        source: finds the table's stream and shards.
        streams: a boto3 `dynamodbstreams` client.
        route: turns records into messages.
        sender: hands messages to the queues.
        checkpoints: where positions are kept.
        hooks: callbacks.
        settings: pace and bookkeeping.
        clock: monotonic seconds.
        now: epoch seconds.
    """

    def __init__(
        self,
        table: str,
        *,
        source: StreamSource,
        streams: Any,
        route: Route,
        sender: Sends,
        checkpoints: Checkpoints,
        hooks: Hooks,
        settings: PumpSettings | None = None,
        clock: Callable[[], float] = time.monotonic,
        now: Callable[[], float] = time.time,
    ) -> None:
        self.table = table
        self._streams = streams
        self._route = route
        self._sender = sender
        self._hooks = hooks
        self._settings = settings or PumpSettings()
        self._clock = clock
        self._now = now
        self._records = 0
        self._refresh_at = self._beat_at = float("-inf")
        self._backoff = self._new_backoff()
        self._pace = _pace_of(self._settings)
        self._bookmarks = _bookmarks_of(self._settings, checkpoints, table, clock)
        self._lineage = Lineage(
            table,
            source=source,
            open_lane=self._open_lane,
            checkpoints=checkpoints,
            bookmarks=self._bookmarks,
            report=self._report,
        )

    def run(self, stop: threading.Event) -> None:
        """Pump until the stop; the page in hand is finished and the position saved."""
        while not stop.is_set():
            wait_s = self._pass(stop)
            if wait_s > 0:
                stop.wait(wait_s)
        self._bookmarks.save()

    def step(self, stop: threading.Event | None = None) -> int:
        """Read one page of every open shard and hand it on; give the number of records.

        A shard that fails waits on its own and does not hold up the others.

        Raises:
            SendAbandoned: a stop came while the queues refused.
            StreamMissing: the table or its stream is not there; call again later.
            ClientError: the stream could not be listed; call again later.
        """
        if self._clock() >= self._refresh_at:
            self._lineage.refresh()
            wait_s = self._settings.discover_s if self._lineage.lanes else REDISCOVER_S
            self._refresh_at = self._clock() + wait_s
        handled = 0
        for shard_id, lane in list(self._lineage.lanes.items()):
            if stop is not None and stop.is_set():
                break
            handled += self._pump_lane(shard_id, lane)
        self._bookmarks.save_if_due()
        return handled

    def progress(self) -> Progress:
        """How far the table is now."""
        lanes = list(self._lineage.lanes.values())
        now = self._now()
        return Progress(
            table=self.table,
            records=self._records,
            open_shards=len(lanes),
            failing_shards=sum(lane.backoff.failures > 0 for lane in lanes),
            lag_s=max((now - lane.seen_until for lane in lanes), default=0.0),
            at=now,
        )

    def _pass(self, stop: threading.Event) -> float:
        began = self._clock()
        try:
            handled = self.step(stop)
        except SendAbandoned as abandoned:
            log.warning("send_abandoned", extra={"table": self.table, "count": abandoned.count})
            return 0.0
        except Exception as error:
            log.warning("pump_failed", extra={"table": self.table, "error": repr(error)})
            return self._backoff.next_s()
        self._backoff.reset()
        self._beat()
        is_full = handled >= self._settings.page_limit
        return self._pace.after(handled, began=began, now=self._clock(), is_full=is_full)

    def _beat(self) -> None:
        if self._clock() < self._beat_at:
            return
        self._beat_at = self._clock() + self._settings.heartbeat_s
        try:
            self._hooks.on_progress(self.progress())
        except Exception:
            log.exception("progress_not_reported", extra={"table": self.table})

    def _pump_lane(self, shard_id: str, lane: Lane) -> int:
        if self._clock() < lane.retry_at:
            return 0
        try:
            page = self._read(shard_id, lane)
            self._hand_on(page.records)
        except SendAbandoned:
            raise
        except Exception as error:
            self._leave_alone(shard_id, lane, error)
            return 0
        self._move_on(shard_id, lane, page)
        return len(page.records)

    def _read(self, shard_id: str, lane: Lane) -> Page:
        try:
            return lane.reader.read()
        except StreamTrimmed as trimmed:
            self._report(trimmed)
            lane.reader.rewind()
            self._lineage.mark(shard_id, TRIM_HORIZON)
            return lane.reader.read()

    def _hand_on(self, records: Sequence[StreamRecord]) -> None:
        routed = route_page(self._route, self.table, records)
        for record, error in routed.failed:
            self._hooks.on_unroutable(self.table, record, error)
            fields = {"table": self.table, "event_id": record.get("eventID"), "error": repr(error)}
            log.error("record_unroutable", extra=fields)
        if routed.messages:
            self._sender.send(routed.messages)

    def _move_on(self, shard_id: str, lane: Lane, page: Page) -> None:
        before = lane.reader.position
        lane.reader.advance(page)
        lane.backoff.reset()
        created_at = _created_at(page.records[-1]) if page.records else None
        lane.seen_until = self._now() if created_at is None else created_at
        self._records += len(page.records)
        if lane.reader.position != before:
            self._lineage.mark(shard_id, lane.reader.position, records=len(page.records))
        if lane.reader.closed:
            self._lineage.finish(shard_id)
            self._refresh_at = self._clock()

    def _leave_alone(self, shard_id: str, lane: Lane, error: Exception) -> None:
        if isinstance(error, ShardGone):
            lane.is_gone = True
            self._refresh_at = self._clock()
        lane.retry_at = self._clock() + lane.backoff.next_s()
        fields = {"table": self.table, "shard_id": shard_id, "error": repr(error)}
        log.warning("shard_failed", extra=fields)

    def _report(self, trimmed: StreamTrimmed) -> None:
        fields = {"table": trimmed.table, "shard_id": trimmed.shard_id, "reason": trimmed.reason}
        log.error("stream_trimmed", extra=fields)
        self._hooks.on_trimmed(trimmed.table, trimmed.shard_id)

    def _open_lane(self, stream_arn: str, shard_id: str, position: str) -> Lane:
        reader = ShardReader(
            self._streams,
            table=self.table,
            stream_arn=stream_arn,
            shard_id=shard_id,
            position=position,
            settings=self._settings,
            clock=self._clock,
        )
        return Lane(reader, self._new_backoff(), seen_until=self._now())

    def _new_backoff(self) -> Backoff:
        return Backoff(self._settings.backoff_base_s, self._settings.backoff_cap_s)


def _pace_of(settings: PumpSettings) -> Pace:
    return Pace(
        busy_wait_s=settings.busy_wait_s,
        busy_for_s=settings.busy_for_s,
        idle_wait_s=settings.idle_wait_s,
    )


def _bookmarks_of(
    settings: PumpSettings, checkpoints: Checkpoints, table: str, clock: Callable[[], float]
) -> Bookmarks:
    return Bookmarks(
        checkpoints,
        table,
        records=settings.checkpoint_records,
        every_s=settings.checkpoint_every_s,
        clock=clock,
    )


def _created_at(record: StreamRecord) -> float | None:
    created = record["dynamodb"].get("ApproximateCreationDateTime")
    return created.timestamp() if isinstance(created, datetime) else created
