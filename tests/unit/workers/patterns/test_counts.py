"""Counts depend on the set of ledger elements alone: not on order, repetition or who wrote it."""

import random
from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sharpwave.workers.patterns.counts import Counts, MalformedRow, fold, standing_of, total
from sharpwave.workers.patterns.elements import (
    DecisionState,
    Element,
    MalformedElement,
    Outcome,
    element_of,
)


def state_of(decision: int, revision: int, content: int) -> DecisionState:
    """Give one state per decision and revision, its values drawn from `content`."""
    draw = random.Random(f"{decision}/{revision}/{content}")
    withdrawn = revision == 0 or draw.random() < 0.1
    return DecisionState(
        pk="agent:a#decision#T",
        sk=str(decision),
        agent_id="a",
        cycle=decision // 3 if decision % 2 else None,
        outcome=None if withdrawn else draw.random() < 0.6,
        quality=None if withdrawn or draw.random() < 0.3 else round(draw.random(), 4),
        outcome_rev=revision,
        applied=decision % 4 == 0,
        day="2025-10-18",
        content=b"abc",
    )


def recount(states: list[DecisionState]) -> Counts:
    """Count by hand from the states themselves, with no use of bytes."""
    last: dict[str, DecisionState] = {}
    for state in sorted(states, key=lambda state: state.outcome_rev):
        last[state.sk] = state
    resolved = [state for state in last.values() if state.outcome is not None]
    rated = [state.quality for state in resolved if state.quality is not None]
    return Counts(
        n=len(resolved),
        s=len([state for state in resolved if state.outcome]),
        q_sum=sum(int(Decimal(str(quality)) * 10_000) for quality in rated),
        q_n=len(rated),
        applied=len([state for state in resolved if state.applied]),
        applied_s=len([state for state in resolved if state.applied and state.outcome]),
        pending=len(last) - len(resolved),
        units=len({state.sk if state.cycle is None else state.cycle for state in resolved}),
    )


def encode(states: list[DecisionState]) -> list[bytes]:
    return [element_of(state).encode() for state in states]


WELL_WRITTEN = st.lists(st.builds(state_of, st.integers(0, 12), st.integers(0, 4), st.just(0)))
ANY_STATES = st.lists(st.builds(state_of, st.integers(0, 6), st.integers(0, 3), st.integers(0, 2)))


@given(WELL_WRITTEN)
def test_counts_equal_a_recount_of_the_states_by_hand(states: list[DecisionState]) -> None:
    assert fold(encode(states)) == recount(states)


@given(ANY_STATES, st.randoms(use_true_random=False))
def test_order_and_repetition_change_nothing(
    states: list[DecisionState], chance: random.Random
) -> None:
    elements = encode(states)
    disturbed = elements + [element for element in elements if chance.random() < 0.5]

    chance.shuffle(disturbed)

    assert fold(disturbed) == fold(elements) == fold(frozenset(elements))


@given(ANY_STATES, st.randoms(use_true_random=False))
def test_what_is_superseded_can_be_dropped_at_any_time(
    states: list[DecisionState], chance: random.Random
) -> None:
    elements = set(encode(states))
    standing = set(standing_of(elements).values())

    kept = {element for element in elements - standing if chance.random() < 0.5} | standing

    assert fold(kept) == fold(elements)
    assert {element[:8] for element in kept} == {element[:8] for element in elements}


@given(st.permutations(range(5)))
def test_the_greatest_revision_stands_in_whatever_order_revisions_come(order: list[int]) -> None:
    states = [state_of(1, revision, 0) for revision in order]

    assert fold(encode(states)).n == fold(encode([state_of(1, 4, 0)])).n
    assert fold(encode(states)).s == fold(encode([state_of(1, 4, 0)])).s


def test_a_withdrawn_outcome_is_pending_again() -> None:
    resolved = Element(b"decision", b"abc", b"unit", 1, Outcome.SUCCESS, False, 9000)
    withdrawn = Element(b"decision", b"abc", b"unit", 2, Outcome.PENDING, False, None)

    counts = fold([resolved.encode(), withdrawn.encode()])

    assert counts == Counts(pending=1)


def test_of_two_outcomes_under_one_revision_the_failure_stands_everywhere() -> None:
    success = Element(b"decision", b"abc", b"unit", 1, Outcome.SUCCESS, False, 9000).encode()
    failure = Element(b"decision", b"abc", b"unit", 1, Outcome.FAILURE, False, 100).encode()

    assert fold([success, failure]) == fold([failure, success])
    assert fold([success, failure]).s == 0


def test_quality_and_application_of_a_pending_decision_do_not_count_yet() -> None:
    pending = Element(b"decision", b"abc", b"unit", 0, Outcome.PENDING, True, 9000)

    assert fold([pending.encode()]) == Counts(pending=1)


def test_an_unreadable_element_stops_the_fold_instead_of_miscounting() -> None:
    with pytest.raises(MalformedElement):
        fold([b"short"])


@given(st.lists(ANY_STATES, max_size=4))
def test_disjoint_buckets_add_up_in_any_grouping(buckets: list[list[DecisionState]]) -> None:
    parts = [fold(encode(states)) for states in buckets]

    assert total(parts) == total(reversed(parts)) == sum(parts[1:], start=total(parts[:1]))


@given(ANY_STATES)
def test_a_row_gives_back_its_counts_and_starts_with_the_revision(
    states: list[DecisionState],
) -> None:
    counts = fold(encode(states), revision=7)
    row = counts.to_row()

    assert row[0] == 7
    assert Counts.from_row(row) == Counts.from_row([Decimal(value) for value in row]) == counts


@pytest.mark.parametrize(
    "row",
    [
        [],
        [1] * 8,
        [1, 1, 1, 1, 1, 1, 1, 1, -1],
        [Decimal("1.5")] + [1] * 8,
        [5, 1, 2, 0, 0, 0, 0, 0, 1],
        [5, 3, 2, 0, 0, 1, 2, 0, 1],
    ],
)
def test_a_row_that_counts_cannot_have_written_is_refused(row: list[int | Decimal]) -> None:
    with pytest.raises(MalformedRow, match="rebuild it by folding the ledger"):
        Counts.from_row(row)


def test_what_a_newer_release_appends_to_a_row_is_passed_over() -> None:
    counts = Counts(revision=3, n=2, s=1)

    assert Counts.from_row([*counts.to_row(), 99, Decimal("0.5")]) == counts
