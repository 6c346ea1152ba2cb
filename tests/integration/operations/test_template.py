"""The templates, deployed by CloudFormation, make a deployment in which the main job is done."""

import json
from collections.abc import Callable
from dataclasses import replace
from typing import TYPE_CHECKING
from uuid import uuid4

import pytest

from sharpwave.infra.aws.resolve import shipped
from sharpwave.infra.connection import Deployment
from sharpwave.infra.local import Backend
from sharpwave.infra.local.stack import Stack, StackOptions
from sharpwave.infra.mailbox import Mailbox
from sharpwave.infra.operate.agents import add_agent
from sharpwave.infra.provision.structure import Difference, Step, survey

if TYPE_CHECKING:
    from tests.integration.conftest import MakeWorld
    from tests.integration.operations.conftest import Command

pytestmark = pytest.mark.deviates("localstack", "no-cloudformation")


def deploy(deployment: Deployment, profile: str, stack: str, **parameters: str) -> None:
    """Create a stack of the template that comes with the package."""
    cloudformation = deployment.session.client(
        "cloudformation", endpoint_url=deployment.endpoint_url
    )
    given = {"Prefix": deployment.prefix, **parameters}
    name = f"{deployment.prefix}-{stack}-{uuid4().hex[:8]}"
    cloudformation.create_stack(
        StackName=name,
        TemplateBody=json.dumps(shipped(profile, stack), separators=(",", ":")),
        Capabilities=["CAPABILITY_NAMED_IAM"],
        Parameters=[{"ParameterKey": key, "ParameterValue": value} for key, value in given.items()],
    )
    [made] = cloudformation.describe_stacks(StackName=name)["Stacks"]
    assert made["StackStatus"] == "CREATE_COMPLETE", made.get("StackStatusReason")


def to_do(deployment: Deployment) -> set[str]:
    """Say what provisioning would do, where it differs or mends."""
    found = survey(deployment)
    assert not [each for each in found if isinstance(each, Difference)]
    return {each.what.partition(",")[0] for each in found if isinstance(each, Step)}


@pytest.mark.parametrize(
    "profile",
    [
        "demo",
        pytest.param("production", marks=pytest.mark.deviates("moto", "no-key-of-a-stack")),
    ],
)
def test_deployed_templates_leave_provisioning_only_what_emulators_ignore(
    profile: str, bare: Deployment
) -> None:
    deploy(bare, profile, "data")
    deploy(bare, profile, "messaging")

    assert to_do(bare) <= {"expire items by 'ttl'", "point-in-time recovery"}


def test_an_agent_of_a_template_needs_nothing_but_its_registration(deployment: Deployment) -> None:
    deploy(deployment, "demo", "agent", AgentId="risk-manager")

    done = add_agent(deployment, "risk-manager")

    assert {step.kind for step in done.steps} == {"agent"}


@pytest.mark.deviates("moto", "no-queue-policy-of-a-stack")
def test_an_inbox_of_a_template_is_closed_to_others(deployment: Deployment) -> None:
    deploy(deployment, "demo", "agent", AgentId="risk-manager")

    policy = json.loads(Mailbox(deployment, "inbox-risk-manager").attributes()["Policy"])
    assert {each["Effect"] for each in policy["Statement"]} == {"Deny"}


def test_a_deployment_of_templates_does_the_main_job(
    bare: Deployment,
    borrowed: Callable[[], Backend],
    options: StackOptions,
    make_world: "MakeWorld",
) -> None:
    """A signal reaches its target and is acknowledged; a decision and its outcome are counted."""
    deploy(bare, "demo", "data")
    deploy(bare, "demo", "messaging")

    with Stack(borrowed(), replace(options, prefix=bare.prefix, folder=None)) as running:
        world = make_world(running)
        for name in ("hunter", "manager"):
            deploy(bare, "demo", "agent", AgentId=f"{name}-{world.tag}")
        hunter, manager = world.agent("hunter"), world.agent("manager")

        signal = world.signal(hunter, [manager])
        [message] = world.receive(manager)
        assert message["source_agent"] == hunter
        world.acknowledge(manager, signal)
        world.becomes(signal, manager="PROCESSED")
        decision = world.decision(manager)
        world.outcome(decision, success=True)
        world.counted(manager, n=1, s=1)


@pytest.mark.deviates("moto", "no-queue-policy-of-a-stack")
def test_an_agent_that_is_added_strictly_is_as_the_template_has_it(
    deployment: Deployment, sharpwave: "Command"
) -> None:
    deploy(deployment, "demo", "agent", AgentId="risk-manager")

    code, done = sharpwave("agents", "add", "risk-manager", "--strict")

    assert code == 0
    assert {step["kind"] for step in done["steps"]} == {"agent"}
