"""Lines are safe before their message goes, and parts are few."""

import ctypes
import gzip
import itertools
import linecache
import sys
import threading
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from sharpwave.schemas.numbers import item_to_wire
from sharpwave.workers import gather
from sharpwave.workers.archive import Archiving, lines_of
from sharpwave.workers.aws.archive import DamagedPart, FolderArchive
from sharpwave.workers.gather import Gatherer
from sharpwave.workers.work.ports import TryAgain
from tests.world import MemoryArchive
from tests.world.records import decision
from tests.world.stores import START
from tests.world.waiting import eventually

PATIENCE_S = 10.0


def entry(event_id: str, **more: Any) -> dict[str, Any]:
    item = decision(name=event_id, **more)
    return {
        "event_id": event_id,
        "table": "agent_decisions",
        "key": [item["PK"], item["SK"]],
        "stored_at": START,
        "image": item_to_wire(item),
    }


class Gate:
    """A handler that waits to be opened, and notes what it was given."""

    def __init__(self, error: BaseException | None = None) -> None:
        self.error = error
        self.opened, self.entered = threading.Event(), threading.Event()
        self.batches: list[list[str]] = []

    def __call__(self, pieces: list[str]) -> None:
        self.batches.append(list(pieces))
        self.entered.set()
        assert self.opened.wait(PATIENCE_S)
        if self.error is not None:
            raise self.error


class Callers:
    """Threads that each add one piece, and what became of them."""

    def __init__(self, gatherer: Gatherer[str], pieces: Sequence[str]) -> None:
        self.results: dict[str, BaseException | None] = {}
        self.threads = [threading.Thread(target=self._add, args=(gatherer, p)) for p in pieces]
        for thread in self.threads:
            thread.start()

    def _add(self, gatherer: Gatherer[str], piece: str) -> None:
        try:
            gatherer.add([piece])
        except BaseException as error:
            self.results[piece] = error
        else:
            self.results[piece] = None

    def join(self) -> dict[str, BaseException | None]:
        for thread in self.threads:
            thread.join(PATIENCE_S)
            assert not thread.is_alive()
        return self.results


def test_a_message_goes_only_after_its_lines_were_written() -> None:
    gate = Gate()
    callers = Callers(Gatherer(gate, linger_s=60, threads=2), ["a", "b"])
    assert gate.entered.wait(PATIENCE_S)

    early = dict(callers.results)
    gate.opened.set()

    assert early == {}
    assert callers.join() == {"a": None, "b": None}


def test_a_batch_goes_as_soon_as_every_thread_waits() -> None:
    gate = Gate()
    gate.opened.set()

    Callers(Gatherer(gate, linger_s=60, threads=4), "abcd").join()

    assert [sorted(batch) for batch in gate.batches] == [list("abcd")]


def test_a_batch_goes_when_enough_came_together() -> None:
    gate = Gate()
    gate.opened.set()
    gatherer = Gatherer(gate, linger_s=60, threads=9, size=len, max_size=3)

    Callers(gatherer, ["aaa"]).join()
    Callers(gatherer, ["bb", "cc"]).join()

    assert [sorted(batch) for batch in gate.batches] == [["aaa"], ["bb", "cc"]]


def test_a_batch_goes_when_the_linger_time_is_over() -> None:
    gate = Gate()
    gate.opened.set()

    Callers(Gatherer(gate, linger_s=0.01, threads=9), ["a"]).join()

    assert gate.batches == [["a"]]


def test_the_next_batch_gathers_while_one_is_written() -> None:
    gate = Gate()
    gatherer = Gatherer(gate, linger_s=60, threads=2)
    first = Callers(gatherer, ["a", "b"])
    assert gate.entered.wait(PATIENCE_S)

    second = Callers(gatherer, ["c", "d"])
    eventually(lambda: len(gate.batches) == 2, "a second batch is written")
    gate.opened.set()

    assert first.join() | second.join() == dict.fromkeys("abcd")


def test_what_the_world_refused_is_raised_for_everybody_who_waited() -> None:
    gate = Gate(TryAgain("the disk is full"))
    gate.opened.set()

    results = Callers(Gatherer(gate, linger_s=60, threads=3), "abc").join()

    assert [str(error) for error in results.values()] == ["the disk is full"] * 3


def test_one_bad_piece_fails_its_own_message_only() -> None:
    def handle(pieces: list[str]) -> None:
        if "bad" in pieces:
            raise ValueError("bad")

    results = Callers(Gatherer(handle, linger_s=60, threads=3), ["a", "bad", "c"]).join()

    assert isinstance(results.pop("bad"), ValueError)
    assert results == {"a": None, "c": None}


@pytest.mark.parametrize("error", [KeyboardInterrupt(), SystemExit()])
def test_a_leader_that_is_stopped_at_work_sends_the_others_away(error: BaseException) -> None:
    gate = Gate(error)
    gate.opened.set()

    results = Callers(Gatherer(gate, linger_s=60, threads=3), "abc").join()

    kinds = sorted(type(each).__name__ for each in results.values())
    assert kinds == sorted([type(error).__name__, "TryAgain", "TryAgain"])


