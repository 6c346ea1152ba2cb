"""A decision state is 20 bytes, 24 if it stated something; counts depend on the set of them alone.

Not on order or repetition, nor on who wrote them.
"""

from dataclasses import replace
from decimal import Decimal
from random import Random
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sharpwave.schemas.numbers import item_from_wire, item_to_wire
from sharpwave.workers.patterns.counts import Counts, MalformedRow, content_digest, total
from sharpwave.workers.patterns.ledger import (
    DEEPEST,
    DecisionState,
    Element,
    MalformedElement,
    MalformedState,
    Outcome,
    element_of,
    fold,
    slot_of,
    standing_of,
    supersedes,
)
from sharpwave.workers.patterns.stated import Confidences, Weights

PK = "agent:market-hunter#decision#SOURCE_SELECTION"


def state(**changes: Any) -> DecisionState:
    values: dict[str, Any] = {
        "pk": PK,
        "sk": "2025-10-18T14:30:00.000Z#dec_1",
        "agent_id": "market-hunter",
        "day": "2025-10-18",
        "content": b"abc",
        "cycle": 142,
        "outcome": True,
        "quality": 0.85,
        "outcome_rev": 1,
        "applied": True,
    }
    return DecisionState(**values | changes)


def test_the_bytes_of_a_state_never_change_between_releases() -> None:
    assert element_of(state()).encode().hex() == "d8f41403070571d2616263e28ec5380001812134"


def test_the_layout_is_hash_content_unit_revision_class_and_quality() -> None:
    element = Element(b"decision", b"abc", b"unit", 0x0102, Outcome.FAILURE, True, 8500)

    assert element.encode() == b"decisionabcunit" + b"\x01\x02" + b"\x82" + b"\x21\x34"


@given(
    st.builds(
        Element,
        st.binary(min_size=8, max_size=8),
        st.binary(min_size=3, max_size=3),
        st.binary(min_size=4, max_size=4),
        st.integers(0, 65_535),
        st.sampled_from(Outcome),
        st.booleans(),
        st.none() | st.integers(0, 10_000),
        st.none() | st.integers(0, 10_000),
        st.none() | st.integers(1, 10_000),
        st.lists(st.integers(0, 2**32 - 1), max_size=9).map(tuple),
    )
)
def test_decoding_gives_back_what_was_encoded(element: Element) -> None:
    stated = 20 if element[-3:] == (None, None, ()) else 24
    assert len(element.encode()) == stated + 4 * len(element.named)
    assert Element.decode(element.encode()) == element


@pytest.mark.parametrize(
    ("element", "fault"),
    [
        (bytes(17), "has 17 bytes instead of 20, or 24 to 60 in fours"),
        (bytes(17) + b"\x03" + bytes(2), "unknown class 0x03"),
        (bytes(17) + b"\x41" + bytes(2), "unknown class 0x41"),
        (bytes(18) + (10_001).to_bytes(2, "big"), "has quality 10001, above 10000"),
        (bytes(18) + (65_534).to_bytes(2, "big"), "has quality 65534, above 10000"),
        (bytes(22), "has 22 bytes instead of 20, or 24 to 60 in fours"),
        (bytes(30), "has 30 bytes instead of 20, or 24 to 60 in fours"),
        (bytes(20) + b"\x27\x11\xff\xff", "has confidence 10001, above 10000"),
        (bytes(20) + b"\xff\xff\x00\x00", "has selection_prob 0, outside 1 to 10000"),
        (bytes(20) + b"\xff\xff\x27\x11", "has selection_prob 10001, outside 1 to 10000"),
    ],
)
def test_bytes_that_are_no_element_are_refused_with_a_remedy(element: bytes, fault: str) -> None:
    with pytest.raises(MalformedElement, match=fault) as refusal:
        Element.decode(element)

    assert f"ledger element {element.hex()} has" in str(refusal.value)
    assert "; rebuild the pattern's ledger from the archive" in str(refusal.value)
    assert refusal.value.element == element


def test_the_key_tells_decisions_apart_and_its_halves_cannot_be_confused() -> None:
    one, other = state(pk="a", sk="bc"), state(pk="ab", sk="c")

    assert element_of(one).decision != element_of(other).decision


def test_what_was_stated_follows_in_four_bytes() -> None:
    element = Element(b"decision", b"abc", b"unit", 1, Outcome.SUCCESS, False, None, 8500, 2500)

    assert element.encode() == (
        b"decisionabcunit" + b"\x00\x01" + b"\x01" + b"\xff\xff" + b"\x21\x34" + b"\x09\xc4"
    )
    assert element._replace(confidence=None).encode()[20:] == b"\xff\xff\x09\xc4"
    assert element._replace(selection_prob=None).encode()[20:] == b"\x21\x34\xff\xff"
    certain = element._replace(confidence=10_000, selection_prob=10_000)
    assert Element.decode(certain.encode()) == certain


