"""From stream records to work messages: a pure function of the records' images."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from datetime import datetime
from typing import Any, NamedTuple

from sharpwave.schemas import keys, times
from sharpwave.schemas.faults import Fault, unknown_key
from sharpwave.schemas.numbers import Wire
from sharpwave.schemas.ownership import Change, change_of, changed_names
from sharpwave.schemas.status import ACKNOWLEDGED, outranks
from sharpwave.workers.admission import Image, faults_of
from sharpwave.workers.envelope import Duty, Entry, ascii_json, image_field, pack
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

_OUTCOME = {"outcome", "outcome_rev"}
_MUTABLE = {"decision": _OUTCOME | {"ttl"}, "signal": {"ttl"}}


class _Record(NamedTuple):
    """A stream record, read once."""

    table: str
    kind: keys.Kind
    pk: str
    sk: str
    event_id: str
    sequence_number: str
    stored_at: float
    old: Image | None
    new: Image | None
    text: str
    by_ttl: bool


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
        groups: dict[tuple[Duty, str], list[Entry]] = {}
        moment = 0.0
        for raw in records:
            moment = max(moment, _stored_at(raw))
            for duty, group, entry in self._work(table, raw):
                groups.setdefault((duty, group), []).append(entry)
        return [
            message
            for (duty, _), entries in groups.items()
            for message in pack(duty, entries, moment_ms=int(moment * 1000))
        ]

    def _work(self, table: str, raw: StreamRecord) -> Iterator[Work]:
        record = _read(table, raw)
        if record is None:
            yield from _unknown(table, raw)
            return
        change = change_of(record.kind, record.old, record.new)
        if change is not Change.ECHO:
            yield from self._routes[record.kind](record, change)

    def _decision(self, record: _Record, change: Change) -> Iterator[Work]:
        if change is Change.REMOVED or record.new is None:
            return
        faults = _faults(record)
        if not faults and change in (Change.AGENT, Change.OVERWRITTEN) and _was_valid(record):
            faults = _forbidden(record) or _outcome_faults(record)
            if not faults and not _touches(record, _OUTCOME):
                return
        if faults:
            yield _refusal(record, faults)
            why = ascii_json([fault._asdict() for fault in faults])
            yield ARCHIVE, "", _entry(record, f'"state":"refusal","faults":{why}')
            return
        state = _decision_state(record)
        group = f"{_s(record.new, 'agent_id')}#{_s(record.new, 'decision_type')}"
        yield LEARN, group, _entry(record)
        yield ARCHIVE, "", _entry(record, f'"state":"{state}"')
        if ("promoted_at" in record.new and state != "insert") or self._is_due(record):
            yield EPISODE, "", _entry(record)

    def _signal(self, record: _Record, change: Change) -> Iterator[Work]:
        if change is Change.REMOVED or record.new is None:
            return
        faults = _faults(record)
        if not faults and change in (Change.AGENT, Change.OVERWRITTEN) and _was_valid(record):
            faults = _forbidden(record)
            if change is Change.OVERWRITTEN:
                yield MIRROR, "", _mirror_entry(record, record.pk, record.sk)
            if not faults:
                return
        if faults:
            yield _refusal(record, faults)
        else:
            yield DELIVER, "", _entry(record)

    def _row(self, record: _Record, change: Change) -> Iterator[Work]:
        old, new = record.old, record.new
        if old is None or new is None or "signal_pk" not in old or "signal_sk" not in old:
            return
        before, after = _s(old, "status"), _s(new, "status")
        move = {"row_pk": record.pk, "row_sk": record.sk, "before": before, "after": after}
        legal = before == after or (after in ACKNOWLEDGED and outranks(after, before))
        if not legal:
            move["event_id"] = record.event_id
        extra = "" if legal else f'"illegal":{ascii_json(move)}'
        if change in (Change.WIPED, Change.OVERWRITTEN):
            lost = {name: old[name] for name in old.keys() - new.keys()}
            restore = {"row_pk": record.pk, "row_sk": record.sk, "attributes": lost}
            extra += ("," if extra else "") + f'"restore":{ascii_json(restore)}'
        if "chunk" in old:
            extra += ("," if extra else "") + f'"chunk":{ascii_json(_s(old, "chunk"))}'
        yield MIRROR, "", _mirror_entry(record, _s(old, "signal_pk"), _s(old, "signal_sk"), extra)

    def _memory(self, record: _Record, change: Change) -> Iterator[Work]:
        if change is Change.REMOVED or record.new is None:
            if record.by_ttl and record.old is not None and "promoted_at" not in record.old:
                yield PROMOTE, "", _entry(record._replace(text=ascii_json(record.old)))
            return
        faults = _faults(record)
        if faults:
            yield _refusal(record, faults)
        elif "promoted_at" not in record.new and (
            self._is_important(record) or self._is_due(record)
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

    def _is_due(self, record: _Record) -> bool:
        """Say whether the record was stored when the sweep had already passed its time."""
        return _n(record.new or {}, "timestamp") <= record.stored_at - self._promote_after_s


def _read(table: str, raw: StreamRecord) -> _Record | None:
    change = raw["dynamodb"]
    pk, sk = change["Keys"]["PK"]["S"], change["Keys"]["SK"]["S"]
    parsed = keys.parse(table, pk, sk)
    if parsed is None:
        return None
    new = change.get("NewImage")
    identity = raw.get("userIdentity") or {}
    return _Record(
        table=table,
        kind=parsed.kind,
        pk=pk,
        sk=sk,
        event_id=raw["eventID"],
        sequence_number=change.get("SequenceNumber", ""),
        stored_at=_stored_at(raw),
        old=change.get("OldImage"),
        new=new,
        text="" if new is None else ascii_json(new),
        by_ttl=(identity.get("principalId") or identity.get("PrincipalId"))
        == "dynamodb.amazonaws.com",
    )


def _stored_at(raw: StreamRecord) -> float:
    moment = raw["dynamodb"].get("ApproximateCreationDateTime", 0.0)
    return moment.timestamp() if isinstance(moment, datetime) else float(moment)


def _faults(record: _Record) -> list[Fault]:
    assert record.new is not None
    return faults_of(record.kind, record.new, text=record.text, stored_at=record.stored_at)


def _was_valid(record: _Record) -> bool:
    if record.old is None:
        return False
    moment = record.stored_at
    if not _touches(record, {"ttl"}):
        moment = min(moment, float(record.old.get("timestamp", {}).get("N", 0)))
    # A ttl that was past and is mended may have been refused: the duties are safe to repeat.
    return not faults_of(record.kind, record.old, text=ascii_json(record.old), stored_at=moment)


def _touches(record: _Record, names: set[str]) -> bool:
    assert record.old is not None
    assert record.new is not None
    return bool(changed_names(record.kind, record.old, record.new) & names)


def _forbidden(record: _Record) -> list[Fault]:
    assert record.old is not None
    assert record.new is not None
    wrong = changed_names(record.kind, record.old, record.new) - _MUTABLE[record.kind]
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


def _entry(record: _Record, extra: str = "") -> Entry:
    where = ascii_json([record.pk, record.sk])
    parts = [
        f'"event_id":{ascii_json(record.event_id)}',
        f'"table":"{record.table}"',
        f'"key":{where}',
        f'"stored_at":{record.stored_at}',
        image_field(record.text),
    ]
    return Entry(
        "{" + ",".join([*parts, *([extra] if extra else [])]) + "}", record.sequence_number
    )


def _key_entry(record: _Record) -> Entry:
    content = {"key": [record.pk, record.sk], "event_id": record.event_id}
    return Entry(ascii_json(content), record.sequence_number)


def _mirror_entry(record: _Record, pk: str, sk: str, extra: str = "") -> Entry:
    key = ascii_json([pk, sk])
    return Entry(f'{{"key":{key}{"," + extra if extra else ""}}}', record.sequence_number)


def _refusal(record: _Record, faults: list[Fault]) -> Work:
    owner = keys.owner_of(record.pk)
    if owner is None and record.kind == "signal" and record.new is not None:
        owner = record.new.get("source_agent", {}).get("S")
    return (
        REFUSED,
        "",
        _refused_entry(
            record.table, record.pk, record.sk, record.event_id, faults, record.text, owner
        )._replace(sequence_number=record.sequence_number),
    )


def _unknown(table: str, raw: StreamRecord) -> Iterator[Work]:
    change = raw["dynamodb"]
    if "NewImage" not in change or change["NewImage"] == change.get("OldImage"):
        return
    pk, sk = change["Keys"]["PK"]["S"], change["Keys"]["SK"]["S"]
    text = ascii_json(change["NewImage"])
    faults = [unknown_key(table)]
    entry = _refused_entry(table, pk, sk, raw["eventID"], faults, text, keys.owner_of(pk))
    yield REFUSED, "", entry._replace(sequence_number=change.get("SequenceNumber", ""))


def _refused_entry(
    table: str,
    pk: str,
    sk: str,
    event_id: str,
    faults: Sequence[Fault],
    text: str,
    owner: str | None,
) -> Entry:
    content: dict[str, Any] = {
        "table": table,
        "key": [pk, sk],
        "event_id": event_id,
        "faults": [fault._asdict() for fault in faults],
        "image": text[:MAX_PARKED_IMAGE],
        "owner": owner,
    }
    return Entry(ascii_json(content), "")


def _s(image: Mapping[str, Wire], name: str) -> str:
    return str(image.get(name, {}).get("S", ""))


def _n(image: Mapping[str, Wire], name: str) -> float:
    return float(image.get(name, {}).get("N", 0))