def test_a_leader_that_is_stopped_while_it_waits_sends_the_others_away() -> None:
    """Dramatiq raises its time limit inside a thread, wherever that is."""
    gatherer: Gatherer[str] = Gatherer(lambda pieces: None, linger_s=60, threads=3)
    leader = Callers(gatherer, ["a"])
    eventually(lambda: gatherer._batch.waiting == 1, "one waits")
    other = Callers(gatherer, ["b"])
    eventually(lambda: gatherer._batch.waiting == 2, "two wait")

    ident = ctypes.c_ulong(leader.threads[0].ident or 0)
    ctypes.pythonapi.PyThreadState_SetAsyncExc(ident, ctypes.py_object(TimeLimit))
    with gatherer._changed:
        gatherer._changed.notify_all()

    assert isinstance(leader.join()["a"], TimeLimit)
    assert isinstance(other.join()["b"], TryAgain)


class TimeLimit(BaseException):
    """What a thread may be hit by."""


class Interrupted:
    """Traces a thread, and raises in it at one of the lines it runs in the gatherer."""

    def __init__(self, line: int) -> None:
        self.left = line

    def __call__(self, frame: Any, event: str, _: Any) -> Any:
        if frame.f_code.co_filename != gather.__file__:
            return None
        # Python lets nothing come between the end of a block and the release of its lock.
        line = linecache.getline(gather.__file__, frame.f_lineno).strip()
        if event == "line" and not line.startswith("with "):
            self.left -= 1
            if self.left == 0:
                raise TimeLimit
        return self


def test_a_leader_may_be_stopped_at_any_line_and_nobody_waits_for_it() -> None:
    for line in itertools.count(1):
        gatherer: Gatherer[str] = Gatherer(lambda pieces: None, linger_s=0.02, threads=3)
        trace = Interrupted(line)
        leader = threading.Thread(target=_traced, args=(trace, gatherer))
        leader.start()
        others = Callers(gatherer, ["b"])
        leader.join(PATIENCE_S)
        later = Callers(gatherer, ["c"]).join()

        assert others.join()["b"] is None or isinstance(others.results["b"], TryAgain)
        assert later == {"c": None}
        if trace.left > 0:
            assert line > 20
            return


def _traced(trace: Interrupted, gatherer: Gatherer[str]) -> None:
    sys.settrace(trace)
    try:
        gatherer.add(["a"])
    except TimeLimit:
        return
    finally:
        sys.settrace(None)


def test_lines_are_parted_by_the_day_of_their_decision() -> None:
    archive = MemoryArchive()

    Archiving(archive, linger_s=0, threads=1).store(
        [entry("e1", event_time="2008-10-10"), entry("e2"), entry("e3", event_time="2008-10-10")]
    )

    assert [(day, len(lines)) for day, lines in archive.parts] == [
        ("2008-10-10", 2),
        ("2025-10-18", 1),
    ]


@pytest.mark.parametrize(
    "image",
    [
        {},
        {"event_time": {"S": "never"}, "timestamp": {"S": "x"}},
        {"event_time": {"N": "5"}, "timestamp": {"N": "9" * 30}},
        {"timestamp": {"N": "-1"}},
        {"timestamp": {"N": "1.5"}},
        {"timestamp": {"NULL": True}},
    ],
)
def test_a_refused_record_has_a_day_whatever_it_holds(image: dict[str, Any]) -> None:
    refused = {**entry("e1"), "image": image, "state": "refusal", "faults": [{"code": "odd"}]}

    assert list(lines_of([refused])) == ["2025-10-18"]


def test_a_line_holds_the_state_as_it_was() -> None:
    archive = MemoryArchive()
    Archiving(archive, linger_s=0, threads=1).store([{**entry("e1"), "state": "resolution"}])

    (line,) = archive.lines()

    assert (line["event_id"], line["state"], line["stored_at"]) == ("e1", "resolution", START)
    assert (line["table"], line["PK"]) == ("agent_decisions", "agent:ann#decision#TRADE")
    assert line["image"] == entry("e1")["image"]
    assert "faults" not in line


@pytest.mark.parametrize(
    "content",
    [b"", b"no gzip", gzip.compress(b"[]")[:-4], gzip.compress(b"{")],
    ids=["empty", "no gzip", "cut off", "no list"],
)
def test_a_damaged_part_is_named(tmp_path: Path, content: bytes) -> None:
    archive = FolderArchive(tmp_path)
    archive.write("2025-10-18", ['{"state":"insert"}'])
    (name,) = archive.part_names()
    (tmp_path / name).write_bytes(content)

    with pytest.raises(DamagedPart, match=name):
        list(archive.read(name))


def test_a_part_that_is_gone_is_named(tmp_path: Path) -> None:
    with pytest.raises(DamagedPart, match="part-1"):
        list(FolderArchive(tmp_path).read("day=2025-10-18/part-1.jsonl.gz"))
