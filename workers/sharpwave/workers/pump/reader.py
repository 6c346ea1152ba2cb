"""One shard, read page by page from a position.

A read does not move the position; `advance` does, once the page is safe elsewhere. So a page that
could not be handed on is simply read again.

PumpError
├── StreamTrimmed    records were lost before they were read; reconcile the table
├── ShardGone        the shard is not known (any more); look at the stream again
└── StreamMissing    the table, or its stream, is not there; retried until it is
"""

import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from botocore.exceptions import ClientError

from sharpwave.workers.aws.errors import code_of
from sharpwave.workers.pump.checkpoints import CLOSED, TRIM_HORIZON
from sharpwave.workers.work.incoming import StreamRecord, streamed


class PumpError(Exception):
    """Root of every error of this package."""


class StreamTrimmed(PumpError):
    """Records of a shard were lost before they were read."""

    def __init__(self, table: str, shard_id: str, *, reason: str) -> None:
        """Name the shard and say why its position is void."""
        super().__init__(
            f"stream of {table}, shard {shard_id}: {reason}; records may be lost, "
            "reconcile the table"
        )
        self.table = table
        self.shard_id = shard_id
        self.reason = reason


class ShardGone(PumpError):
    """The stream does not know this shard."""

    def __init__(self, table: str, shard_id: str) -> None:
        """Name the shard."""
        super().__init__(f"stream of {table} does not know shard {shard_id}; list its shards again")
        self.table = table
        self.shard_id = shard_id


class StreamMissing(PumpError):
    """The table does not exist or has no stream."""

    def __init__(self, table_name: str, *, reason: str) -> None:
        """Name the physical table and say what is missing."""
        super().__init__(
            f"table {table_name} {reason}; provision it with a stream of NEW_AND_OLD_IMAGES"
        )
        self.table_name = table_name


@dataclass(frozen=True, slots=True)
class Page:
    """Records in stream order, and where the next page starts.

    Attributes:
        records: may be empty although more follow.
        next_iterator: None once a closed shard has been read to its end.
    """

    records: list[StreamRecord]
    next_iterator: str | None


class ShardReader:
    """Reads one shard from a position on.

    Args:
        streams: a boto3 `dynamodbstreams` client.
        table: logical table name, for messages.
        stream_arn: the stream.
        shard_id: the shard.
        position: sequence number read last, or TRIM_HORIZON.
        page_limit: records per page, 1 to 1000; a page also ends at 1 MB.
        doubt_s: age from which a position is proved again before records are believed.
        prove_idle_s: how often the position of an idle shard is proved to exist.
        renew_idle_s: how often an idle shard gets a fresh iterator.
        clock: monotonic seconds.
    """

    def __init__(
        self,
        streams: Any,
        *,
        table: str,
        stream_arn: str,
        shard_id: str,
        position: str = TRIM_HORIZON,
        page_limit: int = 1000,
        doubt_s: float = 0.2,
        prove_idle_s: float = 2.0,
        renew_idle_s: float = 60.0,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._streams = streams
        self._table = table
        self._stream_arn = stream_arn
        self.shard_id = shard_id
        self.position = position
        self._page_limit = page_limit
        self._doubt_s, self._prove_idle_s, self._renew_idle_s = doubt_s, prove_idle_s, renew_idle_s
        self._clock = clock
        self._iterator: str | None = None
        self._proved_at = self._renewed_at = clock()

    @property
    def closed(self) -> bool:
        """Whether a closed shard has been read to its end."""
        return self.position == CLOSED

    def read(self) -> Page:
        """Read the page after the position; repeated until `advance` is called.

        Raises:
            StreamTrimmed: the position is void; call `rewind`.
            ShardGone: the stream does not know the shard.
            ClientError: anything else, such as throttling; call again later.
            BotoCoreError: the endpoint cannot be reached; call again later.
        """
        try:
            return self._read()
        except ClientError as error:
            # An iterator lives for 15 minutes, which a shard that waits for its queues or for
            # its next attempt may outlast. The position does not expire.
            if code_of(error) != "ExpiredIteratorException":
                raise
        return self._read()

    def advance(self, page: Page) -> None:
        """Move behind a page whose records are safe elsewhere."""
        self._iterator = page.next_iterator
        if page.records:
            self.position = streamed(page.records[-1]).change.sequence_number
            self._proved_at = self._renewed_at = self._clock()
        # Only a closed shard ends; an open one always names the next iterator.
        if page.next_iterator is None:
            self.position = CLOSED

    def rewind(self) -> None:
        """Start over with the oldest record that the shard still holds."""
        self.position = TRIM_HORIZON
        self._iterator = None

    def _read(self) -> Page:
        try:
            if self._iterator is None:
                self._iterator = self._iterator_at_position()
                self._proved_at = self._renewed_at = self._clock()
            answer = self._streams.get_records(ShardIterator=self._iterator, Limit=self._page_limit)
            page = Page(answer["Records"], answer.get("NextShardIterator"))
            allowed_s = self._doubt_s if page.records else self._prove_idle_s
            return self._proved(page) if self._clock() - self._proved_at >= allowed_s else page
        except Exception as error:
            # A restarted backend answers an iterator of its former life with nothing.
            self._iterator = None
            match code_of(error):
                case "TrimmedDataAccessException":
                    # A stream keeps records for 24 hours, however far they were read.
                    reason = f"position {self.position} is no longer in the stream"
                    raise StreamTrimmed(self._table, self.shard_id, reason=reason) from error
                case "ResourceNotFoundException":
                    raise ShardGone(self._table, self.shard_id) from error
            raise

    def _proved(self, page: Page) -> Page:
        """Ask for the position anew, which fails when a backend lost it in a restart.

        An emulator that restarted answers an iterator of its former life with nothing, or with
        records further on; it is not to be believed alone. The iterator itself is replaced seldom:
        on AWS a sparse shard gives many empty pages before its next record, and each replacement
        starts over.
        """
        fresh = self._iterator_at_position()
        now = self._proved_at = self._clock()
        if page.records or now - self._renewed_at < self._renew_idle_s:
            return page
        self._renewed_at = now
        return Page(page.records, fresh if page.next_iterator else None)

    def _iterator_at_position(self) -> str:
        # LATEST would skip what was written between the look at the stream and the first read.
        start = {"ShardIteratorType": TRIM_HORIZON}
        if self.position != TRIM_HORIZON:
            start = {
                "ShardIteratorType": "AFTER_SEQUENCE_NUMBER",
                "SequenceNumber": self.position,
            }
        answer = self._streams.get_shard_iterator(
            StreamArn=self._stream_arn, ShardId=self.shard_id, **start
        )
        return str(answer["ShardIterator"])