def test_decisions_of_one_agent_and_cycle_are_one_evidence_unit() -> None:
    first, second = state(sk="1"), state(sk="2")

    assert element_of(first).unit == element_of(second).unit
    assert element_of(first).unit != element_of(state(agent_id="risk-manager")).unit
    assert element_of(first).unit != element_of(state(cycle=143)).unit


@pytest.mark.parametrize("cycle", [Decimal(142), Decimal("142.0"), 142.0, "142", Decimal("1.42E2")])
def test_a_cycle_is_the_same_however_its_number_is_written(cycle: object) -> None:
    assert element_of(state(cycle=cycle)).unit == element_of(state(cycle=142)).unit


@pytest.mark.parametrize("cycle", [None, True, {"n": 1}, [1], b"1"])
def test_without_a_usable_cycle_each_decision_is_a_unit_of_its_own(cycle: object) -> None:
    first, second = state(sk="1", cycle=cycle), state(sk="2", cycle=cycle)

    assert element_of(first).unit != element_of(second).unit


@pytest.mark.parametrize(
    ("success", "outcome"),
    [(True, Outcome.SUCCESS), (False, Outcome.FAILURE), (None, Outcome.PENDING)],
)
def test_the_class_is_the_outcome(success: bool | None, outcome: Outcome) -> None:
    assert element_of(state(outcome=success)).outcome is outcome


@pytest.mark.parametrize(
    ("quality", "kept"),
    [(None, None), (0, 0), (1, 10_000), (0.85, 8500), (Decimal("0.85"), 8500), (0.00004, 0)],
)
def test_quality_is_kept_to_four_decimals(quality: float | None, kept: int | None) -> None:
    assert element_of(state(quality=quality)).quality == kept


@pytest.mark.parametrize(
    ("changes", "fault"),
    [
        ({"outcome_rev": 65_536}, "outcome_rev 65536 is outside 0 to 65535"),
        ({"outcome_rev": -1}, "outcome_rev -1 is outside 0 to 65535"),
        ({"outcome_rev": 0}, "an outcome needs outcome_rev 1 or more"),
        ({"quality": 1.01}, r"quality 1\.01 is outside 0 to 1"),
        ({"quality": -0.01}, r"quality -0\.01 is outside 0 to 1"),
        ({"quality": float("nan")}, "quality nan is outside 0 to 1"),
        ({"content": b""}, "content has 0 bytes instead of 3"),
        ({"day": "20251018"}, "day '20251018' is not a date; write YYYY-MM-DD"),
        ({"day": "2025-W42-6"}, "day '2025-W42-6' is not a date"),
        ({"day": "2025-02-30"}, "day '2025-02-30' is not a date"),
    ],
)
def test_a_state_that_fits_no_element_is_refused_by_name(
    changes: dict[str, Any], fault: str
) -> None:
    with pytest.raises(MalformedState, match=f"decision {PK} / [^ ]*: {fault}"):
        state(**changes)


def test_a_state_may_lie_at_the_ends_of_what_fits() -> None:
    fewest = state(outcome=None, outcome_rev=0, quality=0, cycle=None, applied=False)
    least = Element.decode(element_of(fewest).encode())
    most = Element.decode(element_of(state(outcome_rev=65_535, quality=1)).encode())

    assert (least.outcome_rev, least.quality, least.applied) == (0, 0, False)
    assert (most.outcome_rev, most.quality, most.applied) == (65_535, 10_000, True)


def test_a_slot_is_the_hour_and_splits_down_to_the_digits_of_the_key() -> None:
    decision = bytes.fromhex("a3" + "0" * 14)

    path = [slot_of("2026-11-22T14:35:27.123Z#dec_1", decision, n) for n in range(DEEPEST + 1)]

    assert path[:7] == [
        "2026-11-22T14",
        "2026-11-22T14:3",
        "2026-11-22T14:35",
        "2026-11-22T14:35:2",
        "2026-11-22T14:35:27",
        "2026-11-22T14:35:27#a",
        "2026-11-22T14:35:27#a3",
    ]
    assert path[-1] == f"2026-11-22T14:35:27#{decision.hex()}"
    assert [slot_of("2026-11-22T14:35:27Z#d", decision, n) for n in range(5)] == path[:5]


