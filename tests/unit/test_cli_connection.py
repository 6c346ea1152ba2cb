"""A local endpoint gets test credentials; an operator's own never travel to one unasked."""

import pytest

from sharpwave.infra.connection import connect, is_local_url
from sharpwave.infra.errors import Misused

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
        ("http://localhost:4566", True),
        ("http://127.0.0.1:4566", True),
        ("http://127.9.9.9", True),
        ("http://[::1]:4566", True),
        ("http://localstack:4566", True),
        ("http://sqs.us-east-1.localhost.localstack.cloud:4566", True),
        ("https://dynamodb.eu-west-1.amazonaws.com", False),
        ("http://10.0.0.7:4566", False),
        ("https://localhost.example.com", False),
    ],
)
def test_local_is_this_machine_and_its_containers(url: str, verdict: bool) -> None:
    assert is_local_url(url) is verdict


@pytest.mark.parametrize("url", ["127.0.0.1:4566", "ftp://localhost", "http://", ""])
def test_what_is_no_url_is_refused(url: str) -> None:
    with pytest.raises(Misused, match="is no URL"):
        is_local_url(url)


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
