"""Time that only moves when told to; an archive, a parking lot and checkpoints in memory."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

from sharpwave.schemas.numbers import parse_json
from sharpwave.workers.pump.checkpoints import Checkpoint
from sharpwave.workers.work.ports import Refusal

#: 2025-10-18T14:30:00Z, when virtual time starts unless told otherwise.
START = 1_760_797_800.0


@dataclass(slots=True)
class VirtualClock:
    """A clock in epoch seconds that stands still."""

    now: float = START

    def __call__(self) -> float:
        """Give the time."""
        return self.now

    def advance(self, seconds: float) -> None:
        """Let time pass."""
        self.now += seconds


@dataclass(slots=True)
class MemoryParking:
    """`Parking` that only remembers what was parked."""

    refusals: list[Refusal] = field(default_factory=list)

    def park(self, refusals: Sequence[Refusal]) -> None:
        """Keep refused records."""
        self.refusals += refusals


@dataclass(slots=True)
class MemoryArchive:
    """`Archive` in memory; parts in the order they were written."""

    parts: list[tuple[str, tuple[str, ...]]] = field(default_factory=list)

    def write(self, day: str, lines: Sequence[str]) -> None:
        """Store lines of one day as one new part."""
        self.parts.append((day, tuple(lines)))

    def lines(self) -> Iterator[dict[str, Any]]:
        """Read every line of every part, days in order."""
        for name in self.part_names():
            yield from self.read(name)

    def part_names(self) -> list[str]:
        """Name every part, days in order."""
        return [
            f"{day}/{number}"
            for day, number in sorted((day, number) for number, (day, _) in enumerate(self.parts))
        ]

    def read(self, name: str) -> Iterator[dict[str, Any]]:
        """Read the lines of one part."""
        return map(parse_json, self.parts[int(name.rpartition("/")[2])][1])


class MemoryCheckpoints:
    """Checkpoints that live as long as the process."""

    def __init__(self) -> None:
        self._saved: dict[tuple[str, str], Checkpoint] = {}

    def load(self, table: str) -> list[Checkpoint]:
        """All checkpoints of a table, as last saved."""
        return [saved for (name, _), saved in self._saved.items() if name == table]

    def save(self, table: str, checkpoint: Checkpoint) -> None:
        """Replace the checkpoint of one shard."""
        self._saved[table, checkpoint.shard_id] = checkpoint

    def forget(self, table: str, shard_id: str) -> None:
        """Remove the checkpoint of one shard; nothing happens without one."""
        self._saved.pop((table, shard_id), None)
