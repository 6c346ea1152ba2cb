"""The sets that hold a day's elements: each takes so many decisions, and splits.

A decision's states lie in one slot, whatever races: the first on its path that was open when its
first state came. A slot that is closed never takes another decision, so who holds it is settled
for good, and a process needs to learn it once.
"""

from collections import OrderedDict
from collections.abc import Iterable, Mapping, Sequence
from threading import Lock
from typing import NamedTuple

from sharpwave.schemas import keys, tables
from sharpwave.workers.patterns.counts import standing_of
from sharpwave.workers.patterns.elements import DEEPEST, KEY_BYTES, slot_of
from sharpwave.workers.ports import Ledger, Location, Slot, TryAgain

#: A slot with so many elements takes no further decision. A write is billed by the size of the
#: item, so a small slot makes counting cheap; below it, a busy hour splits without need.
CLOSE_AT = 320
#: Most elements of one addition; it bounds what a slot that was open by a hair takes on.
MOST_AT_ONCE = 150
#: A slot takes no addition beyond so many elements, which are 52 KB: first the superseded go.
FULL_AT = 2_600
#: Superseded elements are dropped when they are more than this, which takes many revisions.
MOST_SUPERSEDED = 700
#: Closed slots of which a process remembers who is in them, some 40 KB each.
REMEMBERED = 512
_ATTEMPTS = 4

Elements = Mapping[bytes, str]
"""Elements, each with the sort key of its decision."""


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
        # A path's last slot cannot split: all that comes so far down belongs there.
        members = members_of(left) if bucket.depth == DEEPEST else self._recall(place)
        while left and members is None:
            part = left[:MOST_AT_ONCE]
            done, slot = self.ledger.add(place, part, below=CLOSE_AT, is_open=True)
            if done:
                latest, left = slot, left[MOST_AT_ONCE:]
            if not done or len(slot.elements) >= CLOSE_AT:
                # Until it is closed others may come in, so who is in it is told by closing it.
                members = self._remember(
                    place, slot if slot.is_closed else self.ledger.close(place)
                )
        if members is None:
            return latest, []
        mine = [element for element in left if element[:KEY_BYTES] in members]
        for start in range(0, len(mine), MOST_AT_ONCE):
            latest = self._add_states(place, mine[start : start + MOST_AT_ONCE])
        return latest, [element for element in left if element[:KEY_BYTES] not in members]

    def _add_states(self, place: Location, elements: Sequence[bytes]) -> Slot:
        """Add states of decisions that a slot holds, and keep it small."""
        for _ in range(_ATTEMPTS):
            done, slot = self.ledger.add(place, elements, below=FULL_AT, is_open=False)
            superseded = slot.elements - set(standing_of(slot.elements).values())
            if len(superseded) > MOST_SUPERSEDED:
                # What outranks them stays, so neither counts nor membership change.
                self.ledger.discard(place, superseded)
            if done:
                return slot
        raise TryAgain(f"{place} filled up again {_ATTEMPTS} times")

    def _recall(self, place: Location) -> frozenset[bytes] | None:
        with self._lock:
            if place in self._members:
                self._members.move_to_end(place)
            return self._members.get(place)

    def _remember(self, place: Location, closed: Slot) -> frozenset[bytes]:
        members = members_of(closed.elements)
        with self._lock:
            self._members[place] = members
            while len(self._members) > REMEMBERED:
                self._members.popitem(last=False)
        return members


def members_of(elements: Iterable[bytes]) -> frozenset[bytes]:
    """Give the decisions that have elements in a set."""
    return frozenset(element[:KEY_BYTES] for element in elements)
