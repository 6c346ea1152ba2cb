"""What the handlers need of the world. Adapters and fakes both pass the same contract tests."""

from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from enum import Enum
from typing import Any, NamedTuple, Protocol

from sharpwave.schemas.faults import Fault
from sharpwave.schemas.keys import Key, owner_of
from sharpwave.schemas.records import Registration
from sharpwave.workers.work.outgoing import WorkMessage

Item = dict[str, Any]

#: Applies a function to each of many things, like `map`, perhaps to several at a time.
Spread = Callable[[Callable[[Any], Any], Iterable[Any]], Iterable[Any]]


class TryAgain(Exception):
    """Something outside did not answer as hoped; the message is retried after its visibility."""


class Unfinished(TryAgain):
    """The work of some records is not done, though that of all others is.

    Attributes:
        keys: the records whose work is to be tried again; the others need nothing more.
    """

    def __init__(self, keys: Iterable[Key], why: str) -> None:
        """Name the records and say what stood in the way."""
        super().__init__(why)
        self.keys = frozenset(keys)


class CallRefused(Exception):
    """A call was refused for what it asks, and will be again; its message is not worth hours."""


class Location(NamedTuple):
    """One item: its logical table and its key."""

    table: str
    key: Key


@dataclass(frozen=True, slots=True)
class Insert:
    """Write an item unless its key exists."""

    table: str
    item: Item

    @property
    def location(self) -> Location:
        """Say which item this writes."""
        return Location(self.table, Key(self.item["PK"], self.item["SK"]))


@dataclass(frozen=True, slots=True)
class Update:
    """Set and remove attributes of an item that exists, if `equals` and `missing` hold.

    A change never creates an item: an update after a removal must not raise a ghost.
    """

    location: Location
    set: Mapping[str, Any]
    equals: Mapping[str, Any] = field(default_factory=dict)
    missing: tuple[str, ...] = ()
    remove: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Delete:
    """Remove an item, if `equals` holds.

    What the verdict says of an item that was gone before is up to the backend.
    """

    location: Location
    equals: Mapping[str, Any]


Write = Insert | Update | Delete


@dataclass(frozen=True, slots=True)
class Put:
    """Write an item, whatever was there."""

    table: str
    item: Item

    @property
    def location(self) -> Location:
        """Say which item this writes."""
        return Location(self.table, Key(self.item["PK"], self.item["SK"]))


@dataclass(frozen=True, slots=True)
class Check:
    """Write nothing; hold if an item has the attributes of `equals`, and those below `below`.

    An attribute that is not there is below any number, and equals nothing.
    """

    location: Location
    equals: Mapping[str, Any] = field(default_factory=dict)
    below: Mapping[str, int] = field(default_factory=dict)


class Transactions(Protocol):
    """Conditional writes of several items, of any tables, all or none."""

    def transact(self, writes: Sequence[Write | Put | Check]) -> bool:
        """Write all if every condition holds, and say whether they did.

        Raises:
            TryAgain: it could not be decided; all or nothing was written.
        """


class Writes(Protocol):
    """Conditional writes of single items."""

    def apply(self, writes: Sequence[Write]) -> list[bool]:
        """Apply writes to distinct items, each on its own.

        Returns:
            For each write, whether its condition held.

        Raises:
            TryAgain: a write could not be decided; those already applied stay.
        """


class Reads(Protocol):
    """Strongly consistent reads, where nothing else is said."""

    def get(self, locations: Sequence[Location], *, strong: bool = True) -> dict[Location, Item]:
        """Read items; those that do not exist are left out.

        Without `strong` they may be some moments old, and cost half.
        """

    def query(
        self, table: str, pk: str, *, after: str = "", until: str = "", limit: int | None = None
    ) -> Iterator[Item]:
        """Read a partition in sort key order: `after` exclusive, `until` inclusive."""

    def by_agent(self, agent_id: str, *, after: int, until: int) -> Iterator[Item]:
        """Read index entries of an agent's decisions with `after < timestamp <= until`.

        Entries hold PK, SK, timestamp and, if present, outcome and event_time. Eventually
        consistent: a decision written in the last moments may be missing.
        """


