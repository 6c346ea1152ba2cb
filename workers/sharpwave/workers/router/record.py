"""A stream record as the router judges it: its images, what changed, and what is wrong with it."""

from collections.abc import Set

from msgspec import Raw, Struct, UnsetType
from msgspec.structs import asdict

from sharpwave.schemas import keys, tables
from sharpwave.schemas.faults import Fault
from sharpwave.schemas.ownership import MUTABLE, OUTCOME, agents_own
from sharpwave.schemas.times import AS_A_RULE, EventAhead
from sharpwave.workers.router.admission import faults_of, moment_of
from sharpwave.workers.router.changes import had_sound_outcome
from sharpwave.workers.router.fast_path import PARTITIONS
from sharpwave.workers.router.image import Image
from sharpwave.workers.work.envelope import MAX_FILL_BYTES, ascii_json, with_image
from sharpwave.workers.work.incoming import Streamed


class Record(Struct, gc=False):
    """A stream record, read once; `kind` is None for a key of no known shape."""

    table: str
    kind: keys.Kind | None
    owner: str | None
    pk: str
    sk: str
    event_id: str
    sequence_number: str
    stored_at: float
    now: float
    old: Image | None
    new: Image | None
    by_ttl: bool
    event_ahead: EventAhead
    # Which attributes differ between the images.
    changed: Set[str] = frozenset()
    # Filled when first asked for: an entry's JSON, what is wrong with the new image, and whether
    # the old one was admitted.
    content: str = ""
    faults: list[Fault] | None = None
    was_valid: bool | None = None


class Content(Struct, gc=False):
    """An entry with an image, in the order in which it is written."""

    event_id: str
    table: str
    key: tuple[str, str]
    stored_at: float
    image: Raw | None


def read(table: str, streamed: Streamed, now: float, event_ahead: EventAhead = AS_A_RULE) -> Record:
    """Read a record of a table, as the stream gives it; `now` says what is due."""
    change = streamed.change
    pk, sk = change.keys.PK.S, change.keys.SK.S
    # What the other tables hold is known by its partition, but for mirrors.
    by_both = table == tables.STATE or (table == tables.SIGNALS and keys.is_mirror_sk(sk))
    parsed = keys.parse(table, pk, sk) if by_both else PARTITIONS[table][pk]
    return Record(
        table,
        None if parsed is None else parsed.kind,
        None if parsed is None else parsed.owner,
        pk,
        sk,
        streamed.event_id,
        change.sequence_number,
        change.stored_at,
        now,
        _image(change.old),
        _image(change.new),
        streamed.is_by_ttl,
        event_ahead,
    )


def _image(raw: Raw | UnsetType) -> Image | None:
    return None if isinstance(raw, UnsetType) else Image(raw)


def faults_in(record: Record, *, stored_at: float | None = None) -> list[Fault]:
    """List what is wrong with the new image, as of when it was stored or `stored_at`."""
    moment = _judged_at(record) if stored_at is None else stored_at
    record.faults = _faults_of(record, record.new, moment)
    return record.faults


def was_valid(record: Record) -> bool:
    """Say whether the old image had been admitted."""
    if record.was_valid is None:
        old = record.old
        # The old image may be the new one, which has no fault, but for a sound outcome.
        is_same = record.kind == "decision" and record.faults == [] and record.changed <= OUTCOME
        # A ttl that was past and is mended may have been refused: the duties are safe to repeat.
        record.was_valid = old is not None and (
            (is_same and had_sound_outcome(old)) or not _faults_of(record, old, _judged_at(record))
        )
    return record.was_valid


def _faults_of(record: Record, image: Image | None, stored_at: float) -> list[Fault]:
    assert record.kind is not None
    assert image is not None
    return faults_of(record.kind, image, stored_at=stored_at, event_ahead=record.event_ahead)


def _judged_at(record: Record) -> float:
    """Give the moment by which the times of a record's images are judged.

    DynamoDB may take days to remove what its `ttl` ended. A change of such a record that leaves
    `ttl` alone is no record that came with a past one, unless it was past when it was written.
    """
    old, new = record.old, record.new
    if old is None or new is None:
        return record.stored_at
    ttl, timestamp = (moment_of(new, name) for name in ("ttl", "timestamp"))
    if ttl is None or timestamp is None or old.get("ttl") != new["ttl"] or ttl <= timestamp:
        return record.stored_at
    return min(record.stored_at, ttl)


def touches(record: Record, names: Set[str]) -> bool:
    """Say whether one of these attributes changed."""
    return not names.isdisjoint(record.changed)


def forbidden(record: Record) -> list[Fault]:
    """List the changes of what does not change once written."""
    assert record.kind is not None
    wrong = agents_own(record.kind, record.changed - MUTABLE[record.kind])
    remedy = "write a new one" if record.kind == "signal" else "only outcome may change"
    return [
        Fault("immutable", name, f"a {record.kind} does not change once written; {remedy}")
        for name in sorted(wrong)
    ]


def outcome_faults(record: Record) -> list[Fault]:
    """List what is wrong with the change of an outcome."""
    assert record.old is not None
    assert record.new is not None
    if not touches(record, OUTCOME) or not _has_outcome(record.old):
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
    # Not every backend writes a number as AWS does: it may be 2.0 or 2E+0.
    return int(float(image.get("outcome_rev", {}).get("N", 1)))


def decision_state(record: Record) -> str:
    """Say what became of a decision: `insert`, `resolution` or `revision`."""
    assert record.new is not None
    if record.old is None or not was_valid(record):
        return "insert"
    if not _has_outcome(record.old):
        return "resolution" if _has_outcome(record.new) else "insert"
    return "revision" if touches(record, OUTCOME) else "insert"


def content_of(record: Record) -> str:
    """Give the JSON of an entry with the record's new image, but for its last brace.

    A large image is compressed.
    """
    if not record.content:
        key, image = (record.pk, record.sk), None if record.new is None else record.new.raw
        entry = Content(record.event_id, record.table, key, record.stored_at, image)
        text = ascii_json(entry)
        whole = text if len(text) <= MAX_FILL_BYTES else with_image(asdict(entry))
        record.content = whole[:-1]
    return record.content
