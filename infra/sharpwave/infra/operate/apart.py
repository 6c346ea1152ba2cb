"""What keeps an agent apart from all others: closed queues, and a role of its own.

As the template of an agent has it, for agents that are added and removed one by one.
"""

import json
import os
from collections.abc import Iterator
from functools import partial
from typing import Any

from botocore.exceptions import ClientError

from sharpwave.infra.aws import policies
from sharpwave.infra.aws.names import AGENT_PATH, Names
from sharpwave.infra.connection import Deployment
from sharpwave.infra.errors import translated
from sharpwave.infra.mailbox import Mailbox, attributes_of
from sharpwave.infra.provision.structure import TAG, Finding, Step
from sharpwave.schemas import queues
from sharpwave.workers.aws.errors import code_of

#: The role's only policy, by the name that the template gives it too.
POLICY = "own"


def findings(deployment: Deployment, agent_id: str) -> Iterator[Finding]:
    """Compare the policies of an agent's queues, and its role, with what they must be."""
    names, (inbox, urgent) = names_of(deployment), queues.of_agent(agent_id)
    suffix = queues.URGENT_SUFFIX
    for name, statements in (
        (inbox.name, policies.inbox_queue(names, agent_id)),
        (inbox.dlq, policies.inbox_dead_letters(names, agent_id)),
        (urgent.name, policies.inbox_queue(names, agent_id, suffix)),
        (urgent.dlq, policies.inbox_dead_letters(names, agent_id, suffix)),
    ):
        wanted = policies.document(statements)
        found = attributes_of(deployment, name) or {}
        if not _alike(json.loads(found.get("Policy") or "null"), wanted):
            run = partial(_close, deployment, name, wanted)
            what = "closed to all but who must reach it"
            yield Step("mend", "queue", deployment.name(name), what, run)
    allowed = policies.agent(names, agent_id, os.environ.get("SHARPWAVE_LARGE_ENTRIES"))
    role, wanted = names.agent_role(agent_id), policies.document(allowed)
    iam = _iam(deployment)
    if not _exists(iam, role):
        run = partial(_create, deployment, names, role)
        yield Step("create", "role", role, f"under {AGENT_PATH}", run)
    stored = None
    with translated(f"role {role}"):
        try:
            stored = iam.get_role_policy(RoleName=role, PolicyName=POLICY)["PolicyDocument"]
        except ClientError as error:
            # A role without this policy, or none at all yet, which the step before creates.
            if code_of(error) != "NoSuchEntity":
                raise
    if not _alike(stored, wanted):
        run = partial(_permit, iam, role, wanted)
        yield Step("mend", "role", role, "what the agent may do, and nothing else", run)


def role_of(deployment: Deployment, agent_id: str) -> str | None:
    """Name an agent's role, or give None if it has none."""
    role = names_of(deployment).agent_role(agent_id)
    return role if _exists(_iam(deployment), role) else None


def drop_role(deployment: Deployment, role: str) -> None:
    """Delete a role with its policy; safe to repeat."""
    iam = _iam(deployment)
    for call in (
        partial(iam.delete_role_policy, RoleName=role, PolicyName=POLICY),
        partial(iam.delete_role, RoleName=role),
    ):
        with translated(f"role {role}"):
            try:
                call()
            except ClientError as error:
                if code_of(error) != "NoSuchEntity":
                    raise


def names_of(deployment: Deployment) -> Names:
    """Ask AWS which account this is, and name things of the deployment there."""
    with translated("the account"):
        endpoint = deployment.endpoint("sts")
        found = deployment.session.client("sts", endpoint_url=endpoint).get_caller_identity()
    return Names.of(
        deployment.prefix,
        partition=found["Arn"].split(":")[1],
        region=deployment.sqs.meta.region_name,
        account=found["Account"],
    )


def _iam(deployment: Deployment) -> Any:
    with translated("the roles"):
        return deployment.session.client("iam", endpoint_url=deployment.endpoint("iam"))


def _exists(iam: Any, role: str) -> bool:
    with translated(f"role {role}"):
        try:
            iam.get_role(RoleName=role)
        except ClientError as error:
            if code_of(error) != "NoSuchEntity":
                raise
            return False
        return True


def _alike(one: Any, other: Any) -> bool:
    """Say whether two policies say the same: AWS and CDK write one value as it is, or in a list."""
    if isinstance(one, dict) and isinstance(other, dict):
        return one.keys() == other.keys() and all(_alike(one[name], other[name]) for name in one)
    if not (isinstance(one, list) or isinstance(other, list)):
        return bool(one == other)
    parts, others = (value if isinstance(value, list) else [value] for value in (one, other))
    if all(isinstance(value, str) for value in (*parts, *others)):
        return sorted(parts) == sorted(others)
    return len(parts) == len(others) and all(map(_alike, parts, others))


def _create(deployment: Deployment, names: Names, role: str) -> None:
    # The account's root: which of its users and roles may take it, their own policies say.
    trust = {"Effect": "Allow", "Action": "sts:AssumeRole", "Principal": {"AWS": names.root()}}
    with translated(f"role {role}"):
        _iam(deployment).create_role(
            RoleName=role,
            Path=AGENT_PATH,
            AssumeRolePolicyDocument=json.dumps(policies.document([trust])),
            Tags=[{"Key": TAG, "Value": names.scope}],
        )


def _permit(iam: Any, role: str, wanted: dict[str, Any]) -> None:
    with translated(f"role {role}"):
        iam.put_role_policy(RoleName=role, PolicyName=POLICY, PolicyDocument=json.dumps(wanted))


def _close(deployment: Deployment, name: str, wanted: dict[str, Any]) -> None:
    url = Mailbox(deployment, name).url
    with translated(f"queue {deployment.name(name)}"):
        deployment.sqs.set_queue_attributes(QueueUrl=url, Attributes={"Policy": json.dumps(wanted)})
