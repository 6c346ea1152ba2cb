"""An image of a stream record: JSON of typed attributes, each read when somebody asks for it."""

from collections.abc import Iterator, KeysView, Mapping
from typing import Any

from msgspec import Raw
from msgspec import json as fast_json

from sharpwave.schemas.numbers import Wire
from sharpwave.schemas.records import MAX_DEPTH
from sharpwave.workers.work.envelope import ascii_json

# Some backend may write null for an image that a record does not have.
_parts = fast_json.Decoder(dict[str, Raw] | None).decode
_read = fast_json.Decoder(Wire).decode


class Image(Mapping[str, Wire]):
    """A typed image, taken apart by one level; `raw` is the JSON that it came as."""

    __slots__ = ("parts", "raw")

    def __init__(self, raw: Raw) -> None:
        """Take an image apart."""
        self.raw = raw
        self.parts: dict[str, Raw] = _parts(raw) or {}

    @classmethod
    def of(cls, wire: Mapping[str, Wire]) -> "Image":
        """Give the image of an item in its typed form."""
        return cls(Raw(ascii_json(wire)))

    def __getitem__(self, name: str) -> Wire:
        """Read an attribute."""
        return _read(self.parts[name])

    def __contains__(self, name: object) -> bool:
        """Say whether there is such an attribute."""
        return name in self.parts

    def __iter__(self) -> Iterator[str]:
        """Give the names of all attributes."""
        return iter(self.parts)

    def __len__(self) -> int:
        """Count the attributes."""
        return len(self.parts)

    def get(self, name: str, default: Any = None) -> Any:
        """Read an attribute, if there is one."""
        part = self.parts.get(name)
        return default if part is None else _read(part)

    def keys(self) -> KeysView[str]:
        """Give the names of all attributes."""
        return self.parts.keys()


def differing(old: Image, new: Image) -> set[str]:
    """Name the attributes that differ; equal bytes are equal, and others are read."""
    before, after = old.parts, new.parts
    names = {name for name, part in after.items() if before.get(name) != part}
    alike = {name for name in names & before.keys() if old[name] == new[name]}
    return (names - alike) | (before.keys() - after.keys())


def may_be_too_deep(text: str) -> bool:
    """Say whether so many maps and lists are in a text that their depth must be looked at.

    Each level has its M or L, however it is spaced, unless that letter is written as an escape.
    """
    left = MAX_DEPTH
    for letter in "ML":
        # Found one by one: `count` looks at each character, which takes four times as long.
        at = text.find(letter)
        while at >= 0:
            if not left:
                return text.count('"M"') + text.count('"L"') > MAX_DEPTH or "\\u004" in text
            left -= 1
            at = text.find(letter, at + 1)
    return "\\" in text and "\\u004" in text
