"""What acting was worth is told from the decisions that were taken, or said to be unknown."""

from typing import Any

import pytest

from sharpwave.infra.demo.books import Entry
from sharpwave.infra.demo.scene import Claim, Verdict
from sharpwave.infra.demo.worth import acted, choices
from sharpwave.schemas.records import DecisionRecord


def entry(index: int, success: bool, *, horizon: int = 1, **reasoning: Any) -> Entry:
    record = DecisionRecord(
        PK="agent:trade-executor#decision#TRADE_ENTRY",
        SK=f"2025-10-18T14:30:00.000Z#dec_{index}",
        agent_id="trade-executor",
        decision_id=f"dec_{index}",
        decision_type="TRADE_ENTRY",
        timestamp=1760797800,
        iso_timestamp="2025-10-18T14:30:00.000Z",
        reasoning=reasoning,
    )
    verdict = Verdict(success, 0.5, 0.0)
    return Entry(record, {}, Claim("rises", horizon), index, verdict=verdict)


def drawn(index: int, source: str, prob: float, success: bool) -> Entry:
    scores = {"nasdaq": 2, "sp500": 1}
    return entry(index, success, selected=[source], selection_prob=prob, scores=scores)


def acts(*weights: tuple[int, bool], horizon: int = 1) -> list[Entry]:
    return [
        entry(at, success, horizon=horizon, weight=weight, patterns_applied=[])
        for at, (weight, success) in enumerate(weights)
    ]


def test_a_rare_choice_weighs_as_much_as_it_was_rare() -> None:
    made = [drawn(n, "nasdaq", 0.8, n % 2 == 0) for n in range(8)]
    made += [drawn(8, "sp500", 0.2, True), drawn(9, "sp500", 0.8, False)]

    found = choices(made)

    assert (found["n"], found["successes"]) == (10, 5)
    assert found["always"]["nasdaq"]["rate"] == 0.5
    assert found["always"]["sp500"]["rate"] == pytest.approx(5 / 6.25)
    low, high = found["always"]["nasdaq"]["interval"]
    assert 0 < low < 0.5 < high < 1


def test_too_few_draws_have_no_interval() -> None:
    found = choices([drawn(0, "nasdaq", 0.5, True)])

    assert found["always"]["nasdaq"]["interval"] is None
    assert found["other"] == {"n": 0, "successes": 0, "interval": None}
    assert choices([])["always"] == {}


def test_what_memory_changed_is_judged_apart() -> None:
    found = choices([drawn(n, "sp500", 0.5, n < 4) for n in range(6)])

    assert (found["other"]["n"], found["other"]["successes"]) == (6, 4)
    low, high = found["other"]["interval"]
    assert 0 < low < 4 / 6 < high < 1


def test_doubling_is_held_against_the_usual_from_its_first_day_on() -> None:
    before = [(1, False)] * 20

    (found,) = acted(acts(*before, *[(2, True), (1, False)] * 10))

    assert (found["did"], found["n"], found["successes"]) == ("doubled", 10, 10)
    assert (found["other_n"], found["other_successes"]) == (10, 0)
    assert found["gain"] == 1.0
    assert found["interval"][0] > 0


def test_leaving_what_fails_is_a_gain() -> None:
    (found,) = acted(acts(*[(0, False), (1, True)] * 10))

    assert (found["did"], found["gain"]) == ("left", 1.0)


def test_outcomes_that_share_days_count_once() -> None:
    (found,) = acted(acts(*[(2, True)] * 11, horizon=5))

    assert (found["n"], found["gain"], found["interval"]) == (3, None, None)


def test_where_nothing_was_acted_on_nothing_is_said() -> None:
    assert acted(acts((1, True), (1, False))) == []
    assert acted([entry(0, True, scores={})]) == []
