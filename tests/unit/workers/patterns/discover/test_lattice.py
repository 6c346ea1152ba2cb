"""What is counted in bounded room, and what of it is proposed."""

import json
import random
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sharpwave.workers.patterns.discover import lattice
from sharpwave.workers.patterns.discover.candidates import Candidate
from sharpwave.workers.patterns.discover.columns import MOST_VALUES, Column, Gain, Seen
from sharpwave.workers.patterns.discover.features import Feature, Term, name_of, read
from sharpwave.workers.patterns.discover.lattice import (
    LEAST_N,
    MOST_BYTES,
    MOST_COLUMNS,
    MOST_COUNTED,
    MOST_OPEN,
    PATIENCE,
    SAMPLE,
    State,
)

Said = Mapping[str, Any]


def key(number: int) -> tuple[str, str]:
    day = f"2025-{1 + number // 56 % 12:02}-{1 + number // 2 % 28:02}"
    return f"{day}T12:00:00.000Z#{number}", day


def look(state: State, number: int, inputs: Said, success: bool | None) -> None:
    sk, day = key(number)
    state.look(sk, read({"inputs": inputs}), success, day=day)


def drawn(seed: int, count: int, chance_of: Callable[[Said], float]) -> list[tuple[Said, bool]]:
    chance = random.Random(seed)
    found: list[tuple[Said, bool]] = []
    for _ in range(count):
        inputs = {
            "trend": chance.choice(["up", "down", "flat"]),
            "whales": chance.randrange(10),
            "ratio": chance.random(),
            "is_open": chance.random() < 0.5,
            "exchanges": chance.sample(["nyse", "cme", "lse", "jpx"], 2),
        }
        found.append((inputs, chance.random() < chance_of(inputs)))
    return found


def lived(history: Sequence[tuple[Said, bool]], *, every: int = 0) -> State:
    state = State()
    for number, (inputs, success) in enumerate(history):
        look(state, number, inputs, success)
        if every and number % every == 0:
            state = State.decode(state.encode())
    return state


def whales_up(inputs: Said) -> float:
    return 0.85 if inputs["trend"] == "up" and inputs["whales"] >= 5 else 0.5


# -- what is found -------------------------------------------------------------------------------


def test_a_conjunction_is_found_and_told_in_words() -> None:
    state = lived(drawn(1, 1_000, whales_up))

    texts = [each.describe() for each in state.open if not each.avoid and len(each.rule) == 2]
    assert any("inputs.trend = up and inputs.whales >= " in text for text in texts)
    assert all("seem to succeed more often: " in text for text in texts)


def test_what_fails_more_often_is_one_to_avoid() -> None:
    state = lived(drawn(2, 600, lambda inputs: 0.2 if inputs["trend"] == "down" else 0.7))

    (found,) = (each for each in state.open if each.rule[0].value == "down")
    assert found.avoid
    assert "seem to fail more often" in found.describe()


def test_where_nothing_is_there_hardly_anything_is_proposed() -> None:
    proposed = [len(lived(drawn(seed, 600, lambda _: 0.6)).open) for seed in range(8)]

    assert sum(proposed) <= 8


def test_a_member_of_a_list_and_a_truth_are_found() -> None:
    by_member = lived(drawn(3, 600, lambda each: 0.8 if "cme" in each["exchanges"] else 0.5))
    by_truth = lived(drawn(4, 600, lambda each: 0.8 if each["is_open"] else 0.5))

    assert any(term.op == "contains" for each in by_member.open for term in each.rule)
    assert any(term.value is True for each in by_truth.open for term in each.rule)


def test_of_rules_about_the_same_paths_one_is_open() -> None:
    state = lived(drawn(5, 1_500, lambda each: 0.9 if each["whales"] >= 5 else 0.4))

    paths = [each.paths for each in state.open]
    assert len(paths) == len(set(paths)) <= MOST_OPEN


def test_two_names_for_one_thing_are_proposed_once() -> None:
    history: list[tuple[Said, bool]] = [
        ({**inputs, "mirror": inputs["trend"] + "wards"}, success)
        for inputs, success in drawn(6, 900, lambda each: 0.9 if each["trend"] == "up" else 0.4)
    ]

    singles = [each.rule[0].value for each in lived(history).open if len(each.rule) == 1]
    assert len({"up", "upwards"} & set(singles)) == 1


