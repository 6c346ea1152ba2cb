"""A ledger: decision states as elements of sets, the sets as slots that split, counts from a slot.

One decision state is an element of 20 bytes, or of 24 if it stated something of itself. In a ledger
of sources it has 24, and 4 more for its bucket and for each of its sources.

    bytes  0-7   blake2b-8 of the decision's primary key, `PK 0x00 SK`
    bytes  8-10  blake2b-3 of what the decision says and may not change, `content_digest`
    bytes 11-14  blake2b-4 of its evidence unit: agent and cycle, else the decision itself
    bytes 15-16  outcome revision, big-endian; 0 while no outcome was written
    byte  17     class in bits 0-1 (0 pending, 1 success, 2 failure), applied in bit 7
    bytes 18-19  quality x 10^4, big-endian; 65535 when there is none
    bytes 20-21  stated confidence x 10^4, big-endian; 65535 when there is none
    bytes 22-23  stated probability of selection x 10^4, big-endian; 65535 when there is none
    bytes 24-27  code of the bucket that its sources are compared in, 0 without one
    bytes 28-    codes of its sources, four bytes each and at most eight of them

In a base ledger an element may be longer and have bit 6 in byte 17: it is `seated`, see `seats`.

Equal states give equal bytes, so adding one twice to a DynamoDB binary set changes nothing. Of two
elements of one decision one `supersedes` the other, in one order that everybody shares, so what a
set says never depends on which of the superseded ones it still holds.

A day's elements lie in slots. A decision's states lie in one slot, whatever races: the first on its
path that was open when its first state came. A slot that is closed never takes another decision,
so who holds it is settled for good, and a process needs to learn it once.
"""

import struct
from collections import OrderedDict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from decimal import Decimal
from enum import IntEnum
from hashlib import blake2b
from threading import Lock
from typing import NamedTuple

from sharpwave.schemas import keys, tables
from sharpwave.schemas.records import MOST_SOURCES
from sharpwave.schemas.times import is_day
from sharpwave.workers.patterns.counts import CONTENT_BYTES, QUALITY_SCALE, Counts
from sharpwave.workers.patterns.sources import CODE_BYTES, Used, shares_of
from sharpwave.workers.patterns.stated import (
    NO_CONFIDENCES,
    NO_WEIGHTS,
    SCALE,
    Confidences,
    Weights,
)
from sharpwave.workers.work.ports import Ledger, Location, Slot, TryAgain

ELEMENT_BYTES, STATING_BYTES, KEY_BYTES = 20, 24, 8
#: Lengths of an element.
_LENGTHS = frozenset(
    (ELEMENT_BYTES, *(STATING_BYTES + CODE_BYTES * named for named in range(MOST_SOURCES + 2)))
)
MAX_REVISION = 65_535

_NONE = 65_535
_APPLIED = 0x80
#: In `KIND`, of an element that says which seats its decision belongs to.
KIND, SEATED = 17, 0x40
_LAYOUT, _STATED = struct.Struct(">8s3s4sHBH"), struct.Struct(">HH")
_CONTENT, _STATE = slice(KEY_BYTES, KEY_BYTES + CONTENT_BYTES), slice(15, ELEMENT_BYTES)

#: Where a path cuts a decision's time: at the hour, ten minutes, minute, ten seconds, second.
_CUTS = tuple(map(len, ("2026-11-22T14", "2026-11-22T14:3", "2026-11-22T14:35")))
_CUTS += tuple(map(len, ("2026-11-22T14:35:2", "2026-11-22T14:35:27")))
#: Depth of the slot that a path ends in.
DEEPEST = len(_CUTS) - 1 + 2 * KEY_BYTES

#: A slot with so many elements takes no further decision. A write is billed by the size of the
#: item, so a small slot makes counting cheap; below it, a busy hour splits without need.
CLOSE_AT = 320
#: Most elements of one addition; it bounds what a slot that was open by a hair takes on.
MOST_AT_ONCE = 150
#: Superseded elements are dropped when they are more than this, which takes many revisions.
MOST_SUPERSEDED = 400
#: A slot takes no addition beyond so many elements: first the superseded go. With what comes in
#: one addition that is at most 63 KB, of decisions that name eight sources each.
FULL_AT = 900
#: Closed slots of which a process remembers who is in them, some 40 KB each.
REMEMBERED = 512
_ATTEMPTS = 4

