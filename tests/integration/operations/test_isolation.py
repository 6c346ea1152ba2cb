"""Agents are kept apart by a backend that enforces IAM, as far as it does: at the queues.

It knows no keys of items, so what a role may do with those is judged by `sharpwave isolation`. And
it gives the ARN of the session as `aws:PrincipalArn`, where AWS gives the role's, so the queues'
policies are rewritten to that before anything is attempted. Clients say that they speak TLS, which
a proxy before the backend would say for them.
"""

import json
import re
from collections.abc import Iterator, Mapping
from itertools import permutations
from typing import Any

import pytest
from botocore.exceptions import ClientError

from sharpwave.infra.aws.isolation import ALIKE, Deed, deeds, mischief
from sharpwave.infra.aws.names import OPERATOR, Names
from sharpwave.infra.aws.resolve import shipped
from sharpwave.infra.connection import Deployment, connect
from sharpwave.infra.local import EmbeddedBackend

PREFIX, ACCOUNT = "iso", "000000000000"
NAMES = Names.of(PREFIX, account=ACCOUNT)
ROLE_ARN = re.compile(r"arn:aws:iam::(\d+):role/sharpwave/\w+/([^\"]+)")
#: What each action is called with beside the queue; the backend judges before it looks.
CALLS: Mapping[str, dict[str, Any]] = {
    "ReceiveMessage": {"WaitTimeSeconds": 0},
    "DeleteMessage": {"ReceiptHandle": "none"},
    "ChangeMessageVisibility": {"ReceiptHandle": "none", "VisibilityTimeout": 1},
    "SendMessage": {"MessageBody": "{}"},
    "PurgeQueue": {},
    "SetQueueAttributes": {"Attributes": {"VisibilityTimeout": "61"}},
    "AddPermission": {"Label": "x", "AWSAccountIds": [ACCOUNT], "Actions": ["SendMessage"]},
    "DeleteQueue": {},
}
BY_NAME = ("GetQueueUrl", "CreateQueue")


class Enforcing(EmbeddedBackend):
    """The embedded backend with IAM."""

    def variables(self, port: int) -> Mapping[str, str]:
        return {**super().variables(port), "AUTH": "true"}


class Account:
    """An account with the queues and roles of the templates, and three agents in it."""

    agents = ALIKE[:3]

    def __init__(self, deployment: Deployment) -> None:
        self._deployment = deployment
        cloudformation = self._client("cloudformation")
        stacks = [("data", {}), ("messaging", {}), *(("agent", {"AgentId": a}) for a in ALIKE[:3])]
        for number, (stack, more) in enumerate(stacks):
            given = {"Prefix": PREFIX, **more}
            cloudformation.create_stack(
                StackName=f"{PREFIX}-{number}",
                TemplateBody=json.dumps(shipped("demo", stack), separators=(",", ":")),
                Capabilities=["CAPABILITY_NAMED_IAM"],
                Parameters=[
                    {"ParameterKey": key, "ParameterValue": value} for key, value in given.items()
                ],
            )
        root = self._client("sqs")
        self.urls = {url.rpartition("/")[2]: url for url in root.list_queues()["QueueUrls"]}
        for url in self.urls.values():
            found = root.get_queue_attributes(QueueUrl=url, AttributeNames=["Policy"])
            rewritten = ROLE_ARN.sub(
                r"arn:aws:sts::\1:assumed-role/\2/*", found["Attributes"]["Policy"]
            )
            root.set_queue_attributes(QueueUrl=url, Attributes={"Policy": rewritten})

    def _client(self, service: str, **credentials: str) -> Any:
        session, at = self._deployment.session, self._deployment.endpoint_url
        return _encrypted(session.client(service, endpoint_url=at, **credentials))  # type: ignore[call-overload]

    def taking(self, role: str) -> Any:
        """Take a role, and give its client of the queues."""
        taken = self._client("sts").assume_role(RoleArn=role, RoleSessionName="test")
        given = taken["Credentials"]
        return self._client(
            "sqs",
            aws_access_key_id=given["AccessKeyId"],
            aws_secret_access_key=given["SecretAccessKey"],
            aws_session_token=given["SessionToken"],
        )

    def admin(self) -> str:
        """Make a role that may do everything; gives its ARN."""
        everything = {"Effect": "Allow", "Action": "*", "Resource": "*"}
        trust = {
            "Effect": "Allow",
            "Action": "sts:AssumeRole",
            "Principal": {"AWS": f"arn:aws:iam::{ACCOUNT}:root"},
        }
        iam = self._client("iam")
        made = iam.create_role(RoleName="admin", AssumeRolePolicyDocument=_document(trust))
        iam.put_role_policy(
            RoleName="admin", PolicyName="all", PolicyDocument=_document(everything)
        )
        return str(made["Role"]["Arn"])

    def denies(self, client: Any, deed: Deed) -> bool:
        """Attempt a deed on a queue, and say whether IAM stands in its way."""
        action, name = deed.action.removeprefix("sqs:"), deed.resource.rpartition(":")[2]
        method = re.sub(r"(?<!^)([A-Z])", r"_\1", action).lower()
        given: dict[str, Any] = (
            {"QueueName": name}
            if action in BY_NAME
            else {"QueueUrl": self.urls[name], **CALLS[action]}
        )
        try:
            getattr(client, method)(**given)
        except ClientError as error:
            return "AccessDenied" in error.response["Error"]["Code"]
        return False


