"""Seats: how a base ledger counts candidates along with all decisions, in the same writes.

A pattern that somebody imported has a ledger of its own. What workers make of an agent's patterns
is seated instead: the base ledgers of its agent and type, which hold every decision anyway, say of
each one to which seats it belongs, and keep the counts of each seat beside their own. So a
candidate costs a few bytes of what is written anyway, and no write. Who sits where is settled for
each epoch before its first decision is counted (`schemas.patterns.seated`).

A seated element is that of the decision with both numbers that it stated, then two sets of seats:

    byte  17     bit 6 beside the class; bit 4 if bytes 20-23 are there, bit 5 if the last set is
    then         the seats it belongs to, seat k as bit k of a big-endian number in as few bytes
    then         in as many bytes those of them whose pattern the agent applied, if there are any

Taken apart it gives the element that a base ledger without seats would hold, and those that
ledgers of the patterns' own would: a seat counts what such a ledger counts, of the same sets.
"""

from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import replace
from itertools import zip_longest
from typing import Any

from sharpwave.schemas import keys
from sharpwave.schemas.patterns import PatternVersion, seated, versions_of
from sharpwave.workers.patterns.counts import (
    Counts,
    Days,
    Row,
    base_subjects,
    counts_in,
    seats_in,
    total,
)
from sharpwave.workers.patterns.ledger import (
    ELEMENT_BYTES,
    KIND,
    SEATED,
    STATING_BYTES,
    MalformedElement,
    fold,
)

#: Most seats that are given out for one agent and type at a time. The counts of so many fit, with
#: those of all, a write unit; a version that finds none is counted in a ledger of its own.
MOST_SEATS = 16

_APPLIED, _STATING, _SOME_APPLIED = 0x80, 0x10, 0x20
_UNSTATED = b"\xff\xff"


def seat(element: bytes, seats: int, applied: int) -> bytes:
    """Give the element of a decision that belongs to `seats`, of which the agent `applied` some.

    Args:
        element: what `Element.encode` gives, with both numbers that were stated.
        seats: seats as bits of a number; at least one.
        applied: some of them, or none.
    """
    width = (seats.bit_length() + 7) // 8
    kind = element[KIND] | SEATED | (_STATING if len(element) == STATING_BYTES else 0)
    more = seats.to_bytes(width, "big")
    if applied:
        kind |= _SOME_APPLIED
        more += applied.to_bytes(width, "big")
    return element[:KIND] + bytes((kind,)) + element[KIND + 1 :] + more


def apart(elements: Iterable[bytes]) -> tuple[list[bytes], list[list[bytes]]]:
    """Take the elements of a base ledger apart, into its own and those of each of its seats.

    Raises:
        MalformedElement: an element names seats as `seat` does not.
    """
    own: list[bytes] = []
    seats: list[list[bytes]] = []
    for element in elements:
        if len(element) <= ELEMENT_BYTES or not element[KIND] & SEATED:
            own.append(element)
            continue
        kind = element[KIND]
        end = STATING_BYTES if kind & _STATING else ELEMENT_BYTES
        width, odd = divmod(len(element) - end, 2 if kind & _SOME_APPLIED else 1)
        named = int.from_bytes(element[end : end + width], "big")
        applied = int.from_bytes(element[end + width :], "big") if kind & _SOME_APPLIED else 0
        if odd or not named or applied & ~named:
            raise MalformedElement(element, "names seats as nobody writes them")
        kind &= ~(SEATED | _STATING | _SOME_APPLIED)
        head, tail = element[:KIND], element[KIND + 1 : ELEMENT_BYTES]
        # A base ledger adds up confidences, that of a pattern lots: neither holds the other.
        confidence = lot = b""
        if end == STATING_BYTES:
            if (said := element[ELEMENT_BYTES : ELEMENT_BYTES + 2]) != _UNSTATED:
                confidence = said + _UNSTATED
            if (said := element[ELEMENT_BYTES + 2 : STATING_BYTES]) != _UNSTATED:
                lot = _UNSTATED + said
        own.append(head + bytes((kind,)) + tail + confidence)
        plain, marked = (head + bytes((each,)) + tail + lot for each in (kind, kind | _APPLIED))
        for number in range(named.bit_length()):
            if number == len(seats):
                seats.append([])
            if named >> number & 1:
                seats[number].append(marked if applied >> number & 1 else plain)
    return own, seats


def row_of(elements: Collection[bytes], *, revision: int) -> Row:
    """Fold a set of elements into the row of its counts, those of its seats along with them.

    Raises:
        MalformedElement: an element this version cannot read.
    """
    own, seats = apart(elements)
    return fold(own, revision=revision).to_row([fold(each) for each in seats])


def summed(rows: Iterable[Sequence[Any]]) -> Row:
    """Add up rows of disjoint buckets of one ledger, seat by seat too."""
    held = list(rows)
    by_seat = zip_longest(*map(seats_in, held), fillvalue=Counts())
    seats = [total(each) for each in by_seat]
    counts = total(map(Counts.from_row, held)).summed()
    return replace(counts, revision=sum_revision(counts.revision, seats)).to_row(seats)


def sum_revision(revision: int, seats: Sequence[Counts]) -> int:
    """Give the revision of a sum, of the sum of its rows' revisions.

    A release that knows no seats sums up without them, and of one revision the first sum would
    stand. So a sum with seats has a greater one; the mark stays until it is stored.
    """
    return 2 * revision + 1 if seats else revision


def places_of(version: PatternVersion, versions: Sequence[PatternVersion]) -> dict[str, int | None]:
    """Say which ledgers count a version: its own, or those in which it has a seat, with its number.

    Args:
        version: the version.
        versions: all of them, for they divide the epochs and the seats.
    """
    if not version.is_seated:
        return {version.subject: None}
    agent_id, decision_type = version.definition.agent_id, version.definition.decision_type
    assert agent_id is not None, "a seat is in ledgers of one agent"
    found: dict[str, int | None] = {}
    those = versions_of(versions, agent_id, decision_type)
    for subject in base_subjects(version, those, {}):
        base = keys.split_base_subject(subject)
        assert base is not None, "it names base ledgers"
        names = [each.subject for each in seated(those, *base)]
        found[subject] = names.index(version.subject)
    return found


def days_in(
    places: Mapping[str, int | None], rows_of: Callable[[str], Mapping[str, Sequence[Any]]]
) -> Days:
    """Give a version's counts by day, in order, without days on which it counts nothing.

    Args:
        places: what `places_of` gives for it.
        rows_of: gives a ledger's rows by day.
    """
    days: Days = {}
    for subject, seat in places.items():
        for day, row in rows_of(subject).items():
            counts = counts_in(row, seat)
            if counts.n or counts.pending:
                days[day] = days.get(day, Counts()) + counts
    return dict(sorted(days.items()))
