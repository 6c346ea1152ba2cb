"""The clients of one process, from AWS's own environment variables, and how they write requests.

Bodies of requests to DynamoDB and SQS are JSON of just what a call is given, and of replies just
what it gives. Botocore copies that member by member after the shapes of its model, which for typed
attributes takes longer than all the rest of a call, and for a stream record much longer than the
router needs. So here they are written and read at once.
"""

import os
from typing import Any, NamedTuple

import boto3
from botocore.config import Config
from msgspec import json as fast_json

from sharpwave.schemas.endpoints import is_local
from sharpwave.workers.aws.meter import Meter
from sharpwave.workers.work.incoming import page_of

_CONNECTIONS = 64
_BODY = "sharpwave_body"
#: Calls with long answers: of each of many entries what became of it, or a page of records.
_READ_AT_ONCE = (
    "dynamodb.BatchExecuteStatement",
    "dynamodb-streams.GetRecords",
    "sqs.SendMessageBatch",
    "sqs.DeleteMessageBatch",
)


class Clients(NamedTuple):
    """Low-level clients, safe to share between threads."""

    dynamodb: Any
    streams: Any
    sqs: Any
    s3: Any


def clients(meter: Meter | None = None) -> Clients:
    """Make the clients; a `meter` watches the calls of all of them."""
    made = [client(name) for name in ("dynamodb", "dynamodbstreams", "sqs", "s3")]
    return Clients(*(meter.watch(each) if meter else each for each in made))


def client(service: str) -> Any:
    """Make a low-level client of one service, by its name in boto3."""
    config = Config(
        # What was throttled or got no answer has been tried five times, with jitter, when a
        # client raises it: to try it again at once would only add to the load.
        retries={"mode": "standard", "total_max_attempts": 5},
        # Every thread of a worker may be in a call, and each of those may spread over more.
        max_pool_connections=_CONNECTIONS,
        connect_timeout=5,
        # Longer than SQS's longest poll, 20 s.
        read_timeout=30,
        # It walks each request after its model again; what we write is our own.
        parameter_validation=False,
        # Botocore would put it together anew for every request, twice.
        user_agent=f"Boto3/{boto3.__version__} sharpwave",
    )
    session: Any = boto3.session.Session()
    made = session.client(service, config=config, **local_credentials())
    return made if service == "s3" else written_at_once(made)


def local_credentials() -> dict[str, str]:
    """Give a local endpoint a region, and the emulators' credentials when none are set."""
    if not is_local(os.environ.get("AWS_ENDPOINT_URL")):
        return {}
    region = {"region_name": os.environ.get("AWS_DEFAULT_REGION", "us-east-1")}
    if os.environ.get("AWS_ACCESS_KEY_ID"):
        return region
    return {"aws_access_key_id": "test", "aws_secret_access_key": "test", **region}


def written_at_once(client: Any) -> Any:
    """Have a `dynamodb`, `dynamodbstreams` or `sqs` client write and read bodies as they are.

    The client must not validate parameters. What others have registered for
    `before-parameter-build` comes first. Times in requests, which only calls about exports and
    backups have, are not written as these services want them. Binary attributes that a statement
    returns are base64 text, and the records of a stream are `Streamed` ones.

    Returns:
        The same client.
    """
    if client.meta.service_model.resolved_protocol != "json":
        return client  # a later botocore may speak another with these services
    client.meta.events.register_last("before-parameter-build", _write)
    client.meta.events.register_last("before-call", _put_in_place)
    for operation in _READ_AT_ONCE:
        client.meta.events.register(f"before-parse.{operation}", _read)
    return client


def _write(params: dict[str, Any], model: Any, context: dict[str, Any], **_: Any) -> None:
    if model.operation_context_parameters:
        return  # botocore looks into the request for its endpoint
    try:
        context[_BODY] = fast_json.encode(params)
    except (TypeError, ValueError):
        return  # halves of surrogate pairs, say: botocore writes them
    # There is nothing left to copy.
    params.clear()


def _put_in_place(params: dict[str, Any], context: dict[str, Any], **_: Any) -> None:
    body = context.pop(_BODY, None)
    if body is not None:
        params["body"] = body


def _read(
    response_dict: dict[str, Any],
    customized_response_dict: dict[str, Any],
    operation_model: Any,
    **_: Any,
) -> None:
    # The body of an error has another shape, which botocore turns into a `ClientError`.
    if response_dict["status_code"] >= 300:
        return
    read = page_of if operation_model.name == "GetRecords" else fast_json.decode
    try:
        customized_response_dict.update(read(response_dict["body"]))
    except ValueError:
        return  # some backends write a time as text, say: botocore knows what to make of it
    # There is nothing left to copy.
    response_dict["body"] = b"{}"
