"""Figures as files: rows as CSV and Parquet, and what charts of them show.

`drawing` draws the charts; here are the numbers alone.
"""

import csv
import io
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import astuple, fields
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from sharpwave.infra.errors import Misused, OperationFailed
from sharpwave.infra.operate.analytics import Kind, Row
from sharpwave.infra.operate.pictures import Picture

#: Lines of one chart; colour and form tell so many apart.
MOST_LINES = 8

COLUMNS = tuple(each.name for each in fields(Row))


def written(path: Path) -> Callable[[Sequence[Row]], None]:
    """Give what writes rows to a file in the form that its name says.

    Raises:
        Misused: the name ends in neither `.csv` nor `.parquet`.
        ModuleNotFoundError: the extra that writes Parquet is not installed.
    """
    if path.suffix == ".csv":
        contents = to_csv
    elif path.suffix == ".parquet":
        import duckdb  # noqa: F401 - before hours of reading, not after

        contents = to_parquet
    else:
        raise Misused(f"{path} says no form; let it end in .csv or .parquet")

    def write(rows: Sequence[Row]) -> None:
        try:
            path.write_bytes(contents(rows))
        except OSError as error:
            raise OperationFailed(f"{path} cannot be written: {error}") from error

    return write


def to_csv(rows: Sequence[Row]) -> bytes:
    """Give rows as CSV; what is not known is empty."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(COLUMNS)
    writer.writerows(map(astuple, rows))
    return text.getvalue().encode()


def to_parquet(rows: Sequence[Row]) -> bytes:
    """Give rows as Parquet, of the same columns whatever is known: text, int64 and float64."""
    import duckdb

    types: dict[Any, str] = {int: "BIGINT", float | None: "DOUBLE"}
    columns = ", ".join(f"{each.name} {types.get(each.type, 'VARCHAR')}" for each in fields(Row))
    with TemporaryDirectory() as scratch, duckdb.connect() as engine:
        engine.execute(f"CREATE TABLE figures ({columns})")
        marks = ", ".join("?" * len(COLUMNS))
        if rows:
            engine.executemany(f"INSERT INTO figures VALUES ({marks})", list(map(astuple, rows)))
        path = Path(scratch) / "figures"
        engine.execute(f"COPY figures TO '{path}' (FORMAT parquet)")
        return path.read_bytes()


def charts_of(rows: Sequence[Row]) -> list[Picture]:
    """Give what charts show: volumes, success, and times, by day; without rows of any, none.

    Each draws the subjects of greatest volume, at most `MOST_LINES`; its numbers hold them all.
    """
    decided: tuple[Kind, ...] = ("type", "source", "bucket")
    found = [
        _chart(rows, "volumes", "decisions made, and signals received", ("type", "inbox"), _VOLUME),
        _chart(rows, "success", "success of decisions, sources and buckets", decided, _SUCCESS),
        _chart(rows, "times", "seconds until outcome, acknowledgement and queue", _ALL, _TIMES),
    ]
    return [each for each in found if each.rows]


_ALL: tuple[Kind, ...] = ("type", "source", "bucket", "inbox", "delivery")
_VOLUME, _SUCCESS = ("volume", "outcomes"), ("outcomes", "success_rate", "quality")
_TIMES = ("outcomes", "p50_s", "p95_s", "p99_s")


def _chart(
    rows: Sequence[Row], name: str, title: str, kinds: Sequence[Kind], columns: Sequence[str]
) -> Picture:
    told = [
        (" ".join(filter(None, (row.kind, row.agent_id, row.type_name, row.name))), row)
        for row in rows
        if row.kind in kinds and any(getattr(row, each) is not None for each in columns[-2:])
    ]
    volumes: Counter[str] = Counter()
    for line, row in told:
        volumes[line] += row.volume
    left = max(0, len(volumes) - MOST_LINES)
    return Picture(
        name=name,
        title=title + (f"; the {MOST_LINES} greatest, {left} more are in the CSV" if left else ""),
        columns=("line", "line_volume", "day", *columns),
        rows=[
            (line, volumes[line], row.day, *(getattr(row, each) for each in columns))
            for line, row in sorted(told, key=lambda pair: (-volumes[pair[0]], pair[0]))
        ],
    )
