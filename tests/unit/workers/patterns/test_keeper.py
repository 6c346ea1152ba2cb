"""Workers promote, doubt and retire patterns, tell it once, and nobody else can tell it."""

from collections import Counter
from collections.abc import Sequence
from copy import deepcopy
from random import Random
from typing import Any
from unittest.mock import patch

import pytest

from sharpwave.schemas import keys, tables
from sharpwave.schemas.messages import SignalMessage
from sharpwave.schemas.ownership import sealed
from sharpwave.schemas.patterns import PatternDefinition, PatternVersion
from sharpwave.workers.patterns import admission
from sharpwave.workers.patterns.life import rest_of, weigh, weighed_attributes
from sharpwave.workers.patterns.policy import Policy
from sharpwave.workers.patterns.recount import Recount, bases_of
from sharpwave.workers.work.ports import Delete, Item, Location
from tests.world import Crash, Faults, World
from tests.world.records import decision, key_of, memory, outcome, registration, signal
from tests.world.tables import MemoryTables
from tests.world.world import DAY_S, messages

TOPICS = ["PATTERN_PROMOTED", "PATTERN_DEGRADED", "PATTERN_RETIRED"]


def definition(pattern_id: str = "up", **more: Any) -> PatternDefinition:
    fields = {"pattern_id": pattern_id, "agent_id": "ann", "decision_type": "TRADE", **more}
    fields.setdefault("conditions", [{"path": "context.market", "op": "eq", "value": "up"}])
    return PatternDefinition.model_validate(fields)


def admit(world: World, one: PatternDefinition, *, parent: str | None = None) -> PatternVersion:
    found = world.process().admission.admit(
        one, origin="discovery", parent=parent, reason="it was found"
    )
    assert found is not None
    return found


class Trader:
    """An agent that decides day after day, and a subscriber that hears of its patterns."""

    def __init__(self, world: World) -> None:
        self.world, self.chance, self.number = world, Random(4), 0
        world.register("ann", "bob")
        world.register("risk", subscriptions=TOPICS)
        world.settle()

    def days(self, count: int, *, up: float, down: float = 0.5, each: int = 8) -> None:
        """Decide `each` times a day in both markets, with these rates of success."""
        for _ in range(count):
            self.day(up=up, down=down, each=each)
            self.world.tick()
            self.world.settle()

    def day(self, *, up: float, down: float = 0.5, each: int = 8, process: Any = None) -> None:
        self.world.clock.advance(DAY_S)
        for market, rate in (("up", up), ("down", down)):
            for _ in range(each):
                self.number += 1
                item = decision(
                    name=f"d{self.number}",
                    at=self.world.clock(),
                    context={"market": market},
                    outcome=outcome(self.chance.random() < rate),
                )
                self.world.tables.put(tables.DECISIONS, item)
        self.world.settle(process)

    def until(self, state: str, *, up: float) -> None:
        """Go on until a pattern is in a state, or it takes too long."""
        for _ in range(60):
            self.days(1, up=up)
            if self.row()["state"] == state:
                return
        raise AssertionError(f"not {state} after 60 days: {self.row()}")

    def row(self, pattern_id: str = "up") -> Item:
        return self.world.tables.items(tables.MEMORY)[keys.Key(keys.pattern_pk("ann"), pattern_id)]

    def history(self, version: PatternVersion) -> list[Item]:
        return list(self.world.tables.query(tables.PIPELINE, keys.life_pk(version.subject)))

    def heard(self) -> list[tuple[str, str]]:
        """Give what the subscriber was told, each as (signal type, pattern and version)."""
        # A message may come twice, and its client absorbs that by the delivery's id.
        posts = (each for each in messages(self.world, "risk") if isinstance(each, SignalMessage))
        told = {each.delivery_id: each for each in posts}.values()
        return [
            (each.signal_type, f"{each.data['pattern_id']}@{each.data['version']}")
            for each in told
            if each.data is not None
        ]


@pytest.fixture
def trader() -> Trader:
    return Trader(World())


