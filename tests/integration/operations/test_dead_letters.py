"""Dead letters and parked records can be seen, sent back whole, or dropped, a part at a time."""

import json
import time
from typing import Any

import pytest

from sharpwave.infra.connection import Deployment
from sharpwave.infra.errors import Missing
from sharpwave.infra.items import Items
from sharpwave.infra.mailbox import Mailbox
from sharpwave.infra.operate import feed
from sharpwave.infra.operate.agents import add_agent
from sharpwave.infra.operate.dead_letters import Choice, discard, list_groups, peek, redrive
from sharpwave.schemas import keys
from sharpwave.schemas.keys import Key
from sharpwave.schemas.times import iso_ms

RECORD = Key("p", "s")


def bury(deployment: Deployment, queue: str, body: str, reason: str | None = None) -> None:
    box = Mailbox(deployment, f"{queue}_dlq")
    attributes: dict[str, Any] = {
        "traceparent": {"DataType": "String", "StringValue": "00-1-2-01"},
        "blob": {"DataType": "Binary", "BinaryValue": b"\x00\xff"},
    }
    if reason:
        attributes["dead_letter_reason"] = {"DataType": "String", "StringValue": reason}
    deployment.sqs.send_message(QueueUrl=box.url, MessageBody=body, MessageAttributes=attributes)


def park(
    deployment: Deployment,
    event_id: str,
    record: Key = RECORD,
    *,
    parked_at: int = 1_760_797_800,
) -> None:
    fault = {"code": "missing", "where": "agent_id", "message": "missing"}
    item = {
        **keys.parked("agent_decisions", *record, event_id).item(),
        "table": "agent_decisions",
        "record_pk": record.pk,
        "record_sk": record.sk,
        "event_id": event_id,
        "faults": [fault],
        "image": "{}",
        "owner": "market-hunter",
        "parked_at": parked_at,
    }
    Items(deployment).put("pipeline", item)


def test_looking_changes_nothing(deployment: Deployment) -> None:
    for number in range(12):
        bury(deployment, "deliver", f'{{"n":{number}}}', "no actor")

    first = peek(deployment, "deliver")
    second = peek(deployment, "deliver")

    assert len(first) == len(second) == 12
    assert Mailbox(deployment, "deliver_dlq").depth() == (12, 0, 0)


def test_groups_name_queue_error_and_number(deployment: Deployment) -> None:
    add_agent(deployment, "risk-manager")
    bury(deployment, "deliver", "{}", "table 1 is throttled")
    bury(deployment, "deliver", "{}", "table 2 is throttled")
    bury(deployment, "inbox-risk-manager", "{}")

    groups = {(group.queue, group.error): group.count for group in list_groups(deployment)}

    assert groups == {
        ("deliver", "table * is throttled"): 2,
        ("inbox-risk-manager", "received too often without an end"): 1,
    }


def test_a_redriven_message_is_what_it_was_without_the_label(deployment: Deployment) -> None:
    body = json.dumps({"actor_name": "on_signals", "text": "ü"})
    bury(deployment, "deliver", body, "boom")

    moved = redrive(deployment, "deliver", Choice())

    (letter,) = Mailbox(deployment, "deliver").receive(hold_s=0)
    assert moved == 1
    assert letter.body == body
    assert set(letter.attributes) == {"traceparent", "blob"}
    assert letter.attributes["blob"]["BinaryValue"] == b"\x00\xff"
    assert Mailbox(deployment, "deliver_dlq").depth().total == 0


def test_an_inbox_gets_its_dead_letters_back(deployment: Deployment) -> None:
    add_agent(deployment, "risk-manager")
    bury(deployment, "inbox-risk-manager", '{"kind":"signal"}')

    redrive(deployment, "inbox-risk-manager", Choice())

    assert Mailbox(deployment, "inbox-risk-manager").depth().ready == 1


def test_only_what_is_chosen_moves_and_the_rest_stays_in_sight(deployment: Deployment) -> None:
    for number in range(15):
        bury(deployment, "learn", str(number), "throttled" if number % 2 else "poison")

    moved = redrive(deployment, "learn", Choice(error="THROTTLED", limit=4))

    assert moved == 4
    assert Mailbox(deployment, "learn").depth().ready == 4
    assert Mailbox(deployment, "learn_dlq").depth() == (11, 0, 0)


def test_a_rate_is_kept_by_pausing_between_batches(deployment: Deployment) -> None:
    for number in range(20):
        bury(deployment, "learn", str(number))
    pauses: list[float] = []

    moved = redrive(deployment, "learn", Choice(), max_per_second=5, sleep=pauses.append)

    assert moved == 20
    assert sum(pauses) == pytest.approx(20 / 5)


def test_large_bodies_are_redriven_in_requests_that_sqs_takes(deployment: Deployment) -> None:
    for number in range(10):
        bury(deployment, "archive", str(number) * 200_000)

    assert redrive(deployment, "archive", Choice()) == 10
    assert Mailbox(deployment, "archive").depth().ready == 10


