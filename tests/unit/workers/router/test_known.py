"""What the router found out once it need not find out again."""

import pytest

from sharpwave.schemas import tables
from sharpwave.workers.router import fast_path
from sharpwave.workers.router.fast_path import PARTITIONS, PLACES, Known, Place


def test_what_is_known_is_not_found_out_again() -> None:
    asked = iter([-1, -2])
    known = Known[int, int](lambda _: next(asked))

    assert [known[number] for number in (1, 2, 1, 2)] == [-1, -2, -1, -2]


def test_all_is_forgotten_before_it_becomes_too_much(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(fast_path, "CACHED", 2)
    known = Known[int, int](lambda number: -number)

    sizes = []
    for number in range(5):
        assert known[number] == -number
        sizes.append(len(known))

    assert sizes == [1, 2, 1, 2, 1]


def test_what_cannot_be_found_out_is_asked_again() -> None:
    whole = Known[str, int](int)

    for _ in range(2):
        with pytest.raises(ValueError, match="invalid literal"):
            whole["2.0"]


def test_a_partition_tells_what_a_good_sort_key_in_it_stands_for() -> None:
    pk = "agent:ann#decision#TRADE"

    assert PARTITIONS[tables.DECISIONS][pk] == Place("decision", "ann", "TRADE")
    assert PLACES[tables.DECISIONS, pk, "CURRENT"] is None
    assert PARTITIONS[tables.STATE]["agent:ann"] is None
    assert PLACES[tables.STATE, "agent:ann", "CURRENT"] == Place("state", "ann", "CURRENT")