CONTENT: dict[str, Any] = {
    "PK": PK,
    "SK": "2025-10-18T14:30:00Z#dec_1",
    "context": {"cycle": 142, "tags": {"b", "a"}, "share": Decimal("0.5"), "blob": b"\x00"},
    "numbers": {Decimal("1.5"), 2},
}


@pytest.mark.parametrize(
    "changes",
    [
        {"outcome": {"success": True}, "outcome_rev": 2},
        {"ttl": 1},
        {"promoted_at": 1, "is_stm": False, "GSI1_PK": "x"},
        {"context": {**CONTENT["context"], "cycle": Decimal("142.0"), "share": Decimal("0.50")}},
    ],
)
def test_what_may_change_and_how_it_is_written_is_no_content(changes: dict[str, Any]) -> None:
    assert content_digest({**CONTENT, **changes}) == content_digest(CONTENT)
    assert len(content_digest(CONTENT)) == 3


@pytest.mark.parametrize(
    "changes",
    [
        {"context": {**CONTENT["context"], "cycle": 143}},
        {"context": {**CONTENT["context"], "cycle": "142"}},
        {"context": {**CONTENT["context"], "share": "0.5"}},
        {"context": {**CONTENT["context"], "blob": "AA=="}},
        {"numbers": {Decimal("1.5"), 3}},
        {"event_time": "2008-10-10"},
        {"made_up": None},
    ],
)
def test_everything_else_an_agent_wrote_is_content(changes: dict[str, Any]) -> None:
    assert content_digest({**CONTENT, **changes}) != content_digest(CONTENT)


@given(st.randoms(use_true_random=False))
def test_one_element_of_a_decision_outranks_every_other(chance: Random) -> None:
    elements = {
        element_of(
            state(
                content=bytes([0, 0, chance.randrange(3)]),
                outcome_rev=chance.randint(1, 3),
                outcome=chance.random() < 0.5,
            )
        ).encode()
        for _ in range(6)
    }

    best = [each for each in elements if all(supersedes(each, o) for o in elements - {each})]

    assert len(best) == 1
    assert best[0][8:11] == min(each[8:11] for each in elements)


@pytest.mark.parametrize("outcome", Outcome)
def test_of_one_state_the_element_that_stands_is_the_one_that_says_more(outcome: Outcome) -> None:
    """An older release left out what was stated; its elements stay in the sets."""
    plain = Element(b"decision", b"abc", b"unit", 3, outcome, True, 9_000)
    stating = plain._replace(confidence=100)
    later = plain._replace(outcome_rev=4)

    assert supersedes(stating.encode(), plain.encode())
    assert not supersedes(plain.encode(), stating.encode())
    assert supersedes(later.encode(), stating.encode())
    assert standing_of([stating.encode(), later.encode()]) == {b"decision": later.encode()}


def test_what_was_stated_is_added_up_once_a_decision_has_an_outcome() -> None:
    sure = Element(b"decision", b"abc", b"unit", 0, Outcome.PENDING, True, None, 9_000, 2_500)
    won = sure._replace(outcome_rev=1, outcome=Outcome.SUCCESS)
    lost = sure._replace(outcome_rev=2, outcome=Outcome.FAILURE)
    other = won._replace(decision=b"another1", applied=False, selection_prob=None)

    assert fold([sure.encode()]) == Counts(pending=1)
    assert fold([sure.encode(), won.encode()]).applied_weights == Weights.of(2_500, True)
    found = fold([each.encode() for each in (lost, won, sure, other)])
    assert (found.applied_weights, found.other_weights) == (Weights.of(2_500, False), Weights())
    assert found.confidences == Confidences.of(9_000, False) + Confidences.of(9_000, True)


def state_of(decision: int, revision: int, content: int) -> DecisionState:
    """Give one state per decision and revision, its values drawn from `content`."""
    draw = Random(f"{decision}/{revision}/{content}")
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
        q_sq=sum(int(Decimal(str(quality)) * 10_000) ** 2 for quality in rated),
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
def test_order_and_repetition_change_nothing(states: list[DecisionState], chance: Random) -> None:
    elements = encode(states)
    disturbed = elements + [element for element in elements if chance.random() < 0.5]

    chance.shuffle(disturbed)

    assert fold(disturbed) == fold(elements) == fold(frozenset(elements))


