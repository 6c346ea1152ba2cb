"""Threads that write at about the same time share a call; each learns what became of its own."""

import threading
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor

import pytest

from sharpwave.schemas import tables
from sharpwave.workers.gather import SharedWrites
from sharpwave.workers.work.ports import Insert, TryAgain, Write
from tests.world import MemoryTables, VirtualClock


class Calls:
    """Tables in memory that note each call; one on the item `bad` is not answered."""

    def __init__(self) -> None:
        self.tables = MemoryTables(VirtualClock())
        self.seen: list[set[str]] = []

    def apply(self, writes: Sequence[Write]) -> list[bool]:
        self.seen.append({write.location.key.sk for write in writes})
        if "bad" in self.seen[-1]:
            raise TryAgain("not answered")
        return self.tables.apply(writes)


def insert(name: str) -> Insert:
    return Insert(tables.PIPELINE, {"PK": "test", "SK": name})


def shared(calls: Calls, *asked: Sequence[str]) -> list[list[bool]]:
    """Let as many threads write at once as there are lists of names."""
    writes = SharedWrites(calls, linger_s=60, threads=len(asked))
    start = threading.Barrier(len(asked))

    def apply(names: Sequence[str]) -> list[bool]:
        start.wait(10)
        return writes.apply([insert(name) for name in names])

    with ThreadPoolExecutor(len(asked)) as pool:
        return list(pool.map(apply, asked))


def test_writes_of_several_threads_share_a_call() -> None:
    calls = Calls()
    calls.tables.apply([insert("b")])

    assert shared(calls, ["a", "b"], ["c"]) == [[True, False], [True]]
    assert calls.seen == [{"a", "b", "c"}]


def test_no_call_holds_two_writes_of_one_item() -> None:
    calls = Calls()

    verdicts = shared(calls, ["a", "b"], ["b", "c"], ["d"])

    assert sorted(each[0] for each in verdicts[:2]) in ([False, True], [True, True])
    assert sum(map(sum, verdicts)) == 4
    assert len(calls.seen) == 2


def test_what_was_not_answered_is_tried_again_by_everybody() -> None:
    with pytest.raises(TryAgain):
        shared(Calls(), ["a"], ["bad"])


def test_who_fills_a_call_waits_for_nobody() -> None:
    calls = Calls()

    SharedWrites(calls, linger_s=60, threads=9).apply([insert(str(n)) for n in range(20)])

    assert len(calls.seen) == 1
