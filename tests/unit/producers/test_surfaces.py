"""Both surfaces run the same operations and raise the same errors; extras stay optional."""

import asyncio
import inspect
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import boto3
import pytest
from botocore.exceptions import (
    ClientError,
    EndpointConnectionError,
    NoCredentialsError,
    ParamValidationError,
    PartialCredentialsError,
)

from sharpwave.producers import (
    Agent,
    AsyncAgent,
    AsyncDelivery,
    AsyncLimiter,
    Delivery,
    Limiter,
    errors,
)
from sharpwave.producers.call import Call, Operation, Pause
from sharpwave.producers.connect import config, local_defaults
from sharpwave.producers.drivers import AsyncDriver, Driver

Run = Callable[[Any, Any], Any]


def public(surface: type) -> dict[str, inspect.Signature]:
    members = inspect.getmembers(surface, inspect.isfunction)
    return {name: inspect.signature(f) for name, f in members if not name.startswith("_")}


@pytest.mark.parametrize(
    ("sync", "awaited"), [(Agent, AsyncAgent), (Delivery, AsyncDelivery), (Limiter, AsyncLimiter)]
)
def test_the_surfaces_have_the_same_methods(sync: type, awaited: type) -> None:
    ours, theirs = public(sync), public(awaited)

    # `async with` closes; an inbox gives deliveries of its own kind, and so does a limit.
    for name in ("close", "inbox", "limit"):
        ours.pop(name, None), theirs.pop(name, None)
    assert ours == theirs
    assert len(ours) >= 2


def test_a_method_shows_its_arguments_result_and_meaning() -> None:
    shown = inspect.signature(Agent.correct_outcome)

    assert shown.return_annotation is int
    assert list(shown.parameters)[1:] == ["decision", "success", "quality_score", "details"]
    assert (Agent.correct_outcome.__doc__ or "").startswith("Replace a decision's outcome.")


@pytest.fixture(params=["sync", "async"])
def run(request: pytest.FixtureRequest) -> Run:
    """Run an operation whose calls are answered by a function."""

    def synchronous(operation: Any, answer: Callable[..., Any]) -> Any:
        return Driver({"sqs": type("Client", (), {"ask": staticmethod(answer)})}).run(operation)

    def awaited(operation: Any, answer: Callable[..., Any]) -> Any:
        async def ask(**params: Any) -> Any:
            return answer(**params)

        client = type("Client", (), {"ask": staticmethod(ask)})
        return asyncio.run(AsyncDriver({"sqs": client}).run(operation))

    return synchronous if request.param == "sync" else awaited


def asking(*numbers: int) -> Operation[int]:
    total = 0
    for number in numbers:
        yield Pause(0)
        reply = yield Call("sqs", "ask", {"n": number})
        total += reply["n"]
    return total


def test_replies_go_back_into_the_operation(run: Run) -> None:
    assert run(asking(1, 2, 3), lambda n: {"n": n * 10}) == 60


@pytest.mark.parametrize(
    ("code", "status", "expected"),
    [
        ("ConditionalCheckFailedException", 400, errors.ConditionFailed),
        ("AWS.SimpleQueueService.NonExistentQueue", 400, errors.QueueMissing),
        ("ResourceNotFoundException", 400, errors.TableMissing),
        ("AccessDeniedException", 400, errors.AccessDenied),
        ("ExpiredToken", 403, errors.AccessDenied),
        ("SignatureDoesNotMatch", 403, errors.AccessDenied),
        ("ThrottlingException", 400, errors.Throttled),
        ("Throttling", 400, errors.Throttled),
        ("KMS.ThrottlingException", 400, errors.Throttled),
        ("RequestTimeout", 400, errors.ServiceFailed),
        ("AWS.SimpleQueueService.QueueDeletedRecently", 400, errors.ServiceFailed),
        ("ValidationException", 400, errors.InvalidRequest),
        ("InternalServerError", 500, errors.ServiceFailed),
    ],
)
def test_errors_of_a_service_are_translated_once(
    run: Run, code: str, status: int, expected: type[Exception]
) -> None:
    response: Any = {"Error": {"Code": code, "Message": "no"}}
    response["ResponseMetadata"] = {"HTTPStatusCode": status}
    raised = ClientError(response, "Ask")

    def refuse(n: int) -> None:
        raise raised

    with pytest.raises(expected) as caught:
        run(asking(1), refuse)
    assert caught.value.__cause__ is raised


@pytest.mark.parametrize(
    ("raised", "expected"),
    [
        (EndpointConnectionError(endpoint_url="http://x"), errors.Unreachable),
        (NoCredentialsError(), errors.AccessDenied),
        (PartialCredentialsError(provider="env", cred_var="secret"), errors.AccessDenied),
        (ParamValidationError(report="no such thing"), errors.InvalidRequest),
    ],
)
def test_errors_before_the_service_are_translated_too(
    run: Run, raised: Exception, expected: type[Exception]
) -> None:
    def refuse(n: int) -> None:
        raise raised

    with pytest.raises(expected, match="ask on sqs"):
        run(asking(1), refuse)


