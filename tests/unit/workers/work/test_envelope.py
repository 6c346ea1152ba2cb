"""Entries are packed into messages that Dramatiq reads, as few as limit and fill allow."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sharpwave.schemas.numbers import parse_json
from sharpwave.workers.work.envelope import (
    MAX_FILL_BYTES,
    Duty,
    Entry,
    ascii_json,
    message,
    open_json,
    pack,
    singles,
)

DUTY = Duty("deliver", "on_signals", 10)


def entry(number: int, size: int = 10) -> Entry:
    return Entry(f'{{"event_id":"e{number}","x":"{"y" * size}"}}', str(number))


def test_a_message_is_what_dramatiq_reads() -> None:
    body = parse_json(message(DUTY, [entry(1), entry(2)], moment_ms=7))

    assert body["queue_name"] == "deliver"
    assert body["actor_name"] == "on_signals"
    assert [each["event_id"] for each in body["kwargs"]["entries"]] == ["e1", "e2"]
    assert (body["args"], body["options"], body["message_timestamp"]) == ([], {}, 7)


def test_the_same_entries_make_the_same_message() -> None:
    first, again, other = (
        message(DUTY, entries, moment_ms=7) for entries in ([entry(1)], [entry(1)], [entry(2)])
    )

    assert first == again
    assert parse_json(first)["message_id"] != parse_json(other)["message_id"]


@pytest.mark.parametrize(("count", "expected"), [(0, []), (1, [1]), (10, [10]), (21, [10, 10, 1])])
def test_a_message_holds_at_most_what_its_duty_allows(count: int, expected: list[int]) -> None:
    packed = list(pack(DUTY, [entry(n) for n in range(count)], moment_ms=7))

    assert [len(each.sequence_numbers) for each in packed] == expected


def test_a_message_is_filled_to_the_limit_and_not_beyond() -> None:
    half = MAX_FILL_BYTES // 2 - 30

    packed = list(pack(DUTY, [entry(n, half) for n in range(5)], moment_ms=7))

    assert [len(each.sequence_numbers) for each in packed] == [2, 2, 1]


def test_an_entry_too_large_for_the_fill_travels_alone() -> None:
    sizes = (10, MAX_FILL_BYTES + 1, 10)

    packed = list(pack(DUTY, [entry(n, size) for n, size in enumerate(sizes)], moment_ms=7))

    assert [each.sequence_numbers for each in packed] == [("0",), ("1",), ("2",)]


def test_a_split_group_loses_no_entry() -> None:
    alone = singles(DUTY, [{"event_id": "e1"}, {"event_id": "é"}])

    found = [parse_json(each.body)["kwargs"]["entries"] for each in alone]
    assert found == [[{"event_id": "e1"}], [{"event_id": "é"}]]
    assert all(each.body.isascii() for each in alone)


@given(st.lists(st.integers(1, 90_000), max_size=30), st.integers(1, 12))
@settings(max_examples=200, deadline=None)
def test_each_message_holds_as_many_entries_as_fit(sizes: list[int], limit: int) -> None:
    entries = [Entry("x" * size, str(number)) for number, size in enumerate(sizes)]

    messages = list(pack(Duty("q", "a", limit), entries, moment_ms=0))

    parts = [[int(number) for number in each.sequence_numbers] for each in messages]
    assert [number for part in parts for number in part] == list(range(len(sizes)))
    for part in parts:
        fill = sum(sizes[number] + 1 for number in part)
        more = fill + sizes[part[-1] + 1] + 1 if part[-1] + 1 < len(sizes) else 1e9
        assert len(part) == 1 or fill <= MAX_FILL_BYTES + 1
        assert len(part) == limit or more > MAX_FILL_BYTES + 1


def test_the_end_of_an_entry_is_written_and_counts_for_the_fill() -> None:
    end = f',"more":"{"y" * 20_000}"}}'
    entries = [Entry(f'{{"n":{number}', "", end) for number in range(5)]

    messages = list(pack(DUTY, entries, moment_ms=0))

    assert [len(parse_json(each.body)["kwargs"]["entries"]) for each in messages] == [2, 2, 1]
    assert parse_json(messages[2].body)["kwargs"]["entries"] == [{"n": 4, "more": "y" * 20_000}]


@pytest.mark.parametrize(("spare", "parts"), [(0, 1), (-1, 2)])
def test_the_end_of_an_entry_is_counted_to_the_character(spare: int, parts: int) -> None:
    filled = len('{"n":1,"m":""}') * 2 + len(",")
    text = "x" * (MAX_FILL_BYTES - filled - spare)
    entries = [Entry('{"n":1', "", end) for end in (',"m":""}', f',"m":"{text}"}}')]

    assert len(list(pack(DUTY, entries, moment_ms=0))) == parts


@given(st.lists(st.dictionaries(st.text(), st.text() | st.integers(-9, 9)), max_size=4))
@settings(max_examples=100, deadline=None)
def test_an_open_object_lacks_its_last_brace_whatever_was_written_before(
    values: list[dict[str, str | int]],
) -> None:
    room = bytearray()

    assert [open_json(each, room) + "}" for each in values] == [ascii_json(each) for each in values]
