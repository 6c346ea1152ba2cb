"""The registered agents, cached; a name is read anew before it is called unknown."""

from collections.abc import Iterable, Iterator, Mapping
from contextlib import suppress
from threading import Lock
from typing import NamedTuple

from pydantic import ValidationError

from sharpwave.schemas import keys, tables
from sharpwave.schemas.ids import is_agent_id
from sharpwave.schemas.records import Registration
from sharpwave.schemas.times import Clock
from sharpwave.workers.work.ports import (
    Delete,
    Insert,
    Item,
    Location,
    Reads,
    TryAgain,
    Update,
    Write,
    Writes,
)

#: Names kept, known or not: anyone can make some up.
_REMEMBERED = 10_000
#: How often entries of the registry are compared with their registrations until they agree.
_ROUNDS = 5


class Listed(NamedTuple):
    """Since when every reader of the list has found an agent, and the event that put it there."""

    at: float
    by: str


class RegisteredAgents:
    """`Directory` over the registrations in `agent_state` and the list in `pipeline`."""

    def __init__(self, *, reads: Reads, writes: Writes, clock: Clock, lifetime_s: float) -> None:
        """Keep registrations for at most `lifetime_s` seconds."""
        self._reads, self._writes = reads, writes
        self._clock, self._lifetime_s = clock, lifetime_s
        self._known: dict[str, tuple[float, Registration | None]] = {}
        self._lock = Lock()

    def find(self, agent_ids: Iterable[str]) -> dict[str, Registration]:
        """Give registrations, without the agents that are unknown or removed."""
        # Only what is known may be some moments old. That an agent is unknown ends deliveries to
        # it for good, and agents are sent to as soon as they registered.
        recent = {name: self._recent(name) for name in agent_ids}
        known = {name: held[1] for name, held in recent.items() if held and held[1]}
        unknown = [name for name in recent if name not in known]
        return known | self._load(unknown) if unknown else known

    def recall(self, agent_id: str) -> Registration | None:
        """Give what `find` gave at most a lifetime ago, for an unknown agent too."""
        known = self._recent(agent_id)
        return known[1] if known else self._load([agent_id]).get(agent_id)

    def _recent(self, agent_id: str) -> tuple[float, Registration | None] | None:
        with self._lock:
            known = self._known.get(agent_id)
        return known if known and self._clock() - known[0] <= self._lifetime_s else None

    def confirm(self, agent_ids: Iterable[str]) -> dict[str, Registration]:
        """Give registrations as they are now, and remember them."""
        return self._load(list(agent_ids))

    def ever_registered(self, agent_ids: Iterable[str]) -> set[str]:
        """Say which agents are on the list as registered, or as removed."""
        # Writers that were only ever seen are on the list too, but without `registered`.
        return {name for name, entry in self._entries(agent_ids).items() if "registered" in entry}

    def everyone(self) -> list[Registration]:
        """List all registered agents by name, read anew."""
        names = self.names()
        found = self._load(names)
        return [found[name] for name in names if name in found]

    def names(self) -> list[str]:
        """List the ids of all agents ever registered or seen, by name."""
        return [item["SK"] for item in self._listed()]

    def writers(self) -> list[str]:
        """List the ids of agents that wrote a decision or a memory, by name."""
        return [item["SK"] for item in self._listed() if "writes" in item]

    def _listed(self) -> Iterator[Item]:
        return self._reads.query(tables.PIPELINE, keys.KNOWN_AGENTS_PK)

    def note(self, events: Mapping[str, str]) -> dict[str, Listed]:
        """Put agents on the list; safe to repeat.

        Args:
            events: for each agent the event that told of its registration.

        Returns:
            Since when each agent is on the list, and by which event.
        """
        agent_ids = sorted(events)
        found = self._entries(agent_ids)
        new = [name for name in agent_ids if name not in found]
        fresh = self._writes.apply(
            [
                Insert(
                    tables.PIPELINE,
                    {**keys.known_agent(name).item(), "agent_id": name, "registered": True},
                )
                for name in new
            ]
        )
        # Others may have been seen to write, and so be on the list, even a moment ago.
        done = {name for name, is_fresh in zip(new, fresh, strict=True) if is_fresh}
        done |= {name for name, entry in found.items() if "registered" in entry}
        self._writes.apply(
            [
                Update(_entry(name), {"registered": True}, missing=("registered",))
                for name in agent_ids
                if name not in done
            ]
        )
        # This process may remember them as unknown, or as they were registered before.
        with self._lock:
            for name in agent_ids:
                self._known.pop(name, None)
        # The clock is read once the entry is there: a worker that froze in between must not claim
        # that the list was complete before it was.
        now = int(self._clock())
        dated = {name: entry for name, entry in found.items() if "listed_at" in entry}
        self._writes.apply(
            [
                Update(
                    _entry(name),
                    {"listed_at": now, "listed_by": events[name]},
                    missing=("listed_at",),
                )
                for name in agent_ids
                if name not in dated
            ]
        )
        return {
            name: Listed(float(dated[name]["listed_at"]), dated[name].get("listed_by", ""))
            if name in dated
            else Listed(float(now), events[name])
            for name in agent_ids
        }

    def announce(self, agent_ids: Iterable[str]) -> None:
        """Show all who look for agents what these registered as; safe to repeat.

        Raises:
            TryAgain: registrations kept changing.
        """
        names = sorted(set(agent_ids))
        # Read again after each write: of two who write at a time, the later one may have read the
        # older registration, and sees then that it has.
        for _ in range(_ROUNDS):
            known = self.confirm(names)
            places = {Location(tables.MEMORY, keys.registry(name)): name for name in names}
            shown = self._reads.get(list(places))
            changes: list[Write] = []
            for place, name in places.items():
                one, entry = known.get(name), shown.get(place)
                if one is None:
                    changes += [Delete(place, {"agent_id": name})] if entry else []
                    continue
                said = {"capabilities": one.capabilities, "registered_at": one.registered_at}
                if entry is None:
                    item = {**place.key.item(), "agent_id": name, **said}
                    changes.append(Insert(tables.MEMORY, item))
                elif any(entry.get(attribute) != value for attribute, value in said.items()):
                    changes.append(Update(place, said))
            if not changes:
                return
            self._writes.apply(changes)
        raise TryAgain(f"registrations of {', '.join(names)} kept changing")

    def _entries(self, agent_ids: Iterable[str]) -> dict[str, Item]:
        places = {_entry(name): name for name in agent_ids if is_agent_id(name)}
        return {places[place]: item for place, item in self._reads.get(list(places)).items()}

    def _load(self, agent_ids: list[str]) -> dict[str, Registration]:
        places = {
            Location(tables.STATE, keys.registration(name)): name
            for name in agent_ids
            if is_agent_id(name)
        }
        valid: dict[str, Registration] = {}
        for place, item in self._reads.get(list(places)).items():
            # Its agent wrote it: one that breaks the schema is told of it, and is none until then.
            with suppress(ValidationError):
                valid[places[place]] = Registration.model_validate(item)
        now = self._clock()
        with self._lock:
            if len(self._known) > _REMEMBERED:
                self._known.clear()  # all of them: a cache that anyone can fill need not be fair
            self._known |= {name: (now, valid.get(name)) for name in agent_ids}
        return valid


def _entry(agent_id: str) -> Location:
    return Location(tables.PIPELINE, keys.known_agent(agent_id))
