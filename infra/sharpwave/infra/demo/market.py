"""Market history as it happened, and what an agent can tell from a day and its past.

Daily S&P 500, NASDAQ Composite, WTI crude and VIX come with the `arch` wheel on PyPI, under
`arch/data`. Both indices have the same 5,031 trading days, 1999 to 2018. Crude has no quote on
some of them, VIX none before 2014, and a volume of zero stands for one that was not reported: all
of these are None here, never filled in. No feature of a day looks beyond that day.
"""

import csv
import gzip
import math
import statistics
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import date, datetime
from itertools import pairwise
from pathlib import Path
from typing import Literal, TypeVar

from sharpwave.infra.errors import OperationFailed

MONTH, YEAR, QUARTER = 20, 252, 60
#: Days that the features of one day need, that day included.
WINDOW = YEAR + MONTH + 1

Row = Mapping[str, str]
T = TypeVar("T")


class MarketDataMissing(OperationFailed):
    """A file of the market history is missing or is not what it should be."""

    def __init__(self, path: Path, fault: str) -> None:
        """Name the file and say what is wrong with it."""
        super().__init__(f"{path} {fault}; install arch==8.0.0 into that folder")


@dataclass(frozen=True, slots=True)
class Bar:
    """One index on one day; `volume` is shares traded, None where not reported."""

    open: float
    high: float
    low: float
    close: float
    volume: int | None


@dataclass(frozen=True, slots=True)
class MarketDay:
    """What was known when New York closed: both indices, a barrel of crude in dollars, the VIX."""

    day: date
    sp500: Bar
    nasdaq: Bar
    wti: float | None = None
    vix: float | None = None


def load(site_packages: Path) -> list[MarketDay]:
    """Read every trading day, oldest first.

    Args:
        site_packages: the folder into which the wheel was installed or unpacked.

    Raises:
        MarketDataMissing: a file is absent, unreadable, or does not have its columns.
    """
    folder = site_packages / "arch" / "data"
    sp500, nasdaq = (_read(folder / name / f"{name}.csv.gz", _bar) for name in ("sp500", "nasdaq"))
    wti = _read(folder / "wti" / "wti.csv.gz", lambda row: _quote(row["DCOILWTICO"]))
    vix = _read(folder / "vix" / "vix.csv.gz", lambda row: _quote(row["vix"]))
    days = sorted(sp500.keys() & nasdaq.keys())
    return [MarketDay(day, sp500[day], nasdaq[day], wti.get(day), vix.get(day)) for day in days]


def starting_at(days: Sequence[MarketDay], count: int | None, *, warmup: int) -> int:
    """Give the index at which a replay of the latest `count` days starts.

    What lies before it is what the agents remember: features need `warmup` days of past. None
    asks for every day that has such a past.
    """
    earliest = min(warmup, len(days))
    return earliest if count is None else max(earliest, len(days) - count)


def _read(path: Path, parse: Callable[[Row], T]) -> dict[date, T]:
    try:
        with gzip.open(path, "rt", encoding="utf-8-sig", newline="") as lines:
            return {
                datetime.strptime(row["Date"], "%m/%d/%Y").date(): parse(row)
                for row in csv.DictReader(lines, restval="cut off")
            }
    except OSError as error:
        raise MarketDataMissing(path, f"cannot be read ({error})") from error
    except (KeyError, ValueError) as error:
        raise MarketDataMissing(path, f"is not the expected table ({error!r})") from error


def _bar(row: Row) -> Bar:
    first, high, low, last = (_price(row[name]) for name in ("Open", "High", "Low", "Close"))
    return Bar(first, high, low, last, volume=int(row["Volume"]) or None)


def _quote(text: str) -> float | None:
    return None if text in ("", ".") else _price(text)


def _price(text: str) -> float:
    number = float(text)
    if not (math.isfinite(number) and number > 0):
        raise ValueError(f"{text!r} is not a price")
    return number


