"""One decision state as a 20-byte element of a ledger set.

    bytes  0-7   blake2b-8 of the decision's primary key, `PK 0x00 SK`
    bytes  8-10  blake2b-3 of what the decision says and may not change, `content_digest`
    bytes 11-14  blake2b-4 of its evidence unit: agent and cycle, else the decision itself
    bytes 15-16  outcome revision, big-endian; 0 while no outcome was written
    byte  17     class in bits 0-1 (0 pending, 1 success, 2 failure), applied in bit 7
    bytes 18-19  quality x 10^4, big-endian; 65535 when there is none

Equal states give equal bytes, so adding one twice to a DynamoDB binary set changes nothing. Of two
elements of one decision one supersedes the other, in one order that everybody shares (`outranks`),
so what a set says never depends on which of the superseded ones it still holds.
"""

import struct
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import date
from decimal import Decimal
from enum import IntEnum
from hashlib import blake2b
from typing import Any, NamedTuple

from sharpwave.schemas.numbers import canonical_json
from sharpwave.schemas.ownership import IGNORED, RESERVED, WORKER
from sharpwave.workers.router.record import MUTABLE

ELEMENT_BYTES, KEY_BYTES, CONTENT_BYTES = 20, 8, 3
QUALITY_SCALE = 10_000
MAX_REVISION = 65_535

_NO_QUALITY = 65_535
_APPLIED = 0x80
_LAYOUT = struct.Struct(">8s3s4sHBH")
_CONTENT, _STATE = slice(KEY_BYTES, KEY_BYTES + CONTENT_BYTES), slice(-5, None)
#: Where the path of a decision's slots cuts its time, `2026-11-22T14:35:27`.
_CUTS = tuple(len(text) for text in ("2026-11-22T14", "2026-11-22T14:3", "2026-11-22T14:35"))
_CUTS += tuple(len(text) for text in ("2026-11-22T14:35:2", "2026-11-22T14:35:27"))
#: Depth of the slot that a path ends in.
DEEPEST = len(_CUTS) - 1 + 2 * KEY_BYTES
_NO_CONTENT = MUTABLE["decision"] | WORKER["decision"] | IGNORED


class MalformedElement(ValueError):
    """The bytes are not a ledger element that this version can read."""

    def __init__(self, element: bytes, fault: str) -> None:
        """Name the element in hex and say what is wrong with it."""
        super().__init__(
            f"ledger element {element.hex()} {fault}; rebuild the pattern's ledger from the archive"
        )
        self.element = element


class MalformedState(ValueError):
    """A decision state has a value that no element can carry."""


class Outcome(IntEnum):
    """What became of a decision; on equal revisions the greater value stands."""

    PENDING = 0
    SUCCESS = 1
    FAILURE = 2


@dataclass(frozen=True, slots=True, kw_only=True)
class DecisionState:
    """One state of a decision, as far as learning looks at it.

    Attributes:
        pk: the decision's partition key.
        sk: the decision's sort key.
        agent_id: the agent that decided.
        cycle: `context.cycle` as written; anything but a number or text counts as none.
        outcome: whether it succeeded; None while pending or after the outcome was withdrawn.
        quality: 0 to 1, kept to four decimals; None when not given.
        outcome_rev: 0 to 65535; at least 1 once there is an outcome.
        applied: whether the agent applied the pattern in question.
        day: event time's UTC day, `YYYY-MM-DD`.
        content: what `content_digest` gives for the decision.

    Raises:
        MalformedState: a value is outside the range above.
    """

    pk: str
    sk: str
    agent_id: str
    day: str
    content: bytes
    cycle: object = None
    outcome: bool | None = None
    quality: float | None = None
    outcome_rev: int = 0
    applied: bool = False

    def __post_init__(self) -> None:
        if fault := _fault(self):
            raise MalformedState(f"decision {self.pk} / {self.sk}: {fault}")


class Element(NamedTuple):
    """A ledger element, taken apart."""

    decision: bytes
    content: bytes
    unit: bytes
    outcome_rev: int
    outcome: Outcome
    applied: bool
    quality: int | None
    """Quality x 10^4, or None."""

    def encode(self) -> bytes:
        """Give the 20 bytes that the ledger stores."""
        kind = self.outcome | (_APPLIED if self.applied else 0)
        quality = _NO_QUALITY if self.quality is None else self.quality
        return _LAYOUT.pack(self.decision, self.content, self.unit, self.outcome_rev, kind, quality)

    @classmethod
    def decode(cls, element: bytes) -> "Element":
        """Read 20 ledger bytes.

        Raises:
            MalformedElement: wrong length, an unknown class, or a quality above 1.
        """
        if len(element) != ELEMENT_BYTES:
            raise MalformedElement(element, f"has {len(element)} bytes instead of {ELEMENT_BYTES}")
        decision, content, unit, revision, kind, quality = _LAYOUT.unpack(element)
        if kind & ~_APPLIED > Outcome.FAILURE:
            raise MalformedElement(element, f"has the unknown class {kind:#04x}")
        if QUALITY_SCALE < quality < _NO_QUALITY:
            raise MalformedElement(element, f"has quality {quality}, above {QUALITY_SCALE}")
        return cls(
            decision,
            content,
            unit,
            revision,
            Outcome(kind & ~_APPLIED),
            bool(kind & _APPLIED),
            None if quality == _NO_QUALITY else quality,
        )


