"""A source is drawn as often as it is likely to be the best, and how likely that was is said."""

import random
from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sharpwave.producers.choosing import Choice, choose, selection_shares
from sharpwave.workers.patterns.evidence import probability_greater
from sharpwave.workers.patterns.statistics import Beta

COUNTS = {"news": (40.0, 30.0), "twitter": (60.0, 24.0), "whales": (2.0, 1.0)}


def test_equal_counts_and_an_equal_seed_give_an_equal_choice() -> None:
    backwards = dict(reversed(COUNTS.items()))

    assert choose(COUNTS, random.Random(5)) == choose(backwards, random.Random(5))


def test_the_better_source_is_chosen_more_often_and_the_unknown_one_still_tried() -> None:
    chance = random.Random(5)

    chosen = Counter(choose(COUNTS, chance).source for _ in range(500))

    assert chosen["news"] > chosen["whales"] > chosen["twitter"] > 0


def test_a_choice_says_how_probable_it_was() -> None:
    shares = selection_shares(COUNTS, random.Random(5))
    choice = choose(COUNTS, random.Random(5))

    assert choice == Choice(choice.source, shares[choice.source] / 10_000)


def test_shares_are_the_probabilities_to_be_the_best() -> None:
    counts = {"news": (40.0, 30.0), "twitter": (60.0, 40.0)}

    shares = selection_shares(counts, random.Random(5), draws=20_000, explore=0)

    best = probability_greater(Beta(31, 11), Beta(41, 21))
    assert shares["news"] / 10_000 == pytest.approx(best, abs=0.01)


@given(
    st.dictionaries(
        st.text(max_size=3),
        st.tuples(st.floats(0, 1e6), st.floats(0, 1)).map(lambda c: (c[0], c[0] * c[1])),
        min_size=1,
        max_size=12,
    ),
    st.floats(0, 1),
    st.randoms(use_true_random=False),
)
def test_shares_add_up_and_leave_each_its_part_of_exploring(
    counts: dict[str, tuple[float, float]], explore: float, chance: random.Random
) -> None:
    shares = selection_shares(counts, chance, draws=5, explore=explore)

    assert sum(shares.values()) == 10_000
    assert min(shares.values()) >= int(explore * 10_000) // len(counts)
    assert list(shares) == sorted(counts)


def test_a_single_source_is_certain() -> None:
    assert choose({"news": (0, 0)}, random.Random(1)) == Choice("news", 1.0)


@pytest.mark.parametrize(
    ("counts", "more"),
    [
        ({}, {}),
        ({"news": (1, 2)}, {}),
        ({"news": (2, 1)}, {"explore": 1.5}),
        ({"news": (2, 1)}, {"draws": 0}),
    ],
)
def test_what_cannot_be_chosen_from_is_refused(
    counts: dict[str, tuple[float, float]], more: dict[str, int]
) -> None:
    with pytest.raises(ValueError, match=r"no choice|impossible"):
        choose(counts, random.Random(1), **more)
