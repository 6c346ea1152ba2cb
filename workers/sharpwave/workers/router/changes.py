"""What a change made of an image, found out without reading what it left as it was.

Most changes touch little: a decision gets its outcome, a row its status, a record a worker's mark.
So only the few attributes that change as a rule are read of both images, and all else is compared
as it was written.
"""

from collections.abc import Callable, Mapping
from typing import Any

from msgspec import UNSET, Raw, Struct, UnsetType, defstruct
from msgspec import json as fast_json

from sharpwave.schemas import keys
from sharpwave.schemas.ownership import WORKER, is_stamped
from sharpwave.schemas.status import ACKNOWLEDGED, outranks
from sharpwave.workers.router.fast_path import (
    WHOLE,
    Decision,
    Number,
    Outcome,
    read_outcome,
    sound_revision,
)
from sharpwave.workers.router.image import SHALLOW, Image, may_be_too_deep
from sharpwave.workers.work.incoming import Text

_Said = Raw | UnsetType


class _Answer(Struct, kw_only=True, gc=False):
    """What changes in a row when its agent acknowledges it, or a worker writes to it."""

    status: Text
    worker_rev: Text | UnsetType = UNSET
    processed_at: Number | UnsetType = UNSET
    decision_id: Text | UnsetType = UNSET
    reason: Text | UnsetType = UNSET


class Row(_Answer, kw_only=True, gc=False):
    """What is read of an inbox row."""

    signal_pk: Text
    signal_sk: Text
    chunk: Text | None = None


class _Resolved(Struct, gc=False):
    """What an image says of a decision's outcome."""

    outcome: _Said = UNSET
    outcome_rev: Number | UnsetType = UNSET


class _Alone(Struct, forbid_unknown_fields=True, gc=False):
    """What is said of an outcome, and nothing else."""

    outcome: Outcome
    outcome_rev: Number | UnsetType = UNSET


class _Versioned(Struct, gc=False):
    status_v: _Said = UNSET


#: Read what workers write to records of others.
_MARKS: Mapping[keys.Kind, Callable[[Raw], Any]] = {
    kind: fast_json.Decoder(
        defstruct(
            f"_Marks_{kind}", [(name, _Said, UNSET) for name in sorted(WORKER[kind])], gc=False
        )
    ).decode
    for kind in ("decision", "signal", "memory")
}
_read_resolved = fast_json.Decoder(_Resolved).decode
_read_alone = fast_json.Decoder(_Alone).decode
_read_version = fast_json.Decoder(_Versioned).decode
_read_answer = fast_json.Decoder(_Answer).decode
_read_row = fast_json.Decoder(Row).decode
_encode = fast_json.Encoder().encode


def had_sound_outcome(decision: Image) -> bool:
    """Say whether the fast path admits the outcome of a decision, or it has none."""
    try:
        said = _read_resolved(decision.raw)
        if said.outcome is UNSET:
            return sound_revision(UNSET, said.outcome_rev) > 0
        return (
            not may_be_too_deep(str(said.outcome, "utf-8"))
            and sound_revision(read_outcome(said.outcome), said.outcome_rev) > 0
        )
    except ValueError:
        return False


def outcome_change(old: Raw, new: Raw, reading: Decision) -> str:
    """Say what a change of a decision's outcome alone makes of it: `resolution` or `revision`.

    Gives nothing for every other change, and for one that needs a closer look. Nothing else of
    the images is read: without what they say of the outcome, they are the same.

    Args:
        old: the image before.
        new: the image after, written in the same form.
        reading: what `READ` gave of it.
    """
    outcome, outcome_rev = reading.outcome, reading.outcome_rev
    if outcome is UNSET:
        return ""
    image, got = _encode(new), b',"outcome":' + _encode(outcome)
    try:
        if outcome_rev is UNSET:
            # Nothing is corrected without a revision.
            head, _, tail = image.rpartition(got)
            is_first = Raw(head + tail) == old and _ends_image(tail)
            return "resolution" if is_first else ""
        told = _told(_encode(old), image, got, b',"outcome_rev":' + _encode(outcome_rev))
        if not told:
            return "" if told is None else "resolution"
        if got in told or (len(told) >= SHALLOW and may_be_too_deep(told.decode())):
            return ""
        before = _read_alone(b"{" + told[1:] + b"}")
        revision = sound_revision(before.outcome, before.outcome_rev)
        return "revision" if 0 < revision < WHOLE[outcome_rev.N] else ""
    except ValueError:
        return ""


