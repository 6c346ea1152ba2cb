"""One decision state as a 17-byte element of a grow-only ledger set.

    bytes  0-7   blake2b-8 of the decision's primary key, `PK 0x00 SK`
    bytes  8-11  blake2b-4 of its evidence unit: agent and cycle, else the decision itself
    bytes 12-13  outcome revision, big-endian; 0 while no outcome was written
    byte  14     class in bits 0-1 (0 pending, 1 success, 2 failure), applied in bit 7
    bytes 15-16  quality x 10^4, big-endian; 65535 when there is none

Equal states give equal bytes, so adding one twice to a DynamoDB binary set changes nothing.
"""

import struct
from dataclasses import dataclass
from datetime import date
from decimal import Decimal
from enum import IntEnum
from hashlib import blake2b
from typing import NamedTuple

ELEMENT_BYTES = 17
QUALITY_SCALE = 10_000
MAX_REVISION = 65_535

_NO_QUALITY = 65_535
_APPLIED = 0x80
_LAYOUT = struct.Struct(">8s4sHBH")


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
        hour: event time's UTC hour, 0 to 23.

    Raises:
        MalformedState: a value is outside the range above.
    """

    pk: str
    sk: str
    agent_id: str
    day: str
    hour: int
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
    unit: bytes
    outcome_rev: int
    outcome: Outcome
    applied: bool
    quality: int | None
    """Quality x 10^4, or None."""

    def encode(self) -> bytes:
        """Give the 17 bytes that the ledger stores."""
        kind = self.outcome | (_APPLIED if self.applied else 0)
        quality = _NO_QUALITY if self.quality is None else self.quality
        return _LAYOUT.pack(self.decision, self.unit, self.outcome_rev, kind, quality)

    @classmethod
    def decode(cls, element: bytes) -> "Element":
        """Read 17 ledger bytes.

        Raises:
            MalformedElement: wrong length, an unknown class, or a quality above 1.
        """
        if len(element) != ELEMENT_BYTES:
            raise MalformedElement(element, f"has {len(element)} bytes instead of {ELEMENT_BYTES}")
        decision, unit, revision, kind, quality = _LAYOUT.unpack(element)
        if kind & ~_APPLIED > Outcome.FAILURE:
            raise MalformedElement(element, f"has the unknown class {kind:#04x}")
        if QUALITY_SCALE < quality < _NO_QUALITY:
            raise MalformedElement(element, f"has quality {quality}, above {QUALITY_SCALE}")
        return cls(
            decision,
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
        decision=_digest(identity, 8),
        unit=_digest(_unit(state) or identity, 4),
        outcome_rev=state.outcome_rev,
        outcome=_outcome(state.outcome),
        applied=state.applied,
        quality=None if quality is None else round(float(quality) * QUALITY_SCALE),
    )


def slot_of(state: DecisionState, shards: int = 1) -> str:
    """Name the slot of the state's day that holds it: `14`, or `14x3` when sharded.

    A decision counts once only while every writer uses the same `shards` for its day, so a
    pattern changes its number of shards from a future day on.

    Raises:
        ValueError: `shards` is below 1.
    """
    if shards < 1:
        raise ValueError(f"{shards} shards cannot hold a ledger; use 1 or more")
    if shards == 1:
        return f"{state.hour:02d}"
    shard = int.from_bytes(_digest(_identity(state), 8), "big") % shards
    return f"{state.hour:02d}x{shard}"


def bucket_of(state: DecisionState, shards: int = 1) -> tuple[str, str]:
    """Give the (day, slot) whose ledger item holds the state; see `slot_of`."""
    return state.day, slot_of(state, shards)


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
    if not 0 <= state.hour <= 23:
        return f"hour {state.hour} is outside 0 to 23"
    if not _is_day(state.day):
        return f"day {state.day!r} is not a date; write YYYY-MM-DD"
    return None


def _is_day(day: str) -> bool:
    try:
        return date.fromisoformat(day).isoformat() == day
    except ValueError:
        return False