class Slot(NamedTuple):
    """A set of elements, as a ledger holds it.

    Attributes:
        elements: all of them.
        revision: how often elements were added; of two answers the greater is the later one.
        is_closed: whether it takes no decision that it does not hold already.
    """

    elements: frozenset[bytes]
    revision: int
    is_closed: bool


class Ledger(Protocol):
    """Sets of elements that split as they fill, and the counts derived from them."""

    def add(
        self, location: Location, elements: Sequence[bytes], *, below: int, is_open: bool
    ) -> tuple[bool, Slot]:
        """Add elements to a set that holds fewer than `below`; with `is_open`, to no closed one.

        Returns:
            Whether they were added, and the set as it is then.
        """

    def close(self, location: Location) -> Slot:
        """Close a set for good, and give all of it."""

    def discard(self, location: Location, elements: Collection[bytes]) -> None:
        """Take elements out of a set."""

    def raise_counts(self, location: Location, row: Sequence[Any]) -> bool:
        """Store counts unless those that are there were folded as late.

        `row[0]` is the revision of the sets that the counts were folded from; the rest are whole
        numbers and lists of them, stored all at once.
        """

    def mark(self, location: Location) -> None:
        """Set a mark, with a `rev` that no mark ever had.

        A number that is raised would begin anew once the mark is gone, and who read the older one
        would take the newer one away.
        """


class InboxMessage(NamedTuple):
    """A message for an agent's inbox; of an urgent one a copy goes to its urgent queue too."""

    target: str
    body: str
    urgent: bool = False


class Fate(Enum):
    """What became of a message for an inbox."""

    SENT = "sent"
    #: There is no such queue, or so it is said: one just made may not be found for seconds.
    GONE = "gone"
    #: The queue did not accept it, or gave no answer: it may have arrived.
    FAILED = "failed"


class Inboxes(Protocol):
    """The agents' own queues."""

    def send(self, posts: Sequence[InboxMessage]) -> list[Fate]:
        """Send messages, and say of each what became of it.

        A queue that fails is the affair of its own messages only, so none raises; why one
        failed is logged.
        """


class WorkQueues(Protocol):
    """The work queues, for work that leads to more work."""

    def send(self, messages: Sequence[WorkMessage]) -> None:
        """Send messages; returns once every one was accepted.

        Raises:
            TryAgain: some were not accepted.
        """


class Directory(Protocol):
    """The registered agents."""

    def find(self, agent_ids: Iterable[str]) -> dict[str, Registration]:
        """Give registrations, read anew before an agent is left out as unknown."""

    def recall(self, agent_id: str) -> Registration | None:
        """Give an agent's registration as read lately, an unknown agent's too."""

    def confirm(self, agent_ids: Iterable[str]) -> dict[str, Registration]:
        """Give registrations as they are now, whatever was read lately."""

    def ever_registered(self, agent_ids: Iterable[str]) -> set[str]:
        """Say which agents are registered, or were and are removed."""

    def everyone(self) -> list[Registration]:
        """List all registered agents by name."""


class Parking(Protocol):
    """Where refused records wait for a human, and their owners hear about them."""

    def park(self, refusals: Sequence["Refusal"]) -> None:
        """Keep refused records and tell each owner; safe to repeat.

        Raises:
            Unfinished: all are kept, but the owners of some could not be told.
        """


@dataclass(frozen=True, slots=True)
class Refusal:
    """A record that the pipeline does not admit, and why.

    `words` let what the agent said in it be known again; see `refusals`.
    """

    table: str
    key: Key
    event_id: str
    faults: Sequence[Fault]
    image: str
    words: Mapping[str, Any] = field(default_factory=dict)

    @property
    def owner(self) -> str | None:
        """Name whom to tell: the agent that the key binds, never one that the record claims."""
        return owner_of(self.key.pk)


class Archive(Protocol):
    """Cold storage of what was admitted."""

    def write(self, day: str, lines: Sequence[str]) -> None:
        """Store lines of one day as one new part, whole or not at all."""
