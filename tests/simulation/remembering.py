"""What agents do with short-term memory."""

from typing import Any

from sharpwave.schemas import keys, tables
from sharpwave.schemas.times import DAY_S
from sharpwave.workers.work.ports import Item
from tests.simulation.stage import Stage
from tests.world import records

#: An entry of about this many bytes fits a table, and with a fact's own attributes does not.
_ALMOST_TOO_LARGE = 409_330


class Remembering(Stage):
    """Entries of short-term memory."""

    def remember(self) -> None:
        """Keep something; some of it for less than a day."""
        self._remember(self.someone())

    def remember_by_strangers(self) -> None:
        """Let an agent remember that never registered."""
        self._remember(self.stranger())

    def remember_much(self) -> None:
        """Keep an entry that is as large as an item can be, and small ones beside it."""
        source = self.someone()
        self._remember(source)
        item = self._entry(source, data={"text": ""})
        item["data"]["text"] = "x" * (_ALMOST_TOO_LARGE - 400)
        self.book.oversized.add(self.put(tables.STATE, item))
        self._remember(source)

    def touch(self) -> None:
        """Use an entry so often that it is promoted early."""
        key = self._some_entry()
        if key:
            self._change(key, {"access_count": 12})

    def learn_more(self) -> None:
        """Change an entry, promoted or not."""
        key = self._some_entry()
        if key:
            self._change(key, {"data": {"text": self.name("more-")}})

    def remember_badly(self) -> None:
        """Write an entry that must be refused."""
        item = self._entry(self.someone())
        del item["memory_id"]
        key = self.put(tables.STATE, item)
        self.must_refuse(tables.STATE, key, item["agent_id"])

    def _remember(self, source: str) -> None:
        item = self._entry(source)
        self.book.memories[self.put(tables.STATE, item)] = item

    def _entry(self, source: str, **more: Any) -> Item:
        lifetime = self.chance.choice([3 * DAY_S, 3 * DAY_S, 900])
        return records.memory(
            source,
            self.name("m"),
            at=self.now_of(source),
            importance=self.chance.choice([0, 0, 1]),
            ttl=int(self.scene.clock()) + lifetime,
            GSI1_PK="plan",
            GSI1_SK="2025",
            **more,
        )

    def _change(self, key: keys.Key, values: Item) -> None:
        # A record is judged by the moment it is stored, so past its ttl any change is refused.
        if self.book.memories[key]["ttl"] <= self.scene.clock():
            return
        if self.update(tables.STATE, key, values):
            self.book.memories[key] = {**self.book.memories[key], **values}

    def _some_entry(self) -> keys.Key | None:
        return self.chance.choice(list(self.book.memories) or [None])
