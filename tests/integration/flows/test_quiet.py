"""What workers write never starts the pipeline again."""

from __future__ import annotations

import time
from decimal import Decimal
from threading import Event
from typing import TYPE_CHECKING, Any

from sharpwave.infra.mailbox import Mailbox, inbox_names
from sharpwave.schemas import keys
from sharpwave.schemas.queues import WORK_QUEUE_NAMES
from sharpwave.schemas.tables import PIPELINE, STREAMED
from tests.world.hosts import needs_pump

if TYPE_CHECKING:
    from tests.integration.conftest import World

QUIET_S = 3.0
#: The queues that only stream records fill; the others have ticks as well.
WITHOUT_TICKS = ("deliver", "archive")


def ticks_sent(world: World) -> int:
    row = world.items.get(PIPELINE, keys.pump_presence(STREAMED[0])) or {}
    return int(row["calls"].get("sqs.SendMessageBatch", 0))


def held(world: World) -> dict[str, int]:
    names = [*WITHOUT_TICKS, *inbox_names(world.deployment)]
    return {name: Mailbox(world.deployment, name).depth().total for name in names}


class Tail:
    """The end of every stream, from which new records are counted."""

    def __init__(self, world: World) -> None:
        self._client: Any = world.deployment.session.client(
            "dynamodbstreams", endpoint_url=world.deployment.endpoint("dynamodbstreams")
        )
        self._iterators = [
            self._iterator(stream["StreamArn"], shard["ShardId"])
            for name in STREAMED
            for stream in self._streams(world.deployment.name(name))
            for shard in self._shards(stream["StreamArn"])
        ]

    def read(self) -> list[dict[str, Any]]:
        """Give the records since the last call."""
        found: list[dict[str, Any]] = []
        for number, iterator in enumerate(self._iterators):
            answer = self._client.get_records(ShardIterator=iterator)
            self._iterators[number] = answer["NextShardIterator"]
            found += answer["Records"]
        return found

    def _streams(self, table: str) -> Any:
        return self._client.list_streams(TableName=table)["Streams"]

    def _shards(self, arn: str) -> Any:
        return self._client.describe_stream(StreamArn=arn)["StreamDescription"]["Shards"]

    def _iterator(self, arn: str, shard: str) -> str:
        answer = self._client.get_shard_iterator(
            StreamArn=arn, ShardId=shard, ShardIteratorType="LATEST"
        )
        return str(answer["ShardIterator"])


@needs_pump("count the ticks of")
def test_a_system_at_rest_makes_no_records_and_no_messages_but_ticks(world: World) -> None:
    hunter, risk = world.agent("hunter"), world.agent("risk")
    signal = world.signal(hunter, [risk, f"ghost-{world.tag}"])
    world.decision(hunter, at=time.time() - 86_400, outcome={"success": True})
    world.memory(hunter, importance=Decimal(1))
    world.becomes(signal, risk="DELIVERED", ghost="FAILED")
    world.overdue(signal)
    world.becomes(signal, risk="EXPIRED", ghost="FAILED")
    world.eventually(lambda: world.row(risk, signal)["status"] == "EXPIRED", "the row expires")
    world.acknowledge(risk, signal, "NONSENSE")
    world.eventually(lambda: world.row(risk, signal)["status"] == "EXPIRED", "it is put back")
    tail, pause = Tail(world), Event()

    def at_rest() -> bool:
        pause.wait(1.0)
        return not tail.read() and not any(held(world)[name] for name in WITHOUT_TICKS)

    world.eventually(at_rest, "a second passes without a record")
    inboxes, sent = held(world), ticks_sent(world)
    pause.wait(QUIET_S)

    assert tail.read() == []
    assert held(world) == inboxes
    world.eventually(lambda: ticks_sent(world) > sent, "ticks went on meanwhile")
    world.eventually(
        lambda: not any(world.waiting(name) for name in WORK_QUEUE_NAMES), "ticks are worked"
    )