def _told(old: bytes, new: bytes, got: bytes, revision: bytes) -> bytes | None:
    """Give what the old image says of its outcome, if all else is as in the new one.

    Args:
        old: the old image.
        new: the new image.
        got: its outcome, as it is written there.
        revision: that of its outcome.
    """
    # Three parts of the new image, with the outcome and its revision left out between them.
    middle = b""
    head, found, tail = new.rpartition(got + revision)
    if not found:
        head, _, tail = new.rpartition(got)
        left, found, right = tail.rpartition(revision)
        if found:
            middle, tail = left, right
        else:
            head, _, middle = head.rpartition(revision)
    start, end = len(head), len(old) - len(tail)
    if not (0 < start <= end and old.startswith(head) and old.endswith(tail)):
        return None
    if not _ends_image(tail):
        return None
    told = old[start:end]
    if not middle:
        return told
    left, found, right = told.partition(middle)
    return left + right if found and _ends_image(middle + tail) else None


def _ends_image(tail: bytes) -> bool:
    """Say whether this ends an image, which says no more of its outcome, as nothing is said twice.

    What was found may stand within another attribute, and then what follows it does not.
    """
    if tail == b"}":
        return True
    try:
        _read_resolved(b'{"":{}' + tail)
    except ValueError:
        return False
    return True


def is_mark(kind: keys.Kind, old: Raw, new: Raw) -> bool:
    """Say whether a worker left its mark on a record, and nothing else happened to it."""
    read = _MARKS.get(kind)
    if read is None:
        return False
    try:
        before, after = read(old), read(new)
    except ValueError:
        return False
    names = before.__struct_fields__
    return _are_same_but(
        *(old, new),
        *(
            (b'"%b":' % name.encode(), getattr(before, name), getattr(after, name))
            for name in names
        ),
    )


def has_new_version(old: Raw | UnsetType, new: Raw) -> bool:
    """Say whether a worker wrote a mirror: it gives each of its writes another version."""
    was = UNSET if old is UNSET else _read_version(old).status_v
    now = _read_version(new).status_v
    return now is not UNSET and now != was


def row_change(key: keys.Key, old: Raw, new: Raw) -> tuple[str, Row] | None:
    """Say what became of a row: `echo` of a worker, or `acknowledgement` by its agent.

    Gives it with the row before; or nothing for every other change, and for one that needs a
    closer look.
    """
    try:
        before, after = _read_row(old), _read_answer(new)
    except ValueError:
        return None
    status = after.status.S
    if before.worker_rev != after.worker_rev:
        if after.worker_rev is UNSET:
            return None
        stamp = {"status": status, "worker_rev": after.worker_rev.S}
        return ("echo", before) if is_stamped(key.item() | stamp) else None
    is_answer = (
        status in ACKNOWLEDGED
        and outranks(status, before.status.S)
        and _are_same_but(
            *(old, new),
            (b'"status":', before.status, after.status),
            (b'"processed_at":', before.processed_at, after.processed_at),
            (b'"decision_id":', before.decision_id, after.decision_id),
            (b'"reason":', before.reason, after.reason),
        )
    )
    return ("acknowledgement", before) if is_answer else None


def _are_same_but(old: Raw | bytes, new: Raw | bytes, *said: tuple[bytes, Any, Any]) -> bool:
    """Say whether a change set these attributes, of which is given what they held and hold.

    In the new image each that differs is put back, where its name and value are found, and that
    must give the old one. If they were found within another attribute, then the one at the top
    would still differ. So nothing is read, as long as no more than two of the values are maps: only
    these hold names, and no two hold each other.
    """
    image = bytes(new)
    for name, before, after in said:
        if before == after:
            continue
        if after is UNSET:
            return False
        # By its name alone: text that ends as many others do is found slowly.
        head, _, tail = image.rpartition(name)
        value = _encode(after)
        if not tail.startswith(value) or (before is UNSET and not head.endswith(b",")):
            return False
        tail = tail[len(value) :]
        put = (head[:-1], tail) if before is UNSET else (head, name, _encode(before), tail)
        image = b"".join(put)
    return image == bytes(old)
