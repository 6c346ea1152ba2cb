"""Where each shard was read to, kept so that a crash sends again and never skips."""

import logging
import time
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Protocol

from sharpwave.schemas import keys

log = logging.getLogger(__name__)

TRIM_HORIZON = "TRIM_HORIZON"
CLOSED = "closed"


@dataclass(frozen=True, slots=True)
class Checkpoint:
    """How far one shard was handed on.

    Attributes:
        shard_id: the shard.
        stream_arn: the stream it belongs to; sequence numbers mean nothing in another.
        position: sequence number of the last record that the queues accepted,
            TRIM_HORIZON while there was none, CLOSED after the last.
    """

    shard_id: str
    stream_arn: str
    position: str


class Checkpoints(Protocol):
    """Checkpoints of every table, by logical table name."""

    def load(self, table: str) -> list[Checkpoint]:
        """All checkpoints of a table, as last saved."""

    def save(self, table: str, checkpoint: Checkpoint) -> None:
        """Replace the checkpoint of one shard."""

    def forget(self, table: str, shard_id: str) -> None:
        """Remove the checkpoint of one shard; nothing happens without one."""


class DynamoCheckpoints:
    """Checkpoints in a DynamoDB table with the string keys `PK` and `SK`.

    Args:
        dynamodb: a boto3 `dynamodb` client.
        table_name: physical name of the table that holds them.
    """

    def __init__(self, dynamodb: Any, table_name: str) -> None:
        self._dynamodb = dynamodb
        self._table_name = table_name

    def load(self, table: str) -> list[Checkpoint]:
        """All checkpoints of a table, by strongly consistent read."""
        pages = self._dynamodb.get_paginator("query").paginate(
            TableName=self._table_name,
            ConsistentRead=True,
            ReturnConsumedCapacity="INDEXES",
            KeyConditionExpression="PK = :pk",
            ExpressionAttributeValues={":pk": {"S": keys.checkpoint_pk(table)}},
        )
        return [
            Checkpoint(item["shard_id"]["S"], item["stream_arn"]["S"], item["position"]["S"])
            for page in pages
            for item in page["Items"]
        ]

    def save(self, table: str, checkpoint: Checkpoint) -> None:
        """Replace the checkpoint of one shard."""
        now = datetime.now(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
        self._dynamodb.put_item(
            TableName=self._table_name,
            ReturnConsumedCapacity="INDEXES",
            Item={
                **keys.checkpoint(table, checkpoint.shard_id).wire(),
                "shard_id": {"S": checkpoint.shard_id},
                "stream_arn": {"S": checkpoint.stream_arn},
                "position": {"S": checkpoint.position},
                "updated_at": {"S": now},
            },
        )

    def forget(self, table: str, shard_id: str) -> None:
        """Remove the checkpoint of one shard; nothing happens without one."""
        self._dynamodb.delete_item(
            TableName=self._table_name,
            Key=keys.checkpoint(table, shard_id).wire(),
            ReturnConsumedCapacity="INDEXES",
        )


class Bookmarks:
    """Gathers the positions of one table and saves them now and then.

    A position is marked only after the queues accepted everything before it,
    so saving late costs a repetition after a crash and nothing else. A failed
    save is tried again when the next one is due; reading goes on meanwhile.

    Args:
        checkpoints: where positions are saved.
        table: logical table name.
        records: marked records after which a save is due.
        every_s: seconds after the first unsaved mark when a save is due.
        clock: monotonic seconds.
    """

    def __init__(
        self,
        checkpoints: Checkpoints,
        table: str,
        *,
        records: int,
        every_s: float,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._checkpoints = checkpoints
        self._table = table
        self._max_records = records
        self._every_s = every_s
        self._clock = clock
        self._unsaved: dict[str, Checkpoint] = {}
        self._records = 0
        self._due_at = 0.0

    def mark(self, checkpoint: Checkpoint, *, records: int = 0) -> None:
        """Note a position whose `records` the queues accepted."""
        if not self._unsaved:
            # From the first mark on, so that a busy table does not put its save off for ever.
            self._due_at = self._clock() + self._every_s
        self._unsaved[checkpoint.shard_id] = checkpoint
        self._records += records
        if self._records >= self._max_records:
            self._due_at = self._clock()

    def save_if_due(self) -> None:
        """Save when enough records or time passed since the last save."""
        if self._unsaved and self._clock() >= self._due_at:
            self.save()

    def save(self) -> bool:
        """Save every unsaved position, oldest mark first; False when one could not be saved."""
        self._records = 0
        # A dict keeps the order of first marks, and a shard is opened after its parent's end was
        # marked: so no child is ever known of whose parent a new process would begin again.
        for shard_id, checkpoint in list(self._unsaved.items()):
            try:
                self._checkpoints.save(self._table, checkpoint)
            except Exception as error:
                # Reading goes on: the next save says more, and the table is not asked without end.
                self._due_at = self._clock() + max(self._every_s, 1.0)
                fields = {"table": self._table, "shard_id": shard_id, "error": repr(error)}
                log.warning("checkpoint_not_saved", extra=fields)
                return False
            del self._unsaved[shard_id]
        return True

    def drop(self) -> None:
        """Forget every unsaved position."""
        self._unsaved.clear()
        self._records = 0
