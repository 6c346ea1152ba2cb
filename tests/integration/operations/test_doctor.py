"""The doctor names what is wrong and the command that mends it, and nothing else."""

import re
import time
from typing import Any

import pytest

from sharpwave.infra.connection import Deployment
from sharpwave.infra.items import Items
from sharpwave.infra.mailbox import Mailbox
from sharpwave.infra.operate.agents import add_agent
from sharpwave.infra.operate.doctor import Ailment, examine, is_healthy
from sharpwave.infra.operate.queues import pause
from sharpwave.schemas import keys
from sharpwave.schemas.queues import WORK_QUEUE_NAMES
from sharpwave.workers.signals.expiry import DUE_MARK


def wrong(deployment: Deployment) -> list[Ailment]:
    return [found for found in examine(deployment) if found.level == "wrong"]


def beat(deployment: Deployment, name: str, *, age_s: float = 0, **attributes: Any) -> None:
    row = {**keys.presence(name).item(), "at": int(time.time() - age_s), **attributes}
    Items(deployment).put("pipeline", row)


def test_a_deployment_that_was_never_provisioned_is_sent_to_provision(
    bare: Deployment, sharpwave: Any
) -> None:
    code, answer = sharpwave("doctor")

    remedies = {each["mend"] for each in answer["findings"] if each["level"] == "wrong"}
    assert code == 1
    assert remedies == {"sharpwave provision"}
    assert len(answer["findings"]) == 15 + 1


def test_a_fresh_one_is_healthy_and_says_what_a_local_endpoint_is_not(
    deployment: Deployment, sharpwave: Any
) -> None:
    code, answer = sharpwave("doctor")

    areas = {each["area"] for each in answer["findings"]}
    assert code == 0
    assert answer["healthy"]
    assert areas == {"process", "isolation"}


def test_a_table_that_lost_its_ttl_is_wrong(deployment: Deployment) -> None:
    deployment.dynamodb.update_time_to_live(
        TableName=deployment.name("agent_signals"),
        TimeToLiveSpecification={"Enabled": False, "AttributeName": "ttl"},
    )

    (found,) = wrong(deployment)

    assert "agent_signals lacks" in found.what
    assert found.mend == "sharpwave provision"


def test_a_registered_agent_without_a_queue_is_wrong(deployment: Deployment) -> None:
    add_agent(deployment, "risk-manager")
    Mailbox(deployment, "inbox-risk-manager").drop()

    (found,) = wrong(deployment)

    assert found.what == "agent risk-manager is registered but has no inbox queue"
    assert found.mend == "sharpwave agents add risk-manager"


def test_an_agent_of_an_older_release_lacks_its_urgent_queue_until_it_is_added_again(
    deployment: Deployment,
) -> None:
    add_agent(deployment, "risk-manager")
    for name in ("inbox-risk-manager_urgent", "inbox-risk-manager_urgent_dlq"):
        Mailbox(deployment, name).drop()

    [lack] = [found for found in examine(deployment) if found.area == "agent"]
    add_agent(deployment, "risk-manager")

    assert (lack.level, lack.mend) == ("note", "sharpwave agents add risk-manager")
    assert "has no urgent queue" in lack.what
    assert [found for found in examine(deployment) if found.area == "agent"] == []


def test_a_queue_of_nobody_is_worth_a_note(deployment: Deployment) -> None:
    deployment.sqs.create_queue(QueueName=deployment.name("inbox-stray"))

    notes = [found for found in examine(deployment) if found.area == "agent"]

    assert [note.level for note in notes] == ["note"]
    assert "belongs to no registered agent" in notes[0].what


def test_dead_letters_and_parked_records_are_wrong(deployment: Deployment) -> None:
    box = Mailbox(deployment, "learn_dlq")
    deployment.sqs.send_message(QueueUrl=box.url, MessageBody="{}")
    key = keys.parked("agent_decisions", "p", "s", "e")
    fault = {"code": "missing", "where": "agent_id", "message": "missing"}
    Items(deployment).put("pipeline", {**key.item(), "owner": "a", "faults": [fault]})

    found = {each.what: each.mend for each in wrong(deployment)}

    assert found == {
        "learn_dlq holds 1 dead letters": "sharpwave dlq show learn",
        "1 refused records of a, such as agent_id: missing": "sharpwave dlq show parked",
    }


