"""How strongly a memory is held: it fades with time, and with importance and use it lasts."""

import math

from sharpwave.schemas.keys import LASTING_TYPES
from sharpwave.schemas.records import MemoryEntry
from sharpwave.schemas.times import DAY_S

#: Seconds after which a memory that nobody used is held half as strongly.
SHORT_HALF_LIFE_S, LASTING_HALF_LIFE_S = DAY_S / 4, 30 * DAY_S
#: Of an entry that does not say.
IMPORTANCE = 0.5


def strength(entry: MemoryEntry, now: float) -> float:
    """Say how strongly an entry is held, as `memories(ranked=True)` ranks by.

    recency * importance * access, where recency is 2 ** (-age / half-life), the age counts from its
    last use or else its writing, and access is 1 + log2(1 + access_count). So a use undoes the
    fading, and each doubling of uses is worth as much as the one before.

    Args:
        entry: the entry.
        now: epoch seconds.
    """
    half_life = LASTING_HALF_LIFE_S if entry.memory_type in LASTING_TYPES else SHORT_HALF_LIFE_S
    age = max(0.0, now - max(entry.timestamp, entry.last_accessed or 0))
    importance = IMPORTANCE if entry.importance is None else float(entry.importance)
    return 2 ** (-age / half_life) * importance * (1 + math.log2(1 + entry.access_count))
