"""What a pattern lives through: days of decisions, a rate that falls, rests, second thoughts.

Two patterns say what they have to beat. One is planted, and its rate changes; the other is nothing,
and its rate is the very one that it has to beat. Outcomes come late, are corrected, or never come,
failures more often than successes, in some histories most of them. All of a cycle that do the same
end the same. In some histories all of it happened long ago, and is written down day by day.
"""

from collections.abc import Callable, Iterator
from functools import partial
from unittest.mock import patch

from sharpwave.infra.errors import Conflict, Misused
from sharpwave.infra.operate import lives, patterns
from sharpwave.schemas import keys, tables
from sharpwave.schemas.patterns import PatternVersion
from sharpwave.schemas.times import DAY_S, iso_ms
from sharpwave.workers.patterns.telling import DEGRADED, PROMOTED, RETIRED
from sharpwave.workers.work import ticks
from tests.simulation.book import Decided, State
from tests.simulation.operating import Items, Operating
from tests.world import records

PLANTED, NOTHING = "lift", "flat"
BASE = 0.4
LISTENER = "listener"
_KIND = "TRADE"
#: The planted pattern's rate in good seasons, and in others: it fades, falls, or matches nothing.
_RATE, _OTHERS = 0.95, (0.4, 0.2, 0.05, None)
#: Days of a season: what is bad for a few of them may be doubted and no more.
_SEASON = (4, 7)


