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


def _marks(kind: keys.Kind) -> Callable[[Raw], Struct]:
    fields = [(name, _Said, UNSET) for name in sorted(WORKER[kind])]
    return fast_json.Decoder(defstruct(f"_Marks_{kind}", fields, gc=False)).decode


#: Read what workers write to records of others.
_MARKS: Mapping[keys.Kind, Callable[[Raw], Any]] = {
    kind: _marks(kind) for kind in ("decision", "signal", "memory")
}
_read_resolved = fast_json.Decoder(Resolved).decode
_read_answer = fast_json.Decoder(_Answer).decode
_read_row = fast_json.Decoder(Row).decode
_encode = fast_json.Encoder().encode


def had_sound_outcome(decision: Image) -> bool:
    """Say whether the fast path admits the outcome of a decision, or it has none."""
    try:
        return _sound_revision(_read_resolved(decision.raw)) > 0
    except ValueError:
        return False


def outcome_change(old: Raw, new: Raw, reading: Decision) -> str:
    """Say what a change of a decision's outcome alone makes of it: `resolution` or `revision`.

    Gives nothing for every other change, and for one that needs a closer look.

    Args:
        old: the image before.
        new: the image after, written in the same form.
        reading: what `READ` gave of it.
    """
    was, now = bytes(old), bytes(new)
    head = now.rpartition(b',"outcome":')[0]
    if reading.outcome_rev is not UNSET:
        head = min(head, now.rpartition(b',"outcome_rev":')[0], key=len)
    if not was.startswith(head):
        return ""
    # Only what follows need be read. It ends a whole object, so it is not within another attribute
    # that the names were found.
    was, now = b'{"":0%b' % was[len(head) :], b'{"":0%b' % now[len(head) :]
    try:
        before, after = _read_resolved(was), _read_resolved(now)
        if before.outcome == after.outcome or after.outcome_rev != reading.outcome_rev:
            return ""
        outcome = (b'"outcome":', before.outcome, after.outcome)
        revision = (b'"outcome_rev":', before.outcome_rev, after.outcome_rev)
        if not _are_same_but(was, now, outcome, revision):
            return ""
        if before.outcome is UNSET:
            return "resolution" if before.outcome_rev is UNSET else ""
        return "revision" if 0 < _sound_revision(before) < revision_of(after) else ""
    except ValueError:
        return ""


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
    is_deep = said.outcome is not UNSET and may_be_too_deep(str(said.outcome, "utf-8"))
    return 0 if is_deep else sound_revision(said)
