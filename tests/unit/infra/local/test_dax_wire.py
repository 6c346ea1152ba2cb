"""What a DAX cluster reads and writes, byte by byte: CBOR, keys, numbers, signatures."""

from collections.abc import Callable
from datetime import UTC, datetime
from decimal import Decimal
from io import BytesIO
from typing import Any

import pytest
from amazondax import LexDecimal, SigV4Gen  # type: ignore[import-untyped]
from amazondax.Tube import Tube  # type: ignore[import-untyped]
from botocore.credentials import Credentials
from hypothesis import given
from hypothesis import strategies as st

from sharpwave.infra.local.dax.authentication import Refused, verify
from sharpwave.infra.local.dax.cbor import Ended, Malformed, Reader, Tag, encode
from sharpwave.infra.local.dax.items import (
    AttributeLists,
    KeyPart,
    Path,
    decode_key,
    decode_lexical,
    decode_start,
    encode_key,
    encode_lexical,
    encode_start,
    from_cbor,
    pick,
    to_cbor,
)
from sharpwave.infra.local.dax.nodes import MAGIC

#: From appendix A of RFC 8949.
PUBLISHED: list[tuple[Any, str]] = [
    (0, "00"),
    (23, "17"),
    (24, "1818"),
    (1000, "1903e8"),
    (1000000, "1a000f4240"),
    (18446744073709551615, "1bffffffffffffffff"),
    (18446744073709551616, "c249010000000000000000"),
    (-1, "20"),
    (-1000, "3903e7"),
    (-18446744073709551617, "c349010000000000000000"),
    (1.1, "fb3ff199999999999a"),
    (Decimal("273.15"), "c48221196ab3"),
    (False, "f4"),
    (None, "f6"),
    (b"\x01\x02\x03\x04", "4401020304"),
    ("ü", "62c3bc"),
    ([1, [2, 3]], "8201820203"),
    ({"a": 1, "b": [2, 3]}, "a26161016162820203"),
    (Tag(3321, ["a"]), "d90cf9816161"),
]
READ_ONLY: list[tuple[Any, str]] = [
    ([1, [2, 3]], "9f01820203ff"),
    ({"a": 1}, "bf616101ff"),
    (b"\x01\x02", "5f41014102ff"),
    ("streaming", "7f657374726561646d696e67ff"),
    (1.5, "f93e00"),
    (100000.0, "fa47c35000"),
    (None, "f7"),
]
TYPES = [
    {"S": "x"},
    {"N": "1.5"},
    {"B": b"\x00"},
    {"BOOL": False},
    {"NULL": True},
    {"SS": ["a"]},
    {"NS": ["1", "2.5"]},
    {"BS": [b"x"]},
    {"L": [{"S": "a"}, {"L": []}]},
    {"M": {"a": {"M": {}}}},
]
numbers = st.decimals(
    allow_nan=False, allow_infinity=False, min_value=-(10**60), max_value=10**60
).filter(lambda number: len(number.as_tuple().digits) <= 38 and abs(number.adjusted()) < 120)


@pytest.mark.parametrize(("value", "text"), PUBLISHED)
def test_values_are_written_as_published(value: Any, text: str) -> None:
    assert encode(value).hex() == text
    assert Reader(bytes.fromhex(text)).value() == value


@pytest.mark.parametrize(("value", "text"), READ_ONLY)
def test_other_forms_are_read(value: Any, text: str) -> None:
    assert Reader(bytes.fromhex(text)).value() == value


@pytest.mark.parametrize(
    "text", ["62c328", "1c", "f8ff", "ff", "c48101", "5f01ff", "a1f601", "5bffffffffffffffff"]
)
def test_what_is_no_cbor_is_refused(text: str) -> None:
    with pytest.raises(Malformed):
        Reader(bytes.fromhex(text)).value()


@pytest.mark.parametrize("text", ["", "19", "62c3", "8201", "bf6161"])
def test_half_a_value_is_an_end(text: str) -> None:
    with pytest.raises(Ended):
        Reader(bytes.fromhex(text)).value()


def test_nesting_has_an_end() -> None:
    with pytest.raises(Malformed, match="deep"):
        Reader(b"\x81" * 10_000).value()


def test_a_thing_of_another_world_has_no_form() -> None:
    with pytest.raises(TypeError, match="no form"):
        encode(object())


def test_a_repeated_key_holds_its_last_value() -> None:
    assert Reader(bytes.fromhex("bf04010402ff")).value() == {4: 2}


def test_the_preamble_of_the_official_client_is_read() -> None:
    class Socket:
        family = 2
        sent = b""

        def sendall(self, data: bytes) -> None:
            self.sent += bytes(data)

    Tube(socket := Socket(), None, None, "us-east-1", user_agent="x")

    assert socket.sent == MAGIC + bytes.fromhex("00f6a169557365724167656e74617800")
    reader = Reader(BytesIO(socket.sent))
    assert reader.take(8) == b"gJ7yne5G"
    assert reader.values() == [0, None, {"UserAgent": "x"}, 0]


