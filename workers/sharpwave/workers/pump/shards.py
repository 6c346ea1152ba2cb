"""The family of shards of one table's stream: which may be read, which are read, which are done.

A shard is read to its end before its children, because a later change of an item may be in a
child. DynamoDB gives a shard one parent at most.
"""

from collections.abc import Callable, Container, Iterable
from dataclasses import dataclass
from typing import Any

from botocore.exceptions import ClientError

from sharpwave.workers.aws.errors import code_of
from sharpwave.workers.pump.checkpoints import (
    CLOSED,
    TRIM_HORIZON,
    Bookmarks,
    Checkpoint,
    Checkpoints,
)
from sharpwave.workers.pump.reader import ShardReader, StreamMissing, StreamTrimmed


@dataclass(frozen=True, slots=True)
class Shard:
    """One shard as DescribeStream lists it."""

    shard_id: str
    parent_id: str | None = None


class StreamSource:
    """Finds the stream of one table and lists its shards.

    Args:
        dynamodb: a boto3 `dynamodb` client.
        streams: a boto3 `dynamodbstreams` client.
        table_name: the physical table name.
    """

    def __init__(self, dynamodb: Any, streams: Any, table_name: str) -> None:
        self._dynamodb = dynamodb
        self._streams = streams
        self.table_name = table_name

    def stream_arn(self) -> str:
        """ARN of the table's latest stream; another one after each enabling.

        Raises:
            StreamMissing: no such table, or it has no stream.
        """
        try:
            table = self._dynamodb.describe_table(TableName=self.table_name)["Table"]
        except ClientError as error:
            raise self._translate(error, "does not exist") from error
        if arn := table.get("LatestStreamArn"):
            return str(arn)
        raise StreamMissing(self.table_name, reason="has no stream")

    def shards(self, stream_arn: str) -> list[Shard]:
        """Every shard that the stream still lists, open or closed.

        Raises:
            StreamMissing: the stream is gone.
        """
        found: list[Shard] = []
        start: dict[str, str] = {}
        while True:
            try:
                page = self._streams.describe_stream(StreamArn=stream_arn, **start)
            except ClientError as error:
                raise self._translate(error, f"has no stream {stream_arn}") from error
            # A page lists 100 shards at most, closed ones among them until their records are gone.
            listed = page["StreamDescription"]
            found += [Shard(s["ShardId"], s.get("ParentShardId")) for s in listed["Shards"]]
            if not (last := listed.get("LastEvaluatedShardId")):
                return found
            start = {"ExclusiveStartShardId": last}

    def _translate(self, error: ClientError, reason: str) -> Exception:
        if code_of(error) == "ResourceNotFoundException":
            return StreamMissing(self.table_name, reason=reason)
        return error


def ready(shards: Iterable[Shard], *, done: Container[str], active: Container[str]) -> list[Shard]:
    """Shards to open now: neither done nor active, their parent done or trimmed away.

    A parent that is no longer listed is waited for while it is still being read.
    """
    shards = list(shards)
    listed = {shard.shard_id for shard in shards}

    def is_waiting(shard: Shard) -> bool:
        parent = shard.parent_id
        return parent is not None and parent not in done and (parent in listed or parent in active)

    return [
        shard
        for shard in shards
        if shard.shard_id not in done and shard.shard_id not in active and not is_waiting(shard)
    ]


def orphans(shards: Iterable[Shard], *, begun: Container[str]) -> list[Shard]:
    """Shards not begun whose parent was trimmed away before it was begun."""
    shards = list(shards)
    listed = {shard.shard_id for shard in shards}
    return [
        shard
        for shard in shards
        if shard.shard_id not in begun
        and shard.parent_id is not None
        and shard.parent_id not in listed
        and shard.parent_id not in begun
    ]


@dataclass(slots=True)
class OpenShard:
    """One shard being read.

    Attributes:
        reader: its position.
        seen_until: epoch seconds up to which its changes were handed on.
        failures: how often in a row it could not be read or handed on.
        retry_at: monotonic second before which it is left alone.
        is_gone: whether the stream said that it does not know the shard.
    """

    reader: ShardReader
    seen_until: float
    failures: int = 0
    retry_at: float = float("-inf")
    is_gone: bool = False


