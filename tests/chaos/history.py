"""What agents did and saw, as lines of JSON that outlive a `kill -9`."""

import json
import os
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any, Literal, NamedTuple, Self

#: wrote: a write was acknowledged. handed: a delivery reached its handler. effect: the handler did
#: something that can be counted. settled: an acknowledgement was accepted. dropped: the inbox
#: client absorbed a repetition. dying: the process kills itself at this very point. registered: an
#: agent's registration was accepted. changed: an agent is about to write over a record of its own,
#: as nobody may. deleted: an agent is about to delete the row of a delivery that it has ended.
#: told: a notice arrived. cut: an inbox queue was deleted with what was in it. gap: what streams
#: held was lost; what was written before `began` had been read.
What = Literal[
    "intends",
    "wrote",
    "handed",
    "effect",
    "settled",
    "dropped",
    "dying",
    "registered",
    "changed",
    "deleted",
    "told",
    "cut",
    "gap",
]


class Event(NamedTuple):
    """One line: when (epoch seconds), by which agent, what, and the details."""

    at: float
    agent: str
    what: str
    details: dict[str, Any]


class History:
    """Appends events to a file of this process's own; safe to share between threads."""

    def __init__(self, folder: Path, name: str) -> None:
        """Write to a new file in `folder`, which is made if absent."""
        folder.mkdir(parents=True, exist_ok=True)
        path = folder / f"{name}-{os.getpid()}-{time.time_ns()}.jsonl"
        self._file = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o644)

    def note(self, agent: str, what: What, **details: Any) -> None:
        """Write one event; once this returns, only the machine's own death can lose it."""
        self.note_all([(agent, what, details)])

    def note_all(self, events: Sequence[tuple[str, What, Mapping[str, Any]]]) -> None:
        """Write events that happened at once."""
        now = time.time()
        lines = [json.dumps([now, *event], separators=(",", ":")) + "\n" for event in events]
        os.write(self._file, "".join(lines).encode())

    def close(self) -> None:
        """Close the file."""
        os.close(self._file)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()


def read(folder: Path) -> list[Event]:
    """Read the events of every process, in order of time."""
    events = [event for path in sorted(folder.glob("*.jsonl")) for event in _events(path)]
    return sorted(events, key=lambda event: event.at)


def _events(path: Path) -> Iterator[Event]:
    for line in path.read_text().splitlines(keepends=True):
        if line.endswith("\n"):  # a torn last line was never acknowledged to its writer
            yield Event(*json.loads(line))
