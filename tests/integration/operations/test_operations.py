"""One signal can be sent, seen, acknowledged and traced, and queues watched, by command."""

import json
import time
from typing import Any

import pytest

from sharpwave.infra.cli import main
from sharpwave.infra.connection import Deployment
from sharpwave.infra.errors import Conflict, Missing
from sharpwave.infra.items import Items
from sharpwave.infra.mailbox import Mailbox
from sharpwave.infra.operate import signals
from sharpwave.infra.operate.agents import add_agent
from sharpwave.infra.operate.trace import Life, trace
from sharpwave.producers.operations import receiving
from sharpwave.schemas import keys, messages
from sharpwave.schemas.ids import delivery_id, signal_uid
from sharpwave.schemas.keys import Key

TARGETS = ("risk-manager", "trade-executor")


@pytest.fixture
def agents(deployment: Deployment) -> Deployment:
    for agent in TARGETS:
        add_agent(deployment, agent)
    return deployment


def send(deployment: Deployment, **change: Any) -> dict[str, Any]:
    return signals.send(deployment, "market-hunter", "WHALE", TARGETS, data={"count": 5}, **change)


def deliver(deployment: Deployment, signal: dict[str, Any], target: str) -> Key:
    """Do what a worker does for one target: the row, the mirror, the message."""
    items, key = Items(deployment), Key(signal["PK"], signal["SK"])
    row = keys.inbox_row(target, key, signal_uid(*key))
    copied = ("signal_id", "signal_type", "source_agent", "timestamp")
    item = {
        **row.item(),
        **{name: signal[name] for name in copied},
        "signal_pk": key.pk,
        "signal_sk": key.sk,
        "provenance": "bound",
        "expires_at": messages.expires_at(signal),
        "status": "PENDING",
    }
    items.put_new("agent_signals", item)
    place = keys.mirror(key)
    statuses = (items.get("agent_signals", place) or {}).get("processing_status", {})
    statuses[target] = {"status": "DELIVERED"}
    mirror = {**place.item(), "processing_status": statuses, "status_v": 1}
    items.put("agent_signals", mirror)
    body, _ = messages.SignalBody(signal, deployment.name("agent_signals")).to(target)
    box = Mailbox(deployment, f"inbox-{target}")
    deployment.sqs.send_message(QueueUrl=box.url, MessageBody=body)
    return row


def told(deployment: Deployment, signal: dict[str, Any], **search: Any) -> Life:
    (life,) = trace(deployment, signal["signal_id"], **search)
    return life


def test_a_signal_sent_is_a_record_that_binds_its_source(agents: Deployment) -> None:
    signal = send(agents)

    stored = Items(agents).get("agent_signals", Key(signal["PK"], signal["SK"]))
    assert stored == signal
    assert signal["PK"] == "signal#WHALE#market-hunter"
    assert send(agents, strict=False)["PK"] == "signal#WHALE"


def test_looking_at_an_inbox_leaves_its_queue_alone(agents: Deployment) -> None:
    deliver(agents, send(agents), "risk-manager")

    rows = signals.peek(agents, "risk-manager", status="PENDING")

    assert [row["signal_type"] for row in rows] == ["WHALE"]
    assert signals.peek(agents, "risk-manager", status="PROCESSED") == []
    assert Mailbox(agents, "inbox-risk-manager").depth() == (1, 0, 0)


def test_payloads_are_shown_where_they_are_asked_for(
    agents: Deployment, sharpwave: Any, capsys: pytest.CaptureFixture[str]
) -> None:
    signal = send(agents)
    deliver(agents, signal, "risk-manager")
    at = ["--endpoint-url", str(agents.endpoint_url), "--prefix", agents.prefix]

    assert "data" not in sharpwave("inbox", "risk-manager")[1][0]
    assert sharpwave("inbox", "risk-manager", "--payload")[1][0]["data"] == {"count": 5}
    assert main(["inbox", "risk-manager", "--payload", *at]) == 0
    assert f'{signal["signal_id"]}\n  {{"count":5}}' in capsys.readouterr().out
    assert main(["inbox", "risk-manager", "--receive", "--payload", *at]) == 0
    assert '.risk-manager\n  {"count":5}' in capsys.readouterr().out
    Items(agents).delete("agent_signals", Key(signal["PK"], signal["SK"]))
    assert main(["inbox", "risk-manager", "--payload", *at]) == 0
    assert "the signal is gone" in capsys.readouterr().out


