"""The lists that counting goes by: the versions of patterns, and who writes decisions."""

from collections.abc import Iterable, Mapping, Sequence
from math import inf
from threading import Lock
from typing import Any, NamedTuple

from pydantic import ValidationError

from sharpwave.schemas import keys, tables
from sharpwave.schemas.numbers import parse_json
from sharpwave.schemas.patterns import PatternVersion
from sharpwave.schemas.records import MAX_DECISION_TTL_S, parent_of
from sharpwave.schemas.times import Clock
from sharpwave.workers.patterns.sources import code_of, names_in
from sharpwave.workers.work.ports import Insert, Location, Reads, TryAgain, Update, Write, Writes

#: An entry that was removed with an agent's data is there again so soon after its next decision.
_REMEMBERED_S = 600.0
#: Entries of lists of children that are remembered.
_LINKED = 10_000
#: On the list of agents, the attribute of those who wrote a decision or a memory.
_WRITES = "writes"


class Scope(NamedTuple):
    """Whose decisions of which type a version may count; None stands for any."""

    agent_id: str | None
    decision_type: str | None

    @classmethod
    def of(cls, text: Any) -> "Scope":
        """Read it from a stored version that is unreadable else; what is not said may be any."""
        try:
            definition = parse_json(text)["definition"]
            decision_type, agent_id = definition["decision_type"], definition.get("agent_id")
        except (LookupError, TypeError, ValueError):
            return cls(None, None)
        return cls(
            agent_id if isinstance(agent_id, str) else None,
            decision_type if isinstance(decision_type, str) else None,
        )

    def touches(self, agent_id: str | None, decision_type: str) -> bool:
        """Say whether decisions of an agent, or with None of any, and a type may be counted."""
        is_type = self.decision_type in (None, decision_type)
        return is_type and (None in (self.agent_id, agent_id) or self.agent_id == agent_id)


class Known(NamedTuple):
    """A copy of the list of versions.

    Attributes:
        versions: those that this process can read.
        unreadable: the scopes of those that it cannot, because a newer release wrote them.
        until: it holds every version that will ever count a decision up to this `timestamp`.
    """

    versions: Sequence[PatternVersion]
    unreadable: Sequence[Scope]
    until: int

    def is_readable(self, agent_id: str | None, decision_type: str) -> bool:
        """Say whether every version that may count such decisions can be read."""
        return not any(scope.touches(agent_id, decision_type) for scope in self.unreadable)


class Catalogue:
    """Reads the list of versions, and knows which decisions its copy can judge.

    Membership is decided by one fact in the table: the moment up to which decisions have been
    judged. Who needs to judge beyond it raises it first and reads the list then; an import whose
    version would begin at or before it fails, in the same transaction. So a list read after the
    moment was raised is complete up to it for good, whatever clocks say and whoever was frozen
    on the way. The moment runs a little ahead of the workers' clocks, and imports begin beyond it.

    A decision that lies further ahead, because its agent's clock is fast, waits: raising the
    moment to it would put off every import.
    """

    def __init__(self, *, reads: Reads, writes: Writes, clock: Clock, lifetime_s: float) -> None:
        """Judge up to `lifetime_s` seconds ahead of `clock`, and twice that at a time."""
        self._reads, self._writes = reads, writes
        self._clock, self._lifetime_s = clock, lifetime_s
        self._known = Known((), (), -1)
        self._lock = Lock()

    def wait_s(self, decision: Mapping[str, Any]) -> int:
        """Give the whole seconds until a decision can be judged; 0 if it can be by now."""
        ahead = float(decision["timestamp"]) - self._lifetime_s - self._clock()
        return 0 if ahead <= 0 else int(ahead) + 1

    def known_for(self, decision: Mapping[str, Any]) -> Known:
        """Give a copy that holds every version which may count a decision.

        Raises:
            TryAgain: the decision lies too far ahead, or a version that may count it cannot be
                read by this release; counting without it would miscount for good.
        """
        known = self._known_until(int(decision["timestamp"]))
        agent_id, decision_type = decision["agent_id"], decision["decision_type"]
        if not known.is_readable(agent_id, decision_type):
            raise TryAgain(
                f"a version of a pattern of {decision_type} was written by a newer release; "
                "a worker of that release has to count its decisions"
            )
        return known

    def fresh(self) -> Known:
        """Read the list as it is now; it judges no decision."""
        return listed(self._reads)

    def _known_until(self, timestamp: int) -> Known:
        with self._lock:
            if timestamp > self._known.until:
                # The moment comes first: what is imported after it begins beyond it.
                self._known = listed(self._reads, until=self._judged())
            if timestamp > self._known.until:
                raise TryAgain(f"no list of versions can judge a decision of {timestamp} yet")
            return self._known

    def _judged(self) -> int:
        """Raise the moment up to which decisions are judged, if it is too near."""
        place = Location(tables.PIPELINE, keys.judged())
        now = self._clock()
        stored = self._reads.get([place]).get(place)
        until = -1 if stored is None else int(stored["until"])
        if until >= now + self._lifetime_s:
            return until
        raised = int(now + 2 * self._lifetime_s)
        write: Write = Update(place, {"until": raised}, equals={"until": until})
        if stored is None:
            write = Insert(place.table, {**place.key.item(), "until": raised})
        if self._writes.apply([write])[0]:
            return raised
        # Another worker raised it in between.
        stored = self._reads.get([place]).get(place)
        return until if stored is None else int(stored["until"])


