"""A real botocore client, whose answers are written in the test."""

import json
from types import SimpleNamespace
from typing import Any

import boto3
from botocore.awsrequest import AWSResponse
from botocore.config import Config

from sharpwave.workers.aws.meter import Meter

LOCAL = "http://127.0.0.1:1"


class Answered:
    """A backend that gives one answer to everything and keeps what it was sent."""

    def __init__(self, answer: dict[str, Any], status: int = 200) -> None:
        self.answer, self.status = answer, status
        self.sent: list[dict[str, Any]] = []

    def __call__(self, request: Any, **_: Any) -> AWSResponse:
        self.sent.append(json.loads(request.body))
        return answered(request.url, self.status, json.dumps(self.answer).encode())


def answered(url: str, status: int, body: bytes) -> AWSResponse:
    raw: Any = SimpleNamespace(stream=lambda: iter([body]))
    headers: Any = {}
    return AWSResponse(url, status, headers, raw)


def client(answers: Any, meter: Meter, service: str = "dynamodb") -> Any:
    session: Any = boto3.session.Session()
    made = session.client(
        service,
        endpoint_url=LOCAL,
        region_name="us-east-1",
        aws_access_key_id="test",
        aws_secret_access_key="test",
        config=Config(retries={"total_max_attempts": 1}),
    )
    made.meta.events.register("before-send", answers)
    return meter.watch(made)
