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
        return _between(bytes(old), bytes(new), reading)
    before, after = Image(old).parts, Image(new).parts
    return _resolved(before) if _but_outcome(before) == _but_outcome(after) else None


def _between(old: bytes, new: bytes, reading: Decision) -> Resolved | None:
    """Do what `_before` does, without reading what is the same.

    Raises:
        ValueError: the images differ in more, or the outcome is not where its text is found.
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
