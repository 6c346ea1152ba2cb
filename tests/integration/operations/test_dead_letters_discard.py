"""A discarded dead letter of an inbox leaves no delivery open."""

from uuid import uuid4

from sharpwave.infra.agents_admin import add_agent
from sharpwave.infra.connection import Deployment
from sharpwave.infra.dead_letters import Choice, discard
from sharpwave.infra.items import Item, Items
from sharpwave.schemas import keys, queues, tables
from sharpwave.schemas.ids import signal_uid
from sharpwave.schemas.messages import signal_body
from sharpwave.schemas.times import iso_ms, now


def test_its_row_and_its_mirror_say_failed_and_why(deployment: Deployment) -> None:
    add_agent(deployment, "agent-x")
    signal = _signal(targets=["agent-x"])
    key = keys.Key(signal["PK"], signal["SK"])
    row = keys.inbox_row("agent-x", key, signal_uid(*key))
    items = Items(deployment)
    items.put(tables.SIGNALS, signal)
    items.put(tables.SIGNALS, _row(row, key, status="PENDING"))
    _bury(deployment, signal_body(signal, "agent-x", tables.SIGNALS)[0])

    gone = discard(deployment, queues.inbox("agent-x").name, Choice())

    failed = {"status": "FAILED", "reason": "dead_lettered"}
    stored = items.get(tables.SIGNALS, key)
    assert gone == 1
    assert failed.items() <= (items.get(tables.SIGNALS, row) or {}).items()
    assert stored is not None
    assert stored["processing_status"] == {"agent-x": failed}


def test_a_delivery_that_was_acknowledged_after_all_stays_so(deployment: Deployment) -> None:
    add_agent(deployment, "agent-x")
    signal = _signal(targets=["agent-x"])
    key = keys.Key(signal["PK"], signal["SK"])
    row = keys.inbox_row("agent-x", key, signal_uid(*key))
    items = Items(deployment)
    items.put(tables.SIGNALS, signal)
    items.put(tables.SIGNALS, _row(row, key, status="PROCESSED"))
    _bury(deployment, signal_body(signal, "agent-x", tables.SIGNALS)[0])

    discard(deployment, queues.inbox("agent-x").name, Choice())

    assert (items.get(tables.SIGNALS, row) or {})["status"] == "PROCESSED"


def _signal(*, targets: list[str]) -> Item:
    iso, record_id = iso_ms(now()), f"sig_{uuid4().hex}"
    return {
        "PK": keys.signal_pk("ALERT", "market-hunter"),
        "SK": keys.dated_sk(iso, record_id),
        "signal_id": record_id,
        "signal_type": "ALERT",
        "source_agent": "market-hunter",
        "target_agents": targets,
        "timestamp": int(now()),
        "iso_timestamp": iso,
    }


def _row(row: keys.Key, signal: keys.Key, *, status: str) -> Item:
    return {**row.item(), "status": status, "signal_pk": signal.pk, "signal_sk": signal.sk}


def _bury(deployment: Deployment, body: str) -> None:
    name = deployment.name(queues.inbox("agent-x").dlq)
    url = deployment.sqs.get_queue_url(QueueName=name)["QueueUrl"]
    deployment.sqs.send_message(QueueUrl=url, MessageBody=body)
