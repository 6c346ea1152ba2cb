"""How decisions turned out: claims about the days that followed, judged once these are known."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from sharpwave.infra.demo.market import MarketDay

#: A move of this size, or twice what was asked for, counts as a perfect or a hopeless call.
FULL_MARKS = 0.05

Claim = Literal["rises", "falls", "drops", "moves", "nasdaq_leads", "sp500_leads", "beats_crude"]


@dataclass(frozen=True, slots=True)
class Verdict:
    """What came of a claim: `quality` is 0 to 1, `move` is what decided it, as a share."""

    success: bool
    quality: float
    move: float


@dataclass(frozen=True, slots=True)
class Rule:
    """A claim about the S&P 500 over the next `horizon` trading days.

    rises, falls: from close to close.
    drops: at some close it lies more than `threshold` below.
    moves: by more than `threshold` in either direction, from close to close.
    nasdaq_leads, sp500_leads: that index moves more than the other, in either direction.
    beats_crude: it returns more than crude, up to the first quote of crude from then on.
    """

    claim: Claim
    horizon: int
    threshold: float = 0.0

    def verdict(self, days: Sequence[MarketDay], index: int) -> Verdict | None:
        """Judge the claim made on the day at `index`, knowing `days` and nothing later.

        Returns:
            None while the days known do not decide it.
        """
        if index + self.horizon >= len(days):
            return None
        edge = self._edge(days, index)
        if edge is None:
            return None
        quality = min(1.0, max(0.0, 0.5 + edge / (2 * FULL_MARKS)))
        return Verdict(edge > 0, round(quality, 4), round(edge, 6))

    def _edge(self, days: Sequence[MarketDay], index: int) -> float | None:
        """Give by how much the claim held; 0 or less if it did not."""
        end = index + self.horizon
        move = days[end].sp500.close / days[index].sp500.close - 1
        match self.claim:
            case "rises":
                return move
            case "falls":
                return -move
            case "drops":
                lowest = min(day.sp500.close for day in days[index + 1 : end + 1])
                return 1 - self.threshold - lowest / days[index].sp500.close
            case "moves":
                return abs(move) - self.threshold
            case "beats_crude":
                return _over_crude(days, index, end)
        lead = abs(days[end].nasdaq.close / days[index].nasdaq.close - 1) - abs(move)
        return lead if self.claim == "nasdaq_leads" else -lead


def _over_crude(days: Sequence[MarketDay], index: int, end: int) -> float | None:
    start = days[index].wti
    later = next((day for day in days[end:] if day.wti is not None), None)
    if start is None or later is None or later.wti is None:
        return None
    return later.sp500.close / days[index].sp500.close - later.wti / start