@given(ANY_STATES, st.randoms(use_true_random=False))
def test_what_is_superseded_can_be_dropped_at_any_time(
    states: list[DecisionState], chance: Random
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


def test_of_two_failures_under_one_revision_the_higher_quality_stands() -> None:
    low, high = (
        Element(b"decision", b"abc", b"unit", 1, Outcome.FAILURE, False, quality).encode()
        for quality in (100, 9_000)
    )

    assert supersedes(high, low)
    assert not supersedes(low, high)
    assert not supersedes(high, high)
    assert fold([low, high]).q_sum == 9_000


def test_of_other_content_the_smallest_digest_stands_whatever_its_revision() -> None:
    first = Element(b"decision", b"abb", b"unit", 1, Outcome.SUCCESS, False, None).encode()
    later = Element(b"decision", b"abc", b"unit", 2, Outcome.FAILURE, False, None).encode()

    assert supersedes(first, later)
    assert not supersedes(later, first)
    assert standing_of([later, first]) == {b"decision": first}


def test_quality_and_application_of_a_pending_decision_do_not_count_yet() -> None:
    pending = Element(b"decision", b"abc", b"unit", 0, Outcome.PENDING, True, 9000)

    assert fold([pending.encode()]) == Counts(pending=1)


def test_an_unreadable_element_stops_the_fold_instead_of_miscounting() -> None:
    for count in (fold, standing_of):
        with pytest.raises(
            MalformedElement, match="has 5 bytes instead of 20, or 24 to 60 in fours"
        ):
            count([b"short"])


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


WEIGHED = Counts(
    revision=4,
    n=3,
    s=1,
    q_sq=None,
    applied=2,
    applied_weights=Weights.of(2_500, True) + Weights.of(10_000, False),
    other_weights=Weights.of(1, False),
)
SURE = Counts(n=2, s=1, confidences=Confidences.of(9_000, True) + Confidences.of(0, False))


@pytest.mark.parametrize(
    ("counts", "behind"),
    [
        (Counts(n=1), [1]),
        (Counts(n=1, q_n=1, q_sum=500, q_sq=250_000), [1, 250_000]),
        (WEIGHED, [1, -1, [2, 50_000, 40_000, 17 * 10**8, 1, 10**8, 0, 10**16]]),
        (SURE, [1, 0, [], [1_000_000, 0, 1, 0, 0, 9, 1, 1, 9_000]]),
    ],
)
def test_behind_nine_numbers_a_row_holds_its_form_and_what_there_is_of_the_rest(
    counts: Counts, behind: list[object]
) -> None:
    row = counts.to_row()

    assert row[9:] == behind
    assert Counts.from_row(row) == counts
    assert Counts.from_row(item_from_wire(item_to_wire({"c": row}))["c"]) == counts


def test_the_rows_of_an_older_release_are_read_and_their_squares_are_unknown() -> None:
    waiting, resolved = [3, 0, 0, 0, 0, 0, 0, 5, 0], [3, 2, 1, 900, 1, 0, 0, 5, 2]

    assert Counts.from_row(waiting) == Counts(revision=3, pending=5)
    assert Counts.from_row(resolved) == Counts(3, 2, 1, 900, 1, pending=5, units=2, q_sq=None)
    assert Counts.from_row(resolved).to_row() == resolved
    assert (Counts.from_row(resolved) + Counts(q_n=1, q_sq=5)).q_sq is None
    assert (Counts.from_row(waiting) + Counts(q_n=1, q_sq=5)).q_sq == 5


@pytest.mark.parametrize(
    "behind",
    [
        [1, -2],
        [1, "x"],
        [1, 0, [1, 2, 3]],
        [1, 0, 7],
        [1, 0, [], [5, 10, 1, 0, 0]],
        [1, 0, [], [5, 1, 1, 0]],
        [1, 0, [], [5, 1, 1, 2, 0]],
        [1, 0, [], [5, 3, 1, 0, 0, 1, 1, 0, 0]],
    ],
)
def test_sums_that_no_counts_have_are_refused(behind: list[object]) -> None:
    with pytest.raises(MalformedRow, match="followed by a form and its sums"):
        Counts.from_row([1, 1, 1, 0, 0, 0, 0, 0, 1, *behind])


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
    with pytest.raises(MalformedRow) as refusal:
        Counts.from_row(row)

    assert str(refusal.value) == (
        f"counts row {row!r} is not [revision, n, s, q_sum, q_n, applied, applied_s, pending, "
        "units] in whole numbers of 0 or more, followed by a form and its sums; rebuild it by "
        "folding the ledger"
    )


def test_what_a_newer_release_appends_to_a_row_is_passed_over() -> None:
    counts = replace(SURE, q_n=1, q_sum=1, q_sq=1)

    assert Counts.from_row([*counts.to_row(), 99, [], Decimal("0.5")]) == counts
