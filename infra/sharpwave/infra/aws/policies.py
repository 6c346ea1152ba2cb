"""What each role of a deployment may do: generated from keys, attributes, tables and queues.

`ForAllValues` holds for a request that has no value at all, so each condition on partition keys
comes with a `Null` that refuses a request without one. IAM compares partition keys and names of
attributes; it knows no sort key and no value.
"""

from collections.abc import Iterable, Sequence
from typing import Any

from sharpwave.infra.aws.names import OPERATOR, ROUTER, SCHEDULER, Names
from sharpwave.schemas import keys
from sharpwave.schemas.ownership import IGNORED, WORKER
from sharpwave.schemas.queues import DLQ_SUFFIX, INBOX_PREFIX, WORK_QUEUE_NAMES
from sharpwave.schemas.records import Acknowledgement
from sharpwave.schemas.tables import DECISIONS, MEMORY, PIPELINE, SIGNALS, STATE, TABLES

Statement = dict[str, Any]

_READ = ("dynamodb:GetItem", "dynamodb:BatchGetItem", "dynamodb:Query")
_WRITE = ("dynamodb:PutItem", "dynamodb:UpdateItem")
_PARTIQL = ("dynamodb:PartiQLInsert", "dynamodb:PartiQLUpdate", "dynamodb:PartiQLSelect")
_FIND, _SEND = "sqs:GetQueueUrl", "sqs:SendMessage"
_TAKE = ("sqs:ReceiveMessage", "sqs:DeleteMessage", "sqs:ChangeMessageVisibility")
#: What touches messages; who manages queues otherwise is the account's own affair.
_TAKING = (*_TAKE, "sqs:PurgeQueue")
_TABLE_NAMES = tuple(table.name for table in TABLES)
#: A place in S3 where nothing can be: no bucket's name has capitals.
NOWHERE = "NONE"


def agent(names: Names, agent_id: str, large_entries: str | None = None) -> list[Statement]:
    """Give what one agent may do: with its own records, its own rows and its own inbox.

    Of others' work it reads what is meant for all: shared patterns, who writes decisions, which
    decision follows from which, and who is there.

    Args:
        names: names of the deployment.
        agent_id: whose role it is.
        large_entries: `s3://bucket/prefix`, or without `s3://`, where memory goes that is too large
            for a table. There it reaches what lies under its own id, and nothing without a place.
    """
    place = (large_entries or NOWHERE).removeprefix("s3://")
    everything_of_its_own = f"{keys.state_pk(agent_id)}#*"
    return [
        _allow(
            "OwnDecisions",
            (*_WRITE, *_READ),
            names.table(DECISIONS),
            **_leading(keys.decision_pk(agent_id, "*")),
        ),
        _allow(
            "OwnDecisionsByTime",
            ("dynamodb:Query",),
            f"{names.table(DECISIONS)}/index/by_agent",
            **_leading(agent_id),
        ),
        _allow(
            "OwnState",
            (*_WRITE, *_READ),
            names.table(STATE),
            **_leading(keys.state_pk(agent_id), keys.memory_pk(agent_id, "*")),
        ),
        # Workers write them; it reads them.
        _allow("OwnMetrics", _READ, names.table(STATE), **_leading(keys.metrics_pk(agent_id))),
        _allow(
            "OwnSignals",
            ("dynamodb:PutItem", "dynamodb:BatchWriteItem", *_READ),
            names.table(SIGNALS),
            **_leading(keys.signal_pk("*", agent_id)),
        ),
        _allow("OwnRows", _READ, names.table(SIGNALS), **_leading(keys.inbox_pk(agent_id))),
        _allow(
            "Acknowledge",
            ("dynamodb:UpdateItem",),
            names.table(SIGNALS),
            **_leading(keys.inbox_pk(agent_id), attributes=("PK", "SK", *_ACKNOWLEDGING)),
        ),
        _allow(
            "Memory",
            _READ,
            names.table(MEMORY),
            **_leading(
                everything_of_its_own,
                keys.shared_pattern_pk("*"),
                keys.granted_domain_pk("*"),
                keys.writers_pk("*"),
                keys.children_pk("*"),
                keys.REGISTRY_PK,
                keys.seen_pk("*"),
            ),
        ),
        _allow(
            "OwnLargeEntries",
            ("s3:PutObject", "s3:GetObject", "s3:DeleteObject"),
            f"arn:{names.partition}:s3:::{place}/{agent_id}/*",
        ),
        _allow(
            "OwnSignOfLife",
            ("dynamodb:UpdateItem",),
            names.table(MEMORY),
            **_leading(keys.seen_pk(agent_id)),
        ),
        _allow(
            "OwnInbox",
            (_FIND, "sqs:GetQueueAttributes", *_TAKE),
            [names.inbox(agent_id), names.urgent_inbox(agent_id)],
        ),
        _deny(
            "WorkersAttributes",
            (*_WRITE, "dynamodb:BatchWriteItem"),
            [names.table(DECISIONS), names.table(SIGNALS)],
            **{"ForAnyValue:StringEquals": {"dynamodb:Attributes": _WORKERS_ATTRIBUTES}},
        ),
        # Said aloud, for what else is attached to the role must not undo it.
        _deny(
            "NothingWhole",
            (
                "dynamodb:Scan",
                "dynamodb:PartiQL*",
                "dynamodb:DeleteItem",
                "dynamodb:GetRecords",
                "dax:*",
                "sqs:CreateQueue",
                "sqs:SendMessage",
                "sqs:PurgeQueue",
                "sts:AssumeRole",
            ),
            "*",
        ),
    ]


