"""The archive as others read it: items for DynamoDB's own bulk load, and views for SQL."""

import gzip
import sqlite3
from collections.abc import Mapping
from importlib.resources import files
from pathlib import Path
from typing import Any, Literal, NamedTuple

from sharpwave.infra.errors import Misused
from sharpwave.infra.operate.replay import end_of, is_up_to, rows_of
from sharpwave.schemas.numbers import item_from_wire
from sharpwave.workers.patterns.recount import Parts, rank_of
from sharpwave.workers.work.envelope import ascii_json

#: Items of a file; one of DynamoDB's limits is 50,000 objects of an import.
_PART = 10_000
_NEWER = """
INSERT INTO items VALUES (?, ?, ?, ?, ?) ON CONFLICT DO UPDATE SET
    rank = excluded.rank, stored_at = excluded.stored_at, image = excluded.image
    WHERE (excluded.rank, excluded.stored_at) > (rank, stored_at)
"""
#: What the views call the folder or the bucket.
_PLACE = "ARCHIVE_URL"

Engine = Literal["duckdb", "athena"]


class Exported(NamedTuple):
    """What was written: items, and the files that hold them."""

    items: int
    files: list[str]


def export(archive: Parts, url: str, out: Path, *, until: str | None = None) -> Exported:
    """Write every decision's latest admitted state, as StartBulkPutItems and ImportTable take it.

    Each line of the gzip files is `{"Item": {...}}` in DynamoDB JSON. What was refused is left out.

    Args:
        archive: what is read.
        url: where it is, for errors.
        out: a folder, made if need be, in which no export is yet.
        until: only states stored before the end of this day or at this UTC time.

    Raises:
        Misused: the folder holds an export already, or `until` is neither.
        Rejected: a part cannot be read, or there is none.
    """
    if next(out.glob("items-*.json.gz"), None):
        raise Misused(f"{out} holds an export already; name another folder with --out")
    is_up_to(until)  # refuses what is no time
    last = None if until is None else end_of(until)

    def row_of(line: Mapping[str, Any]) -> tuple[Any, ...] | None:
        stored_at, image = float(line["stored_at"]), line["image"]
        if last is not None and stored_at > last:
            return None
        rank = rank_of(item_from_wire(image))
        return line["PK"], line["SK"], rank, stored_at, ascii_json(image)

    out.mkdir(parents=True, exist_ok=True)
    written, count = list[str](), 0
    # Without a name SQLite keeps the database in a file that it has already unlinked.
    file = sqlite3.connect("", isolation_level=None)
    try:
        file.execute(
            "CREATE TABLE items (pk TEXT, sk TEXT, rank INTEGER, stored_at REAL, image TEXT,"
            " PRIMARY KEY (pk, sk)) WITHOUT ROWID"
        )
        for rows in rows_of(archive, url, row_of):
            file.executemany(_NEWER, rows)
        found = file.execute("SELECT image FROM items ORDER BY pk, sk")
        while page := found.fetchmany(_PART):
            path = out / f"items-{len(written):05}.json.gz"
            lines = "".join(f'{{"Item":{image}}}\n' for (image,) in page)
            path.write_bytes(gzip.compress(lines.encode(), mtime=0))
            written.append(str(path))
            count += len(page)
    finally:
        file.close()
    return Exported(count, written)


def views(engine: Engine, url: str) -> str:
    """Give the statements that let an engine read the archive at a URL.

    Raises:
        Misused: the engine cannot read from there.
    """
    place = url.rstrip("/")
    if engine == "athena" and not place.startswith("s3://"):
        raise Misused(f"Athena reads from S3, and {url} is not there; take --for duckdb")
    # DuckDB takes a folder's path, and knows s3:// by its extension httpfs.
    place = place.removeprefix("file://") if engine == "duckdb" else place
    if "'" in place:
        raise Misused(f"{url} holds a quote, which no statement can carry safely")
    text = (files(__package__) / "views" / f"{engine}.sql").read_text()
    return text.replace(_PLACE, place)
