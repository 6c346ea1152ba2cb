"""From stream records to work messages: a pure function of the records' images."""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any

from msgspec.structs import replace

from sharpwave.schemas import keys, tables, times
from sharpwave.schemas.faults import Fault, unknown_key
from sharpwave.schemas.numbers import Wire
from sharpwave.schemas.ownership import WORKER, Change, change_of
from sharpwave.schemas.status import ACKNOWLEDGED, outranks
from sharpwave.workers.admission import Image, faults_of, is_sound, place_of
from sharpwave.workers.envelope import Duty, Entry, ascii_json, is_packed, pack
from sharpwave.workers.outgoing import Outgoing, StreamRecord
from sharpwave.workers.stream_records import (
    OUTCOME,
    Record,
    content,
    content_of,
    decision_state,
    faults_in,
    forbidden,
    outcome_faults,
    read,
    stored_at_of,
    touches,
    was_valid,
)

DELIVER = Duty("deliver", "on_signals", 20)
MIRROR = Duty("status", "on_rows_changed", 50)
REFUSED = Duty("status", "on_refused", 10)
REGISTERED = Duty("status", "on_registered", 50)
LEARN = Duty("learn", "on_decisions", 50)
ARCHIVE = Duty("archive", "on_archived", 500)
PROMOTE = Duty("promote", "on_memories", 25)
EPISODE = Duty("promote", "on_late_outcomes", 50)

#: An image kept with a refused record is cut to this many characters of JSON.
MAX_PARKED_IMAGE = 32_000
#: Longer names of chunks were not given by a worker.
MAX_CHUNK_NAME = 64

_ACKNOWLEDGEMENT = frozenset({"processed_at", "decision_id", "reason"})

Work = tuple[Duty, str, Entry]


