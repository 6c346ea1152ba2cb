"""What is broken, in words: checked at rest against what was promised, not how it is kept.

Nothing here is shared with the handlers. Of the product it takes the form of keys and messages,
and reads what agents and operators can see: messages, rows, mirrors, figures, facts, episodes,
notices, parked records and the archive.
"""

from collections.abc import Iterator

from tests.simulation.checking.archive import archive
from tests.simulation.checking.counting import figures
from tests.simulation.checking.deliveries import deliveries
from tests.simulation.checking.following import following
from tests.simulation.checking.living import lives
from tests.simulation.checking.memory import memory
from tests.simulation.checking.refusals import refusals
from tests.simulation.checking.searching import searching
from tests.simulation.checking.sourcing import sources
from tests.simulation.checking.stating import confidences
from tests.simulation.checking.statuses import statuses
from tests.simulation.checking.upkeep import upkeep
from tests.simulation.checking.verdicts import verdicts
from tests.simulation.scene import Scene
from tests.simulation.scheduler import Scheduler


def violations(scene: Scene, scheduler: Scheduler) -> Iterator[str]:
    """Check everything that can be seen in a world at rest."""
    is_punctual = scheduler.weather.is_punctual and not scene.book.delays
    yield from following(scene)
    yield from deliveries(scene, is_punctual=is_punctual)
    yield from statuses(scene)
    yield from refusals(scene)
    yield from figures(scene)
    yield from confidences(scene)
    yield from sources(scene)
    yield from lives(scene)
    yield from verdicts(scene)
    yield from memory(scene)
    yield from archive(scene)
    yield from searching(scene)
    yield from upkeep(scene, scheduler)


__all__ = ["violations"]