def test_work_that_waits_for_nobody_is_wrong(deployment: Deployment) -> None:
    box = Mailbox(deployment, "learn")
    deployment.sqs.send_message(QueueUrl=box.url, MessageBody="{}")

    (found,) = wrong(deployment)

    assert found.what == "no pump or worker reports, and 1 messages wait"


def test_a_silent_worker_is_wrong_only_if_nobody_took_over(deployment: Deployment) -> None:
    beat(deployment, "host:1", queues=list(WORK_QUEUE_NAMES))
    beat(deployment, "host:2", age_s=300, queues=["learn"])
    assert is_healthy(examine(deployment))

    beat(deployment, "host:1", queues=["deliver", "status", "promote", "archive"])

    found = [each.what for each in wrong(deployment)]
    assert len(found) == 2
    assert "host:2 last reported" in found[0]
    assert found[1] == "no worker takes from learn"


def test_a_frozen_worker_is_said_within_twenty_seconds(deployment: Deployment) -> None:
    beat(deployment, "host:1", queues=[*set(WORK_QUEUE_NAMES) - {"learn"}], every_s=5)
    beat(deployment, "host:2", age_s=14, queues=["learn"], every_s=5)
    assert is_healthy(examine(deployment))

    beat(deployment, "host:2", age_s=17, queues=["learn"], every_s=5)

    found = wrong(deployment)
    assert re.fullmatch(r"host:2 last reported 1[78] s ago: ended or frozen", found[0].what)
    assert found[0].mend.startswith(
        "sharpwave workers run learn; if it is frozen: kill -9 2 on host"
    )


def test_a_worker_that_reports_seldom_is_not_called_silent_too_soon(
    deployment: Deployment,
) -> None:
    beat(deployment, "host:1", age_s=80, queues=list(WORK_QUEUE_NAMES), every_s=30)

    assert is_healthy(examine(deployment))


def test_a_queue_scaled_to_nothing_is_wrong_and_scaling_mends_it(
    deployment: Deployment, sharpwave: Any
) -> None:
    beat(deployment, "host:1", queues=[*set(WORK_QUEUE_NAMES) - {"deliver"}])
    beat(deployment, "host:2", age_s=60, queues=["deliver"])
    sharpwave("workers", "scale", "deliver=0", "learn=2")

    killed, idle = wrong(deployment)

    assert killed.mend.startswith("sharpwave workers scale deliver=1; if it is frozen")
    assert idle.what == "no worker takes from deliver: it is scaled to 0"
    assert idle.mend == "sharpwave workers scale deliver=1"


@pytest.mark.parametrize(
    "attributes", [{"draining": True}, {"ttl": int(time.time()) - 10}], ids=["draining", "expired"]
)
def test_a_worker_that_said_goodbye_is_not_missed(
    deployment: Deployment, attributes: dict[str, Any]
) -> None:
    beat(deployment, "host:1", queues=list(WORK_QUEUE_NAMES))
    beat(deployment, "pump:agent_signals", age_s=300, **attributes)

    assert is_healthy(examine(deployment))


def test_a_pump_that_fails_or_falls_silent_is_wrong(deployment: Deployment) -> None:
    beat(deployment, "host:1", queues=list(WORK_QUEUE_NAMES))
    beat(deployment, "pump:agent_signals", failing_shards=1, open_shards=1)
    beat(deployment, "pump:agent_state", age_s=300)

    found = [each.what for each in wrong(deployment)]

    assert found[0] == "pump:agent_signals fails on 1 of 1 shards"
    assert found[1].startswith("pump:agent_state last reported 30")


def test_a_pause_is_not_forgotten(deployment: Deployment) -> None:
    pause(deployment, "learn", reason="backfill")

    notes = [found for found in examine(deployment) if found.area == "queue"]

    assert [(note.what, note.mend) for note in notes] == [
        ("learn is paused: backfill", "sharpwave resume learn")
    ]


def test_deadlines_that_nobody_hands_out_are_wrong(deployment: Deployment) -> None:
    minute = int(time.time() // 60)
    for past in (5, 30):
        Items(deployment).put("pipeline", keys.due_minute(minute - past).item())

    (found,) = wrong(deployment)
    Items(deployment).put(
        "pipeline", {**keys.low_water(*DUE_MARK).item(), "mark": str(minute - 20), "rev": 1}
    )

    assert found.area == "deadlines"
    assert re.search("3[01] minutes ago", found.what)
    assert "sharpwave workers run status" in found.mend
    assert wrong(deployment) == []
