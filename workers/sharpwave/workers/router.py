"""From stream records to work messages: a pure function of the records' images."""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from datetime import datetime
from typing import Any

from msgspec import Struct
from msgspec.structs import replace

from sharpwave.schemas import keys, tables, times
from sharpwave.schemas.faults import Fault, unknown_key
from sharpwave.schemas.numbers import Wire
from sharpwave.schemas.ownership import WORKER, Change, change_of, changed_names
from sharpwave.schemas.status import ACKNOWLEDGED, outranks
from sharpwave.workers.admission import Image, faults_of, is_sound, place_of
from sharpwave.workers.envelope import Duty, Entry, ascii_json, is_packed, pack, with_image
from sharpwave.workers.outgoing import Outgoing, StreamRecord

DELIVER = Duty("deliver", "on_signals", 10)
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

#: Who DynamoDB says it is when its own time to live removes an item.
_SERVICE = "dynamodb.amazonaws.com"
_OUTCOME = {"outcome", "outcome_rev"}
_ACKNOWLEDGEMENT = frozenset({"processed_at", "decision_id", "reason"})
_MUTABLE = {"decision": _OUTCOME | {"ttl"}, "signal": {"ttl"}}


class _Record(Struct, gc=False):
    """A stream record, read once; `kind` is None for a key of no known shape."""

    table: str
    kind: keys.Kind | None
    pk: str
    sk: str
    event_id: str
    sequence_number: str
    stored_at: float
    old: Image | None
    new: Image | None
    by_ttl: bool
    # Filled when first asked for: an entry's JSON, the agent's attributes that differ from the
    # old image, and whether that was admitted.
    content: str = ""
    changed: set[str] | None = None
    was_valid: bool | None = None


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
        self._routes: dict[str, Callable[[_Record, Change], Iterator[Work]]] = {
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
            stored_at = _stored_at(raw)
            moment = max(moment, stored_at)
            if not self._take_new(table, raw, stored_at, groups):
                for duty, group, entry in self._work(_read(table, raw, stored_at)):
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
        content = _with_image(raw["eventID"], table, pk, sk, stored_at, image)
        if is_packed(content) or not is_sound(place.kind, image, text=content, stored_at=stored_at):
            return False
        number = change.get("SequenceNumber", "")
        if place.kind == "signal":
            groups.of(DELIVER).append(Entry(content, number))
        else:
            groups.of(LEARN, pk).append(Entry(content, number))
            groups.of(ARCHIVE).append(Entry(_more(content, '"state":"insert"'), number))
            if self._is_due(image, stored_at):
                groups.of(EPISODE).append(Entry(content, number))
        return True

    def _work(self, record: _Record) -> Iterable[Work]:
        if record.kind is None:
            return _unknown(record)
        if record.old is None and record.new is not None:
            return self._routes[record.kind](record, Change.INSERTED)
        change = change_of(record.kind, record.old, record.new)
        return () if change is Change.ECHO else self._routes[record.kind](record, change)

    def _decision(self, record: _Record, change: Change) -> Iterator[Work]:
        if change is Change.REMOVED or record.new is None:
            return
        faults = _faults(record)
        if not faults and change in (Change.AGENT, Change.OVERWRITTEN) and _was_valid(record):
            faults = _forbidden(record) or _outcome_faults(record)
            if not faults and not _touches(record, _OUTCOME):
                return
        if faults and not _has_known_key(record):
            yield from _unknown(record)
            return
        if faults:
            yield _refusal(record, faults)
            why = ascii_json([fault._asdict() for fault in faults])
            yield ARCHIVE, "", _entry(record, f'"state":"refusal","faults":{why}')
            return
        state = _decision_state(record)
        yield LEARN, record.pk, _entry(record)
        yield ARCHIVE, "", _entry(record, f'"state":"{state}"')
        if ("promoted_at" in record.new and state != "insert") or self._is_due(
            record.new, record.stored_at
        ):
            yield EPISODE, "", _entry(record)

    def _signal(self, record: _Record, change: Change) -> Iterator[Work]:
        if change is Change.REMOVED or record.new is None:
            return
        faults = _faults(record)
        if not faults and change in (Change.AGENT, Change.OVERWRITTEN) and _was_valid(record):
            faults = _forbidden(record)
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

    def _row(self, record: _Record, change: Change) -> Iterator[Work]:
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

    def _memory(self, record: _Record, change: Change) -> Iterator[Work]:
        if change is Change.REMOVED or record.new is None:
            if record.by_ttl and _is_unpromoted(record.old):
                yield PROMOTE, "", _entry(replace(record, new=record.old))
            return
        faults = _faults(record)
        if faults:
            yield _refusal(record, faults)
        elif "promoted_at" not in record.new and (
            self._is_important(record) or self._is_due(record.new, record.stored_at)
        ):
            yield PROMOTE, "", _entry(record)

    def _registration(self, record: _Record, change: Change) -> Iterator[Work]:
        if change is Change.REMOVED or record.new is None:
            return
        faults = _faults(record)
        yield _refusal(record, faults) if faults else (REGISTERED, "", _key_entry(record))

    def _checked(self, record: _Record, change: Change) -> Iterator[Work]:
        faults = [] if change is Change.REMOVED else _faults(record)
        if faults:
            yield _refusal(record, faults)

    def _is_important(self, record: _Record) -> bool:
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


def _read(table: str, raw: StreamRecord, stored_at: float) -> _Record:
    change = raw["dynamodb"]
    pk, sk = change["Keys"]["PK"]["S"], change["Keys"]["SK"]["S"]
    parsed = keys.parse(table, pk, sk) if table == tables.STATE else place_of(table, pk)
    identity = raw.get("userIdentity")
    return _Record(
        table,
        None if parsed is None else parsed.kind,
        pk,
        sk,
        raw["eventID"],
        change.get("SequenceNumber", ""),
        stored_at,
        change.get("OldImage"),
        change.get("NewImage"),
        identity is not None and _SERVICE in identity.values(),
    )


def _has_known_key(record: _Record) -> bool:
    return keys.parse(record.table, record.pk, record.sk) is not None


def _stored_at(raw: StreamRecord) -> float:
    moment = raw["dynamodb"].get("ApproximateCreationDateTime", 0.0)
    return moment.timestamp() if isinstance(moment, datetime) else float(moment)


def _faults(record: _Record) -> list[Fault]:
    assert record.new is not None
    assert record.kind is not None
    text = _content(record)
    if is_packed(text):
        text = ascii_json(record.new)
    return faults_of(record.kind, record.new, text=text, stored_at=record.stored_at)


def _was_valid(record: _Record) -> bool:
    if record.was_valid is None:
        record.was_valid = record.old is not None and not _old_faults(record, record.old)
    return record.was_valid


def _old_faults(record: _Record, old: Image) -> list[Fault]:
    # A ttl that was past and is mended may have been refused: the duties are safe to repeat.
    assert record.kind is not None
    return faults_of(record.kind, old, text=ascii_json(old), stored_at=record.stored_at)


def _changed(record: _Record) -> set[str]:
    assert record.old is not None
    assert record.new is not None
    assert record.kind is not None
    if record.changed is None:
        record.changed = changed_names(record.kind, record.old, record.new)
    return record.changed


def _touches(record: _Record, names: set[str]) -> bool:
    return not names.isdisjoint(_changed(record))


def _forbidden(record: _Record) -> list[Fault]:
    assert record.kind is not None
    wrong = _changed(record) - _MUTABLE[record.kind]
    remedy = "write a new one" if record.kind == "signal" else "only outcome may change"
    return [
        Fault("immutable", name, f"a {record.kind} does not change once written; {remedy}")
        for name in sorted(wrong)
    ]


def _outcome_faults(record: _Record) -> list[Fault]:
    assert record.old is not None
    assert record.new is not None
    if not _touches(record, _OUTCOME) or not _has_outcome(record.old):
        return []
    before, after = _revision(record.old), _revision(record.new)
    if not _has_outcome(record.new):
        return [Fault("outcome_removed", "outcome", "an outcome cannot be taken back; correct it")]
    if after > before:
        return []
    text = f"the outcome changed but outcome_rev {after} is not above {before}; raise it by one"
    return [Fault("outcome_rev", "outcome_rev", text)]


def _has_outcome(image: Image) -> bool:
    return "M" in image.get("outcome", {})


def _revision(image: Image) -> int:
    return int(image.get("outcome_rev", {}).get("N", 1))


def _decision_state(record: _Record) -> str:
    assert record.new is not None
    if record.old is None or not _was_valid(record):
        return "insert"
    if not _has_outcome(record.old):
        return "resolution" if _has_outcome(record.new) else "insert"
    return "revision" if _touches(record, _OUTCOME) else "insert"


def _content(record: _Record) -> str:
    if not record.content:
        about = (record.event_id, record.table, record.pk, record.sk, record.stored_at)
        record.content = _with_image(*about, record.new)
    return record.content


def _with_image(
    event_id: str, table: str, pk: str, sk: str, stored_at: float, image: Image | None
) -> str:
    fields = {"event_id": event_id, "table": table, "key": (pk, sk), "stored_at": stored_at}
    return with_image(fields, image)


def _entry(record: _Record, pair: str = "") -> Entry:
    return Entry(_more(_content(record), pair), record.sequence_number)


def _more(content: str, pair: str) -> str:
    """Add a JSON pair to an object, or nothing."""
    return f"{content[:-1]},{pair}}}" if pair else content


def _move(record: _Record, old: Image, new: Image) -> dict[str, Any]:
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


def _held(record: _Record) -> str:
    """Give what the mirror said before its signal's writer wiped it, as a JSON pair."""
    held = (record.old or {}).get("processing_status")
    is_wiped = held is not None and "processing_status" not in (record.new or {})
    return f'"held":{ascii_json(held)}' if is_wiped else ""


def _key_entry(record: _Record, pair: str = "") -> Entry:
    content = ascii_json({"key": [record.pk, record.sk], "event_id": record.event_id})
    return Entry(_more(content, pair), record.sequence_number)


def _refusal(record: _Record, faults: list[Fault]) -> Work:
    owner = keys.owner_of(record.pk)
    if owner is None and record.kind == "signal" and record.new is not None:
        owner = record.new.get("source_agent", {}).get("S")
    return REFUSED, "", _refused_entry(record, faults, owner)


def _unknown(record: _Record) -> Iterator[Work]:
    if record.new is None or record.new == record.old:
        return
    faults = [unknown_key(record.table)]
    yield REFUSED, "", _refused_entry(record, faults, keys.owner_of(record.pk))


def _refused_entry(record: _Record, faults: Sequence[Fault], owner: str | None) -> Entry:
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