class Lineage:
    """Opens shards when their parents are done and notices what vanished unread.

    Args:
        table: logical table name.
        source: finds the stream and lists its shards.
        open_shard: (stream ARN, shard id, position) to a shard being read.
        checkpoints: positions of earlier runs.
        bookmarks: takes the positions of this run.
        report: told of every loss; what it guards is not given up when it raises.
    """

    def __init__(
        self,
        table: str,
        *,
        source: StreamSource,
        open_shard: Callable[[str, str, str], OpenShard],
        checkpoints: Checkpoints,
        bookmarks: Bookmarks,
        report: Callable[[StreamTrimmed], None],
    ) -> None:
        self._table = table
        self._source = source
        self._open_shard = open_shard
        self._checkpoints = checkpoints
        self._bookmarks = bookmarks
        self._report = report
        self._stream_arn = ""
        self._done: set[str] = set()
        self._saved: dict[str, str] = {}
        self.open: dict[str, OpenShard] = {}

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
        listed = {shard.shard_id for shard in shards}
        for shard_id, shard in list(self.open.items()):
            # Neither served nor listed: what it still held is lost. One that is listed is asked
            # again.
            if shard.is_gone and shard_id not in listed:
                reason = "the shard is no longer in the stream"
                self._report(StreamTrimmed(self._table, shard_id, reason=reason))
                self.mark(shard_id, CLOSED)
                self.finish(shard_id)
            shard.is_gone = False
        self._open_ready(shards)
        # Only when all positions are safe: after a crash, a child whose parent is neither listed
        # nor known to be done would be told of as a gap that never was.
        if self._bookmarks.save():
            known = self._done | self.open.keys()
            awaited = {shard.parent_id for shard in shards if shard.shard_id not in known}
            # Read to the end, and forgotten by the stream too: nothing will ask for them.
            for shard_id in self._done - listed - awaited:
                self._checkpoints.forget(self._table, shard_id)
                self._done.discard(shard_id)

    def mark(self, shard_id: str, position: str, *, records: int = 0) -> None:
        """Note the position of a shard."""
        checkpoint = Checkpoint(shard_id, self._stream_arn, position)
        self._bookmarks.mark(checkpoint, records=records)

    def finish(self, shard_id: str) -> None:
        """Count a shard as read to its end; its children open at the next refresh."""
        del self.open[shard_id]
        self._done.add(shard_id)

    def _enter(self, stream_arn: str) -> None:
        """Take up a stream; what another one held unread is lost with it."""
        saved = self._checkpoints.load(self._table)
        # Disabling a stream and enabling it again makes another one with another ARN, in which
        # sequence numbers, and perhaps even shard ids, of the first mean something else.
        foreign = [s.shard_id for s in saved if s.stream_arn != stream_arn]
        foreign += self.open or self._done
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
        self.open.clear()

    def _open_ready(self, shards: list[Shard]) -> None:
        listed = {shard.shard_id for shard in shards}
        # A shard that was being read and is listed no more may still be served for a while.
        shards = shards + [Shard(shard_id) for shard_id in self._saved.keys() - listed]
        # At the very first start nothing was begun, so nothing can be missing.
        if begun := self._saved.keys() | self._done | self.open.keys():
            for orphan in orphans(shards, begun=begun):
                reason = f"its parent {orphan.parent_id} vanished unread"
                self._report(StreamTrimmed(self._table, orphan.shard_id, reason=reason))
        for shard in ready(shards, done=self._done, active=self.open):
            shard_id = shard.shard_id
            position = self._saved.pop(shard_id, None)
            self.open[shard_id] = self._open_shard(
                self._stream_arn, shard_id, position or TRIM_HORIZON
            )
            if position is None:
                # Noted before the first read: if it vanishes meanwhile, that is a gap to tell of.
                self.mark(shard_id, TRIM_HORIZON)
