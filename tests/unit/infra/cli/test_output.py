"""Answers lose nothing on their way to JSON and line up for people."""

import json
from dataclasses import dataclass
from decimal import Decimal
from typing import NamedTuple

from pydantic import BaseModel

from sharpwave.infra.cli.output import Answer, emit, plain, table, when
from sharpwave.infra.operate import plural
from sharpwave.schemas.numbers import plain_json


class Depth(NamedTuple):
    ready: int


@dataclass(frozen=True)
class View:
    name: str
    depth: Depth | None
    rate: Decimal


class Model(BaseModel):
    value: Decimal


def test_records_become_objects_with_all_their_digits() -> None:
    view = View("deliver", Depth(3), Decimal("0.1234567890123456789"))

    text = plain_json(plain({"views": [view], "model": Model(value=Decimal("1.50"))}))

    assert text == (
        '{"views":[{"name":"deliver","depth":{"ready":3},"rate":0.1234567890123456789}],'
        '"model":{"value":1.50}}'
    )


def test_sets_are_sorted_and_binary_is_base64() -> None:
    assert json.loads(plain_json(plain({"b", "a"}))) == ["a", "b"]
    assert json.loads(plain_json(plain([b"\x00\x01"]))) == ["AAE="]


def test_columns_line_up_with_numbers_to_the_right() -> None:
    text = table(("QUEUE", "READY", "OK"), [("deliver", 5, True), ("x", 1200, False)], empty="-")

    assert text.splitlines() == [
        "QUEUE    READY  OK",
        "deliver      5  yes",
        "x         1200  no",
    ]


def test_a_table_without_rows_says_so() -> None:
    assert table(("A",), [], empty="no queues") == "no queues"


def test_a_cell_stays_on_one_line() -> None:
    assert len(table(("A",), [("one\ntwo",)], empty="").splitlines()) == 2


def test_times_and_numbers_read_well() -> None:
    assert when(1_760_797_800) == "2025-10-18 14:30:00"
    assert when(None) == ""
    assert (plural(1, "message"), plural(2, "message")) == ("1 message", "2 messages")


def test_json_is_one_line_and_text_is_for_people(capsys) -> None:  # type: ignore[no-untyped-def]
    answer = Answer({"text": "two\nlines"}, "two\nlines")

    emit(answer, as_json=True)
    emit(answer, as_json=False)

    assert capsys.readouterr().out == '{"text":"two\\nlines"}\ntwo\nlines\n'
