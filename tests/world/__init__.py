"""The world in memory: tables, queues, inboxes, archive and time, with faults on demand.

For tests of the pipeline, and of anything that is built on its ports. `World` puts everything
together; `tests.simulation` lets it run with crashes, duplicates and reordering.
"""

from tests.world.faults import Crash, Faults
from tests.world.queues import MemoryInboxes, MemoryWorkQueues
from tests.world.stores import MemoryArchive, VirtualClock
from tests.world.tables import MemoryTables
from tests.world.world import Process, World

__all__ = [
    "Crash",
    "Faults",
    "MemoryArchive",
    "MemoryInboxes",
    "MemoryTables",
    "MemoryWorkQueues",
    "Process",
    "VirtualClock",
    "World",
]
