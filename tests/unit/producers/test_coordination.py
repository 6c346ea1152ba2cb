"""Filters, children and waits: what is refused before a call, and what a call may meet."""

from collections.abc import Callable
from typing import Any

import pytest

from sharpwave.producers.call import Identity
from sharpwave.producers.errors import AccessDenied, QueueMissing, RecordMissing, RecordRefused
from sharpwave.producers.operations import asking, decisions, lineage, registration, signals
from sharpwave.schemas import keys
from sharpwave.schemas.numbers import item_from_wire, item_to_wire

Play = Callable[..., Any]


def test_a_filter_in_words_is_stored_as_conditions_and_a_bad_one_is_refused_unsent(
    play: Play, me: Identity
) -> None:
    played = play(
        registration.register(me, subscriptions=["PING"], filters={"PING": "data.n >= 5"}),
        {},
        {"QueueUrl": "http://q/inbox-risk"},
        {"QueueUrl": "http://q/inbox-risk_urgent"},
        {},
    )

    stored = played.calls[-1].params["ExpressionAttributeValues"][":filters"]
    (condition,) = item_from_wire({"filters": stored})["filters"]["PING"]
    assert condition == {"path": "data.n", "op": "ge", "value": 5}
    refused: list[tuple[Any, str]] = [
        ("data.n >=", "cannot be read at its end"),
        ("outcome.success = true", "is nothing that a filter looks at"),
        ({"n": 5}, "a filter is a list of conditions"),
    ]
    for bad, said in refused:
        with pytest.raises(RecordRefused, match=said):
            play(registration.register(me, subscriptions=["PING"], filters={"PING": bad}), {})


def test_an_agent_that_may_make_no_queue_goes_on_without_its_urgent_one(
    play: Play, me: Identity
) -> None:
    played = play(
        registration.register(me),
        {},
        {"QueueUrl": "http://q/inbox-risk"},
        QueueMissing("none"),
        AccessDenied("no sqs:CreateQueue"),
        {},
    )

    assert played.operations[-2:] == ["create_queue", "update_item"]


def test_children_out_of_reach_are_left_out(play: Play, me: Identity) -> None:
    entries: list[dict[str, Any]] = [
        {
            "PK": keys.decision_pk(agent, "PICK"),
            "SK": f"2027-01-15T08:00:00.000Z#{name}",
            "agent_id": agent,
            "decision_id": name,
            "decision_type": "PICK",
            "timestamp": 1_800_000_000,
            "iso_timestamp": "2027-01-15T08:00:00.000Z",
            "parent_decision_id": "dec_root",
        }
        for agent, name in (("risk", "dec_a"), ("other", "dec_b"))
    ]
    own = entries[0]
    listed = [
        item_to_wire(keys.child("dec_root", keys.Key(each["PK"], each["SK"])).item())
        for each in entries
    ]

    played = play(
        lineage.children(me, "dec_root"),
        {"Items": listed},
        AccessDenied("not yours"),
        {"Responses": {"agent_decisions": [item_to_wire(own)]}},
    )

    assert [record.decision_id for record in played.result] == ["dec_a"]
    asked = played.calls[-1].params["RequestItems"]["agent_decisions"]["Keys"]
    assert [key["PK"]["S"] for key in asked] == [own["PK"]]


def test_a_signal_that_is_gone_is_not_waited_for(play: Play, me: Identity) -> None:
    sent = play(signals.signal(me, "PING", to="hunter"), {}).result

    with pytest.raises(RecordMissing, match="there is no signal"):
        play(asking.wait_for(me, sent), {}, {})
    with pytest.raises(ValueError, match="a page holds at least 1"):
        play(decisions.decisions_page(me, limit=0))
