"""One history: drawn from a seed, lived, brought to rest, and judged."""

import logging
import random
import signal
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field, replace
from random import Random
from unittest.mock import patch

from sharpwave.workers.patterns import ledger
from sharpwave.workers.patterns.discover import sweep
from sharpwave.workers.work import ticks
from tests.simulation.answering import Answering
from tests.simulation.book import Book
from tests.simulation.checking import violations
from tests.simulation.checking.following import steps_of
from tests.simulation.deciding import Deciding
from tests.simulation.receiving import Receiving
from tests.simulation.remembering import Remembering
from tests.simulation.scene import LAX, OF_WEEKS, Scene
from tests.simulation.scheduler import Restless, Scheduler
from tests.simulation.seasons import NOTHING, Seasons
from tests.simulation.signalling import Signalling
from tests.simulation.weather import APART, SEASONS, Weather, draw, only

#: Seconds by which time jumps once the agents rest: past deadlines, a day, and sweeps' margins.
_JUMPS_S = (700, 6_000, 90_000, 1_500, 4_000)
#: After a jump of so many seconds sweeps have something to do.
_LONG_S = 4_000
#: Seconds of the processor after which a history counts as endless.
_PATIENCE_S = 60.0
#: The share of seeds that live through seasons.
_SEASONS = 0.04
#: What may happen while a worker handles a message.
_HARMLESS = ("send", "answer", "decide", "resolve", "broadcast", "meddle")
_SMALL_SLOTS = {"CLOSE_AT": 6, "MOST_AT_ONCE": 3, "FULL_AT": 24, "MOST_SUPERSEDED": 4}
_SMALL_BATCHES = {"BATCH": 3, "MOST_AT_ONCE": 4}


class Crowd(Signalling, Answering, Receiving, Deciding, Remembering, Seasons):
    """Everybody who does something in a history."""


@dataclass(frozen=True, slots=True)
class Lived:
    """What came of a history.

    Attributes:
        seed: what it was drawn from.
        weather: how bad it was.
        violations: broken promises, in words.
        handled: work messages handled to their end.
        calls: port calls made.
        crashes: processes that died.
        deliveries: messages that reached an inbox.
        steps: what patterns went through, as `active to degraded`.
        is_fooled: whether a pattern that is nothing was promoted; None if none was planted.
    """

    seed: int
    weather: Weather
    violations: list[str] = field(default_factory=list)
    handled: int = 0
    calls: int = 0
    crashes: int = 0
    deliveries: int = 0
    steps: frozenset[str] = frozenset()
    is_fooled: bool | None = None


def run(seed: int, weather: Weather | None = None) -> Lived:
    """Live one history to its end and check it."""
    chance = Random(seed)
    if weather is None:
        # Drawn apart, so that it changes nothing else of a seed's history.
        searches = Random(f"discovery-{seed}").random() < 0.3
        more = tuple(name for name in APART if Random(f"{name}-{seed}").random() < 0.125)
        drawn = draw(chance)
        drawn = replace(drawn, discovery=searches, themes=drawn.themes + more)
        if Random(f"seasons-{seed}").random() < _SEASONS:
            drawn = only(SEASONS, drawn)
    else:
        drawn = weather
    book = Book()
    lasts = SEASONS in drawn.themes
    scene = Scene(book, discovery=drawn.discovery, policy=OF_WEEKS if lasts else LAX)
    logging.disable(logging.CRITICAL)
    try:
        with _drawn_from(seed, scene.clock), _patience(), ExitStack() as stack:
            for name, limit in _SMALL_SLOTS.items() if drawn.small_slots else ():
                stack.enter_context(patch.object(ledger, name, limit))
            for name, limit in _SMALL_BATCHES.items() if drawn.discovery else ():
                stack.enter_context(patch.object(sweep, name, limit))
            scheduler = Scheduler(scene, chance, drawn)
            found = list(_lived(scene, chance, drawn, scheduler))
    finally:
        logging.disable(logging.NOTSET)
    return Lived(
        seed,
        drawn,
        found,
        handled=scheduler.handled,
        calls=scheduler.calls,
        crashes=book.crashes,
        deliveries=len(book.arrivals),
        steps=frozenset(steps_of(scene)),
        is_fooled=bool([*steps_of(scene, NOTHING)]) if lasts else None,
    )