def test_one_message_is_discarded_by_its_id(deployment: Deployment) -> None:
    bury(deployment, "learn", "keep")
    bury(deployment, "learn", "drop")
    drop = next(letter for letter in peek(deployment, "learn") if letter.body == "drop")

    gone = discard(deployment, "learn", Choice(ids=frozenset({drop.message_id})))

    assert gone == 1
    assert [letter.body for letter in peek(deployment, "learn")] == ["keep"]


def test_the_command_counts_first_and_then_does(deployment: Deployment, sharpwave: Any) -> None:
    bury(deployment, "deliver", "{}", "poison")

    assert sharpwave("dlq", "ls")[1]["groups"][0]["error"] == "poison"
    assert sharpwave("dlq", "show", "deliver")[1][0]["reason"] == "poison"
    dry = sharpwave("dlq", "redrive", "deliver", "--dry-run")
    assert dry == (0, {"queue": "deliver", "redriven": 1, "dry_run": True})
    assert sharpwave("dlq", "discard", "deliver", "--all")[0] == 2
    assert sharpwave("dlq", "discard", "deliver", "--all", "--yes")[1]["discarded"] == 1
    assert sharpwave("dlq", "ls")[1] == {"groups": [], "parked": {}}


def test_parked_records_are_listed_with_their_reasons(
    deployment: Deployment, sharpwave: Any
) -> None:
    park(deployment, "e1")
    park(deployment, "e2", Key("p", "s2"))

    code, records = sharpwave("dlq", "show", "parked")

    assert code == 0
    assert sorted(record["event_id"] for record in records) == ["e1", "e2"]
    assert records[0]["faults"][0]["where"] == "agent_id"
    assert sharpwave("dlq", "ls")[1]["parked"] == {"market-hunter": 2}


def test_a_record_that_was_refused_again_and_again_stands_there_once(
    deployment: Deployment, sharpwave: Any
) -> None:
    for event_id, parked_at in (("e2", 1_760_797_801), ("e1", 1_760_797_802), ("e3", 1)):
        park(deployment, event_id, parked_at=parked_at)

    code, (record,) = sharpwave("dlq", "show", "parked")

    assert code == 0
    assert (record["event_id"], list(record["refusals"])) == ("e1", ["e3", "e2", "e1"])
    assert sharpwave("dlq", "ls")[1]["parked"] == {"market-hunter": 1}
    assert sharpwave("dlq", "retry", "--id", "e1", "--id", "e3", "--dry-run")[1]["retried"] == 1
    assert sharpwave("dlq", "discard", "parked", "--id", "e3", "--yes")[1]["discarded"] == 1
    assert list(feed.list_parked(deployment)) == []


def test_a_parked_record_is_discarded_by_its_event(deployment: Deployment, sharpwave: Any) -> None:
    park(deployment, "e1")
    park(deployment, "e2", Key("p", "s2"))

    assert sharpwave("dlq", "discard", "parked", "--id", "e1", "--yes")[1]["discarded"] == 1

    assert [record.event_id for record in feed.list_parked(deployment)] == ["e2"]


def test_a_retry_hands_records_over_and_forgets_them(deployment: Deployment) -> None:
    here, gone = Key("agent:a#decision#T", "s1"), Key("agent:a#decision#T", "s2")
    park(deployment, "e1", here)
    park(deployment, "e2", gone)
    fed: list[tuple[str, Key]] = []

    def into(table: str, record: Key) -> bool:
        fed.append((table, record))
        return record == here

    result = feed.retry(deployment, feed.choose(deployment, ["e1", "e2"]), into)

    assert result == (1, 1)
    assert fed == [("agent_decisions", here), ("agent_decisions", gone)]
    assert list(feed.list_parked(deployment)) == []


def test_a_record_that_could_not_be_handed_over_stays_parked(deployment: Deployment) -> None:
    park(deployment, "e1")
    before = list(feed.list_parked(deployment))

    def into(table: str, record: Key) -> bool:
        raise OSError("queue is down")

    with pytest.raises(OSError, match="queue is down"):
        feed.retry(deployment, before, into)

    assert list(feed.list_parked(deployment)) == before


def test_a_mended_record_is_retried_by_command(deployment: Deployment, sharpwave: Any) -> None:
    now = time.time()
    iso = iso_ms(now)
    record: dict[str, Any] = {
        "PK": keys.decision_pk("market-hunter", "ENTRY"),
        "SK": f"{iso}#dec_1",
        "agent_id": "market-hunter",
        "decision_id": "dec_1",
        "decision_type": "ENTRY",
        "timestamp": int(now),
        "iso_timestamp": iso,
    }
    Items(deployment).put("agent_decisions", record)
    park(deployment, "e1", Key(record["PK"], record["SK"]))

    dry = sharpwave("dlq", "retry", "--dry-run")
    done = sharpwave("dlq", "retry", "--id", "e1")

    assert dry == (0, {"retried": 1, "gone": 0, "dry_run": True})
    assert done == (0, {"retried": 1, "gone": 0, "dry_run": False})
    assert Mailbox(deployment, "learn").depth().ready == 1
    assert list(feed.list_parked(deployment)) == []


def test_an_unknown_event_is_missing(deployment: Deployment) -> None:
    with pytest.raises(Missing, match="no record is parked"):
        feed.choose(deployment, ["e9"])