Elements = Mapping[bytes, str]
"""Elements, each with the sort key of its decision."""


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
        fault = None
        if not 0 <= self.outcome_rev <= MAX_REVISION:
            fault = f"outcome_rev {self.outcome_rev} is outside 0 to {MAX_REVISION}"
        elif self.outcome is not None and self.outcome_rev == 0:
            fault = "an outcome needs outcome_rev 1 or more"
        elif self.quality is not None and not 0 <= self.quality <= 1:
            fault = f"quality {self.quality} is outside 0 to 1"
        elif len(self.content) != CONTENT_BYTES:
            fault = f"content has {len(self.content)} bytes instead of {CONTENT_BYTES}"
        elif not is_day(self.day):
            fault = f"day {self.day!r} is not a date; write YYYY-MM-DD"
        if fault:
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
    confidence: int | None = None
    """Stated confidence x 10^4, or None."""
    selection_prob: int | None = None
    """Stated probability of selection x 10^4, or None."""
    named: tuple[int, ...] = ()
    """Codes of its bucket and its sources, as `codes_in` gives them."""

    def encode(self) -> bytes:
        """Give the 20 bytes that the ledger stores, or more if something was stated or named."""
        kind = self.outcome | (_APPLIED if self.applied else 0)
        element = _LAYOUT.pack(
            self.decision, self.content, self.unit, self.outcome_rev, kind, _or_none(self.quality)
        )
        if self.confidence is self.selection_prob is None and not self.named:
            return element
        element += _STATED.pack(_or_none(self.confidence), _or_none(self.selection_prob))
        return element + b"".join(code.to_bytes(CODE_BYTES) for code in self.named)

    @classmethod
    def decode(cls, element: bytes) -> "Element":
        """Read what `encode` gave.

        Raises:
            MalformedElement: wrong length, an unknown class, a quality or a confidence above 1, or
                a probability of selection that is none.
        """
        if len(element) not in _LENGTHS:
            allowed = f"{ELEMENT_BYTES}, or {STATING_BYTES} to {max(_LENGTHS)} in fours"
            raise MalformedElement(element, f"has {len(element)} bytes instead of {allowed}")
        decision, content, unit, revision, kind, quality = _LAYOUT.unpack_from(element)
        confidence = selection_prob = _NONE
        if len(element) != ELEMENT_BYTES:
            confidence, selection_prob = _STATED.unpack_from(element, ELEMENT_BYTES)
        if kind & ~_APPLIED > Outcome.FAILURE:
            raise MalformedElement(element, f"has the unknown class {kind:#04x}")
        if QUALITY_SCALE < quality < _NONE:
            raise MalformedElement(element, f"has quality {quality}, above {QUALITY_SCALE}")
        if SCALE < confidence < _NONE:
            raise MalformedElement(element, f"has confidence {confidence}, above {SCALE}")
        if not 0 < selection_prob <= SCALE and selection_prob != _NONE:
            fault = f"has selection_prob {selection_prob}, outside 1 to {SCALE}"
            raise MalformedElement(element, fault)
        return cls(
            decision,
            content,
            unit,
            revision,
            Outcome(kind & ~_APPLIED),
            bool(kind & _APPLIED),
            quality=None if quality == _NONE else quality,
            confidence=None if confidence == _NONE else confidence,
            selection_prob=None if selection_prob == _NONE else selection_prob,
            named=tuple(
                int.from_bytes(element[place : place + CODE_BYTES])
                for place in range(STATING_BYTES, len(element), CODE_BYTES)
            ),
        )


def _or_none(number: int | None) -> int:
    return _NONE if number is None else number


