"""An owner's account promotes whom evidence is enough for, and never takes one back."""

import math

import pytest

from sharpwave.workers.patterns.account import Account
from sharpwave.workers.patterns.life import needed
from sharpwave.workers.patterns.policy import Policy

POLICY = Policy()


def account(*log_e: float, promoted: dict[int, float] | None = None) -> Account:
    """Give an account in which candidates 1, 2, ... wait with these logs of evidence."""
    held = promoted or {}
    return Account(
        count=len(log_e) + len(held),
        promoted={number: (f"p{number}", e) for number, e in held.items()},
        waiting={
            number: (f"p{number}", e)
            for number, e in enumerate(log_e, start=1)
            if number not in held
        },
    )


def test_who_reaches_the_bar_is_promoted_with_what_it_had() -> None:
    bar = needed(1, 0, POLICY)
    settled = account(bar + 0.01, bar - 1).settled(POLICY)
    assert settled.promoted == {1: ("p1", bar + 0.01)}
    assert settled.waiting == {2: ("p2", bar - 1)}
    assert account(bar - 0.01).settled(POLICY).promoted == {}


def test_what_was_promoted_stays_whatever_comes() -> None:
    held = account(0.1, 0.2, promoted={7: 9.0})
    settled = held.settled(POLICY)
    assert settled.promoted[7] == ("p7", 9.0)
    assert settled.entered(1, "p1", None).settled(POLICY).promoted[7] == ("p7", 9.0)


def test_candidates_can_be_promoted_together_that_none_is_alone() -> None:
    # Each has less than its bar alone, and enough where both are.
    level = [needed(number, 1, POLICY) + 0.01 for number in (1, 2)]
    assert all(e < needed(number, 0, POLICY) for number, e in enumerate(level, start=1))
    assert account(*level).settled(POLICY).promoted.keys() == {1, 2}


def test_one_that_lacks_something_else_waits_no_longer() -> None:
    held = account(1.0, 2.0)
    assert held.entered(1, "p1", None).waiting == {2: ("p2", 2.0)}
    assert held.entered(1, "p1", 1.5).waiting[1] == ("p1", 1.5)


def test_where_too_many_wait_e_lond_decides_and_says_so() -> None:
    policy = Policy(closure_most=1)
    level = [needed(number, 1, policy) + 0.01 for number in (1, 2)]
    held = account(*level)
    assert held.attributes(policy)["rule"] == "e-lond"
    assert held.settled(policy).promoted == {}
    strong = account(needed(1, 0, policy) + 0.01, needed(2, 1, policy) + 0.01)
    assert strong.settled(policy).promoted.keys() == {1, 2}
    assert account(1.0).attributes(policy)["rule"] == "online closure"


@pytest.mark.parametrize("log_e", [math.pi, 1e-7, 700.123456789])
def test_an_account_is_the_same_after_it_was_stored_and_says_no_more(log_e: float) -> None:
    held = account(log_e, 2.0, promoted={2: 3.5})
    stored = Account.of_row(held.attributes(POLICY))
    assert stored.promoted == held.promoted
    ((_, kept),) = stored.waiting.values()
    assert log_e - 2e-6 < kept <= log_e
