"""Short-term memory becomes long-term memory: each entry a fact, which then follows its entry.

The fact comes first, under a key that follows from the entry's, then the mark. Until the mark
stands, a change of the entry shows nowhere but in the entry; from then on the change itself says
that there is a fact. So whoever set the mark looks at the entry once more, and every later change
comes here again: whatever the order, the fact ends as its entry ended. What is forgotten becomes no
fact any more, and the fact that there is loses what it said. Copies for readers follow the fact.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import NamedTuple

from sharpwave.schemas import keys, tables
from sharpwave.schemas.faults import Fault
from sharpwave.schemas.numbers import item_to_wire, wire_size
from sharpwave.schemas.ownership import IGNORED
from sharpwave.schemas.times import DAY_S, Clock, bound
from sharpwave.workers.memory.granting import COPIED_TO, REV, SHARED, serve
from sharpwave.workers.router.admission import is_admissible
from sharpwave.workers.signals.refusals import RefusedBefore, words_of
from sharpwave.workers.work.envelope import ascii_json
from sharpwave.workers.work.low_water import CLOCKS_APART_S, LowWater
from sharpwave.workers.work.ports import (
    CallRefused,
    Insert,
    Item,
    Location,
    Parking,
    Reads,
    Refusal,
    Transactions,
    TryAgain,
    Update,
    Write,
    Writes,
)

_PAGE, _PAGE_BYTES = 100, 2_000_000
_ATTEMPTS = 8
#: Seconds after which a sweep leaves the rest to the next one.
SWEEP_S = 20
#: An entry needs its mark, and its fact some attributes of its own, within DynamoDB's 400 KB.
MAX_ENTRY_BYTES = 400 * 1024 - 1024
#: Digits of the longest number of a stream record.
_DIGITS = 40

# What a fact says of itself, beside what its entry says.
_NUMBER = "entry_number"
_OF_FACT = frozenset({"learned_at", _NUMBER, REV, COPIED_TO})
#: What a forgotten fact leaves stays until no message can still tell of its entry, in seconds.
_EMPTIED_S = 30 * DAY_S
# What an agent wrote for indexes of its own must not enter the indexes of long-term memory.
_DROPPED = frozenset({"PK", "SK", "ttl", "expires_at", "promoted_at"}) | IGNORED | _OF_FACT


class Shown(NamedTuple):
    """A memory entry as somebody saw it, and the number of the stream record that showed it."""

    item: Item
    number: str = ""

    @property
    def place(self) -> Location:
        """Say where the entry is."""
        return Location(tables.STATE, keys.Key(self.item["PK"], self.item["SK"]))

    @property
    def fact(self) -> Location:
        """Say where its fact is."""
        item = self.item
        return Location(tables.MEMORY, keys.fact(item["agent_id"], item["memory_type"], item["SK"]))

    @property
    def order(self) -> str:
        """Give the number so that it sorts; what was read from its table comes before any."""
        return self.number.zfill(_DIGITS) if self.number else ""


#: An entry, and whether the condition of a write for it held, or why the write was refused.
_Verdict = tuple[Shown, bool | CallRefused]


def promote(
    entries: Sequence[Shown],
    *,
    reads: Reads,
    writes: Writes,
    transactions: Transactions,
    parking: Parking,
    clock: Clock,
) -> int:
    """Promote memory entries to facts, and let the facts of promoted ones follow them.

    Safe to repeat, to race and to reorder. An entry that is too large is parked; its neighbours
    are promoted all the same.

    Args:
        entries: at most one state of each entry.
        reads: strong reads.
        writes: conditional writes.
        transactions: by which readers get their copies.
        parking: where entries go that cannot be promoted.
        clock: the time.

    Returns:
        The number of facts that are new; the others were promoted before.
    """
    moment = int(clock())
    return sum(
        _promote(page, reads, writes, transactions, parking, moment) for page in _pages(entries)
    )


def _promote(
    entries: Sequence[Shown],
    reads: Reads,
    writes: Writes,
    transactions: Transactions,
    parking: Parking,
    moment: int,
) -> int:
    refused = []
    for shown in entries:
        # Parted beforehand: one that is too large would have its whole call refused.
        if (size := wire_size(item_to_wire(shown.item))) > MAX_ENTRY_BYTES:
            why = (
                f"the entry has {size} bytes and can be promoted with at most {MAX_ENTRY_BYTES}: "
                "move what is large out of `data`, and it is promoted"
            )
            refused.append((shown, why))
    parted = {shown.place for shown, _ in refused}
    fitting = [shown for shown in entries if shown.place not in parted]
    # A marked entry has its fact, or somebody removed the fact on purpose.
    first = [s for s in fitting if not {"promoted_at", "forgotten_at"} & s.item.keys()]
    facts = [
        Insert(
            tables.MEMORY,
            {**shown.fact.key.item(), **_content(shown.item), "learned_at": moment}
            | ({_NUMBER: shown.order} if shown.number else {}),
        )
        for shown in first
    ]
    learned = _each(writes, list(zip(first, facts, strict=True)))
    # The mark only where a fact is: a change of what is marked looks for the fact alone.
    marks = [
        (shown, Update(shown.place, {"promoted_at": moment}, missing=("promoted_at",)))
        for shown, verdict in learned
        if not isinstance(verdict, CallRefused)
    ]
    marked = _each(writes, marks)
    refused += _refused_in([*learned, *marked])
    fresh = {shown.place: _content(shown.item) for shown, verdict in learned if verdict is True}
    refused += _follow(fitting, fresh, reads, writes)
    # A new fact of what was not shared has nobody to serve; if it is shared by now, that comes too.
    served = [s.fact for s in fitting if s.place not in fresh or SHARED & s.item.keys()]
    serve(served, reads=reads, writes=writes, transactions=transactions)
    if refused:
        refusals = []
        for shown, why in refused:
            image, fault = item_to_wire(shown.item), Fault("unpromotable", "", why)
            words = words_of("memory", image, [fault])
            event_id, text = f"promote-{words['digest']}", ascii_json(image)
            key = shown.place.key
            refusals.append(Refusal(tables.STATE, key, event_id, [fault], text, words))
        parking.park(refusals)
    return len(fresh)


def sweep_memories(
    agent_id: str,
    *,
    promote_after_s: float,
    reads: Reads,
    writes: Writes,
    transactions: Transactions,
    parking: Parking,
    clock: Clock,
) -> int:
    """Promote an agent's memory entries that have come of age; gives the number of new facts."""
    low = LowWater("memory", agent_id, reads=reads, writes=writes)
    began = clock()
    come_of_age = began - promote_after_s
    found = promoted = 0
    for memory_type in keys.MEMORY_TYPES:
        pk = keys.memory_pk(agent_id, memory_type)
        refused = RefusedBefore(reads)
        due = reads.query(tables.STATE, pk, after=low.mark, until=bound(come_of_age))
        wanted = (
            Shown(entry)
            for entry in due
            if "promoted_at" not in entry
            and is_admissible("memory", entry)
            and not refused.holds(tables.STATE, item_to_wire(entry))
        )
        for page in _pages(wanted):
            found += len(page)
            promoted += _promote(page, reads, writes, transactions, parking, int(clock()))
            if clock() - began > SWEEP_S:
                return promoted  # the mark stays, and what is promoted is passed over next time
    low.raise_to(bound(come_of_age - CLOCKS_APART_S), at_once=found > 0)
    return promoted