#: What an agent may set on its own row.
_ACKNOWLEDGING = tuple(sorted(Acknowledgement.model_fields))
#: What an agent may write nowhere; a row's are not among them, for it can only change that row.
_WORKERS_ATTRIBUTES = sorted((WORKER["decision"] | WORKER["signal"]) - IGNORED)


def worker(names: Names, duty: str, archive: str | None = None) -> list[Statement]:
    """Give what the workers of one queue may do; `archive` is the ARN of the archive's bucket.

    They read by key and by query, and make no queue.
    """
    tables = [names.table(name) for name in _TABLE_NAMES]
    indexes = [f"{names.table(table.name)}/index/*" for table in TABLES if table.indexes]
    found = [
        _allow(
            "Items",
            (
                *(*_READ, *_WRITE, *_PARTIQL, "dynamodb:PartiQLDelete"),
                *("dynamodb:DeleteItem", "dynamodb:ConditionCheckItem"),
            ),
            tables,
        ),
        _allow("Indexes", ("dynamodb:Query", "dynamodb:PartiQLSelect"), indexes),
        _allow("OwnQueue", (*_TAKE, "sqs:GetQueueAttributes"), names.queue(duty)),
        _allow("Work", (_FIND, _SEND), [*map(names.queue, WORK_QUEUE_NAMES), names.dlq(duty)]),
        _allow("Inboxes", (_FIND, _SEND), names.inbox("*")),
    ]
    if archive is not None:
        found.append(_allow("Archive", ("s3:PutObject",), f"{archive}/*"))
    return found


def router(names: Names, failures: str) -> list[Statement]:
    """Give what the router may do; `failures` is the ARN of the bucket for what it could not."""
    return [
        _allow(
            "Streams",
            ("dynamodb:DescribeStream", "dynamodb:GetRecords", "dynamodb:GetShardIterator"),
            names.streams(),
        ),
        # It parks what it refuses, and tells the owner.
        _allow("Parking", (*_READ, *_WRITE, *_PARTIQL), [*map(names.table, (PIPELINE, STATE))]),
        _allow("Work", (_FIND, _SEND), [*map(names.queue, WORK_QUEUE_NAMES)]),
        _allow("Inboxes", (_FIND, _SEND), names.inbox("*")),
        _allow("Failures", ("s3:PutObject",), f"{failures}/*"),
        _allow("FailuresFound", ("s3:ListBucket",), failures),
    ]


