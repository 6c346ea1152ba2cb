"""Durations in little room: quantiles within a known share, and merged without any loss."""

import math
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Self

#: The share by which a quantile of a sketch may be off.
ACCURACY = 0.01
_GAMMA = (1 + ACCURACY) / (1 - ACCURACY)


@dataclass
class Sketch:
    """Durations by the logarithm of their length: quantiles within `ACCURACY`, sums exact.

    Source: Masson, Rim and Lee, "DDSketch", PVLDB 12 (2019), section 2.

    Attributes:
        buckets: durations by k, each above gamma^(k-1) s and up to gamma^k s, where gamma is
            (1 + ACCURACY) / (1 - ACCURACY); those of 0 by None. Sketches merge by adding these.
    """

    buckets: Counter[int | None] = field(default_factory=Counter)

    @classmethod
    def of(cls, durations: Iterable[float | None]) -> Self:
        """Make the sketch of some durations, in seconds; None is none."""
        made = cls()
        for seconds in durations:
            if seconds is not None:
                made.add(seconds)
        return made

    def add(self, seconds: float) -> None:
        """Take one duration; what clocks that differ make negative counts as none."""
        index = math.ceil(math.log(seconds, _GAMMA)) if seconds > 0 else None
        self.buckets[index] += 1

    def __add__(self, more: "Sketch") -> "Sketch":
        """Merge the sketches of disjoint durations."""
        return Sketch(self.buckets + more.buckets)

    @property
    def count(self) -> int:
        """Count the durations."""
        return self.buckets.total()

    @property
    def p50_s(self) -> float | None:
        """Give the seconds that half of all do not exceed; None without any."""
        return self.quantile(0.5)

    @property
    def p99_s(self) -> float | None:
        """Give the seconds that 99 % of all do not exceed; None without any."""
        return self.quantile(0.99)

    def quantile(self, share: float) -> float | None:
        """Give the duration in seconds that a share of all do not exceed; None without any."""
        rank = math.ceil(share * self.buckets.total())
        for index, count in self.pairs():
            rank -= count
            if rank <= 0:
                return 0.0 if index is None else round(2 * _GAMMA**index / (_GAMMA + 1), 3)
        return None

    def pairs(self) -> list[tuple[int | None, int]]:
        """Give buckets and how many durations are in each, the shortest first."""
        # None is for durations of 0.
        order = sorted(self.buckets, key=lambda each: -math.inf if each is None else each)
        return [(index, self.buckets[index]) for index in order]
