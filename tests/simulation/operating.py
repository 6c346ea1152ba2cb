"""What operators do in mid-run: import patterns, lose records of a stream, reconcile."""

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, NamedTuple

from sharpwave.infra.errors import Conflict, Misused
from sharpwave.infra.operate import patterns
from sharpwave.schemas import keys, tables
from sharpwave.schemas.numbers import item_to_wire
from sharpwave.schemas.patterns import PatternDefinition, PatternVersion
from sharpwave.workers.reconcile import reconcile
from sharpwave.workers.signals.refusals import RefusedBefore
from sharpwave.workers.work.outgoing import WorkMessage
from sharpwave.workers.work.ports import Item, Location
from tests.simulation.book import Listed, Sent
from tests.simulation.scene import STREAMED
from tests.simulation.stage import Stage

#: An operator's clock may be off by as much: `patterns.Timing` allows for it.
_SKEW_S = 4


class Operating(Stage):
    """Operators."""

    def import_pattern(self) -> None:
        """Import a pattern that is new: of one agent, or of everyone."""
        owner = self.chance.choice([self.names[0], self.names[0], None])
        self._import(self.name("p"), owner, self.chance.choice(["up", "down", None]))

    def import_with_base(self) -> None:
        """Import a pattern that says what it has to beat, so that its evidence counts at once."""
        self._import(self.name("p"), self.names[0], self.chance.choice(["up", None]), base=0.2)

    def find_candidate(self) -> None:
        """Let a worker admit a candidate, a new one or one that it gave up before."""
        number = self.chance.randrange(4)
        name, market = f"found_{number}", ("up", "down")[number % 2]
        # Some are promoted soon and then never given up, some never are.
        base = (0.95, 0.2, 0.2, 0.95)[number]
        content = {
            "pattern_id": name,
            "agent_id": self.names[0],
            "decision_type": "TRADE",
            "conditions": [{"path": "context.market", "op": "eq", "value": market}],
            "base_rate": base,
        }
        made = self.scene.process().admission.admit(
            PatternDefinition.model_validate(content),
            origin="discovery",
            parent=None,
            reason="it was found",
        )
        known = {(listed.name, listed.number) for listed in self.book.versions}
        if made is not None and (name, made.version) not in known:
            version = Listed(
                name, self.names[0], "TRADE", market, made.version, made.effective_from, base=base
            )
            self.book.versions.append(version)
        self.scene.clock.advance(self.chance.choice([0, 15, 60]))

    def give_up_candidate(self) -> None:
        """Let a worker end a candidate that it admitted, if it is one yet."""
        running = [
            listed
            for listed in self.book.versions
            if listed.name.startswith("found_") and listed.ends is None
        ]
        chosen = self.chance.choice(running or [None])
        if chosen and self.scene.process().discovery.retire(self.names[0], chosen.name):
            subject = keys.pattern_subject(self.names[0], chosen.name, chosen.number)
            entry = self.stored(tables.PIPELINE, keys.known_pattern(subject))
            assert entry is not None
            chosen.ends = PatternVersion.of_entry(entry).effective_to
            self.book.given_up.add(subject)

    def edit_pattern(self) -> None:
        """Import the pattern that is there from the start, or another one, with a change."""
        last = {listed.name: listed for listed in self.book.versions}
        held = self.chance.choice(sorted(last.values(), key=lambda each: each.name))
        markets = [market for market in ("up", "down", None) if market != held.market]
        self._import(held.name, held.owner, self.chance.choice(markets))

    def gap(self) -> None:
        """Lose what agents do while nobody reads the streams; it is healed by reconciling."""
        self.scene.stalled = {
            name: until for name, until in self.scene.stalled.items() if name not in STREAMED
        }
        for table, page in self.scene.unread():
            self.scene.feed(table, page)
        before = set(self.book.signals)
        for _ in range(self.chance.choice([1, 3, 6])):
            act: Callable[[], None] = getattr(
                self, self.chance.choice(["send", "decide", "resolve", "remember", "answer"])
            )
            act()
        self.scene.unread()
        self.book.lost |= self.book.signals.keys() - before
        self.book.gaps += 1
        self.book.delays = True

    def reconcile(self) -> None:
        """Feed all tables to the router again."""
        self._note_readings()
        for table in STREAMED:
            reconcile(
                table,
                self.scene.tables.scan(table),
                route=self.scene.route,
                send=self.scene.queues.send,
                now=self.scene.clock(),
                refused=RefusedBefore(self.scene.tables),
            )

    def mix_versions(self) -> None:
        """From now on some messages and stored forms come from a newer release."""
        self.scene.touch_up = self._newer
        for listed in self.scene.tables.query(tables.PIPELINE, keys.KNOWN_PATTERNS_PK):
            content = json.loads(listed["version"])
            content["definition"]["since_next_release"] = content["since_next_release"] = [1]
            key = keys.Key(listed["PK"], listed["SK"])
            more = {"since_next_release": 1, "version": json.dumps(content)}
            self.update(tables.PIPELINE, key, more)
        for name in self.registered()[:2]:
            key = keys.registration(name)
            self.update(tables.STATE, key, {"since_next_release": {"more": "of it"}})

    def begin(self) -> None:
        """Import the pattern that is there from the start, and let it take effect."""
        self._import("rising", self.names[0], "up")
        self.scene.clock.advance(60)

    def _note_readings(self) -> None:
        """Note how signals are found that are fed again: what they said first, nobody may know."""
        for sent in self.book.signals.values():
            found = self.stored(tables.SIGNALS, sent.key)
            if found is None:
                continue
            if all(found.get(name) == sent.item[name] for name in sent.item.keys() - {"ttl"}) and (
                found.get("ttl") in (None, *sent.deadlines)
            ):
                self.book.lost.discard(sent.key)
            elif "audience_chunks" not in found and not self._is_refused(sent, found):
                # A mirror says for whom it was, and leaves open what was said.
                mirror = self.stored(tables.SIGNALS, keys.mirror(sent.key)) or {}
                is_begun = "status_v" in mirror and "processing_status" in mirror
                audience = (sent.item if is_begun else found)["target_agents"]
                sent.readings.append({**found, "target_agents": audience})

    def _is_refused(self, sent: Sent, found: Item) -> bool:
        """Say whether what a signal says by now is parked."""
        image = item_to_wire(found)
        parked = [
            json.loads(item["image"])
            for key, item in self.scene.tables.items(tables.PIPELINE).items()
            if key.pk.startswith("parked#") and (item["record_pk"], item["record_sk"]) == sent.key
        ]
        names = {*sent.item, "ttl"}
        return any(all(each.get(name) == image.get(name) for name in names) for each in parked)

    def _newer(self, messages: list[WorkMessage]) -> list[WorkMessage]:
        return [
            WorkMessage(each.queue, _with_more(each.body), each.sequence_numbers)
            if self.chance.random() < 0.5
            else each
            for each in messages
        ]

    def _import(
        self,
        name: str,
        owner: str | None,
        market: str | None,
        *,
        base: float | None = None,
        half_life: int = 14,
    ) -> None:
        content: dict[str, Any] = {"pattern_id": name, "decision_type": "TRADE"}
        content["half_life_days"] = half_life
        if owner:
            content["agent_id"] = owner
        if base:
            content["base_rate"] = base
        if market:
            content["conditions"] = [{"path": "context.market", "op": "eq", "value": market}]
        now = self.scene.clock() + self.chance.choice([0, 0, _SKEW_S, -_SKEW_S])
        definition = PatternDefinition.model_validate(content)
        items: Any = Items(self.scene.tables)
        timing = patterns.Timing()
        try:
            done = patterns.import_pattern(items, definition, timing, now, dry_run=False)
        except Misused:
            return  # what a newer release imported, this one does not write over
        if done.change not in ("created", "new version"):
            return
        for held in self.book.versions:
            if held.name == name and held.ends is None:
                held.ends = done.effective_from
        version = Listed(
            *(name, owner, "TRADE", market, done.version, done.effective_from),
            base=base,
            half_life=half_life,
        )
        self.book.versions.append(version)