def element_of(state: DecisionState) -> Element:
    """Condense a decision state; equal states give equal elements in every process."""
    # The NUL keeps "a" + "bc" and "ab" + "c" two decisions.
    identity = unit = f"{state.pk}\0{state.sk}"
    cycle = state.cycle
    if isinstance(cycle, int | float | Decimal | str) and not isinstance(cycle, bool):
        if not isinstance(cycle, str):
            # 142, 142.0 and Decimal("142") are one cycle.
            cycle = f"{Decimal(str(cycle)).normalize():f}"
        unit = f"{state.agent_id}\0{cycle}"
    outcome = Outcome.PENDING
    if state.outcome is not None:
        outcome = Outcome.SUCCESS if state.outcome else Outcome.FAILURE
    return Element(
        decision=blake2b(identity.encode(), digest_size=KEY_BYTES).digest(),
        content=state.content,
        unit=blake2b(unit.encode(), digest_size=4).digest(),
        outcome_rev=state.outcome_rev,
        outcome=outcome,
        applied=state.applied,
        quality=None if state.quality is None else round(float(state.quality) * QUALITY_SCALE),
    )


def supersedes(element: bytes, other: bytes) -> bool:
    """Say which of two elements of one decision stands.

    A key is written once. If it was written again with other content, the smallest digest stands,
    whatever its revisions: any other rule would need what it refused to be kept for ever. Of one
    content the greatest revision stands; of two outcomes under one revision, which is a writer's
    fault, failure, then the higher quality. Of one state the longer element stands: an older
    release may have left out what was stated or named.
    """
    content, others = element[_CONTENT], other[_CONTENT]
    if content != others:
        return content < others
    # Revision, class and quality are big-endian and in this order, so bytes compare as they rank.
    return (element[_STATE], element) > (other[_STATE], other)


def standing_of(elements: Iterable[bytes]) -> dict[bytes, bytes]:
    """Give the element that stands of each decision, by the digest of its key.

    Raises:
        MalformedElement: an element is not of a length this version reads.
    """
    standing: dict[bytes, bytes] = {}
    for element in elements:
        if len(element) not in _LENGTHS:
            Element.decode(element)
        held = standing.get(element[:KEY_BYTES])
        if held is None or supersedes(element, held):
            standing[element[:KEY_BYTES]] = element
    return standing


def superseded_in(elements: Iterable[bytes]) -> set[bytes]:
    """Give the elements that count nowhere, whatever else comes.

    What a key says otherwise may belong to other seats, and each seat counts the smallest content
    of those that belong to it. So of a seated element only another of its content takes the place.
    """
    standing: dict[bytes, bytes] = {}
    found = set(elements)
    for element in found:
        is_seated = element[KIND] & SEATED
        place = element[: KEY_BYTES + CONTENT_BYTES] if is_seated else element[:KEY_BYTES]
        held = standing.get(place)
        if held is None or supersedes(element, held):
            standing[place] = element
    return found - set(standing.values())


def fold(elements: Iterable[bytes], *, revision: int = 0) -> Counts:
    """Count a ledger set: of each decision the element that supersedes its others stands.

    Depends on the set of elements alone, never on order or repetition, and not on elements that
    others supersede.

    Args:
        elements: the elements.
        revision: the revision of the set that they are.

    Raises:
        MalformedElement: an element this version cannot read.
    """
    standing = [Element.decode(element) for element in standing_of(elements).values()]
    resolved = [element for element in standing if element.outcome is not Outcome.PENDING]
    successes = [element for element in resolved if element.outcome is Outcome.SUCCESS]
    qualities = [element.quality for element in resolved if element.quality is not None]
    applied, others, confidences = NO_WEIGHTS, NO_WEIGHTS, NO_CONFIDENCES
    for element in resolved:
        success = element.outcome is Outcome.SUCCESS
        if element.confidence is not None:
            confidences += Confidences.of(element.confidence, success)
        if element.selection_prob is not None:
            weights = Weights.of(element.selection_prob, success)
            if element.applied:
                applied += weights
            else:
                others += weights
    used = (
        share
        for element in standing
        if element.named
        for share in shares_of(element.named, _outcome_of(element))
    )
    return Counts(
        revision=revision,
        n=len(resolved),
        s=len(successes),
        q_sum=sum(qualities),
        q_n=len(qualities),
        applied=sum(element.applied for element in resolved),
        applied_s=sum(element.applied for element in successes),
        pending=len(standing) - len(resolved),
        units=len({element.unit for element in resolved}),
        q_sq=sum(quality * quality for quality in qualities),
        applied_weights=applied,
        other_weights=others,
        confidences=confidences,
        used=Used.merged(used),
    )


