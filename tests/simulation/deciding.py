"""What agents do with decisions: outcomes late and corrected, odd days, keys written twice."""

from decimal import Decimal
from typing import Any

from sharpwave.schemas import tables
from sharpwave.schemas.times import DAY_S, iso_ms
from sharpwave.workers.work.ports import Item
from tests.simulation.book import Decided, State
from tests.simulation.stage import Stage
from tests.world import records

KINDS = ("TRADE", "HEDGE")
#: What agents state, nonsense too.
_CONFIDENCES = [Decimal("0.05"), Decimal("0.3"), Decimal("0.71235"), Decimal("0.9"), 1, 0, "high"]
_CONFIDENCES += [Decimal("1.5"), -1, True, None]
_LOTS = [Decimal("0.25"), Decimal("0.3"), 1, Decimal("0.00001"), 0, 2, "half"]


class Deciding(Stage):
    """Decisions and their outcomes."""

    def decide(self) -> None:
        """Write a decision, some with their outcome, some long after it was made."""
        back = self.chance.choice([0, 0, 0, 5_000, 2 * DAY_S])
        self._decide(self.someone(), back=back)

    def decide_many(self) -> None:
        """Write enough decisions at once for a base rate to be measured."""
        source = self.names[0] if self.chance.random() < 0.7 else self.someone()
        for _ in range(self.chance.choice([8, 25])):
            self._decide(source, kind="TRADE", resolved=0.9)

    def decide_by_strangers(self) -> None:
        """Let an agent decide that never registered."""
        source = self.stranger()
        for _ in range(self.chance.choice([1, 12, 25])):
            self._decide(source, kind="TRADE", resolved=0.8)

    def decide_briefly(self) -> None:
        """Write a decision that is removed before it would come of age, or soon after."""
        lifetime = self.chance.choice([600, 600, 2 * DAY_S])
        self._decide(self.someone(), ttl=int(self.scene.clock()) + lifetime)

    def decide_on_days(self) -> None:
        """Write decisions of other days than that of their writing."""
        day = iso_ms(self.scene.clock() - self.chance.choice([0, 1, 1, 9, 90]) * DAY_S)
        text = self.chance.choice([day[:10], day])
        for _ in range(self.chance.choice([1, 6])):
            self._decide(self.someone(), event_time=text)

    def decide_in_cycles(self) -> None:
        """Write several decisions a cycle, on several days and in several slots."""
        source = self.someone()
        for _ in range(self.chance.choice([4, 12])):
            ago = self.chance.choice([0, 0, 1, 2, 9]) * DAY_S
            day = iso_ms(self.scene.clock() - ago)[:10]
            cycle = self.chance.randint(1, 3)
            self._decide(source, kind="TRADE", resolved=0.7, cycle=cycle, event_time=day)

    def decide_absurdly(self) -> None:
        """Write a decision of a day that is no good: long past, or far ahead."""
        source = self.someone()
        if self.chance.random() < 0.3:
            self._decide(source, event_time="1971-01-01")
            return
        if self.chance.random() < 0.3:
            item = self._decision(source, back=-20_000)
            self.must_refuse(tables.DECISIONS, self.put(tables.DECISIONS, item), source)
            return
        ahead = self.chance.choice([3 * DAY_S, 40_000 * DAY_S])
        item = self._decision(source, event_time=iso_ms(self.scene.clock() + ahead)[:10])
        key = self.put(tables.DECISIONS, item)
        self.must_refuse(tables.DECISIONS, key, source)

    def burst(self, count: int) -> None:
        """Write very many decisions of one agent, type and day at once."""
        day = iso_ms(self.scene.clock())[:10]
        for _ in range(count):
            self._decide(self.names[0], kind="TRADE", resolved=0.3, event_time=day)

    def resolve(self) -> None:
        """Write or revise an outcome."""
        decided = self._some_decision()
        # A record is judged by the moment it is stored, so past its ttl any change is refused.
        if decided is None or decided.item.get("ttl", 1 << 40) <= self.scene.clock():
            return
        if decided.is_spoilt or decided.others:
            return
        key = records.key_of(decided.item)
        revision = decided.last.revision + 1
        success, quality = self.chance.random() < 0.6, self.chance.choice([None, 0.5])
        values = {"outcome": _outcome(success, quality), "outcome_rev": revision}
        if self.update(tables.DECISIONS, key, values):
            second = int(self.scene.clock())
            decided.states.append(State(revision, success, second, quality))

    def revise_badly(self) -> None:
        """Change an outcome without a higher revision; withdraw the change, or leave it."""
        decided = self._some_decision()
        item = self.stored(tables.DECISIONS, records.key_of(decided.item)) if decided else None
        if decided and item and "outcome" in item and not (decided.is_spoilt or decided.others):
            key, held = records.key_of(decided.item), item["outcome"]
            wrong = {**held, "success": not held["success"]}
            self.update(tables.DECISIONS, key, {"outcome": wrong})
            self.must_refuse(tables.DECISIONS, key, item["agent_id"])
            self.update(tables.DECISIONS, key, {"outcome": held})

    def rewrite(self) -> None:
        """Write other content under the key of a decision that is gone."""
        decided = self._some_decision()
        if self.book.gaps:
            return  # what nobody saw and is gone, nobody can know
        rewritten = sum(bool(each.others) for each in self.book.decisions.values())
        if decided is None or decided.others or len(decided.states) > 1 or rewritten > 2:
            return
        key = records.key_of(decided.item)
        if decided.is_forgotten or decided.is_spoilt:
            return
        self.scene.tables.remove(tables.DECISIONS, key)
        other = {**decided.item, "context": {"market": "sideways", "cycle": 77}}
        other |= {"outcome": _outcome(True, None)}
        self.put(tables.DECISIONS, other)
        decided.others.append((other, State(1, True, int(self.scene.clock()))))

    def reuse_key(self) -> None:
        """Put other content over a decision that is there."""
        decided = self._some_decision()
        if decided is None or decided.others or self.book.gaps:
            return  # what nobody saw before it was changed, nobody can know
        key = records.key_of(decided.item)
        if self.stored(tables.DECISIONS, key):
            self.update(tables.DECISIONS, key, {"context": {"market": "up", "cycle": 99}})
            self.must_refuse(tables.DECISIONS, key, decided.item["agent_id"])
            decided.is_spoilt = True

    def forget(self) -> None:
        """Delete a decision that was counted."""
        decided = self._some_decision()
        if decided and not self.book.gaps:
            self.scene.tables.remove(tables.DECISIONS, records.key_of(decided.item))
            decided.is_forgotten = True

    def wait_a_day(self) -> None:
        """Let so much time pass that decisions come of age."""
        self.book.delays = True
        self.scene.clock.advance(self.chance.choice([40_000.0, 100_000.0]))
        self.scene.tables.expire(lambda table, key: self.chance.random() < 0.5)

    def _decide(self, source: str, *, back: int = 0, resolved: float = 0.3, **more: Any) -> None:
        item = self._decision(source, back=back, **more)
        state = State(0, None, int(self.scene.clock()))
        if self.chance.random() < resolved:
            success = self.chance.random() < (0.8 if item["context"]["market"] == "up" else 0.3)
            state = State(1, success, state.second, self.chance.choice([None, 0.25, 1.0]))
            item["outcome"] = _outcome(success, state.quality)
        key = self.put(tables.DECISIONS, item)
        self.book.decisions[key] = Decided(item, [state])

    def _decision(
        self,
        source: str,
        *,
        back: int = 0,
        kind: str | None = None,
        cycle: int | None = None,
        **more: Any,
    ) -> Item:
        context: Item = {"market": self.chance.choice(["up", "down"])}
        # A cycle's decisions lie in several slots and days, and some name the same one otherwise.
        cycle = cycle or self.chance.randint(1, 12)
        if cycle < 10:
            context["cycle"] = self.chance.choice([cycle, cycle, str(cycle), Decimal(f"{cycle}.0")])
        reasoning: dict[str, Any] = {}
        if self.chance.random() < 0.3:
            reasoning["patterns_applied"] = ["rising"]
        if self.chance.random() < 0.3:
            reasoning["confidence"] = self.chance.choice(_CONFIDENCES)
        if self.chance.random() < 0.2:
            more["confidence"] = self.chance.choice(_CONFIDENCES)
        if self.chance.random() < 0.3:
            reasoning["selection_prob"] = self.chance.choice(_LOTS)
        # By what was drawn already, so that histories stay as they were.
        reasoning |= _named(cycle, context["market"])
        more["reasoning"] = reasoning
        return records.decision(
            source,
            self.name("d"),
            at=self.now_of(source) - back,
            kind=kind or self.chance.choice(KINDS),
            context=context,
            **more,
        )

    def _some_decision(self) -> Decided | None:
        return self.chance.choice(list(self.book.decisions.values()) or [None])


def _outcome(success: bool, quality: float | None) -> Item:
    return records.outcome(success, None if quality is None else Decimal(str(quality)))


def _named(cycle: int, market: str) -> dict[str, Any]:
    """Name sources and a bucket: of some cycles one, of some two, of some neither."""
    sources = [name for name, divisor in (("news", 2), ("whales", 3)) if cycle % divisor == 0]
    return {
        **({"selected": sources} if sources else {}),
        **({"bucket": market} if cycle > 4 else {}),
    }
