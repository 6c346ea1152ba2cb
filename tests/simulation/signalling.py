"""What agents do with signals: well, badly, to one and to hundreds, and then change their minds."""

from typing import Any

from sharpwave.schemas import keys, tables
from sharpwave.schemas.ids import SYSTEM
from sharpwave.schemas.ownership import sealed
from sharpwave.workers.work.ports import Fate, Item
from tests.simulation.book import Sent
from tests.simulation.stage import Stage
from tests.world import records

#: Targets above which an audience is delivered in parts.
LARGE = 50


class Signalling(Stage):
    """Signals and the fleet that they go to."""

    def send(self) -> None:
        """Send a signal to somebody, to several, or to somebody who is not there."""
        audience = self.chance.choice(
            [[self.someone()], [self.someone()], list(self.names), ["nobody", self.someone()]]
        )
        self._send(self.someone(), audience)

    def impersonate(self) -> None:
        """Send a signal in the pipeline's own name, with all that its own have."""
        target, now = self.someone(), self.scene.clock()
        data = {"subject": "pattern:agent-0:rising@1", "transition": self.chance.choice([1, 7])}
        item = records.signal(
            SYSTEM, self.name("s"), to=[target], at=now, kind="PATTERN_PROMOTED", data=data
        )
        if self.chance.random() < 0.8:
            item = sealed(records.key_of(item), item)
        self.must_refuse(tables.SIGNALS, self.put(tables.SIGNALS, item), SYSTEM)

    def send_to_some(self) -> None:
        """Send a signal to a few at once."""
        self._send(self.someone(), list(self.names))

    def send_briefly(self) -> None:
        """Send a signal that is soon too late."""
        lifetime = self.chance.choice([2, 5, 20, 60, 300])
        self._send(self.someone(), [self.someone(), self.someone()], lifetime=lifetime)

    def send_to_many(self) -> None:
        """Send a signal to more than one message's worth of targets."""
        size = self.chance.choice([51, 51, 51, 55, 60, 60, 110, 300])
        crowd = [f"crowd-{number:03d}" for number in range(size)]
        for name in crowd[: self.chance.choice([2, 5, 12])]:
            if self.book.standing(name) is None:
                self.register(name)
        self._send(self.someone(), [*self.names, *crowd])

    def send_to_many_too_late(self) -> None:
        """Send a signal to many whose time is over before the pipeline comes to it."""
        lifetime = self.chance.choice([2, 5, 20])
        crowd = [f"crowd-{number:03d}" for number in range(self.chance.choice([51, 110, 160]))]
        for name in crowd:
            if self.book.standing(name) is None:
                self.register(name)
        self.scene.stalled["deliver"] = self.scene.clock() + lifetime + 10
        self.book.delays = True
        self._send(self.someone(), crowd, lifetime=lifetime)

    def broadcast(self) -> None:
        """Send a signal to everyone, or to those who asked for its type."""
        if self.chance.random() < 0.5:
            self._send(self.names[0], ["*"])
        else:
            self._send(self.someone(), ["@subscribers"])

    def join(self) -> None:
        """Register an agent that was not there from the start, or register one again."""
        names = [name for name in self.book.agents if name.startswith("late-")]
        name = self.name("late-") if not names or self.chance.random() < 0.7 else names[-1]
        self.register(name, subscriptions=self.chance.choice([["ALERT"], ["ALERT"], ["NEWS"]]))

    def join_and_broadcast(self) -> None:
        """Register some agents just before a signal to everyone."""
        for _ in range(self.chance.choice([1, 1, 1, 2, 2, 2, 3, 3, 3, 3, 4, 52])):
            self.register(self.name("late-"), subscriptions=["ALERT"])
        self.scene.clock.advance(self.chance.choice([0.0, 0.3, 2.0]))
        self.broadcast()

    def leave(self) -> None:
        """Withdraw the registration of an agent that came late; its queue may go with it."""
        names = [name for name in self.registered() if name.startswith("late-")]
        if names:
            name = self.chance.choice(names)
            self.withdraw(name)
            if self.chance.random() < 0.5:
                self.scene.inboxes.remove(name)

    def send_within_quota(self) -> None:
        """Send no more than a source may."""
        source = self._limited("modest", per_minute=60)
        self._send(source, [self.someone()])

    def send_beyond_quota(self) -> None:
        """Send more at once than a source may."""
        source = self._limited("greedy", per_minute=10)
        for _ in range(self.chance.choice([6, 14])):
            self._send(source, [self.someone(), self.someone()])

    def send_badly(self) -> None:
        """Write a signal that must be refused; mend some of them."""
        source = self.someone()
        good = self._signal(source, [self.someone()])
        fault: Item = self.chance.choice(
            [
                {"ttl": int(self.scene.clock()) - 10_000},
                {"target_agents": ["no#body"]},
                {"confidence": "NaN"},
                {"timestamp": int(self.scene.clock()) + 9_000},
                {"signal_id": "another"},
            ]
        )
        key = self.put(tables.SIGNALS, {**good, **fault})
        self.must_refuse(tables.SIGNALS, key, self._owner(key))
        if "ttl" not in fault and self.chance.random() < 0.5:
            self.put(tables.SIGNALS, good)
            self._note(key, good)

    def repeat_signal(self) -> None:
        """Put a signal again as it was, as a client does that got no answer."""
        sent = self._some_signal()
        if sent and not sent.removed and self.stored(tables.SIGNALS, sent.key):
            self.put(tables.SIGNALS, sent.item)
            sent.deadlines.append(_deadline(sent.item))

    def change_signal(self) -> None:
        """Change a signal after the fact; only its ttl may change."""
        sent = self._some_signal()
        if sent is None or self.book.gaps:
            return  # what nobody saw before it was changed, nobody can know
        if self.chance.random() < 0.2:
            ttl = int(self.scene.clock()) + self.chance.choice([400, 9_000])
            if self.update(tables.SIGNALS, sent.key, {"ttl": ttl}):
                sent.deadlines.append(ttl)
            return
        change: Item = self.chance.choice(
            [
                {"target_agents": ["mallory"], "data": {"changed": self.number()}},
                {"data": {"changed": self.number()}},
                {"source_agent": "mallory"},
                {"ttl": "soon"},
            ]
        )
        if self.update(tables.SIGNALS, sent.key, change):
            self.must_refuse(tables.SIGNALS, sent.key, sent.owner)

    def spoil_mirror(self) -> None:
        """Put something else in the place of a signal's mirror, or delete it."""
        sent = self._some_signal()
        if sent is None or self.book.gaps:
            return
        place = keys.mirror(sent.key)
        if self.chance.random() < 0.3:
            self.scene.tables.remove(tables.SIGNALS, place)
            return
        more: Item = self.chance.choice(
            [{}, {"processing_status": {"mallory": {"status": "PROCESSED"}}}]
        )
        self.put(tables.SIGNALS, {**place.item(), "note": self.number(), **more})
        self.must_refuse(tables.SIGNALS, place, sent.owner)

    def remove_signal(self) -> None:
        """Delete a signal that was written."""
        sent = self._some_signal()
        if sent and not self.book.gaps:
            self.scene.tables.remove(tables.SIGNALS, sent.key)
            sent.removed = True

    def break_inbox(self) -> None:
        """Let one inbox refuse what it is sent, or be gone, for a time."""
        name = self.someone()
        until = self.scene.clock() + self.chance.choice([3, 90, 90, 4_000])
        fate = self.chance.choice([Fate.FAILED, Fate.FAILED, Fate.GONE])
        self.scene.inboxes.broken[name] = until, fate
        self.book.outages.add(name)

    def wait(self) -> None:
        """Let some minutes pass."""
        self.scene.clock.advance(self.chance.choice([30.0, 70.0, 400.0]))

    def _limited(self, name: str, *, per_minute: int) -> str:
        if self.book.standing(name) is None:
            self.register(name, signals_per_minute=per_minute)
        return name

    def _send(self, source: str, audience: list[str], *, lifetime: int | None = None) -> None:
        item = self._signal(source, audience, lifetime=lifetime)
        self._note(self.put(tables.SIGNALS, item), item)

    def _signal(self, source: str, audience: list[str], *, lifetime: int | None = None) -> Item:
        now = self.now_of(source)
        if lifetime is None:
            lifetime = self.chance.choice([None, None, 1_500, 5_000])
        else:
            now = self.scene.clock()
        more: dict[str, Any] = {"data": {"n": self.number()}}
        if lifetime is not None:
            more["ttl"] = int(self.scene.clock()) + lifetime
        if self.chance.random() < 0.3:
            severity = self.chance.choice(["high", "critical", "low"])
            more |= {"severity": severity, "confidence": 1, "context": {"why": "because"}}
        at = now - self.chance.choice([0, 0, 0, 30, 900])
        strict = self.chance.random() < 0.7
        item = records.signal(source, self.name("s"), to=audience, at=at, strict=strict, **more)
        if not strict and self.chance.random() < 0.2:
            item["PK"] += f"#{self.chance.randint(0, 9)}"
        return item

    def _note(self, key: keys.Key, item: Item) -> None:
        moment = self.book.moment(self.scene.clock())
        parts = key.pk.split("#")
        sharded = len(parts) == 3 and parts[2].isdigit()
        deadline = _deadline(item)
        self.book.signals[key] = Sent(key, item, moment, [deadline], sharded=sharded)

    def _some_signal(self) -> Sent | None:
        return self.chance.choice(list(self.book.signals.values()) or [None])

    @staticmethod
    def _owner(key: keys.Key) -> str | None:
        parts = key.pk.split("#")
        return parts[2] if len(parts) == 3 and not parts[2].isdigit() else None


def _deadline(item: Item) -> int:
    return int(item.get("ttl") or item["timestamp"] + 86_400)


__all__ = ["LARGE", "Signalling"]
