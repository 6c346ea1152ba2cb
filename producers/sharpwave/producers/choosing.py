"""Whom to listen to: sources are drawn as often as they are likely to be the best (Thompson)."""

import random
from collections.abc import Mapping
from dataclasses import dataclass

DRAWS = 200
EXPLORE = 0.05
_SCALE = 10_000


@dataclass(frozen=True, slots=True)
class Choice:
    """A source, and how it came to be chosen.

    Attributes:
        source: the one to listen to.
        selection_prob: the probability that it was, a multiple of 10^-4; stored with the
            decision, it lets anyone estimate what another choice would have brought.
        bucket: the context it was chosen in, such as `market.trend=bullish`; None if it was chosen
            whatever the context.
    """

    source: str
    selection_prob: float
    bucket: str | None = None


def choose(
    counts: Mapping[str, tuple[float, float]],
    chance: random.Random,
    *,
    draws: int = DRAWS,
    explore: float = EXPLORE,
) -> Choice:
    """Draw a source by Thompson sampling: each is chosen as often as it is likely to be the best.

    Rates are drawn `draws` times from each source's Beta(1 + s, 1 + n - s), and one of those draws
    decides. So a source's share of wins is the exact probability of its choice, given the draws,
    and over all draws it is Thompson's. A share `explore` is dealt out evenly beforehand: what may
    never be chosen can never be estimated.

    Equal counts and an equal state of `chance` give an equal choice.

    Args:
        counts: source -> (outcomes, successes), decayed or not.
        chance: where randomness comes from; advanced.

    Raises:
        ValueError: there is no source, counts are impossible, or `explore` is not within 0 to 1.
    """
    shares = selection_shares(counts, chance, draws=draws, explore=explore)
    source = chance.choices(list(shares), weights=list(shares.values()))[0]
    return Choice(source, shares[source] / _SCALE)


def selection_shares(
    counts: Mapping[str, tuple[float, float]],
    chance: random.Random,
    *,
    draws: int = DRAWS,
    explore: float = EXPLORE,
) -> dict[str, int]:
    """Give the probability of each source in units of 10^-4, by name; together 10,000."""
    if not counts or not 0 <= explore <= 1 or draws < 1:
        raise ValueError(f"{len(counts)} sources, {draws} draws, exploring {explore}: no choice")
    sources = sorted(counts)
    shapes = []
    for source in sources:
        n, s = counts[source]
        if not 0 <= s <= n:
            raise ValueError(f"{source}: {s} successes of {n} outcomes are impossible")
        shapes.append((1 + s, 1 + n - s))
    wins = [0] * len(sources)
    for _ in range(draws):
        rates = [chance.betavariate(a, b) for a, b in shapes]
        wins[rates.index(max(rates))] += 1
    even = int(explore * _SCALE) // len(sources)
    rest = _SCALE - even * len(sources)
    # Rounded so that the shares add up: each gets what is due to it and those before it.
    shares, due, dealt = {}, 0, 0
    for source, won in zip(sources, wins, strict=True):
        due += won
        shares[source] = even + rest * due // draws - dealt
        dealt = rest * due // draws
    return shares