def test_receiving_with_ack_ends_row_and_message(agents: Deployment, sharpwave: Any) -> None:
    row = deliver(agents, send(agents), "risk-manager")

    code, arrivals = sharpwave("inbox", "risk-manager", "--receive", "--ack")

    stored = Items(agents).get("agent_signals", row)
    assert code == 0
    assert [arrival["acknowledged"] for arrival in arrivals] == [True]
    assert arrivals[0]["body"]["data"] == {"count": 5}
    assert stored is not None
    assert stored["status"] == "PROCESSED"
    assert Mailbox(agents, "inbox-risk-manager").depth().total == 0


def test_an_acknowledgement_is_final(agents: Deployment, sharpwave: Any) -> None:
    signal = send(agents)
    row = deliver(agents, signal, "risk-manager")

    done = sharpwave("ack", "risk-manager", signal["signal_id"], "--failed", "--reason", "no price")
    again = sharpwave("ack", "risk-manager", signal["signal_id"])

    stored = Items(agents).get("agent_signals", row)
    assert done[0] == 0
    assert stored is not None
    assert (stored["status"], stored["reason"]) == ("FAILED", "no price")
    assert again[0] == 1
    assert "final" in again[1]["error"]


def test_what_the_agent_said_meanwhile_is_never_rewritten(
    agents: Deployment, monkeypatch: pytest.MonkeyPatch
) -> None:
    signal = send(agents)
    row = deliver(agents, signal, "risk-manager")
    signals.acknowledge(agents, "risk-manager", signal["signal_id"], decision_id="dec_risk_001")
    before = Items(agents).get("agent_signals", row)
    monkeypatch.setattr(receiving, "is_acknowledged", lambda row: False)

    with pytest.raises(Conflict, match="is PROCESSED already, which is final"):
        signals.acknowledge(agents, "risk-manager", signal["signal_id"], status="FAILED")

    assert Items(agents).get("agent_signals", row) == before


def test_receiving_with_ack_drops_what_the_agent_ended_before(
    agents: Deployment, sharpwave: Any
) -> None:
    signal = send(agents)
    row = deliver(agents, signal, "risk-manager")
    sharpwave("ack", "risk-manager", signal["signal_id"], "--failed")

    code, [arrival] = sharpwave("inbox", "risk-manager", "--receive", "--ack")

    stored = Items(agents).get("agent_signals", row)
    assert (code, arrival["acknowledged"], arrival["receives"]) == (0, True, 1)
    assert arrival["message_id"]
    assert stored is not None
    assert stored["status"] == "FAILED"
    assert Mailbox(agents, "inbox-risk-manager").depth().total == 0


def test_a_look_into_the_queue_leaves_notices_and_what_cannot_be_read(
    agents: Deployment, sharpwave: Any
) -> None:
    box = Mailbox(agents, "inbox-risk-manager")
    notice = {"kind": "notice", "schema_version": 1, "notice_id": "n", "code": "quota"}
    about = {"table": "agent_signals", "PK": "p", "SK": "s", "reasons": [], "event_id": "e"}
    for body in (json.dumps({**notice, **about}), "no JSON"):
        agents.sqs.send_message(QueueUrl=box.url, MessageBody=body)

    code, seen = sharpwave("inbox", "risk-manager", "--receive")

    assert code == 0
    assert [each["acknowledged"] for each in seen] == [False] * len(seen)
    assert box.depth().total == 2


def test_a_dry_run_of_send_and_ack_writes_nothing(agents: Deployment, sharpwave: Any) -> None:
    planned = sharpwave("send", "ann", "WHALE", "risk-manager", "--dry-run")[1]
    signal = send(agents)
    row = deliver(agents, signal, "risk-manager")
    before = Items(agents).get("agent_signals", row)

    code, told = sharpwave("ack", "risk-manager", signal["signal_id"], "--dry-run")

    assert Items(agents).get("agent_signals", Key(planned["PK"], planned["SK"])) is None
    assert (code, told["status"]) == (0, "PROCESSED")
    assert Items(agents).get("agent_signals", row) == before


def test_a_delivery_that_never_was_cannot_be_acknowledged(
    agents: Deployment, sharpwave: Any
) -> None:
    code, error = sharpwave("ack", "risk-manager", "sig_none")

    assert code == 1
    assert "sharpwave trace" in error["error"]


