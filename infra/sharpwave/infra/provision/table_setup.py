"""What has to be done to make a table what it should be."""

import time
from collections.abc import Iterator
from functools import partial
from typing import Any

from botocore.exceptions import ClientError

from sharpwave.infra.connection import Deployment
from sharpwave.infra.errors import Rejected, code_of, translated
from sharpwave.infra.provision.steps import TAG, Difference, Finding, Step, tag_value
from sharpwave.schemas.tables import TTL_ATTRIBUTE, Table, create_request

READY_WITHIN_S = 600.0
_POLL_S = 0.5
#: How emulators answer a request for a feature they lack.
_UNSUPPORTED = frozenset(
    {"UnknownOperationException", "UnknownOperation", "InvalidAction", "NotImplemented", "501"}
)


def table_findings(deployment: Deployment, table: Table) -> Iterator[Finding]:
    """Compare one table with its definition."""
    name = deployment.name(table.name)
    found = describe(deployment, name)
    if found is None:
        what = "keys, indexes and stream" if table.streamed else "keys and indexes"
        yield Step("create", "table", name, what, partial(_create, deployment, table))
        yield _ttl_step(deployment, name)
        yield _recovery_step(deployment, name)
        return
    yield from _shape(deployment, table, found)
    yield from _settings(deployment, name)


def describe(deployment: Deployment, name: str) -> dict[str, Any] | None:
    """Read a table's description; None if there is no such table."""
    with translated(f"table {name}"):
        try:
            answer = deployment.dynamodb.describe_table(TableName=name)
        except ClientError as error:
            if code_of(error) != "ResourceNotFoundException":
                raise
            return None
    return dict(answer["Table"])


def is_ours(deployment: Deployment, found: dict[str, Any]) -> bool:
    """Say whether provisioning made a table of this deployment."""
    with translated(f"table {found['TableName']}"):
        answer = deployment.dynamodb.list_tags_of_resource(ResourceArn=found["TableArn"])
    tags = {tag["Key"]: tag["Value"] for tag in answer.get("Tags", [])}
    return tags.get(TAG) == tag_value(deployment.prefix)


def delete(deployment: Deployment, name: str) -> None:
    """Delete a table and wait until it is gone."""
    with translated(f"table {name}"):
        deployment.dynamodb.delete_table(TableName=name)
    _poll(name, "gone", lambda: describe(deployment, name) is None)


def _create(deployment: Deployment, table: Table) -> None:
    request = create_request(table, deployment.prefix)
    request["Tags"] = [{"Key": TAG, "Value": tag_value(deployment.prefix)}]
    with translated(f"table {request['TableName']}"):
        try:
            deployment.dynamodb.create_table(**request)
        except ClientError as error:
            if code_of(error) != "ResourceInUseException":
                raise


def _shape(deployment: Deployment, table: Table, found: dict[str, Any]) -> Iterator[Finding]:
    wanted = create_request(table, deployment.prefix)
    name = wanted["TableName"]
    if _keys(found) != _keys(wanted):
        what = f"its keys are {_keys(found)}, not {_keys(wanted)}: use another prefix"
        yield Difference("table", name, what, breaks=True)
        return
    yield from _stream(deployment, wanted, found)
    existing = {index["IndexName"]: index for index in found.get("GlobalSecondaryIndexes", [])}
    for index in wanted.get("GlobalSecondaryIndexes", []):
        have = existing.get(index["IndexName"])
        if have is None:
            run = partial(_add_index, deployment, wanted, index)
            yield Step("mend", "table", name, f"add index {index['IndexName']}", run)
        elif _keys(have) != _keys(index) or not _carries(have, index):
            what = f"index {index['IndexName']} has other attributes; delete it and provision again"
            yield Difference("table", name, what, breaks=True)
    for extra in sorted(existing.keys() - {index.name for index in table.indexes}):
        what = f"nothing here reads its index {extra}, for which each put pays: delete it"
        yield Difference("table", name, what, breaks=False)


def _stream(
    deployment: Deployment, wanted: dict[str, Any], found: dict[str, Any]
) -> Iterator[Finding]:
    spec, have = wanted.get("StreamSpecification"), found.get("StreamSpecification") or {}
    name = wanted["TableName"]
    if spec is None:
        if have.get("StreamEnabled"):
            what = "it has a stream, which nothing reads"
            yield Difference("table", name, what, breaks=False)
    elif not have.get("StreamEnabled"):
        run = partial(_update, deployment, name, StreamSpecification=spec)
        yield Step("mend", "table", name, "enable the stream", run)
    elif have.get("StreamViewType") != spec["StreamViewType"]:
        what = f"its stream shows {have.get('StreamViewType')}, not {spec['StreamViewType']}"
        yield Difference("table", name, f"{what}: disable it and provision again", breaks=True)