def _outcome_of(element: Element) -> tuple[int, int, int, int, int]:
    """Give pending, outcome, success, quality and whether it has one, as `shares_of` takes them."""
    if element.outcome is Outcome.PENDING:
        return 1, 0, 0, 0, 0
    quality = element.quality
    return 0, 1, element.outcome is Outcome.SUCCESS, quality or 0, quality is not None


def slot_of(sk: str, decision: bytes, depth: int) -> str:
    """Name the slot of a day that may hold a decision, at a depth of its path from 0 to `DEEPEST`.

    The path is a function of the decision's key alone: the hour it was written in, ten minutes,
    minute, ten seconds, second, and then the digits of the key's digest, so a slot always splits.
    """
    if depth < len(_CUTS):
        return sk[: _CUTS[depth]]
    return f"{sk[: _CUTS[-1]]}#{decision.hex()[: depth - len(_CUTS) + 1]}"


class Bucket(NamedTuple):
    """One slot of one day of one ledger, and how deep it lies on the paths through it."""

    subject: str
    day: str
    slot: str
    depth: int

    @classmethod
    def of(cls, subject: str, day: str, sk: str, element: bytes, depth: int = 0) -> "Bucket":
        """Give the bucket of an element at a depth."""
        return cls(subject, day, slot_of(sk, element[:KEY_BYTES], depth), depth)

    @property
    def place(self) -> Location:
        """Say where its elements are."""
        return Location(tables.PIPELINE, keys.ledger_slot(self.subject, self.day, self.slot))

    @property
    def head(self) -> Location:
        """Say where its counts are."""
        return Location(tables.PIPELINE, keys.ledger_head(self.subject, self.day, self.slot))


class Slots:
    """A ledger's slots, as one process knows them; safe to share between threads."""

    def __init__(self, ledger: Ledger) -> None:
        """Add to `ledger`."""
        self.ledger = ledger
        self._members: OrderedDict[Location, frozenset[bytes]] = OrderedDict()
        self._lock = Lock()

    def add(self, bucket: Bucket, elements: Elements) -> tuple[Slot | None, list[bytes]]:
        """Add elements to a slot, but those of decisions that belong further down.

        Returns:
            The slot after the last addition, None if there was none; and the elements left.
        """
        place, left = bucket.place, sorted(elements)
        latest: Slot | None = None
        if bucket.depth == DEEPEST:
            # A path's last slot cannot split: all that comes so far down belongs there.
            members: frozenset[bytes] | None = members_of(left)
        else:
            with self._lock:
                members = self._members.get(place)
                if members is not None:
                    self._members.move_to_end(place)
        while left and members is None:
            part = left[:MOST_AT_ONCE]
            done, slot = self.ledger.add(place, part, below=CLOSE_AT, is_open=True)
            if done:
                latest, left = slot, left[MOST_AT_ONCE:]
            if not done or len(slot.elements) >= CLOSE_AT:
                # Until it is closed others may come in, so who is in it is told by closing it.
                closed = slot if slot.is_closed else self.ledger.close(place)
                members = members_of(closed.elements)
                with self._lock:
                    self._members[place] = members
                    while len(self._members) > REMEMBERED:
                        self._members.popitem(last=False)
        if members is None:
            return latest, []
        mine = [element for element in left if element[:KEY_BYTES] in members]
        for start in range(0, len(mine), MOST_AT_ONCE):
            latest = self._add_states(place, mine[start : start + MOST_AT_ONCE])
        return latest, [element for element in left if element[:KEY_BYTES] not in members]

    def _add_states(self, place: Location, elements: list[bytes]) -> Slot:
        """Add states of decisions that a slot holds, and keep it small."""
        for _ in range(_ATTEMPTS):
            done, slot = self.ledger.add(place, elements, below=FULL_AT, is_open=False)
            superseded = superseded_in(slot.elements)
            if len(superseded) > MOST_SUPERSEDED:
                # What supersedes them stays, so neither counts nor membership change.
                self.ledger.discard(place, superseded)
            if done:
                return slot
        raise TryAgain(f"{place} filled up again {_ATTEMPTS} times")


def members_of(elements: Iterable[bytes]) -> frozenset[bytes]:
    """Give the decisions that have elements in a set."""
    return frozenset(element[:KEY_BYTES] for element in elements)
