"""The market history is read as it is: what was not quoted stays unknown."""

import gzip
from datetime import date
from pathlib import Path

import pytest

from sharpwave.infra.demo.market import MarketDataMissing, load, starting_at

HEADER = "Date,Open,High,Low,Close,Adj Close,Volume\n"
INDEX = (
    HEADER
    + "1/5/1999,1228.1,1246.1,1228.1,1244.8,1244.8,775000000\n"
    + "1/4/1999,1229.2,1248.8,1219.1,1228.1,1228.1,0\n"
)
FILES = {
    "sp500": INDEX,
    "nasdaq": INDEX + "1/6/1999,1.0,1.0,1.0,1.0,1.0,1\n",
    "wti": "Date,DCOILWTICO\n1/4/1999,12.34\n1/5/1999,.\n",
    "vix": "Date,vix\n1/5/1999,24.5\n",
}


@pytest.fixture
def wheel(tmp_path: Path) -> Path:
    for name, text in FILES.items():
        write(tmp_path, name, text)
    return tmp_path


def write(folder: Path, name: str, text: str) -> None:
    path = folder / "arch" / "data" / name / f"{name}.csv.gz"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(gzip.compress(text.encode()))


def test_days_come_in_order_and_only_where_both_indices_traded(wheel: Path) -> None:
    days = load(wheel)

    assert [day.day for day in days] == [date(1999, 1, 4), date(1999, 1, 5)]
    assert days[1].sp500.high == 1246.1


def test_what_was_not_quoted_is_none_and_never_filled_in(wheel: Path) -> None:
    first, second = load(wheel)

    assert (first.wti, second.wti) == (12.34, None)
    assert (first.vix, second.vix) == (None, 24.5)
    assert (first.sp500.volume, second.sp500.volume) == (None, 775_000_000)


def test_a_missing_file_is_named_with_the_remedy(wheel: Path) -> None:
    (wheel / "arch/data/wti/wti.csv.gz").unlink()

    with pytest.raises(MarketDataMissing, match=r"wti\.csv\.gz .* install arch==8\.0\.0"):
        load(wheel)


@pytest.mark.parametrize("row", ["1/4/1999,nan,1,1,1,1,1", "4 Jan,1,1,1,1,1,1", "1/4/1999,1,1,1"])
def test_a_table_that_is_not_the_expected_one_is_refused(wheel: Path, row: str) -> None:
    write(wheel, "sp500", f"{HEADER}{row}\n")

    with pytest.raises(MarketDataMissing, match="sp500"):
        load(wheel)


def test_a_replay_takes_the_latest_days_that_have_enough_past(wheel: Path) -> None:
    days = load(wheel) * 50

    assert starting_at(days, 10, warmup=20) == 90
    assert starting_at(days, 95, warmup=20) == 20
    assert starting_at(days, None, warmup=20) == 20
    assert starting_at(days, 1, warmup=500) == len(days)
