"""What the router makes of decisions: every admitted state is learned and archived, once."""

from decimal import Decimal

import pytest

from sharpwave.schemas import tables
from sharpwave.schemas.numbers import item_to_wire
from sharpwave.workers.router.changes import outcome_change
from sharpwave.workers.router.fast_path import READ, Decision
from sharpwave.workers.router.image import json_of
from sharpwave.workers.router.router import Router
from sharpwave.workers.work.low_water import swept_within
from sharpwave.workers.work.ports import Item, Location
from sharpwave.workers.work.ports import Update as Write
from tests.world.records import decision, key_of, outcome
from tests.world.routed import Streams, actors, codes

DAY_S = 86_400


def test_every_admitted_state_of_a_decision_is_learned_and_archived(streams: Streams) -> None:
    item = decision()
    put = streams.put(tables.DECISIONS, item)
    resolved = streams.update(tables.DECISIONS, item, outcome=outcome(True), outcome_rev=1)
    revised = streams.update(tables.DECISIONS, item, outcome=outcome(False), outcome_rev=2)

    for found, state in ((put, "insert"), (resolved, "resolution"), (revised, "revision")):
        assert actors(found) == ["on_decisions", "on_archived"]
        assert found[1][1]["state"] == state
        assert found[0][1]["image"] == found[1][1]["image"]


@pytest.mark.parametrize("more", [{}, {"outcome": outcome(True)}], ids=["open", "resolved"])
def test_a_repeated_put_that_wipes_its_mark_is_what_it_was(streams: Streams, more: Item) -> None:
    item = decision(**more)
    streams.put(tables.DECISIONS, item)
    streams.work(
        tables.DECISIONS, Write(Location(tables.DECISIONS, key_of(item)), {"promoted_at": 1})
    )

    found = streams.put(tables.DECISIONS, item)

    assert actors(found) == ["on_decisions", "on_archived"]
    assert found[1][1]["state"] == "insert"


def test_a_decision_about_the_future_stays_admitted_however_often_it_is_put() -> None:
    streams = Streams()
    streams.route = Router(event_ahead={"FORECAST": 9 * DAY_S})
    item = decision(kind="FORECAST", event_time="2025-10-25")
    streams.put(tables.DECISIONS, item)
    streams.work(
        tables.DECISIONS, Write(Location(tables.DECISIONS, key_of(item)), {"promoted_at": 1})
    )

    assert actors(streams.put(tables.DECISIONS, item)) == ["on_decisions", "on_archived"]


@pytest.mark.parametrize("size", [1, 70_000])
def test_a_decision_about_more_of_the_future_than_its_type_may_is_refused(size: int) -> None:
    streams = Streams()
    streams.route = Router(event_ahead={"TRADE": 0})
    item = decision(event_time="2025-10-18T14:30:01Z", context={"x": "y" * size})

    assert codes(streams.put(tables.DECISIONS, item)) == ["future_event_time"]


@pytest.mark.parametrize(
    ("before", "after", "state"),
    [
        ({}, {"outcome": outcome(True)}, "resolution"),
        ({}, {"outcome": outcome(True), "outcome_rev": 1}, "resolution"),
        ({"outcome": outcome(True)}, {"outcome": outcome(False), "outcome_rev": 2}, "revision"),
        ({"outcome": outcome(True)}, {"outcome": outcome(False), "outcome_rev": 1}, ""),
        ({"outcome": {"success": 1}}, {"outcome": outcome(True), "outcome_rev": 2}, ""),
        ({"outcome": outcome(True)}, {}, ""),
        ({"outcome_rev": 1}, {"outcome": outcome(True), "outcome_rev": 2}, ""),
        ({}, {"outcome": outcome(True), "context": {}}, ""),
        ({}, {}, ""),
    ],
)
def test_only_an_outcome_that_came_or_was_revised_needs_no_closer_look(
    before: Item, after: Item, state: str
) -> None:
    old, new = (item_to_wire(decision(**more)) for more in (before, after))
    reading = READ["decision"](json_of(new))

    assert isinstance(reading, Decision)
    assert outcome_change(json_of(old), json_of(new), reading) == state


