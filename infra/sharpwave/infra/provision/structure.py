"""Tables and queues of a deployment: compared with their definition, made, mended, removed again.

Comparing gives findings: steps that put something right, and differences that are left alone.
"""

import time
from collections.abc import Callable, Iterator
from functools import partial
from typing import Any, Literal, NamedTuple

from botocore.exceptions import ClientError

from sharpwave.infra.connection import Deployment
from sharpwave.infra.errors import Rejected, translated
from sharpwave.infra.mailbox import Mailbox, attributes_of, inbox_names, redrive_of
from sharpwave.schemas.queues import DLQ_ATTRIBUTES, DLQ_SUFFIX, WORK_QUEUES, Queue
from sharpwave.schemas.tables import TABLES, TTL_ATTRIBUTE, Table, create_request
from sharpwave.workers.aws.errors import code_of

#: Every table and queue made here carries this tag; nothing without it is ever destroyed.
TAG = "sharpwave"
READY_WITHIN_S = 600.0
_POLL_S = 0.5
#: How emulators answer a request for a feature they lack.
_UNSUPPORTED = frozenset(
    {"UnknownOperationException", "UnknownOperation", "InvalidAction", "NotImplemented", "501"}
)
_TUNABLE = ("VisibilityTimeout", "MessageRetentionPeriod", "ReceiveMessageWaitTimeSeconds")

Kind = Literal["table", "queue", "agent", "role"]
Action = Literal["create", "mend", "delete"]


class Step(NamedTuple):
    """Something to do; `run` is safe to repeat."""

    action: Action
    kind: Kind
    name: str
    what: str
    run: Callable[[], None]

    def view(self) -> dict[str, str]:
        """Give the step as data."""
        return {"action": self.action, "kind": self.kind, "name": self.name, "what": self.what}


class Difference(NamedTuple):
    """Something that differs from its definition and is left as it is.

    `breaks` says that the pipeline cannot work with it; otherwise it may be an operator's choice.
    """

    kind: Kind
    name: str
    what: str
    breaks: bool


class Kept(NamedTuple):
    """Something `destroy` does not touch, and why."""

    kind: Kind
    name: str
    why: str


Finding = Step | Difference


class Provisioned(NamedTuple):
    """What was done, or with a dry run would be, and what was left as it is."""

    steps: tuple[Step, ...]
    differences: tuple[Difference, ...]

    @property
    def works(self) -> bool:
        """Say whether the pipeline can work with what is left as it is."""
        return not any(difference.breaks for difference in self.differences)


class Destroyed(NamedTuple):
    """What was deleted, or with a dry run would be, and what was kept."""

    steps: tuple[Step, ...]
    kept: tuple[Kept, ...]


def survey(deployment: Deployment) -> list[Finding]:
    """Compare all tables and work queues with their definitions; changes nothing."""
    found = [finding for table in TABLES for finding in table_findings(deployment, table)]
    return found + [each for queue in WORK_QUEUES for each in queue_findings(deployment, queue)]


def provision(deployment: Deployment, *, dry_run: bool = False) -> Provisioned:
    """Make what is missing and put right what can be, without touching any item or message.

    Safe to repeat: a second run finds nothing to do.

    Raises:
        OperationFailed: the backend refuses a step; what was done before it stays.
    """
    return carry_out(survey(deployment), dry_run=dry_run)


def carry_out(findings: list[Finding], *, dry_run: bool) -> Provisioned:
    """Run the steps among the findings: what is missing is made before anything is mended."""
    steps = [found for found in findings if isinstance(found, Step)]
    # Tables take seconds to become active at AWS, so all are asked for before any is waited for.
    steps.sort(key=lambda step: step.action != "create")
    for step in () if dry_run else steps:
        step.run()
    left = tuple(found for found in findings if isinstance(found, Difference))
    return Provisioned(tuple(steps), left)


def destroy(deployment: Deployment, *, dry_run: bool = False) -> Destroyed:
    """Delete every table and queue that was made here, with all they hold; safe to repeat.

    Inbox queues go as well. What lacks the tag of this deployment is kept.
    """
    found: list[Step | Kept] = []
    names = [queue.name for queue in WORK_QUEUES] + inbox_names(deployment)
    for name in [part for one in names for part in (one, one + DLQ_SUFFIX)]:
        attributes = attributes_of(deployment, name)
        if attributes is None:
            continue
        box = Mailbox(deployment, name)
        with translated(f"queue {box.physical}"):
            tags = deployment.sqs.list_queue_tags(QueueUrl=box.url).get("Tags", {})
        if tags.get(TAG) == _tag_value(deployment):
            held = attributes.get("ApproximateNumberOfMessages", "0")
            what = f"with about {held} messages"
            found.append(Step("delete", "queue", box.physical, what, box.drop))
        else:
            why = "not made by `sharpwave provision` or `agents add`"
            found.append(Kept("queue", box.physical, why))
    for table in TABLES:
        name = deployment.name(table.name)
        there = describe(deployment, name)
        if there is None:
            continue
        with translated(f"table {name}"):
            answer = deployment.dynamodb.list_tags_of_resource(ResourceArn=there["TableArn"])
        tags = {tag["Key"]: tag["Value"] for tag in answer.get("Tags", [])}
        if tags.get(TAG) == _tag_value(deployment):
            # DynamoDB counts a table's items about every six hours.
            what = f"with about {there.get('ItemCount', 0)} items"
            run = partial(_delete_table, deployment, name)
            found.append(Step("delete", "table", name, what, run))
        else:
            found.append(Kept("table", name, "not made by `sharpwave provision`"))
    steps = tuple(one for one in found if isinstance(one, Step))
    for step in () if dry_run else steps:
        step.run()
    return Destroyed(steps, tuple(one for one in found if isinstance(one, Kept)))


