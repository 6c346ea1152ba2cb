"""The router as a Lambda function of the embedded backend, read for by its event source mappings.

The settings are those of the stacks for AWS. For streams the backend's mappings heed neither which
records a function says it failed on, nor bisecting or retries: a failing batch is called again
whole.
"""

import json
import sys
import time
from collections.abc import Mapping
from typing import Any

from sharpwave.infra.aws.function import FILTERS, architecture_here, package
from sharpwave.infra.connection import Deployment
from sharpwave.infra.errors import translated
from sharpwave.infra.local.backend import BackendUnavailable
from sharpwave.schemas.tables import STREAMED

FUNCTION = "sharpwave-router"
_READY_WITHIN_S = 20.0
#: A part of a batch that failed would be passed over, so all of it fails.
_WHOLE_BATCH = """from stream_lambda import handler as route


def handler(event, context=None):
    failures = route(event, context)["batchItemFailures"]
    if failures:
        raise RuntimeError(f"not accepted from {failures[0]['itemIdentifier']} on")
    return {"batchItemFailures": []}
"""


def deploy_router(deployment: Deployment, environment: Mapping[str, str]) -> None:
    """Make the function and a mapping for each streamed table, and wait until they are enabled.

    Args:
        deployment: where; its tables exist.
        environment: what a pump would be told; of it the function gets AWS's and our own variables.

    Raises:
        OperationFailed: the function could not be packaged or made.
        BackendUnavailable: the mappings did not become ready.
    """
    client: Any = deployment.session.client("lambda", endpoint_url=deployment.endpoint("lambda"))
    streams: Any = deployment.session.client(
        "dynamodbstreams", endpoint_url=deployment.endpoint("dynamodb")
    )
    version = f"{sys.version_info.major}.{sys.version_info.minor}"
    code = package(
        architecture=architecture_here(), python=version, more={"whole_batch.py": _WHOLE_BATCH}
    )
    ours = ("AWS_", "SHARPWAVE_")
    told = {name: value for name, value in environment.items() if name.startswith(ours)}
    with translated("the router's function"):
        # Where state is kept, functions are kept as well.
        _remove(client, deployment.name(FUNCTION))
        made = client.create_function(
            FunctionName=deployment.name(FUNCTION),
            Runtime=f"python{version}",
            Role="arn:aws:iam::000000000000:role/sharpwave-router",
            Handler="whole_batch.handler",
            Code={"ZipFile": code},
            Timeout=60,
            MemorySize=512,
            Environment={"Variables": told},
        )
        waiting = set()
        for table in STREAMED:
            found = streams.list_streams(TableName=deployment.name(table))["Streams"]
            filters = [{"Pattern": json.dumps(_shallow(each))} for each in FILTERS.get(table, [])]
            mapping = client.create_event_source_mapping(
                EventSourceArn=found[-1]["StreamArn"],
                FunctionName=made["FunctionArn"],
                # What agents wrote before the mapping existed is routed too.
                StartingPosition="TRIM_HORIZON",
                BatchSize=1000,
                FunctionResponseTypes=["ReportBatchItemFailures"],
                **({"FilterCriteria": {"Filters": filters}} if filters else {}),
            )
            waiting.add(mapping["UUID"])
        deadline = time.monotonic() + _READY_WITHIN_S
        while waiting:
            mappings = [client.get_event_source_mapping(UUID=each) for each in waiting]
            waiting -= {each["UUID"] for each in mappings if each["State"] == "Enabled"}
            if waiting and time.monotonic() > deadline:
                states = ", ".join(each["State"] for each in mappings)
                raise BackendUnavailable("lambda", f"its mappings stay {states}")
            time.sleep(0.05 if waiting else 0)


def _shallow(pattern: Any) -> Any:
    """Ask for absence a level higher than at AWS: this backend sees none within what is absent."""
    if not isinstance(pattern, dict):
        return pattern
    absent = [{"exists": False}]
    return absent if absent in pattern.values() else {n: _shallow(p) for n, p in pattern.items()}


def _remove(client: Any, function: str) -> None:
    """Remove what an earlier run left where state is kept: its mappings read streams that ended."""
    if not any(each["FunctionName"] == function for each in client.list_functions()["Functions"]):
        return
    for each in client.list_event_source_mappings(FunctionName=function)["EventSourceMappings"]:
        client.delete_event_source_mapping(UUID=each["UUID"])
    client.delete_function(FunctionName=function)
