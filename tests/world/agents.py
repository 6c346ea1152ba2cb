"""Agents of a simulation: they write raw records, well and badly, and answer their inboxes."""

import itertools
from collections.abc import Callable
from random import Random
from typing import Any

from sharpwave.schemas import keys, tables
from sharpwave.schemas.messages import SignalMessage, parse_message
from sharpwave.schemas.status import ACKNOWLEDGED
from sharpwave.workers.ports import Item, Location
from tests.world import records
from tests.world.book import Book, Refused, State
from tests.world.world import World

KINDS = ("TRADE", "HEDGE")


class Agents:
    """A few agents of one world; `chance` decides who does what."""

    def __init__(self, world: World, chance: Random, *, count: int) -> None:
        """Register `count` agents of different manners."""
        self.world, self.chance, self.book = world, chance, Book()
        self.names = [f"agent-{number}" for number in range(count)]
        self._numbers = itertools.count(1)
        for number, name in enumerate(self.names):
            manners: dict[str, Any] = {"may_broadcast": number == 0}
            if number % 2:
                manners["subscriptions"] = ["ALERT"]
            if number == count - 1:
                manners["accepts_from"] = self.names[:1]
            world.register(name, **manners)
            self.book.agents[name] = manners
        self._habits: list[Callable[[], None]] = [
            *[self.send] * 4,
            *[self.answer] * 8,
            *[self.decide] * 4,
            *[self.resolve] * 4,
            *[self.remember] * 2,
            self.send_badly,
            self.repeat_signal,
            self.change_signal,
            self.revise_badly,
            self.spoil_row,
            self.overwrite_row,
            self.register_late,
        ]

    def act(self) -> None:
        """Let one agent do one thing."""
        self.chance.choice(self._habits)()

    def send(self) -> None:
        """Send a signal to somebody, to many, or to somebody who is not there."""
        source = self._someone()
        audience = self.chance.choice(
            [
                [self._someone()],
                self.names,
                ["nobody", self._someone()],
                ["*"] if source == self.names[0] else ["@subscribers"],
                ["@subscribers"],
                [*self.names, *(f"ghost-{number}" for number in range(60))],
            ]
        )
        item = self._signal(source, audience)
        self.book.signals[self._put(tables.SIGNALS, item)] = item

    def send_badly(self) -> None:
        """Write a signal that must be refused; mend some of them."""
        source = self._someone()
        good = self._signal(source, [self._someone()])
        fault: Item = self.chance.choice(
            [
                {"ttl": int(self.world.clock()) - 10_000},
                {"target_agents": ["no#body"]},
                {"confidence": "NaN"},
                {"timestamp": int(self.world.clock()) + 9_000},
                {"signal_id": "another"},
            ]
        )
        key = self._put(tables.SIGNALS, {**good, **fault})
        self.book.refused.append(Refused(tables.SIGNALS, key, keys.owner_of(key.pk)))
        if "ttl" not in fault and self.chance.random() < 0.5:
            self._put(tables.SIGNALS, good)
            self.book.signals[key] = good

    def repeat_signal(self) -> None:
        """Put a signal again as it was, as a client does that got no answer."""
        if self.book.signals:
            key = self.chance.choice(list(self.book.signals))
            if self._stored(tables.SIGNALS, key):
                self._put(tables.SIGNALS, self.book.signals[key])

    def change_signal(self) -> None:
        """Try to change a signal after the fact."""
        if self.book.signals:
            key = self.chance.choice(list(self.book.signals))
            values = {"target_agents": ["mallory"], "data": {"changed": next(self._numbers)}}
            if self.world.tables.update(tables.SIGNALS, key, values):
                self.book.refused.append(Refused(tables.SIGNALS, key, keys.owner_of(key.pk)))

    def answer(self) -> None:
        """Take one message from an inbox and acknowledge it, sometimes twice, sometimes not."""
        name = self._someone()
        waiting = self.world.inboxes.waiting(name)
        if not waiting:
            return
        body = self.chance.choice(waiting)
        message = parse_message(body)
        if isinstance(message, SignalMessage) and self.chance.random() < 0.7:
            self._acknowledge(message)
        if self.chance.random() < 0.8:
            self.world.inboxes.delete(name, body)

    def spoil_row(self) -> None:
        """Set a row to a status it cannot take."""
        key = self._some_row()
        row = self._stored(tables.SIGNALS, key) if key else None
        if key and row and "signal_pk" in row:
            status = self.chance.choice(["DONE", "DELIVERED", "EXPIRED", "PENDING"])
            if row["status"] != status and row["status"] in ("PENDING", "PROCESSED"):
                self.world.tables.update(tables.SIGNALS, key, {"status": status})
                self.book.refused.append(Refused(tables.SIGNALS, key, keys.owner_of(key.pk)))

    def overwrite_row(self) -> None:
        """Acknowledge by PutItem, and so remove what the worker had written."""
        key = self._some_row()
        row = self._stored(tables.SIGNALS, key) if key else None
        if key and row and row.get("status") == "PENDING":
            moment = int(self.world.clock())
            self._put(tables.SIGNALS, {**key.item(), "status": "PROCESSED", "processed_at": moment})

    def decide(self) -> None:
        """Write a decision, some with their outcome, some late, some twice."""
        item = records.decision(
            self._someone(),
            self._name("d"),
            at=self.world.clock() - self.chance.choice([0, 0, 0, 5000]),
            kind=self.chance.choice(KINDS),
            context={"market": self.chance.choice(["up", "down"]), "cycle": self._cycle()},
        )
        state = State(0, None)
        if self.chance.random() < 0.3:
            state = State(1, self.chance.random() < 0.6)
            item["outcome"] = records.outcome(state.success is True)
        key = self._put(tables.DECISIONS, item)
        self.book.decisions[key] = item, [state]

    def resolve(self) -> None:
        """Write or revise an outcome."""
        if not self.book.decisions:
            return
        key = self.chance.choice(list(self.book.decisions))
        _, states = self.book.decisions[key]
        revision = max(state.revision for state in states) + 1
        success = self.chance.random() < 0.6
        values = {"outcome": records.outcome(success), "outcome_rev": revision}
        if self.world.tables.update(tables.DECISIONS, key, values):
            states.append(State(revision, success))

    def revise_badly(self) -> None:
        """Change an outcome without a higher revision, then withdraw the change."""
        key = self.chance.choice(list(self.book.decisions) or [None])
        item = self._stored(tables.DECISIONS, key) if key else None
        if key and item and "outcome" in item:
            held = item["outcome"]
            wrong = {**held, "success": not held["success"]}
            self.world.tables.update(tables.DECISIONS, key, {"outcome": wrong})
            self.world.tables.update(tables.DECISIONS, key, {"outcome": held})
            self.book.refused.append(Refused(tables.DECISIONS, key, item["agent_id"]))

    def remember(self) -> None:
        """Write something into short-term memory, well or badly."""
        item = records.memory(
            self._someone(),
            self._name("m"),
            at=self.world.clock(),
            importance=self.chance.choice([0, 1]),
            ttl=int(self.world.clock()) + 3 * 86_400,
            GSI1_PK="plan",
            GSI1_SK="2025",
        )
        if self.chance.random() < 0.2:
            del item["memory_id"]
            key = self._put(tables.STATE, item)
            self.book.refused.append(Refused(tables.STATE, key, item["agent_id"]))
        else:
            self.book.memories[self._put(tables.STATE, item)] = item

    def register_late(self) -> None:
        """Register an agent that was not there from the start."""
        self.world.register(self._name("late-"), subscriptions=["ALERT"])

    def _signal(self, source: str, audience: list[str]) -> Item:
        now = self.world.clock()
        lifetime = self.chance.choice([None, 60, 1500, 5000])
        more: Item = {} if lifetime is None else {"ttl": int(now) + lifetime}
        at = now - self.chance.choice([0, 0, 0, 30, 900])
        strict = self.chance.random() < 0.7
        return records.signal(source, self._name("s"), to=audience, at=at, strict=strict, **more)

    def _acknowledge(self, message: SignalMessage) -> None:
        key = keys.Key(message.row.PK, message.row.SK)
        row = self._stored(tables.SIGNALS, key)
        if row is not None and row.get("status") not in ACKNOWLEDGED:
            status = self.chance.choice(["PROCESSED", "PROCESSED", "FAILED"])
            self.world.acknowledge(key, status)

    def _some_row(self) -> keys.Key | None:
        found = self.world.tables.keys(tables.SIGNALS)
        rows = [key for key in found if key.pk.endswith("#inbox")]
        return self.chance.choice(rows) if rows else None

    def _stored(self, table: str, key: keys.Key) -> Item | None:
        return self.world.tables.get([Location(table, key)]).get(Location(table, key))

    def _put(self, table: str, item: Item) -> keys.Key:
        return self.world.tables.put(table, item)

    def _someone(self) -> str:
        return self.chance.choice(self.names)

    def _cycle(self) -> int:
        return self.chance.randint(1, 9)

    def _name(self, start: str) -> str:
        return f"{start}{next(self._numbers)}"
