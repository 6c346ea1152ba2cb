"""A pump between a real table and a real queue, and a backend that can be killed."""

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from uuid import uuid4

import boto3
import pytest
from botocore.config import Config

from sharpwave.infra.local import Backend, EmbeddedBackend
from sharpwave.workers.aws.queues import BatchSender, QueueUrls, StreamSender
from sharpwave.workers.pump import (
    DynamoCheckpoints,
    Hooks,
    Pump,
    PumpSettings,
    Tick,
)
from sharpwave.workers.work.outgoing import WorkMessage
from tests.world.waiting import eventually

PATIENCE_S = 20.0
HUGE = "huge"


class Stage:
    """A table with a stream, a queue, and a pump from one to the other."""

    def __init__(self, endpoint: str, prefix: str) -> None:
        self.endpoint, self.prefix = endpoint, prefix
        self.table, self.queue = f"{prefix}-agent_signals", f"{prefix}-deliver"
        self.pipeline = f"{prefix}-pipeline"
        access = {"aws_access_key_id": "test", "aws_secret_access_key": "test"}
        config = Config(retries={"total_max_attempts": 2}, connect_timeout=2, read_timeout=5)

        def client(service: str) -> Any:
            return boto3.client(
                service,  # type: ignore[call-overload]
                endpoint_url=endpoint,
                region_name="us-east-1",
                config=config,
                **access,
            )

        self.dynamodb, self.sqs = client("dynamodb"), client("sqs")
        self.stop = threading.Event()
        self.trimmed: list[str] = []
        self.refused: list[str] = []
        self.checkpoints = DynamoCheckpoints(self.dynamodb, self.pipeline)
        self.sender = BatchSender(
            self.sqs,
            urls=QueueUrls(self.sqs, prefix=prefix),
            on_refused=lambda message, code, reason: self.refused.append(code),
            stop=self.stop,
            cap_s=0.2,
        )
        self.pump = Pump(
            {"signals": self.table},
            dynamodb=self.dynamodb,
            streams=client("dynamodbstreams"),
            route=route,
            sender=StreamSender(self.sender),
            checkpoints=self.checkpoints,
            hooks=Hooks(
                on_trimmed=lambda table, shard_id: self.trimmed.append(table),
                on_unroutable=lambda table, record, error: None,
            ),
            stop=self.stop,
            ticks=[Tick(lambda: WorkMessage("deliver", "tick", ()), 3600.0)],
            settings=PumpSettings(discover_s=1.0, prove_idle_s=0.5, backoff_cap_s=0.2),
        )

    def provision(self) -> None:
        self.create_table(self.table, StreamEnabled=True, StreamViewType="NEW_AND_OLD_IMAGES")
        self.create_table(self.pipeline, StreamEnabled=False)
        self.sqs.create_queue(QueueName=self.queue, Attributes={"MaximumMessageSize": "1024"})

    def create_table(self, name: str, **stream: Any) -> None:
        self.dynamodb.create_table(
            TableName=name,
            KeySchema=[
                {"AttributeName": "PK", "KeyType": "HASH"},
                {"AttributeName": "SK", "KeyType": "RANGE"},
            ],
            AttributeDefinitions=[
                {"AttributeName": "PK", "AttributeType": "S"},
                {"AttributeName": "SK", "AttributeType": "S"},
            ],
            BillingMode="PAY_PER_REQUEST",
            StreamSpecification=stream,
        )

    def put(self, *names: str) -> None:
        for name in names:
            item = {"PK": {"S": "signal#RISK"}, "SK": {"S": name}}
            self.dynamodb.put_item(TableName=self.table, Item=item)

    def receive(self) -> list[str]:
        url = self.sqs.get_queue_url(QueueName=self.queue)["QueueUrl"]
        answer = self.sqs.receive_message(QueueUrl=url, MaxNumberOfMessages=10)
        messages = answer.get("Messages", [])
        for message in messages:
            self.sqs.delete_message(QueueUrl=url, ReceiptHandle=message["ReceiptHandle"])
        return [message["Body"] for message in messages if message["Body"] != "tick"]

    def expect(self, *names: str) -> None:
        """Wait until exactly these have come, in whatever order."""
        came: list[str] = []

        def all_came() -> bool:
            came.extend(self.receive())
            return len(came) >= len(names)

        eventually(all_came, f"{names} come, not only {came}")
        assert sorted(came) == sorted(names)

    @contextmanager
    def pumping(self) -> Iterator[None]:
        self.pump.start()
        try:
            yield
        finally:
            self.pump.stop()
            assert self.pump.join(PATIENCE_S)
            self.sender.close()


MakeStage = Callable[[], Stage]


def route(table: str, records: Any) -> list[WorkMessage]:
    routed = []
    for record in records:
        name = record["dynamodb"]["Keys"]["SK"]["S"]
        body = name * 1000 if name == HUGE else name
        routed.append(WorkMessage("deliver", body, (record["dynamodb"]["SequenceNumber"],)))
    return routed


@pytest.fixture
def make_stage(backend: Backend) -> MakeStage:
    prefix = f"pump-{uuid4().hex[:8]}"
    Stage(backend.endpoint_url, prefix).provision()
    return lambda: Stage(backend.endpoint_url, prefix)


@pytest.fixture
def mortal(tmp_path: Path) -> Iterator[EmbeddedBackend]:
    """A backend of its own, which keeps its tables, not its streams, when it is stopped."""
    with EmbeddedBackend(state_dir=tmp_path) as backend:
        yield backend


@pytest.fixture
def mortal_stage(mortal: EmbeddedBackend) -> Stage:
    stage = Stage(mortal.endpoint_url, "pump")
    stage.provision()
    return stage


@pytest.fixture
def stage(make_stage: MakeStage) -> Stage:
    return make_stage()


@pytest.fixture(scope="session")
def huge() -> str:
    return HUGE
