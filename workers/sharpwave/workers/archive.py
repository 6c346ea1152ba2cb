"""The archive: every admitted state of a decision, as it was, in compressed lines by day."""

from collections.abc import Mapping, Sequence
from typing import Any

from sharpwave.schemas.times import day_and_hour, is_event_time
from sharpwave.workers.gather import Gatherer
from sharpwave.workers.work.envelope import ascii_json, image_of
from sharpwave.workers.work.ports import Archive

MAX_PART_BYTES = 5 * 1024 * 1024

Line = tuple[str, str]
"""A day and a line of JSON."""

Lines = dict[str, list[str]]


class Archiving:
    """Writes entries of many messages as few parts; a message is safe once its lines are."""

    def __init__(
        self, archive: Archive, *, linger_s: float, threads: int, max_bytes: int = MAX_PART_BYTES
    ) -> None:
        """Write to `archive`; `threads` is how many callers can wait at once."""
        self._archive = archive
        self._lines: Gatherer[Line] = Gatherer(
            self._write,
            linger_s=linger_s,
            threads=threads,
            size=lambda line: len(line[1]),
            max_size=max_bytes,
        )

    def store(self, entries: Sequence[Mapping[str, Any]]) -> None:
        """Store entries; returns once they are in the archive.

        Raises:
            Exception: what the archive raised; nothing of this batch is then acknowledged.
        """
        lines = lines_of(entries)
        self._lines.add([(day, text) for day, texts in lines.items() for text in texts])

    def _write(self, lines: list[Line]) -> None:
        days: Lines = {}
        # A part is of one day, so that a day can be read without the others.
        for day, text in lines:
            days.setdefault(day, []).append(text)
        for day, texts in sorted(days.items()):
            self._archive.write(day, texts)


def lines_of(entries: Sequence[Mapping[str, Any]]) -> Lines:
    """Write entries as lines of JSON, by the day their decision belongs to."""
    lines: Lines = {}
    for entry in entries:
        image = image_of(entry)
        content = {
            "event_id": entry["event_id"],
            "state": entry.get("state", "insert"),
            "table": entry["table"],
            "PK": entry["key"][0],
            "SK": entry["key"][1],
            "stored_at": entry["stored_at"],
            "image": image,
        }
        if "faults" in entry:
            content["faults"] = entry["faults"]
        # By what it says of itself, as long as that is a time: it is archived before it is judged.
        event_time = image.get("event_time", {}).get("S")
        if not (isinstance(event_time, str) and is_event_time(event_time)):
            event_time = None
        timestamp = image.get("timestamp", {}).get("N", "")
        is_time = timestamp.isdigit() and len(timestamp) <= 10
        moment = int(timestamp) if is_time else int(entry["stored_at"])
        day, _ = day_and_hour(moment, event_time)
        lines.setdefault(day, []).append(ascii_json(content))
    return lines
