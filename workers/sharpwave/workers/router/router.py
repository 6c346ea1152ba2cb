"""From stream records to work messages: a pure function of the records' images.

There are two ways through, and both stay: the long way alone says what the router does, and the
short way, for sound records that came, changed as most do or were removed, is what makes it fast:
nearly all records are such. They meet in `Router.__call__`.
`tests/unit/workers/router/test_paths.py` holds them to the same work, and
`python -m tests.bench --only router` measures them.
"""

from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any

from msgspec import UNSET, Raw
from msgspec.structs import replace

from sharpwave.schemas import keys, tables, times
from sharpwave.schemas.faults import Fault, unknown_key
from sharpwave.schemas.ids import signal_uid
from sharpwave.schemas.numbers import Wire
from sharpwave.schemas.ownership import (
    MUTABLE,
    OUTCOME,
    WORKER,
    Verdict,
    change_of,
    is_stamped,
)
from sharpwave.schemas.status import ACKNOWLEDGED, outranks
from sharpwave.workers.router.admission import claimed_at
from sharpwave.workers.router.changes import has_new_version, is_mark, outcome_change, row_change
from sharpwave.workers.router.fast_path import (
    PARTITIONS,
    PLACES,
    READ,
    Decision,
    Known,
    Memory,
)
from sharpwave.workers.router.image import Image, differing, json_of, may_be_too_deep
from sharpwave.workers.router.record import (
    Content,
    Record,
    content_of,
    decision_state,
    faults_in,
    forbidden,
    outcome_faults,
    read,
    touches,
    was_valid,
)
from sharpwave.workers.signals.refusals import MAX_IMAGE, words_of
from sharpwave.workers.work.envelope import (
    MAX_FILL_BYTES,
    Duty,
    Entry,
    ascii_json,
    open_json,
    pack,
    with_image,
)
from sharpwave.workers.work.incoming import Streamed, StreamRecord, streamed
from sharpwave.workers.work.low_water import swept_within
from sharpwave.workers.work.outgoing import WorkMessage

DELIVER = Duty("deliver", "on_signals", 20)
ACKNOWLEDGE = Duty("status", "on_acknowledgements", 50)
REFUSED = Duty("status", "on_refused", 10)
REGISTERED = Duty("status", "on_registered", 50)
LEARN = Duty("learn", "on_decisions", 50)
ARCHIVE = Duty("archive", "on_archived", 500)
PROMOTE = Duty("promote", "on_memories", 25)
EPISODE = Duty("promote", "on_late_outcomes", 50)
SEEN = Duty("status", "on_seen", 500)

#: Longer names of chunks were not given by a worker.
MAX_CHUNK_NAME = 64

