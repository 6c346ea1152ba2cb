"""Clients for the tables and queues of one deployment."""

import re
from collections.abc import Mapping
from functools import cached_property
from ipaddress import ip_address
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

import boto3
from botocore.config import Config

from sharpwave.infra.errors import Misused, translated
from sharpwave.schemas import ids, tables

if TYPE_CHECKING:
    from mypy_boto3_dynamodb import DynamoDBClient
    from mypy_boto3_sqs import SQSClient

LOCAL_REGION = "us-east-1"
_LOCAL_NAMES = frozenset({"localhost", "localstack", "ministack", "host.docker.internal"})
_ENDPOINTS = ("AWS_ENDPOINT_URL_DYNAMODB", "AWS_ENDPOINT_URL_SQS", "AWS_ENDPOINT_URL")
_OWN_ENDPOINTS = {
    "dynamodb": "AWS_ENDPOINT_URL_DYNAMODB",
    "dynamodbstreams": "AWS_ENDPOINT_URL_DYNAMODB_STREAMS",
    "s3": "AWS_ENDPOINT_URL_S3",
    "sqs": "AWS_ENDPOINT_URL_SQS",
}
#: An emulator is there or it is not; AWS may be busy for a moment.
_LOCAL_ATTEMPTS, _ATTEMPTS = 2, 5


class Deployment:
    """One set of tables and queues: a prefix at an endpoint.

    Args:
        session: where clients come from.
        prefix: goes before each physical name, as `<prefix>-<name>`.
        endpoint_url: one endpoint for every service; without it AWS's own settings hold.
        endpoints: those of single services, such as `sqs`, where there is not one for all.
        is_local: the endpoint is an emulator, so nothing of IAM is enforced.
    """

    def __init__(
        self,
        session: boto3.Session,
        *,
        prefix: str = "",
        endpoint_url: str | None = None,
        endpoints: Mapping[str, str] | None = None,
        is_local: bool = False,
    ) -> None:
        self.session = session
        self.prefix = prefix
        self.endpoint_url = endpoint_url
        self._endpoints = endpoints or {}
        self.is_local = is_local

    @cached_property
    def dynamodb(self) -> "DynamoDBClient":
        """The client of the tables."""
        with translated("client of the tables"):
            return self.session.client(
                "dynamodb", endpoint_url=self.endpoint("dynamodb"), config=self._config
            )

    @cached_property
    def sqs(self) -> "SQSClient":
        """The client of the queues."""
        with translated("client of the queues"):
            return self.session.client(
                "sqs", endpoint_url=self.endpoint("sqs"), config=self._config
            )

    def check(self) -> None:
        """Make sure that AWS's settings suffice; no request is made.

        Raises:
            Denied: they name no region.
        """
        _ = self.dynamodb, self.sqs

    def endpoint(self, service: str) -> str | None:
        """Say where a service is, by its name in boto3; None is where AWS has it."""
        return self.endpoint_url or self._endpoints.get(service)

    @property
    def _config(self) -> Config:
        attempts = _LOCAL_ATTEMPTS if self.is_local else _ATTEMPTS
        retries: Any = {"mode": "standard", "total_max_attempts": attempts}
        return Config(connect_timeout=3, read_timeout=30, retries=retries)

    def name(self, logical: str) -> str:
        """Give the physical name of a table or queue."""
        return tables.physical(logical, self.prefix)

    @property
    def place(self) -> str:
        """Say where this is, for people."""
        where = self.endpoint_url or f"AWS {self.session.region_name}"
        return f"{where} with prefix {self.prefix!r}" if self.prefix else where


def connect(
    env: Mapping[str, str], *, endpoint_url: str | None = None, prefix: str = ""
) -> Deployment:
    """Reach a deployment; no request is made yet.

    A local endpoint gets the credentials of a test when `env` holds none, so that an operator's
    own credentials never travel to an emulator.

    Args:
        env: environment variables; only AWS's own are read.
        endpoint_url: overrides AWS_ENDPOINT_URL and its kin.
        prefix: before each physical name.

    Raises:
        Misused: the prefix or the endpoint cannot be one.
        Denied: there is no such profile.
    """
    check_prefix(prefix)
    effective = endpoint_url or next((env[name] for name in _ENDPOINTS if env.get(name)), None)
    is_local = effective is not None and is_local_url(effective)
    with translated("AWS's settings"):
        session = boto3.Session(**_credentials(env)) if is_local else boto3.Session()
    return Deployment(
        session,
        prefix=prefix,
        endpoint_url=endpoint_url or _single(env),
        endpoints=_endpoints(env),
        is_local=is_local,
    )


def check_prefix(prefix: str) -> None:
    """Refuse a prefix that cannot be part of a name.

    Raises:
        Misused: it has other characters, or is too long.
    """
    if re.fullmatch(ids.NAME_PREFIX, prefix) is None:
        words = ids.IN_WORDS[ids.NAME_PREFIX]
        text = f"prefix {prefix!r} cannot be used; take {words} for --prefix or SHARPWAVE_PREFIX"
        raise Misused(text)


def is_local_url(url: str) -> bool:
    """Say whether a URL is of this machine or its containers, and so of an emulator.

    Raises:
        Misused: it is no http or https URL.
    """
    parts = urlsplit(url)
    if parts.scheme not in ("http", "https") or not parts.hostname:
        raise Misused(f"endpoint {url!r} is no URL; write http://127.0.0.1:4566")
    host = parts.hostname
    if host in _LOCAL_NAMES or host.endswith((".localhost", ".localstack.cloud")):
        return True
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return False


def _credentials(env: Mapping[str, str]) -> dict[str, Any]:
    region = env.get("AWS_REGION") or env.get("AWS_DEFAULT_REGION") or LOCAL_REGION
    if env.get("AWS_PROFILE"):
        return {"region_name": region, "profile_name": env["AWS_PROFILE"]}
    if env.get("AWS_ACCESS_KEY_ID"):
        return {
            "region_name": region,
            "aws_access_key_id": env["AWS_ACCESS_KEY_ID"],
            "aws_secret_access_key": env.get("AWS_SECRET_ACCESS_KEY"),
            "aws_session_token": env.get("AWS_SESSION_TOKEN"),
        }
    return {
        "region_name": region,
        "aws_access_key_id": "test",
        "aws_secret_access_key": "test",
    }


def _single(env: Mapping[str, str]) -> str | None:
    # Where one service has an endpoint of its own, none holds for all.
    own = any(env.get(name) for name in _ENDPOINTS[:2])
    return None if own else env.get("AWS_ENDPOINT_URL") or None


def _endpoints(env: Mapping[str, str]) -> dict[str, str]:
    # `env` need not be this process's own environment, in which botocore would look.
    found = {
        service: env.get(name) or env.get("AWS_ENDPOINT_URL")
        for service, name in _OWN_ENDPOINTS.items()
    }
    return {service: url for service, url in found.items() if url}