def test_a_revision_that_is_written_with_a_fraction_is_the_number_that_it_is(
    streams: Streams,
) -> None:
    item = decision(outcome=outcome(True), outcome_rev=2)
    streams.put(tables.DECISIONS, item)

    changed = {**item, "outcome": outcome(False), "outcome_rev": Decimal("3.0")}
    found = streams.put(tables.DECISIONS, changed)

    assert actors(found) == ["on_decisions", "on_archived"]
    assert found[1][1]["state"] == "revision"


@pytest.mark.parametrize("revision", [None, 1, 2])
def test_an_outcome_changed_without_a_higher_revision_is_refused_and_archived_so(
    streams: Streams, revision: int | None
) -> None:
    item = decision(outcome=outcome(True), outcome_rev=2)
    streams.put(tables.DECISIONS, item)
    changed = {**item, "outcome": outcome(False), "outcome_rev": revision}
    if revision is None:
        del changed["outcome_rev"]

    found = streams.put(tables.DECISIONS, changed)

    assert actors(found) == ["on_refused", "on_archived"]
    assert codes(found) == ["outcome_rev"]
    assert found[1][1]["state"] == "refusal"
    assert found[1][1]["faults"] == found[0][1]["faults"]


@pytest.mark.parametrize(("revision", "told"), [(1, ["outcome_rev"]), (2, [])])
def test_an_outcome_without_a_revision_is_its_first(
    streams: Streams, revision: int, told: list[str]
) -> None:
    item = decision(outcome=outcome(True))
    streams.put(tables.DECISIONS, item)

    found = streams.update(tables.DECISIONS, item, outcome=outcome(False), outcome_rev=revision)

    assert codes(found) == told


def test_an_outcome_cannot_be_taken_back(streams: Streams) -> None:
    item = decision(outcome=outcome(True))
    streams.put(tables.DECISIONS, item)

    found = streams.put(tables.DECISIONS, decision())

    assert codes(found) == ["outcome_removed"]


def test_a_decision_that_is_mended_is_a_new_one_whatever_outcome_it_had(streams: Streams) -> None:
    streams.put(tables.DECISIONS, decision(outcome={"success": "no"}))

    found = streams.put(tables.DECISIONS, decision(outcome=outcome(False)))

    assert actors(found) == ["on_decisions", "on_archived"]
    assert found[1][1]["state"] == "insert"


@pytest.mark.parametrize(
    ("change", "code", "where", "message"),
    [
        (
            {"context": {"market": "down"}},
            "immutable",
            "context",
            "a decision does not change once written; only outcome may change",
        ),
        (
            {"outcome": None},
            "outcome_removed",
            "outcome",
            "an outcome cannot be taken back; correct it",
        ),
        (
            {"outcome": outcome(False), "outcome_rev": 1},
            "outcome_rev",
            "outcome_rev",
            "the outcome changed but outcome_rev 1 is not above 2; raise it by one",
        ),
        (
            {"outcome_rev": "3"},
            "wire_type",
            "outcome_rev",
            "stored with DynamoDB type S; write it with type N",
        ),
        (
            {"outcome": {"success": "yes"}, "outcome_rev": 3},
            "wire_type",
            "outcome.success",
            "stored with DynamoDB type S; write it with type BOOL",
        ),
    ],
)
def test_a_fault_names_the_attribute_what_is_wrong_and_what_to_do(
    streams: Streams, change: Item, code: str, where: str, message: str
) -> None:
    item = decision(context={"market": "up"}, outcome=outcome(True), outcome_rev=2)
    streams.put(tables.DECISIONS, item)

    found = streams.put(tables.DECISIONS, {**item, **change})

    assert found[0][1]["faults"] == [{"code": code, "where": where, "message": message}]


def test_what_was_known_before_an_outcome_never_changes(streams: Streams) -> None:
    item = decision(context={"market": "up"})
    streams.put(tables.DECISIONS, item)

    found = streams.update(
        tables.DECISIONS, item, context={"market": "down"}, outcome=outcome(True)
    )

    assert codes(found) == ["immutable"]


def test_a_late_ttl_does_not_open_a_decision_for_changes(streams: Streams) -> None:
    """A record stored days after its own time was valid then, so it is immutable now."""
    start = streams.clock()
    ttl = int(start) + 399 * DAY_S
    item = decision(at=start - 3 * DAY_S, ttl=ttl, outcome=outcome(True), outcome_rev=3)
    streams.put(tables.DECISIONS, item)

    found = streams.update(tables.DECISIONS, item, outcome=outcome(False))

    assert codes(found) == ["outcome_rev"]