#: Who hears of what time removed before a sweep met it, and as what.
_LATE: Mapping[keys.Kind, Duty] = {"decision": EPISODE, "memory": PROMOTE}
#: Of what nothing comes: a bucket of its agent's own, written often, and what workers publish.
_QUIET = frozenset({"limit", "metrics"})
_AT_ONCE = frozenset({"shared_with", "shared_domains", "forgotten_at"})
_REMOVED = ',"removed":true'
_TTL = frozenset({"ttl"})
_IDENTITY = frozenset({"signal_pk", "signal_sk"})
_PAYLOAD = frozenset({"data", "context"})
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
        event_ahead: times.EventAhead = times.AS_A_RULE,
    ) -> None:
        """Set when a memory entry is promoted early, and which event times are admitted."""
        self._event_ahead = event_ahead
        self._importance = importance
        self._promote_after_s = promote_after_s
        self._swept_within_s = swept_within(promote_after_s)
        self._access_count = access_count
        self._routes: dict[str, Callable[[Record, Verdict], Iterator[Work]]] = {
            "decision": self._decision,
            "signal": self._signal,
            "mirror": self._mirror,
            "inbox_row": self._row,
            "memory": self._memory,
            "registration": self._registration,
            "state": self._checked,
        }

    def __call__(
        self, table: str, records: Sequence[StreamRecord], *, now: float | None = None
    ) -> list[WorkMessage]:
        """Turn records of one table, in stream order, into messages for the work queues.

        A record is admitted by the moment it was stored, and due by the same moment unless `now`
        says how late it is: what the stream brings was stored a moment ago.
        """
        groups = _Groups()
        moment = 0.0
        for each in records:
            raw = each if type(each) is Streamed else streamed(each)
            stored_at = raw.change.stored_at
            if stored_at > moment:
                moment = stored_at
            due_by = stored_at if now is None else now
            # Here the two ways meet. The short one takes what it is sure of and leaves no trace of
            # what it does not; whatever it does, the long one would do as well.
            if not self._take_sound(table, raw, due_by, groups):
                record = read(table, raw, due_by, self._event_ahead)
                for duty, group, entry in self._work(record):
                    groups.add(duty, group, entry)
        return groups.packed(int(moment * 1000))

    def _take_sound(self, table: str, raw: Streamed, due_by: float, groups: "_Groups") -> bool:
        """Take the short way with a sound record that came, changed as most do or was removed.

        What comes of one is what its route makes of it on the long way; gives False for every
        record that has to take that. Nothing of an image is built but what decides, none is
        written or compared before somebody needs it, and the JSON that is sent serves as the
        bound of depth and size.
        """
        change = raw.change
        pk, sk, old, new = change.keys.PK.S, change.keys.SK.S, change.old, change.new
        place = PARTITIONS[table][pk] or PLACES[table, pk, sk]
        if place is None:
            return False
        kind, stored_at = place.kind, change.stored_at
        if kind == "signal":
            if keys.is_mirror_sk(sk):
                return new is not UNSET and has_new_version(
                    UNSET if old is UNSET else json_of(old), json_of(new)
                )
        elif kind not in READ:
            if kind in _QUIET or old is UNSET:
                return True
            if new is UNSET:
                return False
            return self._take_row(raw, json_of(old), json_of(new), place.owner, groups)
        if new is UNSET:
            if old is UNSET or kind not in _LATE or not raw.is_by_ttl:
                return True
            image = json_of(old)
        else:
            image = json_of(new)
            # The partition alone has told the kind, and nothing else reads the sort key of a mark.
            if old is not UNSET and kind not in ("decision", "state"):
                return keys.split_dated_sk(sk) is not None and is_mark(kind, json_of(old), image)
        state, judged_at = "insert", stored_at
        try:
            found = READ[kind](image)
            if old is not UNSET:
                if new is UNSET and isinstance(found, Decision | Memory):
                    if found.promoted_at is not UNSET:
                        return True
                    judged_at = found.claimed_at(kind)
                elif isinstance(found, Decision):
                    was = json_of(old)
                    state = outcome_change(was, image, found)
                    if not state:
                        return (
                            found.promoted_at is not UNSET
                            and keys.split_dated_sk(sk) is not None
                            and is_mark(kind, was, image)
                        )
            if not found.fits(place, sk, judged_at, self._event_ahead):
                return False
        except ValueError:
            return False
        text = open_json(Content(raw.event_id, table, (pk, sk), stored_at, image), groups.room)
        if len(text) >= MAX_FILL_BYTES or may_be_too_deep(text):
            return False
        number = change.sequence_number
        if kind == "signal":
            groups[DELIVER, ""].append(Entry(text, number, "}"))
        elif new is UNSET:
            end = f',"number":"{number}"{_REMOVED}}}'
            groups[_LATE[kind], ""].append(Entry(text, number, end))
        elif isinstance(found, Decision):
            entry = Entry(text, number, "}")
            groups[LEARN, pk].append(entry)
            groups[ARCHIVE, ""].append(Entry(text, number, f',"state":"{state}"}}'))
            if found.promoted_at is UNSET and self._is_due(
                found.timestamp.N, found.ends_at, due_by
            ):
                groups[EPISODE, ""].append(entry)
        elif isinstance(found, Memory):
            groups.add(SEEN, place.owner or "", Entry(text, number, "}"))
            if (
                found.promoted_at is not UNSET
                or place.type_name in keys.LASTING_TYPES
                or self._is_worth_it(*found.weights)
                or self._is_due(found.timestamp.N, found.ends_at, due_by)
            ):
                groups[PROMOTE, ""].append(Entry(text, number, f',"number":"{number}"}}'))
        elif kind == "registration":
            groups[REGISTERED, ""].append(Entry(text, number, "}"))
        # Nothing comes of a state, whatever changed.
        return True

    def _take_row(
        self, raw: Streamed, old: Raw, new: Raw, owner: str | None, groups: "_Groups"
    ) -> bool:
        """Take the short way with a row that its agent acknowledged, or a worker wrote to."""
        change = raw.change
        key = keys.Key(change.keys.PK.S, change.keys.SK.S)
        found = row_change(key, old, new)
        if found is None:
            return False
        what, row = found
        signal = keys.Key(row.signal_pk.S, row.signal_sk.S)
        if what == "acknowledgement" and key.sk == _row_sk[signal]:
            content = _answered(signal, owner, "" if row.chunk is None else row.chunk.S)
            groups[ACKNOWLEDGE, ""].append(Entry(ascii_json(content), change.sequence_number))
        return True

    def _work(self, record: Record) -> Iterable[Work]:
        if record.kind is None:
            return _unknown(record)
        if record.kind in _QUIET:
            return ()
        if record.old is None and record.new is not None:
            return self._routes[record.kind](record, Verdict.INSERTED)
        change, record.changed = change_of(record.kind, record.old, record.new, differing)
        return () if change is Verdict.ECHO else self._routes[record.kind](record, change)

    def _decision(self, record: Record, change: Verdict) -> Iterator[Work]:
        if change is Verdict.REMOVED or record.new is None:
            # A sweep never meets what time removed before it; its episode still tells of it.
            yield from _removed(record)
            return
        faults = faults_in(record)
        if not faults and change in (Verdict.AGENT, Verdict.OVERWRITTEN) and was_valid(record):
            faults = forbidden(record) or outcome_faults(record)
            if not faults and not touches(record, OUTCOME):
                if touches(record, _TTL) and self._is_to_fold(record.new, record.now):
                    yield EPISODE, "", _entry(record)
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
        if self._is_to_fold(record.new, record.now):
            yield EPISODE, "", _entry(record)

    def _signal(self, record: Record, change: Verdict) -> Iterator[Work]:
        if change is Verdict.REMOVED or record.new is None:
            return
        faults = faults_in(record)
        if not faults and change in (Verdict.AGENT, Verdict.OVERWRITTEN) and was_valid(record):
            faults = forbidden(record)
            held = _held(record)
            # What lives longer needs its mirror as long.
            is_longer = not faults and touches(record, _TTL) and "N" in record.new.get("ttl", {})
            longer = f'"ttl":{int(_n(record.new, "ttl"))}' if is_longer else ""
            if pair := ",".join(filter(None, (held, longer))):
                yield ACKNOWLEDGE, "", _key_entry(record, (record.pk, record.sk), pair)
            if not faults:
                return
        if faults and not _has_known_key(record):
            yield from _unknown(record)
        elif faults:
            yield _refusal(record, faults)
        else:
            # A record that is mended may have been admitted before it was spoilt.
            mended = "" if change is Verdict.INSERTED else '"mended":true'
            pairs = ",".join(filter(None, (_held(record), mended)))
            yield DELIVER, "", _entry(record, pairs)

    def _mirror(self, record: Record, change: Verdict) -> Iterator[Work]:
        """Give what comes of a mirror that somebody else than a worker wrote to."""
        if held := _held(record):
            signal = keys.mirrored(keys.Key(record.pk, record.sk))
            yield ACKNOWLEDGE, "", _key_entry(record, signal, held)
        # Each write of a worker has another version; whoever has leave to set one is believed.
        has_version = record.new is not None and "status_v" in record.new
        if not has_version or (change is not Verdict.INSERTED and "status_v" not in record.changed):
            yield from _unknown(record)

    def _row(self, record: Record, change: Verdict) -> Iterator[Work]:
        old, new = record.old, record.new
        if old is None or record.by_ttl:
            return
        # A worker wrote it if its key holds the digest of the signal that it names.
        signal = keys.Key(_s(old, "signal_pk"), _s(old, "signal_sk"))
        inbox = keys.inbox_pk(record.owner or "")
        if record.pk != inbox or record.sk != _row_sk[signal]:
            return
        content = _answered(signal, record.owner, _s(old, "chunk"))
        if new is None:
            content |= {"gone": [record.pk, record.sk], "image": old.raw}
            yield ACKNOWLEDGE, "", Entry(with_image(content), record.sequence_number)
            return
        row = {"row_pk": record.pk, "row_sk": record.sk}
        before, after = _s(old, "status"), _s(new, "status")
        same = "status" not in record.changed
        legal = same or (after in ACKNOWLEDGED and outranks(after, before))
        if not legal:
            is_claimed = before == "EXPIRED" and not ("reason" in old and is_stamped(old))
            content["illegal"] = {
                **row,
                "before": "" if is_claimed else before,
                "after": new.get("status"),
                "worker_rev": new.get("worker_rev"),
                "event_id": record.event_id,
            }
        if change in (Verdict.WIPED, Verdict.OVERWRITTEN):
            lost = _lost(old, new)
            if not legal:
                # What a legal move leaves out of the agent's own is the agent's affair.
                lost |= {name: old[name] for name in _ACKNOWLEDGEMENT & old.keys() - new.keys()}
            if lost:
                content["restore"] = {**row, "attributes": dict(sorted(lost.items()))}
                if legal and after in ACKNOWLEDGED and lost.keys() & _IDENTITY:
                    # A delivery tried again takes such a row over before anybody reads it.
                    names = sorted(new.keys() & {"status", *_ACKNOWLEDGEMENT})
                    content["restore"]["said"] = {name: new[name] for name in names}
        yield ACKNOWLEDGE, "", Entry(ascii_json(content), record.sequence_number)

    def _memory(self, record: Record, change: Verdict) -> Iterator[Work]:
        if change is Verdict.REMOVED or record.new is None:
            yield from _removed(record)
            return
        faults = faults_in(record)
        if faults:
            yield _refusal(record, faults)
            return
        if change is Verdict.INSERTED:
            # Who never registered is swept like everyone else, once it is on the list.
            yield SEEN, record.owner or "", _entry(record)
        # A fact follows its entry: what was promoted is looked at again whenever it changes.
        was_promoted = "promoted_at" in record.new or "promoted_at" in (record.old or {})
        # Nor does what lasts, is read by others or is forgotten wait for its day.
        is_due = not _AT_ONCE.isdisjoint(record.new) or any(
            record.new.get("memory_type") == {"S": name} for name in keys.LASTING_TYPES
        )
        weights = _n(record.new, "importance"), _n(record.new, "access_count")
        if (
            was_promoted
            or is_due
            or self._is_worth_it(*weights)
            or self._is_due(*_moments(record.new), record.now)
        ):
            yield PROMOTE, "", _numbered(record)

    def _registration(self, record: Record, change: Verdict) -> Iterator[Work]:
        if change is Verdict.REMOVED or record.new is None:
            return
        faults = faults_in(record)
        yield _refusal(record, faults) if faults else (REGISTERED, "", _entry(record))

    def _checked(self, record: Record, change: Verdict) -> Iterator[Work]:
        faults = [] if change is Verdict.REMOVED else faults_in(record)
        if faults:
            yield _refusal(record, faults)

    def _is_to_fold(self, image: Image, now: float) -> bool:
        return "promoted_at" not in image and self._is_due(*_moments(image), now)

    def _is_worth_it(self, importance: float, access_count: float) -> bool:
        return importance >= self._importance or access_count >= self._access_count

    def _is_due(self, timestamp: float, ttl: float | None, now: float) -> bool:
        """Say whether the sweep has passed the record's time, or time removes it before a sweep."""
        if timestamp <= now - self._promote_after_s:
            return True
        return ttl is not None and ttl - timestamp <= self._swept_within_s