def test_a_pattern_earns_its_promotion_loses_it_and_begins_anew(trader: Trader) -> None:
    version = admit(trader.world, definition())
    trader.until("active", up=0.8)

    row = trader.row()
    assert row["state"] == "active"
    assert row["evidence"] >= 1
    assert trader.heard() == [("PATTERN_PROMOTED", "up@1")]
    (promoted,) = trader.history(version)
    assert (promoted["from"], promoted["to"]) == ("candidate", "active")
    assert promoted["figures"]["evidence"] >= promoted["figures"]["evidence_needed"]
    assert "log evidence" in promoted["reason"]

    trader.until("degraded", up=0.4)
    assert trader.heard()[-1] == ("PATTERN_DEGRADED", "up@1")

    while trader.row()["version"] == 1:
        trader.days(1, up=0.3)
    trader.days(1, up=0.3)
    assert trader.heard()[-1] == ("PATTERN_RETIRED", "up@1")
    assert [each["to"] for each in trader.history(version)] == ["active", "degraded", "retired"]
    following = trader.row()
    assert (following["version"], following["state"]) == (2, "candidate")
    assert following["evidence_n"] < 20
    entry = trader.world.tables.items(tables.PIPELINE)[
        keys.known_pattern(keys.pattern_subject("ann", "up", 2))
    ]
    second = PatternVersion.of_entry(entry)
    assert (second.origin, second.parent) == ("drift", "up@1")
    assert second.base is not None
    assert second.number == 2


def test_what_is_no_better_than_the_rest_stays_a_candidate(trader: Trader) -> None:
    version = admit(trader.world, definition())
    trader.days(16, up=0.5)
    assert trader.row()["state"] == "candidate"
    assert trader.history(version) == []
    assert trader.heard() == []


def test_a_market_that_rose_promotes_nothing(trader: Trader) -> None:
    trader.days(8, up=0.5)
    admit(trader.world, definition())
    trader.days(1, up=0.5)
    assert trader.row()["base_frozen"] is not None
    trader.days(12, up=0.85, down=0.85)
    assert trader.row()["evidence"] > trader.row()["evidence_needed"]
    assert trader.row()["state"] == "candidate"


def test_a_pattern_to_avoid_is_promoted_for_its_failures(trader: Trader) -> None:
    trader.days(8, up=0.5)
    admit(trader.world, definition(kind="avoid"))
    trader.until("active", up=0.15)
    assert trader.row()["kind"] == "avoid"


def test_a_base_is_frozen_once(trader: Trader) -> None:
    admit(trader.world, definition())
    trader.days(14, up=0.6)
    frozen = trader.row()["base_frozen"]
    assert frozen is not None
    trader.days(3, up=0.6, down=0.1)
    assert trader.row()["base_frozen"] == frozen


def test_who_knows_enough_freezes_when_the_version_is_made(trader: Trader) -> None:
    trader.days(8, up=0.5)
    version = admit(trader.world, definition())
    assert version.base is not None
    assert (version.base.n, version.base.since) == (128, "")


def test_readers_copies_tell_the_state_too(trader: Trader) -> None:
    trader.days(8, up=0.5)
    version = admit(trader.world, definition(shared_with=["bob"]))
    trader.until("shared", up=0.9)
    copy = trader.world.tables.items(tables.MEMORY)[
        keys.shared_pattern_copy("bob", version.owner, "up")
    ]
    assert trader.row()["state"] == copy["state"] == "shared"
    assert copy["sample_size"] == trader.row()["sample_size"]
    assert "state_seq" in copy


def test_a_rule_shares_once_and_a_revocation_stands() -> None:
    world = World()
    world.settings._policy = Policy(share_with=("bob", "ann"), share_units=20)
    trader = Trader(world)
    trader.days(8, up=0.5)
    version = admit(world, definition())
    trader.until("shared", up=0.9)
    place = keys.shared_pattern_copy("bob", version.owner, "up")
    assert world.tables.items(tables.MEMORY)[place]["state"] == "shared"
    assert trader.row()["shared_with"] == ["bob"]

    text = version.model_copy(update={"definition": definition()}).entry()["version"]
    world.tables.update(tables.PIPELINE, keys.known_pattern(version.subject), {"version": text})
    own = keys.Key(version.pk, "up")
    world.tables.update(tables.MEMORY, own, {"shared_with": [], "is_shared": False})
    world.tables.remove(tables.MEMORY, place)
    trader.days(3, up=0.9)
    assert trader.row()["state"] == "active"
    assert place not in world.tables.items(tables.MEMORY)


