"""Epoch seconds and ISO times say the same, and bounds sort before every precision."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sharpwave.schemas.times import (
    bound,
    day_and_hour,
    epoch_of,
    is_day,
    is_event_time,
    is_iso,
    iso_ms,
    iso_ms_of,
)

MOMENTS = st.integers(0, 9_999_999_999_999)


@given(MOMENTS)
def test_a_moment_reads_back_to_the_millisecond(epoch_ms: int) -> None:
    text = iso_ms(epoch_ms / 1000)

    assert is_iso(text)
    assert round(epoch_of(text) * 1000) == epoch_ms
    assert iso_ms_of(text) == text


@given(MOMENTS, MOMENTS)
def test_written_moments_sort_as_they_happened(one: int, other: int) -> None:
    assert (iso_ms(one / 1000) < iso_ms(other / 1000)) is (one < other)


@given(st.integers(0, 9_999_999_999), st.sampled_from(["", ".1", ".999", ".123456789"]))
def test_a_bound_lies_before_every_record_of_its_second(epoch_s: int, fraction: str) -> None:
    text = bound(epoch_s)

    assert text < f"{text}{fraction}Z#id"
    assert bound(epoch_s + 1) > f"{text}{fraction}Z#id"


@pytest.mark.parametrize(
    "text",
    [
        "2025-10-18T14:30:00",
        "2025-10-18 14:30:00Z",
        "2025-10-18T14:30:00+00:00",
        "2025-10-18T14:30:00z",
        "2025-10-18T14:30:00.Z",
        "2025-10-18T14:30:00.1234567890Z",
        "2025-02-29T14:30:00Z",
        "2025-10-18T24:30:00Z",
        "2025-10-18T14:60:00Z",
        "2025-10-18T14:30:60Z",
        "0000-01-01T00:00:00Z",
        "2025-10-18T14:30:00Z\n",
        "٢٠٢٥-10-18T14:30:00Z",
        "",
    ],
)
def test_what_is_no_utc_time(text: str) -> None:
    assert not is_iso(text)
    assert not is_event_time(text)


@pytest.mark.parametrize(
    ("text", "fits"),
    [
        ("2008-10-10", True),
        ("2008-10-10T09:30:00Z", True),
        ("2008-02-30", False),
        ("2008-1-1", False),
        ("20081010", False),
        ("2008-W41-5", False),
        ("2008-10-10\n", False),
    ],
)
def test_domain_time_is_a_moment_or_a_day(text: str, *, fits: bool) -> None:
    assert is_event_time(text) is fits
    assert is_day(text) is (fits and "T" not in text)


@given(st.text())
def test_any_text_can_be_asked(text: str) -> None:
    assert is_iso(text) <= is_event_time(text)


@pytest.mark.parametrize(
    ("event_time", "expected"),
    [
        (None, ("2025-10-18", 14)),
        ("2008-10-10", ("2008-10-10", 0)),
        ("2008-10-10T09:30:00Z", ("2008-10-10", 9)),
    ],
)
def test_a_record_belongs_to_the_day_of_its_domain(
    event_time: str | None, expected: tuple[str, int]
) -> None:
    assert day_and_hour(1_760_797_800, event_time) == expected
