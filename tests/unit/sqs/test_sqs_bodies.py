"""A body is plain ASCII JSON; base64 is read too; what no worker can run is poison."""

import json
from base64 import b64encode
from typing import Any

import dramatiq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sharpwave.workers.sqs import ClaimMissing, Poison, Unsendable
from sharpwave.workers.sqs.body import Bodies

JSON = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
    max_leaves=8,
)


def message(**kwargs: Any) -> Any:
    return dramatiq.Message("work", "act", (), kwargs, {}, "id-1", 1700000000000)


class Shelf:
    def __init__(self) -> None:
        self.kept: dict[str, str] = {}

    def put(self, body: Any) -> Any:
        self.kept[f"ref-{len(self.kept)}"] = body
        return f"ref-{len(self.kept) - 1}"

    def get(self, reference: Any) -> Any:
        if reference not in self.kept:
            raise ClaimMissing(reference)
        return self.kept[reference]


@settings(max_examples=50)
@given(st.dictionaries(st.text(), JSON))
def test_any_json_arguments_come_back_equal(kwargs: Any) -> None:
    sent = message(**{"x": kwargs})

    body = Bodies().encode(sent)

    assert body.isascii()
    assert Bodies().decode(body, queue_name="work") == sent


def test_a_body_of_dramatiq_sqs_is_read() -> None:
    sent = message(a=1)

    body = b64encode(sent.encode()).decode()

    assert Bodies().decode(body, queue_name="work") == sent


def test_a_message_belongs_to_the_queue_it_came_from() -> None:
    body = json.dumps(message().asdict() | {"queue_name": "somewhere-else"})

    assert Bodies().decode(body, queue_name="work").queue_name == "work"


def test_options_that_json_cannot_carry_are_dropped() -> None:
    body = json.dumps(message().asdict() | {"options": {"throws": "ValueError", "group_id": "g"}})

    assert Bodies().decode(body, queue_name="work").options == {"group_id": "g"}


@pytest.mark.parametrize(
    ("body", "reason"),
    [
        ("hello, world", "neither JSON nor base64"),
        ("{", "not a work message"),
        ('{"actor_name": "act"}', "message_id"),
        ('{"actor_name": "act", "message_id": "1", "kwargs": []}', r"\$\.kwargs"),
        ('{"actor_name": "act", "message_id": "1", "args": {}}', r"\$\.args"),
        (b64encode(b"\xff\xfe{").decode(), "neither JSON nor base64"),
        (b64encode(b"[1]").decode(), "not a work message"),
        ("", "not a work message"),
    ],
)
def test_a_body_that_cannot_run_is_poison_and_says_why(body: Any, reason: Any) -> None:
    with pytest.raises(Poison, match=reason):
        Bodies().decode(body, queue_name="work")


@pytest.mark.parametrize("value", [object(), float("nan"), {1, 2}])
def test_arguments_that_are_not_json_are_refused(value: Any) -> None:
    with pytest.raises(Unsendable, match=r"act.*not JSON"):
        Bodies().encode(message(a=value))


def test_a_body_above_the_limit_is_refused_with_both_sizes() -> None:
    with pytest.raises(Unsendable, match=r"body of 1\d\d\d bytes, more than 1000"):
        Bodies(max_bytes=1000).encode(message(a="x" * 1000))


def test_a_large_body_is_claimed_when_there_is_a_store() -> None:
    shelf = Shelf()
    bodies = Bodies(claims=shelf, claim_over_bytes=500)

    body = bodies.encode(message(a="x" * 1000))

    assert len(body) < 100
    assert bodies.decode(body, queue_name="work") == message(a="x" * 1000)


def test_a_small_body_is_not_claimed() -> None:
    shelf = Shelf()

    Bodies(claims=shelf, claim_over_bytes=500).encode(message())

    assert not shelf.kept


def test_a_claim_that_is_gone_is_poison() -> None:
    with pytest.raises(Poison, match="claimed body is gone: ref-9"):
        Bodies(claims=Shelf()).decode('{"sharpwave_claim":"ref-9"}', queue_name="work")


def test_a_claim_without_a_store_is_poison_and_says_so() -> None:
    with pytest.raises(Poison, match="this worker has none"):
        Bodies().decode('{"sharpwave_claim":"ref-9"}', queue_name="work")
