"""What the agents of a history did, as they remember it: the truth the checker goes by."""

from collections import defaultdict
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from sharpwave.schemas.keys import Key
from sharpwave.schemas.messages import AnyMessage
from sharpwave.workers.work.ports import Item


class Moment(NamedTuple):
    """When something happened: the second that a stream would say, and the order of events."""

    second: int
    order: int


class Arrival(NamedTuple):
    """A message that reached an agent's queue."""

    target: str
    message: AnyMessage
    at: Moment


class Standing(NamedTuple):
    """What an agent's registration said from some moment on; None once it was withdrawn."""

    since: Moment
    manners: dict[str, Any] | None


class State(NamedTuple):
    """An admitted state of a decision, and when it was written."""

    revision: int
    success: bool | None
    second: int
    quality: float | None = None


class Refused(NamedTuple):
    """A record that the pipeline has to refuse, and the agent that its key binds."""

    table: str
    key: Key
    owner: str | None


class Handed(NamedTuple):
    """A delivery that the SDK handed out, by its row."""

    row: Key
    at: Moment


@dataclass(slots=True, eq=False)
class Sent:
    """A signal as it was admitted.

    Attributes:
        key: its primary key.
        item: its attributes as first written.
        at: when it was stored.
        deadlines: every deadline it had; only that may change.
        removed: whether its item is gone.
        readings: what else it may be delivered as: `reconcile` found it changed, and nobody had
            refused the change yet.
        sharded: whether its key is of the compatible form with a shard.
    """

    key: Key
    item: Item
    at: Moment
    deadlines: list[int]
    removed: bool = False
    readings: list[Item] = field(default_factory=list)
    sharded: bool = False

    @property
    def owner(self) -> str | None:
        """Name the agent that the key binds, if it binds one."""
        parts = self.key.pk.split("#")
        return parts[2] if len(parts) == 3 and not parts[2].isdigit() else None


@dataclass(slots=True, eq=False)
class Decided:
    """A decision and its admitted states.

    Attributes:
        item: as first written.
        states: those admitted, of that content.
        others: contents that were written under its key once it was gone.
        is_spoilt: its content was changed, so that nothing said of it later counts.
        is_forgotten: its agent deleted it.
    """

    item: Item
    states: list[State]
    others: list[tuple[Item, State]] = field(default_factory=list)
    is_spoilt: bool = False
    is_forgotten: bool = False

    @property
    def last(self) -> State:
        """Give the state that counts."""
        return max(self.states, key=lambda state: state.revision)


@dataclass(slots=True, eq=False)
class Listed:
    """A version of a pattern, as an operator imported it or a worker admitted it."""

    name: str
    owner: str | None
    kind: str
    market: str | None
    number: int
    begins: int
    ends: int | None = None
    base: float | None = None
    half_life: int = 14


@dataclass(slots=True)
class Book:
    """Everything that was done, by whom, and when.

    Attributes:
        agents: what each agent's registration said, and when.
        signals: the valid ones, as first written.
        arrivals: whatever reached an agent's queue.
        acknowledged: the ends that agents set on their rows by the rules.
        answered: when each row was first acknowledged, by the order of events.
        resent: deliveries that were sent although they had been acknowledged by then.
        handed: deliveries that the SDK handed out.
        ended: when the SDK first acknowledged each row.
        unhurried: what was urgent and waited all the same, in words.
        dropped: rows that their agents deleted, and when they did last.
        forged: rows that agents made themselves.
        decisions: the admitted ones.
        memories: the valid ones, as last written.
        oversized: entries of memory that fit as such, but not as a fact.
        refused: what must have been refused.
        versions: of patterns.
        given_up: the ledger subjects of candidates that were ended.
        outages: agents whose queue did not answer for a time.
        crashes: processes that died.
        refusals: calls that were not answered.
        repeats: pages and messages that were handed out again.
        delays: whether something held the whole pipeline up for a time.
        rested: the seconds at which all that was written until then had been handled.
        gaps: how often streams lost records.
        lost: signals that no stream told of, until `reconcile` finds them as they were written.
        due: outcomes that will be written, and from when on.
        granted: readers of a pattern by its name, as last granted.
        read: versions of patterns as somebody first read them.
        broken: promises that somebody saw broken on the spot, in words.
    """

    agents: dict[str, list[Standing]] = field(default_factory=lambda: defaultdict(list))
    signals: dict[Key, Sent] = field(default_factory=dict)
    arrivals: list[Arrival] = field(default_factory=list)
    acknowledged: dict[Key, list[Item]] = field(default_factory=lambda: defaultdict(list))
    answered: dict[Key, int] = field(default_factory=dict)
    resent: list[str] = field(default_factory=list)
    handed: list[Handed] = field(default_factory=list)
    ended: dict[Key, Moment] = field(default_factory=dict)
    unhurried: list[str] = field(default_factory=list)
    dropped: dict[Key, Moment] = field(default_factory=dict)
    forged: set[Key] = field(default_factory=set)
    decisions: dict[Key, Decided] = field(default_factory=dict)
    memories: dict[Key, Item] = field(default_factory=dict)
    oversized: set[Key] = field(default_factory=set)
    refused: list[Refused] = field(default_factory=list)
    versions: list[Listed] = field(default_factory=list)
    given_up: set[str] = field(default_factory=set)
    outages: set[str] = field(default_factory=set)
    crashes: int = 0
    refusals: int = 0
    repeats: int = 0
    delays: bool = False
    rested: list[int] = field(default_factory=list)
    gaps: int = 0
    lost: set[Key] = field(default_factory=set)
    due: list[tuple[float, Callable[[], object]]] = field(default_factory=list)
    granted: dict[str, set[str]] = field(default_factory=dict)
    read: dict[Key, Item] = field(default_factory=dict)
    broken: list[str] = field(default_factory=list)
    events: int = 0

    def acknowledge(self, row: Key, end: Item, now: float) -> None:
        """Note how an agent ended the delivery of a row."""
        self.acknowledged[row].append(end)
        self.answered.setdefault(row, self.moment(now).order)

    def moment(self, now: float) -> Moment:
        """Give the present moment; no two are the same."""
        self.events += 1
        return Moment(int(now), self.events)

    def standing(self, agent: str) -> dict[str, Any] | None:
        """Give what an agent's registration says now."""
        held = self.agents.get(agent)
        return held[-1].manners if held else None

    def was_absent(self, agent: str, since: Moment) -> bool:
        """Say whether an agent was not registered at some moment from `since` on."""
        standings = self.agents.get(agent, [])
        before = [each for each in standings if each.since.order < since.order]
        if not before or before[-1].manners is None:
            return True
        return any(each.manners is None for each in standings if each.since.order > since.order)