def test_a_worker_that_read_an_old_list_revives_no_copy(trader: Trader) -> None:
    trader.days(8, up=0.5)
    version = admit(trader.world, definition(shared_with=["bob"]))
    trader.days(1, up=0.5)
    place = keys.shared_pattern_copy("bob", version.owner, "up")
    assert place in trader.world.tables.items(tables.MEMORY)
    held = Faults()
    late = trader.world.process(held)

    def revoke() -> None:
        if len([each for each in held.calls if each.endswith(".get")]) < 2:
            return
        held.step = None
        text = version.model_copy(update={"definition": definition()}).entry()
        listed = keys.known_pattern(version.subject)
        trader.world.tables.update(tables.PIPELINE, listed, {"version": text["version"]})
        trader.world.tables.remove(tables.MEMORY, place)

    trader.day(up=0.5)
    trader.world.tick()
    held.step = revoke
    trader.world.settle(late)
    assert held.step is None
    assert place not in trader.world.tables.items(tables.MEMORY)


def test_evidence_against_days_before_it_is_what_a_recount_of_all_decisions_gives(
    trader: Trader,
) -> None:
    trader.days(8, up=0.5)
    version = admit(trader.world, definition())
    trader.days(24, up=0.6, down=0.3)
    entry = trader.world.tables.items(tables.PIPELINE)[keys.known_pattern(version.subject)]
    stored = PatternVersion.of_entry(entry)
    assert stored.base is not None
    assert stored.base.trailing == Policy().trailing

    with Recount([stored]) as recount:
        for item in trader.world.tables.items(tables.DECISIONS).values():
            recount.add(item)
        counts, arms = recount.counts(), recount.arms()[version.subject]
    rest = rest_of(counts[version.subject], *bases_of([stored], counts))
    row, weighed = trader.row(), weigh(stored, arms, rest)

    assert {name: row[name] for name in ("evidence", "evidence_n", "base_asked")} == {
        name: weighed_attributes(weighed)[name] for name in ("evidence", "evidence_n", "base_asked")
    }
    assert row["base_asked"] < row["base_frozen"]
    frozen = stored.model_copy(update={"base": version.base})
    assert weighed.log_evidence > weigh(frozen, arms).log_evidence


def test_what_patterns_share_is_read_once_a_round_however_many_they_are() -> None:
    def read(patterns: int) -> Counter[str]:
        """Count reads of accounts and of base ledgers' sums in the rounds of one day."""
        trader, found = Trader(World()), Counter[str]()
        trader.days(8, up=0.5)
        for number in range(patterns):
            assert admit(trader.world, definition(f"up{number}")).base is not None
        trader.days(10, up=0.6)
        get, query = MemoryTables.get, MemoryTables.query

        def getting(self: MemoryTables, locations: Sequence[Location], **more: Any) -> Any:
            found["account"] += sum(each.key == keys.promotions("ann") for each in locations)
            found["total"] += sum(
                bool(keys.split_base_subject(keys.ledger_subject(each.key.pk) or ""))
                for each in locations
            )
            return get(self, locations, **more)

        def querying(self: MemoryTables, table: str, pk: str, **more: Any) -> Any:
            if keys.split_base_subject(keys.ledger_subject(pk) or ""):
                found["sums"] += 1
            return query(self, table, pk, **more)

        with patch.multiple(MemoryTables, get=getting, query=querying):
            trader.days(1, up=0.6)
        return found

    one, four = read(1), read(4)
    assert one["account"] == four["account"] > 0
    # Each version begins an epoch of its own, and so may share no ledger with others.
    assert four["total"] - one["total"] <= 3 * 2
    assert four["sums"] - one["sums"] <= 3 * 3


# -- versions that workers make ------------------------------------------------------------------


