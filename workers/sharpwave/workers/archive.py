"""The archive: every admitted state of a decision, as it was, in compressed lines by day."""

from collections.abc import Iterator, Mapping, Sequence
from threading import Condition
from typing import Any

from sharpwave.schemas.times import day_and_hour, is_event_time
from sharpwave.workers.envelope import ascii_json, image_of
from sharpwave.workers.ports import Archive

MAX_PART_BYTES = 5 * 1024 * 1024

Lines = dict[str, list[str]]


class Gatherer:
    """Gathers lines of many messages into parts, and lets each message go once its lines are safe.

    A part is written when enough bytes came together, when the linger time is over, or when
    every thread that could add more is already waiting.
    """

    def __init__(
        self, archive: Archive, *, linger_s: float, threads: int, max_bytes: int = MAX_PART_BYTES
    ) -> None:
        """Write to `archive`; `threads` is how many callers can wait at once."""
        self._archive, self._linger_s, self._threads = archive, linger_s, threads
        self._max_bytes = max_bytes
        self._changed = Condition()
        self._batch = _Batch()

    def store(self, entries: Sequence[Mapping[str, Any]]) -> None:
        """Store entries; returns once they are in the archive.

        Raises:
            Exception: what the archive raised; nothing of this batch is then acknowledged.
        """
        lines = lines_of(entries)
        with self._changed:
            batch = self._batch
            batch.add(lines)
            first = batch.waiting == 1
            if self._is_full(batch):
                self._close(batch)
            elif first:
                self._changed.wait_for(lambda: batch.closed, self._linger_s)
                self._close(batch)
        batch.finish(self._archive, writer=first)

    def _is_full(self, batch: "_Batch") -> bool:
        return batch.size >= self._max_bytes or batch.waiting >= self._threads

    def _close(self, batch: "_Batch") -> None:
        if not batch.closed:
            batch.closed = True
            self._batch = _Batch()
            self._changed.notify_all()


class _Batch:
    """Lines on their way to the archive, and the outcome their messages wait for."""

    def __init__(self) -> None:
        self.lines: Lines = {}
        self.size = self.waiting = 0
        self.closed = self._done = False
        self._error: BaseException | None = None
        self._written = Condition()

    def add(self, lines: Lines) -> None:
        self.waiting += 1
        for day, texts in lines.items():
            self.lines.setdefault(day, []).extend(texts)
            self.size += sum(map(len, texts))

    def finish(self, archive: Archive, *, writer: bool) -> None:
        if writer:
            self._write(archive)
        with self._written:
            self._written.wait_for(lambda: self._done)
        if self._error is not None:
            raise self._error

    def _write(self, archive: Archive) -> None:
        try:
            for day, texts in sorted(self.lines.items()):
                archive.write(day, texts)
        except BaseException as error:
            self._error = error
        with self._written:
            self._done = True
            self._written.notify_all()


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
        lines.setdefault(_day(image, entry["stored_at"]), []).append(ascii_json(content))
    return lines


def admitted(lines: Iterator[Mapping[str, Any]]) -> Iterator[Mapping[str, Any]]:
    """Give the archived states that count, one per event; parts may hold an event twice."""
    seen: set[str] = set()
    for line in lines:
        if line["state"] != "refusal" and line["event_id"] not in seen:
            seen.add(line["event_id"])
            yield line


def _day(image: Mapping[str, Any], stored_at: float) -> str:
    event_time = image.get("event_time", {}).get("S")
    if not (isinstance(event_time, str) and is_event_time(event_time)):
        event_time = None
    timestamp = image.get("timestamp", {}).get("N", "")
    moment = int(timestamp) if timestamp.isdigit() and len(timestamp) <= 10 else int(stored_at)
    return day_and_hour(moment, event_time)[0]