@dataclass(frozen=True, slots=True, kw_only=True)
class Features:
    """One day seen against its past. Ratios and returns are plain shares: 0.01 is 1 %."""

    day: str  # YYYY-MM-DD
    return_1d: float  # of the S&P 500, close to close
    trend_20d: float  # of the S&P 500, over 20 days
    trend: Literal["bullish", "bearish", "sideways"]  # from 1 % in 20 days on
    volume_ratio: float | None  # by the mean of the 20 days before; None if not reported
    nasdaq_volume_ratio: float | None
    volatility_ratio: float  # deviation of 20 returns, by its median of a year before
    regime: Literal[
        "calm", "normal", "turbulent"
    ]  # turbulent from 1.25 of that median, calm to 0.8
    close_position: float  # where the close lies between the day's low (0) and high (1)
    usual_move: float  # median size of a daily return in the last 60 days
    sp500_activity: float  # mean size of the last five daily returns
    nasdaq_activity: float
    nasdaq_lead: float  # how far the NASDAQ outran the S&P in 20 days
    oil_return_1d: float | None  # None when crude has no quote on either day
    vix: float | None  # None before 2014
    vix_change: float | None
    mood: Literal["fear", "neutral", "greed"]  # from the close and, where there is one, the VIX


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
    moves, nasdaq_moves = (
        [after / before - 1 for before, after in pairwise(closes)] for closes in (sp500, nasdaq)
    )
    # The annualised deviation of each run of a month's returns, oldest first.
    spread = []
    for end in range(MONTH, len(moves) + 1):
        month = moves[end - MONTH : end]
        mean = sum(month) / MONTH
        # Not statistics.pstdev: its exact fractions would take most of a replay's time.
        spread.append(math.sqrt(sum((move - mean) ** 2 for move in month) / MONTH * YEAR))
    ratio = spread[-1] / statistics.median(spread[:-1])
    trend = sp500[-1] / sp500[-1 - MONTH] - 1
    bar = today.sp500
    position = (bar.close - bar.low) / (bar.high - bar.low) if bar.high > bar.low else 0.5
    vix_change = _change(before.vix, today.vix)
    is_fear = moves[-1] < -0.01 and (vix_change is None or vix_change > 0.05)
    return Features(
        day=today.day.isoformat(),
        return_1d=_rounded(moves[-1]),
        trend_20d=_rounded(trend),
        trend="bullish" if trend > 0.01 else "bearish" if trend < -0.01 else "sideways",
        volume_ratio=_volume_ratio([day.sp500.volume for day in window[-MONTH - 1 :]]),
        nasdaq_volume_ratio=_volume_ratio([day.nasdaq.volume for day in window[-MONTH - 1 :]]),
        volatility_ratio=_rounded(ratio),
        regime="turbulent" if ratio >= 1.25 else "calm" if ratio <= 0.8 else "normal",
        close_position=_rounded(position),
        usual_move=_rounded(statistics.median(abs(move) for move in moves[-QUARTER:])),
        sp500_activity=_rounded(statistics.fmean(abs(move) for move in moves[-5:])),
        nasdaq_activity=_rounded(statistics.fmean(abs(move) for move in nasdaq_moves[-5:])),
        nasdaq_lead=_rounded(nasdaq[-1] / nasdaq[-1 - MONTH] - 1 - trend),
        oil_return_1d=_change(before.wti, today.wti),
        vix=today.vix,
        vix_change=vix_change,
        mood="fear" if is_fear else "greed" if moves[-1] > 0.005 and position > 0.7 else "neutral",
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


def _volume_ratio(volumes: Sequence[int | None]) -> float | None:
    *past, today = volumes
    known = [volume for volume in past if volume is not None]
    return None if today is None or not known else _rounded(today / statistics.fmean(known))


def _change(before: float | None, after: float | None) -> float | None:
    return None if before is None or after is None else _rounded(after / before - 1)


def _rounded(value: float) -> float:
    return round(value, 6)
