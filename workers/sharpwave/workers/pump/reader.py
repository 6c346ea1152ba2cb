"""One shard, read page by page from a position.

A read does not move the position; `advance` does, once the page is safe
elsewhere. So a page that could not be handed on is simply read again.
"""

import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from botocore.exceptions import ClientError

from sharpwave.workers.pump.checkpoints import CLOSED, TRIM_HORIZON
from sharpwave.workers.pump.errors import ShardGone, StreamTrimmed, error_code
from sharpwave.workers.pump.settings import PumpSettings
from sharpwave.workers.work.outgoing import StreamRecord

AFTER = "AFTER_SEQUENCE_NUMBER"


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
        settings: page size and how often a position is proved.
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
        settings: PumpSettings | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._streams = streams
        self._table = table
        self._stream_arn = stream_arn
        self.shard_id = shard_id
        self.position = position
        self._settings = settings or PumpSettings()
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
            if error_code(error) != "ExpiredIteratorException":
                raise
        return self._read()

    def advance(self, page: Page) -> None:
        """Move behind a page whose records are safe elsewhere."""
        self._iterator = page.next_iterator
        if page.records:
            self.position = str(page.records[-1]["dynamodb"]["SequenceNumber"])
            self._proved_at = self._renewed_at = self._clock()
        if page.next_iterator is None:
            self.position = CLOSED

    def rewind(self) -> None:
        """Start over with the oldest record that the shard still holds."""
        self.position = TRIM_HORIZON
        self._iterator = None

    def _read(self) -> Page:
        try:
            return self._next_page()
        except Exception as error:
            # A restarted backend answers an iterator of its former life with nothing.
            self._iterator = None
            if isinstance(error, ClientError):
                self._raise_lost(error)
            raise

    def _next_page(self) -> Page:
        if self._iterator is None:
            self._iterator = self._iterator_at_position()
            self._proved_at = self._renewed_at = self._clock()
        answer = self._streams.get_records(
            ShardIterator=self._iterator, Limit=self._settings.page_limit
        )
        page = Page(answer["Records"], answer.get("NextShardIterator"))
        if self._is_doubtful(page):
            page = self._prove(page)
        return page

    def _is_doubtful(self, page: Page) -> bool:
        allowed_s = self._settings.doubt_s if page.records else self._settings.prove_idle_s
        return self._clock() - self._proved_at >= allowed_s

    def _prove(self, page: Page) -> Page:
        """Ask for the position anew, which fails when a backend lost it in a restart.

        An emulator that restarted answers an iterator of its former life with
        nothing, or with records further on; it is not to be believed alone.
        The iterator itself is replaced seldom: on AWS a sparse shard gives many
        empty pages before its next record, and each replacement starts over.
        """
        fresh = self._iterator_at_position()
        now = self._proved_at = self._clock()
        if page.records or now - self._renewed_at < self._settings.renew_idle_s:
            return page
        self._renewed_at = now
        return Page(page.records, fresh if page.next_iterator else None)

    def _iterator_at_position(self) -> str:
        start = {"ShardIteratorType": TRIM_HORIZON}
        if self.position != TRIM_HORIZON:
            start = {"ShardIteratorType": AFTER, "SequenceNumber": self.position}
        answer = self._streams.get_shard_iterator(
            StreamArn=self._stream_arn, ShardId=self.shard_id, **start
        )
        return str(answer["ShardIterator"])

    def _raise_lost(self, error: ClientError) -> None:
        match error_code(error):
            case "TrimmedDataAccessException":
                reason = f"position {self.position} is no longer in the stream"
                raise StreamTrimmed(self._table, self.shard_id, reason=reason) from error
            case "ResourceNotFoundException":
                raise ShardGone(self._table, self.shard_id) from error