def deaths(seed: int, weather: Weather, *, stride: int) -> Iterator[Lived]:
    """Live one history once for every so many calls, at which a process dies: before, or after."""
    for call in range(1, run(seed, weather).calls + 1, stride):
        for after in (False, True):
            yield run(seed, replace(weather, death=(call, after)))


@contextmanager
def _drawn_from(seed: int, clock: Callable[[], float]) -> Iterator[None]:
    """Let whatever the product draws from the machine follow a seed and a virtual clock."""
    source = Random(f"entropy-{seed}")

    def urandom(size: int) -> bytes:
        return source.randbytes(size)

    state = random.getstate()
    random.seed(seed)
    try:
        with (
            patch("os.urandom", urandom),
            patch("random._urandom", urandom),
            patch("time.time", clock),
            patch("time.time_ns", lambda: int(clock() * 1e9)),
        ):
            yield
    finally:
        random.setstate(state)


@contextmanager
def _patience() -> Iterator[None]:
    def give_up(*_: object) -> None:
        raise Restless(f"the history did not end within {_PATIENCE_S:.0f} s")

    before = signal.signal(signal.SIGPROF, give_up)
    signal.setitimer(signal.ITIMER_PROF, _PATIENCE_S)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_PROF, 0)
        signal.signal(signal.SIGPROF, before)


def _lived(scene: Scene, chance: Random, weather: Weather, scheduler: Scheduler) -> Iterator[str]:
    crowd = Crowd(scene, chance, weather)
    crowd.begin()
    if SEASONS in weather.themes:
        crowd.sow()
    acts = weather.acts
    harmless = [act for act in acts if act in _HARMLESS]
    scheduler.act = lambda: getattr(crowd, chance.choice(harmless or ["answer"]))()
    try:
        burst_at = weather.actions // 2 if weather.burst else -1
        for number in range(weather.actions):
            if number == burst_at:
                crowd.burst(weather.burst)
            getattr(crowd, chance.choice(acts))()
            scheduler.live()
            # A queue that lags for more than a day now and then is bad enough.
            if SEASONS in weather.themes and chance.random() < 0.8:
                scheduler.drain()
        if SEASONS in weather.themes and chance.random() < 0.4:
            for _ in crowd.end_well():
                scheduler.drain()
        _rest(scene, chance, crowd, scheduler)
        yield from violations(scene, scheduler)
    except Restless as restless:
        yield str(restless)


def _rest(scene: Scene, chance: Random, crowd: Crowd, scheduler: Scheduler) -> None:
    """Let time pass until every duty is done; some agents answer late."""
    # From here on nobody begins anything that time would have to be left for.
    scheduler.act = crowd.answer
    scene.heal()
    scheduler.drain()
    if scene.book.gaps:
        crowd.reconcile()
        scheduler.drain()
    for jump in _JUMPS_S:
        _redrive(scene)
        scheduler.drain()
        scene.clock.advance(jump)
        for _ in range(3):
            chance.choice([crowd.answer, crowd.answer_late, crowd.resolve])()
        scheduler.drain()
        scene.tables.expire(lambda table, key: chance.random() < 0.7)
        if scene.book.gaps or chance.random() < 0.2:
            crowd.reconcile()
        # What falls due is handed out some hours at a time, and what is swept is published after.
        if jump >= _LONG_S:
            scheduler.tick(ticks.SWEEP, ticks.EXPIRY)
            scheduler.drain()
        for _ in range(2):
            scheduler.tick(ticks.EXPIRY, ticks.FIGURES)
            scheduler.drain()


def _redrive(scene: Scene) -> None:
    """Hand out dead letters again, as operators do once what broke them is mended."""
    if not scene.book.outages:
        return
    for held in scene.queues.dead:
        held.receives, held.visible_at = 0, scene.clock()
        scene.queues.messages.append(held)
    scene.queues.dead.clear()
