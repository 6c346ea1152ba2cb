"""What can go wrong between a stream and the queues.

PumpError
├── StreamTrimmed    records were lost before they were read; reconcile the table
├── ShardGone        the shard is not known (any more); look at the stream again
├── StreamMissing    the table, or its stream, is not there; retried until it is
├── UnknownQueue     a message names a queue that nobody configured; parked
└── SendAbandoned    a stop came before SQS accepted everything; sent again at the next start
"""

from botocore.exceptions import ClientError


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


class UnknownQueue(PumpError):
    """A message names a queue that nobody configured."""

    def __init__(self, queue: str, *, known: tuple[str, ...]) -> None:
        """Name the queue and those that exist."""
        super().__init__(f"queue {queue!r} is not configured; known are {', '.join(known)}")
        self.queue = queue


class SendAbandoned(PumpError):
    """A stop was asked for before SQS accepted every message."""

    def __init__(self, count: int) -> None:
        """Say how many messages were not accepted."""
        super().__init__(f"{count} messages were not accepted before the stop; they are sent again")
        self.count = count


def error_code(error: ClientError) -> str:
    """AWS's name for an error, without a service prefix such as `AWS.SimpleQueueService.`."""
    return str(error.response.get("Error", {}).get("Code", "Unknown")).rpartition(".")[2]
