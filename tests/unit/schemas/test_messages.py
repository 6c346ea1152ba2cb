"""An inbox message is plain ASCII JSON that every later reader still understands."""

from decimal import Decimal
from typing import Any

import pytest

from sharpwave.schemas.ids import signal_uid
from sharpwave.schemas.messages import (
    MAX_BODY_BYTES,
    NoticeMessage,
    SignalBody,
    SignalMessage,
    expires_at,
    parse_message,
)
from sharpwave.schemas.numbers import parse_json, plain_json
from tests.world.records import key_of, signal
from tests.world.stores import START


def read(item: dict[str, Any], target: str = "bob") -> SignalMessage:
    body, _ = SignalBody(item, "agent_signals").to(target)
    message = parse_message(body)
    assert isinstance(message, SignalMessage)
    return message


def test_a_signal_arrives_with_everything_its_source_said() -> None:
    said: dict[str, Any] = {
        "data": {"price": Decimal("0.1000000000000000055511151231257827"), "raw": b"\x00"},
        "context": {"tags": {"b", "a"}},
        "severity": "high",
        "confidence": Decimal("0.75"),
        "recommended_action": "sell",
        "correlation_id": "c1",
        "traceparent": "00-1-2-03",
        "event_time": "2008-10-10",
    }

    message = read(signal(to=["bob"], **said))

    assert message.data == {"price": said["data"]["price"], "raw": "AA=="}
    assert message.context == {"tags": ["a", "b"]}
    for name in ("severity", "confidence", "recommended_action", "correlation_id", "event_time"):
        assert getattr(message, name) == said[name]
    assert message.target_agent == "bob"
    assert message.expires_at == int(START) + 86_400


def test_a_message_names_its_delivery_and_its_row() -> None:
    item = signal(to=["bob"])
    message = read(item)

    uid = signal_uid(*key_of(item))
    assert message.delivery_id == f"{uid}.bob"
    assert (message.row.PK, message.row.table) == ("agent:bob#inbox", "agent_signals")
    assert message.row.SK == f"2025-10-18T14:30:00.000Z#{uid}"


@pytest.mark.parametrize(("strict", "expected"), [(True, "bound"), (False, "unverified")])
def test_only_a_key_that_binds_the_writer_vouches_for_it(strict: bool, expected: str) -> None:
    assert read(signal(to=["bob"], strict=strict)).provenance == expected


@pytest.mark.parametrize("text", ["\uffff", "😀", "\x00", "é" * 100])
def test_a_body_is_ascii(text: str) -> None:
    body, omitted = SignalBody(signal(to=["bob"], data={text: text}), "t").to("bob")

    assert body.isascii()
    assert omitted == ()
    assert parse_json(body)["data"] == {text: text}


def test_a_payload_that_does_not_fit_is_named() -> None:
    item = signal(to=["bob"], data={"x": "é" * 60_000}, context={"y": 1}, severity="high")

    body, omitted = SignalBody(item, "t").to("bob")

    message = parse_message(body)
    assert isinstance(message, SignalMessage)
    assert len(body) <= MAX_BODY_BYTES
    assert omitted == ("data", "context") == tuple(message.omitted)
    assert message.severity == "high"


def test_the_largest_payload_that_fits_stays() -> None:
    frame = len(SignalBody(signal(to=["bob"], data={"x": ""}), "t").to("bob")[0])
    room = MAX_BODY_BYTES - frame

    _, fits = SignalBody(signal(to=["bob"], data={"x": "a" * room}), "t").to("bob")
    _, exceeds = SignalBody(signal(to=["bob"], data={"x": "a" * (room + 1)}), "t").to("bob")

    assert (fits, exceeds) == ((), ("data",))


def test_keys_that_a_reader_does_not_know_are_ignored() -> None:
    body, _ = SignalBody(signal(to=["bob"]), "t").to("bob")

    assert isinstance(parse_message(plain_json({**parse_json(body), "later": 1})), SignalMessage)


@pytest.mark.parametrize("change", [{"kind": "greeting"}, {"v": 2}])
def test_kinds_and_versions_of_the_future_are_skipped(change: dict[str, Any]) -> None:
    body, _ = SignalBody(signal(to=["bob"]), "t").to("bob")

    assert parse_message(plain_json({**parse_json(body), **change})) is None


@pytest.mark.parametrize("body", ["[]", "5", "{}", "null", '{"kind":"signal","v":1}', "{"])
def test_what_is_no_inbox_message_is_an_error(body: str) -> None:
    with pytest.raises(ValueError):  # noqa: PT011  the message is the parser's own
        parse_message(body)


def test_a_notice_reads_back() -> None:
    fault = {"code": "odd", "where": "data", "message": "it is odd"}
    content = {
        "v": 1,
        "kind": "notice",
        "notice_id": "n1",
        "target_agent": "ann",
        "code": "odd",
        "reasons": [fault],
        "record": {"table": "t", "PK": "a", "SK": "b"},
        "timestamp": 7,
    }

    message = parse_message(plain_json(content))

    assert isinstance(message, NoticeMessage)
    assert message.reasons[0].message == "it is odd"


def test_a_deadline_is_the_ttl_or_a_day() -> None:
    assert expires_at(signal(to=["bob"])) == int(START) + 86_400
    assert expires_at(signal(to=["bob"], ttl=9)) == 9
