"""Agents that are added strictly have a role and closed queues, and lose both with themselves."""

import json
from typing import TYPE_CHECKING

from sharpwave.infra.connection import Deployment
from sharpwave.infra.mailbox import Mailbox

if TYPE_CHECKING:
    from tests.integration.operations.conftest import Command


def done_for(sharpwave: "Command", agent: str) -> list[tuple[str, str]]:
    """Add an agent strictly; give what was done beside registering it."""
    code, done = sharpwave("agents", "add", agent, "--strict")
    assert code == 0, done
    steps = [(step["action"], step["kind"]) for step in done["steps"]]
    return sorted(step for step in steps if step[1] != "agent")


def test_what_is_missing_is_made_once(deployment: Deployment, sharpwave: "Command") -> None:
    assert done_for(sharpwave, "risk-manager") == [
        # Inbox and urgent queue, each with its dead letters.
        *[("create", "queue")] * 4,
        ("create", "role"),
        *[("mend", "queue")] * 4,
        ("mend", "role"),
    ]
    assert done_for(sharpwave, "risk-manager") == []


def test_a_queue_that_somebody_opened_is_closed_again(
    deployment: Deployment, sharpwave: "Command"
) -> None:
    done_for(sharpwave, "risk-manager")
    box = Mailbox(deployment, "inbox-risk-manager")
    closed = json.loads(box.attributes()["Policy"])
    everyone = {"Sid": "A", "Effect": "Allow", "Action": "sqs:*", "Resource": "*", "Principal": "*"}
    opened = json.dumps({**closed, "Statement": [*closed["Statement"], everyone]})
    deployment.sqs.set_queue_attributes(QueueUrl=box.url, Attributes={"Policy": opened})

    assert done_for(sharpwave, "risk-manager") == [("mend", "queue")]

    assert json.loads(box.attributes()["Policy"]) == closed


def test_a_removed_agent_leaves_no_role_and_others_keep_theirs(
    deployment: Deployment, sharpwave: "Command"
) -> None:
    for agent in ("a", "a-b"):
        done_for(sharpwave, agent)

    _, planned = sharpwave("agents", "rm", "a", "--strict", "--dry-run")
    code, done = sharpwave("agents", "rm", "a", "--strict", "--yes")

    assert code == 0
    assert any(step.startswith("delete role a@") for step in planned["steps"])
    assert done["steps"] == planned["steps"]
    assert done_for(sharpwave, "a-b") == []
    _, again = sharpwave("agents", "rm", "a", "--strict", "--yes")
    assert not any("role" in step for step in again["steps"])