def test_the_same_definition_again_changes_nothing(trader: Trader) -> None:
    first = admit(trader.world, definition())
    before = trader.world.tables.items(tables.MEMORY)
    trader.world.clock.advance(100)
    assert admit(trader.world, definition(description="in words")) == first
    assert trader.world.tables.items(tables.MEMORY) == before


def test_a_version_that_follows_is_made_once(trader: Trader) -> None:
    admit(trader.world, definition())
    trader.world.clock.advance(100)
    second = admit(trader.world, definition(), parent="up@1")
    assert second.version == 2
    assert admit(trader.world, definition(), parent="up@1") == second


def share(world: World, *readers: str) -> None:
    """Grant the pattern to these and to nobody else, as an operator does."""
    at = Location(tables.MEMORY, keys.Key(keys.pattern_pk("ann"), "up"))
    row = world.tables.get([at])[at]
    name = keys.known_pattern(keys.pattern_subject("ann", "up", int(row["version"])))
    entry = world.tables.get([Location(tables.PIPELINE, name)])[Location(tables.PIPELINE, name)]
    stored = PatternVersion.of_entry(entry)
    wanted = stored.definition.model_copy(update={"shared_with": list(readers)})
    planned = admission.plan(stored.model_copy(update={"definition": wanted}), row, stored)
    assert planned.change == "changed in place"
    assert world.tables.transact(planned.writes)


def test_a_version_that_follows_is_shared_as_the_one_before_is_by_now(trader: Trader) -> None:
    """Who decided that it follows may have read it before a grant was revoked."""
    admit(trader.world, definition(shared_with=["bob", "risk"]))
    share(trader.world, "risk")

    second = admit(trader.world, definition(shared_with=["bob", "risk"]), parent="up@1")

    assert (second.version, second.definition.shared_with) == (2, ["risk"])
    assert trader.row()["shared_with"] == ["risk"]


def test_a_grant_revoked_while_a_version_follows_is_not_brought_back(trader: Trader) -> None:
    admit(trader.world, definition(shared_with=["bob"]))
    transact, met = MemoryTables.transact, list[int]()

    def revoked_first(self: MemoryTables, writes: Any) -> bool:
        if not met:
            met.append(1)
            share(trader.world)
        return transact(self, writes)

    with patch.object(MemoryTables, "transact", revoked_first):
        second = admit(trader.world, definition(shared_with=["bob"]), parent="up@1")

    assert (second.version, second.definition.shared_with) == (2, [])


def test_another_pattern_of_the_name_is_never_replaced(trader: Trader) -> None:
    admit(trader.world, definition())
    other = definition(conditions=[{"path": "context.market", "op": "eq", "value": "down"}])
    found = trader.world.process().admission.admit(
        other, origin="discovery", parent=None, reason="it was found"
    )
    assert found is None


def test_a_version_never_begins_where_decisions_were_judged(trader: Trader) -> None:
    until = int(trader.world.clock()) + 900
    judged = {**keys.judged().item(), "until": until}
    trader.world.tables.put(tables.PIPELINE, judged)
    assert admit(trader.world, definition()).effective_from == until + 1


# -- crashes and races ---------------------------------------------------------------------------


def eve_of_promotion(trader: Trader) -> tuple[PatternVersion, World]:
    """Bring a pattern to where the next look promotes it."""
    trader.days(8, up=0.5)
    version = admit(trader.world, definition())
    for _ in range(6):
        trader.day(up=0.9)
    assert trader.row()["state"] == "candidate"
    return version, trader.world


@pytest.mark.parametrize("after", [False, True], ids=["before", "after"])
def test_a_worker_that_dies_anywhere_tells_it_once_all_the_same(after: bool) -> None:
    crash_at, is_over = 1, False
    eve = Trader(World())
    version, _ = eve_of_promotion(eve)
    eve.world.tick()
    while not is_over:
        trader = deepcopy(eve)
        world = trader.world
        faults = Faults(crash_at=crash_at, after=after)
        is_over = True
        try:
            world.settle(world.process(faults))
        except Crash:
            is_over = False
            world.clock.advance(120)
        world.settle()
        world.tick()
        world.settle()
        assert trader.row()["state"] == "active"
        assert len(trader.history(version)) == 1
        assert trader.heard() == [("PATTERN_PROMOTED", "up@1")]
        crash_at += 13
    assert crash_at > 30
    # Each lived on a copy of its own.
    assert eve.row()["state"] == "candidate"