@pytest.mark.parametrize("value", TYPES, ids=lambda value: next(iter(value)))
def test_a_value_of_an_item_comes_back(value: dict[str, Any]) -> None:
    assert from_cbor(Reader(encode(to_cbor(value))).value()) == value


def test_a_form_that_no_value_has_is_refused() -> None:
    with pytest.raises(Malformed):
        from_cbor(Tag(9, []))


@given(numbers)
def test_numbers_in_keys_are_written_as_the_official_client_reads_them(number: Decimal) -> None:
    data = encode_lexical(number)

    assert decode_lexical(data) == number
    assert LexDecimal.decode_all(data) == number
    assert decode_lexical(LexDecimal.encode(number)) == number


@given(numbers, numbers)
def test_numbers_in_keys_sort_as_numbers(one: Decimal, other: Decimal) -> None:
    assert (encode_lexical(one) < encode_lexical(other)) == (one < other)


@pytest.mark.parametrize("text", ["", "c1", "c1ffff", "c10600"])
def test_a_number_without_an_end_is_refused(text: str) -> None:
    with pytest.raises(Malformed):
        decode_lexical(bytes.fromhex(text))


@pytest.mark.parametrize("first", ["S", "N", "B"])
@pytest.mark.parametrize("second", ["S", "N", "B", None])
def test_keys_of_every_schema_come_back(first: str, second: str | None) -> None:
    values: dict[str, Any] = {"S": "grün", "N": "-12.5", "B": b"\x00\xff"}
    schema = [KeyPart("h", first), *([KeyPart("r", second)] if second else [])]
    key = {part.name: {part.kind: values[part.kind]} for part in schema}

    assert decode_key(encode_key(key, schema), schema) == key
    assert decode_start(encode_start(key)) == key


def test_a_key_of_another_schema_is_refused() -> None:
    number = [KeyPart("h", "N"), KeyPart("r", "S")]
    with pytest.raises(Malformed, match="'h'"):
        decode_key(encode("text") + b"r", number)
    with pytest.raises(Malformed, match="UTF-8"):
        decode_key(b"\xff", [KeyPart("h", "S")])
    with pytest.raises(Malformed, match="index"):
        decode_start(encode([1]))


def test_lists_of_names_have_numbers() -> None:
    lists = AttributeLists()
    schema = [KeyPart("PK", "S")]
    item = {"PK": {"S": "p"}, "b": {"S": "2"}, "a": {"N": "1"}}

    assert lists.number([]) == 1
    assert lists.number(["x"]) == lists.number(("x",)) == 2
    assert lists.item(lists.values(item, schema)) == {"a": {"N": "1"}, "b": {"S": "2"}}
    assert lists.values({"PK": {"S": "p"}}, schema) == b"\x01"
    with pytest.raises(Malformed, match="99"):
        lists.names(99)
    with pytest.raises(Malformed, match="values"):
        lists.item(encode(2, "one", "too many"))


def test_a_path_leads_to_a_value_or_nowhere() -> None:
    item: Any = {"l": {"L": [{"M": {"x": {"S": "y"}}}]}, "s": {"S": "t"}}

    assert pick(item, ("l", 0, "x")) == {"S": "y"}
    assert pick(item, ("s",)) == {"S": "t"}
    nowhere: list[Path] = [("l", 1), ("l", "x"), ("s", 0), ("none",), ("l", 0, "z")]
    for path in nowhere:
        assert pick(item, path) is None


class TestSignatures:
    """A connection is signed with a secret key that both sides know."""

    AT = 1_700_000_000.0

    def signed(self, secret: str = "secret") -> Any:
        moment = datetime.fromtimestamp(self.AT, UTC)
        keys = Credentials("key", secret)
        return SigV4Gen.generate_signature(keys, Tube.DAX_ADDR, "eu-west-1", b"", moment)

    def check(self, made: Any, *, key: str = "key", now: float = AT, **change: str) -> None:
        text = change.get("text", made.string_to_sign)
        verify({"key": "secret"}, key, made.signature, text, now=now)

    def test_the_official_client_signs_as_is_verified(self) -> None:
        self.check(self.signed(), now=self.AT + 299)

    def test_anything_else_is_refused(self) -> None:
        made = self.signed()
        wrongs: list[Callable[[], None]] = [
            lambda: self.check(self.signed("another")),
            lambda: self.check(made, key="stranger"),
            lambda: self.check(made, now=self.AT + 301),
            lambda: self.check(made, text="nonsense"),
            lambda: self.check(made, text=made.string_to_sign.replace("/dax/", "/sqs/")),
            lambda: self.check(made, text=made.string_to_sign[:-1] + "~"),
        ]
        for wrong in wrongs:
            with pytest.raises(Refused):
                wrong()
