"""Writes may be repeated after a lost answer, and reads go on until they have enough."""

from collections.abc import Callable
from typing import Any

import pytest

from sharpwave.producers.errors import AlreadyExists, ConditionFailed, RecordRefused, Throttled
from sharpwave.producers.operations import storage
from sharpwave.schemas import examples
from sharpwave.schemas.keys import Key
from sharpwave.schemas.numbers import item_to_wire
from sharpwave.schemas.records import DecisionRecord

Play = Callable[..., Any]
WIRE = item_to_wire({"PK": "p", "SK": "s", "score": 0.5, "tags": {"b", "a"}})


def page(*names: str, more: bool = False) -> dict[str, Any]:
    items = [item_to_wire({"PK": "p", "SK": name}) for name in names]
    return {"Items": items, **({"LastEvaluatedKey": items[-1]} if more else {})}


def test_a_put_is_conditional(play: Play) -> None:
    played = play(storage.put_once("t", WIRE), {})

    assert played.result is True
    assert played.calls[0].params["ConditionExpression"] == "attribute_not_exists(PK)"


def test_a_put_that_meets_its_own_item_succeeds(play: Play) -> None:
    stored = {**WIRE, "score": {"N": "0.50"}, "added_later": {"S": "x"}}

    played = play(storage.put_once("t", WIRE), ConditionFailed("met", item=stored))

    assert (played.result, played.operations) == (False, ["put_item"])


def test_a_backend_that_does_not_show_the_item_is_asked_for_it(play: Play) -> None:
    played = play(storage.put_once("t", WIRE), ConditionFailed("met"), {"Item": WIRE})

    assert played.operations == ["put_item", "get_item"]
    assert played.calls[1].params["ConsistentRead"] is True


def test_a_put_that_meets_another_item_is_refused(play: Play) -> None:
    stored = {**WIRE, "score": {"N": "0.6"}}

    with pytest.raises(AlreadyExists, match="p / s holds another record"):
        play(storage.put_once("t", WIRE), ConditionFailed("met", item=stored))


def test_pages_follow_until_enough_items_are_picked(play: Play) -> None:
    pages = [page("a1", "b1", more=True), page("b2", more=True), page("a2", "a3", more=True)]
    pick = lambda item: item["SK"] if item["SK"].startswith("a") else None  # noqa: E731

    played = play(storage.select({}, pick, limit=2), *pages)

    assert played.result == ["a1", "a2"]
    sizes = [call.params["Limit"] for call in played.calls]
    assert sizes == [10, 20, 40]
    assert played.calls[2].params["ExclusiveStartKey"]["SK"] == {"S": "b2"}


def test_the_last_page_ends_a_read(play: Play) -> None:
    played = play(storage.select({}, lambda item: item["SK"], limit=5), page("a"))

    assert played.result == ["a"]


def test_keys_left_out_are_asked_for_again_after_a_pause(play: Play) -> None:
    wanted = [Key("p", str(number)) for number in range(101)]
    found = [item_to_wire(key.item()) for key in wanted]
    left = {"t": {"Keys": [wanted[99].wire()]}}

    played = play(
        storage.fetch("t", wanted),
        {"Responses": {"t": found[:99]}, "UnprocessedKeys": left},
        {"Responses": {"t": [found[99]]}},
        {"Responses": {"t": [found[100]]}},
    )

    assert list(played.result) == wanted
    assert played.pauses == [0.05]
    assert played.calls[1].params["RequestItems"] == left


def test_items_left_out_are_written_again_and_at_last_given_up(play: Play) -> None:
    left = {"UnprocessedItems": {"t": [{"PutRequest": {"Item": WIRE}}]}}

    played = play(storage.put_all("t", [WIRE] * 26), left, {}, {})

    assert [len(call.params["RequestItems"]["t"]) for call in played.calls] == [25, 1, 1]
    with pytest.raises(Throttled, match="left writes out 8 times"):
        play(storage.put_all("t", [WIRE]), *[left] * 8)


def test_what_dynamodb_would_refuse_for_its_size_is_refused_in_words_and_unsent() -> None:
    item = {**examples.DECISION, "context": {"text": "x" * 500_000}}

    with pytest.raises(RecordRefused, match="a decision holds at most 409600: store what is large"):
        storage.checked("decision", DecisionRecord, item, now=item["timestamp"])


def test_what_dynamodb_cannot_hold_is_refused_with_its_place() -> None:
    item = {**examples.DECISION, "context": {"prices": [1.0, float("nan")]}}

    with pytest.raises(RecordRefused, match=r"context\.prices\.1: nan is not a number") as told:
        storage.checked("decision", DecisionRecord, item, now=item["timestamp"])

    assert [(f.code, f.where) for f in told.value.faults] == [
        ("unstorable_value", "context.prices.1")
    ]
