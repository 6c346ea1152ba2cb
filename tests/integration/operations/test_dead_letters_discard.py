"""A discarded dead letter of an inbox, or of delivery itself, leaves no delivery open."""

from uuid import uuid4

from sharpwave.infra.connection import Deployment
from sharpwave.infra.items import Item, Items
from sharpwave.infra.operate.agents import add_agent
from sharpwave.infra.operate.dead_letters import Choice, discard
from sharpwave.schemas import keys, queues, tables
from sharpwave.schemas.ids import signal_uid
from sharpwave.schemas.messages import SignalBody
from sharpwave.schemas.numbers import item_to_wire
from sharpwave.schemas.times import iso_ms, now
from sharpwave.workers.work.envelope import ascii_json


def test_its_row_and_its_mirror_say_failed_and_why(deployment: Deployment) -> None:
    add_agent(deployment, "agent-x")
    signal = _signal(targets=["agent-x"])
    key = keys.Key(signal["PK"], signal["SK"])
    row = keys.inbox_row("agent-x", key, signal_uid(*key))
    items = Items(deployment)
    delivered = {"processing_status": {"agent-x": {"status": "DELIVERED"}}, "status_v": 1}
    items.put(tables.SIGNALS, signal)
    items.put(tables.SIGNALS, {**keys.mirror(key).item(), **delivered})
    items.put(tables.SIGNALS, _row(row, key, status="PENDING"))
    _bury(deployment, SignalBody(signal, tables.SIGNALS).to("agent-x")[0])

    gone = discard(deployment, queues.inbox("agent-x").name, Choice())

    failed = {"status": "FAILED", "reason": "dead_lettered"}
    stored = items.get(tables.SIGNALS, keys.mirror(key))
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
    _bury(deployment, SignalBody(signal, tables.SIGNALS).to("agent-x")[0])

    discard(deployment, queues.inbox("agent-x").name, Choice())

    assert (items.get(tables.SIGNALS, row) or {})["status"] == "PROCESSED"


def test_work_that_was_never_done_ends_too_and_what_was_done_stays(deployment: Deployment) -> None:
    signal = _signal(targets=["agent-x", "agent-y", "agent-z"])
    key = keys.Key(signal["PK"], signal["SK"])
    rows = {name: keys.inbox_row(name, key, signal_uid(*key)) for name in signal["target_agents"]}
    items = Items(deployment)
    statuses = {"agent-x": {"status": "DELIVERED"}, "agent-y": {"status": "PENDING"}}
    mirror = {**keys.mirror(key).item(), "processing_status": statuses, "status_v": 1}
    items.put(tables.SIGNALS, mirror)
    items.put(tables.SIGNALS, _row(rows["agent-x"], key, status="PENDING"))
    items.put(tables.SIGNALS, _row(rows["agent-y"], key, status="PENDING"))
    entry = {"key": list(key), "event_id": "e", "image": item_to_wire(signal), "stored_at": now()}
    _bury(deployment, ascii_json({"kwargs": {"entries": [entry]}}), queue="deliver")
    _bury(deployment, "poison", queue="deliver")

    gone = discard(deployment, "deliver", Choice())

    failed = {"status": "FAILED", "reason": "dead_lettered"}
    assert gone == 2
    assert (items.get(tables.SIGNALS, keys.mirror(key)) or {})["processing_status"] == {
        "agent-x": {"status": "DELIVERED"},
        "agent-y": failed,
        "agent-z": failed,
    }
    ended = {
        name: (items.get(tables.SIGNALS, row) or {}).get("status") for name, row in rows.items()
    }
    assert ended == {"agent-x": "PENDING", "agent-y": "FAILED", "agent-z": None}


def test_a_chunk_that_was_never_delivered_ends_too(deployment: Deployment) -> None:
    signal = _signal(targets=["*"])
    key = keys.Key(signal["PK"], signal["SK"])
    chunk = keys.late_chunk(signal_uid(*key), "agent-x")
    items = Items(deployment)
    items.put(tables.SIGNALS, signal)
    items.put(tables.PIPELINE, {**chunk.item(), "targets": ["agent-x"]})
    entry = {"key": list(key), "agent": "agent-x"}
    _bury(deployment, ascii_json({"kwargs": {"entries": [entry]}}), queue="deliver")

    discard(deployment, "deliver", Choice())

    stored = items.get(tables.PIPELINE, chunk) or {}
    assert stored["processing_status"] == {
        "agent-x": {"status": "FAILED", "reason": "dead_lettered"}
    }


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


def _bury(deployment: Deployment, body: str, *, queue: str = "inbox-agent-x") -> None:
    name = deployment.name(queue + queues.DLQ_SUFFIX)
    url = deployment.sqs.get_queue_url(QueueName=name)["QueueUrl"]
    deployment.sqs.send_message(QueueUrl=url, MessageBody=body)
