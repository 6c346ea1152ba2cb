"""A real backend for the SQS broker, and queues of each test's own on it."""

import json
import uuid
from collections.abc import Callable, Iterator
from typing import Any

import boto3
import pytest

from sharpwave.infra.local import Backend


@pytest.fixture
def environment(backend: Backend) -> dict[str, str]:
    """AWS's own variables of the backend."""
    return dict(backend.environment)


@pytest.fixture
def client(environment: dict[str, str], monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    """An SQS client of the backend."""
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    client = boto3.client("sqs")
    yield client
    client.close()


@pytest.fixture
def prefix() -> str:
    """A prefix for the queues of this test."""
    return f"t{uuid.uuid4().hex[:8]}"


@pytest.fixture
def queue(client: Any, prefix: str) -> Iterator[Callable[[str], tuple[str, str]]]:
    """Create queues with their dead-letter queues, deleted after the test; give both URLs."""
    urls: list[str] = []

    def create(name: str) -> tuple[str, str]:
        stem, fifo = name.removesuffix(".fifo"), name.endswith(".fifo")
        suffix, kind = (".fifo", {"FifoQueue": "true"}) if fifo else ("", {})
        dead = client.create_queue(QueueName=f"{prefix}-{stem}_dlq{suffix}", Attributes=kind)
        urls.append(dead["QueueUrl"])
        asked = client.get_queue_attributes(QueueUrl=urls[-1], AttributeNames=["QueueArn"])
        policy = {"deadLetterTargetArn": asked["Attributes"]["QueueArn"], "maxReceiveCount": 20}
        kind = kind | {"RedrivePolicy": json.dumps(policy)}
        urls.append(client.create_queue(QueueName=f"{prefix}-{name}", Attributes=kind)["QueueUrl"])
        return urls[-1], urls[-2]

    yield create
    for url in urls:
        client.delete_queue(QueueUrl=url)
