"""Units of evidence of a ledger: what was decided in one cycle counts once, over all its slots.

They are a function of the sets of elements, so nothing of them is stored. A process remembers what
it has read of a ledger's sets and reads again what changed: publishing costs what came in since.
"""

import struct
from collections import OrderedDict
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from threading import Lock
from typing import NamedTuple

from sharpwave.schemas import keys, tables
from sharpwave.workers.patterns.counts import Arms, Counts, summed_days_of
from sharpwave.workers.patterns.ledger import Element, Outcome, standing_of
from sharpwave.workers.patterns.seats import apart
from sharpwave.workers.work.ports import Location, Reads

#: What a process remembers of ledgers, in bytes: some 3 million units in slots of 200. A ledger
#: alone that is greater is read whole each time.
MOST_REMEMBERED = 64 * 1024 * 1024
#: Of a slot and of a day beside their units, in bytes: keys, counts and what holds them.
_SLOT_BYTES, _DAY_BYTES = 700, 600

#: One unit in one slot: its digest; digests of key and content of what stands for it; the class in
#: bits 0-1, and whether it was applied in bit 7.
_MEMBER = struct.Struct(">4s11sB")
_APPLIED = 0x80


def arms_by_day(sets: Iterable[tuple[str, Iterable[bytes]]]) -> dict[str, Arms]:
    """Count the units of evidence of a ledger by the day of the decision that stands for each.

    Of a unit the decision with the smallest key digest stands for it, pending ones included; of a
    key that was written with other content on another day, the content with the smaller digest.
    A unit that a pending decision stands for is not resolved yet, and counts nowhere. Depends on
    the elements of each day alone: not on order, repetition, how sets divide a day, or on elements
    that others supersede.

    Args:
        sets: days, each with elements of the ledger; a day may come several times.

    Returns:
        Days with resolved units, in order.

    Raises:
        MalformedElement: an element this version cannot read.
    """
    days: dict[str, set[bytes]] = {}
    for day, elements in sets:
        days.setdefault(day, set()).update(elements)
    return _merged((day, _condensed(elements)) for day, elements in days.items())


def stored_arms(places: Mapping[str, int | None], reads: Reads) -> dict[str, Arms]:
    """Count a version's units of evidence by day, from all sets that hold some as they are now.

    Args:
        places: what `seats.places_of` gives for it.
        reads: strong reads.

    Raises:
        MalformedElement: a set holds an element this version cannot read.
    """
    return _merged(
        (day, _at(seat, members))
        for subject, seat in places.items()
        for day, _, members in _sets(subject, reads)
    )


def _sets(subject: str, reads: Reads) -> Iterator[tuple[str, str, Sequence[bytes]]]:
    pk, after, until = keys.ledger_slots_span(subject)
    for item in reads.query(tables.PIPELINE, pk, after=after, until=until):
        yield *keys.split_ledger_slot(item["SK"]), _members(subject, item.get("e", ()))


def _members(subject: str, elements: Iterable[bytes]) -> Sequence[bytes]:
    """Give the units of one slot: of a pattern's ledger its own, of a base ledger's each seat's."""
    if keys.split_base_subject(subject) is None:
        return [_condensed(elements)]
    return [_condensed(each) for each in apart(elements)[1]]


def _at(seat: int | None, members: Sequence[bytes]) -> bytes:
    return members[seat or 0] if (seat or 0) < len(members) else b""


def _condensed(elements: Iterable[bytes]) -> bytes:
    """Give what stands for each unit of one slot, 16 bytes a unit."""
    best: dict[bytes, tuple[bytes, int]] = {}
    for element in standing_of(elements).values():
        held = Element.decode(element)
        mine = held.decision + held.content, held.outcome | (_APPLIED if held.applied else 0)
        if held.unit not in best or mine < best[held.unit]:
            best[held.unit] = mine
    return b"".join(_MEMBER.pack(unit, *best[unit]) for unit in sorted(best))


def _merged(slots: Iterable[tuple[str, bytes]]) -> dict[str, Arms]:
    best: dict[bytes, tuple[bytes, str, int]] = {}
    for day, members in slots:
        for unit, rank, kind in _MEMBER.iter_unpack(members):
            held = best.get(unit)
            if held is None or (rank, day) < held[:2]:
                best[unit] = rank, day, kind
    # Four numbers a day, in the order of an `Arms`.
    days: dict[str, list[int]] = {}
    for _, day, kind in best.values():
        if outcome := kind & ~_APPLIED:
            success, applied = outcome == Outcome.SUCCESS, bool(kind & _APPLIED)
            numbers = days.setdefault(day, [0, 0, 0, 0])
            for place, share in enumerate((1, success, applied, success and applied)):
                numbers[place] += share
    return {day: Arms(*days[day]) for day in sorted(days)}


class _Slot(NamedTuple):
    """A set as it was read, and the counts of its head just before; None if they were not read."""

    head: Counts | None
    members: Sequence[bytes]


