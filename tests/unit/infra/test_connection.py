"""A local endpoint gets test credentials; an operator's own never travel to one unasked."""

import os

import pytest
from botocore.exceptions import (
    ClientError,
    ConnectTimeoutError,
    CredentialRetrievalError,
    EndpointConnectionError,
    NoCredentialsError,
    ParamValidationError,
    PartialCredentialsError,
    ProxyConnectionError,
    ReadTimeoutError,
    SSLError,
)

from sharpwave.infra import errors
from sharpwave.infra.connection import check_endpoint, connect
from sharpwave.infra.errors import Misused, translated
from sharpwave.producers.connect import local_defaults
from sharpwave.workers.aws.clients import local_credentials

LOCAL = "http://127.0.0.1:4566"


@pytest.fixture(autouse=True)
def _no_aws(monkeypatch: pytest.MonkeyPatch, tmp_path) -> None:  # type: ignore[no-untyped-def]
    for name in ("AWS_PROFILE", "AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_REGION"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    monkeypatch.setenv("AWS_CONFIG_FILE", str(tmp_path / "config"))
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", str(tmp_path / "credentials"))


@pytest.mark.parametrize(
    ("url", "verdict"),
    [
        ("http://127.0.0.1:4566", True),
        ("http://127.9.9.9", True),
        ("http://localhost:4566", True),
        ("http://localstack:4566", True),
        ("http://ministack:4566", True),
        ("http://host.docker.internal:4566", True),
        ("http://sqs.us-east-1.localhost.localstack.cloud:4566", True),
        ("http://10.0.0.7:4566", False),
        ("https://dynamodb.eu-west-1.amazonaws.com", False),
    ],
)
def test_agents_workers_and_operators_agree_on_what_is_local(
    url: str, verdict: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("AWS_DEFAULT_REGION", "AWS_REGION"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("AWS_ENDPOINT_URL", url)

    assert bool(local_defaults(None)) is verdict
    assert bool(local_credentials()) is verdict
    assert connect(os.environ).is_local is verdict


@pytest.mark.parametrize("url", ["127.0.0.1:4566", "ftp://localhost", "http://", ""])
def test_what_is_no_url_is_refused(url: str) -> None:
    with pytest.raises(Misused, match="is no URL"):
        check_endpoint(url)


@pytest.mark.parametrize("prefix", ["UPPER", "a_b", "p" * 21, "a b", "a\n"])
def test_a_prefix_that_fits_no_name_is_refused(prefix: str) -> None:
    with pytest.raises(Misused, match="cannot be used"):
        connect({}, endpoint_url=LOCAL, prefix=prefix)


def test_a_local_endpoint_gets_test_credentials() -> None:
    made = connect({"AWS_ENDPOINT_URL": LOCAL})

    credentials = made.session.get_credentials()
    assert made.is_local
    assert credentials is not None
    assert (credentials.access_key, credentials.secret_key) == ("test", "test")
    assert made.dynamodb.meta.endpoint_url == made.sqs.meta.endpoint_url == LOCAL


def test_credentials_that_are_set_are_used(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "111111111111")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "x")
    env = {"AWS_ENDPOINT_URL": LOCAL, "AWS_ACCESS_KEY_ID": "111111111111"}

    credentials = connect(env).session.get_credentials()

    assert credentials is not None
    assert credentials.access_key == "111111111111"


def test_aws_itself_gets_no_test_credentials() -> None:
    made = connect({"AWS_REGION": "eu-west-1"})

    assert not made.is_local
    assert made.session.get_credentials() is None


def test_an_option_overrides_the_environment() -> None:
    made = connect({"AWS_ENDPOINT_URL": "https://example.com"}, endpoint_url=LOCAL)

    assert made.is_local
    assert made.sqs.meta.endpoint_url == LOCAL


def test_one_service_may_live_elsewhere() -> None:
    env = {"AWS_ENDPOINT_URL": LOCAL, "AWS_ENDPOINT_URL_SQS": "http://localhost:4568"}

    made = connect(env)

    assert made.dynamodb.meta.endpoint_url == LOCAL
    assert made.sqs.meta.endpoint_url == "http://localhost:4568"


def of_client(code: str) -> ClientError:
    return ClientError({"Error": {"Code": code, "Message": "no"}}, "Operation")


@pytest.mark.parametrize(
    ("raised", "expected"),
    [
        (of_client("ResourceNotFoundException"), errors.Missing),
        (of_client("AWS.SimpleQueueService.NonExistentQueue"), errors.Missing),
        (of_client("AccessDeniedException"), errors.Denied),
        (of_client("AWS.SimpleQueueService.QueueDeletedRecently"), errors.Conflict),
        (of_client("ValidationException"), errors.Rejected),
        (EndpointConnectionError(endpoint_url=LOCAL), errors.Unreachable),
        (ConnectTimeoutError(endpoint_url=LOCAL), errors.Unreachable),
        (ReadTimeoutError(endpoint_url=LOCAL), errors.Unreachable),
        (SSLError(endpoint_url=LOCAL, error=ValueError("bad certificate")), errors.Unreachable),
        (ProxyConnectionError(proxy_url=LOCAL), errors.Unreachable),
        (NoCredentialsError(), errors.Denied),
        (PartialCredentialsError(provider="env", cred_var="secret"), errors.Denied),
        (CredentialRetrievalError(provider="sso", error_msg="expired"), errors.Denied),
        (ParamValidationError(report="no such thing"), errors.Rejected),
    ],
    ids=lambda value: value.__name__ if isinstance(value, type) else type(value).__name__,
)
def test_what_aws_says_is_told_as_what_it_is(raised: Exception, expected: type[Exception]) -> None:
    with pytest.raises(expected, match="table x") as caught, translated("table x"):
        raise raised

    assert caught.value.__cause__ is raised


def test_a_profile_that_does_not_exist_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_PROFILE", "nobody")

    with pytest.raises(errors.Denied, match=r"nobody.*AWS_PROFILE"):
        connect({"AWS_PROFILE": "nobody"})


def test_a_region_that_is_missing_is_asked_for(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("AWS_DEFAULT_REGION", raising=False)
    deployment = connect({})

    for service in ("dynamodb", "sqs"):
        with pytest.raises(errors.Denied, match="export AWS_DEFAULT_REGION"):
            getattr(deployment, service)