class Seasons(Operating):
    """The days of the agent whose patterns are watched, and of who operates them."""

    rate: float | None = _RATE
    days = 0
    turns_on = 9
    #: In some seasons no outcome of the planted pattern is known for days.
    is_silent = False
    hidden = 0.0
    #: How long ago all of it happened: some agents write down what was decided elsewhere.
    ago_days = 0

    def sow(self) -> None:
        """Import both patterns, and register who wants to hear of them."""
        self.hidden = self.chance.choice([0.2, 0.2, 0.7])
        self.ago_days = self.chance.choice([0, 0, 0, 150])
        topics = [PROMOTED, DEGRADED, RETIRED]
        self.register(LISTENER, subscriptions=topics, may_broadcast=False)
        # What fades in a day is soon too little to judge by, where outcomes wait.
        half_life = self.chance.choice([14, 1])
        self._import(PLANTED, self.names[0], "up", base=BASE, half_life=half_life)
        self._import(NOTHING, self.names[0], "down", base=BASE)
        self.scene.clock.advance(60)

    def live_a_day(self) -> None:
        """Let a day pass, with what is decided and what becomes known on it."""
        self.book.delays = True
        self.scene.clock.advance(DAY_S)
        self._hear()
        self._read_versions()
        day = int(self.scene.clock() // DAY_S)
        ends: dict[tuple[str, int], bool] = {}
        self.days += 1
        if self.days == self.turns_on:
            self.turns_on += self.chance.choice(_SEASON)
            self.is_silent = self.chance.random() < 0.3
            # From a good one into any, and from any other back.
            self.rate = self.chance.choice(_OTHERS) if self.rate == _RATE else _RATE
        counts = {"up": 0 if self.rate is None else self.chance.choice([2, 3, 4]), "down": 2}
        for market, count in counts.items():
            rate = self.rate or 0.0 if market == "up" else BASE
            for _ in range(count):
                cycle = 10 * day + self.chance.randint(1, 4)
                success = ends.setdefault((market, cycle), self.chance.random() < rate)
                self._decide_in(market, cycle, success)
        self._tick()

    def take_a_break(self) -> None:
        """Let nobody decide for days, while outcomes still become known."""
        self.scene.clock.advance(self.chance.choice([2, 6]) * DAY_S)
        self._hear()
        self._tick()

    def end_well(self) -> Iterator[None]:
        """Let good days come last, so that doubts need not last, or none whose outcome is known."""
        self.rate, self.is_silent, self.turns_on = _RATE, self.chance.random() < 0.3, 0
        for _ in range(6):
            self.live_a_day()
            yield

    def correct(self) -> None:
        """Say of a decision of the planted pattern that it ended otherwise after all."""
        told = [
            each
            for each in self.book.decisions.values()
            if each.last.success is not None and each.item["context"]["market"] == "up"
        ]
        if told:
            decided = self.chance.choice(told)
            self._tell(decided, success=not decided.last.success)

    def grant_or_revoke(self) -> None:
        """Share the planted pattern with another agent, or take that back."""
        listed = self._standing()
        if listed is None:
            return
        reader = self.names[1]
        is_granted = reader in listed.definition.shared_with
        readers = [] if is_granted else [reader]
        wanted = listed.definition.model_copy(update={"shared_with": readers})
        # What `patterns share` and `unshare` do, once they found the pattern.
        patterns.import_pattern(
            Items(self.scene.tables),  # type: ignore[arg-type]
            wanted,
            patterns.Timing(),
            self.scene.clock(),
            dry_run=False,
            begins_anew=False,
        )
        self.book.granted[PLANTED] = set(readers)
        copy = keys.shared_pattern_copy(reader, self.names[0], PLANTED)
        if is_granted and self.stored(tables.MEMORY, copy):
            self.book.broken.append(f"unshare returned, and {reader} still has its copy")

    def put_aside(self) -> None:
        """Retire the planted pattern by hand, and take that back some days later."""
        if self._moves(lives.retire):
            due = self.scene.clock() + 3 * DAY_S - 1
            self.book.due.append((due, partial(self._moves, lives.revive)))

    def meddle(self) -> None:
        """Want back what is retired, whoever retired it; or else correct, grant or revoke."""
        listed = self._standing()
        row = listed and self.stored(tables.MEMORY, keys.Key(listed.pk, PLANTED))
        if row and row.get("state") == "retired":
            self._moves(lives.revive)
        else:
            self.chance.choice([self.correct, self.grant_or_revoke, self.grant_or_revoke])()

    def _moves(self, move: Callable[..., object]) -> bool:
        listed = self._standing()
        if not (listed and self.stored(tables.MEMORY, keys.Key(listed.pk, PLANTED))):
            return False
        with (
            patch.object(lives, "Items", Items),
            patch.object(patterns, "Items", Items),
        ):
            try:
                move(self.scene.tables, PLANTED, "somebody said so")
            except (Misused, Conflict):
                return False  # its promise is broken, it is so already, or workers were at it
        return True

    def _tick(self) -> None:
        duties = ticks.EXPIRY, ticks.FIGURES
        self.scene.queues.send([ticks.tick(each, clock=self.scene.clock) for each in duties])

    def _standing(self) -> PatternVersion | None:
        """Give the planted pattern's current version as operators read it."""
        items = self.scene.tables.query(tables.PIPELINE, keys.KNOWN_PATTERNS_PK)
        found = [PatternVersion.of_entry(item) for item in items]
        mine = [each for each in found if each.definition.pattern_id == PLANTED]
        return max(mine, key=lambda each: each.version, default=None)

    def _decide_in(self, market: str, cycle: int, success: bool) -> None:
        context = {"market": market, "cycle": cycle}
        at = self.now_of(self.names[0])
        item = records.decision(self.names[0], self.name("d"), at=at, kind=_KIND, context=context)
        if self.ago_days:
            item["event_time"] = iso_ms(at - self.ago_days * DAY_S)[:10]
        hidden = self.hidden if market == "down" else 0.2
        never, late = (0.05, 0.15) if success else (hidden, 0.3)
        days = [1, 1, 2, 4]
        if self.is_silent and market == "up":
            never, late, days = 0.0, 1.0, [6]
        fate = self.chance.random()
        state = State(0, None, int(self.scene.clock()))
        if never + late <= fate:
            item["outcome"] = records.outcome(success)
            state = State(1, success, state.second)
        decided = Decided(item, [state])
        self.book.decisions[self.put(tables.DECISIONS, item)] = decided
        if never <= fate < never + late:
            due = self.scene.clock() + self.chance.choice(days) * DAY_S - 1
            self.book.due.append((due, partial(self._tell, decided, success=success)))

    def _hear(self) -> None:
        """Write the outcomes that are due by now."""
        now = self.scene.clock()
        due = [tell for at, tell in self.book.due if at <= now]
        self.book.due = [each for each in self.book.due if each[0] > now]
        for tell in due:
            tell()

    def _read_versions(self) -> None:
        """Look whether a version says something else than it first did, but for when it ends."""
        for key, item in self.scene.tables.items(tables.MEMORY).items():
            if item.get("memory_type") == "PATTERN_VERSION":
                said = {name: value for name, value in item.items() if name != "effective_to"}
                if self.book.read.setdefault(key, said) != said:
                    self.book.broken.append(f"the version {key.sk} was changed to {said}")

    def _tell(self, decided: Decided, *, success: bool) -> None:
        revision = decided.last.revision + 1
        values = {"outcome": records.outcome(success), "outcome_rev": revision}
        if self.update(tables.DECISIONS, records.key_of(decided.item), values):
            state = State(revision, success, int(self.scene.clock()))
            decided.states.append(state)
