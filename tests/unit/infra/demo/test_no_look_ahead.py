"""No agent knows the future: other later days change nothing an agent sees, does or is told."""

from collections.abc import Callable, Iterator
from dataclasses import asdict

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sharpwave.infra.demo.agents import audience
from sharpwave.infra.demo.market import WINDOW, Market, MarketDay, features
from sharpwave.infra.demo.scene import Claim, Scene
from tests.unit.infra.demo.conftest import Reaction, hunted, reacted

History = Callable[[int, int], list[MarketDay]]

CLAIMS = [
    Claim("rises", 1),
    Claim("falls", 5),
    Claim("drops", 5, 0.02),
    Claim("moves", 1, 0.01),
    Claim("nasdaq_leads", 1),
    Claim("sp500_leads", 1),
    Claim("beats_crude", 5),
]
seeds = st.integers(0, 10_000)


def reactions(scene: Scene) -> Iterator[Reaction]:
    """Everything the five agents do about one day, each signal delivered at once."""
    waiting = [hunted(scene)]
    while waiting:
        reaction = waiting.pop()
        yield reaction
        for signal in reaction.signals:
            waiting += [
                reacted(target, signal.signal_type, scene, signal.data)
                for target in audience(reaction.agent_id, signal.signal_type, signal.to)
            ]


@given(seed=seeds, other=seeds, later=st.integers(1, 8))
def test_other_later_days_change_neither_features_nor_reactions(
    history: History, seed: int, other: int, later: int
) -> None:
    past = history(WINDOW + 1, seed)
    futures = [past + history(WINDOW + 1 + later, seed)[-later:], past + history(later, other)]
    today = len(past) - 1

    scenes = [Scene(each.at(today - 1), each.at(today), today) for each in map(Market, futures)]

    assert scenes[0] == scenes[1]
    assert list(reactions(scenes[0])) == list(reactions(scenes[1]))


@given(seed=seeds, other=seeds)
def test_days_before_the_window_do_not_matter_either(
    history: History, seed: int, other: int
) -> None:
    window = history(WINDOW, seed)

    assert features(history(5, other) + window) == features(window)


@given(seed=seeds, claim=st.sampled_from(CLAIMS), index=st.integers(0, 10))
def test_an_outcome_is_unknown_until_its_horizon_and_never_changes_after(
    history: History, seed: int, claim: Claim, index: int
) -> None:
    days = history(40, seed)

    verdicts = [claim.verdict(days[:known], index) for known in range(index + 1, 41)]

    assert verdicts[: claim.horizon] == [None] * claim.horizon
    known = [verdict for verdict in verdicts if verdict is not None]
    assert len(set(known)) <= 1
    assert verdicts[len(verdicts) - len(known) :] == known


@pytest.mark.parametrize("word", ["next", "future", "tomorrow", "outcome"])
def test_no_feature_is_named_after_the_future(history: History, word: str) -> None:
    known = asdict(features(history(WINDOW, 1)))

    assert not [name for name in known if word in name]


def test_features_refuse_a_history_that_is_too_short(history: History) -> None:
    with pytest.raises(ValueError, match=f"need {WINDOW} days"):
        features(history(WINDOW - 1, 1))