def listed(reads: Reads, *, until: int = -1) -> Known:
    """Read the list of versions as it is now, to judge decisions up to `until`."""
    versions, unreadable = [], []
    for item in reads.query(tables.PIPELINE, keys.KNOWN_PATTERNS_PK):
        try:
            versions += parse([item])
        except ValidationError:
            unreadable.append(Scope.of(item["version"]))
    return Known(versions, unreadable, until)


def parse(items: Iterable[Mapping[str, Any]]) -> list[PatternVersion]:
    """Read entries of the list of versions.

    Raises:
        ValidationError: a newer release wrote one that this one cannot read.
    """
    return [PatternVersion.of_entry(item) for item in items]


class Writers:
    """Keeps the lists of agents that wrote something, by type those of decisions; safe to share."""

    def __init__(self, *, writes: Writes, clock: Clock) -> None:
        """Write to the lists through `writes`."""
        self._writes, self._clock = writes, clock
        self._noted: dict[Location, float] = {}
        self._linked: set[Location] = set()
        self._lock = Lock()

    def note(self, writers: Iterable[tuple[str, str]]) -> None:
        """Put agents on the lists, each as (type, agent), that this process has not put there."""
        found = sorted(set(writers))
        entries = [
            Insert(
                tables.MEMORY,
                {**keys.writer(*each).item(), "decision_type": each[0], "agent_id": each[1]},
            )
            for each in found
        ]
        self._put([*entries, *map(_agent, sorted({agent for _, agent in found}))])

    def link(self, decisions: Iterable[Mapping[str, Any]]) -> None:
        """Put decisions on the lists of their parents' children; one without a parent on none.

        An entry is kept for as long as a decision may be; whoever reads it finds that the decision
        is gone, if it went earlier.
        """
        entries: dict[Location, Insert] = {}
        for each in decisions:
            parent = parent_of(each)
            if parent is not None:
                key = keys.child(parent, keys.Key(each["PK"], each["SK"]))
                is_kept = each.get("ttl") is None
                ends = {} if is_kept else {"ttl": int(each["timestamp"]) + MAX_DECISION_TTL_S}
                entry = Insert(tables.MEMORY, {**key.item(), **ends})
                entries[entry.location] = entry
        # An outcome brings a decision again, mostly to this process.
        with self._lock:
            new = [entry for place, entry in entries.items() if place not in self._linked]
        if new:
            self._writes.apply(new)
            with self._lock:
                if len(self._linked) > _LINKED:
                    self._linked.clear()
                self._linked |= entries.keys()

    def name(self, decisions: Iterable[Mapping[str, Any]]) -> None:
        """Store what the codes in ledger elements stand for, unless this process has done so."""
        entries = []
        for each in decisions:
            bucket, sources = names_in(each)
            for name in (*sources, *(() if bucket is None else (bucket,))):
                key = keys.source_name(each["agent_id"], code_of(name))
                entries.append(Insert(tables.PIPELINE, {**key.item(), "name": name}))
        self._put(list({entry.location: entry for entry in entries}.values()))

    def note_agents(self, agent_ids: Iterable[str]) -> None:
        """Put agents on the list of all that this process has not put there."""
        self._put([_agent(name) for name in sorted(set(agent_ids))])

    def _put(self, entries: Sequence[Insert]) -> None:
        now = self._clock()
        with self._lock:
            new = [e for e in entries if now - self._noted.get(e.location, -inf) > _REMEMBERED_S]
        if not new:
            return
        fresh = self._writes.apply(new)
        # Who registered before it wrote is on the list of agents, but not as one who writes.
        registered: list[Write] = [
            Update(entry.location, {_WRITES: True}, missing=(_WRITES,))
            for entry, is_new in zip(new, fresh, strict=True)
            if not is_new and _WRITES in entry.item
        ]
        if registered:
            self._writes.apply(registered)
        with self._lock:
            self._noted = {k: at for k, at in self._noted.items() if now - at <= _REMEMBERED_S}
            self._noted |= {entry.location: now for entry in new}


def _agent(agent_id: str) -> Insert:
    entry = {**keys.known_agent(agent_id).item(), "agent_id": agent_id, _WRITES: True}
    return Insert(tables.PIPELINE, entry)