def test_a_child_that_is_no_better_than_its_parent_is_not_proposed() -> None:
    state = lived(drawn(7, 1_200, lambda each: 0.9 if each["trend"] == "up" else 0.5))

    rules = [{term.path for term in each.rule} for each in state.open]
    assert {"inputs.trend"} in rules
    assert sum("inputs.trend" in rule for rule in rules) <= 2


# -- the life of a candidate ---------------------------------------------------------------------


def test_a_candidate_that_gets_nowhere_gives_its_place_back_and_does_not_return() -> None:
    history = drawn(8, PATIENCE + 600, lambda each: 0.8 if each["trend"] == "up" else 0.5)
    state = lived(history[:512])
    (first, *_) = state.open

    for number, (inputs, success) in enumerate(history[512:], 512):
        look(state, number, inputs, success)

    assert first.name in state.ending
    assert first.name not in [each.name for each in state.open]


def test_one_that_was_promoted_frees_its_place_and_is_not_proposed_again() -> None:
    history = drawn(9, 1_200, lambda each: 0.9 if each["trend"] == "up" else 0.5)
    state = lived(history[:512])
    (first, *_) = state.open
    state.settle(promoted=[first.name], ended=())

    for number, (inputs, success) in enumerate(history[512:], 512):
        look(state, number, inputs, success)

    assert first.name not in [each.name for each in state.open]
    assert first.name not in state.ending


def proposed(*terms: Term, avoid: bool = False) -> Candidate:
    name = name_of(terms, avoid=avoid)
    return Candidate(name, terms, avoid, Gain(Seen(40, 30), Seen(100, 50)), 100, 14)


def test_a_rule_that_says_more_than_another_refines_the_closest() -> None:
    up, big, new = (Term(f"context.{name}", "eq", "yes") for name in ("up", "big", "new"))
    state = State(open=[proposed(up), proposed(new, avoid=True)], kept=[proposed(up, big)])

    assert state.refined(proposed(up, big, new)) == proposed(up, big)
    assert state.refined(proposed(up, new)) == proposed(up)
    assert state.refined(proposed(big, new)) is None, "the other claims the contrary"
    assert state.refined(proposed(up)) is None, "it is the same"


def test_of_a_backlog_nothing_is_proposed_and_nobody_given_up() -> None:
    state = State()
    for number, (inputs, success) in enumerate(drawn(10, 700, whales_up)):
        sk, day = key(number)
        state.look(sk, read({"inputs": inputs}), success, day=day, proposes=False)

    assert state.open == [] == state.ending
    assert state.conjunctions


def test_what_has_no_outcome_counts_nowhere() -> None:
    state = State()
    look(state, 1, {"trend": "up"}, None)

    assert state.unresolved == 1
    assert state.seen == Seen()
    assert state.columns == []


def test_evidence_of_a_rare_pattern_fades_more_slowly() -> None:
    often = lived(drawn(11, 640, lambda each: 0.9 if each["is_open"] else 0.4)).open[0]
    state = State()
    for number, (inputs, success) in enumerate(
        drawn(11, 640, lambda each: 0.9 if each["is_open"] else 0.4)
    ):
        year = 2025 + number // 336
        sk, day = key(number * 20)
        state.look(f"{year}{sk[4:]}", read({"inputs": inputs}), success, day=f"{year}{day[4:]}")

    assert often.half_life_days < state.open[0].half_life_days <= 730


# -- room ----------------------------------------------------------------------------------------


def test_of_many_values_the_usual_ones_keep_their_place() -> None:
    column = Column(Feature("inputs.tag", "label"))
    seen = Seen()
    for number in range(3_000):
        label = f"usual{number % 4}" if number % 2 else f"rare{number}"
        column.count(label, True, seen)
        seen = seen.plus(True)

    labels = [each.label for each in column.values]
    assert len(labels) == MOST_VALUES
    assert {"usual1", "usual3"} <= set(labels)
    for value in column.values:
        assert value.seen.n <= value.weight
        assert value.seen.n + value.before.n <= seen.n


def test_of_many_paths_the_usual_ones_keep_their_place() -> None:
    state = State()
    for number in range(600):
        look(state, number, {"usual": "x", f"rare{number}": "y", f"odd{number}": 1}, True)

    assert len(state.columns) == MOST_COLUMNS
    assert "inputs.usual" in [column.feature.path for column in state.columns]
    assert len(state.sample) == SAMPLE


