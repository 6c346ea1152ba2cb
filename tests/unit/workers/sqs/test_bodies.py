"""A body is plain ASCII JSON; base64 is read too; what no worker can run is poison."""

import json
from base64 import b64encode
from collections.abc import Iterator
from datetime import date
from typing import Any

import dramatiq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sharpwave.workers.sqs import ClaimMissing, Poison, Unsendable
from sharpwave.workers.sqs.bodies import Bodies

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


@pytest.mark.parametrize(
    ("value", "trouble"),
    [
        ([1, {"x": float("nan")}], r"kwargs\['a'\]\[1\]\['x'\] is nan"),
        (float("-inf"), r"kwargs\['a'\] is -inf"),
        ("half \ud83d", r"kwargs\['a'\] holds half of a surrogate pair: 'half \\ud83d'"),
        (["\udc00"], r"kwargs\['a'\]\[0\] holds half of a surrogate pair"),
        ({"\ud800": 1}, r"key kwargs\['a'\]\['\\ud800'\] holds half of a surrogate pair"),
        ({(1, 2): 3}, r"kwargs\['a'\] has a key of type tuple"),
        ({"x": {1, 2}}, r"kwargs\['a'\]\['x'\] is of type set"),
    ],
)
def test_what_json_cannot_carry_is_named_when_it_is_sent(value: Any, trouble: str) -> None:
    with pytest.raises(Unsendable, match=rf"act\(id-1\) is not JSON: {trouble}"):
        Bodies().encode(message(a=value))


def test_arguments_without_an_end_are_refused() -> None:
    endless: list[Any] = []
    endless.append(endless)

    with pytest.raises(Unsendable, match="nested without end"):
        Bodies().encode(message(a=endless))


@pytest.mark.parametrize(
    "value", ["\U0001f600", "\\ud800", 2**200, -0.0, 1e308, "\x00", {"1": None}, [[[[]]]], ""]
)
def test_what_json_carries_arrives(value: Any) -> None:
    sent = message(a=value)

    assert Bodies().decode(Bodies().encode(sent), queue_name="work") == sent


@pytest.mark.parametrize("value", [float("inf"), "half \ud83d", ["\udc00"]])
def test_what_only_dramatiq_takes_for_json_is_read_from_the_bodies_it_left(value: Any) -> None:
    sent = message(a=value)

    assert Bodies().decode(b64encode(sent.encode()).decode(), queue_name="work") == sent


class Dated(dramatiq.JSONEncoder):
    """JSON with dates, as a user would write it."""

    def encode(self, data: Any) -> bytes:
        return json.dumps(data, default=lambda day: {"$day": day.isoformat()}).encode()

    def decode(self, data: bytes) -> Any:
        def undo(found: Any) -> Any:
            return date.fromisoformat(found["$day"]) if "$day" in found else found

        return json.loads(data, object_hook=undo)


@pytest.fixture(params=[dramatiq.PickleEncoder, Dated])
def encoder(request: pytest.FixtureRequest) -> Iterator[Any]:
    before = dramatiq.get_encoder()
    dramatiq.set_encoder(request.param())
    yield request.param
    dramatiq.set_encoder(before)


def test_an_encoder_that_is_set_is_used(encoder: Any) -> None:
    sent = message(day=date(2026, 11, 28))

    body = Bodies().encode(sent)

    assert body.isascii()
    assert Bodies().decode(body, queue_name="work") == sent


def test_a_body_that_dramatiq_sqs_wrote_with_an_encoder_is_read(encoder: Any) -> None:
    sent = message(day=date(2026, 11, 28))

    assert Bodies().decode(b64encode(sent.encode()).decode(), queue_name="work") == sent


def test_plain_json_is_read_whatever_encoder_is_set(encoder: Any) -> None:
    sent = message(a=1)

    assert Bodies().decode(json.dumps(sent.asdict()), queue_name="work") == sent


def test_a_large_body_of_an_encoder_is_claimed(encoder: Any) -> None:
    bodies = Bodies(claims=Shelf(), claim_over_bytes=500)
    sent = message(a="x" * 1000, day=date(2026, 11, 28))

    body = bodies.encode(sent)

    assert len(body) < 100
    assert bodies.decode(body, queue_name="work") == sent


def test_what_an_encoder_cannot_encode_is_refused_with_its_reason(encoder: Any) -> None:
    with pytest.raises(Unsendable, match=rf"act\(id-1\) cannot be encoded by {encoder.__name__}"):
        Bodies().encode(message(a=lambda: None))


def test_a_body_of_another_encoder_is_poison_and_names_ours(encoder: Any) -> None:
    with pytest.raises(Poison, match=f"not a work message of {encoder.__name__}"):
        Bodies().decode(b64encode(b"\x01\x02").decode(), queue_name="work")


def test_exceptions_that_an_encoder_carries_are_never_retried() -> None:
    body = b64encode(
        dramatiq.PickleEncoder().encode({**message().asdict(), "options": {"throws": OSError}})
    ).decode()
    before = dramatiq.get_encoder()
    dramatiq.set_encoder(dramatiq.PickleEncoder())

    options = Bodies().decode(body, queue_name="work").options

    dramatiq.set_encoder(before)
    assert options == {"throws": OSError}
