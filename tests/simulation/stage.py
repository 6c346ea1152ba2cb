"""What all agents of a history share: names, clocks, and how they write."""

import itertools
from random import Random
from typing import Any

from sharpwave.schemas import keys, tables
from sharpwave.workers.work.ports import Item, Location
from tests.simulation.book import Book, Refused, Standing
from tests.simulation.scene import Scene
from tests.simulation.weather import Weather
from tests.world import records


class Stage:
    """Agents with clocks of their own, and the book in which they note what they do."""

    def __init__(self, scene: Scene, chance: Random, weather: Weather) -> None:
        """Register the agents that are there from the start."""
        self.scene, self.chance, self.weather, self.book = scene, chance, weather, scene.book
        self.began = scene.clock()
        self._numbers = itertools.count(1)
        self._offsets: dict[str, tuple[float, float]] = {}
        self.names = [f"agent-{number}" for number in range(weather.agents)]
        for number, name in enumerate(self.names):
            manners: dict[str, Any] = {"may_broadcast": number == 0}
            if number % 2:
                manners["subscriptions"] = ["ALERT"]
            if number == len(self.names) - 1 and number > 1:
                manners["accepts_from"] = self.names[:1]
            self.register(name, **manners)

    # Time

    def now_of(self, agent: str) -> float:
        """Give the time by an agent's clock, which may be off and may drift."""
        if agent not in self._offsets:
            drift = self.chance.choice([0.0, 0.0, 1e-4, -1e-4])
            self._offsets[agent] = self.chance.choice(self.weather.offsets), drift
        offset, drift = self._offsets[agent]
        now = self.scene.clock()
        # A clock that is further ahead than this has its records refused.
        return now + min(295.0, offset + drift * (now - self.began))

    # Agents

    def register(self, agent: str, *, queue: bool = True, **manners: Any) -> None:
        """Register an agent the raw way."""
        if queue:
            self.scene.inboxes.create(agent)
        item = records.registration(agent, at=self.now_of(agent), **manners)
        self.put(tables.STATE, item)
        moment = self.book.moment(self.scene.clock())
        self.book.agents[agent].append(Standing(moment, manners))

    def withdraw(self, agent: str) -> None:
        """Remove an agent's registration."""
        self.scene.tables.remove(tables.STATE, keys.registration(agent))
        self.book.agents[agent].append(Standing(self.book.moment(self.scene.clock()), None))

    def registered(self) -> list[str]:
        """List the agents that are registered now, by name."""
        return sorted(name for name in self.book.agents if self.book.standing(name) is not None)

    def someone(self) -> str:
        """Pick one of the agents that were there from the start."""
        return self.chance.choice(self.names)

    def stranger(self) -> str:
        """Pick an agent that never registered."""
        return self.chance.choice(["loner-1", "loner-2"])

    # Records

    def name(self, start: str) -> str:
        """Give a name that was not used before."""
        return f"{start}{next(self._numbers)}"

    def number(self) -> int:
        """Give a number that was not used before."""
        return next(self._numbers)

    def put(self, table: str, item: Item) -> keys.Key:
        """Write a whole item."""
        return self.scene.tables.put(table, item)

    def update(self, table: str, key: keys.Key, values: Item, *remove: str) -> bool:
        """Set and remove attributes of an item; False if it is gone."""
        return self.scene.tables.update(table, key, values, remove=remove)

    def stored(self, table: str, key: keys.Key) -> Item | None:
        """Read an item."""
        place = Location(table, key)
        return self.scene.tables.get([place]).get(place)

    def must_refuse(self, table: str, key: keys.Key, owner: str | None) -> None:
        """Note a record that has to be refused; `owner` is whom its key binds."""
        self.book.refused.append(Refused(table, key, owner))


__all__ = ["Book", "Stage"]