def test_a_late_outcome_reaches_its_episode_by_its_ledger_alone(streams: Streams) -> None:
    item = decision()
    streams.put(tables.DECISIONS, item)
    streams.work(
        tables.DECISIONS, Write(Location(tables.DECISIONS, key_of(item)), {"promoted_at": 1})
    )

    found = streams.update(tables.DECISIONS, item, outcome=outcome(True))

    assert sorted(actors(found)) == ["on_archived", "on_decisions"]


@pytest.mark.parametrize(
    ("lives_s", "is_folded"),
    [(3_600, True), (DAY_S, True), (swept_within(DAY_S), True), (2 * DAY_S, False)],
)
def test_a_decision_that_no_sweep_would_meet_is_folded_at_once(
    streams: Streams, lives_s: float, *, is_folded: bool
) -> None:
    found = streams.put(tables.DECISIONS, decision(ttl=int(streams.clock() + lives_s)))

    assert ("on_late_outcomes" in actors(found)) is is_folded


@pytest.mark.parametrize(("lives_s", "told"), [(3_600, ["on_late_outcomes"]), (9 * DAY_S, [])])
def test_a_ttl_that_comes_later_is_told_only_if_no_sweep_would_meet_its_decision(
    streams: Streams, lives_s: int, told: list[str]
) -> None:
    item = decision()
    streams.put(tables.DECISIONS, item)

    found = streams.update(tables.DECISIONS, item, ttl=int(streams.clock()) + lives_s)

    assert actors(found) == told


def test_a_decision_that_time_removed_before_a_sweep_met_it_is_folded_from_its_old_image(
    streams: Streams,
) -> None:
    item = decision(ttl=int(streams.clock()) + 3 * DAY_S)
    streams.put(tables.DECISIONS, item)
    streams.clock.advance(4 * DAY_S)
    streams.tables.expire()

    ((actor, entry),) = streams.news(tables.DECISIONS)

    assert (actor, entry["removed"]) == ("on_late_outcomes", True)
    assert entry["image"] == item_to_wire(item)


def test_a_decision_removed_by_its_agent_or_folded_or_refused_is_left_alone(
    streams: Streams,
) -> None:
    ttl = int(streams.clock()) + 3 * DAY_S
    streams.put(tables.DECISIONS, decision(name="mine"))
    streams.tables.remove(tables.DECISIONS, key_of(decision(name="mine")))
    mine = streams.news(tables.DECISIONS)
    streams.put(tables.DECISIONS, decision(name="done", ttl=ttl, promoted_at=1))
    streams.put(tables.DECISIONS, {**decision(name="bad", ttl=ttl), "decision_id": "other"})
    streams.clock.advance(4 * DAY_S)
    streams.tables.expire()

    removed = [r.record for r in streams.tables.streams[tables.DECISIONS] if r.by == "ttl"]
    assert len(removed) == 2
    assert mine == streams.route(tables.DECISIONS, removed) == []


def test_a_decision_stored_after_its_sweep_is_folded_at_once(streams: Streams) -> None:
    now = streams.clock()

    late = streams.put(tables.DECISIONS, decision(name="old", at=now - DAY_S))
    fresh = streams.put(tables.DECISIONS, decision(name="new", at=now - DAY_S + 60))
    done = streams.put(tables.DECISIONS, decision(name="done", at=now - DAY_S, promoted_at=1))

    assert "on_late_outcomes" in actors(late)
    assert "on_late_outcomes" not in actors(fresh) + actors(done)


@pytest.mark.parametrize(("lifetime_s", "is_admitted"), [(60, True), (0, False), (-60, False)])
def test_an_outcome_counts_until_its_decision_is_removed_unless_it_came_too_late_itself(
    streams: Streams, lifetime_s: int, *, is_admitted: bool
) -> None:
    item = decision(at=streams.clock(), ttl=int(streams.clock()) + lifetime_s)
    streams.put(tables.DECISIONS, item)
    streams.clock.advance(3_600)

    actors = [actor for actor, *_ in streams.update(tables.DECISIONS, item, outcome=outcome(True))]

    assert ("on_decisions" in actors) is is_admitted
    assert ("on_refused" in actors) is not is_admitted
