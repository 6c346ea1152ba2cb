"""What a change of a decision's outcome makes of it, found out without reading anything else.

Most decisions change once: their outcome comes. All else of both images is the same, so it is
judged once, and compared as it was written.
"""

from collections.abc import Mapping
from typing import Any

from msgspec import UNSET, Raw
from msgspec import json as fast_json

from sharpwave.schemas.ownership import OUTCOME
from sharpwave.workers.router.fast_path import Decision, Resolved, outcome_fits, revision_of
from sharpwave.workers.router.image import Given, Image, json_of, may_be_too_deep

_read_resolved = fast_json.Decoder(Resolved).decode


def had_sound_outcome(decision: Image) -> bool:
    """Say whether the fast path admits the outcome of a decision, or it has none."""
    return _was_sound(_resolved(decision.parts))


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
        if reading.outcome in (UNSET, before.outcome) or _but(old, before) != _but(new, reading):
            return ""
        if before.outcome is UNSET:
            return "resolution" if before.outcome_rev is UNSET else ""
        is_raised = _was_sound(before) and revision_of(before) < revision_of(reading)
        return "revision" if is_raised else ""
    except ValueError:
        return ""


def _resolved(attributes: Mapping[str, Any]) -> Resolved:
    said = {name: json_of(attributes[name]) for name in OUTCOME & attributes.keys()}
    return Resolved(**said)


def _but(image: Given, said: Resolved | Decision) -> bytes | dict[str, Any]:
    """Leave out of an image what it says of its outcome."""
    if not isinstance(image, Raw):
        return {name: part for name, part in image.items() if name not in OUTCOME}
    rest = bytes(image)
    # The same text may also stand within another attribute, and be cut there instead. Then this
    # image is left with its outcome, and the other, whose outcome is another or none, is not left
    # with the same: they do not pass for alike. (A comma and a quote stand only before a name,
    # for within a text the quote would be escaped; and nothing is named twice.)
    for name, part in ((b"outcome", said.outcome), (b"outcome_rev", said.outcome_rev)):
        if part is not UNSET:
            head, _, tail = rest.rpartition(b',"%b":%b' % (name, part))
            rest = head + tail
    return rest


def _was_sound(said: Resolved) -> bool:
    try:
        is_deep = said.outcome is not UNSET and may_be_too_deep(str(said.outcome, "utf-8"))
        return not is_deep and outcome_fits(said)
    except ValueError:
        return False