@pytest.mark.parametrize("stands_still_at", range(16, 30))
def test_a_worker_that_comes_late_takes_no_state_back(stands_still_at: int) -> None:
    trader = Trader(World())
    trader.days(8, up=0.5)
    version = admit(trader.world, definition())
    trader.days(2, up=0.5)
    trader.day(up=0.5)
    held = Faults()
    late = trader.world.process(held)

    def others_go_on() -> None:
        # The late one read row and counts of a candidate; before it writes, that is promoted.
        if len(held.calls) == stands_still_at:
            held.step = None
            trader.until("active", up=0.95)

    held.step = others_go_on
    trader.world.tick()
    for message in trader.world.queues.visible():
        trader.world.queues.receive(message)
        late.handle(message.body)
        trader.world.queues.delete(message)
    if held.step is not None:
        return  # its round has fewer calls
    trader.days(1, up=0.95)
    assert trader.row()["state"] == "active"
    assert [each["to"] for each in trader.history(version)] == ["active"]
    assert trader.row()["state_seq"] == 1
    assert trader.heard() == [("PATTERN_PROMOTED", "up@1")]


# -- the reserved name ---------------------------------------------------------------------------


def forged(**more: Any) -> Item:
    data = {"subject": "pattern:ann:up@1", "transition": 1, "pattern_id": "up", "version": 1}
    item = signal("sharpwave", to=["@subscribers"], kind="PATTERN_PROMOTED", data=data, **more)
    return {**item, **sealed(keys.Key(item["PK"], item["SK"]), {})}


@pytest.mark.parametrize(
    "item",
    [
        signal("sharpwave", to=["@subscribers"], kind="PATTERN_PROMOTED"),
        signal("sharpwave", to=["risk"], kind="PATTERN_PROMOTED", strict=False),
        forged(),
        forged(strict=False),
    ],
    ids=["strict", "compatible", "sealed", "sealed and compatible"],
)
def test_agents_send_nothing_in_the_pipelines_name(trader: Trader, item: Item) -> None:
    trader.world.tables.put(tables.SIGNALS, item)
    trader.world.settle()
    assert trader.heard() == []
    parked = [key for key in trader.world.tables.keys(tables.PIPELINE) if "parked" in key.pk]
    assert len(parked) == 1


@pytest.mark.parametrize(
    ("table", "item"),
    [
        (tables.DECISIONS, decision("sharpwave")),
        (tables.STATE, memory("sharpwave")),
        (tables.STATE, registration("sharpwave")),
    ],
    ids=["decision", "memory", "registration"],
)
def test_agents_write_nothing_under_the_pipelines_name(
    trader: Trader, table: str, item: Item
) -> None:
    trader.world.tables.put(table, item)
    trader.world.settle()
    pipeline = trader.world.tables.items(tables.PIPELINE)
    assert [key for key in pipeline if key.pk.startswith("parked#")]
    assert not [key for key in pipeline if "base:sharpwave" in key.pk]
    assert keys.known_agent("sharpwave") not in pipeline


def test_what_the_pipeline_says_starts_no_counting(trader: Trader) -> None:
    admit(trader.world, definition())
    trader.until("active", up=0.9)
    pipeline = trader.world.tables.items(tables.PIPELINE)
    assert not [key for key in pipeline if "sharpwave" in key.pk and "ledger" in key.pk]
    before = {k: v for k, v in pipeline.items() if not k.pk.startswith(("presence", "due"))}
    trader.world.tick()
    trader.world.settle()
    after = trader.world.tables.items(tables.PIPELINE)
    assert {k: v for k, v in after.items() if k in before and v != before[k]} == {}


