"""Decisions are read page by page, along their chains, by when their outcome is due, and whole."""

from collections.abc import Callable
from typing import Any

import pytest

from sharpwave.schemas import keys, tables
from sharpwave.schemas.times import DAY_S, iso_ms

Connect = Callable[..., Any]
NOW = 1_800_000_000


def linked(pipeline: Any, *decisions: Any) -> None:
    """List decisions as their parents' children, as the pipeline does when it counts them."""
    for each in decisions:
        pipeline.put(tables.MEMORY, keys.child(each.parent_id, each.key).item())


def raw(pipeline: Any, name: str, **more: Any) -> keys.Key:
    """Put a decision as an agent without the SDK does."""
    key = keys.Key(keys.decision_pk("hunter", "PICK"), f"{iso_ms(NOW)}#{name}")
    item = {"agent_id": "hunter", "decision_id": name, "decision_type": "PICK", "timestamp": NOW}
    pipeline.put(tables.DECISIONS, {**key.item(), **item, "iso_timestamp": iso_ms(NOW), **more})
    return key


def pages(read: Callable[..., Any], **arguments: Any) -> list[list[keys.Key]]:
    found, cursor = [], None
    while True:
        page = read(cursor=cursor, **arguments)
        found.append([each.key for each in page.decisions])
        cursor = page.cursor
        if cursor is None:
            return found


def test_pages_lose_and_repeat_nothing_and_are_full_but_for_the_last(
    connect: Connect, pipeline: Any
) -> None:
    hunter, other = (connect(name, clock=lambda: float(NOW)) for name in ("hunter", "other"))
    # All at one moment: the times alone cannot tell where a page ended.
    made = [hunter.decide("PICK") for _ in range(5)]
    foreign = [other.decide("PICK") for _ in range(4)]
    for each in made[:3]:
        hunter.record_outcome(each, success=True)
    for name in ("hunter", "other"):
        pipeline.put(tables.MEMORY, keys.writer("PICK", name).item())

    read = hunter.decisions_page
    for arguments, among in (
        ({}, made),
        ({"decision_type": "PICK"}, made),
        ({"outcome": "success"}, made[:3]),
        ({"decision_type": "PICK", "agent_id": "*"}, [*made, *foreign]),
    ):
        found = pages(read, limit=2, **arguments)
        assert sorted(key for page in found for key in page) == sorted(d.key for d in among)
        assert [len(page) for page in found[:-1]] == [2] * (len(found) - 1)


def test_a_cursor_serves_the_read_that_gave_it_alone(connect: Connect) -> None:
    agent = connect("hunter")
    for _ in range(2):
        agent.decide("PICK")
    cursor = agent.decisions_page(limit=1).cursor

    for arguments in ({"cursor": cursor, "outcome": "success"}, {"cursor": "bm9uZQ=="}):
        with pytest.raises(ValueError, match="is no cursor of this read"):
            agent.decisions_page(**arguments)


def test_descendants_come_by_generation_through_a_parent_named_in_the_context_too(
    connect: Connect, pipeline: Any
) -> None:
    agent, other = connect("hunter"), connect("other")
    root = agent.decide("SCAN")
    near = agent.decide("RANK", parent=root)
    foreign = other.decide("RANK", context={"parent_decision_id": root.decision_id})
    far = agent.decide("BUY", parent=near)
    linked(pipeline, near, foreign, far)

    assert {d.key for d in agent.children(root.decision_id)} == {near.key, foreign.key}
    assert [d.key for d in agent.descendants(root.decision_id)][2:] == [far.key]
    assert agent.chain(foreign.decision_id)[0].key == root.key


def test_circles_end_and_entries_that_claim_a_child_are_checked(
    connect: Connect, pipeline: Any
) -> None:
    agent = connect("hunter", clock=lambda: float(NOW))
    own = raw(pipeline, "own", parent_decision_id="own")
    first = raw(pipeline, "first", parent_decision_id="second")
    second = raw(pipeline, "second", parent_decision_id="first")
    for parent, child in (("own", own), ("second", first), ("first", second), ("first", own)):
        pipeline.put(tables.MEMORY, keys.child(parent, child).item())

    assert agent.descendants("own") == []
    assert [d.key for d in agent.descendants("first")] == [second]
    assert [d.key for d in agent.chain("own")] == [own]


def test_what_is_due_counts_from_the_event_by_the_horizon_of_its_type(connect: Connect) -> None:
    moment = [float(NOW)]
    agent = connect("hunter", clock=lambda: moment[0])
    pick, trade = agent.decide("PICK"), agent.decide("TRADE")
    replayed = agent.decide("TRADE", event_time="2008-10-10")
    settled = agent.decide("PICK")
    agent.record_outcome(settled, success=False)

    moment[0] += DAY_S + 1
    due = agent.due(horizons={"TRADE": 3 * DAY_S})
    soon = agent.due(horizons={"TRADE": 3 * DAY_S}, within_s=2 * DAY_S, decision_type="TRADE")

    assert {each.decision.key for each in due} == {pick.key, replayed.key}
    assert {(each.decision.key, each.is_overdue) for each in soon} == {
        (trade.key, False),
        (replayed.key, True),
    }
    assert {each.due_at for each in due} >= {NOW + DAY_S}


def test_a_view_holds_the_signal_the_patterns_and_the_corrections(
    connect: Connect, pipeline: Any
) -> None:
    hunter, agent = connect("hunter"), connect("risk")
    sent = hunter.signal("WHALE", to="risk", data={"n": 5})
    pipeline.deliver(sent.key, "risk")
    pattern = {"memory_type": "PATTERN", "pattern_id": "whales", "decision_type": "PICK"}
    figures = {"version": 1, "learned_at": NOW, "effective_from": NOW}
    place = {"PK": keys.pattern_pk("risk"), "SK": "whales"}
    pipeline.put(tables.MEMORY, {**place, **pattern, **figures})
    (delivery,) = agent.inbox(limit=1)
    made = delivery.decide("PICK", reasoning={"patterns_applied": ["whales", "unheard-of"]})
    agent.record_outcome(made, success=False)
    agent.correct_outcome(made, success=True)

    view = agent.decision_view(made.decision_id)

    assert (view.result, view.corrections) == ("success", 1)
    assert (view.signal.signal_id, view.signal.payload["data"]) == (sent.signal_id, {"n": 5})
    assert [row.pattern_id for row in view.patterns] == ["whales"]
    assert view.unknown_patterns == ["unheard-of"]
    assert agent.decision_view("dec_none") is None
