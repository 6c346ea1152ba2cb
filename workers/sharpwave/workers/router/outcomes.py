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

_read_resolved = fast_json.Decoder(Resolved).decode


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
        before = _read_resolved(old) if isinstance(old, Raw) else _resolved(old)
        if reading.outcome in (UNSET, before.outcome) or not _are_alike(old, new, before, reading):
            return ""
        if before.outcome is UNSET:
            return "resolution" if before.outcome_rev is UNSET else ""
        return "revision" if 0 < _sound_revision(before) < revision_of(reading) else ""
    except ValueError:
        return ""


def _resolved(attributes: Mapping[str, Any]) -> Resolved:
    said = {name: json_of(attributes[name]) for name in OUTCOME & attributes.keys()}
    return Resolved(**said)


def _are_alike(old: Given, new: Given, before: Resolved, after: Decision) -> bool:
    """Say whether images with outcomes that differ are the same in all else."""
    if not (isinstance(old, Raw) and isinstance(new, Raw)):
        return _but_outcome(old) == _but_outcome(new)
    # The same text may also stand within another attribute, and be turned back there instead. Then
    # this image keeps its outcome, and is not the old one, whose outcome is another or none. (A
    # comma and a quote stand only before a name, for within a text the quote would be escaped.)
    once = _turned_back(bytes(new), b',"outcome":%b', after.outcome, before.outcome)
    if after.outcome_rev != before.outcome_rev:
        once = _turned_back(once, b',"outcome_rev":%b', after.outcome_rev, before.outcome_rev)
    return Raw(once) == old


def _turned_back(image: bytes, pair: bytes, now: Raw, before: Raw) -> bytes:
    if now is UNSET:
        return b""
    head, _, tail = image.rpartition(pair % now)
    return head + tail if before is UNSET else b"".join((head, pair % before, tail))


def _but_outcome(image: Given) -> dict[str, Any]:
    return {name: part for name, part in image.items() if name not in OUTCOME}


def _sound_revision(said: Resolved) -> int:
    try:
        is_deep = said.outcome is not UNSET and may_be_too_deep(str(said.outcome, "utf-8"))
        return 0 if is_deep else sound_revision(said)
    except ValueError:
        return 0