def scheduler(names: Names, ticked: Sequence[str]) -> list[Statement]:
    """Give what the schedules of periodic work may do; `ticked` are the queues they send to."""
    return [_allow("Ticks", (_SEND,), [names.queue(name) for name in ticked])]


def operator(names: Names, archive: str) -> list[Statement]:
    """Give what the commands of `sharpwave` need; `archive` is the ARN of the archive's bucket."""
    tables = [names.table(name) for name in _TABLE_NAMES]
    queues = [
        *(arn for name in WORK_QUEUE_NAMES for arn in (names.queue(name), names.dlq(name))),
        names.inbox("*"),
    ]
    return [
        _allow(
            "Items",
            (
                *(*_READ, *_WRITE, *_PARTIQL, "dynamodb:PartiQLDelete", "dynamodb:Scan"),
                *("dynamodb:DeleteItem", "dynamodb:BatchWriteItem"),
                "dynamodb:ConditionCheckItem",
            ),
            [*tables, *(f"{arn}/index/*" for arn in tables)],
        ),
        _allow(
            "Tables",
            (
                *("dynamodb:CreateTable", "dynamodb:UpdateTable", "dynamodb:DeleteTable"),
                *("dynamodb:DescribeTable", "dynamodb:DescribeTimeToLive"),
                *("dynamodb:UpdateTimeToLive", "dynamodb:DescribeContinuousBackups"),
                *("dynamodb:UpdateContinuousBackups", "dynamodb:TagResource"),
                "dynamodb:ListTagsOfResource",
            ),
            tables,
        ),
        _allow(
            "Queues",
            (
                *(*_TAKING, _FIND, _SEND, "sqs:CreateQueue", "sqs:DeleteQueue"),
                *("sqs:GetQueueAttributes", "sqs:SetQueueAttributes", "sqs:TagQueue"),
                "sqs:ListQueueTags",
            ),
            queues,
        ),
        _allow("EveryQueuesName", ("sqs:ListQueues",), "*"),
        _allow("Archive", ("s3:GetObject",), f"{archive}/*"),
        _allow("ArchiveFound", ("s3:ListBucket",), archive),
    ]


def inbox_queue(names: Names, agent_id: str, suffix: str = "") -> list[Statement]:
    """Give the policy of an agent's inbox; it holds against whatever else a role is allowed.

    Its queue of urgent copies has the same, with `URGENT_SUFFIX`.
    """
    arn = names.inbox(agent_id + suffix)
    own = [names.own_role_arn(name) for name in (*WORK_QUEUE_NAMES, ROUTER, OPERATOR)]
    return [
        _encrypted(arn),
        _closed("OnlyItsAgentTakes", _TAKE, arn, [names.agent_role_arn(agent_id), own[-1]]),
        _closed("OnlyWorkersSend", (_SEND,), arn, own),
        _closed("OnlyOperatorsPurge", ("sqs:PurgeQueue",), arn, own[-1:]),
    ]


def inbox_dead_letters(names: Names, agent_id: str, suffix: str = "") -> list[Statement]:
    """Give the policy of an inbox's dead letters: SQS itself moves them there."""
    return _dead_letters(names, INBOX_PREFIX + agent_id + suffix, ())


def work_queue(names: Names, duty: str, *, ticked: bool) -> list[Statement]:
    """Give the policy of a work queue; `ticked` says whether a schedule sends to it."""
    arn, mine = names.queue(duty), [names.own_role_arn(name) for name in (duty, OPERATOR)]
    senders = (*WORK_QUEUE_NAMES, ROUTER, OPERATOR, *((SCHEDULER,) if ticked else ()))
    return [
        _encrypted(arn),
        _closed("OnlyItsWorkersTake", _TAKE, arn, mine),
        _closed("OnlyThePipelineSends", (_SEND,), arn, map(names.own_role_arn, senders)),
        _closed("OnlyOperatorsPurge", ("sqs:PurgeQueue",), arn, mine[-1:]),
    ]


def work_dead_letters(names: Names, duty: str) -> list[Statement]:
    """Give the policy of a work queue's dead letters, to which its workers send the poisonous."""
    return _dead_letters(names, duty, (duty,))


