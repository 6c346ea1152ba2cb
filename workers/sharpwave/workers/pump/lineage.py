"""The family of shards of one table's stream: which are read, which are done."""

from collections.abc import Callable
from dataclasses import dataclass

from sharpwave.workers.pump.checkpoints import (
    CLOSED,
    TRIM_HORIZON,
    Bookmarks,
    Checkpoint,
    Checkpoints,
)
from sharpwave.workers.pump.errors import StreamTrimmed
from sharpwave.workers.pump.pace import Backoff
from sharpwave.workers.pump.reader import ShardReader
from sharpwave.workers.pump.shards import Shard, StreamSource, orphans, ready


@dataclass(slots=True)
class Lane:
    """One shard being read.

    Attributes:
        reader: its position.
        backoff: counts its failures in a row.
        seen_until: epoch seconds up to which its changes were handed on.
        retry_at: monotonic second before which it is left alone.
        is_gone: whether the stream said that it does not know the shard.
    """

    reader: ShardReader
    backoff: Backoff
    seen_until: float
    retry_at: float = float("-inf")
    is_gone: bool = False


class Lineage:
    """Opens shards when their parents are done and notices what vanished unread.

    Args:
        table: logical table name.
        source: finds the stream and lists its shards.
        open_lane: (stream ARN, shard id, position) to a lane.
        checkpoints: positions of earlier runs.
        bookmarks: takes the positions of this run.
        report: told of every loss; what it guards is not given up when it raises.
    """

    def __init__(
        self,
        table: str,
        *,
        source: StreamSource,
        open_lane: Callable[[str, str, str], Lane],
        checkpoints: Checkpoints,
        bookmarks: Bookmarks,
        report: Callable[[StreamTrimmed], None],
    ) -> None:
        self._table = table
        self._source = source
        self._open_lane = open_lane
        self._checkpoints = checkpoints
        self._bookmarks = bookmarks
        self._report = report
        self._stream_arn = ""
        self._done: set[str] = set()
        self._saved: dict[str, str] = {}
        self.lanes: dict[str, Lane] = {}

    def refresh(self) -> None:
        """Look at the stream again and open what may be read.

        Raises:
            StreamMissing: the table or its stream is not there.
            ClientError: the stream could not be listed.
        """
        stream_arn = self._source.stream_arn()
        if stream_arn != self._stream_arn:
            self._enter(stream_arn)
        shards = self._source.shards(stream_arn)
        self._retire_gone({shard.shard_id for shard in shards})
        self._open(shards)
        if self._bookmarks.save():
            self._purge(shards)

    def mark(self, shard_id: str, position: str, *, records: int = 0) -> None:
        """Note the position of a shard."""
        checkpoint = Checkpoint(shard_id, self._stream_arn, position)
        self._bookmarks.mark(checkpoint, records=records)

    def finish(self, shard_id: str) -> None:
        """Count a shard as read to its end; its children open at the next refresh."""
        del self.lanes[shard_id]
        self._done.add(shard_id)

    def _enter(self, stream_arn: str) -> None:
        """Take up a stream; what another one held unread is lost with it."""
        saved = self._checkpoints.load(self._table)
        foreign = [s.shard_id for s in saved if s.stream_arn != stream_arn]
        foreign += self.lanes or self._done
        if foreign:
            reason = f"it belongs to an earlier stream than {stream_arn}"
            self._report(StreamTrimmed(self._table, foreign[0], reason=reason))
        for shard_id in foreign:
            self._checkpoints.forget(self._table, shard_id)
        self._bookmarks.drop()
        own = {s.shard_id: s.position for s in saved if s.stream_arn == stream_arn}
        self._done = {shard_id for shard_id, position in own.items() if position == CLOSED}
        self._saved = {shard_id: own[shard_id] for shard_id in own.keys() - self._done}
        self._stream_arn = stream_arn
        self.lanes.clear()

    def _retire_gone(self, listed: set[str]) -> None:
        """Give up shards that the stream neither serves nor lists."""
        for shard_id, lane in list(self.lanes.items()):
            if lane.is_gone and shard_id not in listed:
                reason = "the shard is no longer in the stream"
                self._report(StreamTrimmed(self._table, shard_id, reason=reason))
                self.mark(shard_id, CLOSED)
                self.finish(shard_id)
            lane.is_gone = False

    def _open(self, shards: list[Shard]) -> None:
        listed = {shard.shard_id for shard in shards}
        shards = shards + [Shard(shard_id) for shard_id in self._saved.keys() - listed]
        if begun := self._saved.keys() | self._done | self.lanes.keys():
            for orphan in orphans(shards, begun=begun):
                reason = f"its parent {orphan.parent_id} vanished unread"
                self._report(StreamTrimmed(self._table, orphan.shard_id, reason=reason))
        for shard in ready(shards, done=self._done, active=self.lanes):
            self._open_shard(shard.shard_id)

    def _open_shard(self, shard_id: str) -> None:
        position = self._saved.pop(shard_id, None)
        lane = self._open_lane(self._stream_arn, shard_id, position or TRIM_HORIZON)
        self.lanes[shard_id] = lane
        if position is None:
            self.mark(shard_id, TRIM_HORIZON)

    def _purge(self, shards: list[Shard]) -> None:
        """Forget shards that were read to the end once the stream has forgotten them too."""
        listed = {shard.shard_id for shard in shards}
        known = self._done | self.lanes.keys()
        awaited = {shard.parent_id for shard in shards if shard.shard_id not in known}
        for shard_id in self._done - listed - awaited:
            self._checkpoints.forget(self._table, shard_id)
            self._done.discard(shard_id)