def test_other_exceptions_pass_through(run: Run) -> None:
    with pytest.raises(ZeroDivisionError):
        run(asking(1), lambda n: 1 // 0)


def test_an_asynchronous_agent_says_how_to_open_it() -> None:
    agent = AsyncAgent("risk", endpoint_url="http://127.0.0.1:1")

    with pytest.raises(RuntimeError, match="async with AsyncAgent"):
        asyncio.run(agent.recall())


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"agent_id": "Not An Agent"}, "cannot name an agent"),
        ({"agent_id": "risk", "prefix": "UPPER"}, "is no prefix"),
    ],
)
def test_names_that_cannot_be_are_refused_at_once(arguments: Any, message: str) -> None:
    for surface in (Agent, AsyncAgent):
        with pytest.raises(ValueError, match=message):
            surface(**arguments)


def test_a_local_backend_needs_no_configuration(monkeypatch: pytest.MonkeyPatch) -> None:
    _bare(monkeypatch)
    monkeypatch.setenv("AWS_ENDPOINT_URL", "http://127.0.0.1:4566")

    found = local_defaults(None)

    assert found["region_name"] == "us-east-1"
    assert found["aws_access_key_id"] == found["aws_secret_access_key"] == "test"


def test_what_is_configured_is_left_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    _bare(monkeypatch)
    away = local_defaults("https://dynamodb.eu-west-1.amazonaws.com")
    for name in ("ACCESS_KEY_ID", "SECRET_ACCESS_KEY", "DEFAULT_REGION"):
        monkeypatch.setenv(f"AWS_{name}", "mine")

    assert away == {} == local_defaults("http://127.0.0.1:4566")


def test_an_agent_that_is_told_no_place_says_what_to_export(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    for name in ("AWS_ENDPOINT_URL", "AWS_DEFAULT_REGION", "AWS_PROFILE"):
        monkeypatch.delenv(name, raising=False)
    for name in ("AWS_CONFIG_FILE", "AWS_SHARED_CREDENTIALS_FILE"):
        monkeypatch.setenv(name, str(tmp_path / name))

    async def awaited() -> None:
        async with AsyncAgent("ann"):
            raise AssertionError("opened")

    for opening in (lambda: Agent("ann"), lambda: asyncio.run(awaited())):
        with pytest.raises(errors.NotConfigured, match="export AWS_ENDPOINT_URL=") as told:
            opening()
        assert "export AWS_DEFAULT_REGION=" in str(told.value)
    monkeypatch.setenv("AWS_PROFILE", "nobodys")
    with pytest.raises(errors.NotConfigured, match=r"nobodys.*AWS_PROFILE"):
        Agent("ann")


def test_importing_the_package_brings_no_extra() -> None:
    code = (
        "import sys, sharpwave.producers;"
        "print(sorted({'aiobotocore', 'amazondax', 'dramatiq', 'msgspec'} & set(sys.modules)))"
    )

    said = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)

    assert said.stdout.strip() == "[]"


@pytest.mark.parametrize(
    ("missing", "make", "extra"),
    [
        ("aiobotocore.session", lambda: AsyncAgent("risk"), "async"),
        ("amazondax", lambda: Agent("risk", dax_endpoint="dax://x:8111"), "dax"),
    ],
)
def test_a_missing_extra_is_named(
    monkeypatch: pytest.MonkeyPatch, missing: str, make: Callable[[], object], extra: str
) -> None:
    monkeypatch.setitem(sys.modules, missing, None)

    with pytest.raises(errors.ExtraMissing, match=rf"pip install 'sharpwave\[{extra}\]'"):
        make()


def _bare(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("AWS_CONFIG_FILE", "AWS_SHARED_CREDENTIALS_FILE"):
        monkeypatch.setenv(name, "/dev/null")
    unset = ("ACCESS_KEY_ID", "SECRET_ACCESS_KEY", "DEFAULT_REGION", "REGION", "PROFILE")
    for name in (*unset, "ENDPOINT_URL"):
        monkeypatch.delenv(f"AWS_{name}", raising=False)


def test_requests_name_this_library_in_words_that_are_ready() -> None:
    made: Any = boto3.session.Session("test", "test", region_name="us-east-1")
    client = made.client("sqs", endpoint_url="http://127.0.0.1:1", config=config())
    said: list[bytes] = []

    def refuse(request: Any, **_: Any) -> None:
        said.append(request.headers["User-Agent"])
        raise RuntimeError("sent")

    client.meta.events.register("before-send", refuse)
    with pytest.raises(RuntimeError, match="sent"):
        client.list_queues()

    assert said[0].startswith(b"sharpwave")
    assert b"#" not in said[0]  # nothing of what botocore gathers about the machine
