"""The pump of one table: read a page, route it, send it, note the position."""

import logging
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from sharpwave.workers.aws.errors import full_jitter_s
from sharpwave.workers.aws.queues import SendAbandoned
from sharpwave.workers.pump.checkpoints import TRIM_HORIZON, Bookmarks, Checkpoints
from sharpwave.workers.pump.reader import ShardGone, ShardReader, StreamTrimmed
from sharpwave.workers.pump.shards import Lineage, OpenShard, StreamSource
from sharpwave.workers.router.route_page import route_page
from sharpwave.workers.work.incoming import Route, StreamRecord, streamed
from sharpwave.workers.work.outgoing import WorkMessage

log = logging.getLogger(__name__)

#: How soon the stream is looked at again while no shard is open.
REDISCOVER_S = 1.0


#: Records of a page from which traffic is heavy; a signal and what follows it are about ten.
_MANY = 20


@dataclass(frozen=True, slots=True, kw_only=True)
class PumpSettings:
    """Pace and bookkeeping of one pump; every time is in seconds.

    Attributes:
        page_limit: records per GetRecords, 1 to 1000.
        checkpoint_records: records after which the position is saved.
        checkpoint_every_s: most time an accepted position stays unsaved.
        busy_wait_s: from one read to the next while traffic is recent, twice that while pages bring
            much, unless they are full; below 0.2 only against a local backend, AWS allows 5 reads
            a second per shard.
        busy_for_s: how long traffic counts as recent.
        idle_wait_s: the wait an idle table backs off to.
        doubt_s: age from which a position is proved again before a page is believed.
        prove_idle_s: how often an idle shard's position is proved to exist.
        renew_idle_s: how often an idle shard gets a fresh iterator.
        discover_s: how often the stream and its shards are looked at.
        heartbeat_s: how often progress is reported.
        backoff_base_s: first ceiling of the wait after an error.
        backoff_cap_s: greatest ceiling of the wait after an error.
    """

    page_limit: int = 1000
    checkpoint_records: int = 1000
    checkpoint_every_s: float = 1.0
    busy_wait_s: float = 0.01
    busy_for_s: float = 1.0
    idle_wait_s: float = 0.2
    doubt_s: float = 0.2
    prove_idle_s: float = 2.0
    renew_idle_s: float = 60.0
    discover_s: float = 10.0
    heartbeat_s: float = 5.0
    backoff_base_s: float = 0.1
    backoff_cap_s: float = 5.0


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
    on_progress: Callable[[Progress], None] = lambda progress: None


class ReadingPace:
    """Reads at once after a full page, in a steady beat after recent traffic, seldom when idle.

    What is read a beat later is read together, which spares the read after every page. Many records
    are worth another beat, for those that follow are as many; few are not, for each waits as long.
    Where reads are slow there is half of that as rest between them, for others may be waiting for
    the backend.

    Args:
        busy_wait_s: from one read to the next while traffic is recent; twice that if it is heavy.
        busy_for_s: how long traffic counts as recent.
        idle_wait_s: the wait that an idle table backs off to, doubling.
    """

    def __init__(self, *, busy_wait_s: float, busy_for_s: float, idle_wait_s: float) -> None:
        self._busy_wait_s = busy_wait_s
        self._busy_for_s = busy_for_s
        self._idle_wait_s = idle_wait_s
        self._last_traffic = float("-inf")
        self._wait_s = busy_wait_s

    def after(self, records: int, *, began: float, now: float, is_full: bool = False) -> float:
        """Seconds to wait after a pass that handled `records`; both times are monotonic."""
        if records:
            self._last_traffic = now
            self._wait_s = self._busy_wait_s
        elif now - self._last_traffic >= self._busy_for_s:
            self._wait_s = min(self._idle_wait_s, self._wait_s * 2)
        wait_s = self._wait_s * 2 if records >= _MANY else self._wait_s
        return 0.0 if is_full else max(wait_s / 2, began + wait_s - now)