def _pages(entries: Iterable[Shown]) -> Iterator[list[Shown]]:
    """Split entries into lists that one call can carry, in number and in bytes."""
    page: list[Shown] = []
    size = 0
    for entry in entries:
        weight = wire_size(item_to_wire(entry.item))
        if page and (len(page) == _PAGE or size + weight > _PAGE_BYTES):
            yield page
            page, size = [], 0
        page.append(entry)
        size += weight
    if page:
        yield page


def _each(writes: Writes, wanted: Sequence[tuple[Shown, Write]]) -> list[_Verdict]:
    """Apply writes; if a call is refused for one of them, each alone, so that it harms no other."""
    try:
        verdicts = writes.apply([write for _, write in wanted])
    except CallRefused as error:
        if len(wanted) == 1:
            return [(wanted[0][0], error)]
        return [verdict for one in wanted for verdict in _each(writes, [one])]
    return [(shown, held) for (shown, _), held in zip(wanted, verdicts, strict=True)]


def _refused_in(verdicts: Iterable[_Verdict]) -> list[tuple[Shown, str]]:
    return [(shown, str(each)) for shown, each in verdicts if isinstance(each, CallRefused)]


def _follow(
    entries: Sequence[Shown],
    fresh: Mapping[Location, Item],
    reads: Reads,
    writes: Writes,
) -> list[tuple[Shown, str]]:
    """Make each fact say what its entry says now, or said last; gives what could not be written.

    `fresh` holds the contents of facts that were written a moment ago.
    """
    # After the mark, which `_promote` set: a change from now on comes here by itself.
    stored = reads.get([shown.place for shown in entries])
    todo = [
        shown
        for shown in entries
        if shown.place not in fresh
        or (shown.place in stored and _content(stored[shown.place]) != fresh[shown.place])
    ]
    refused: list[tuple[Shown, str]] = []
    for _ in range(_ATTEMPTS):
        # The fact is read before its entry: if nobody wrote the fact since, nobody knew better.
        facts = reads.get([shown.fact for shown in todo])
        stored = reads.get([shown.place for shown in todo])
        changes: list[tuple[Shown, Write]] = []
        for shown in todo:
            fact, entry = facts.get(shown.fact), stored.get(shown.place)
            change = None if fact is None else _amended(shown, fact, entry)
            if change is not None:
                changes.append((shown, change))
        verdicts = _each(writes, changes)
        refused += _refused_in(verdicts)
        todo = [shown for shown, verdict in verdicts if verdict is False]
        if not todo:
            return refused
    raise TryAgain(f"the fact {todo[0].fact.key} kept changing")


def _amended(shown: Shown, fact: Item, entry: Item | None) -> Update | None:
    """Give the change that makes a fact say what its entry says, if it needs one."""
    known = fact.get(_NUMBER, "")
    if entry is None and shown.order <= known:
        # The entry is gone, and the fact knows a later state of it than this one.
        return None
    content, held = _content(entry or shown.item), _content(fact)
    order = max(shown.order, known)
    if content == held and order == known:
        return None
    revision = fact.get(REV)
    values = {**content, _NUMBER: order, REV: (revision or 0) + 1}
    if "forgotten_at" in content:
        values["ttl"] = int(content["forgotten_at"]) + _EMPTIED_S
    return Update(
        shown.fact,
        values,
        equals={} if revision is None else {REV: revision},
        missing=(REV,) if revision is None else (),
        remove=tuple(sorted(held.keys() - content.keys())),
    )


def _content(item: Item) -> Item:
    """Give what an entry, or its fact, remembers."""
    return {name: value for name, value in item.items() if name not in _DROPPED}
