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
    Decision,
    Number,
    Resolved,
    revision_of,
    sound_revision,
)
from sharpwave.workers.router.image import Image, may_be_too_deep
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


class _Alone(Resolved, forbid_unknown_fields=True, gc=False):
    """What is said of an outcome, and nothing else."""


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
_read_resolved = fast_json.Decoder(Resolved).decode
_read_alone = fast_json.Decoder(_Alone).decode
_read_version = fast_json.Decoder(_Versioned).decode
_read_answer = fast_json.Decoder(_Answer).decode
_read_row = fast_json.Decoder(Row).decode
_encode = fast_json.Encoder().encode


def had_sound_outcome(decision: Image) -> bool:
    """Say whether the fast path admits the outcome of a decision, or it has none."""
    return _sound_revision(_read_resolved(decision.raw)) > 0


def outcome_change(old: Raw, new: Raw, reading: Decision) -> str:
    """Say what a change of a decision's outcome alone makes of it: `resolution` or `revision`.

    Gives nothing for every other change, and for one that needs a closer look. Nothing else of
    the images is read: without what they say of the outcome, they are the same.

    Args:
        old: the image before.
        new: the image after, written in the same form.
        reading: what `READ` gave of it.
    """
    try:
        before = None if reading.outcome is UNSET else _before(bytes(old), bytes(new), reading)
        if before is None or before.outcome == reading.outcome:
            return ""
        if before.outcome is UNSET:
            return "resolution" if before.outcome_rev is UNSET else ""
        return "revision" if 0 < _sound_revision(before) < revision_of(reading) else ""
    except ValueError:
        return ""


def _before(old: bytes, new: bytes, reading: Decision) -> Resolved | None:
    """Give what the old image says of its outcome, if all else is as in the new one.

    Raises:
        ValueError: they differ in more, or the outcome is not where its text is found.
    """
    assert reading.outcome is not UNSET
    # Three parts of the new image, with the outcome and its revision left out between them.
    head, _, tail = new.rpartition(b',"outcome":%b' % reading.outcome)
    middle = b""
    if reading.outcome_rev is not UNSET:
        revision = b',"outcome_rev":%b' % reading.outcome_rev
        left, found, right = tail.rpartition(revision)
        if found:
            middle, tail = left, right
        else:
            head, _, middle = head.rpartition(revision)
    start, end = len(head), len(old) - len(tail)
    if not (0 < start <= end and old.startswith(head) and old.endswith(tail)):
        return None
    told = old[start:end]
    # The same text may also stand within another attribute, and then what follows it does not end
    # an image. As nothing is named twice, no part says more of an outcome.
    _read_resolved(b'{"":{}%b' % tail)
    if middle:
        _read_resolved(b'{"":{}%b%b' % (middle, tail))
        left, found, right = told.partition(middle)
        if not found:
            return None
        told = left + right
    return _read_alone(b"{%b}" % told[1:])


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


def _sound_revision(said: Resolved) -> int:
    try:
        is_deep = said.outcome is not UNSET and may_be_too_deep(str(said.outcome, "utf-8"))
        return 0 if is_deep else sound_revision(said)
    except ValueError:
        return 0