class _Groups(defaultdict[tuple[Duty, str], list[Entry]]):
    """Entries by who handles them and what they share, in the order in which they came."""

    def __init__(self) -> None:
        super().__init__(list)
        self._seen: dict[str, str] = {}
        self.room = bytearray()

    def add(self, duty: Duty, group: str, entry: Entry) -> None:
        """Add an entry; of one agent, that it was seen is told once."""
        if duty is SEEN:
            self._seen.setdefault(group, entry.sequence_number)
        else:
            self[duty, group].append(entry)

    def packed(self, moment_ms: int) -> list[WorkMessage]:
        """Give the messages of all groups, signals first: somebody waits for those."""
        if self._seen:
            self[SEEN, ""] = [Entry(f'{{"agent":"{n}"}}', at) for n, at in self._seen.items()]
        return [
            message
            for (duty, _), entries in sorted(self.items(), key=lambda each: each[0][0] != DELIVER)
            for message in pack(duty, entries, moment_ms=moment_ms)
        ]


def _has_known_key(record: Record) -> bool:
    return keys.parse(record.table, record.pk, record.sk) is not None


def _numbered(record: Record, more: str = "") -> Entry:
    """Say in an entry which record it comes from: of two states, which is the later."""
    return _entry(record, f'"number":"{record.sequence_number}"{more}')


