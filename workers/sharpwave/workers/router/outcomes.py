"""What a change of a decision's outcome makes of it, found out without reading anything else.

Most decisions change once: their outcome comes. All else of both images is the same, so it is
judged once, and compared as it was written.
"""

from collections.abc import Mapping
from typing import Any

from msgspec import UNSET, Raw
from msgspec import json as fast_json

from sharpwave.schemas.ownership import OUTCOME
from sharpwave.workers.router.fast_path import Decision, Resolved, revision_of, sound_revision
from sharpwave.workers.router.image import Given, Image, json_of, may_be_too_deep


class _Alone(Resolved, forbid_unknown_fields=True, gc=False):
    """What is said of an outcome, and nothing else."""


_read_resolved = fast_json.Decoder(Resolved).decode
_read_alone = fast_json.Decoder(_Alone).decode


def had_sound_outcome(decision: Image) -> bool:
    """Say whether the fast path admits the outcome of a decision, or it has none."""
    return _sound_revision(_resolved(decision.parts)) > 0


def outcome_state(old: Given, new: Given, reading: Decision) -> str:
    """Say what a change of a decision's outcome alone makes of it: `resolution` or `revision`.

    Gives nothing for every other change, and for one that needs a closer look. Nothing else of
    the images is read: without what they say of the outcome, they are the same.

    Args:
        old: the image before, as JSON or parsed.
        new: the image after, in the same form.
        reading: what `read` gave of the image after.
    """
    try:
        before = None if reading.outcome is UNSET else _before(old, new, reading)
        if before is None or before.outcome == reading.outcome:
            return ""
        if before.outcome is UNSET:
            return "resolution" if before.outcome_rev is UNSET else ""
        return "revision" if 0 < _sound_revision(before) < revision_of(reading) else ""
    except ValueError:
        return ""


def _before(old: Given, new: Given, reading: Decision) -> Resolved | None:
    """Give what the old image says of its outcome, if all else is as in the new one."""
    if isinstance(old, Raw) and isinstance(new, Raw):
        before = _between(bytes(old), bytes(new), reading)
        if before is not None:
            return before
    before_all, after_all = Image(old).parts, Image(new).parts
    is_same = _but_outcome(before_all) == _but_outcome(after_all)
    return _resolved(before_all) if is_same else None


def _between(old: bytes, new: bytes, reading: Decision) -> Resolved | None:
    """Give what the old image has where the new one says its outcome, if all around is the same.

    Gives nothing if that is not said in one place, as it nearly always is.
    """
    head, _, tail = new.rpartition(b',"outcome":%b' % reading.outcome)
    if reading.outcome_rev is not UNSET:
        revision = b',"outcome_rev":%b' % reading.outcome_rev
        if tail.startswith(revision):
            tail = tail[len(revision) :]
        elif head.endswith(revision):
            head = head[: -len(revision)]
        else:
            return None
    start, end = len(head), len(old) - len(tail)
    if not (0 < start <= end and old.startswith(head) and old.endswith(tail)):
        return None
    # The same text may also stand within another attribute, and then what follows it is not the
    # rest of an object. As nothing is named twice, neither side says more of an outcome.
    if tail != b"}":
        if not tail.startswith(b","):
            return None
        _read_resolved(b"{%b" % tail[1:])
    return _read_alone(b"{%b}" % old[start + 1 : end])


def _resolved(attributes: Mapping[str, Any]) -> Resolved:
    said = {name: json_of(attributes[name]) for name in OUTCOME & attributes.keys()}
    return Resolved(**said)


def _but_outcome(image: Mapping[str, Any]) -> dict[str, Any]:
    return {name: part for name, part in image.items() if name not in OUTCOME}


def _sound_revision(said: Resolved) -> int:
    try:
        is_deep = said.outcome is not UNSET and may_be_too_deep(str(said.outcome, "utf-8"))
        return 0 if is_deep else sound_revision(said)
    except ValueError:
        return 0
