"""The CloudFormation template makes the tables and queues that provisioning would make."""

import json
from uuid import uuid4

import pytest

from sharpwave.infra.connection import Deployment
from sharpwave.infra.provision.structure import Difference, Step, survey
from sharpwave.infra.provision.template import template
from sharpwave.schemas.queues import WORK_QUEUES
from sharpwave.schemas.tables import TABLES


@pytest.mark.deviates("localstack", "no-cloudformation")
def test_a_deployed_template_leaves_provisioning_only_what_emulators_ignore(
    bare: Deployment,
) -> None:
    cloudformation = bare.session.client("cloudformation", endpoint_url=bare.endpoint_url)

    cloudformation.create_stack(
        StackName=f"stack-{uuid4().hex[:8]}",
        TemplateBody=json.dumps(template(prefix=bare.prefix), separators=(",", ":")),
    )

    left = survey(bare)
    assert not [found for found in left if isinstance(found, Difference) and found.breaks]
    created = [found for found in left if isinstance(found, Step) and found.action == "create"]
    assert created == []


def test_every_table_and_queue_of_the_definitions_is_in_the_template() -> None:
    made = template(agents=("risk-manager",))

    kinds = [body["Type"] for body in made["Resources"].values()]
    assert kinds.count("AWS::DynamoDB::Table") == len(TABLES)
    assert kinds.count("AWS::SQS::Queue") == 2 * (len(WORK_QUEUES) + 1)


def test_a_table_is_kept_when_its_stack_is_deleted() -> None:
    tables = [body for body in template()["Resources"].values() if body["Type"].endswith("Table")]

    assert {body["DeletionPolicy"] for body in tables} == {"Retain"}


def test_an_agent_that_cannot_have_a_queue_is_refused() -> None:
    with pytest.raises(ValueError, match="cannot name an agent"):
        template(agents=("No#Agent",))
