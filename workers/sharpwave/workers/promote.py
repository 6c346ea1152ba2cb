"""Short-term memory becomes long-term memory: a deterministic key, a conditional put, then a mark.

Both steps are safe to repeat and to race: the first put holds, and the mark says the same.
"""

from collections.abc import Iterable, Sequence

from sharpwave.schemas import keys, tables
from sharpwave.schemas.ownership import IGNORED
from sharpwave.schemas.times import Clock, bound
from sharpwave.workers.admission import is_admissible
from sharpwave.workers.low_water import CLOCKS_APART_S, LowWater
from sharpwave.workers.ports import Change, Insert, Item, Location, Reads, Write, Writes

_PAGE = 100
# What an agent wrote for indexes of its own must not enter the indexes of long-term memory.
_DROPPED = frozenset({"PK", "SK", "ttl", "expires_at", "promoted_at"}) | IGNORED


def promote(entries: Sequence[Item], *, writes: Writes, clock: Clock) -> int:
    """Promote memory entries to facts.

    Returns:
        The number of facts that are new; the others were promoted before.
    """
    moment = int(clock())
    facts: list[Write] = [Insert(tables.MEMORY, _fact(entry, moment)) for entry in entries]
    new = writes.apply(facts) if facts else []
    marks: list[Write] = [_mark(entry, moment) for entry in entries]
    if marks:
        writes.apply(marks)
    return sum(new)


def sweep_memories(
    agent_id: str, *, promote_after_s: float, reads: Reads, writes: Writes, clock: Clock
) -> int:
    """Promote an agent's memory entries that have come of age; gives the number of new facts."""
    low = LowWater("memory", agent_id, reads=reads, writes=writes)
    come_of_age = clock() - promote_after_s
    promoted = 0
    for memory_type in keys.MEMORY_TYPES:
        pk = keys.memory_pk(agent_id, memory_type)
        due = reads.query(tables.STATE, pk, after=low.mark, until=bound(come_of_age))
        for page in pages(entry for entry in due if _is_wanted(entry)):
            promoted += promote(page, writes=writes, clock=clock)
    low.raise_to(bound(come_of_age - CLOCKS_APART_S), at_once=promoted > 0)
    return promoted


def pages(items: Iterable[Item], size: int = _PAGE) -> Iterable[list[Item]]:
    """Split items into lists of at most `size`."""
    page: list[Item] = []
    for item in items:
        page.append(item)
        if len(page) == size:
            yield page
            page = []
    if page:
        yield page


def _is_wanted(entry: Item) -> bool:
    return "promoted_at" not in entry and is_admissible("memory", entry)


def _fact(entry: Item, moment: int) -> Item:
    key = keys.fact(entry["agent_id"], entry["memory_type"], entry["SK"])
    content = {name: value for name, value in entry.items() if name not in _DROPPED}
    return {**key.item(), **content, "learned_at": moment}


def _mark(entry: Item, moment: int) -> Change:
    place = Location(tables.STATE, keys.Key(entry["PK"], entry["SK"]))
    return Change(place, {"promoted_at": moment}, missing=("promoted_at",))
