"""Outcomes come from the days that followed, early marks first, corrected where they were wrong."""

from collections.abc import Sequence
from datetime import date, timedelta
from typing import Any

import pytest

from sharpwave.infra.demo.agents import PATTERNS
from sharpwave.infra.demo.books import Decisions
from sharpwave.infra.demo.market import Bar, MarketDay
from sharpwave.infra.demo.scene import Claim
from sharpwave.schemas.patterns import PatternDefinition
from sharpwave.schemas.records import DecisionRecord

WEEK = Claim("rises", horizon=5)
MARKED = Claim("rises", horizon=5, mark=1)


def market(*closes: float, wti: Sequence[float | None] = ()) -> list[MarketDay]:
    crude = [*wti, *[None] * len(closes)]
    return [
        MarketDay(date(2001, 1, 1) + timedelta(days=n), flat(close), flat(100), wti=crude[n])
        for n, close in enumerate(closes)
    ]


def flat(close: float) -> Bar:
    return Bar(close, close, close, close, 1)


def decided(number: int = 1, **inputs: float) -> DecisionRecord:
    return DecisionRecord(
        PK="agent:risk-manager#decision#RISK_ASSESSMENT",
        SK=f"2025-10-18T14:30:00.000Z#dec_{number}",
        agent_id="risk-manager",
        decision_id=f"dec_{number}",
        decision_type="RISK_ASSESSMENT",
        timestamp=1760797800,
        iso_timestamp="2025-10-18T14:30:00.000Z",
        inputs=inputs,
    )


@pytest.mark.parametrize(
    ("what", "threshold", "closes", "success"),
    [
        ("rises", 0.0, (100, 101), True),
        ("rises", 0.0, (100, 100), False),
        ("falls", 0.0, (100, 99), True),
        ("drops", 0.02, (100, 97.9), True),
        ("drops", 0.02, (100, 98.1), False),
        ("moves", 0.01, (100, 98.9), True),
        ("moves", 0.01, (100, 100.9), False),
        ("sp500_leads", 0.0, (100, 99), True),
        ("nasdaq_leads", 0.0, (100, 99), False),
    ],
)
def test_a_claim_holds_or_not(
    what: Any, threshold: float, closes: tuple[float, ...], success: bool
) -> None:
    verdict = Claim(what, 1, threshold).verdict(market(*closes), 0)

    assert verdict is not None
    assert verdict.success is success
    assert (verdict.quality > 0.5) is success


def test_a_drop_counts_at_any_close_within_the_horizon() -> None:
    verdict = Claim("drops", 3, 0.02).verdict(market(100, 97, 104, 105), 0)

    assert verdict is not None
    assert verdict.success


def test_crude_is_judged_at_its_first_quote_from_the_horizon_on() -> None:
    days = market(100, 101, 103, 90, wti=[50.0, None, 51.0, 99.0])
    claim = Claim("beats_crude", 1)

    assert claim.verdict(days[:2], 0) is None
    assert claim.verdict(days[:3], 0) == claim.verdict(days, 0)
    assert claim.verdict(days, 0).move == pytest.approx(0.01)  # type: ignore[union-attr]


def test_a_decision_is_resolved_once_its_horizon_has_passed() -> None:
    book, days = Decisions(), market(100, 100, 100, 100, 100, 101, 90)
    book.add(decided(), WEEK, 0)

    assert book.resolve(days[:5]) == []
    assert [step.verdict.success for step in book.resolve(days[:6])] == [True]
    assert book.resolve(days) == []


def test_an_early_mark_that_proves_wrong_is_corrected() -> None:
    book, days = Decisions(), market(100, 101, 100, 100, 100, 99)
    book.add(decided(), MARKED, 0)

    early, late = book.resolve(days[:2]), book.resolve(days)

    assert [(step.verdict.success, step.corrects) for step in early] == [(True, False)]
    assert [(step.verdict.success, step.corrects) for step in late] == [(False, True)]


def test_an_early_mark_that_proves_right_stands() -> None:
    book, days = Decisions(), market(100, 101, 100, 100, 100, 102)
    book.add(decided(), MARKED, 0)

    assert len(book.resolve(days[:2])) == 1
    assert book.resolve(days) == []
    assert book.unresolved == 0


def test_a_mark_and_a_correction_of_one_moment_come_in_this_order() -> None:
    book = Decisions()
    book.add(decided(), MARKED, 0)

    found = book.resolve(market(100, 101, 100, 100, 100, 99))

    assert [step.corrects for step in found] == [False, True]


@pytest.fixture
def turbulence() -> PatternDefinition:
    return next(one for one in PATTERNS if one.pattern_id == "pattern_turbulence_persists")


def test_what_a_pattern_must_count_follows_from_the_book_alone(
    turbulence: PatternDefinition,
) -> None:
    book = Decisions()
    book.add(decided(1, volatility_ratio=1.3), Claim("rises", 1), 0)
    book.add(decided(2, volatility_ratio=1.3), Claim("falls", 1), 0)
    book.add(decided(3, volatility_ratio=0.9), Claim("rises", 1), 0)
    book.add(decided(4, volatility_ratio=1.3), WEEK, 0)

    book.resolve(market(100, 101))

    assert book.expected(turbulence, since=0) == (2, 1)
    assert book.expected(turbulence, since=2_000_000_000) == (0, 0)
    assert (len(book), book.unresolved) == (4, 1)
