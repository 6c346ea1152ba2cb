"""What an agent can tell from a day and its past; nothing here looks ahead."""

import math
import statistics
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Literal

from sharpwave.infra.demo.market import Bar, MarketDay

MONTH, YEAR, QUARTER = 20, 252, 60
#: Days that the features of one day need, that day included.
WINDOW = YEAR + MONTH + 1

TREND = 0.01
TURBULENT, CALM = 1.25, 0.8
_DIGITS = 6

Trend = Literal["bullish", "bearish", "sideways"]
Regime = Literal["calm", "normal", "turbulent"]
Mood = Literal["fear", "neutral", "greed"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Features:
    """One day seen against its past. Ratios and returns are plain shares: 0.01 is 1 %.

    Attributes:
        day: the trading day, `YYYY-MM-DD`.
        return_1d: S&P 500, close to close.
        trend_20d: S&P 500, over 20 days.
        trend: bullish above +1 % in 20 days, bearish below -1 %.
        volume_ratio: S&P 500 volume by the mean of the 20 days before; None if not reported.
        nasdaq_volume_ratio: the same for the NASDAQ.
        volatility: deviation of 20 daily returns, annualised.
        volatility_ratio: `volatility` by its own median of the year before.
        regime: turbulent from 1.25 of that median on, calm up to 0.8 of it.
        close_position: where the close lies between the day's low (0) and high (1).
        usual_move: median size of a daily return in the last 60 days.
        sp500_activity: mean size of the S&P's last five daily returns.
        nasdaq_activity: the same for the NASDAQ.
        nasdaq_lead: how far the NASDAQ outran the S&P in 20 days.
        oil_return_1d: crude, against the day before; None when either has no quote.
        vix: None before 2014.
        vix_change: against the day before; None when either is missing.
        mood: from the close and, where there is one, the VIX.
    """

    day: str
    return_1d: float
    trend_20d: float
    trend: Trend
    volume_ratio: float | None
    nasdaq_volume_ratio: float | None
    volatility: float
    volatility_ratio: float
    regime: Regime
    close_position: float
    usual_move: float
    sp500_activity: float
    nasdaq_activity: float
    nasdaq_lead: float
    oil_return_1d: float | None
    vix: float | None
    vix_change: float | None
    mood: Mood


def features(window: Sequence[MarketDay]) -> Features:
    """Describe the last day of `window`, which holds `WINDOW` days or more, oldest first.

    Raises:
        ValueError: the window is too short.
    """
    if len(window) < WINDOW:
        raise ValueError(f"features need {WINDOW} days of history, not {len(window)}")
    today, before = window[-1], window[-2]
    sp500 = [day.sp500.close for day in window[-WINDOW:]]
    nasdaq = [day.nasdaq.close for day in window[-WINDOW:]]
    moves, nasdaq_moves = _returns(sp500), _returns(nasdaq)
    spread = _volatilities(moves)
    ratio = spread[-1] / statistics.median(spread[:-1])
    trend = sp500[-1] / sp500[-1 - MONTH] - 1
    position = _close_position(today.sp500)
    vix_change = _change(before.vix, today.vix)
    return Features(
        day=today.day.isoformat(),
        return_1d=_round(moves[-1]),
        trend_20d=_round(trend),
        trend=_trend(trend),
        volume_ratio=_volume_ratio([day.sp500.volume for day in window[-MONTH - 1 :]]),
        nasdaq_volume_ratio=_volume_ratio([day.nasdaq.volume for day in window[-MONTH - 1 :]]),
        volatility=_round(spread[-1]),
        volatility_ratio=_round(ratio),
        regime=_regime(ratio),
        close_position=_round(position),
        usual_move=_round(statistics.median(abs(move) for move in moves[-QUARTER:])),
        sp500_activity=_round(statistics.fmean(abs(move) for move in moves[-5:])),
        nasdaq_activity=_round(statistics.fmean(abs(move) for move in nasdaq_moves[-5:])),
        nasdaq_lead=_round(nasdaq[-1] / nasdaq[-1 - MONTH] - 1 - trend),
        oil_return_1d=_change(before.wti, today.wti),
        vix=today.vix,
        vix_change=vix_change,
        mood=_mood(moves[-1], position, vix_change),
    )


class Market:
    """The history with its features, each worked out once and only from its own past."""

    def __init__(self, days: Sequence[MarketDay]) -> None:
        self.days = days
        self._index = {day.day.isoformat(): index for index, day in enumerate(days)}
        self._seen: dict[int, Features] = {}

    def index_of(self, day: str) -> int:
        """Give the place of a trading day, `YYYY-MM-DD`; KeyError if it is not one."""
        return self._index[day]

    def at(self, index: int) -> Features:
        """Describe the day at `index`; safe from several threads."""
        known = self._seen.get(index)
        if known is None:
            known = features(self.days[max(0, index + 1 - WINDOW) : index + 1])
            self._seen[index] = known
        return known


def _returns(closes: Sequence[float]) -> list[float]:
    return [after / before - 1 for before, after in pairwise(closes)]


def _volatilities(moves: Sequence[float]) -> list[float]:
    """Give the annualised deviation of each run of 20 returns, oldest first."""
    found = []
    for end in range(MONTH, len(moves) + 1):
        month = moves[end - MONTH : end]
        mean = sum(month) / MONTH
        found.append(math.sqrt(sum((move - mean) ** 2 for move in month) / MONTH * YEAR))
    return found


def _volume_ratio(volumes: Sequence[int | None]) -> float | None:
    *past, today = volumes
    known = [volume for volume in past if volume is not None]
    return None if today is None or not known else _round(today / statistics.fmean(known))


def _close_position(bar: Bar) -> float:
    return (bar.close - bar.low) / (bar.high - bar.low) if bar.high > bar.low else 0.5


def _change(before: float | None, after: float | None) -> float | None:
    return None if before is None or after is None else _round(after / before - 1)


def _trend(change: float) -> Trend:
    if change > TREND:
        return "bullish"
    return "bearish" if change < -TREND else "sideways"


def _regime(ratio: float) -> Regime:
    if ratio >= TURBULENT:
        return "turbulent"
    return "calm" if ratio <= CALM else "normal"


def _mood(move: float, position: float, vix_change: float | None) -> Mood:
    if move < -0.01 and (vix_change is None or vix_change > 0.05):
        return "fear"
    return "greed" if move > 0.005 and position > 0.7 else "neutral"


def _round(value: float) -> float:
    return round(value, _DIGITS)
