"""Requests to DynamoDB and SQS, written at once, and replies to batches, read at once.

Their bodies are JSON of just what a call is given or gives. Botocore copies that member by member
after the shapes of its model, which for typed attributes takes longer than all the rest of a call.
"""

from typing import Any

from msgspec import json as fast_json

_BODY = "sharpwave_body"
#: Calls that say of each of many entries what became of it.
_BATCHES = ("dynamodb.BatchExecuteStatement", "sqs.SendMessageBatch", "sqs.DeleteMessageBatch")


def written_at_once(client: Any) -> Any:
    """Have a `dynamodb` or `sqs` client write and read bodies as they are; gives the client back.

    The client must not validate parameters. What others have registered for
    `before-parameter-build` comes first. Times in requests, which only calls about exports and
    backups have, are not written as these services want them. Binary attributes that a statement
    returns are base64 text, as in a stream that Lambda reads.
    """
    if client.meta.service_model.resolved_protocol != "json":
        return client  # a later botocore may speak another with these services
    client.meta.events.register_last("before-parameter-build", _write)
    client.meta.events.register_last("before-call", _put_in_place)
    for operation in _BATCHES:
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
    response_dict: dict[str, Any], customized_response_dict: dict[str, Any], **_: Any
) -> None:
    if response_dict["status_code"] >= 300:
        return
    try:
        customized_response_dict.update(fast_json.decode(response_dict["body"]))
    except ValueError:
        return  # botocore knows what to make of it
    # There is nothing left to copy.
    response_dict["body"] = b"{}"
