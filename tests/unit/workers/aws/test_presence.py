"""A worker shows that it lives and obeys `pause`, whatever fails on the way."""

from types import SimpleNamespace
from typing import Any

import pytest

from sharpwave.schemas.numbers import item_from_wire
from sharpwave.workers.aws.meter import Meter
from sharpwave.workers.aws.presence import Presence
from sharpwave.workers.work.ports import Location


class Table:
    """Keeps the heartbeat rows, and fails when told to."""

    def __init__(self) -> None:
        self.rows: list[dict[str, Any]] = []
        self.fault: Exception | None = None

    def put_item(self, *, TableName: str, Item: Any, **_: Any) -> None:
        if self.fault is not None:
            raise self.fault
        self.rows.append(item_from_wire(Item))


class Flags:
    """The flags of `pause`; what is read next may be a fault."""

    def __init__(self, *answers: Exception | bool) -> None:
        self.answers = [*answers]

    def get(self, places: Any) -> dict[Location, dict[str, Any]]:
        answer = self.answers.pop(0)
        if isinstance(answer, Exception):
            raise answer
        return {place: {} for place in places if answer}


class Worker:
    """Notes when it was paused and resumed."""

    worker_threads = 4

    def __init__(self) -> None:
        self.obeyed: list[str] = []
        self.consumers: Any = {"learn": None, "learn.DQ": None}

    def pause(self) -> None:
        self.obeyed.append("pause")

    def resume(self) -> None:
        self.obeyed.append("resume")


class Growing(dict[str, None]):
    """The worker's consumers while another is being added."""

    def __init__(self) -> None:
        super().__init__({"learn": None})
        self.faults = 1

    def __iter__(self) -> Any:
        if self.faults:
            self.faults -= 1
            raise RuntimeError("dictionary changed size during iteration")
        return super().__iter__()


def presence(table: Table, flags: Flags) -> Presence:
    reads: Any = flags
    made = Presence(table, reads=reads, meter=Meter(), prefix="", every_s=0.0)
    wait = made._stop.wait

    def stop_when_told(seconds: float) -> bool:
        if not flags.answers:
            made._stop.set()
        return wait(0)

    made._stop = SimpleNamespace(  # type: ignore[assignment]
        wait=stop_when_told, is_set=made._stop.is_set, set=made._stop.set
    )
    return made


def beat(table: Table, flags: Flags, worker: Worker) -> None:
    live: Any = worker
    made = presence(table, flags)
    made._beat(live)


def test_a_beat_that_cannot_be_written_stops_neither_the_next_nor_the_ear() -> None:
    table, worker = Table(), Worker()
    table.fault = RuntimeError("away")

    beat(table, Flags(True, False), worker)

    assert table.rows == []
    assert worker.obeyed == ["pause", "resume"]


def test_a_flag_that_cannot_be_read_leaves_the_worker_as_it_is() -> None:
    table, worker = Table(), Worker()

    beat(table, Flags(True, RuntimeError("away"), True), worker)

    assert worker.obeyed == ["pause"]
    assert [row["queues"] for row in table.rows] == [["learn"]] * 3


@pytest.mark.parametrize("refuses", ["consumers", "pause"])
def test_a_beat_that_fails_within_the_worker_is_not_the_last(
    refuses: str, caplog: pytest.LogCaptureFixture
) -> None:
    table, worker = Table(), Worker()
    if refuses == "consumers":
        worker.consumers = Growing()
    else:
        pauses = iter([RuntimeError("not now"), None])

        def pause() -> None:
            if fault := next(pauses):
                raise fault
            worker.obeyed.append("pause")

        worker.pause = pause  # type: ignore[method-assign]

    beat(table, Flags(True, True), worker)

    assert worker.obeyed == ["pause"]
    assert table.rows
    assert "beat_failed" in caplog.messages


def test_the_last_row_says_that_the_worker_drains() -> None:
    table, worker = Table(), Worker()
    live: Any = worker
    made = presence(table, Flags())

    made.before_worker_shutdown(live, live)

    assert [row["draining"] for row in table.rows] == [True]