class Sends(Protocol):
    """Hands messages on."""

    def send(self, messages: Sequence[WorkMessage]) -> None:
        """Return once all are accepted; raise SendAbandoned when stopped before."""


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
        self._pace = ReadingPace(
            busy_wait_s=self._settings.busy_wait_s,
            busy_for_s=self._settings.busy_for_s,
            idle_wait_s=self._settings.idle_wait_s,
        )
        self._bookmarks = Bookmarks(
            checkpoints,
            table,
            records=self._settings.checkpoint_records,
            every_s=self._settings.checkpoint_every_s,
            clock=clock,
        )
        self._lineage = Lineage(
            table,
            source=source,
            open_shard=self._open_shard,
            checkpoints=checkpoints,
            bookmarks=self._bookmarks,
            report=self._report,
        )

    def run(self, stop: threading.Event) -> None:
        """Pump until the stop; the page in hand is finished and the position saved."""
        failures = 0
        while not stop.is_set():
            began = self._clock()
            try:
                handled = self.step(stop)
            except SendAbandoned as abandoned:
                # Its page keeps its position, and is read and sent again at the next start.
                log.warning("send_abandoned", extra={"table": self.table, "count": abandoned.count})
                continue
            except Exception as error:
                log.warning("pump_failed", extra={"table": self.table, "error": repr(error)})
                stop.wait(self._backoff_s(failures))
                failures += 1
                continue
            failures = 0
            if self._clock() >= self._beat_at:
                self._beat_at = self._clock() + self._settings.heartbeat_s
                try:
                    self._hooks.on_progress(self.progress())
                except Exception:
                    # Who watches may be away; the records must not wait for that.
                    log.exception("progress_not_reported", extra={"table": self.table})
            is_full = handled >= self._settings.page_limit
            now = self._clock()
            wait_s = self._pace.after(handled, began=began, now=now, is_full=is_full)
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
            wait_s = self._settings.discover_s if self._lineage.open else REDISCOVER_S
            self._refresh_at = self._clock() + wait_s
        handled = 0
        for shard_id, shard in list(self._lineage.open.items()):
            if stop is not None and stop.is_set():
                break
            if self._clock() >= shard.retry_at:
                handled += self._carry(shard_id, shard)
        self._bookmarks.save_if_due()
        return handled

    def progress(self) -> Progress:
        """How far the table is now."""
        # A copy, for others ask while this table's thread opens and ends shards.
        shards = list(self._lineage.open.values())
        now = self._now()
        return Progress(
            table=self.table,
            records=self._records,
            open_shards=len(shards),
            failing_shards=sum(shard.failures > 0 for shard in shards),
            lag_s=max((now - shard.seen_until for shard in shards), default=0.0),
            at=now,
        )

    def _carry(self, shard_id: str, shard: OpenShard) -> int:
        """Read a page of a shard, hand it on, and only then move behind it."""
        reader = shard.reader
        try:
            try:
                page = reader.read()
            except StreamTrimmed as trimmed:
                # Told before the position moves: a crash between the two tells it again.
                self._report(trimmed)
                reader.rewind()
                self._lineage.mark(shard_id, TRIM_HORIZON)
                page = reader.read()
            self._hand_on(page.records)
        except SendAbandoned:
            raise
        except Exception as error:
            if isinstance(error, ShardGone):
                shard.is_gone = True
                self._refresh_at = self._clock()
            shard.retry_at = self._clock() + self._backoff_s(shard.failures)
            shard.failures += 1
            fields = {"table": self.table, "shard_id": shard_id, "error": repr(error)}
            log.warning("shard_failed", extra=fields)
            return 0
        # The queues hold the whole page. Were the position noted earlier, a crash in between
        # would lose it; as it is, such a crash sends it twice, which every duty endures.
        before = reader.position
        reader.advance(page)
        shard.failures = 0
        created = streamed(page.records[-1]).change.stored_at if page.records else 0.0
        shard.seen_until = created or self._now()
        self._records += len(page.records)
        if reader.position != before:
            self._lineage.mark(shard_id, reader.position, records=len(page.records))
        if reader.closed:
            self._lineage.finish(shard_id)
            # Its children wait for it.
            self._refresh_at = self._clock()
        return len(page.records)

    def _hand_on(self, records: Sequence[StreamRecord]) -> None:
        routed = route_page(self._route, self.table, records)
        for record, error in routed.failed:
            self._hooks.on_unroutable(self.table, record, error)
            fields = {
                "table": self.table,
                "event_id": streamed(record).event_id,
                "error": repr(error),
            }
            log.error("record_unroutable", extra=fields)
        if routed.messages:
            self._sender.send(routed.messages)

    def _report(self, trimmed: StreamTrimmed) -> None:
        fields = {"table": trimmed.table, "shard_id": trimmed.shard_id, "reason": trimmed.reason}
        log.error("stream_trimmed", extra=fields)
        self._hooks.on_trimmed(trimmed.table, trimmed.shard_id)

    def _open_shard(self, stream_arn: str, shard_id: str, position: str) -> OpenShard:
        reader = ShardReader(
            self._streams,
            table=self.table,
            stream_arn=stream_arn,
            shard_id=shard_id,
            position=position,
            page_limit=self._settings.page_limit,
            doubt_s=self._settings.doubt_s,
            prove_idle_s=self._settings.prove_idle_s,
            renew_idle_s=self._settings.renew_idle_s,
            clock=self._clock,
        )
        return OpenShard(reader, seen_until=self._now())

    def _backoff_s(self, failures: int) -> float:
        base_s, cap_s = self._settings.backoff_base_s, self._settings.backoff_cap_s
        return full_jitter_s(failures, base_s=base_s, cap_s=cap_s)