def _removed(record: Record) -> Iterator[Work]:
    """Give what time removed unpromoted: whether it was ever refused, its table cannot tell."""
    old, kind = record.old, record.kind
    if old is None or kind is None or not record.by_ttl or "promoted_at" in old:
        return
    gone = replace(record, new=old)
    if not faults_in(gone, stored_at=claimed_at(kind, old) or 0.0):
        yield _LATE[kind], "", _numbered(gone, _REMOVED)


def _entry(record: Record, pair: str = "") -> Entry:
    """Give an entry with a record's new image, and a JSON pair more if there is one."""
    return Entry(content_of(record), record.sequence_number, f",{pair}}}" if pair else "}")


def _answered(signal: keys.Key, target: str | None, chunk: str) -> dict[str, Any]:
    content: dict[str, Any] = {"key": signal, "targets": [target]}
    return content | {"chunk": chunk} if 0 < len(chunk) <= MAX_CHUNK_NAME else content


def _sk_of_rows(signal: keys.Key) -> str | None:
    """Give the sort key of a signal's rows; None of no key."""
    place = PARTITIONS[tables.SIGNALS][signal.pk]
    if place is None or place.kind != "signal" or keys.split_dated_sk(signal.sk) is None:
        return None
    iso, _ = keys.time_and_id(signal.sk)
    return keys.inbox_sk(iso, signal_uid(*signal))