def test_what_matches_again_after_a_rest_is_not_dormant_for_a_moment(trader: Trader) -> None:
    with patch.object(admission, "MOST_SEATS", 0):
        version = admit(trader.world, definition())
    assert not version.is_seated
    trader.until("active", up=0.8)
    counted = trader.row()["sample_size"]
    trader.world.clock.advance(100 * DAY_S)
    trader.day(up=0.8)
    pipeline = trader.world.tables.items(tables.PIPELINE)
    (late,) = [key for key in pipeline if key.sk.startswith(f"{version.subject}|")]
    mark = Location(tables.PIPELINE, late)
    trader.world.tables.apply([Delete(mark, {"rev": pipeline[late]["rev"]})])

    trader.world.tick()
    trader.world.settle()

    assert trader.row()["state"] == "active"
    trader.world.tables.put(tables.PIPELINE, pipeline[late])
    trader.world.tick()
    trader.world.settle()
    assert (trader.row()["state"], trader.row()["sample_size"]) == ("active", counted + 8)
    assert [step["to"] for step in trader.history(version)] == ["active"]


def test_what_is_seated_is_not_dormant_while_a_day_of_it_waits_to_be_summed_up(
    trader: Trader,
) -> None:
    """It has no marks of its own; of two days of its base ledger a round may read one mark."""
    version = admit(trader.world, definition())
    trader.until("active", up=0.8)
    counted = trader.row()["sample_size"]
    trader.world.clock.advance(70 * DAY_S)
    trader.day(up=0.8)
    held = trader.world.tables.items(tables.PIPELINE)
    (late,) = [key for key in held if keys.family(*key) == "changed"]
    trader.world.tables.apply([Delete(Location(tables.PIPELINE, late), {"rev": held[late]["rev"]})])
    quiet = decision(name="quiet", at=trader.world.clock() + DAY_S, context={"market": "down"})
    trader.world.clock.advance(DAY_S)
    trader.world.tables.put(tables.DECISIONS, quiet)
    trader.world.settle()

    trader.world.tick()
    trader.world.settle()

    assert version.is_seated
    assert trader.row()["state"] == "active"
    trader.world.tables.put(tables.PIPELINE, held[late])
    trader.world.tick()
    trader.world.settle()
    assert (trader.row()["state"], trader.row()["sample_size"]) == ("active", counted + 8)
    assert [step["to"] for step in trader.history(version)] == ["active"]


def test_a_grant_long_after_its_agents_last_decision_puts_nothing_to_sleep(trader: Trader) -> None:
    """Who brings the history of a spring in autumn decides in spring, and grants in autumn."""
    world, version = trader.world, admit(trader.world, definition(base_rate=0.5))
    world.clock.advance(DAY_S)
    for number in range(40):
        for market, success in (("up", number % 10 > 0), ("down", number % 2 > 0)):
            item = decision(
                name=f"{market}{number}",
                at=world.clock(),
                event_time=f"2025-03-{number // 4 + 1:02}",
                context={"market": market},
                outcome=outcome(success),
            )
            world.tables.put(tables.DECISIONS, item)
    world.settle()
    world.tick()
    world.settle()
    assert trader.row()["state"] == "active"

    share(world, "bob")
    world.tick()
    world.settle()

    assert trader.row()["state"] == "shared"
    assert [step["to"] for step in trader.history(version)] == ["active", "shared"]


def test_a_late_outcome_of_what_it_does_not_match_wakes_nothing(trader: Trader) -> None:
    world, version = trader.world, admit(trader.world, definition())
    trader.days(1, up=0.8)
    world.clock.advance(DAY_S)
    old = decision(name="old", at=world.clock(), context={"market": "down"})
    world.tables.put(tables.DECISIONS, old)
    world.clock.advance(70 * DAY_S)
    new = decision(name="new", at=world.clock(), context={"market": "down"})
    world.tables.put(tables.DECISIONS, new)
    world.settle()
    world.tick()
    world.settle()
    assert trader.row()["state"] == "dormant"

    world.tables.update(tables.DECISIONS, key_of(old), {"outcome": outcome(True)})
    world.settle()
    world.tick()
    world.settle()

    assert trader.row()["state"] == "dormant"
    assert [step["to"] for step in trader.history(version)] == ["dormant"]