def _settings(deployment: Deployment, name: str) -> Iterator[Finding]:
    with translated(f"table {name}"):
        answer = deployment.dynamodb.describe_time_to_live(TableName=name)
    ttl = answer.get("TimeToLiveDescription", {})
    if ttl.get("TimeToLiveStatus") not in ("ENABLED", "ENABLING"):
        yield _ttl_step(deployment, name)
    elif ttl.get("AttributeName") not in (None, TTL_ATTRIBUTE):
        what = f"items expire by {ttl['AttributeName']!r}, not by {TTL_ATTRIBUTE!r}: disable that"
        yield Difference("table", name, what, breaks=True)
    if _recovery(deployment, name) == "DISABLED":
        yield _recovery_step(deployment, name)


def _ttl_step(deployment: Deployment, name: str) -> Step:
    what = f"expire items by {TTL_ATTRIBUTE!r}"
    return Step("mend", "table", name, what, partial(_enable_ttl, deployment, name))


def _recovery_step(deployment: Deployment, name: str) -> Step:
    what = "point-in-time recovery, where there is any"
    return Step("mend", "table", name, what, partial(_enable_recovery, deployment, name))


def _enable_ttl(deployment: Deployment, name: str) -> None:
    _wait_active(deployment, name)
    with translated(f"table {name}"):
        deployment.dynamodb.update_time_to_live(
            TableName=name,
            TimeToLiveSpecification={"Enabled": True, "AttributeName": TTL_ATTRIBUTE},
        )


def _enable_recovery(deployment: Deployment, name: str) -> None:
    _wait_active(deployment, name)
    with translated(f"table {name}"):
        try:
            deployment.dynamodb.update_continuous_backups(
                TableName=name,
                PointInTimeRecoverySpecification={"PointInTimeRecoveryEnabled": True},
            )
        except ClientError as error:
            if code_of(error) not in _UNSUPPORTED:
                raise


def _recovery(deployment: Deployment, name: str) -> str | None:
    with translated(f"table {name}"):
        try:
            answer = deployment.dynamodb.describe_continuous_backups(TableName=name)
        except ClientError as error:
            if code_of(error) not in _UNSUPPORTED:
                raise
            return None
    backups = answer.get("ContinuousBackupsDescription", {})
    recovery = backups.get("PointInTimeRecoveryDescription", {})
    return recovery.get("PointInTimeRecoveryStatus")


def _add_index(deployment: Deployment, wanted: dict[str, Any], index: dict[str, Any]) -> None:
    # DynamoDB builds one index of a table at a time.
    _wait_active(deployment, wanted["TableName"])
    names = {part["AttributeName"] for part in index["KeySchema"]}
    _update(
        deployment,
        wanted["TableName"],
        AttributeDefinitions=[
            part for part in wanted["AttributeDefinitions"] if part["AttributeName"] in names
        ],
        GlobalSecondaryIndexUpdates=[{"Create": index}],
    )
    _wait_active(deployment, wanted["TableName"])


def _update(deployment: Deployment, name: str, **changes: Any) -> None:
    with translated(f"table {name}"):
        deployment.dynamodb.update_table(TableName=name, **changes)


def _wait_active(deployment: Deployment, name: str) -> None:
    _poll(name, "active", lambda: _is_active(describe(deployment, name)))


def _poll(name: str, state: str, is_reached: Any) -> None:
    deadline = time.monotonic() + READY_WITHIN_S
    while not is_reached():
        if time.monotonic() > deadline:
            text = f"table {name} is not {state} after {READY_WITHIN_S:.0f} s; run it again later"
            raise Rejected(text)
        time.sleep(_POLL_S)


def _is_active(found: dict[str, Any] | None) -> bool:
    if found is None:
        return False
    parts = [found["TableStatus"]]
    parts += [
        index.get("IndexStatus", "ACTIVE") for index in found.get("GlobalSecondaryIndexes", [])
    ]
    return all(part == "ACTIVE" for part in parts)


def _keys(described: dict[str, Any]) -> str:
    return " / ".join(part["AttributeName"] for part in described["KeySchema"])


def _carries(have: dict[str, Any], wanted: dict[str, Any]) -> bool:
    projection = have.get("Projection", {})
    names = wanted["Projection"].get("NonKeyAttributes", [])
    return projection.get("ProjectionType") == "ALL" or set(names) <= set(
        projection.get("NonKeyAttributes", ())
    )
