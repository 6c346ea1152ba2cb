"""Market history as it happened: daily S&P 500, NASDAQ Composite, WTI crude and VIX.

The files come with the `arch` wheel on PyPI, under `arch/data`. Both indices have the same 5,031
trading days, 1999 to 2018. Crude has no quote on some of them, VIX none before 2014, and a volume
of zero stands for one that was not reported: all of these are None here, never filled in.
"""

import csv
import gzip
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import date, datetime
from pathlib import Path
from typing import TypeVar

from sharpwave.infra.demo.errors import MarketDataMissing

_ABSENT = ("", ".")

Row = Mapping[str, str]
T = TypeVar("T")


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
    """What was known when New York closed.

    Attributes:
        day: the trading day.
        sp500: S&P 500.
        nasdaq: NASDAQ Composite.
        wti: price of a barrel of WTI crude in dollars.
        vix: VIX, in percentage points of volatility a year.
    """

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
    sp500, nasdaq = (_bars(folder / name / f"{name}.csv.gz") for name in ("sp500", "nasdaq"))
    wti = _prices(folder / "wti" / "wti.csv.gz", "DCOILWTICO")
    vix = _prices(folder / "vix" / "vix.csv.gz", "vix")
    days = sorted(sp500.keys() & nasdaq.keys())
    return [MarketDay(day, sp500[day], nasdaq[day], wti.get(day), vix.get(day)) for day in days]


def starting_at(days: Sequence[MarketDay], count: int | None, *, warmup: int) -> int:
    """Give the index at which a replay of the latest `count` days starts.

    What lies before it is what the agents remember: features need `warmup` days of past. None
    asks for every day that has such a past.
    """
    earliest = min(warmup, len(days))
    return earliest if count is None else max(earliest, len(days) - count)


def _bars(path: Path) -> dict[date, Bar]:
    return _read(path, _bar)


def _prices(path: Path, column: str) -> dict[date, float]:
    found = _read(path, lambda row: None if row[column] in _ABSENT else _number(row[column]))
    return {day: price for day, price in found.items() if price is not None}


def _read(path: Path, parse: Callable[[Row], T]) -> dict[date, T]:
    try:
        with gzip.open(path, "rt", encoding="utf-8-sig", newline="") as lines:
            return {
                _day(row["Date"]): parse(row) for row in csv.DictReader(lines, restval="cut off")
            }
    except OSError as error:
        raise MarketDataMissing(path, f"cannot be read ({error})") from error
    except (KeyError, ValueError) as error:
        raise MarketDataMissing(path, f"is not the expected table ({error!r})") from error


def _day(text: str) -> date:
    return datetime.strptime(text, "%m/%d/%Y").date()


def _number(text: str) -> float:
    number = float(text)
    if not (math.isfinite(number) and number > 0):
        raise ValueError(f"{text!r} is not a price")
    return number


def _bar(row: Row) -> Bar:
    return Bar(
        open=_number(row["Open"]),
        high=_number(row["High"]),
        low=_number(row["Low"]),
        close=_number(row["Close"]),
        volume=int(row["Volume"]) or None,
    )
