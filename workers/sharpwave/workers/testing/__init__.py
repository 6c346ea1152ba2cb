"""The world in memory: tables, queues, inboxes, archive and time, with faults on demand.

For tests of the pipeline, and of anything that is built on its ports. `World` puts everything
together; `simulation.run` lets it run with crashes, duplicates and reordering.
"""

from sharpwave.workers.testing.faults import Crash, Faults
from sharpwave.workers.testing.queues import MemoryInboxes, MemoryWorkQueues
from sharpwave.workers.testing.stores import MemoryArchive, VirtualClock
from sharpwave.workers.testing.tables import MemoryTables
from sharpwave.workers.testing.world import Process, World

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