def test_a_path_that_comes_later_takes_the_place_of_one_that_is_seldom_there() -> None:
    state = State()
    for number in range(400):
        early = {f"early{at}": number % 2 for at in range(MOST_COLUMNS - 1)}
        late = {"late": "x"} if number > 200 else {}
        look(state, number, {**early, **({"once": "y"} if number == 0 else {}), **late}, True)

    paths = {column.feature.path for column in state.columns}
    assert "inputs.late" in paths
    assert "inputs.once" not in paths
    assert len([path for path in paths if "early" in path]) == MOST_COLUMNS - 1


def test_the_fullest_state_there_can_be_has_room() -> None:
    chance, state = random.Random("full"), State()
    # Paths and values of the greatest length, of every kind, each telling something.
    names = [f"{number:02}{'n' * 86}" for number in range(30)]
    labels = [f"{number:02}{'v' * 38}" for number in range(10)]
    largest = 0
    for number in range(700):
        inputs: dict[str, Any] = {}
        for at, name in enumerate(names):
            if at % 4 == 0:
                inputs[name] = chance.uniform(-1, 1) * 10.0 ** chance.randint(-200, 200)
            elif at % 4 == 1:
                inputs[name] = chance.sample(labels, 5)
            else:
                inputs[name] = chance.choice(labels)
        good = sum(inputs[name] in labels[:5] for name in names if isinstance(inputs[name], str))
        look(state, number, inputs, chance.random() < good / 15)
        if number % 64 == 0:
            largest = max(largest, len(state.encode().encode()))

    assert len(state.columns) == MOST_COLUMNS
    assert len(state.conjunctions) > MOST_COUNTED
    assert MOST_BYTES / 2 < largest <= MOST_BYTES


_VALUE = st.one_of(
    st.sampled_from(["up", "down", "flat", "ä" * 20, "\\" * 20, '"x"']),
    st.integers(-3, 3),
    st.floats(allow_nan=False),
    st.booleans(),
    st.lists(st.sampled_from("abcdefghijklmnop"), max_size=14),
)
_DECISION = st.tuples(
    st.dictionaries(st.sampled_from([f"p{number}" for number in range(40)]), _VALUE, max_size=30),
    st.sampled_from([True, True, False, None]),
)


@settings(max_examples=40, deadline=None)
@given(st.lists(_DECISION, max_size=150), st.integers(1, 40), st.data())
def test_a_state_fits_its_room_and_does_not_depend_on_batches(
    history: list[tuple[Said, bool | None]], batch: int, data: st.DataObject
) -> None:
    whole, parts = State(), State()
    # Rounds come early, so that all there is comes up in short histories.
    round_at = data.draw(st.sampled_from([8, 64]))
    least = data.draw(st.sampled_from([2, LEAST_N]))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(lattice, "ROUND", round_at)
        patch.setattr(lattice, "LEAST_N", least)
        patch.setattr(lattice, "TELLING", 1.0)
        patch.setattr(lattice, "BETTER", 0.5)
        for number, (inputs, success) in enumerate(history):
            look(whole, number, inputs, success)
            look(parts, number, inputs, success)
            if number % batch == 0:
                parts = State.decode(parts.encode())

    text = whole.encode()
    assert text == parts.encode()
    assert len(text.encode()) <= MOST_BYTES
    assert State.decode(text) == whole
    assert len(whole.open) <= MOST_OPEN


def test_equal_decisions_give_equal_bytes() -> None:
    history = drawn(12, 800, whales_up)

    assert lived(history).encode() == lived(history, every=7).encode()


@pytest.mark.parametrize("text", ["{", "[]", '{"seen":[1]}', '{"seen":[1,1,0,0,0]}'])
def test_what_is_no_state_is_named_so(text: str) -> None:
    with pytest.raises(ValueError, match="no state of a search for patterns"):
        State.decode(text)


def test_a_state_is_readable_json() -> None:
    content = json.loads(lived(drawn(13, 100, whales_up)).encode())

    assert content["seen"][:1] == [100]


# -- measures ------------------------------------------------------------------------------------


def test_gain_is_share_times_difference_and_z_its_size_against_chance() -> None:
    gain = Gain(Seen(40, 30), Seen(100, 55))

    assert gain.wracc == pytest.approx(0.4 * (0.75 - 0.55))
    # Hypergeometric: variance 0.55 * 0.45 * 60 / (40 * 99).
    assert gain.z == pytest.approx(0.2 / (0.2475 * 60 / 3960) ** 0.5)
    assert Gain(Seen(), Seen(5, 5)).z == Gain(Seen(5, 5), Seen(5, 5)).z == 0