class Router:
    """Routes the records of the streamed tables; holds thresholds, and no other state."""

    def __init__(
        self,
        *,
        importance: float = 0.8,
        access_count: int = 10,
        promote_after_s: float = times.DAY_S,
    ) -> None:
        """Set from which importance or access count a memory entry is promoted early."""
        self._importance = importance
        self._promote_after_s = promote_after_s
        self._access_count = access_count
        self._routes: dict[str, Callable[[Record, Change], Iterator[Work]]] = {
            "decision": self._decision,
            "signal": self._signal,
            "row": self._row,
            "memory": self._memory,
            "registration": self._registration,
            "state": self._checked,
        }

    def __call__(self, table: str, records: Sequence[StreamRecord]) -> list[Outgoing]:
        """Turn records of one table, in stream order, into messages for the work queues."""
        groups = _Groups()
        moment = 0.0
        for raw in records:
            stored_at = stored_at_of(raw)
            moment = max(moment, stored_at)
            if not self._take_new(table, raw, stored_at, groups):
                for duty, group, entry in self._work(read(table, raw, stored_at)):
                    groups.of(duty, group).append(entry)
        return groups.packed(int(moment * 1000))

    def _take_new(self, table: str, raw: StreamRecord, stored_at: float, groups: "_Groups") -> bool:
        """Route a new decision or signal that is sound; gives False for every other record.

        Most records are such. What comes of one is what `_decision` and `_signal` make of it.
        """
        change = raw["dynamodb"]
        image, pk = change.get("NewImage"), change["Keys"]["PK"]["S"]
        place = None if table == tables.STATE else place_of(table, pk)
        if image is None or change.get("OldImage") is not None or place is None:
            return False
        if place.kind != "signal" and place.kind != "decision":
            return False
        sk = change["Keys"]["SK"]["S"]
        text = content(raw["eventID"], table, pk, sk, stored_at, image)
        if is_packed(text) or not is_sound(place.kind, image, text=text, stored_at=stored_at):
            return False
        number = change.get("SequenceNumber", "")
        if place.kind == "signal":
            groups.of(DELIVER).append(Entry(text, number))
        else:
            groups.of(LEARN, pk).append(Entry(text, number))
            groups.of(ARCHIVE).append(Entry(_more(text, '"state":"insert"'), number))
            if self._is_due(image, stored_at):
                groups.of(EPISODE).append(Entry(text, number))
        return True

    def _work(self, record: Record) -> Iterable[Work]:
        if record.kind is None:
            return _unknown(record)
        if record.old is None and record.new is not None:
            return self._routes[record.kind](record, Change.INSERTED)
        change = change_of(record.kind, record.old, record.new)
        return () if change is Change.ECHO else self._routes[record.kind](record, change)

    def _decision(self, record: Record, change: Change) -> Iterator[Work]:
        if change is Change.REMOVED or record.new is None:
            return
        faults = faults_in(record)
        if not faults and change in (Change.AGENT, Change.OVERWRITTEN) and was_valid(record):
            faults = forbidden(record) or outcome_faults(record)
            if not faults and not touches(record, OUTCOME):
                return
        if faults and not _has_known_key(record):
            yield from _unknown(record)
            return
        if faults:
            yield _refusal(record, faults)
            why = ascii_json([fault._asdict() for fault in faults])
            yield ARCHIVE, "", _entry(record, f'"state":"refusal","faults":{why}')
            return
        state = decision_state(record)
        yield LEARN, record.pk, _entry(record)
        yield ARCHIVE, "", _entry(record, f'"state":"{state}"')
        if ("promoted_at" in record.new and state != "insert") or self._is_due(
            record.new, record.stored_at
        ):
            yield EPISODE, "", _entry(record)

    def _signal(self, record: Record, change: Change) -> Iterator[Work]:
        if change is Change.REMOVED or record.new is None:
            return
        faults = faults_in(record)
        if not faults and change in (Change.AGENT, Change.OVERWRITTEN) and was_valid(record):
            faults = forbidden(record)
            if change is Change.OVERWRITTEN:
                yield MIRROR, "", _key_entry(record, _held(record))
            if not faults:
                return
        if faults and not _has_known_key(record):
            yield from _unknown(record)
        elif faults:
            yield _refusal(record, faults)
        else:
            yield DELIVER, "", _entry(record, _held(record))

    def _row(self, record: Record, change: Change) -> Iterator[Work]:
        old, new = record.old, record.new
        if old is None or new is None:
            return
        signal = keys.Key(_s(old, "signal_pk"), _s(old, "signal_sk"))
        place = keys.parse(tables.SIGNALS, *signal)
        if place is None or place.kind != "signal":
            return
        content: dict[str, Any] = {"key": signal, "targets": [keys.owner_of(record.pk)]}
        before, after = _s(old, "status"), _s(new, "status")
        same = old.get("status") == new.get("status")
        legal = same or (after in ACKNOWLEDGED and outranks(after, before))
        if not legal:
            content["illegal"] = _move(record, old, new)
        if change in (Change.WIPED, Change.OVERWRITTEN):
            # What a legal move leaves out of the agent's own is the agent's affair.
            kept = WORKER["row"] - {"worker_rev"} | (set() if legal else _ACKNOWLEDGEMENT)
            lost = (old.keys() - new.keys()) & kept
            if lost:
                row = {"row_pk": record.pk, "row_sk": record.sk}
                content["restore"] = {
                    **row,
                    "attributes": {name: old[name] for name in sorted(lost)},
                }
        chunk = _s(old, "chunk")
        if 0 < len(chunk) <= MAX_CHUNK_NAME:
            content["chunk"] = chunk
        yield MIRROR, "", Entry(ascii_json(content), record.sequence_number)

    def _memory(self, record: Record, change: Change) -> Iterator[Work]:
        if change is Change.REMOVED or record.new is None:
            if record.by_ttl and _is_unpromoted(record.old):
                yield PROMOTE, "", _entry(replace(record, new=record.old))
            return
        faults = faults_in(record)
        if faults:
            yield _refusal(record, faults)
        elif "promoted_at" not in record.new and (
            self._is_important(record) or self._is_due(record.new, record.stored_at)
        ):
            yield PROMOTE, "", _entry(record)

    def _registration(self, record: Record, change: Change) -> Iterator[Work]:
        if change is Change.REMOVED or record.new is None:
            return
        faults = faults_in(record)
        yield _refusal(record, faults) if faults else (REGISTERED, "", _entry(record))

    def _checked(self, record: Record, change: Change) -> Iterator[Work]:
        faults = [] if change is Change.REMOVED else faults_in(record)
        if faults:
            yield _refusal(record, faults)

    def _is_important(self, record: Record) -> bool:
        image = record.new or {}
        return (
            _n(image, "importance") >= self._importance
            or _n(image, "access_count") >= self._access_count
        )

    def _is_due(self, image: Image, stored_at: float) -> bool:
        """Say whether the record was stored when the sweep had already passed its time."""
        return _n(image, "timestamp") <= stored_at - self._promote_after_s


