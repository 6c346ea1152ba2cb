"""The world of a history: what outlives any process, and worker processes with clocks of their own.

Everything comes from the doubles of `tests.world`; here are only the faults that
belong to a place and not to a call: a queue that does not answer, a stream that stands still or
loses records, a process whose clock is off.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

from sharpwave.schemas import tables
from sharpwave.schemas.keys import Key
from sharpwave.schemas.messages import URGENT, SignalMessage, parse_message
from sharpwave.schemas.status import ACKNOWLEDGED
from sharpwave.workers.patterns.policy import Policy
from sharpwave.workers.work.incoming import StreamRecord
from sharpwave.workers.work.outgoing import WorkMessage
from sharpwave.workers.work.ports import Fate, InboxMessage, Location
from tests.simulation.book import Arrival, Book
from tests.world.faults import Faults
from tests.world.queues import Held, MemoryInboxes
from tests.world.tables import MemoryTables
from tests.world.world import Process, World

#: In a history of an hour nothing else would ever be promoted or doubted. Nothing is retired for
#: drift: the version that follows would be one that nobody here wrote.
LAX = Policy(
    alpha=0.9,
    min_base=3,
    min_base_days=1,
    min_units=2,
    min_days=1,
    min_confidence=0,
    max_unresolved=1,
    degraded_at=1.5,
    recovered_at=1.2,
    retired_at=1e12,
    dormant_days=5,
    dormant_n_eff=0,
)
#: For histories of weeks, with a few decisions a day.
OF_WEEKS = Policy(
    alpha=0.2,
    min_base=12,
    min_base_days=2,
    base_days=20,
    base_lag_days=1,
    min_units=10,
    min_days=3,
    min_confidence=0.5,
    max_unresolved=0.6,
    degraded_at=8,
    recovered_at=2,
    retired_at=60,
    window_days=12,
    dormant_days=4,
    dormant_n_eff=2.5,
)


class Inboxes(MemoryInboxes):
    """Inboxes of which some do not answer, or do not exist, for a time."""

    def __init__(self, book: Book, clock: Callable[[], float], store: MemoryTables) -> None:
        """Write what arrives into the book."""
        super().__init__()
        self._book, self._clock, self._store = book, clock, store
        self.broken: dict[str, tuple[float, Fate]] = {}
        #: The event at which whoever sends now began; what comes later it need not know.
        self.began = 0
        self.on_send = self._note

    def _send(self, post: InboxMessage) -> Fate:
        until, fate = self.broken.get(post.target, (0.0, Fate.SENT))
        if until > self._clock():
            return fate
        message = parse_message(post.body)
        is_urgent = isinstance(message, SignalMessage) and message.severity in URGENT
        found = super()._send(post)
        if (
            found is Fate.SENT
            and is_urgent
            and post.body not in self.waiting(f"{post.target}_urgent")
        ):
            self._book.unhurried.append(f"{post.target} got no copy of what is urgent")
        return found

    def _note(self, post: InboxMessage) -> None:
        message = parse_message(post.body)
        assert message is not None, f"{post.target} cannot read {post.body[:200]}"
        moment = self._book.moment(self._clock())
        self._book.arrivals.append(Arrival(post.target, message, moment))
        if isinstance(message, SignalMessage):
            key = Key(message.row.PK, message.row.SK)
            place = Location(tables.SIGNALS, key)
            row = self._store.get([place]).get(place, {})
            answered = self._book.answered.get(key, self.began)
            if row.get("status") in ACKNOWLEDGED and answered < self.began:
                self._book.resent.append(message.delivery_id)

    def heal(self) -> None:
        """Let every queue answer again."""
        self.broken.clear()


class Scene(World):
    """Tables, queues, inboxes, archive and time of one history."""

    def __init__(self, book: Book, *, discovery: bool = False, policy: Policy = LAX) -> None:
        """Start with nothing."""
        super().__init__(discovery=discovery)
        self.settings._policy = policy
        self.book = book
        self.inboxes: Inboxes = Inboxes(book, self.clock, self.tables)
        self.stalled: dict[str, float] = {}
        self.touch_up: Callable[[list[WorkMessage]], list[WorkMessage]] = list

    def unread(self, *, most: int | None = None) -> list[tuple[str, list[dict[str, Any]]]]:
        """Give what is new in the streams that do not stand still, and call it read."""
        found = []
        for table, stream in self.tables.streams.items():
            if self.stalled.get(table, 0.0) > self.clock():
                continue
            start = self._read[table]
            end = len(stream) if most is None else min(len(stream), start + most)
            self._read[table] = end
            if end > start:
                found.append((table, [recorded.record for recorded in stream[start:end]]))
        return found

    def has_unread(self) -> bool:
        """Say whether a stream holds records that nobody read."""
        return any(len(stream) > self._read[name] for name, stream in self.tables.streams.items())

    def feed(self, table: str, page: Sequence[StreamRecord]) -> None:
        """Route a page of a stream to the work queues."""
        self.queues.send(self.touch_up(self.route(table, page)))

    def workable(self) -> list[Held]:
        """Give the messages that can be received from queues that do not stand still."""
        now = self.clock()
        return [held for held in self.queues.visible() if self.stalled.get(held.queue, 0.0) <= now]

    def heal(self) -> None:
        """Let everything that stands still go on."""
        self.stalled.clear()
        self.inboxes.heal()


class _View:
    """A world as one process sees it: by its own clock."""

    def __init__(self, scene: Scene, clock: Callable[[], float]) -> None:
        self._scene, self.clock = scene, clock

    def __getattr__(self, name: str) -> Any:
        return getattr(self._scene, name)


@dataclass(slots=True, eq=False)
class Worker:
    """A worker process: its caches, its clock and its faults; `is_busy` while it handles."""

    scene: Scene
    skew: float
    faults: Faults = field(default_factory=Faults)
    is_busy: bool = False
    _process: Process = field(init=False)

    def __post_init__(self) -> None:
        """Put the process together as the composition root does."""
        scene, skew = self.scene, self.skew
        view: Any = _View(scene, lambda: scene.clock() + skew)
        self._process = Process(view, self.faults)

    def handle(self, held: Held) -> None:
        """Handle one work message as its actor does."""
        self._process.handle(held.body, held.receives)


STREAMED = tables.STREAMED
