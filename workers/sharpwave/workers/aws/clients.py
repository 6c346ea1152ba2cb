"""The clients by which this process speaks to AWS, or to what stands in for it on this machine."""

import os
from typing import Any, NamedTuple

import boto3
from botocore.config import Config

from sharpwave.schemas.endpoints import is_local
from sharpwave.workers.aws.requests import written_at_once
from sharpwave.workers.meter import Meter

_CONNECTIONS = 64


class Clients(NamedTuple):
    """Low-level clients, safe to share between threads."""

    dynamodb: Any
    streams: Any
    sqs: Any
    s3: Any


def clients(meter: Meter | None = None) -> Clients:
    """Make the clients from AWS's own environment variables; `meter` watches them."""
    made = [client(name) for name in ("dynamodb", "dynamodbstreams", "sqs", "s3")]
    return Clients(*(meter.watch(each) if meter else each for each in made))


def client(service: str) -> Any:
    """Make one client from AWS's own environment variables."""
    config = Config(
        retries={"mode": "standard", "total_max_attempts": 5},
        max_pool_connections=_CONNECTIONS,
        connect_timeout=5,
        read_timeout=30,
        # Our writes are of a few known shapes, and `written_at_once` needs them unlooked at.
        parameter_validation=False,
        # Botocore would put it together anew for every request, twice.
        user_agent=f"Boto3/{boto3.__version__} sharpwave",
    )
    session: Any = boto3.session.Session()
    made = session.client(service, config=config, **local_credentials())
    return written_at_once(made) if service in ("dynamodb", "sqs") else made


def local_credentials() -> dict[str, str]:
    """Give what a local endpoint is called with: the emulators' credentials when none are set."""
    if not is_local(os.environ.get("AWS_ENDPOINT_URL")):
        return {}
    region = {"region_name": os.environ.get("AWS_DEFAULT_REGION", "us-east-1")}
    if os.environ.get("AWS_ACCESS_KEY_ID"):
        return region
    return {"aws_access_key_id": "test", "aws_secret_access_key": "test", **region}