def test_signals_with_one_id_are_told_apart_by_delivery(agents: Deployment) -> None:
    signal = send(agents)
    twin = {**signal, "PK": "signal#WHALE"}
    Items(agents).put("agent_signals", twin)
    rows = [deliver(agents, each, "risk-manager") for each in (signal, twin)]

    with pytest.raises(Conflict, match="2 signals have the id"):
        signals.acknowledge(agents, "risk-manager", signal["signal_id"])
    chosen = delivery_id(signal_uid(twin["PK"], twin["SK"]), "risk-manager")
    done = signals.acknowledge(agents, "risk-manager", chosen)

    assert (done["PK"], done["SK"]) == rows[1]
    assert len(trace(agents, signal["signal_id"])) == 2


def test_a_trace_tells_each_targets_state(agents: Deployment, sharpwave: Any) -> None:
    signal = send(agents)
    for target in TARGETS:
        deliver(agents, signal, target)
    signals.acknowledge(agents, "risk-manager", signal["signal_id"], decision_id="dec_risk_001")

    life = told(agents, signal)

    states = {target.agent_id: target for target in life.targets}
    assert life.provenance == "bound"
    assert "inbox rows" in life.found_by
    assert states["risk-manager"].status == "PROCESSED"
    assert states["risk-manager"].decision_id == "dec_risk_001"
    assert states["trade-executor"].status == "DELIVERED"
    assert life.verdict == "open: trade-executor"
    code, answer = sharpwave("trace", signal["signal_id"])
    assert code == 0
    assert answer[0]["targets"][0]["queue"]["depth"]["ready"] == 1


def test_a_signal_nobody_delivered_is_found_by_scan_or_by_type(agents: Deployment) -> None:
    signal = send(agents, strict=False)

    scanned, typed = told(agents, signal), told(agents, signal, signal_type="WHALE")

    assert "a scan of 1 items" in scanned.found_by
    assert "signals of type WHALE" in typed.found_by
    assert scanned.provenance == "unverified"
    assert {target.status for target in scanned.targets} == {"not delivered"}


def test_a_trace_finds_dead_letters_and_refusals(agents: Deployment) -> None:
    signal = send(agents)
    deliver(agents, signal, "risk-manager")
    body, _ = messages.SignalBody(signal, "agent_signals").to("risk-manager")
    for queue, text in (("inbox-risk-manager_dlq", body), ("deliver_dlq", str(signal))):
        box = Mailbox(agents, queue)
        agents.sqs.send_message(QueueUrl=box.url, MessageBody=text)
    key = keys.parked("agent_signals", signal["PK"], signal["SK"], "e1")
    fault = {"code": "immutable", "where": "data", "message": "a signal does not change"}
    Items(agents).put("pipeline", {**key.item(), "event_id": "e1", "faults": [fault]})

    life = told(agents, signal)

    assert life.targets[0].in_dead_letters is not None
    assert life.deliver_dead_letters == 1
    assert life.verdict == "refused: data: a signal does not change"


def test_rows_tell_the_story_of_a_signal_that_expired(agents: Deployment) -> None:
    signal = send(agents)
    deliver(agents, signal, "risk-manager")
    Items(agents).delete("agent_signals", Key(signal["PK"], signal["SK"]))

    life = told(agents, signal)

    assert life.record is None
    assert [target.agent_id for target in life.targets] == ["risk-manager"]
    assert life.expires_at == signal["ttl"]


def test_a_signal_that_is_nowhere_says_where_was_looked(agents: Deployment) -> None:
    with pytest.raises(Missing, match="a scan of 0 items"):
        trace(agents, "sig_01ARZ3NDEKTSV4RRFFQ69G5FAV")


def test_queues_show_depth_and_a_pause_is_remembered(agents: Deployment, sharpwave: Any) -> None:
    deliver(agents, send(agents), "risk-manager")

    first = sharpwave("pause", "deliver", "--reason", "maintenance")
    again = sharpwave("pause", "deliver")
    code, views = sharpwave("queues")

    shown = {view["name"]: view for view in views}
    flag = Items(agents).get("pipeline", keys.paused("deliver"))
    assert (first[1]["changed"], again[1]["changed"]) == (True, False)
    assert code == 0
    assert flag is not None
    assert time.time() - flag["paused_at"] < 60
    assert shown["deliver"]["paused"]
    assert shown["inbox-risk-manager"]["depth"]["ready"] == 1
    assert sharpwave("resume", "deliver")[1]["changed"]
    assert Items(agents).get("pipeline", keys.paused("deliver")) is None
