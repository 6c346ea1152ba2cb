"""Agents come with a queue, and go without losing a message unasked."""

from typing import Any

import pytest

from sharpwave.infra.agents_admin import Wishes, add_agent, list_agents, remove_agent
from sharpwave.infra.connection import Deployment
from sharpwave.infra.errors import Missing, Misused
from sharpwave.infra.items import Items
from sharpwave.infra.mailbox import Mailbox
from sharpwave.infra.provision import destroy
from sharpwave.infra.queue_setup import attributes_of
from sharpwave.schemas import keys
from sharpwave.schemas.records import Registration


def registration(deployment: Deployment, agent_id: str) -> Registration:
    item = Items(deployment).get("agent_state", keys.registration(agent_id))
    return Registration.model_validate(item)


def test_an_agent_gets_a_registration_a_queue_and_a_place_in_the_list(
    deployment: Deployment,
) -> None:
    add_agent(deployment, "risk-manager", Wishes(subscriptions=["WHALE"], may_broadcast=True))

    (agent,) = list_agents(deployment)
    assert agent.agent_id == "risk-manager"
    assert agent.registered
    assert agent.inbox is not None
    assert agent.inbox.total == 0
    assert agent.dlq is not None
    assert registration(deployment, "risk-manager").subscriptions == ["WHALE"]
    assert Items(deployment).get("pipeline", keys.known_agent("risk-manager"))


def test_adding_again_keeps_what_is_not_wished_otherwise(deployment: Deployment) -> None:
    add_agent(deployment, "risk-manager", Wishes(subscriptions=["WHALE"], signals_per_minute=9))

    again = add_agent(deployment, "risk-manager")
    changed = add_agent(deployment, "risk-manager", Wishes(may_broadcast=True))

    found = registration(deployment, "risk-manager")
    assert again.steps == ()
    assert [step.kind for step in changed.steps] == ["agent"]
    assert (found.subscriptions, found.signals_per_minute) == (["WHALE"], 9)
    assert found.may_broadcast


def test_a_wish_that_cannot_be_changes_nothing(deployment: Deployment) -> None:
    with pytest.raises(Misused, match="subscriptions"):
        add_agent(deployment, "risk-manager", Wishes(subscriptions=["whale activity"]))

    assert list_agents(deployment) == []
    assert attributes_of(deployment, "inbox-risk-manager") is None


def test_a_removed_agent_with_an_empty_queue_leaves_only_its_mark(deployment: Deployment) -> None:
    add_agent(deployment, "risk-manager")

    remove_agent(deployment, "risk-manager")

    (agent,) = list_agents(deployment)
    assert not agent.registered
    assert agent.inbox is None
    assert agent.dlq is None
    assert attributes_of(deployment, "inbox-risk-manager_dlq") is None


def test_a_queue_that_holds_messages_is_deleted_only_on_demand(deployment: Deployment) -> None:
    add_agent(deployment, "risk-manager")
    box = Mailbox(deployment, "inbox-risk-manager")
    deployment.sqs.send_message(QueueUrl=box.url, MessageBody="{}")

    kept = remove_agent(deployment, "risk-manager")
    assert kept.kept_queue is not None
    assert box.depth().total == 1

    purged = remove_agent(deployment, "risk-manager", purge=True)

    assert purged.kept_queue is None
    assert attributes_of(deployment, "inbox-risk-manager") is None


def test_a_dry_run_removes_nothing(deployment: Deployment) -> None:
    add_agent(deployment, "risk-manager")

    planned = remove_agent(deployment, "risk-manager", dry_run=True)

    assert len(planned.steps) == 3
    assert list_agents(deployment)[0].registered


def test_an_agent_that_comes_back_is_registered_again(deployment: Deployment) -> None:
    add_agent(deployment, "risk-manager")
    items = Items(deployment)
    box = Mailbox(deployment, "inbox-risk-manager")
    deployment.sqs.send_message(QueueUrl=box.url, MessageBody="{}")
    remove_agent(deployment, "risk-manager")

    add_agent(deployment, "risk-manager")

    entry = items.get("pipeline", keys.known_agent("risk-manager"))
    assert entry is not None
    assert entry["registered"] is True
    assert list_agents(deployment)[0].registered


def test_who_wrote_without_registering_is_listed_as_such(
    deployment: Deployment, sharpwave: Any
) -> None:
    place = keys.known_agent("stranger").item()
    Items(deployment).put("pipeline", {**place, "agent_id": "stranger"})

    (agent,) = list_agents(deployment)

    assert (agent.registered, agent.removed) == (False, False)
    assert sharpwave("agents", "ls")[1][0]["removed"] is False


def test_an_unknown_agent_cannot_be_removed(deployment: Deployment) -> None:
    with pytest.raises(Missing, match="agents ls"):
        remove_agent(deployment, "nobody")


def test_inboxes_go_with_the_deployment(deployment: Deployment) -> None:
    add_agent(deployment, "risk-manager")

    done = destroy(deployment)

    assert deployment.name("inbox-risk-manager_dlq") in {step.name for step in done.steps}


def test_the_command_lists_what_it_added(deployment: Deployment, sharpwave: Any) -> None:
    sharpwave("agents", "add", "risk-manager", "--subscribe", "WHALE", "--subscribe", "CRASH")

    code, agents = sharpwave("agents", "ls")

    assert code == 0
    assert agents[0]["registration"]["subscriptions"] == ["CRASH", "WHALE"]
    assert agents[0]["inbox"] == {"ready": 0, "in_flight": 0, "delayed": 0}
    assert sharpwave("agents", "rm", "risk-manager", "--yes")[0] == 0
