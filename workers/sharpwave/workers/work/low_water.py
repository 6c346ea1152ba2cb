"""How far a sweep has nothing left to do: a position that only it raises."""

from sharpwave.schemas import keys, tables
from sharpwave.workers.work.ports import Insert, Location, Reads, Update, Writes

#: A sweep looks again at what came of age this recently, for the clocks that judge age differ.
CLOCKS_APART_S = 5
#: In how many lots the decisions of one `promote_after_s` come of age.
LOTS = 24
#: A sweep of an index stays this far behind, for an index trails its table. What is stored within
#: that time before a sweep and yet older than all it looks at, the router finds due at once.
INDEX_TRAILS_S = 60
#: Seconds in which a sweep's turn comes, with a queue in its way.
_TURN_S = 600
#: Characters of a mark such as 2025-10-18T14:3 that name ten minutes.
_STEP = 15


def swept_within(promote_after_s: float) -> float:
    """Give the age, in seconds, by which a sweep has surely met a record that is still there."""
    return promote_after_s * (1 + 2 / LOTS) + INDEX_TRAILS_S + _TURN_S


class LowWater:
    """The low-water mark of one duty for one agent."""

    def __init__(self, duty: str, agent_id: str, *, reads: Reads, writes: Writes) -> None:
        """Read the mark; it is empty for an agent never swept."""
        self._place = Location(tables.PIPELINE, keys.low_water(duty, agent_id))
        self._writes = writes
        item = reads.get([self._place]).get(self._place, {})
        self.mark: str = item.get("mark", "")
        self._rev: int = item.get("rev", 0)

    def raise_to(self, mark: str, *, at_once: bool = False) -> bool:
        """Raise the mark, unless somebody moved it since it was read; say whether it moved.

        Without `at_once` it moves in steps of ten minutes, so that an idle sweep costs no write.
        """
        is_far = at_once or mark[:_STEP] > self.mark[:_STEP]
        if mark <= self.mark or not is_far:
            return False
        # By revision: a sweep that was frozen must not put the mark past what it never looked at,
        # nor back before what another one has done.
        values = {"mark": mark, "rev": self._rev + 1}
        if self._rev:
            write: Update | Insert = Update(self._place, values, equals={"rev": self._rev})
        else:
            write = Insert(self._place.table, {**self._place.key.item(), **values})
        done = self._writes.apply([write])[0]
        if done:
            self.mark, self._rev = mark, self._rev + 1
        return done
