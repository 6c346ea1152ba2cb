"""What decisions said of themselves before their outcome, added up in integers.

A decision may state how sure its agent was and with what probability the agent's lot fell on what
it did. Sums of both merge by `+` in any order, so they travel with counts; see `evidence` for
what they say.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from decimal import ROUND_HALF_EVEN, Decimal
from typing import Any

SCALE = 10_000
"""Stored probabilities, confidences and weights are integers in units of 10^-4."""

BINS = 10

_PLACES = Decimal(1) / SCALE


def confidence_of(decision: Mapping[str, Any]) -> int | None:
    """Give the confidence that a decision states, in units of 10^-4; None if it states none.

    It is `reasoning.confidence`, else `confidence`: the first that is a number from 0 to 1.
    Anything else is the agent's free text and no confidence.
    """
    for said in (_reasoning(decision).get("confidence"), decision.get("confidence")):
        if (scaled := _scaled(said)) is not None:
            return scaled
    return None


def selection_prob_of(decision: Mapping[str, Any]) -> int | None:
    """Give the probability with which what it did was drawn, in units of 10^-4; None without.

    It is `reasoning.selection_prob`, a number above 0 and up to 1. What rounds to 0 has no weight
    that four decimals can tell, so it counts as none.
    """
    return _scaled(_reasoning(decision).get("selection_prob")) or None


def _reasoning(decision: Mapping[str, Any]) -> Mapping[str, Any]:
    reasoning = decision.get("reasoning")
    return reasoning if isinstance(reasoning, Mapping) else {}


def _scaled(said: object) -> int | None:
    if isinstance(said, bool) or not isinstance(said, int | float | Decimal):
        return None
    number = Decimal(repr(said)) if isinstance(said, float) else Decimal(said)
    if not (number.is_finite() and 0 <= number <= 1):
        return None
    return int(number.quantize(_PLACES, ROUND_HALF_EVEN) * SCALE)


def bin_of(confidence: int) -> int:
    """Give the bin, 0 to 9, of a confidence in units of 10^-4; 10,000 belongs to the last."""
    return min(confidence * BINS // SCALE, BINS - 1)


def squared_error_of(confidence: int, success: bool) -> int:
    """Give the squared error of a confidence in units of 10^-4; it is in units of 10^-8."""
    return (confidence - SCALE * success) ** 2


def weight_of(selection_prob: int) -> int:
    """Give round(10^8 / p), the weight x 10^4, for a probability p x 10^4.

    Raises:
        ValueError: the probability is not within 1 to 10,000.
    """
    if not 1 <= selection_prob <= SCALE:
        raise ValueError(f"a selection probability of {selection_prob} lies outside 1 to {SCALE}")
    return (2 * SCALE * SCALE + selection_prob) // (2 * selection_prob)


@dataclass(frozen=True, slots=True)
class Weights:
    """Sums over decisions of one kind that were drawn with a known probability.

    A decision's weight is 1 over the probability of what it did, in units of 10^-4; all sums are
    integers, so buckets merge by `+` in any order.

    Attributes:
        n: decisions with an outcome.
        weight: sum of their weights.
        weight_s: sum of the weights of those that succeeded.
        weight_sq: sum of the squared weights, in units of 10^-8; 0 where it was not kept.
    """

    n: int = 0
    weight: int = 0
    weight_s: int = 0
    weight_sq: int = 0

    @classmethod
    def of(cls, selection_prob: int, success: bool) -> "Weights":
        """Give one decision's share; `selection_prob` is in units of 10^-4, 1 to 10,000."""
        weight = weight_of(selection_prob)
        return cls(1, weight, weight * success, weight * weight)

    def __add__(self, more: "Weights") -> "Weights":
        return Weights(
            self.n + more.n,
            self.weight + more.weight,
            self.weight_s + more.weight_s,
            self.weight_sq + more.weight_sq,
        )

    def numbers(self) -> list[int]:
        """Give the sums in order."""
        return [self.n, self.weight, self.weight_s, self.weight_sq]


NO_WEIGHTS = Weights()


@dataclass(frozen=True, slots=True)
class Confidences:
    """Sums over resolved decisions that stated a confidence, by tenths of it.

    Attributes:
        squared_error: sum of `squared_error_of`.
        bins: of each tenth that decisions fall in, in order: its number, outcomes, successes, and
            the sum of confidences x 10^4.
    """

    squared_error: int = 0
    bins: tuple[tuple[int, int, int, int], ...] = ()

    @classmethod
    def of(cls, confidence: int, success: bool) -> "Confidences":
        """Give one decision's share; `confidence` is in units of 10^-4."""
        share = bin_of(confidence), 1, int(success), confidence
        return cls(squared_error_of(confidence, success), (share,))

    def __add__(self, more: "Confidences") -> "Confidences":
        if not more.bins:
            return self
        sums = {number: rest for number, *rest in self.bins}
        for number, *rest in more.bins:
            held = sums.get(number, (0, 0, 0))
            sums[number] = [a + b for a, b in zip(held, rest, strict=True)]
        bins = tuple((number, *sums[number]) for number in sorted(sums))
        return Confidences(self.squared_error + more.squared_error, bins)  # type: ignore[arg-type]

    def dense(self) -> Sequence[tuple[int, int, int]]:
        """Give outcomes, successes and sum of confidences of each of the ten bins."""
        sums = {number: (n, s, stated) for number, n, s, stated in self.bins}
        return [sums.get(number, (0, 0, 0)) for number in range(BINS)]

    def numbers(self) -> list[int]:
        """Give the sums in order: the squared error, then four for each bin in use."""
        return [self.squared_error, *(number for each in self.bins for number in each)]

    @classmethod
    def from_numbers(cls, numbers: Sequence[int]) -> "Confidences":
        """Read what `numbers` gave.

        Raises:
            ValueError: these are no such sums.
        """
        if not numbers:
            return cls()
        error, *rest = numbers
        bins = tuple(zip(*(rest[place::4] for place in range(4)), strict=True))
        order = [number for number, *_ in bins]
        if order != sorted(set(order)) or any(
            not (0 <= number < BINS and 0 <= s <= n and 0 < n and 0 <= stated <= n * SCALE)
            for number, n, s, stated in bins
        ):
            raise ValueError(f"{numbers} are no sums of confidences")
        return cls(error, bins)


NO_CONFIDENCES = Confidences()
