"""Times that are not to be had are left out with a reason, and nothing in a row is trusted."""

from collections.abc import Callable
from decimal import Decimal
from typing import Any

import pytest

from sharpwave.producers.call import Identity
from sharpwave.producers.errors import AccessDenied, Throttled
from sharpwave.producers.operations.timings import timings
from sharpwave.schemas import keys
from sharpwave.schemas.numbers import item_to_wire
from sharpwave.schemas.sketch import ACCURACY
from sharpwave.schemas.tables import SIGNALS
from sharpwave.schemas.times import iso_ms

Play = Callable[..., Any]
SENT_AT = 1_800_000_000
WHALE = keys.Key("signal#WHALE#hunter", f"{iso_ms(SENT_AT)}#s1")
OWN = keys.Key("signal#WHALE#risk", f"{iso_ms(SENT_AT)}#s2")


def row(signal: keys.Key | None = WHALE, **more: Any) -> dict[str, Any]:
    key = keys.Key(keys.inbox_pk("risk"), keys.inbox_sk(iso_ms(SENT_AT), "0" * 32))
    named = {} if signal is None else {"signal_pk": signal.pk, "signal_sk": signal.sk}
    said = {"signal_type": "WHALE", "source_agent": "hunter", "timestamp": SENT_AT}
    return {**key.item(), **said, **named, "status": "PENDING", **more}


def mirror(signal: keys.Key, entries: Any) -> dict[str, Any]:
    return {**keys.mirror(signal).item(), "status_v": "1", "processing_status": entries}


def delivered(after_ms: int) -> dict[str, Any]:
    return {"risk": {"status": "DELIVERED", "delivered_ms": 1000 * SENT_AT + after_ms}}


def page(*rows: dict[str, Any]) -> dict[str, Any]:
    return {"Items": [item_to_wire(each) for each in rows]}


def batch(me: Identity, *items: dict[str, Any]) -> dict[str, Any]:
    return {"Responses": {me.table(SIGNALS): [item_to_wire(each) for each in items]}}


def test_mirrors_that_may_not_be_read_are_asked_for_once_and_named_denied(
    play: Play, me: Identity
) -> None:
    """More rows than one page of mirrors, and one signal of the agent's own among them."""
    many = [
        row(keys.Key(WHALE.pk, f"{WHALE.sk}{number}"), status="PROCESSED", processed_at=SENT_AT + 2)
        for number in range(1_500)
    ]

    played = play(
        timings(me, deliveries=True),
        page(row(OWN), *many),
        AccessDenied("no dynamodb:BatchGetItem"),
        batch(me, mirror(OWN, delivered(3_000))),
    )

    (found,) = played.result
    assert (found.received, found.acknowledgement.count, found.untimed) == (
        1_501,
        1_500,
        {"denied": 1_500},
    )
    assert (found.delivery.count, found.acknowledgement.p50_s) == (
        1,
        pytest.approx(2, rel=ACCURACY),
    )
    asked = [call.params["RequestItems"] for call in played.calls[1:]]
    assert [len(each[me.table(SIGNALS)]["Keys"]) for each in asked] == [100, 1]


def test_mirrors_are_not_read_unless_they_are_asked_for(play: Play, me: Identity) -> None:
    played = play(timings(me), page(row()))

    assert played.operations == ["query"]
    assert played.result[0].untimed == {"not_asked": 1}


@pytest.mark.parametrize(
    "said",
    [
        {},
        {"processed_at": "soon"},
        {"processed_at": True},
        {"processed_at": [1]},
        {"processed_at": SENT_AT, "timestamp": None},
        {"processed_at": SENT_AT, "status": "EXPIRED"},
        {"processed_at": SENT_AT, "status": {"a": 1}},
    ],
)
def test_a_row_that_tells_no_acknowledgement_is_received_and_not_timed(
    play: Play, me: Identity, said: dict[str, Any]
) -> None:
    (found,) = play(timings(me), page(row(**{"status": "PROCESSED", **said}))).result

    assert (found.received, found.acknowledgement.count) == (1, 0)


def test_numbers_of_any_size_are_timed_and_an_early_clock_took_no_time(
    play: Play, me: Identity
) -> None:
    ends = (Decimal("9E+125"), Decimal("-9E+125"), SENT_AT - 5)
    rows = [row(status="FAILED", processed_at=end) for end in ends]

    (found,) = play(timings(me), page(*rows)).result

    assert (found.acknowledgement.count, found.acknowledgement.p50_s) == (3, 0.0)


@pytest.mark.parametrize(
    "spoilt",
    [
        {"signal_type": 7},
        {"source_agent": None},
        {"SK": "today"},
        {"SK": "2026-02-30T00:00:00.000Z#x"},
    ],
)
def test_a_row_that_does_not_say_what_was_sent_is_counted_as_unreadable(
    play: Play, me: Identity, spoilt: dict[str, Any]
) -> None:
    played = play(timings(me), page(row(**spoilt), row()))

    assert [each.received for each in played.result] == [1]
    assert me.counters["unreadable"] == 1


@pytest.mark.parametrize(
    "spoilt",
    [row(None), row(signal_pk=7), row(signal_sk="x" * 3_000), row(signal_pk="agent:risk#inbox")],
)
def test_a_row_that_names_no_signal_asks_for_no_mirror(
    play: Play, me: Identity, spoilt: dict[str, Any]
) -> None:
    played = play(timings(me, deliveries=True), page(spoilt))

    assert (played.operations, played.result[0].untimed) == (["query"], {"unknown": 1})


def test_a_large_audience_has_no_mirror_that_an_agent_reads(play: Play, me: Identity) -> None:
    played = play(timings(me, deliveries=True), page(row(chunk="00001")))

    assert (played.operations, played.result[0].untimed) == (["query"], {"large": 1})


@pytest.mark.parametrize(
    "found",
    [
        [],
        [{**keys.mirror(WHALE).item(), "processing_status": delivered(1)}],
        [mirror(WHALE, "all")],
        [mirror(WHALE, {"risk": "DELIVERED"})],
        [mirror(WHALE, {"other": delivered(1)["risk"]})],
        [mirror(WHALE, {"risk": {"delivered_ms": "1"}})],
    ],
    ids=["gone", "not begun", "no map", "no entry", "of others", "no number"],
)
def test_a_mirror_that_names_no_moment_leaves_the_delivery_unknown(
    play: Play, me: Identity, found: list[dict[str, Any]]
) -> None:
    played = play(timings(me, deliveries=True), page(row()), batch(me, *found))

    assert (played.result[0].delivery.count, played.result[0].untimed) == (0, {"unknown": 1})


def test_what_may_pass_is_raised_and_not_taken_for_a_lack_of_rights(
    play: Play, me: Identity
) -> None:
    with pytest.raises(Throttled):
        play(timings(me, deliveries=True), page(row()), Throttled("later"))