def _document(statement: dict[str, Any]) -> str:
    return json.dumps({"Version": "2012-10-17", "Statement": [statement]})


def _encrypted(client: Any) -> Any:
    def say(params: dict[str, Any], **_: Any) -> None:
        params["headers"]["x-forwarded-proto"] = "https"

    client.meta.events.register("before-call.sqs", say)
    return client


@pytest.fixture(scope="module")
def account() -> Iterator[Account]:
    with Enforcing() as backend:
        yield Account(connect({}, endpoint_url=backend.endpoint_url, prefix=PREFIX))


def at_queues(found: Any) -> list[Deed]:
    return [deed for deed in found if deed.action.startswith("sqs:")]


def test_an_agent_works_its_own_inbox(account: Account) -> None:
    for agent in account.agents:
        client = account.taking(NAMES.agent_role_arn(agent))
        own = at_queues(deeds(NAMES, agent))

        assert [deed.what for deed in own if account.denies(client, deed)] == []


def test_no_agent_reaches_another_agents_queues_nor_the_pipelines(account: Account) -> None:
    tried = 0
    for by, on in permutations(account.agents, 2):
        client = account.taking(NAMES.agent_role_arn(by))
        others = at_queues((*deeds(NAMES, on), *mischief(NAMES, by, on)))
        tried += len(others)

        assert [deed.what for deed in others if not account.denies(client, deed)] == []
    assert tried > 100


def test_a_role_that_may_do_everything_reads_no_inbox(account: Account) -> None:
    client, queue = account.taking(account.admin()), NAMES.inbox(account.agents[0])

    for action in ("ReceiveMessage", "DeleteMessage", "SendMessage", "PurgeQueue"):
        assert account.denies(client, Deed(action, f"sqs:{action}", queue))
    assert not account.denies(client, Deed("mend", "sqs:SetQueueAttributes", queue))


def test_an_operator_looks_after_dead_letters_of_all(account: Account) -> None:
    client = account.taking(NAMES.own_role_arn(OPERATOR))

    for name in ("deliver", f"inbox-{account.agents[0]}"):
        receive = Deed("receive", "sqs:ReceiveMessage", NAMES.dlq(name))
        assert not account.denies(client, receive)


def test_who_does_not_encrypt_is_refused(account: Account) -> None:
    agent = account.agents[0]
    client = account.taking(NAMES.agent_role_arn(agent))
    client.meta.events.register("before-call.sqs", _in_the_open)

    own = Deed("receive", "sqs:ReceiveMessage", NAMES.inbox(agent))

    assert account.denies(client, own)


def _in_the_open(params: dict[str, Any], **_: Any) -> None:
    params["headers"]["x-forwarded-proto"] = "http"