def element_of(state: DecisionState) -> Element:
    """Condense a decision state; equal states give equal elements in every process."""
    identity = _identity(state)
    quality = state.quality
    return Element(
        decision=_digest(identity, KEY_BYTES),
        content=state.content,
        unit=_digest(_unit(state) or identity, 4),
        outcome_rev=state.outcome_rev,
        outcome=_outcome(state.outcome),
        applied=state.applied,
        quality=None if quality is None else round(float(quality) * QUALITY_SCALE),
    )


def outranks(element: bytes, other: bytes) -> bool:
    """Say which of two elements of one decision stands.

    A key is written once. If it was written again with other content, the smallest digest stands,
    whatever its revisions: any other rule would need what it refused to be kept for ever. Of one
    content the greatest revision stands; of two outcomes under one revision, which is a writer's
    fault, failure, then the higher quality.
    """
    content, others = element[_CONTENT], other[_CONTENT]
    if content != others:
        return content < others
    return (element[_STATE], element) > (other[_STATE], other)


def content_digest(item: Mapping[str, Any]) -> bytes:
    """Give a digest of what a decision says and may not change; equal content, equal digest.

    All of the agent's attributes count but its outcome and `ttl`. The order of names, the way a
    number is written and the order of a set do not matter.

    Of one key in one ledger's day, the content of the smallest digest stands and any other is
    refused; see `outranks`.

    Args:
        item: plain attributes, as `item_from_wire` gives them.
    """
    content = {
        name: value
        for name, value in item.items()
        if name not in _NO_CONTENT and not name.startswith(RESERVED)
    }
    return _digest(canonical_json(content), CONTENT_BYTES)


def slot_of(sk: str, decision: bytes, depth: int) -> str:
    """Name the slot of a day that may hold a decision, at a depth of its path from 0 to `DEEPEST`.

    The path is a function of the decision's key alone: the hour it was written in, ten minutes,
    minute, ten seconds, second, and then the digits of the key's digest, so a slot always splits.
    """
    if depth < len(_CUTS):
        return sk[: _CUTS[depth]]
    return f"{sk[: _CUTS[-1]]}#{decision.hex()[: depth - len(_CUTS) + 1]}"


def _identity(state: DecisionState) -> str:
    return f"{state.pk}\0{state.sk}"


def _unit(state: DecisionState) -> str | None:
    """Give agent and cycle; 142, 142.0 and Decimal("142") are one cycle."""
    cycle = state.cycle
    if isinstance(cycle, bool) or not isinstance(cycle, int | float | Decimal | str):
        return None
    if not isinstance(cycle, str):
        exact = Decimal(str(cycle))
        cycle = f"{exact.normalize():f}" if exact.is_finite() else str(exact)
    return f"{state.agent_id}\0{cycle}"


def _outcome(success: bool | None) -> Outcome:
    if success is None:
        return Outcome.PENDING
    return Outcome.SUCCESS if success else Outcome.FAILURE


def _digest(text: str, size: int) -> bytes:
    return blake2b(text.encode(), digest_size=size).digest()


def _fault(state: DecisionState) -> str | None:
    if not 0 <= state.outcome_rev <= MAX_REVISION:
        return f"outcome_rev {state.outcome_rev} is outside 0 to {MAX_REVISION}"
    if state.outcome is not None and state.outcome_rev == 0:
        return "an outcome needs outcome_rev 1 or more"
    if state.quality is not None and not 0 <= state.quality <= 1:
        return f"quality {state.quality} is outside 0 to 1"
    if len(state.content) != CONTENT_BYTES:
        return f"content has {len(state.content)} bytes instead of {CONTENT_BYTES}"
    if not _is_day(state.day):
        return f"day {state.day!r} is not a date; write YYYY-MM-DD"
    return None


def _is_day(day: str) -> bool:
    try:
        return date.fromisoformat(day).isoformat() == day
    except ValueError:
        return False