def describe(deployment: Deployment, name: str) -> dict[str, Any] | None:
    """Read a table's description by its physical name; None if there is no such table."""
    with translated(f"table {name}"):
        try:
            return dict(deployment.dynamodb.describe_table(TableName=name)["Table"])
        except ClientError as error:
            if code_of(error) != "ResourceNotFoundException":
                raise
            return None


def table_findings(deployment: Deployment, table: Table) -> Iterator[Finding]:
    """Compare one table with its definition."""
    wanted = create_request(table, deployment.prefix)
    name = wanted["TableName"]
    by_ttl, recovery = f"expire items by {TTL_ATTRIBUTE!r}", "point-in-time recovery"
    mend_ttl = Step("mend", "table", name, by_ttl, partial(_enable_ttl, deployment, name))
    mend_recovery = Step(
        "mend",
        "table",
        name,
        f"{recovery}, where there is any",
        partial(_enable_recovery, deployment, name),
    )
    found = describe(deployment, name)
    if found is None:
        what = "keys, indexes and stream" if table.streamed else "keys and indexes"
        yield Step("create", "table", name, what, partial(_create_table, deployment, wanted))
        yield from (mend_ttl, mend_recovery)
        return
    yield from _shape(deployment, wanted, found)
    with translated(f"table {name}"):
        answer = deployment.dynamodb.describe_time_to_live(TableName=name)
    ttl = answer.get("TimeToLiveDescription", {})
    if ttl.get("TimeToLiveStatus") not in ("ENABLED", "ENABLING"):
        yield mend_ttl
    elif ttl.get("AttributeName") not in (None, TTL_ATTRIBUTE):
        what = f"items expire by {ttl['AttributeName']!r}, not by {TTL_ATTRIBUTE!r}: disable that"
        yield Difference("table", name, what, breaks=True)
    with translated(f"table {name}"):
        try:
            known = deployment.dynamodb.describe_continuous_backups(TableName=name)
        except ClientError as error:
            if code_of(error) not in _UNSUPPORTED:
                raise
            return
    backups = known.get("ContinuousBackupsDescription", {})
    state = backups.get("PointInTimeRecoveryDescription", {}).get("PointInTimeRecoveryStatus")
    if state == "DISABLED":
        yield mend_recovery


def _shape(
    deployment: Deployment, wanted: dict[str, Any], found: dict[str, Any]
) -> Iterator[Finding]:
    """Compare what a table is made of; only a stream or an index can be added later."""
    name = wanted["TableName"]
    if _keys(found) != _keys(wanted):
        what = f"its keys are {_keys(found)}, not {_keys(wanted)}: use another prefix"
        yield Difference("table", name, what, breaks=True)
        return
    spec, have = wanted.get("StreamSpecification"), found.get("StreamSpecification") or {}
    if spec is None:
        if have.get("StreamEnabled"):
            what = "it has a stream, which nothing reads"
            yield Difference("table", name, what, breaks=False)
    elif not have.get("StreamEnabled"):
        run = partial(_update, deployment, name, StreamSpecification=spec)
        yield Step("mend", "table", name, "enable the stream", run)
    elif have.get("StreamViewType") != spec["StreamViewType"]:
        # A stream's view cannot be changed, and a new stream begins without what the old one held.
        what = f"its stream shows {have.get('StreamViewType')}, not {spec['StreamViewType']}"
        yield Difference("table", name, f"{what}: disable it and provision again", breaks=True)
    existing = {index["IndexName"]: index for index in found.get("GlobalSecondaryIndexes", [])}
    indexes = {index["IndexName"]: index for index in wanted.get("GlobalSecondaryIndexes", [])}
    for index_name, index in indexes.items():
        if (there := existing.get(index_name)) is None:
            run = partial(_add_index, deployment, wanted, index)
            yield Step("mend", "table", name, f"add index {index_name}", run)
            continue
        projection = there.get("Projection", {})
        carried = set(index["Projection"].get("NonKeyAttributes", []))
        lacks = carried - set(projection.get("NonKeyAttributes", ()))
        if _keys(there) != _keys(index) or (lacks and projection.get("ProjectionType") != "ALL"):
            what = f"index {index_name} has other attributes; delete it and provision again"
            yield Difference("table", name, what, breaks=True)
    for extra in sorted(existing.keys() - indexes.keys()):
        what = f"nothing here reads its index {extra}, for which each put pays: delete it"
        yield Difference("table", name, what, breaks=False)


