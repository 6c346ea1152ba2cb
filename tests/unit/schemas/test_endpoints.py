"""Agents, workers and operators mean the same by a local endpoint: they ask one function."""

import pytest

from sharpwave.schemas.endpoints import is_local


@pytest.mark.parametrize(
    "url",
    [
        "http://localhost:4566",
        "http://127.0.0.1:4566",
        "http://127.9.9.9",
        "http://[::1]:4566",
        "http://localstack:4566",
        "http://ministack:4566",
        "http://host.docker.internal:4566",
        "http://sqs.us-east-1.localhost:4566",
        "http://sqs.us-east-1.localhost.localstack.cloud:4566",
    ],
)
def test_local_is_this_machine_and_its_containers(url: str) -> None:
    assert is_local(url)


@pytest.mark.parametrize(
    "url",
    [
        "https://dynamodb.eu-west-1.amazonaws.com",
        "https://sqs.eu-west-1.amazonaws.com",
        "http://10.0.0.7:4566",
        "http://10.0.0.8:4566",
        "https://localhost.example.com",
        "",
        None,
    ],
)
def test_everything_else_may_be_aws(url: str | None) -> None:
    assert not is_local(url)
