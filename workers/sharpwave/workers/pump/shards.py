"""The shards of one stream, and which of them may be read now.

A shard is read to its end before its children, because a later change of an
item may be in a child. DynamoDB gives a shard one parent at most.
"""

from collections.abc import Container, Iterable
from dataclasses import dataclass
from typing import Any

from botocore.exceptions import ClientError

from sharpwave.workers.pump.errors import StreamMissing, error_code


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
            listed = page["StreamDescription"]
            found += [Shard(s["ShardId"], s.get("ParentShardId")) for s in listed["Shards"]]
            if not (last := listed.get("LastEvaluatedShardId")):
                return found
            start = {"ExclusiveStartShardId": last}

    def _translate(self, error: ClientError, reason: str) -> Exception:
        if error_code(error) == "ResourceNotFoundException":
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
