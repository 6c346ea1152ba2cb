"""What a command answers: text and tables for people, one line of JSON for machines."""

import sys
from collections.abc import Iterable, Mapping, Sequence, Set
from dataclasses import fields, is_dataclass
from datetime import UTC, datetime
from typing import Any, NamedTuple

from sharpwave.schemas.numbers import plain_json


class Answer(NamedTuple):
    """The outcome of a command: `data` for machines, `text` for people; `ok` decides the exit."""

    data: Any = None
    text: str = ""
    ok: bool = True


def emit(answer: Answer, *, as_json: bool) -> None:
    """Print an answer; a command without data has printed all it had."""
    if as_json:
        if answer.data is not None:
            print(plain_json(plain(answer.data)), flush=True)
    elif answer.text:
        print(answer.text, flush=True)


def emit_error(error: BaseException, *, as_json: bool) -> None:
    """Print an error in one line to the standard error output."""
    own = type(error).__module__.startswith("sharpwave.")
    text = " ".join(str(error).split())
    shown = text if own and text else f"unexpected {type(error).__name__}: {text}"
    if as_json:
        shown = plain_json({"error": shown, "kind": type(error).__name__})
    else:
        shown = f"sharpwave: {shown}"
    print(shown, file=sys.stderr, flush=True)


def plain(value: Any) -> Any:
    """Turn records into what JSON has: dataclasses, named tuples and models become objects."""
    if hasattr(value, "model_dump"):
        return plain(value.model_dump())
    if is_dataclass(value) and not isinstance(value, type):
        return {field.name: plain(getattr(value, field.name)) for field in fields(value)}
    if hasattr(value, "_asdict"):
        return plain(value._asdict())
    if isinstance(value, Mapping):
        return {str(name): plain(part) for name, part in value.items()}
    if isinstance(value, list | tuple):
        return [plain(part) for part in value]
    if isinstance(value, Set):
        return [plain(part) for part in sorted(value, key=str)]
    return value


def table(headers: Sequence[str], rows: Iterable[Sequence[Any]], *, empty: str) -> str:
    """Lay rows out in columns; numbers stand to the right. Without rows, give `empty`."""
    cells = [[_cell(value) for value in row] for row in rows]
    if not cells:
        return empty
    right = [
        # A minus and a point are numbers' own; a day has two of the first.
        all(not text or text.replace(".", "", 1).replace("-", "", 1).isdigit() for text in column)
        for column in zip(*cells, strict=True)
    ]
    widths = [max(map(len, column)) for column in zip(headers, *cells, strict=True)]
    lines = [
        "  ".join(
            text.rjust(width) if to_right else text.ljust(width)
            for text, width, to_right in zip(row, widths, right, strict=True)
        ).rstrip()
        for row in [list(headers), *cells]
    ]
    return "\n".join(lines)


def when(epoch_s: float | int | None) -> str:
    """Write a time for people, UTC to the second."""
    if not epoch_s:
        return ""
    return f"{datetime.fromtimestamp(float(epoch_s), UTC):%Y-%m-%d %H:%M:%S}"


def _cell(value: Any) -> str:
    if value is None:
        return ""
    if isinstance(value, bool):
        return "yes" if value else "no"
    return " ".join(str(value).split())