def document(statements: Iterable[Statement]) -> dict[str, Any]:
    """Make a policy of statements."""
    return {"Version": "2012-10-17", "Statement": list(statements)}


def _dead_letters(names: Names, logical: str, senders: Sequence[str]) -> list[Statement]:
    arn, operators = names.queue(logical + DLQ_SUFFIX), [names.own_role_arn(OPERATOR)]
    sending = [*map(names.own_role_arn, senders), *operators]
    return [
        _encrypted(arn),
        _closed("OnlyOperatorsTake", _TAKING, arn, operators),
        _closed("OnlyItsWorkersSend", (_SEND,), arn, sending),
    ]


def _leading(*partitions: str, attributes: Sequence[str] = ()) -> dict[str, Any]:
    values: dict[str, Any] = {"dynamodb:LeadingKeys": list(partitions)}
    condition: dict[str, Any] = {
        "Null": {"dynamodb:LeadingKeys": "false"},
        "ForAllValues:StringLike": values,
    }
    if attributes:
        condition["Null"]["dynamodb:Attributes"] = "false"
        condition["ForAllValues:StringEquals"] = {"dynamodb:Attributes": list(attributes)}
    return condition


def _encrypted(arn: str) -> Statement:
    return {
        **_deny("Encrypted", ("sqs:*",), arn, Bool={"aws:SecureTransport": "false"}),
        "Principal": "*",
    }


def _closed(sid: str, actions: Sequence[str], arn: str, roles: Iterable[str]) -> Statement:
    """Refuse actions on a queue to all but some roles."""
    but = {"aws:PrincipalArn": list(roles)}
    return {**_deny(sid, actions, arn, ArnNotEquals=but), "Principal": "*"}


def _allow(
    sid: str, actions: Sequence[str], resources: str | Sequence[str], **condition: Any
) -> Statement:
    return _statement("Allow", sid, actions, resources, condition)


def _deny(
    sid: str, actions: Sequence[str], resources: str | Sequence[str], **condition: Any
) -> Statement:
    return _statement("Deny", sid, actions, resources, condition)


def _statement(
    effect: str,
    sid: str,
    actions: Sequence[str],
    resources: str | Sequence[str],
    condition: dict[str, Any],
) -> Statement:
    found: Statement = {
        "Sid": sid,
        "Effect": effect,
        "Action": list(actions),
        "Resource": resources if isinstance(resources, str) else list(resources),
    }
    return found | ({"Condition": condition} if condition else {})


def cache(names: Names) -> list[Statement]:
    """Give what a DAX cluster may do in everybody's stead."""
    tables = [names.table(name) for name in _TABLE_NAMES]
    return [
        _allow(
            "Items",
            (
                *(*_READ, *_WRITE, "dynamodb:Scan", "dynamodb:DeleteItem"),
                *("dynamodb:BatchWriteItem", "dynamodb:ConditionCheckItem"),
                "dynamodb:DescribeTable",
            ),
            [*tables, *(f"{arn}/index/*" for arn in tables)],
        )
    ]


def starting(names: Names, logs_arn: str) -> list[Statement]:
    """Give what ECS does to start a task: pull the image, and open its log."""
    pulling = ("ecr:BatchCheckLayerAvailability", "ecr:GetDownloadUrlForLayer", "ecr:BatchGetImage")
    images = f"arn:{names.partition}:ecr:{names.region}:{names.account}:repository/*"
    return [
        _allow("Registry", ("ecr:GetAuthorizationToken",), "*"),
        _allow("Images", pulling, images),
        *logs(logs_arn),
    ]


def logs(group_arn: str) -> list[Statement]:
    """Give what writing to one log group needs; its ARN covers its streams."""
    return [_allow("Logs", ("logs:CreateLogStream", "logs:PutLogEvents"), group_arn)]


def in_network() -> list[Statement]:
    """Give what a function needs to run in a network; these actions know no resources."""
    actions = ("CreateNetworkInterface", "DescribeNetworkInterfaces", "DeleteNetworkInterface")
    return [_allow("Network", [f"ec2:{action}" for action in actions], "*")]