class _Groups:
    """Entries by who handles them and what they share, in the order in which they came."""

    def __init__(self) -> None:
        self._entries: dict[tuple[Duty, str], list[Entry]] = {}

    def of(self, duty: Duty, group: str = "") -> list[Entry]:
        """Give the entries of one group, to add to."""
        entries = self._entries.get((duty, group))
        if entries is None:
            entries = self._entries[duty, group] = []
        return entries

    def packed(self, moment_ms: int) -> list[Outgoing]:
        """Give the messages of all groups."""
        return [
            message
            for (duty, _), entries in self._entries.items()
            for message in pack(duty, entries, moment_ms=moment_ms)
        ]


def _has_known_key(record: Record) -> bool:
    return keys.parse(record.table, record.pk, record.sk) is not None


def _entry(record: Record, pair: str = "") -> Entry:
    return Entry(_more(content_of(record), pair), record.sequence_number)


def _more(content: str, pair: str) -> str:
    """Add a JSON pair to an object, or nothing."""
    return f"{content[:-1]},{pair}}}" if pair else content


def _move(record: Record, old: Image, new: Image) -> dict[str, Any]:
    before = _s(old, "status")
    is_claimed = before == "EXPIRED" and not {"worker_rev", "reason"} <= old.keys()
    return {
        "row_pk": record.pk,
        "row_sk": record.sk,
        "before": "" if is_claimed else before,
        "after": new.get("status"),
        "worker_rev": _s(new, "worker_rev"),
        "event_id": record.event_id,
    }


def _is_unpromoted(old: Image | None) -> bool:
    if old is None or "promoted_at" in old:
        return False
    moment = _n(old, "timestamp")
    return not faults_of("memory", old, text=ascii_json(old), stored_at=moment)


def _held(record: Record) -> str:
    """Give what the mirror said before its signal's writer wiped it, as a JSON pair."""
    held = (record.old or {}).get("processing_status")
    is_wiped = held is not None and "processing_status" not in (record.new or {})
    return f'"held":{ascii_json(held)}' if is_wiped else ""


def _key_entry(record: Record, pair: str = "") -> Entry:
    text = ascii_json({"key": [record.pk, record.sk], "event_id": record.event_id})
    return Entry(_more(text, pair), record.sequence_number)


def _refusal(record: Record, faults: list[Fault]) -> Work:
    owner = keys.owner_of(record.pk)
    if owner is None and record.kind == "signal" and record.new is not None:
        owner = record.new.get("source_agent", {}).get("S")
    return REFUSED, "", _refused_entry(record, faults, owner)


def _unknown(record: Record) -> Iterator[Work]:
    if record.new is None or record.new == record.old:
        return
    faults = [unknown_key(record.table)]
    yield REFUSED, "", _refused_entry(record, faults, keys.owner_of(record.pk))


def _refused_entry(record: Record, faults: Sequence[Fault], owner: str | None) -> Entry:
    content: dict[str, Any] = {
        "table": record.table,
        "key": [record.pk, record.sk],
        "event_id": record.event_id,
        "faults": [fault._asdict() for fault in faults],
        "image": ascii_json(record.new)[:MAX_PARKED_IMAGE],
        "owner": owner,
    }
    return Entry(ascii_json(content), record.sequence_number)


def _s(image: Mapping[str, Wire], name: str) -> str:
    return str(image.get(name, {}).get("S", ""))


def _n(image: Mapping[str, Wire], name: str) -> float:
    return float(image.get(name, {}).get("N", 0))
