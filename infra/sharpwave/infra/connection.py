"""Clients for the tables and queues of one deployment."""

import re
from collections.abc import Mapping
from functools import cached_property
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

import boto3
from botocore.config import Config

from sharpwave.infra.errors import Misused, translated
from sharpwave.schemas import ids, tables
from sharpwave.schemas.endpoints import is_local

if TYPE_CHECKING:
    from mypy_boto3_dynamodb import DynamoDBClient
    from mypy_boto3_sqs import SQSClient

LOCAL_REGION = "us-east-1"
_OWN_ENDPOINTS = {
    "dynamodb": "AWS_ENDPOINT_URL_DYNAMODB",
    "sqs": "AWS_ENDPOINT_URL_SQS",
    "dynamodbstreams": "AWS_ENDPOINT_URL_DYNAMODB_STREAMS",
    "s3": "AWS_ENDPOINT_URL_S3",
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

    @cached_property
    def s3(self) -> Any:
        """The client of archives and of discarded batches; made by who asks, as few do."""
        with translated("client of the archive"):
            return self.session.client("s3", endpoint_url=self.endpoint("s3"))

    def check(self) -> None:
        """Make sure that AWS's settings suffice; no request is made.

        Raises:
            Denied: they name no region.
        """
        _ = self.dynamodb, self.sqs

    def endpoint(self, service: str) -> str | None:
        """Say where a service is, by its name in boto3; None is where AWS has it."""
        return self.endpoint_url or self._endpoints.get(service) or None

    @property
    def _config(self) -> Config:
        # Somebody waits at a terminal; workers and agents, which do not, have more patience.
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
    common = env.get("AWS_ENDPOINT_URL") or None
    # `env` need not be this process's own environment, in which botocore would look.
    own = {service: env.get(name) or None for service, name in _OWN_ENDPOINTS.items()}
    effective = endpoint_url or own["dynamodb"] or own["sqs"] or common
    if effective is not None:
        check_endpoint(effective)
    at_home, settings = is_local(effective), dict[str, Any]()
    if at_home:
        # An emulator asks for a region and for credentials, but looks at none.
        region = env.get("AWS_REGION") or env.get("AWS_DEFAULT_REGION")
        settings["region_name"] = region or LOCAL_REGION
        if env.get("AWS_PROFILE"):
            settings["profile_name"] = env["AWS_PROFILE"]
        elif env.get("AWS_ACCESS_KEY_ID"):
            settings["aws_access_key_id"] = env["AWS_ACCESS_KEY_ID"]
            settings["aws_secret_access_key"] = env.get("AWS_SECRET_ACCESS_KEY")
            settings["aws_session_token"] = env.get("AWS_SESSION_TOKEN")
        else:
            settings["aws_access_key_id"] = settings["aws_secret_access_key"] = "test"
    with translated("AWS's settings"):
        session = boto3.Session(**settings)
    return Deployment(
        session,
        prefix=prefix,
        # Where the tables or the queues have an endpoint of their own, none holds for all.
        endpoint_url=endpoint_url or (None if own["dynamodb"] or own["sqs"] else common),
        endpoints={service: url or common or "" for service, url in own.items()},
        is_local=at_home,
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


def check_endpoint(url: str) -> None:
    """Refuse what is no http or https URL; botocore would take it and fail later.

    Raises:
        Misused: it is none.
    """
    parts = urlsplit(url)
    if parts.scheme not in ("http", "https") or not parts.hostname:
        raise Misused(f"endpoint {url!r} is no URL; write http://127.0.0.1:4566")
