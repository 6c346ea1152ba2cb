"""What agents did and saw, as lines of JSON that outlive a `kill -9`, and what those tell."""

import json
import os
import time
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any, Literal, NamedTuple, Self

from sharpwave.schemas import keys
from sharpwave.schemas.ids import EVERYONE, SUBSCRIBERS, signal_uid

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


class Member(NamedTuple):
    """A registration: `began` before it was written, `done` once it was accepted."""

    began: float
    done: float
    subscriptions: frozenset[str]
    per_minute: int | None


class Written(NamedTuple):
    """A signal as its writer put it; `done` is None where nobody learned whether it was stored."""

    key: keys.Key
    source: str
    type_name: str
    targets: Sequence[str]
    expires_at: int
    token: str
    began: float
    done: float | None

    @property
    def uid(self) -> str:
        """Give what its deliveries are named by."""
        return signal_uid(*self.key)

    @property
    def is_bound(self) -> bool:
        """Say whether its key names its source, who is told then what became of it."""
        return keys.owner_of(self.key.pk) == self.source


class Audience(NamedTuple):
    """Whom a signal must reach, and whom else it may."""

    must: frozenset[str]
    may: frozenset[str]


class Book(NamedTuple):
    """What a history tells.

    Attributes:
        signals: every signal that somebody tried to write.
        members: registrations, by agent.
        bad: keys of records that must be refused.
        changed: the agents' changes that must be refused, by the record's key.
        cuts: when an agent's queue was deleted with what was in it.
        gaps: from when to when something was written that streams may have lost.
        seen: events of each delivery, by its name and what they are.
        told: notices, by the key of the record they speak of.
    """

    signals: Mapping[keys.Key, Written]
    members: Mapping[str, Member]
    bad: frozenset[keys.Key]
    changed: Mapping[keys.Key, Sequence[Event]]
    cuts: Mapping[str, Sequence[float]]
    gaps: Sequence[tuple[float, float]]
    seen: Mapping[str, Mapping[str, Sequence[Event]]]
    told: Mapping[keys.Key, Sequence[Event]]

    def audience(self, signal: Written) -> Audience:
        """Say whom a signal must reach.

        An agent whose registration was accepted before the signal's write began must be reached;
        one that registered meanwhile or later may be, as long as the audience was not decided.
        """
        if signal.targets not in ([EVERYONE], [SUBSCRIBERS]):
            named = frozenset(signal.targets)
            return Audience(named, named)
        is_everyone = signal.targets == [EVERYONE]
        wanted = {
            name: member
            for name, member in self.members.items()
            if name != signal.source and (is_everyone or signal.type_name in member.subscriptions)
        }
        must = {name for name, member in wanted.items() if member.done <= signal.began}
        return Audience(frozenset(must), frozenset(wanted))


def book_of(events: Iterable[Event]) -> Book:
    """Read a history."""
    signals: dict[keys.Key, Written] = {}
    members: dict[str, Member] = {}
    bad: set[keys.Key] = set()
    changed: dict[keys.Key, list[Event]] = defaultdict(list)
    cuts: dict[str, list[float]] = defaultdict(list)
    gaps: list[tuple[float, float]] = []
    seen: dict[str, dict[str, list[Event]]] = defaultdict(lambda: defaultdict(list))
    told: dict[keys.Key, list[Event]] = defaultdict(list)
    for event in events:
        said = event.details
        key = keys.Key(str(said.get("pk")), str(said.get("sk")))
        if "delivery" in said:
            seen[said["delivery"]][event.what].append(event)
        if event.what == "registered":
            members[event.agent] = _member(event)
        elif event.what == "cut":
            cuts[event.agent].append(event.at)
        elif event.what == "gap":
            gaps.append((said["began"], event.at))
        elif event.what == "told":
            told[key].append(event)
        elif event.what == "changed" and "pk" in said:
            changed[key].append(event)
        elif said.get("record") == "signal":
            is_done = event.what == "wrote"
            if is_done or key not in signals:
                signals[key] = _written(key, said, event.at if is_done else None)
        elif event.what == "wrote" and said["record"] == "bad record":
            bad.add(key)
    return Book(signals, members, frozenset(bad), changed, cuts, gaps, seen, told)


def _member(event: Event) -> Member:
    said = event.details
    wanted = frozenset(said.get("subscriptions") or ())
    return Member(said["began"], event.at, wanted, said.get("signals_per_minute"))


def _written(key: keys.Key, said: Mapping[str, Any], done: float | None) -> Written:
    return Written(
        key=key,
        source=said["source"],
        type_name=said["type"],
        targets=said["targets"],
        expires_at=said["expires_at"],
        token=said["token"],
        began=said["began"],
        done=done,
    )
