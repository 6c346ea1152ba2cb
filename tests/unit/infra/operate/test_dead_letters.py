"""Dead letters are grouped by what went wrong, whatever ids the reason names."""

from typing import Any

import pytest

from sharpwave.infra.errors import Misused
from sharpwave.infra.mailbox import Received, redrive_of
from sharpwave.infra.operate.dead_letters import (
    Choice,
    fingerprint,
    group_by_error,
    queue_of,
    reason_of,
)


def dead(number: int, reason: str | None) -> Received:
    attributes: dict[str, Any] = {}
    if reason:
        attributes["dead_letter_reason"] = {"DataType": "String", "StringValue": reason}
    system = {"SentTimestamp": str(1000 * number), "ApproximateReceiveCount": "20"}
    return Received(f"m{number}", f"h{number}", "{}", attributes, system)


def test_reasons_that_differ_in_ids_and_numbers_are_one_group() -> None:
    letters = [
        dead(3, "table is throttled; retry after 1.5 s"),
        dead(2, "table is throttled; retry after 20 s"),
        dead(5, "no actor is named 'on_whale'"),
    ]

    groups = group_by_error("deliver", letters)

    assert [(group.error, group.count) for group in groups] == [
        ("table is throttled; retry after * s", 2),
        ("no actor is named *", 1),
    ]
    assert groups[0].oldest_sent_at == 2
    assert groups[0].example_id == "m3"


def test_one_that_sqs_moved_by_itself_has_a_reason_too() -> None:
    assert "too often" in reason_of(dead(1, None))


@pytest.mark.parametrize(
    ("reason", "shown"),
    [
        ("signal sig_01ARZ3NDEKTSV4RRFFQ69G5FAV is gone", "signal * is gone"),
        ('key "agent:x" is wrong', "key * is wrong"),
        ("body is not JSON", "body is not JSON"),
    ],
)
def test_a_fingerprint_keeps_only_the_words(reason: str, shown: str) -> None:
    assert fingerprint(reason) == shown


def test_a_choice_is_by_id_by_error_or_both() -> None:
    throttled = dead(1, "Throttled by SQS")

    assert Choice().holds(throttled)
    assert Choice(error="throttled").holds(throttled)
    assert Choice(ids=frozenset({"m1"}), error="throttled").holds(throttled)
    assert not Choice(ids=frozenset({"m2"}), error="throttled").holds(throttled)
    assert not Choice(error="poison").holds(throttled)


@pytest.mark.parametrize(
    ("name", "queue"),
    [
        ("deliver", "deliver"),
        ("deliver_dlq", "deliver"),
        ("inbox-a_dlq", "inbox-a"),
        ("inbox-a_urgent_dlq", "inbox-a_urgent"),
    ],
)
def test_a_queue_answers_to_its_own_name_and_its_dead_letters(name: str, queue: str) -> None:
    assert queue_of(name) == queue


@pytest.mark.parametrize("name", ["", "inbox-", "inbox-A", "de liver", "inbox-_urgent"])
def test_other_names_are_misuse(name: str) -> None:
    with pytest.raises(Misused, match="is no queue"):
        queue_of(name)


def test_a_queue_without_a_policy_redrives_nowhere() -> None:
    policy = '{"deadLetterTargetArn":"arn:aws:sqs:r:1:x_dlq","maxReceiveCount":"5"}'

    assert redrive_of({}) is None
    assert redrive_of({"RedrivePolicy": policy}) == ("arn:aws:sqs:r:1:x_dlq", 5)
