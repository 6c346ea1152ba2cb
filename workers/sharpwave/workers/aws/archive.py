"""The archive in a folder or in S3: one gzip part of JSON lines per day and batch."""

import gzip
import os
import zlib
from collections.abc import Iterator, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit
from uuid import uuid4

from sharpwave.schemas.ids import ARCHIVE_URL, IN_WORDS
from sharpwave.schemas.numbers import parse_json
from sharpwave.workers.aws.errors import calling
from sharpwave.workers.work.ports import TryAgain


class DamagedPart(ValueError):
    """A part of the archive cannot be read."""

    def __init__(self, name: str, error: Exception) -> None:
        """Name the part and say what is wrong with it."""
        super().__init__(f"{name} cannot be read: {error!r:.200}")
        self.name = name


class FolderArchive:
    """An archive under a folder; a part appears whole or not at all."""

    def __init__(self, folder: Path) -> None:
        """Keep the archive under `folder`, which is made when first written to."""
        self._folder = folder

    def write(self, day: str, lines: Sequence[str]) -> None:
        """Store lines of one day as one new part.

        Raises:
            TryAgain: the disk is full or away, which time or an operator mends.
        """
        part = self._folder / part_name(day)
        temporary = part.with_suffix(".partial")
        try:
            part.parent.mkdir(parents=True, exist_ok=True)
            with temporary.open("wb") as file:
                file.write(pack(lines))
                file.flush()
                # Its message is deleted next, and then the line is nowhere else.
                os.fsync(file.fileno())
            temporary.rename(part)
        except OSError as error:
            # What is half written takes the room that the next attempt needs.
            with suppress(OSError):
                temporary.unlink()
            raise TryAgain(f"archive {self._folder}: {error}") from error

    def part_names(self) -> Iterator[str]:
        """Name every part, days in order."""
        for day in sorted(self._folder.glob("day=*")):
            for part in sorted(day.glob("part-*.jsonl.gz")):
                yield str(part.relative_to(self._folder))

    def read(self, name: str) -> Iterator[dict[str, Any]]:
        """Read the lines of one part.

        Raises:
            DamagedPart: it is not what `write` wrote, or it is gone.
        """
        try:
            content = (self._folder / name).read_bytes()
        except OSError as error:
            raise DamagedPart(name, error) from error
        yield from unpack(content, name=name)


class S3Archive:
    """An archive under a prefix of a bucket; a part is one PutObject."""

    def __init__(self, client: Any, *, bucket: str, prefix: str) -> None:
        """Keep the archive in `bucket` under `prefix`, through a low-level `s3` client."""
        self._client, self._bucket = client, bucket
        self._prefix = prefix.strip("/") + "/" if prefix.strip("/") else ""

    def write(self, day: str, lines: Sequence[str]) -> None:
        """Store lines of one day as one new part."""
        with calling(f"PutObject to {self._bucket}"):
            self._client.put_object(
                Bucket=self._bucket, Key=self._prefix + part_name(day), Body=pack(lines)
            )

    def part_names(self) -> Iterator[str]:
        """Name every part, days in order."""
        pages = self._client.get_paginator("list_objects_v2")
        for page in pages.paginate(Bucket=self._bucket, Prefix=f"{self._prefix}day="):
            for found in page.get("Contents", ()):
                yield found["Key"].removeprefix(self._prefix)

    def read(self, name: str) -> Iterator[dict[str, Any]]:
        """Read the lines of one part.

        Raises:
            DamagedPart: it is not what `write` wrote.
        """
        reply = self._client.get_object(Bucket=self._bucket, Key=self._prefix + name)
        yield from unpack(reply["Body"].read(), name=name)


def open_archive(url: str, *, s3: Any = None) -> FolderArchive | S3Archive:
    """Open an archive by URL: `file:///folder` or `s3://bucket/prefix`.

    Raises:
        ValueError: the URL is neither.
    """
    parts = urlsplit(url)
    if parts.scheme == "file" and parts.path:
        return FolderArchive(Path(parts.path))
    if parts.scheme == "s3" and parts.netloc:
        return S3Archive(s3, bucket=parts.netloc, prefix=parts.path)
    raise ValueError(f"archive {url!r} cannot be opened; take {IN_WORDS[ARCHIVE_URL]}")


def part_name(day: str) -> str:
    """Name a new part of one day."""
    # A message that comes again makes another part: who reads takes each state once.
    return f"day={day}/part-{uuid4().hex}.jsonl.gz"


def pack(lines: Sequence[str]) -> bytes:
    """Compress lines."""
    # Without a time within, equal lines are equal bytes.
    return gzip.compress(("\n".join(lines) + "\n").encode(), compresslevel=6, mtime=0)


def unpack(content: bytes, *, name: str) -> Iterator[dict[str, Any]]:
    """Read the lines of the part `name`; a part is at most a few megabytes.

    Raises:
        DamagedPart: it is not what `pack` gave.
    """
    if not content:
        # gzip takes this for nothing compressed, and not for the loss that it is.
        raise DamagedPart(name, EOFError("it is empty"))
    try:
        for line in gzip.decompress(content).splitlines():
            yield parse_json(line)
    except (OSError, EOFError, zlib.error, ValueError) as error:
        raise DamagedPart(name, error) from error