def _keys(described: dict[str, Any]) -> str:
    return " / ".join(part["AttributeName"] for part in described["KeySchema"])


def _create_table(deployment: Deployment, wanted: dict[str, Any]) -> None:
    tags: Any = [{"Key": TAG, "Value": _tag_value(deployment)}]
    with translated(f"table {wanted['TableName']}"):
        try:
            deployment.dynamodb.create_table(**wanted, Tags=tags)
        except ClientError as error:
            # Made by somebody else since it was looked for; the next run compares it.
            if code_of(error) != "ResourceInUseException":
                raise


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


def _add_index(deployment: Deployment, wanted: dict[str, Any], index: dict[str, Any]) -> None:
    # DynamoDB builds one index of a table at a time, and takes no key that an index does not name.
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
    def is_active() -> bool:
        found = describe(deployment, name)
        # Not there at all just after its making: at AWS a description lags behind.
        if found is None or found["TableStatus"] != "ACTIVE":
            return False
        indexes = found.get("GlobalSecondaryIndexes", [])
        return all(index.get("IndexStatus", "ACTIVE") == "ACTIVE" for index in indexes)

    _wait(name, "active", is_active)


def _wait(name: str, state: str, is_reached: Callable[[], bool]) -> None:
    deadline = time.monotonic() + READY_WITHIN_S
    while not is_reached():
        if time.monotonic() > deadline:
            text = f"table {name} is not {state} after {READY_WITHIN_S:.0f} s; run it again later"
            raise Rejected(text)
        time.sleep(_POLL_S)


def queue_findings(deployment: Deployment, queue: Queue) -> Iterator[Finding]:
    """Compare one queue and its dead-letter queue with their definition."""
    name, dlq = deployment.name(queue.name), deployment.name(queue.dlq)
    if attributes_of(deployment, queue.dlq) is None:
        run = partial(_create_queue, deployment, queue.dlq, lambda: DLQ_ATTRIBUTES)
        yield Step("create", "queue", dlq, "dead letters", run)

    # The dead letters' ARN is only known once their queue is there, so it is read when it is used.
    def attributes() -> dict[str, str]:
        return queue.attributes(Mailbox(deployment, queue.dlq).attributes()["QueueArn"])

    found = attributes_of(deployment, queue.name)
    if found is None:
        run = partial(_create_queue, deployment, queue.name, attributes)
        yield Step("create", "queue", name, f"dead letters to {dlq}", run)
        return

    def mend_redrive() -> None:
        box, policy = Mailbox(deployment, queue.name), attributes()["RedrivePolicy"]
        with translated(f"queue {name}"):
            deployment.sqs.set_queue_attributes(
                QueueUrl=box.url, Attributes={"RedrivePolicy": policy}
            )

    redrive = redrive_of(found)
    if redrive is None or redrive[0].rpartition(":")[2] != dlq:
        yield Step("mend", "queue", name, f"dead letters to {dlq}", mend_redrive)
    elif redrive[1] != queue.max_receive_count:
        what = f"maxReceiveCount is {redrive[1]}, {queue.max_receive_count} by definition"
        yield Difference("queue", name, what, breaks=False)
    wanted = queue.attributes("")
    for attribute in _TUNABLE:
        value = found.get(attribute)
        if value is not None and value != wanted[attribute]:
            what = f"{attribute} is {value}, {wanted[attribute]} by definition"
            yield Difference("queue", name, what, breaks=False)


def _create_queue(
    deployment: Deployment, name: str, attributes: Callable[[], dict[str, str]]
) -> None:
    physical, wanted = deployment.name(name), attributes()
    with translated(f"queue {physical}"):
        try:
            deployment.sqs.create_queue(
                QueueName=physical,
                Attributes=wanted,  # type: ignore[arg-type]
                tags={TAG: _tag_value(deployment)},
            )
        except ClientError as error:
            # Made by somebody else since it was looked for; the next run compares it.
            if code_of(error) not in ("QueueAlreadyExists", "QueueNameExists"):
                raise


def _delete_table(deployment: Deployment, name: str) -> None:
    with translated(f"table {name}"):
        deployment.dynamodb.delete_table(TableName=name)
    # Its name is taken until it is gone, and a table of that name could not be made again.
    _wait(name, "gone", lambda: describe(deployment, name) is None)


def _tag_value(deployment: Deployment) -> str:
    return deployment.prefix or "default"