class _Remembered(NamedTuple):
    """A ledger as a process knows it; never changed, only replaced. A base ledger has no arms."""

    days: Mapping[str, Counts]
    slots: Mapping[str, Mapping[str, _Slot]]
    arms: dict[str, Arms]

    @property
    def size(self) -> int:
        """The bytes it takes, by estimate."""
        slots = [slot for day in self.slots.values() for slot in day.values()]
        members = sum(len(each) for slot in slots for each in slot.members)
        return _DAY_BYTES * (len(self.days) + 1) + _SLOT_BYTES * len(slots) + members


class Units:
    """The units of ledgers, read from their sets and remembered; safe to share between threads.

    What it gives is never older than the sums by day that it goes by: a set is written before its
    head, a head before the sum, and each is read after the one that was written later.
    """

    def __init__(self, reads: Reads, *, most_remembered: int = MOST_REMEMBERED) -> None:
        """Read through `reads`, and remember so many bytes of what was read."""
        self._reads, self._most = reads, most_remembered
        self._held: OrderedDict[str, _Remembered] = OrderedDict()
        self._size = 0
        self._lock = Lock()

    @property
    def remembered(self) -> int:
        """The bytes that are remembered at present, by estimate."""
        return self._size

    def days_of(self, subject: str, summed: Mapping[str, Counts] | None = None) -> dict[str, Arms]:
        """Count a ledger's units of evidence by day.

        It reads the heads of days whose sum changed since this process read them, and of those
        the sets whose head changed; a ledger it knows nothing of is read whole, in one query.

        Args:
            subject: the ledger.
            summed: `summed_days_of(subject)`, of a caller that has just read it.

        Raises:
            MalformedElement: a set holds an element this version cannot read.
        """
        days = summed_days_of(subject, self._reads) if summed is None else summed
        return dict(self._ledger(subject, days).arms)

    def arms_in(
        self, places: Mapping[str, int | None], days_of: Callable[[str], Mapping[str, Counts]]
    ) -> dict[str, Arms]:
        """Count a version's units of evidence by day, over all ledgers that count it.

        Args:
            places: what `seats.places_of` gives for it.
            days_of: `summed_days_of` of a ledger, just read.

        Raises:
            MalformedElement: a set holds an element this version cannot read.
        """
        held = {subject: self._ledger(subject, days_of(subject)) for subject in places}
        if len(held) == 1 and None in places.values():
            return dict(next(iter(held.values())).arms)
        return _merged(
            (day, _at(places[subject], slot.members))
            for subject, ledger in held.items()
            for day, slots in ledger.slots.items()
            for slot in slots.values()
        )

    def _ledger(self, subject: str, days: Mapping[str, Counts]) -> _Remembered:
        """Give a ledger as it is now, having read what changed of it."""
        with self._lock:
            known = self._held.get(subject)
            if known is not None:
                self._held.move_to_end(subject)
        if known is not None and known.days == days:
            return known
        slots = self._all(subject) if known is None else self._changed(subject, days, known)
        slots = {day: slots[day] for day in days if day in slots}
        arms: dict[str, Arms] = {}
        if keys.split_base_subject(subject) is None:
            arms = _merged(
                (day, _at(None, each.members)) for day in slots for each in slots[day].values()
            )
        ledger = _Remembered(dict(days), slots, arms)
        with self._lock:
            # Another thread may have remembered it meanwhile; the latest to come stays.
            before = self._held.pop(subject, None)
            self._size += ledger.size - (before.size if before else 0)
            self._held[subject] = ledger
            while self._size > self._most:
                _, dropped = self._held.popitem(last=False)
                self._size -= dropped.size
        return ledger

    def _all(self, subject: str) -> dict[str, dict[str, _Slot]]:
        slots: dict[str, dict[str, _Slot]] = {}
        for day, slot, members in _sets(subject, self._reads):
            slots.setdefault(day, {})[slot] = _Slot(None, members)
        return slots

    def _changed(
        self, subject: str, days: Mapping[str, Counts], known: _Remembered
    ) -> dict[str, Mapping[str, _Slot]]:
        slots = dict(known.slots)
        for day in days:
            if known.days.get(day) == days[day]:
                continue
            before, held = known.slots.get(day, {}), dict[str, _Slot]()
            pk, after, until = keys.ledger_heads_span(subject, day)
            changed: dict[Location, tuple[str, Counts]] = {}
            for item in self._reads.query(tables.PIPELINE, pk, after=after, until=until):
                _, slot = keys.split_ledger_slot(item["SK"])
                head = Counts.from_row(item["c"])
                if slot in before and before[slot].head == head:
                    held[slot] = before[slot]
                else:
                    key = keys.ledger_slot(subject, day, slot)
                    changed[Location(tables.PIPELINE, key)] = slot, head
            for place, item in self._reads.get(list(changed)).items():
                slot, head = changed[place]
                held[slot] = _Slot(head, _members(subject, item.get("e", ())))
            slots[day] = held
        return slots