#: All who acknowledge a signal share it.
_row_sk: Known[keys.Key, str | None] = Known(_sk_of_rows)


def _lost(old: Image, new: Image) -> dict[str, Wire]:
    """Give the worker's attributes of a row that its agent removed or wrote over."""
    names = WORKER["inbox_row"] - {"worker_rev"}
    lost = {name: old[name] for name in names & old.keys() if old[name] != new.get(name)}
    if "chunk" in new.keys() - old.keys():
        lost["chunk"] = {"NULL": True}
    if is_stamped(old) and not is_stamped(new) and old.get("status") == new.get("status"):
        lost["worker_rev"] = old["worker_rev"]
    if lost.keys() & _IDENTITY:
        # What happens to a row while it names no signal is told by no later record.
        lost |= {name: old[name] for name in names & old.keys() - _PAYLOAD}
    return lost


def _held(record: Record) -> str:
    """Give what the mirror said before its signal's writer wiped it, as a JSON pair.

    Of a signal, too: earlier releases kept its mirror in it.
    """
    if record.by_ttl:
        return ""
    old: Mapping[str, Wire] = record.old or {}
    new: Mapping[str, Wire] = record.new or {}
    held = old.get("processing_status")
    # By the version, as a writer may put a map of its own, which is no mirror.
    is_wiped = held is not None and "status_v" in old and "status_v" not in new
    return f'"held":{ascii_json(held)}' if is_wiped else ""


def _key_entry(record: Record, signal: tuple[str, str], pair: str) -> Entry:
    text = ascii_json({"key": signal, "event_id": record.event_id})
    return Entry(text[:-1], record.sequence_number, f",{pair}}}")


def _refusal(record: Record, faults: list[Fault]) -> Work:
    return REFUSED, "", _refused_entry(record, faults)


def _unknown(record: Record) -> Iterator[Work]:
    if record.new is None or record.new == record.old:
        return
    faults = [unknown_key(record.table)]
    yield REFUSED, "", _refused_entry(record, faults)


def _refused_entry(record: Record, faults: Sequence[Fault]) -> Entry:
    assert record.new is not None
    # What stood before tells which of these words stand though they changed.
    stood = record.old if record.kind in MUTABLE and was_valid(record) else None
    number = record.sequence_number
    content: dict[str, Any] = {
        "table": record.table,
        "key": [record.pk, record.sk],
        "event_id": record.event_id,
        "faults": [fault._asdict() for fault in faults],
        "image": ascii_json(dict(record.new))[:MAX_IMAGE],
        "words": words_of(record.kind, record.new, faults, before=stood, number=number),
    }
    return Entry(ascii_json(content), number)


def _moments(image: Image) -> tuple[float, float | None]:
    return _n(image, "timestamp"), _n(image, "ttl") if "N" in image.get("ttl", {}) else None


def _s(image: Mapping[str, Wire], name: str) -> str:
    return str(image.get(name, {}).get("S", ""))


def _n(image: Mapping[str, Wire], name: str) -> float:
    value = image.get(name)
    return float(value.get("N", 0)) if value else 0.0
