"""A change that was in fact made before its answer was lost counts as made."""

from collections.abc import Callable
from typing import Any

import pytest

from sharpwave.producers.call import Identity
from sharpwave.producers.errors import (
    ConditionFailed,
    OutcomeConflict,
    RecordRefused,
    StateConflict,
    Unreachable,
)
from sharpwave.producers.operations import decisions, memory, registration, state
from sharpwave.schemas import keys
from sharpwave.schemas.numbers import item_to_wire

Play = Callable[..., Any]
NOTE = keys.Key("agent:risk#memory#NOTE", "2027-01-15T08:00:00.000Z#m1")
KEY = keys.Key("agent:risk#decision#PICK", "2027-01-15T08:00:00.000Z#dec_1")


def stored(**attributes: Any) -> dict[str, Any]:
    return item_to_wire({**KEY.item(), **attributes})


def test_an_outcome_written_by_a_lost_try_counts(play: Play, me: Identity) -> None:
    met = ConditionFailed("met", item=stored(outcome={"success": True, "quality_score": 0.5}))

    play(decisions.record_outcome(me, KEY, success=True, quality_score=0.5), met)

    with pytest.raises(OutcomeConflict):
        play(decisions.record_outcome(me, KEY, success=False), met)


def test_a_correction_written_by_a_lost_try_counts(play: Play, me: Identity) -> None:
    before = {"Item": stored(outcome={"success": True})}
    met = ConditionFailed("met", item=stored(outcome={"success": False}, outcome_rev=2))

    played = play(decisions.correct_outcome(me, KEY, success=False), before, met)

    assert played.result == 2
    condition = played.calls[1].params["ConditionExpression"]
    assert condition == "attribute_exists(PK) AND attribute_not_exists(#r)"


def test_a_correction_made_by_someone_else_is_a_conflict(play: Play, me: Identity) -> None:
    before = {"Item": stored(outcome={"success": True}, outcome_rev=4)}
    met = ConditionFailed("met", item=stored(outcome={"success": True}, outcome_rev=5))

    with pytest.raises(OutcomeConflict, match="by someone else"):
        play(decisions.correct_outcome(me, KEY, success=False), before, met)


def test_a_score_outside_its_range_is_refused_unsent(play: Play, me: Identity) -> None:
    with pytest.raises(RecordRefused, match=r"outcome\.quality_score"):
        play(decisions.record_outcome(me, KEY, success=True, quality_score=1.5))


def test_a_state_saved_by_a_lost_try_counts(play: Play, me: Identity) -> None:
    saving: Any = state.save_state(me, {"cycle": 1}, expected_version=0)
    next(saving)
    written = saving.send({}).params["Item"]

    # The answer was lost, and the client's own retry met what the first try had stored.
    with pytest.raises(StopIteration) as done:
        saving.throw(ConditionFailed("", item=written))

    assert done.value.value.version == 1


def test_a_state_that_somebody_else_saved_alike_is_a_conflict(play: Play, me: Identity) -> None:
    one: Any = state.save_state(me, {"cycle": 1}, expected_version=0)
    next(one)
    theirs = one.send({}).params["Item"]

    for met, *reads in (
        (ConditionFailed("", item=theirs),),
        (ConditionFailed(""), {"Item": theirs}),
    ):
        with pytest.raises(StateConflict, match="version 1, not 0"):
            play(state.save_state(me, {"cycle": 1}, expected_version=0), {}, met, *reads)


def test_a_refused_update_of_a_state_is_tried_again_on_what_the_refusal_met(
    play: Play, me: Identity
) -> None:
    theirs: Any = state.save_state(me, {"cycle": 7}, expected_version=0)
    next(theirs)
    met = ConditionFailed("", item=theirs.send({}).params["Item"])
    new = [{"cycle": 1}, {"cycle": 8}]

    played = play(state.update_state(me, lambda found: new.pop(0)), {}, new[0], met, new[1], {})

    assert (played.result.version, played.result.state) == (2, {"cycle": 8})
    assert played.operations == ["get_item", "put_item", "put_item"]


def test_a_use_of_memory_never_brings_an_entry_back(play: Play, me: Identity) -> None:
    played = play(memory.touch(me, NOTE), {"Attributes": {"access_count": {"N": "3"}}})

    assert played.result == 3
    assert played.calls[0].params["ConditionExpression"] == "attribute_exists(PK)"


def test_registering_again_the_same_way_writes_nothing(play: Play, me: Identity) -> None:
    known = {
        **keys.registration("risk").item(),
        "schema_version": 1,
        "agent_id": "risk",
        "subscriptions": ["WHALE"],
        "may_broadcast": False,
        "registered_at": 5,
    }

    played = play(
        registration.register(me, subscriptions=["WHALE"]),
        {"Item": item_to_wire(known)},
        {"QueueUrl": "http://q/inbox-risk"},
        {"QueueUrl": "http://q/inbox-risk_urgent"},
    )

    assert played.operations == ["get_item", "get_queue_url", "get_queue_url"]


def test_registering_touches_nothing_that_an_operator_may_be_setting(
    play: Play, me: Identity
) -> None:
    known = {
        **keys.registration("risk").item(),
        "schema_version": 1,
        "agent_id": "risk",
        "subscriptions": ["WHALE"],
        "accepts_from": ["hunter"],
        "may_broadcast": False,
        "registered_at": 5,
        "signals_per_minute": 7,
    }

    played = play(
        registration.register(me, subscriptions=["PING"]),
        {"Item": item_to_wire(known)},
        {"QueueUrl": "http://q/inbox-risk"},
        {"QueueUrl": "http://q/inbox-risk_urgent"},
        {},
    )

    change = played.calls[-1]
    assert change.operation == "update_item"
    assert "signals_per_minute" not in change.params["ExpressionAttributeNames"].values()
    assert change.params["UpdateExpression"].endswith(
        " REMOVE #filters, #accepts_from, #capabilities"
    )
    assert "#registered_at = if_not_exists(" in change.params["UpdateExpression"]
    assert played.result.signals_per_minute == 7


def test_a_cycle_of_parents_ends_a_chain(play: Play, me: Identity) -> None:
    first, second = (
        {
            "PK": KEY.pk,
            "SK": f"2027-01-15T08:00:00.000Z#{name}",
            "agent_id": "risk",
            "decision_id": name,
            "decision_type": "PICK",
            "timestamp": 1_800_000_000,
            "iso_timestamp": "2027-01-15T08:00:00.000Z",
            "parent_decision_id": parent,
        }
        for name, parent in (("dec_a", "dec_b"), ("dec_b", "dec_a"))
    )
    answers = [
        answer
        for item in map(item_to_wire, (first, second))
        for answer in ({"Items": [item]}, {"Item": item})
    ]

    played = play(decisions.chain(me, "dec_a"), *answers)

    assert [record.decision_id for record in played.result] == ["dec_b", "dec_a"]


def test_uses_that_cannot_be_written_at_the_end_are_given_up_after_one_try(
    play: Play, me: Identity
) -> None:
    me.uses.update({keys.Key("agent:risk#memory#FACT", str(n)): 2 for n in range(5)})

    played = play(memory.count_the_rest(me), {}, Unreachable("gone"))

    assert played.operations == ["update_item"] * 2
    assert (me.counters["uncounted"], me.uses.total()) == (8, 0)