def _with_more(body: str) -> str:
    """Add what a newer release may add to a message: keys that this one does not know."""
    content = json.loads(body)
    for entry in content["kwargs"]["entries"]:
        entry["since_next_release"] = {"more": [1]}
    return json.dumps(content)


class _Part(NamedTuple):
    """One part of a transaction: what must hold, and what it then does."""

    holds: Callable[[], bool]
    does: Callable[[], object]


class Items:
    """`sharpwave.infra.items.Items` over tables in memory, as far as operators need it."""

    def __init__(self, store: Any) -> None:
        self._store = store

    def get(self, table: str, key: keys.Key) -> Item | None:
        place = Location(table, key)
        found: Item | None = self._store.get([place]).get(place)
        return found

    def query(self, table: str, pk: str) -> Iterator[Item]:
        found: Iterator[Item] = self._store.query(table, pk)
        return found

    def new(self, table: str, item: Mapping[str, Any]) -> _Part:
        key = keys.Key(item["PK"], item["SK"])
        return _Part(lambda: self.get(table, key) is None, lambda: self.put(table, item))

    def below(self, table: str, key: keys.Key, name: str, limit: int) -> _Part:
        def holds() -> bool:
            value = (self.get(table, key) or {}).get(name)
            return value is None or value < limit

        return _Part(holds, lambda: None)

    def whole(self, table: str, item: Mapping[str, Any]) -> _Part:
        return _Part(lambda: True, lambda: self.put(table, item))

    def change(
        self,
        table: str,
        key: keys.Key,
        attributes: Mapping[str, Any],
        *,
        remove: Sequence[str] = (),
        expected: Mapping[str, Any] | None = None,
        missing: Sequence[str] = (),
    ) -> _Part:
        def holds() -> bool:
            held = self.get(table, key)
            wanted = expected or {}
            return (
                held is not None
                and all(held.get(name) == wanted[name] for name in wanted)
                and not any(name in held for name in missing)
            )

        return _Part(holds, lambda: self._store.update(table, key, attributes, remove=remove))

    def transact(self, writes: Sequence[_Part], *, thing: str) -> None:
        if not all(write.holds() for write in writes):
            raise Conflict(f"{thing} was changed by somebody else")
        for write in writes:
            write.does()

    def put(self, table: str, item: Mapping[str, Any]) -> None:
        self._store.put_wire(table, item_to_wire(item))

    def update(self, table: str, key: keys.Key, attributes: Mapping[str, Any]) -> bool:
        done: bool = self._store.update(table, key, attributes)
        return done

    def delete(self, table: str, key: keys.Key) -> bool:
        self._store.remove(table, key)
        return True
